//! What can go wrong between a repository and its objects. Each error names
//! the thing; advice belongs to the edge, which picks it by [`ErrorKind`].

use std::path::PathBuf;

/// What an error is about, for exit codes and hints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    NoSuchRevision,
    NoSuchPath,
    NotARepository,
    Credentials,
    Network,
    Timeout,
    BadYaml,
    Render,
    ToolMissing,
    ToolTooOld,
    Unsigned,
    Unsupported,
    Sops,
    Registry,
    Local,
    Moved,
    Protected,
    NotABranch,
    Nameless,
    Unfinished,
}

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{repo} has no branch, tag or commit {revision:?}")]
    NoSuchRevision { repo: String, revision: String, near: Vec<String> },
    #[error("{repo} has no {path:?} at {revision}")]
    NoSuchPath { repo: String, revision: String, path: String },
    #[error("{location} is not a Git repository")]
    NotARepository { location: String },
    #[error("{repo} refuses these credentials: {reason}")]
    Credentials { repo: String, reason: String },
    #[error("{repo} cannot be reached: {reason}")]
    Network { repo: String, reason: String },
    #[error("{what} took longer than {seconds} s")]
    Timeout { what: String, seconds: u64 },
    #[error("{file}:{line}:{column}: document {document}: {reason}")]
    BadYaml { file: String, line: usize, column: usize, document: usize, reason: String },
    /// An answer takes commits that have not been fetched.
    #[error("of {repo} only the newest commits are here")]
    Shallow { repo: String },
    #[error("{path}: {tool} failed: {reason}")]
    Render { tool: &'static str, path: String, reason: String },
    #[error("{tool} is not installed: {path} is not found")]
    ToolMissing { tool: &'static str, path: String },
    #[error("{tool} is {found}, but {needed} or newer is needed")]
    ToolTooOld { tool: &'static str, found: String, needed: &'static str },
    #[error("commit {commit} of {repo} does not count: {reason}")]
    Unsigned { repo: String, commit: String, reason: String },
    #[error("{path}: {reason}")]
    Unsupported { path: String, reason: String },
    #[error("{file}: SOPS: {reason}")]
    Sops { file: String, reason: String },
    #[error("{place}: {reason}")]
    Registry { place: String, reason: String },
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: std::io::Error },
    /// Somebody else has changed the branch meanwhile.
    #[error("branch {branch} of {repo} has moved on: {reason}")]
    Moved { repo: String, branch: String, reason: String },
    #[error("{repo} takes no push to {branch}: {reason}")]
    Protected { repo: String, branch: String, reason: String },
    #[error("{revision} of {repo} is no branch that a commit could go to")]
    NotABranch { repo: String, revision: String },
    #[error("Git does not know who makes this commit")]
    Nameless,
    /// Work in a checkout that a commit of ours would mix with.
    #[error("{}: {reason}", folder.display())]
    Unfinished { folder: PathBuf, reason: String },
    /// Certificates that Git's configuration names and that cannot be used.
    #[error("{}, which Git's http.sslCAInfo names: {reason}", path.display())]
    Authority { path: PathBuf, reason: String },
    #[error("{repo}: {reason}")]
    Git { repo: String, reason: String },
}

impl SourceError {
    /// What the error is about.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchRevision { .. } => ErrorKind::NoSuchRevision,
            Self::NoSuchPath { .. } => ErrorKind::NoSuchPath,
            Self::NotARepository { .. } => ErrorKind::NotARepository,
            Self::Credentials { .. } => ErrorKind::Credentials,
            Self::Network { .. } | Self::Shallow { .. } => ErrorKind::Network,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::BadYaml { .. } => ErrorKind::BadYaml,
            Self::Render { .. } => ErrorKind::Render,
            Self::ToolMissing { .. } => ErrorKind::ToolMissing,
            Self::ToolTooOld { .. } => ErrorKind::ToolTooOld,
            Self::Unsigned { .. } => ErrorKind::Unsigned,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Sops { .. } => ErrorKind::Sops,
            Self::Registry { .. } => ErrorKind::Registry,
            Self::Moved { .. } => ErrorKind::Moved,
            Self::Protected { .. } => ErrorKind::Protected,
            Self::NotABranch { .. } => ErrorKind::NotABranch,
            Self::Nameless => ErrorKind::Nameless,
            Self::Unfinished { .. } => ErrorKind::Unfinished,
            Self::Io { .. } | Self::Git { .. } | Self::Authority { .. } => ErrorKind::Local,
        }
    }

    /// The same with a tool's words, or a reader's, changed.
    pub(crate) fn reworded(mut self, change: impl FnOnce(&str) -> String) -> Self {
        if let Self::Render { reason, .. } | Self::BadYaml { reason, .. } | Self::Unsupported { reason, .. } =
            &mut self
        {
            *reason = change(reason);
        }
        self
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { path, error }
    }
}
