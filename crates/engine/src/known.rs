//! What was found to be as Git says. In: desired and live objects, and what an
//! earlier comparison has found. Out: those that need not be compared again, for
//! nothing that a comparison looks at has changed: the live object's text, what
//! Git says of it, the schemas, what is left to others, and this very program.
//! All of that is in one hash for each object, kept on disk. Of what holds a
//! secret none is kept.

use std::collections::{HashMap, HashSet};
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::LazyLock;

use gitops_cluster::{ClusterError, Live};
use gitops_core::delegation::Delegated;
use gitops_core::desired::{DesiredObject, DesiredSet};
use gitops_core::object::ObjectKey;
use gitops_core::plan::{Action, Plan};
use gitops_core::schema::Schemas;
use gitops_core::verdict::Policy;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::memory::{Memory, keep};

const LENGTH: usize = 32;
type Hash = [u8; LENGTH];

/// Which program this is: another one may compare otherwise. None where that
/// cannot be told.
static PROGRAM: LazyLock<Option<String>> = LazyLock::new(|| {
    let file = std::env::current_exe().and_then(std::fs::metadata).ok()?;
    let changed = file.modified().ok()?;
    Some(format!("{} {} {changed:?}", env!("CARGO_PKG_VERSION"), file.len()))
});

/// Comparisons of one Application that found no difference.
pub(crate) struct Known<'a> {
    path: PathBuf,
    /// What all comparisons have in common; none: nothing is known.
    ground: Option<Hash>,
    before: HashSet<Hash>,
    /// Of the objects that are there.
    hashes: HashMap<&'a ObjectKey, Hash>,
}

impl<'a> Known<'a> {
    /// What is kept beside an Application's memory; nothing when it cannot be
    /// read.
    pub(crate) fn read(memory: &Memory, schemas: &Schemas, policy: &Policy, delegated: &Delegated) -> Self {
        let path = memory.beside("same");
        let bytes = std::fs::read(&path).unwrap_or_default();
        let (hashes, _) = bytes.as_chunks::<LENGTH>();
        let ground = PROGRAM.as_ref().and_then(|program| {
            let schemas = serde_json::to_vec(schemas).ok()?;
            let mut hash = Sha256::new_with_prefix(format!("{program}\n{policy:?}\n{delegated:?}\n"));
            hash.update(schemas);
            Some(hash.finalize().into())
        });
        Self { path, ground, before: hashes.iter().copied().collect(), hashes: HashMap::new() }
    }

    /// The objects that are there and as Git says, as is known. All others are
    /// parsed, so that they can be compared.
    pub(crate) fn same(
        &mut self,
        set: &'a DesiredSet,
        live: &Live,
    ) -> Result<HashSet<&'a ObjectKey>, ClusterError> {
        let look = |(key, object): (&'a ObjectKey, &'a DesiredObject)| {
            let hash = self.ground.as_ref().and_then(|ground| hash(ground, object, live.text(key)?));
            if hash.is_none_or(|hash| !self.before.contains(&hash)) {
                live.read(key).map_err(|error| ClusterError::Other {
                    what: key.to_string(),
                    message: error.to_string(),
                })?;
            }
            Ok(hash.map(|hash| (key, hash)))
        };
        let hashes: Result<Vec<_>, ClusterError> = set.objects.par_iter().map(look).collect();
        self.hashes = hashes?.into_iter().flatten().collect();
        let same = self.hashes.iter().filter(|(_, hash)| self.before.contains(*hash));
        Ok(same.map(|(key, _)| *key).collect())
    }

    /// Keeps what a plan has found.
    pub(crate) fn keep(&self, plan: &Plan) {
        let unchanged = plan.steps.iter().filter(|step| step.action == Action::Unchanged);
        let now: HashSet<Hash> = unchanged.filter_map(|step| self.hashes.get(&step.key).copied()).collect();
        if now != self.before {
            let mut bytes: Vec<Hash> = now.into_iter().collect();
            bytes.sort_unstable();
            keep(&self.path, bytes.as_flattened());
        }
    }
}

/// Everything that the comparison of two objects looks at; none where a secret is
/// among it.
fn hash(ground: &Hash, object: &DesiredObject, live: &[u8]) -> Option<Hash> {
    if object.gvk.is_secret() || !object.origin.confidential.is_empty() {
        return None;
    }
    let mut out = BufWriter::with_capacity(1 << 13, Sha256::new_with_prefix(ground));
    // A JSON document says itself where it ends.
    serde_json::to_writer(&mut out, &object.gvk).ok()?;
    serde_json::to_writer(&mut out, &object.value).ok()?;
    out.write_all(live).ok()?;
    Some(out.into_inner().ok()?.finalize().into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use gitops_core::compare::World;
    use gitops_core::desired::{AppRef, Rendered, Scopes};
    use gitops_core::object::Gvk;
    use gitops_core::plan::{Options, plan};
    use serde_json::{Value, json};

    use super::*;

    struct Namespaced;
    impl Scopes for Namespaced {
        fn namespaced(&self, _: &Gvk) -> Option<bool> {
            Some(true)
        }
    }

    fn object(kind: &str, value: &str) -> Value {
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "a", "namespace": "shop"}, "data": {"a": value}})
    }

    fn application() -> AppRef {
        AppRef { namespace: "shop".into(), name: "web".into() }
    }

    fn set(value: Value, confidential: &[&str]) -> DesiredSet {
        let confidential = confidential.iter().map(|text| (*text).to_owned()).collect();
        let rendered = Rendered { value, file: "f".into(), line: 1, lines: None, confidential };
        DesiredSet::build(application(), "c".into(), "shop", &Namespaced, vec![rendered]).unwrap()
    }

    /// Looks, compares and keeps: the action, and whether it was known.
    fn look(memory: &Memory, policy: &Policy, set: &DesiredSet, live: &Value) -> (Action, bool) {
        let gvk = Gvk::of(live).unwrap();
        let body = json!({"items": [live]}).to_string().into_bytes();
        let live = Live::of_list(body, gvk, false).unwrap();
        let (schemas, delegated) = (Schemas::builtin(), set.delegated());
        let mut known = Known::read(memory, &schemas, policy, &delegated);
        let same = known.same(set, &live).unwrap();
        let is_same = |key: &ObjectKey| same.contains(key);
        let options = Options::default();
        let plan = plan(set, |key| live.get(key), &[], &schemas, policy, &options, is_same).unwrap();
        known.keep(&plan);
        (plan.steps[0].action, !same.is_empty())
    }

    #[test]
    fn what_has_not_changed_is_compared_once() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::of(folder.path(), "https://here", &application());
        let open = Policy::default();
        let closed = Policy { close_custom_kinds: true, ..Policy::default() };
        assert_eq!(closed.world(&Gvk::new("v1", "ConfigMap")), World::Closed);
        let (one, two) = (object("ConfigMap", "1"), object("ConfigMap", "2"));
        let git = |value: &Value| set(value.clone(), &[]);
        let look = |policy: &Policy, git: &DesiredSet, live: &Value| look(&memory, policy, git, live);
        assert_eq!(look(&open, &git(&one), &one), (Action::Unchanged, false));
        assert_eq!(look(&open, &git(&one), &one), (Action::Unchanged, true));
        let mut written = one.clone();
        written["metadata"]["resourceVersion"] = json!("7");
        assert_eq!(look(&open, &git(&one), &written), (Action::Unchanged, false), "written since");
        assert_eq!(look(&closed, &git(&one), &written), (Action::Unchanged, false), "held otherwise");
        assert_eq!(look(&closed, &git(&one), &two), (Action::Update, false), "changed in the cluster");
        assert_eq!(look(&closed, &git(&one), &one), (Action::Unchanged, false), "forgotten");
        assert_eq!(look(&closed, &git(&two), &one), (Action::Update, false), "changed in Git");
    }

    #[test]
    fn nothing_is_kept_of_what_is_secret() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::of(folder.path(), "https://here", &application());
        for (object, confidential) in
            [(object("Secret", "aHVudGVy"), &[][..]), (object("ConfigMap", "hunter"), &["hunter"][..])]
        {
            let git = set(object.clone(), confidential);
            for _ in 0..2 {
                assert_eq!(look(&memory, &Policy::default(), &git, &object), (Action::Unchanged, false));
            }
        }
        assert!(!memory.beside("same").exists());
    }

    #[test]
    fn what_is_kept_and_broken_counts_as_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::of(folder.path(), "https://here", &application());
        keep(&memory.beside("same"), &[7; 45]);
        let (live, git) = (object("ConfigMap", "1"), set(object("ConfigMap", "1"), &[]));
        assert_eq!(look(&memory, &Policy::default(), &git, &live), (Action::Unchanged, false));
        assert_eq!(look(&memory, &Policy::default(), &git, &live), (Action::Unchanged, true));
    }
}
