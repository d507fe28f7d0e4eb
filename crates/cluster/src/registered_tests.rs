//! Secrets as Argo CD, Cluster API and we ourselves write them, and what is
//! wrong with others.
#![allow(clippy::unwrap_used, reason = "tests")]

use k8s_openapi::ByteString;
use serde_json::json;

use super::*;

fn secret(data: &Value) -> Value {
    let encoded: serde_json::Map<String, Value> = data
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, text)| (name.clone(), json!(ByteString(text.as_str().unwrap().as_bytes().to_vec()))))
        .collect();
    json!({"metadata": {"name": "far", "namespace": "gitops-clusters",
        "labels": {"argocd.argoproj.io/secret-type": "cluster"}}, "data": encoded})
}

fn argo(config: &Value) -> Value {
    secret(&json!({"name": "east", "server": "https://east:6443/", "config": config.to_string()}))
}

fn wrong(secret: &Value) -> String {
    Registered::of(secret, &["aws".to_owned()]).unwrap_err().to_string()
}

#[test]
fn argo_cds_secrets_are_read_as_they_are() {
    let found = |config: Value| Registered::of(&argo(&config), &["aws".to_owned()]).unwrap().unwrap();
    let token = found(
        json!({"bearerToken": "t", "tlsClientConfig": {"insecure": false, "caData": "Q0E=", "serverName": "east"}}),
    );
    assert_eq!((token.name.as_str(), token.server.as_str()), ("east", "https://east:6443"));
    assert_eq!((token.credentials, token.namespaces.len(), token.project.as_str()), ("token", 0, ""));
    let cluster = token.kubeconfig.clusters[0].cluster.clone().unwrap();
    assert_eq!(cluster.certificate_authority_data.as_deref(), Some("Q0E="));
    assert_eq!(cluster.tls_server_name.as_deref(), Some("east"));
    assert_eq!(
        found(json!({"tlsClientConfig": {"certData": "YQ==", "keyData": "Yg=="}})).credentials,
        "client certificate"
    );
    assert_eq!(found(json!({"username": "u", "password": "p"})).credentials, "password");
    let exec = found(
        json!({"execProviderConfig": {"command": "aws", "args": ["eks", "get-token"], "env": {"AWS_REGION": "eu"}, "apiVersion": "client.authentication.k8s.io/v1beta1"}}),
    );
    assert_eq!(exec.credentials, "exec");
    let exec = exec.kubeconfig.auth_infos[0].auth_info.clone().unwrap().exec.unwrap();
    assert_eq!(exec.env.unwrap()[0]["value"], "eu");
    assert_eq!(exec.interactive_mode, Some(ExecInteractiveMode::Never));
    let mut limited = argo(&json!({}));
    limited["data"]["namespaces"] = json!(ByteString(b"a, b,".to_vec()));
    limited["data"]["project"] = json!(ByteString(b"shop".to_vec()));
    let limited = Registered::of(&limited, &[]).unwrap().unwrap();
    assert_eq!((limited.namespaces.join("+"), limited.project.as_str()), ("a+b".into(), "shop"));
    assert!(limited.takes("b") && !limited.takes("c") && !limited.takes(""));
    assert!(token.takes("c") && token.takes(""));
}

#[test]
fn a_kubeconfig_is_cut_down_to_its_context() {
    let text = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "b",
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}, {"name": "b", "context": {"cluster": "b", "user": "b"}}],
        "clusters": [{"name": "a", "cluster": {"server": "https://a"}}, {"name": "b", "cluster": {"server": "https://b"}}],
        "users": [{"name": "a", "user": {"exec": {"command": "sh", "apiVersion": "v1"}}}, {"name": "b", "user": {"token": "t"}}]}"#;
    let found = Registered::of(&secret(&json!({"kubeconfig": text})), &[]).unwrap().unwrap();
    assert_eq!(
        (found.name.as_str(), found.server.as_str(), found.credentials),
        ("far", "https://b", "token")
    );
    assert_eq!(found.kubeconfig.auth_infos.len(), 1);
    // As Cluster API has it.
    let other = Registered::of(&secret(&json!({"name": "east", "value": text})), &[]).unwrap().unwrap();
    assert_eq!(other.name, "east");
    let exec = wrong(&secret(&json!({"kubeconfig": text, "context": "a"})));
    assert!(exec.ends_with("data.kubeconfig: running \"sh\" for credentials is not allowed"), "{exec}");
    let gone = wrong(&secret(&json!({"kubeconfig": text, "context": "c"})));
    assert_eq!(gone, "Secret gitops-clusters/far: data.kubeconfig has no context \"c\"");
}

#[test]
fn nothing_is_read_from_the_programs_own_disk() {
    let with = |cluster: Value, user: Value| {
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "a",
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "clusters": [{"name": "a", "cluster": cluster}], "users": [{"name": "a", "user": user}]});
        wrong(&secret(&json!({"kubeconfig": config.to_string()})))
    };
    let token = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    let server = json!({"server": "https://evil"});
    assert!(with(server.clone(), json!({"tokenFile": token})).contains("tokenFile names a file"));
    assert!(with(server.clone(), json!({"client-key": token})).contains("client-key names a file"));
    let authority = json!({"server": "https://evil", "certificate-authority": token});
    assert!(with(authority, json!({})).contains("certificate-authority names a file"));
    assert!(with(server, json!({"auth-provider": {"name": "gcp", "config": {}}})).contains("auth-provider"));
}

#[test]
fn what_is_wrong_is_named() {
    for (config, says) in [
        (json!({"awsAuthConfig": {"clusterName": "east"}}), "awsAuthConfig is not supported"),
        (
            json!({"execProviderConfig": {"command": "/bin/sh"}}),
            "running \"/bin/sh\" for credentials is not allowed",
        ),
        (json!({"tlsClientConfig": {"certData": "YQ=="}}), "belong together"),
        (json!({"bearertoken": "t"}), "unknown field `bearertoken`"),
    ] {
        let said = wrong(&argo(&config));
        assert!(said.contains(says) && said.starts_with("Secret gitops-clusters/far: data.config"), "{said}");
    }
    assert!(wrong(&secret(&json!({"name": "x"}))).ends_with("neither data.kubeconfig nor data.server"));
    let both = secret(&json!({"kubeconfig": "{}", "config": "{}"}));
    assert!(wrong(&both).ends_with("keep one"));
    let itself = |name: &str| {
        secret(&json!({"name": name, "server": "https://kubernetes.default.svc", "config": "{}"}))
    };
    assert!(Registered::of(&itself("in-cluster"), &[]).unwrap().is_none());
    assert!(wrong(&itself("home")).contains("called in-cluster here"));
    let taken = secret(&json!({"name": "in-cluster", "server": "https://east", "config": "{}"}));
    assert!(wrong(&taken).contains("give it another"));
}

#[test]
fn a_registration_is_known_by_its_label() {
    let labelled = |label: &str| json!({"metadata": {"labels": {label: "cluster"}}});
    assert!(is_registration(&labelled("argocd.argoproj.io/secret-type")));
    assert!(is_registration(&labelled("kubectl-gitops.dev/secret-type")));
    assert!(!is_registration(&labelled("app")));
}
