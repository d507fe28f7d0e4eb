//! Renders kept on disk, keyed by everything they depend on. Of a render that
//! holds a Secret only the fact is kept that it is the same twice. A file that
//! cannot be read counts as absent, and a disk that takes nothing only costs
//! time. What nobody has read for a month goes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gitops_core::desired::Rendered;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Part of the key: what rendering means. Raise it when that changes.
const VERSION: u32 = 2;
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

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
        // In use: the sweep leaves it.
        let _ =
            std::fs::File::open(&self.path).and_then(|file| file.set_modified(std::time::SystemTime::now()));
        serde_json::from_slice(&bytes).inspect_err(|error| tracing::warn!(path = %self.path.display(), %error, "a kept render is broken; rendering anew")).ok()
    }

    pub(super) fn write(&self, rendered: &[Rendered]) {
        let secret =
            rendered.iter().any(|object| object.value.get("kind").is_some_and(|kind| kind == "Secret"));
        let written = if secret {
            keep(&self.path.with_extension("steady"), "steady")
        } else {
            keep(&self.path, rendered)
        };
        if let Err(error) = written {
            tracing::warn!(path = %self.path.display(), %error, "a render could not be kept");
        }
    }

    /// Whether a render that is not kept was found to be the same twice.
    pub(super) fn is_steady(&self) -> bool {
        self.path.with_extension("steady").is_file()
    }
}

fn keep(path: &Path, content: &(impl Serialize + ?Sized)) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = std::io::BufWriter::new(tempfile::NamedTempFile::new_in(folder)?);
    serde_json::to_writer(&mut file, content)?;
    file.into_inner().map_err(std::io::IntoInnerError::into_error)?.persist(path)?;
    sweep(folder);
    Ok(())
}

/// Removes what is old from a folder that something was just put into.
fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let age = entry.metadata().and_then(|file| file.modified()).ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > MONTH) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
