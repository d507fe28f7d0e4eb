//! Clusters that are registered in another one. In: a Secret that describes a
//! cluster, in Argo CD's format or with a kubeconfig. Out: its name, what it
//! may be used for, and a client, or what is wrong with the Secret, by the name
//! of the field.
//!
//! The Secret comes from the API server, so it names no file of the program
//! that reads it, and no command but those that are allowed.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use gitops_core::names::{
    ANNOTATION_MIRROR_SECRETS, IN_CLUSTER, LABEL_ARGOCD_SECRET_TYPE, LABEL_SECRET_TYPE, SECRET_TYPE_CLUSTER,
};
use kube::config::{
    AuthInfo, Context, ExecConfig, ExecInteractiveMode, KubeConfigOptions, Kubeconfig, NamedAuthInfo,
    NamedCluster, NamedContext,
};
use serde::Deserialize;
use serde_json::Value;

use crate::connect;
use crate::error::ClusterError;
use crate::exec;
use crate::transport::Cluster;

/// Of a connection to a cluster that may be gone.
const CONNECT: Duration = Duration::from_secs(5);
/// The server that means the cluster itself, as Argo CD writes it.
const ITSELF: &str = "https://kubernetes.default.svc";
/// What stands for context, cluster and user of a Secret in Argo CD's format.
const ONLY: &str = "cluster";

/// What is wrong with a Secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Secret {secret}: {reason}")]
pub struct RegistrationError {
    pub secret: String,
    pub reason: String,
}

/// A client of a cluster.
#[derive(Clone, Debug)]
pub struct Connected {
    pub cluster: Cluster,
    /// After which it has to be made anew; none: when it is refused.
    pub valid: Option<Duration>,
}

/// A cluster that is registered.
#[derive(Clone, Debug)]
pub struct Registered {
    pub name: String,
    /// The Secret's name.
    pub secret: String,
    pub server: String,
    /// The only ones that may be filled; none: all.
    pub namespaces: Vec<String>,
    /// Whether objects without a namespace may be there where only some
    /// namespaces may be filled.
    pub cluster_resources: bool,
    /// The only one whose Applications may use it; empty: all.
    pub project: String,
    /// Whether Secrets for repositories go along with Applications.
    pub mirrors_secrets: bool,
    /// The credentials' kind, for people.
    pub credentials: &'static str,
    kubeconfig: Kubeconfig,
}

/// `config` of Argo CD's cluster Secrets. What is not known is refused: it may
/// limit what the cluster is used for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ArgoConfig {
    username: String,
    password: String,
    bearer_token: String,
    tls_client_config: ArgoTls,
    exec_provider_config: Option<ArgoExec>,
    aws_auth_config: Option<Value>,
    proxy_url: String,
    disable_compression: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ArgoTls {
    insecure: bool,
    server_name: String,
    ca_data: String,
    cert_data: String,
    key_data: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ArgoExec {
    command: String,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    api_version: String,
    install_hint: String,
}

/// Whether a Secret describes a cluster.
pub fn is_registration(secret: &Value) -> bool {
    [LABEL_SECRET_TYPE, LABEL_ARGOCD_SECRET_TYPE].iter().any(|label| {
        secret.pointer("/metadata/labels").and_then(|labels| labels.get(*label)?.as_str())
            == Some(SECRET_TYPE_CLUSTER)
    })
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

impl Registered {
    /// Reads a Secret. `commands` are the exec plugins that may be run.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(secret: &Value, commands: &[String]) -> Result<Option<Self>, RegistrationError> {
        let text = |pointer: &str| secret.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let shown = format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"));
        let bad = |reason: String| RegistrationError { secret: shown.clone(), reason };
        let field = |name: &str| -> Result<Option<String>, RegistrationError> {
            let Some(encoded) = secret.get("data").and_then(|data| data.get(name)?.as_str()) else {
                return Ok(None);
            };
            let decoded: Result<k8s_openapi::ByteString, _> = serde_json::from_value(encoded.into());
            let text = decoded.ok().and_then(|bytes| String::from_utf8(bytes.0).ok());
            text.map(Some).ok_or_else(|| bad(format!("data.{name} is no text")))
        };
        let name = field("name")?.unwrap_or_else(|| text("/metadata/name").to_owned());
        let kubeconfig = match field("kubeconfig")? {
            Some(kubeconfig) => Some(kubeconfig),
            // As Cluster API writes it.
            None => field("value")?,
        };
        if kubeconfig.is_some() && field("config")?.is_some() {
            return Err(bad("it has both a kubeconfig and data.config: keep one".into()));
        }
        let (kubeconfig, credentials) = match kubeconfig {
            Some(text) => of_kubeconfig(&text, field("context")?, commands).map_err(bad)?,
            None => {
                let Some(server) = field("server")? else {
                    return Err(bad("it has neither data.kubeconfig nor data.server".into()));
                };
                let config = field("config")?.unwrap_or_else(|| "{}".into());
                let config: ArgoConfig =
                    serde_json::from_str(&config).map_err(|error| bad(format!("data.config: {error}")))?;
                if is_itself(&server) {
                    return local(&name).map_err(bad);
                }
                of_argo(server, config, commands).map_err(bad)?
            }
        };
        if name == IN_CLUSTER {
            return Err(bad(format!("{IN_CLUSTER} is the name of the cluster itself: give it another")));
        }
        let cluster = kubeconfig.clusters.first().and_then(|cluster| cluster.cluster.as_ref());
        let server = cluster.and_then(|cluster| cluster.server.clone()).unwrap_or_default();
        let list = field("namespaces")?.unwrap_or_default();
        let namespaces = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        let mirrors_secrets = secret
            .pointer("/metadata/annotations")
            .and_then(|all| all.get(ANNOTATION_MIRROR_SECRETS)?.as_str())
            == Some("true");
        Ok(Some(Self {
            name,
            secret: text("/metadata/name").to_owned(),
            server: server.trim_end_matches('/').to_owned(),
            namespaces: namespaces.map(str::to_owned).collect(),
            cluster_resources: field("clusterResources")?.as_deref() == Some("true"),
            project: field("project")?.unwrap_or_default(),
            mirrors_secrets,
            credentials,
            kubeconfig,
        }))
    }

    /// The cluster's name in a Secret that may have other mistakes.
    pub fn name_in(secret: &Value) -> String {
        let encoded = secret.pointer("/data/name").cloned().unwrap_or_default();
        let decoded: Option<k8s_openapi::ByteString> = serde_json::from_value(encoded).ok();
        let name = decoded.and_then(|bytes| String::from_utf8(bytes.0).ok());
        let own = secret.pointer("/metadata/name").and_then(Value::as_str);
        name.unwrap_or_else(|| own.unwrap_or_default().to_owned())
    }

    /// Whether an object may be in this namespace; empty: in none.
    pub fn takes(&self, namespace: &str) -> bool {
        let is_listed = self.namespaces.iter().any(|known| known == namespace);
        self.namespaces.is_empty() || is_listed || namespace.is_empty() && self.cluster_resources
    }

    /// Makes a client; nothing is sent yet, but a command for credentials is run.
    ///
    /// # Errors
    /// When the credentials cannot be used, or the command fails.
    pub async fn connect(
        &self,
        cache_dir: Option<PathBuf>,
        request_timeout: Option<Duration>,
    ) -> Result<Connected, ClusterError> {
        let (mut kubeconfig, only) = (self.kubeconfig.clone(), KubeConfigOptions::default());
        let cluster = kubeconfig.clusters.first().and_then(|known| known.cluster.clone()).unwrap_or_default();
        let mut valid = None;
        for user in kubeconfig.auth_infos.iter_mut().filter_map(|known| known.auth_info.as_mut()) {
            if let Some(command) = user.exec.take() {
                (*user, valid) = exec::run(&command, &cluster).await?;
            }
        }
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &only).await;
        let config = config.map_err(|error| ClusterError::Configuration(error.to_string()))?;
        let cluster = connect::finish(config, None, cache_dir, CONNECT, request_timeout)?;
        Ok(Connected { cluster, valid })
    }
}

fn is_itself(server: &str) -> bool {
    let server = server.trim_end_matches('/').trim_end_matches(":443").trim_end_matches(".cluster.local");
    server == ITSELF
}

/// Argo CD lets one give the cluster itself a Secret, for its labels.
fn local(name: &str) -> Result<Option<Registered>, String> {
    if name == IN_CLUSTER {
        return Ok(None);
    }
    Err(format!("{name:?} means the cluster itself, which is called {IN_CLUSTER} here: use that name"))
}

fn of_argo(
    server: String,
    config: ArgoConfig,
    commands: &[String],
) -> Result<(Kubeconfig, &'static str), String> {
    if config.aws_auth_config.is_some() {
        return Err(
            "data.config.awsAuthConfig is not supported: use execProviderConfig with `aws eks get-token`, \
                    or a token"
                .into(),
        );
    }
    let tls = config.tls_client_config;
    let cluster = kube::config::Cluster {
        server: Some(server),
        insecure_skip_tls_verify: tls.insecure.then_some(true),
        certificate_authority_data: some(tls.ca_data),
        tls_server_name: some(tls.server_name),
        proxy_url: some(config.proxy_url),
        disable_compression: config.disable_compression.then_some(true),
        ..kube::config::Cluster::default()
    };
    let user = AuthInfo {
        username: some(config.username),
        password: some(config.password).map(Into::into),
        token: some(config.bearer_token).map(Into::into),
        client_certificate_data: some(tls.cert_data),
        client_key_data: some(tls.key_data).map(Into::into),
        exec: config.exec_provider_config.map(exec_of),
        ..AuthInfo::default()
    };
    let credentials =
        checked(&cluster, &user, commands).map_err(|reason| format!("data.config: {reason}"))?;
    Ok((kubeconfig(cluster, user), credentials))
}

fn exec_of(config: ArgoExec) -> ExecConfig {
    let variable = |(name, value)| HashMap::from([("name".to_owned(), name), ("value".to_owned(), value)]);
    let env: Vec<HashMap<String, String>> = config.env.into_iter().map(variable).collect();
    ExecConfig {
        api_version: some(config.api_version),
        command: Some(config.command),
        args: Some(config.args),
        env: (!env.is_empty()).then_some(env),
        drop_env: None,
        install_hint: some(config.install_hint),
        interactive_mode: Some(ExecInteractiveMode::Never),
        provide_cluster_info: false,
        cluster: None,
        other: BTreeMap::new(),
    }
}

fn of_kubeconfig(
    text: &str,
    context: Option<String>,
    commands: &[String],
) -> Result<(Kubeconfig, &'static str), String> {
    let whole = Kubeconfig::from_yaml(text).map_err(|error| format!("data.kubeconfig: {error}"))?;
    let wanted = context.or(whole.current_context).unwrap_or_default();
    let found = whole.contexts.into_iter().find(|known| known.name == wanted);
    let context = found
        .and_then(|known| known.context)
        .ok_or_else(|| format!("data.kubeconfig has no context {wanted:?}"))?;
    let cluster = whole.clusters.into_iter().find(|known| known.name == context.cluster);
    let cluster = cluster
        .and_then(|known| known.cluster)
        .ok_or_else(|| format!("data.kubeconfig has no cluster {:?}", context.cluster))?;
    let name = context.user.unwrap_or_default();
    let user = whole.auth_infos.into_iter().find(|known| known.name == name);
    let mut user = user
        .and_then(|known| known.auth_info)
        .ok_or_else(|| format!("data.kubeconfig has no user {name:?}"))?;
    if let Some(exec) = &mut user.exec {
        exec.interactive_mode = Some(ExecInteractiveMode::Never);
    }
    let credentials =
        checked(&cluster, &user, commands).map_err(|reason| format!("data.kubeconfig: {reason}"))?;
    Ok((kubeconfig(cluster, user), credentials))
}

/// That nothing is read or run here; and by what one logs in.
fn checked(
    cluster: &kube::config::Cluster,
    user: &AuthInfo,
    commands: &[String],
) -> Result<&'static str, String> {
    let files = [
        ("certificate-authority", cluster.certificate_authority.is_some()),
        ("client-certificate", user.client_certificate.is_some()),
        ("client-key", user.client_key.is_some()),
        ("tokenFile", user.token_file.is_some()),
    ];
    if let Some((field, _)) = files.iter().find(|(_, is_there)| *is_there) {
        return Err(format!(
            "{field} names a file, which is not there: put its content in (kubectl config view --flatten)"
        ));
    }
    if user.auth_provider.is_some() {
        return Err("auth-provider is not supported: use exec or a token".into());
    }
    if let Some(exec) = &user.exec {
        let command = exec.command.clone().unwrap_or_default();
        if !commands.contains(&command) {
            return Err(format!("running {command:?} for credentials is not allowed"));
        }
        return Ok("exec");
    }
    let is_there = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if user.token.is_some() {
        Ok("token")
    } else if is_there(&user.client_certificate_data) && user.client_key_data.is_some() {
        Ok("client certificate")
    } else if is_there(&user.client_certificate_data) || user.client_key_data.is_some() {
        Err("a client certificate and its key belong together: one of them is missing".into())
    } else if is_there(&user.username) && user.password.is_some() {
        Ok("password")
    } else {
        Ok("none")
    }
}

fn kubeconfig(cluster: kube::config::Cluster, user: AuthInfo) -> Kubeconfig {
    let context = Context { cluster: ONLY.into(), user: Some(ONLY.into()), ..Context::default() };
    Kubeconfig {
        current_context: Some(ONLY.into()),
        contexts: vec![NamedContext { name: ONLY.into(), context: Some(context), ..NamedContext::default() }],
        clusters: vec![NamedCluster { name: ONLY.into(), cluster: Some(cluster), ..NamedCluster::default() }],
        auth_infos: vec![NamedAuthInfo {
            name: ONLY.into(),
            auth_info: Some(user),
            ..NamedAuthInfo::default()
        }],
        ..Kubeconfig::default()
    }
}

#[cfg(test)]
#[path = "registered_tests.rs"]
mod tests;
