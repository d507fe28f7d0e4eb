//! From kubectl's flags and kubeconfig to a client.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderMap;
use kube::config::{KubeConfigOptions, Kubeconfig};
use secrecy::SecretString;

use crate::error::ClusterError;
use crate::transport::Cluster;

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
        let mut config = configuration(options).await?;
        config.connect_timeout = Some(Duration::from_secs(10));
        config.read_timeout = None;
        config.write_timeout = None;
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let namespace = options.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = kube::Client::try_from(config).map_err(|error| ClusterError::Configuration(error.to_string()))?;
        let cluster = Self::from_client(client, &server, &namespace, options.cache_dir.clone());
        Ok(cluster.with_headers(impersonation(options)?).with_timeout(options.request_timeout))
    }
}

async fn configuration(options: &ConnectOptions) -> Result<kube::Config, ClusterError> {
    let failed = |error: &dyn std::fmt::Display| ClusterError::Configuration(error.to_string());
    let kubeconfig = match merged(&options.kubeconfig)? {
        Some(kubeconfig) => kubeconfig,
        None => match Kubeconfig::read() {
            Ok(kubeconfig) => kubeconfig,
            Err(_) if kube::Config::incluster().is_ok() => return kube::Config::incluster().map_err(|error| failed(&error)),
            Err(_) if options.server.is_some() => Kubeconfig::default(),
            Err(_) => return Err(failed(&"no cluster is configured: neither $KUBECONFIG, ~/.kube/config nor a service account names one")),
        },
    };
    let kubeconfig = with_flags(kubeconfig, options)?;
    let choice = KubeConfigOptions { context: options.context.clone(), cluster: options.cluster.clone(), user: options.user.clone() };
    kube::Config::from_custom_kubeconfig(kubeconfig, &choice).await.map_err(|error| failed(&error))
}

fn merged(files: &[PathBuf]) -> Result<Option<Kubeconfig>, ClusterError> {
    let mut merged: Option<Kubeconfig> = None;
    for file in files {
        // kubectl passes over files of a list that are not there.
        if files.len() > 1 && !file.exists() {
            continue;
        }
        let read = Kubeconfig::read_from(file).map_err(|error| ClusterError::Configuration(format!("{}: {error}", file.display())))?;
        merged = Some(match merged {
            None => read,
            Some(before) => before.merge(read).map_err(|error| ClusterError::Configuration(error.to_string()))?,
        });
    }
    Ok(merged)
}

/// Writes the flags into the context that will be used, as kubectl does.
fn with_flags(mut kubeconfig: Kubeconfig, options: &ConnectOptions) -> Result<Kubeconfig, ClusterError> {
    let wanted = options.context.clone().or_else(|| kubeconfig.current_context.clone());
    if wanted.is_none() && options.server.is_none() && options.cluster.is_none() {
        return Err(ClusterError::Configuration("no current context is set".into()));
    }
    let known: Vec<&str> = kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect();
    if let Some(name) = &wanted
        && !known.contains(&name.as_str())
    {
        return Err(ClusterError::Configuration(format!("there is no context {name:?}; there are: {}", known.join(", "))));
    }
    let name = wanted.unwrap_or_else(|| "flags".into());
    if kubeconfig.contexts.iter().all(|context| context.name != name) {
        let json = serde_json::json!({"contexts": [{"name": name, "context": {"cluster": "flags", "user": "flags"}}],
            "clusters": [{"name": "flags", "cluster": {"server": options.server}}], "users": [{"name": "flags", "user": {}}], "current-context": name});
        kubeconfig = serde_json::from_value(json).map_err(|error| ClusterError::Configuration(error.to_string()))?;
    }
    let context = kubeconfig.contexts.iter().find(|context| context.name == name).and_then(|context| context.context.clone());
    let cluster_name = options.cluster.clone().or_else(|| context.as_ref().map(|context| context.cluster.clone()));
    let user_name = options.user.clone().or_else(|| context.and_then(|context| context.user));
    if let Some(cluster) = kubeconfig.clusters.iter_mut().find(|c| Some(&c.name) == cluster_name.as_ref()).and_then(|c| c.cluster.as_mut()) {
        if options.server.is_some() {
            cluster.server.clone_from(&options.server);
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
    if let Some(user) = kubeconfig.auth_infos.iter_mut().find(|u| Some(&u.name) == user_name.as_ref()).and_then(|u| u.auth_info.as_mut()) {
        if let Some(token) = &options.token {
            *user = kube::config::AuthInfo { token: Some(token.clone()), ..Default::default() };
        }
        if let Some(path) = &options.client_certificate {
            user.client_certificate = Some(path.display().to_string());
            user.client_certificate_data = None;
        }
        if let Some(path) = &options.client_key {
            user.client_key = Some(path.display().to_string());
            user.client_key_data = None;
        }
    }
    Ok(kubeconfig)
}

fn impersonation(options: &ConnectOptions) -> Result<HeaderMap, ClusterError> {
    let mut headers = HeaderMap::new();
    let value = |text: &str| http::HeaderValue::from_str(text).map_err(|_| ClusterError::Configuration(format!("{text:?} cannot be impersonated")));
    if let Some(user) = &options.impersonate_user {
        headers.insert("impersonate-user", value(user)?);
    }
    for group in &options.impersonate_groups {
        headers.append("impersonate-group", value(group)?);
    }
    if let Some(uid) = &options.impersonate_uid {
        headers.insert("impersonate-uid", value(uid)?);
    }
    Ok(headers)
}
