//! Why a measurement says nothing.

use gitops_cluster::ClusterError;

/// An error of one measurement; it names the address that was asked.
#[derive(Debug, thiserror::Error)]
pub enum AnalysisError {
    #[error("{address}: {reason}")]
    Unreachable { address: String, reason: String },
    #[error("{address} answers {status}: {reason}")]
    Status { address: String, status: u16, reason: String },
    /// An answer that cannot be read.
    #[error("{address}: {reason}")]
    Answer { address: String, reason: String },
    #[error("{address:?} cannot be asked: {reason}")]
    Address { address: String, reason: String },
    /// What lets a measurement in, and why it does not.
    #[error("{what}: {reason}")]
    Access { what: String, reason: String },
    #[error("{0}")]
    NoData(String),
    #[error("success: {0}")]
    Condition(String),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("no answer within {0} seconds")]
    Late(u64),
}
