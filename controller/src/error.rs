//! What can go wrong.

use gitops_engine::EngineError;
use gitops_engine::program::Ended;
use gitops_engine::spec::Mistake;

/// An error of this program.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Cluster(#[from] gitops_cluster::ClusterError),
    /// The last look at a repository failed; the next one wakes its Applications.
    #[error("{0}")]
    Git(String),
    /// A cluster that cannot be used now; a reason in CamelCase, and in words.
    #[error("cluster {cluster}: {message}")]
    Destination { cluster: String, reason: &'static str, message: String },
    #[error(transparent)]
    Spec(#[from] Mistake),
    /// What signs push events.
    #[error("{what}: {reason}")]
    Keys { what: String, reason: String },
    #[error("{what}: {error}")]
    Io { what: String, error: std::io::Error },
    #[error(transparent)]
    Ended(#[from] Ended),
}

impl Error {
    /// Whether the API server could not be asked, or did not know who asks.
    pub fn is_of_the_way(&self) -> bool {
        use gitops_cluster::ErrorKind::{Busy, Timeout, Unauthorized, Unreachable, Webhook};
        match self {
            Self::Cluster(error) | Self::Engine(EngineError::Cluster(error)) => {
                matches!(error.kind(), Unreachable | Timeout | Unauthorized | Busy | Webhook)
            }
            _ => false,
        }
    }
}
