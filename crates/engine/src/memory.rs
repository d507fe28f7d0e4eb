//! What a sync remembers: the kinds an Application has declared in a cluster, so
//! that what leaves Git altogether is still found. It only says where to look; what
//! may be pruned is decided by what earlier commits really declared. And the Jobs
//! that have run and are gone, so that they do not run twice. It is kept in a file,
//! and with the Application's Lease, where whoever syncs from elsewhere finds it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use gitops_cluster::Cluster;
use gitops_core::desired::{AppRef, DesiredObject};
use gitops_core::object::{Gvk, ObjectKey};
use sha2::{Digest, Sha256};

use crate::desired::Environment;

/// Kinds and namespaces in which an Application had objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Places {
    pub kinds: BTreeSet<Gvk>,
    pub namespaces: BTreeSet<String>,
    /// Raised whenever `hooks` or `run` change: those of the greater one are right.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub turn: u64,
    /// The commit whose hooks have all ended well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hooks: String,
    /// Jobs that go some time after they have run, by namespace and name: the
    /// hash of what Git said when they were made.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub run: BTreeMap<String, String>,
    /// A deletion that has begun and whose last hooks have not ended well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleting: bool,
}

/// Jobs that are kept with a Lease: an annotation has an end.
const MOST_JOBS: usize = 500;
/// Namespaces, too.
const MOST_NAMESPACES: usize = 500;
/// Stands for all namespaces.
const ALL: &str = "*";
/// How the hash of a Job begins that holds a secret. It is kept with no Lease.
const OWN: &str = "own:";

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_zero(turn: &u64) -> bool {
    *turn == 0
}

impl Places {
    /// In which namespaces objects of a kind may be; an empty name: in all, or in none.
    pub(crate) fn namespaces_of(&self, namespaced: bool) -> BTreeSet<String> {
        if !namespaced || self.namespaces.contains(ALL) {
            return [String::new()].into();
        }
        self.namespaces.iter().filter(|name| !name.is_empty()).cloned().collect()
    }

    /// As they are kept with a Lease.
    pub(crate) fn noted(&self) -> String {
        let run = self.run.iter().filter(|(_, hash)| !hash.starts_with(OWN)).take(MOST_JOBS);
        let namespaces = if self.namespaces.len() > MOST_NAMESPACES {
            [ALL.to_owned()].into()
        } else {
            self.namespaces.clone()
        };
        let places = Self {
            kinds: self.kinds.clone(),
            namespaces,
            turn: self.turn,
            hooks: self.hooks.clone(),
            run: run.map(|(name, hash)| (name.clone(), hash.clone())).collect(),
            deleting: false,
        };
        serde_json::to_string(&places).unwrap_or_default()
    }

    /// From a note.
    pub(crate) fn of_note(note: &str) -> Option<Self> {
        serde_json::from_str(note).ok()
    }

    /// Where either knows of something; what has run as whoever came last has it. A
    /// note that is older than what is known here was made before a Lease could not be
    /// given back.
    #[must_use]
    pub(crate) fn joined(mut self, noted: Self) -> Self {
        self.kinds.extend(noted.kinds);
        self.namespaces.extend(noted.namespaces);
        if noted.turn >= self.turn {
            // Nobody else knows these.
            self.run.retain(|_, hash| hash.starts_with(OWN));
            self.run.extend(noted.run);
            (self.turn, self.hooks) = (noted.turn, noted.hooks);
        }
        self
    }
}

/// The name and the hash under which a Job is remembered that its time to live
/// takes away. While Git says the same, it is not made again.
pub fn expiring(object: &DesiredObject) -> Option<(String, String)> {
    if !may_expire(&object.key) {
        return None;
    }
    object.value.pointer("/spec/ttlSecondsAfterFinished")?;
    let own = if object.origin.confidential.is_empty() { "" } else { OWN };
    let hash = format!("{own}{}", hex::encode(Sha256::digest(object.value.to_string())));
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

    /// Of an Application in a cluster.
    pub fn at(cluster: &Cluster, environment: &Environment, application: &AppRef) -> Self {
        Self::of(&environment.cache_dir, &cluster.remembered_as(), application)
    }

    /// A file of the same Application that holds something else.
    pub(crate) fn beside(&self, extension: &str) -> PathBuf {
        self.path.with_extension(extension)
    }

    /// What is remembered; nothing when it cannot be read.
    pub fn read(&self) -> Places {
        self.known().unwrap_or_default()
    }

    /// The same; none where nothing was ever remembered here.
    pub(crate) fn known(&self) -> Option<Places> {
        serde_json::from_slice(&std::fs::read(&self.path).ok()?).ok()
    }

    /// Remembers. A disk that takes nothing costs the next sync nothing but the
    /// kinds that left Git altogether.
    pub fn write(&self, places: &Places) {
        if self.known().as_ref() != Some(places) {
            keep(&self.path, &serde_json::to_vec(places).unwrap_or_default());
        }
    }

    /// Changes what has run, which is right from now on, whoever asks.
    pub(crate) fn advance(&self, change: impl FnOnce(&mut Places)) {
        let before = self.read();
        let mut after = before.clone();
        change(&mut after);
        if after != before {
            after.turn += 1;
            self.write(&after);
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
    fn what_is_kept_with_a_lease_has_an_end_and_no_secrets() {
        let value = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"},
            "spec": {"ttlSecondsAfterFinished": 0, "activeDeadlineSeconds": 7}});
        let secret = expiring(set(value, &["7"]).objects.values().next().unwrap()).unwrap();
        let open = |at: usize| (format!("shop/{at}"), "hash".to_owned());
        let places = Places {
            kinds: [Gvk::new("v1", "Secret")].into(),
            namespaces: (0..999).map(|at| format!("n{at}")).collect(),
            turn: 3,
            hooks: "abc".into(),
            run: (0..999).map(open).chain([secret]).collect(),
            deleting: true,
        };
        let noted = Places::of_note(&places.noted()).unwrap();
        assert_eq!((&noted.kinds, noted.hooks.as_str(), noted.deleting), (&places.kinds, "abc", false));
        assert_eq!((noted.turn, noted.run.len()), (3, MOST_JOBS));
        let everywhere = [String::new()].into();
        assert_eq!(noted.namespaces_of(true), everywhere);
        assert_eq!(noted.namespaces_of(false), everywhere);
        assert!(noted.run.values().all(|hash| hash == "hash"));
    }

    #[test]
    fn what_somebody_else_has_done_later_counts() {
        let of = |turn: u64, hooks: &str, namespace: &str, hash: &str| Places {
            namespaces: [namespace.to_owned()].into(),
            turn,
            hooks: hooks.into(),
            run: [("shop/j".to_owned(), hash.to_owned()), (format!("shop/{hooks}"), OWN.to_owned())].into(),
            ..Places::default()
        };
        for turn in [1, 2] {
            let both = of(1, "one", "a", "1").joined(of(turn, "two", "b", "2"));
            assert_eq!((both.hooks.as_str(), both.namespaces.len(), both.turn), ("two", 2, turn));
            assert_eq!(both.run["shop/j"], "2");
            assert!(both.run.contains_key("shop/one"), "nobody else knows it");
        }
        let deleted = Places { turn: 2, ..Places::default() };
        let after = of(1, "one", "a", "1").joined(deleted);
        assert!(after.hooks.is_empty() && !after.run.contains_key("shop/j"), "it is made anew");
    }

    #[test]
    fn a_note_from_before_a_lease_that_was_not_given_back_is_old() {
        let run = [("shop/j".to_owned(), "1".to_owned())];
        let here = Places { turn: 2, hooks: "new".into(), run: run.into(), ..Places::default() };
        let noted = Places { turn: 1, hooks: "old".into(), ..Places::default() };
        assert_eq!(here.clone().joined(noted), here);
    }

    #[test]
    fn only_what_has_run_is_a_turn() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::of(folder.path(), "here", &crate::fixture::loaded().application);
        memory.write(&Places { namespaces: ["shop".to_owned()].into(), ..Places::default() });
        for _ in 0..2 {
            memory.advance(|places| places.hooks = "abc".into());
        }
        assert_eq!((memory.read().turn, memory.read().namespaces.len()), (1, 1));
    }

    #[test]
    fn what_an_older_version_wrote_is_still_read() {
        let places: Places = serde_json::from_str(r#"{"kinds": [], "namespaces": ["shop"]}"#).unwrap();
        assert!(places.run.is_empty() && places.namespaces.contains("shop"));
    }
}
