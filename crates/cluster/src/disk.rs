//! Small files kept from one run to the next. A file that cannot be read
//! counts as absent; a disk that takes nothing only costs time.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// The folder of one API server.
pub(crate) fn folder(cache_dir: &Path, server: &str) -> PathBuf {
    cache_dir.join("clusters").join(&hex::encode(Sha256::digest(server))[..32])
}

pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

pub(crate) fn write<T: Serialize>(path: &Path, value: &T) {
    let write = || -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.persist(path)?;
        Ok(())
    };
    if let Err(error) = write() {
        tracing::warn!(path = %path.display(), %error, "could not be kept");
    }
}
