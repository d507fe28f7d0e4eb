//! What a sync remembers where nothing is installed that could: the kinds an
//! Application has declared in a cluster, so that what leaves Git altogether
//! is still found. It only says where to look; what may be pruned is decided
//! by what earlier commits really declared. And the Jobs that have run and are
//! gone, so that they do not run twice.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use gitops_core::desired::{AppRef, DesiredObject};
use gitops_core::object::{Gvk, ObjectKey};
use sha2::{Digest, Sha256};

/// Kinds and namespaces in which an Application had objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Places {
    pub kinds: BTreeSet<Gvk>,
    pub namespaces: BTreeSet<String>,
    /// The commit whose hooks have all ended well.
    #[serde(default)]
    pub hooks: String,
    /// Jobs that go some time after they have run, by namespace and name: the
    /// hash of what Git said when they were made.
    #[serde(default)]
    pub run: BTreeMap<String, String>,
    /// A deletion that has begun and whose last hooks have not ended well.
    #[serde(default)]
    pub deleting: bool,
}

/// The name and the hash under which a Job is remembered that its time to live
/// takes away. While Git says the same, it is not made again.
pub fn expiring(object: &DesiredObject) -> Option<(String, String)> {
    if !may_expire(&object.key) {
        return None;
    }
    object.value.pointer("/spec/ttlSecondsAfterFinished")?;
    let hash = hex::encode(Sha256::digest(object.value.to_string()));
    Some((format!("{}/{}", object.key.namespace, object.key.name), hash))
}

/// Whether an object is of the kind of those that a time to live takes away.
pub fn may_expire(key: &ObjectKey) -> bool {
    key.group == "batch" && key.kind == "Job"
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

    /// A file of the same Application that holds something else.
    pub(crate) fn beside(&self, extension: &str) -> PathBuf {
        self.path.with_extension(extension)
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
        if self.read() != *places {
            keep(&self.path, &serde_json::to_vec(places).unwrap_or_default());
        }
    }
}

/// Writes a file as a whole. A disk that takes nothing only costs time.
pub(crate) fn keep(path: &Path, bytes: &[u8]) {
    let write = || -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.persist(path)?;
        Ok(())
    };
    if let Err(error) = write() {
        tracing::warn!(path = %path.display(), %error, "could not be kept");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fixture::set;

    #[test]
    fn only_jobs_with_a_time_to_live_are_remembered() {
        let job = |kind: &str, spec: Value| {
            let object =
                json!({"apiVersion": "batch/v1", "kind": kind, "metadata": {"name": "j"}, "spec": spec});
            expiring(set(object, &[]).objects.values().next().unwrap())
        };
        let (name, hash) = job("Job", json!({"ttlSecondsAfterFinished": 0})).unwrap();
        assert_eq!(name, "shop/j");
        assert_ne!(job("Job", json!({"ttlSecondsAfterFinished": 1})).unwrap().1, hash);
        assert_eq!(job("Job", json!({})), None);
        assert_eq!(job("CronJob", json!({"ttlSecondsAfterFinished": 0})), None);
    }

    #[test]
    fn what_an_older_version_wrote_is_still_read() {
        let places: Places = serde_json::from_str(r#"{"kinds": [], "namespaces": ["shop"]}"#).unwrap();
        assert!(places.run.is_empty() && places.namespaces.contains("shop"));
    }
}
