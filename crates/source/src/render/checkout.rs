//! A commit on disk for the tools. In: a snapshot. Out: its files beside a
//! HOME for one render; all of it is gone with this value.

use std::path::{Path, PathBuf};

use crate::error::SourceError;
use crate::git::Snapshot;

/// The repository's folder in a checkout; a tool's marks begin with it.
pub(super) const REPOSITORY: &str = "repository";

pub(super) struct Checkout {
    folder: tempfile::TempDir,
    home: tempfile::TempDir,
}

impl Checkout {
    pub(super) fn new(snapshot: &Snapshot) -> Result<Self, SourceError> {
        let temporary = || tempfile::tempdir().map_err(SourceError::io(std::env::temp_dir()));
        let checkout = Self { folder: temporary()?, home: temporary()? };
        let root = checkout.root();
        std::fs::create_dir(&root).map_err(SourceError::io(&root))?;
        snapshot.checkout(&root)?;
        Ok(checkout)
    }

    /// What a tool may read.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a tool may write to.
    pub(super) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The repository's root.
    pub(super) fn root(&self) -> PathBuf {
        self.folder().join(REPOSITORY)
    }

    /// A path of the repository.
    pub(super) fn inside(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_matches('/'))
    }

    /// Puts a file beside the repository.
    pub(super) fn put(&self, name: &str, text: &str) -> Result<PathBuf, SourceError> {
        let path = self.folder().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(SourceError::io(parent))?;
        }
        std::fs::write(&path, text).map_err(SourceError::io(&path))?;
        Ok(path)
    }
}
