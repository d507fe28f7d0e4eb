//! Principals with real RBAC try to widen their own reach, and change nothing.

use std::sync::PoisonError;

use gitops_tests::Shop;
use gitops_tests::cluster::Ran;
use serde_json::{Value, json};

use super::{API, ONE, account, controller, guarded, installed};

/// Which principals there are, each with the RBAC that it has in earnest.
fn principals(shop: &Shop) -> Vec<(&'static str, String)> {
    installed(shop.cluster);
    controller(shop.cluster);
    for role in ["edit", "admin"] {
        shop.kubectl(&format!("create rolebinding {role} --clusterrole={role} --user=ns-{role}")).ok();
    }
    vec![
        ("a namespace editor", "--as=ns-edit --as-group=system:authenticated".into()),
        ("a namespace admin", "--as=ns-admin --as-group=system:authenticated".into()),
        ("the webhook", account("gitops-webhook")),
        ("a controller", account("gitops-controller")),
    ]
}

/// Refused by RBAC, by the webhook, or by the guard: never done.
#[track_caller]
fn not_done(who: &str, what: &str, ran: &Ran) {
    let why = ["denied", "is forbidden", "forbidden:", "cannot"];
    assert!(
        ran.code != 0 && why.iter().any(|part| ran.stderr.contains(part)),
        "{who}, {what}: {}{}",
        ran.stdout,
        ran.stderr
    );
}

#[test]
fn nobody_widens_their_own_reach() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let shop = Shop::open();
    let principals = principals(&shop);
    guarded(shop.cluster);
    shop.cluster.kubectl("create namespace gitops-system");
    let name = shop.name().to_owned();
    let own = |kind: &str, name: &str, namespace: Option<&str>, spec: Value| {
        let mut object = json!({"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec});
        if let Some(namespace) = namespace {
            object["metadata"]["namespace"] = namespace.into();
        }
        object.to_string()
    };
    let elsewhere = json!({"project": name, "source": {"repo": "https://evil.example/x"}});
    let wide = json!({"applicationNamespaces": ["**"], "repositories": [{"url": "**"}], "destinations": [{"namespaces": ["*"]}]});
    let open = json!({"reason": "mine", "expiresAt": "2099-01-01T00:00:00Z"});
    let grant = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "gitops-viewer"}, "rules": [{"apiGroups": ["kubectl-gitops.dev"], "resources": ["*"], "verbs": ["*"]}]});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "gitops-index-mine", "namespace": "gitops-system"}});
    for (who, flags) in &principals {
        let run = |arguments: &str| shop.cluster.kubectl(&format!("{flags} {arguments}"));
        let patch = |what: &str, patch: &str| {
            let mut all: Vec<&str> = flags.split_whitespace().collect();
            all.extend(["patch"]);
            all.extend(what.split_whitespace());
            all.extend(["--type=merge", "-p", patch]);
            shop.cluster.kubectl_args(&all)
        };
        let create = |object: &str| shop.cluster.kubectl_stdin(&format!("{flags} create -f -"), object);
        let application = format!("application web -n {name}");
        let tries: Vec<(&str, Ran)> = vec![
            (
                "points an Application elsewhere",
                patch(&application, r#"{"spec":{"source":{"repo":"https://evil.example/x"}}}"#),
            ),
            ("makes an Application", create(&own("Application", "mine", Some(&name), elsewhere.clone()))),
            (
                "keeps an Application from going",
                patch(&application, r#"{"metadata":{"finalizers":["evil.example.com/stay"]}}"#),
            ),
            (
                "gives an Application an owner",
                patch(
                    &application,
                    r#"{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"web","uid":"1"}]}}"#,
                ),
            ),
            ("deletes an Application", run(&format!("delete {application}"))),
            ("makes a Project", create(&own("Project", "mine", None, wide.clone()))),
            ("widens a Project", patch(&format!("project {name}"), &json!({"spec": wide}).to_string())),
            ("opens an Override", create(&own("Override", "mine", None, open.clone()))),
            (
                "widens a role of ours",
                patch("clusterrole gitops-viewer", &json!({"rules": grant["rules"]}).to_string()),
            ),
            (
                "binds itself",
                run(
                    "create clusterrolebinding mine --clusterrole=gitops-admin --user=ns-admin --dry-run=server",
                ),
            ),
            ("disarms the webhook", patch("validatingwebhookconfiguration gitops", r#"{"webhooks":[]}"#)),
            (
                "deletes the configuration",
                run("delete validatingwebhookconfiguration gitops --dry-run=server"),
            ),
            (
                "opens the namespace",
                run(&format!("label namespace {name} pod-security.kubernetes.io/enforce=privileged")),
            ),
            ("deletes the namespace", run(&format!("delete namespace {name} --dry-run=server"))),
            ("drifts", patch(&format!("deployment web -n {name}"), r#"{"spec":{"replicas":7}}"#)),
        ];
        for (what, ran) in &tries {
            // Binding is RBAC's own matter: who has `bind` on everything may.
            if *what == "binds itself" && *who == "a controller" {
                continue;
            }
            not_done(who, what, ran);
        }
        if *who != "the webhook" {
            not_done(who, "writes the webhook's Secret", &create(&secret.to_string()));
        }
    }
    let live = shop.get("application", "web").unwrap();
    assert_eq!(live["spec"]["source"]["repo"], shop.repo.url());
}
