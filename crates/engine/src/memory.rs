//! What a sync remembers where nothing is installed that could: the kinds an
//! Application has declared in a cluster, so that what leaves Git altogether
//! is still found. It only says where to look; what may be pruned is decided
//! by what earlier commits really declared.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use gitops_core::desired::AppRef;
use gitops_core::object::Gvk;
use sha2::{Digest, Sha256};

/// Kinds and namespaces in which an Application had objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Places {
    pub kinds: BTreeSet<Gvk>,
    pub namespaces: BTreeSet<String>,
    /// The commit whose hooks have all ended well.
    #[serde(default)]
    pub hooks: String,
}

/// One Application's file.
#[derive(Clone, Debug)]
pub struct Memory {
    path: PathBuf,
}

impl Memory {
    /// Of an Application in the cluster at `server`.
    pub fn of(cache_dir: &Path, server: &str, application: &AppRef) -> Self {
        let name = hex::encode(Sha256::digest(format!("{server} {application}")));
        Self { path: cache_dir.join("applications").join(format!("{}.json", &name[..32])) }
    }

    /// What is remembered; nothing when it cannot be read.
    pub fn read(&self) -> Places {
        std::fs::read(&self.path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// Remembers. A disk that takes nothing costs the next sync nothing but the
    /// kinds that left Git altogether.
    pub fn write(&self, places: &Places) {
        let write = || -> std::io::Result<()> {
            let folder = self.path.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(&serde_json::to_vec(places)?)?;
            file.persist(&self.path)?;
            Ok(())
        };
        if self.read() != *places
            && let Err(error) = write()
        {
            tracing::warn!(path = %self.path.display(), %error, "could not be kept");
        }
    }
}
