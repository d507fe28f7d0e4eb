//! What can go wrong between an Application and the cluster.

use gitops_api::Refusal;
use gitops_cluster::ClusterError;
use gitops_core::desired::DesiredError;
use gitops_core::object::ObjectKey;
use gitops_source::SourceError;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// All mistakes of one render.
    #[error("{}", list(.0))]
    Desired(Vec<DesiredError>),
    #[error("{file}: {reason}")]
    Application { file: String, reason: String },
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A commit that the Project does not take.
    #[error("commit {commit} of {repo} does not count: {reason}")]
    Untrusted { repo: String, commit: String, reason: String },
    /// A chart that a kustomization inflates, which the Project does not take.
    #[error("chart {chart} of {repo} does not count: {reason}")]
    UntrustedChart { repo: String, chart: String, reason: String },
    #[error("{application}: {reason}")]
    Secret { application: String, reason: String },
    #[error(
        "the branch went back from commit {from} to {to}, which is older, and is not followed: push a commit that reverts"
    )]
    Rewound { from: String, to: String },
    /// Another Application declares an object too.
    #[error("{key} is Application {owner}'s; nothing was applied (FailOnSharedResource)")]
    Shared { key: String, owner: String },
    #[error("Namespace {name} is not there; nothing was applied")]
    NoNamespace { name: String },
    /// What is wrong with a Rollout, or with what its status says.
    #[error("{rollout}: {reason}")]
    Rollout { rollout: ObjectKey, reason: String },
    /// A status names a commit that is none of the branch's.
    #[error("commit {revision} does not come before {tip}")]
    NotOnBranch { revision: String, tip: String },
    #[error("{0}")]
    Internal(String),
}

fn list(errors: &[DesiredError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
