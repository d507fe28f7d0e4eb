//! Renders kept on disk, keyed by everything they depend on. A render that
//! holds a Secret is never kept; a file that cannot be read counts as absent,
//! and a disk that takes nothing only costs time.

use std::io::Write;
use std::path::{Path, PathBuf};

use gitops_core::desired::Rendered;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Part of the key: what rendering means. Raise it when that changes.
const VERSION: u32 = 1;

pub(super) struct Entry {
    path: PathBuf,
}

impl Entry {
    pub(super) fn new(cache: &Path, key: &impl Serialize) -> Self {
        let key = serde_json::to_vec(&(VERSION, key)).unwrap_or_default();
        let name = hex::encode(Sha256::digest(key));
        Self { path: cache.join("renders").join(&name[..2]).join(format!("{name}.json")) }
    }

    pub(super) fn read(&self) -> Option<Vec<Rendered>> {
        let bytes = std::fs::read(&self.path).ok()?;
        serde_json::from_slice(&bytes).inspect_err(|error| tracing::warn!(path = %self.path.display(), %error, "a kept render is broken; rendering anew")).ok()
    }

    pub(super) fn write(&self, rendered: &[Rendered]) {
        let secret =
            rendered.iter().any(|object| object.value.get("kind").is_some_and(|kind| kind == "Secret"));
        if secret {
            return;
        }
        if let Err(error) = self.try_write(rendered) {
            tracing::warn!(path = %self.path.display(), %error, "a render could not be kept");
        }
    }

    fn try_write(&self, rendered: &[Rendered]) -> std::io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec(rendered)?)?;
        file.persist(&self.path)?;
        Ok(())
    }
}
