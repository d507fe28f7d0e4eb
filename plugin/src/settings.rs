//! Flags, environment and kubeconfig paths resolved. Nothing below this reads
//! the environment.

use std::path::PathBuf;
use std::time::Duration;

use gitops_cluster::{Cluster, ConnectOptions, Endpoint, Registered};
use gitops_engine::{Environment, Looks};
use gitops_source::sops::Keys;
use gitops_source::{Credentials, Tools};

use crate::cli::GlobalFlags;
use crate::error::Failure;

/// How long one fetch may take.
const GIT_TIMEOUT: Duration = Duration::from_secs(120);

/// Everything a command needs to know of its surroundings.
#[derive(Clone, Debug)]
pub struct Settings {
    connect: ConnectOptions,
    pub namespace: Option<String>,
    pub credentials: Credentials,
    pub cache_dir: PathBuf,
    pub tools: Tools,
    /// For SOPS files.
    pub keys: Keys,
    /// Where the user stands.
    pub folder: PathBuf,
}

impl Settings {
    /// Resolves what was typed.
    pub fn resolve(flags: &GlobalFlags) -> Result<Self, Failure> {
        if let Some(flag) = flags.refused.given() {
            return Err(Failure::usage(format!("{flag} is not supported"))
                .hint("leave it out; `kubectl gitops --help` lists the flags"));
        }
        let cache_dir = match &flags.cache_dir {
            Some(dir) => dir.join("gitops"),
            None => default_cache(),
        };
        let kubeconfig =
            match (&flags.kubeconfig, std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty())) {
                (Some(file), _) => vec![file.clone()],
                (None, Some(list)) => {
                    std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect()
                }
                (None, None) => Vec::new(),
            };
        let connect = ConnectOptions {
            kubeconfig,
            context: flags.context.clone(),
            cluster: flags.cluster.clone(),
            user: flags.user.clone(),
            namespace: flags.namespace.clone(),
            server: flags.server.clone(),
            token: flags.token.clone().map(Into::into),
            impersonate_user: flags.as_user.clone(),
            impersonate_groups: flags.as_group.clone(),
            impersonate_uid: flags.as_uid.clone(),
            certificate_authority: flags.certificate_authority.clone(),
            client_certificate: flags.client_certificate.clone(),
            client_key: flags.client_key.clone(),
            insecure_skip_tls_verify: flags.insecure_skip_tls_verify,
            tls_server_name: flags.tls_server_name.clone(),
            request_timeout: flags.request_timeout.as_deref().map(duration).transpose()?.flatten(),
            cache_dir: Some(cache_dir.clone()),
        };
        let folder = std::env::current_dir()
            .map_err(|error| Failure::other(format!("the current folder: {error}")))?;
        let credentials = Credentials::from_environment(|name| std::env::var(name).ok());
        let tools = Tools::from_environment(|name| std::env::var_os(name));
        let keys = Keys::from_environment(|name| std::env::var_os(name))?;
        Ok(Self { connect, namespace: flags.namespace.clone(), credentials, cache_dir, tools, keys, folder })
    }

    /// The same, where no other namespace is written.
    pub fn in_namespace(&self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self.clone() }
    }

    /// A client of the cluster; nothing is sent yet.
    pub async fn cluster(&self) -> Result<Cluster, Failure> {
        Ok(Cluster::connect(&self.connect).await?)
    }

    /// The cluster that a Secret describes.
    pub async fn registered(&self, registered: &Registered) -> Result<Cluster, Failure> {
        let timeout = self.connect.request_timeout;
        Ok(registered.connect(Some(self.cache_dir.clone()), timeout).await?.cluster)
    }

    /// Whether the kubeconfig has a context of this name.
    pub fn has_context(&self, name: &str) -> bool {
        self.connect.contexts().is_ok_and(|known| known.iter().any(|known| known == name))
    }

    /// The cluster of another context.
    pub async fn context(&self, name: &str) -> Result<Cluster, Failure> {
        Ok(Cluster::connect(&self.with_context(name)).await?)
    }

    /// Where another context leads.
    pub fn endpoint(&self, name: &str) -> Result<Endpoint, Failure> {
        Ok(self.with_context(name).endpoint()?)
    }

    fn with_context(&self, name: &str) -> ConnectOptions {
        ConnectOptions {
            kubeconfig: self.connect.kubeconfig.clone(),
            context: Some(name.to_owned()),
            request_timeout: self.connect.request_timeout,
            cache_dir: Some(self.cache_dir.clone()),
            ..ConnectOptions::default()
        }
    }

    /// What rendering needs, for a destination of this version. Git is looked
    /// at once with it, and again where it is told so.
    pub fn environment(&self, kube_version: &str, api_versions: Vec<String>) -> Environment {
        Environment {
            cache_dir: self.cache_dir.clone(),
            tools: self.tools.clone(),
            git_timeout: GIT_TIMEOUT,
            looks: Looks::once(),
            kube_version: kube_version.to_owned(),
            api_versions,
            keys: self.keys.clone(),
        }
    }
}

fn default_cache() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("kubectl-gitops")
}

/// Who runs this, and where.
pub fn who() -> String {
    let user = std::env::var("USER").unwrap_or_else(|_| "someone".into());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "a computer" } else { host.trim() };
    format!("{user} on {host}")
}

/// kubectl's durations: `0` is no limit, a bare number counts seconds.
pub fn duration(text: &str) -> Result<Option<Duration>, Failure> {
    let bad = || Failure::usage(format!("{text:?} is no duration")).hint("write 30s, 5m, or 0 for no limit");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok((seconds > 0).then(|| Duration::from_secs(seconds)));
    }
    let duration = gitops_engine::program::duration(text).map_err(|_| bad())?;
    Ok(Some(duration).filter(|duration| !duration.is_zero()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_kubectl_reads_them() {
        let read = |text: &str| duration(text).map_err(|failure| failure.code);
        assert_eq!(read("0"), Ok(None));
        assert_eq!(read("0s"), Ok(None));
        assert_eq!(read("5"), Ok(Some(Duration::from_secs(5))));
        assert_eq!(read("1m30s"), Ok(Some(Duration::from_secs(90))));
        assert_eq!(read("500ms"), Ok(Some(Duration::from_millis(500))));
        assert_eq!(read("soon"), Err(2));
    }
}
