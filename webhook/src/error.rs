//! What ends the program, or one of its attempts.

/// An error of this program.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Cluster(#[from] gitops_cluster::ClusterError),
    #[error("Kubernetes: {0}")]
    Kube(#[from] kube::Error),
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("TLS: {0}")]
    Tls(String),
    #[error(transparent)]
    Ended(#[from] gitops_engine::program::Ended),
    #[error("{what}: {error}")]
    Io { what: String, error: std::io::Error },
}
