//! What can go wrong with a cluster.

use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0:?} is no name for a cluster: letters, digits and dashes, at most 40")]
    Name(String),
    #[error("there is a cluster {name} already, in {}: take it down first", dir.display())]
    Exists { name: String, dir: PathBuf },
    #[error("another process is starting or stopping a cluster {name}: wait, or use another name")]
    Busy { name: String },
    #[error("no {0} is free")]
    NoneFree(&'static str),
    #[error("there is no cluster {0}")]
    Absent(String),
    #[error("not taken down: {}", .0.join(", "))]
    Left(Vec<String>),
    #[error("{reason}; its logs are in {}", logs.display())]
    Start { reason: String, logs: PathBuf },
    #[error("{what} is not ready after {seconds} s")]
    NotReady { what: &'static str, seconds: u64 },
    #[error("{0} ended by itself")]
    Ended(String),
    #[error("{command}: {reason}")]
    Command { command: String, reason: String },
    #[error("a node needs Linux and root")]
    NoNode,
    #[error("control group {}: the controller {controller} cannot be enabled for its children: {error}", group.display())]
    Controller { controller: &'static str, group: PathBuf, error: std::io::Error },
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: std::io::Error },
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { path, error }
    }
}
