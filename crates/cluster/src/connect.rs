//! From kubectl's flags and kubeconfig to a client.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderMap;
use kube::config::{
    AuthInfo, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};
use secrecy::SecretString;

use crate::client::client;
use crate::error::ClusterError;
use crate::transport::Cluster;

/// Stands for a context, cluster or user that only flags describe.
const FLAGS: &str = "flags";
/// Of a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// kubectl's flags for connections, resolved: nothing here is read from the
/// environment but what kubeconfigs themselves name.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// Files of `--kubeconfig` or `$KUBECONFIG`, merged in order; none: the
    /// default one, or the service account of a pod.
    pub kubeconfig: Vec<PathBuf>,
    pub context: Option<String>,
    pub cluster: Option<String>,
    pub user: Option<String>,
    pub namespace: Option<String>,
    pub server: Option<String>,
    pub token: Option<SecretString>,
    pub impersonate_user: Option<String>,
    pub impersonate_groups: Vec<String>,
    pub impersonate_uid: Option<String>,
    pub certificate_authority: Option<PathBuf>,
    pub client_certificate: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
    pub insecure_skip_tls_verify: bool,
    pub tls_server_name: Option<String>,
    /// Of one request; none: no limit.
    pub request_timeout: Option<Duration>,
    /// Where discovery and schemas are kept.
    pub cache_dir: Option<PathBuf>,
}

impl Cluster {
    /// Makes a client; nothing is sent yet.
    ///
    /// # Errors
    /// When no kubeconfig names a cluster, or a file of it cannot be read.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, ClusterError> {
        let config = configuration(options).await?;
        let (cache_dir, namespace) = (options.cache_dir.clone(), options.namespace.clone());
        let cluster = finish(config, namespace, cache_dir, CONNECT, options.request_timeout)?;
        Ok(cluster.with_headers(impersonation(options)?))
    }
}

/// Where a context leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    pub server: String,
    /// Certificates in PEM, in base64.
    pub authority: Option<String>,
    pub insecure: bool,
    pub server_name: Option<String>,
}

impl ConnectOptions {
    /// Where the context leads, with the content of files instead of their names.
    ///
    /// # Errors
    /// When there is no such context, or a file cannot be read.
    pub fn endpoint(&self) -> Result<Endpoint, ClusterError> {
        let kubeconfig = match merged(&self.kubeconfig)? {
            Some(kubeconfig) => kubeconfig,
            None => default_file()?.unwrap_or_default(),
        };
        let kubeconfig = with_flags(kubeconfig, self)?;
        let current = kubeconfig.current_context.unwrap_or_default();
        let context = kubeconfig.contexts.into_iter().find(|known| known.name == current);
        let name = context.and_then(|known| known.context).map(|context| context.cluster);
        let cluster = kubeconfig.clusters.into_iter().find(|known| Some(&known.name) == name.as_ref());
        let cluster = cluster.and_then(|known| known.cluster).unwrap_or_default();
        let authority = match (cluster.certificate_authority_data, cluster.certificate_authority) {
            (None, Some(file)) => {
                let content = std::fs::read(&file)
                    .map_err(|error| ClusterError::Configuration(format!("{file}: {error}")))?;
                let encoded = serde_json::to_value(k8s_openapi::ByteString(content)).ok();
                encoded.and_then(|text| text.as_str().map(str::to_owned))
            }
            (data, _) => data,
        };
        Ok(Endpoint {
            server: cluster.server.unwrap_or_default(),
            authority,
            insecure: cluster.insecure_skip_tls_verify == Some(true),
            server_name: cluster.tls_server_name,
        })
    }

    /// The contexts of the kubeconfig.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn contexts(&self) -> Result<Vec<String>, ClusterError> {
        let kubeconfig = match merged(&self.kubeconfig)? {
            Some(kubeconfig) => Some(kubeconfig),
            None => default_file()?,
        };
        let contexts = kubeconfig.map(|kubeconfig| kubeconfig.contexts).unwrap_or_default();
        Ok(contexts.into_iter().map(|context| context.name).collect())
    }
}

/// A client with our own limits instead of kube's.
pub(crate) fn finish(
    mut config: kube::Config,
    namespace: Option<String>,
    cache_dir: Option<PathBuf>,
    connect_timeout: Duration,
    request_timeout: Option<Duration>,
) -> Result<Cluster, ClusterError> {
    config.connect_timeout = Some(connect_timeout);
    config.read_timeout = None;
    config.write_timeout = None;
    // Writes are tried again here, with the server's own pauses.
    config.default_retry = false;
    let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
    let client = client(config).map_err(|error| ClusterError::Configuration(error.to_string()))?;
    Ok(Cluster::from_client(client, &server, &namespace, cache_dir).with_timeout(request_timeout))
}

async fn configuration(options: &ConnectOptions) -> Result<kube::Config, ClusterError> {
    let failed = |error: &dyn std::fmt::Display| ClusterError::Configuration(error.to_string());
    let kubeconfig = match merged(&options.kubeconfig)? {
        Some(kubeconfig) => kubeconfig,
        None => match (default_file()?, kube::Config::incluster()) {
            (Some(kubeconfig), _) => kubeconfig,
            (None, Ok(config)) => return Ok(config),
            (None, Err(_)) if options.server.is_some() => Kubeconfig::default(),
            (None, Err(_)) => {
                return Err(failed(
                    &"no cluster is configured: neither $KUBECONFIG, ~/.kube/config nor a service account names one",
                ));
            }
        },
    };
    let kubeconfig = with_flags(kubeconfig, options)?;
    kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| failed(&error))
}

/// `~/.kube/config`; none where it is absent.
fn default_file() -> Result<Option<Kubeconfig>, ClusterError> {
    match Kubeconfig::read() {
        Ok(kubeconfig) => Ok(Some(kubeconfig)),
        Err(kube::config::KubeconfigError::FindPath) => Ok(None),
        Err(kube::config::KubeconfigError::ReadConfig(error, _))
            if error.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(None)
        }
        Err(error) => Err(ClusterError::Configuration(error.to_string())),
    }
}

fn merged(files: &[PathBuf]) -> Result<Option<Kubeconfig>, ClusterError> {
    let mut merged: Option<Kubeconfig> = None;
    for file in files {
        // kubectl passes over files of a list that are not there.
        if files.len() > 1 && !file.exists() {
            continue;
        }
        let read = Kubeconfig::read_from(file)
            .map_err(|error| ClusterError::Configuration(format!("{}: {error}", file.display())))?;
        merged = Some(match merged {
            None => read,
            Some(before) => {
                before.merge(read).map_err(|error| ClusterError::Configuration(error.to_string()))?
            }
        });
    }
    Ok(merged)
}

/// Writes the flags into the context that will be used, as kubectl does: a
/// context, cluster or user that is not there yet begins empty.
fn with_flags(mut kubeconfig: Kubeconfig, options: &ConnectOptions) -> Result<Kubeconfig, ClusterError> {
    let wanted = options
        .context
        .clone()
        .or_else(|| kubeconfig.current_context.clone())
        .filter(|name| !name.is_empty());
    if wanted.is_none() && options.server.is_none() && options.cluster.is_none() {
        return Err(ClusterError::Configuration("no current context is set".into()));
    }
    let known: Vec<&str> = kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect();
    if let Some(name) = &wanted
        && !known.contains(&name.as_str())
    {
        return Err(ClusterError::Configuration(format!(
            "there is no context {name:?}; there are: {}",
            known.join(", ")
        )));
    }
    let name = wanted.unwrap_or_else(|| FLAGS.into());
    let context = kubeconfig
        .contexts
        .iter()
        .find(|context| context.name == name)
        .and_then(|context| context.context.clone());
    let mut context = context.unwrap_or_else(|| Context { cluster: FLAGS.into(), ..Context::default() });
    if let Some(cluster) = &options.cluster {
        context.cluster.clone_from(cluster);
    }
    let user = options.user.clone().or_else(|| context.user.clone()).unwrap_or_else(|| FLAGS.into());
    context.user = Some(user.clone());

    if kubeconfig.clusters.iter().all(|cluster| cluster.name != context.cluster) {
        if options.server.is_none() {
            return Err(ClusterError::Configuration(format!("there is no cluster {:?}", context.cluster)));
        }
        kubeconfig.clusters.push(NamedCluster {
            name: context.cluster.clone(),
            cluster: Some(Default::default()),
            ..NamedCluster::default()
        });
    }
    if kubeconfig.auth_infos.iter().all(|known| known.name != user) {
        if options.user.is_some() {
            return Err(ClusterError::Configuration(format!("there is no user {user:?}")));
        }
        kubeconfig.auth_infos.push(NamedAuthInfo {
            name: user.clone(),
            auth_info: Some(AuthInfo::default()),
            ..NamedAuthInfo::default()
        });
    }
    for cluster in kubeconfig.clusters.iter_mut().filter(|cluster| cluster.name == context.cluster) {
        cluster_flags(cluster.cluster.get_or_insert_with(Default::default), options);
    }
    for known in kubeconfig.auth_infos.iter_mut().filter(|known| known.name == user) {
        user_flags(known.auth_info.get_or_insert_with(AuthInfo::default), options);
    }
    kubeconfig.contexts.retain(|known| known.name != name);
    kubeconfig.contexts.push(NamedContext {
        name: name.clone(),
        context: Some(context),
        ..NamedContext::default()
    });
    kubeconfig.current_context = Some(name);
    Ok(kubeconfig)
}

fn cluster_flags(cluster: &mut kube::config::Cluster, options: &ConnectOptions) {
    if options.server.is_some() {
        cluster.server.clone_from(&options.server);
        // The name was for the other server.
        cluster.tls_server_name = None;
    }
    if let Some(path) = &options.certificate_authority {
        cluster.certificate_authority = Some(path.display().to_string());
        cluster.certificate_authority_data = None;
    }
    if options.insecure_skip_tls_verify {
        cluster.insecure_skip_tls_verify = Some(true);
        cluster.certificate_authority = None;
        cluster.certificate_authority_data = None;
    }
    if options.tls_server_name.is_some() {
        cluster.tls_server_name.clone_from(&options.tls_server_name);
    }
}

fn user_flags(user: &mut AuthInfo, options: &ConnectOptions) {
    if let Some(token) = &options.token {
        *user = AuthInfo { token: Some(token.clone()), ..AuthInfo::default() };
    }
    if let Some(path) = &options.client_certificate {
        user.client_certificate = Some(path.display().to_string());
        user.client_certificate_data = None;
    }
    if let Some(path) = &options.client_key {
        user.client_key = Some(path.display().to_string());
        user.client_key_data = None;
    }
    // Flags replace what the kubeconfig says; they are sent as headers.
    if options.impersonate_user.is_some() {
        user.impersonate = None;
        user.impersonate_groups = None;
    }
}

fn impersonation(options: &ConnectOptions) -> Result<HeaderMap, ClusterError> {
    let mut headers = HeaderMap::new();
    let value = |text: &str| {
        http::HeaderValue::from_str(text)
            .map_err(|_| ClusterError::Configuration(format!("{text:?} cannot be impersonated")))
    };
    let Some(user) = &options.impersonate_user else {
        let lonely = !options.impersonate_groups.is_empty() || options.impersonate_uid.is_some();
        return if lonely {
            Err(ClusterError::Configuration("--as-group and --as-uid need --as".into()))
        } else {
            Ok(headers)
        };
    };
    headers.insert("impersonate-user", value(user)?);
    for group in &options.impersonate_groups {
        headers.append("impersonate-group", value(group)?);
    }
    if let Some(uid) = &options.impersonate_uid {
        headers.insert("impersonate-uid", value(uid)?);
    }
    Ok(headers)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn kubeconfig() -> Kubeconfig {
        serde_json::from_value(serde_json::json!({
            "current-context": "a",
            "contexts": [{"name": "a", "context": {"cluster": "c", "user": "nobody"}}],
            "clusters": [{"name": "c", "cluster": {"server": "https://one:6443", "tls-server-name": "one"}}],
            "users": [],
        }))
        .unwrap()
    }

    #[test]
    fn flags_make_the_user_that_is_missing() {
        let options = ConnectOptions {
            token: Some("t".to_owned().into()),
            server: Some("https://two".into()),
            ..ConnectOptions::default()
        };
        let merged = with_flags(kubeconfig(), &options).unwrap();
        assert!(merged.auth_infos[0].auth_info.as_ref().unwrap().token.is_some());
        let cluster = merged.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(
            (cluster.server.as_deref(), cluster.tls_server_name.as_deref()),
            (Some("https://two"), None)
        );
    }

    #[test]
    fn a_wrong_context_names_those_there_are() {
        let options = ConnectOptions { context: Some("b".into()), ..ConnectOptions::default() };
        let error = with_flags(kubeconfig(), &options).unwrap_err().to_string();
        assert_eq!(error, "kubeconfig: there is no context \"b\"; there are: a");
    }

    #[test]
    fn a_server_alone_is_enough() {
        let options = ConnectOptions { server: Some("https://two".into()), ..ConnectOptions::default() };
        let merged = with_flags(Kubeconfig::default(), &options).unwrap();
        assert_eq!(merged.clusters[0].cluster.as_ref().unwrap().server.as_deref(), Some("https://two"));
        let error = with_flags(Kubeconfig::default(), &ConnectOptions::default()).unwrap_err().to_string();
        assert_eq!(error, "kubeconfig: no current context is set");
    }
}
