//! What a render reads, on disk for its tool. In: a snapshot and a closure.
//! Out: its files beside a HOME for one render, SOPS files decrypted; all of it
//! is gone with this value.

use std::path::{Path, PathBuf};

use super::closure::Closure;
use crate::error::SourceError;
use crate::git::Snapshot;
use crate::sops::{self, Keys};

/// The repository's folder in a checkout; a tool's marks begin with it.
pub(super) const REPOSITORY: &str = "repository";
/// Memory that looks like a folder, where there is one: what is decrypted is
/// not to touch a disk.
const IN_MEMORY: &str = "/dev/shm";

pub(super) struct Checkout {
    folder: tempfile::TempDir,
    home: tempfile::TempDir,
    /// How SOPS files fared; one that nothing reads may stay as it is.
    pub sops: sops::Report,
}

impl Checkout {
    pub(super) fn new(snapshot: &Snapshot, closure: &Closure, keys: &Keys) -> Result<Self, SourceError> {
        let usual = || tempfile::tempdir().map_err(SourceError::io(std::env::temp_dir()));
        let folder = match tempfile::tempdir_in(IN_MEMORY) {
            Ok(folder) if !keys.is_empty() => folder,
            _ => usual()?,
        };
        let mut checkout = Self { folder, home: usual()?, sops: sops::Report::default() };
        let root = checkout.root();
        std::fs::create_dir(&root).map_err(SourceError::io(&root))?;
        let only = closure.present(snapshot);
        let report = &mut checkout.sops;
        snapshot.checkout(&root, only.as_deref(), &mut |path, data| report.decrypted(path, data, keys))?;
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
    pub(super) fn put(&self, name: &str, text: impl AsRef<[u8]>) -> Result<PathBuf, SourceError> {
        let path = self.folder().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(SourceError::io(parent))?;
        }
        std::fs::write(&path, text).map_err(SourceError::io(&path))?;
        Ok(path)
    }
}
