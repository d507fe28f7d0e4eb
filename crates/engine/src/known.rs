//! What is as Git says. In: desired and live objects, and what earlier comparisons
//! have found. Out: those that are the same. Nothing is compared again while
//! nothing that a comparison looks at has changed: the live object's text, or what
//! says that nobody has written it since, what Git says of it, the schemas, what is
//! left to others, and this very program. All of that is in one hash for each
//! object, kept on disk. Of what holds a secret none is kept.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::LazyLock;

use gitops_cluster::{ClusterError, Live};
use gitops_core::delegation::Delegated;
use gitops_core::desired::{DesiredObject, DesiredSet};
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::plan::{Action, Plan, differences};
use gitops_core::schema::Schemas;
use gitops_core::verdict::Policy;
use rayon::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::ahead::Reads;
use crate::memory::{Memory, keep};

/// So many objects are looked at sooner than they are shared out among threads.
const FEW: usize = 50;
const LENGTH: usize = 32;
type Hash = [u8; LENGTH];

/// Which program this is: another one may compare otherwise. None where that
/// cannot be told.
static PROGRAM: LazyLock<Option<String>> = LazyLock::new(|| {
    let file = std::env::current_exe().and_then(std::fs::metadata).ok()?;
    let changed = file.modified().ok()?;
    Some(format!("{} {} {changed:?}", env!("CARGO_PKG_VERSION"), file.len()))
});

/// All that a comparison looks at beside two objects.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    /// The API server's: another one may fill in other defaults.
    pub version: &'a str,
    pub schemas: &'a Schemas,
    pub policy: &'a Policy,
    pub delegated: &'a Delegated,
}

impl Ground<'_> {
    /// For each kind, with its own schema: others may be compiled beside it.
    fn hashes(&self, set: &DesiredSet) -> HashMap<Gvk, Hash> {
        let Self { version, schemas, policy, delegated } = self;
        let Some(program) = PROGRAM.as_ref() else { return HashMap::new() };
        let common = Sha256::new_with_prefix(format!("{program}\n{version}\n{policy:?}\n{delegated:?}\n"));
        let mut kinds: Vec<&Gvk> = set.objects.values().map(|object| &object.gvk).collect();
        // Most come one after the other.
        kinds.dedup();
        let kinds: BTreeSet<&Gvk> = kinds.into_iter().collect();
        let hash = |gvk: &Gvk| -> Option<(Gvk, Hash)> {
            let mut hash = common.clone();
            hash.update(serde_json::to_vec(&schemas.only(gvk)).ok()?);
            Some((gvk.clone(), hash.finalize().into()))
        };
        kinds.into_iter().filter_map(hash).collect()
    }

    fn is_same(&self, object: &DesiredObject, live: &Value) -> bool {
        // A copy: what it says is read for this alone, and let go again.
        differences(&object.clone(), live, self.schemas, self.policy, self.delegated).is_empty()
    }
}

/// Comparisons of one Application that found no difference.
pub(crate) struct Known<'a> {
    path: PathBuf,
    ground: Ground<'a>,
    before: HashSet<Hash>,
    /// Of the objects that are there.
    hashes: HashMap<&'a ObjectKey, Hash>,
}

impl<'a> Known<'a> {
    /// What is kept beside an Application's memory, of objects that came in this
    /// form; nothing when it cannot be read.
    pub(crate) fn read(memory: &Memory, reads: Reads, ground: Ground<'a>) -> Self {
        let path = memory.beside(match reads {
            Reads::All => "same",
            Reads::Changed => "same-sealed",
        });
        let bytes = std::fs::read(&path).unwrap_or_default();
        let (hashes, _) = bytes.as_chunks::<LENGTH>();
        Self { path, ground, before: hashes.iter().copied().collect(), hashes: HashMap::new() }
    }

    /// Looks at what is there; nothing of it is read.
    pub(crate) fn look(&mut self, set: &'a DesiredSet, live: &Live) {
        // Of the first sync of many Applications nothing is there.
        if !set.objects.keys().any(|key| live.text(key).is_some()) {
            return;
        }
        // Empty: the program cannot be told from another one.
        let grounds = self.ground.hashes(set);
        let look = |(key, object): (&'a ObjectKey, &'a DesiredObject)| {
            Some((key, hash(grounds.get(&object.gvk)?, object, live.text(key)?)?))
        };
        self.hashes = each(set, look);
    }

    /// These are not what they were when they were looked at.
    pub(crate) fn forget(&mut self, changed: &[ObjectKey]) {
        for key in changed {
            self.hashes.remove(key);
        }
    }

    /// Whether an object that was looked at is known to be as Git says.
    pub(crate) fn is_known(&self, key: &ObjectKey) -> bool {
        self.hashes.get(key).is_some_and(|hash| self.before.contains(hash))
    }

    /// The objects that are there and as Git says: those that are known to be, and
    /// those that a comparison finds to be. Of them, nothing stays in memory but
    /// their text; the others are parsed.
    pub(crate) fn same(
        &self,
        set: &'a DesiredSet,
        live: &Live,
    ) -> Result<HashSet<&'a ObjectKey>, ClusterError> {
        let is_same = |(key, object): (&'a ObjectKey, &'a DesiredObject)| {
            let is_same = self.is_known(key)
                || live.judged(key, |live| self.ground.is_same(object, live)).map_err(|error| {
                    ClusterError::Other { what: key.to_string(), message: error.to_string() }
                })?;
            Ok(is_same.then_some(key))
        };
        each(set, |object| is_same(object).transpose())
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

/// What there is to say of each object, side by side where there are many.
fn each<'a, T: Send, All: FromIterator<T> + FromParallelIterator<T>>(
    set: &'a DesiredSet,
    say: impl Fn((&'a ObjectKey, &'a DesiredObject)) -> Option<T> + Send + Sync,
) -> All {
    if set.objects.len() <= FEW {
        set.objects.iter().filter_map(say).collect()
    } else {
        set.objects.par_iter().filter_map(say).collect()
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
    out.write_all(object.value.json().as_bytes()).ok()?;
    out.write_all(live).ok()?;
    Some(out.into_inner().ok()?.finalize().into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use gitops_core::compare::World;
    use gitops_core::plan::{Options, plan};
    use serde_json::json;

    use super::*;
    use crate::fixture::{application, set};

    fn object(kind: &str, value: &str) -> Value {
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "a", "namespace": "shop"}, "data": {"a": value}})
    }

    /// Looks, compares and keeps: the action, and whether it was known.
    fn look(memory: &Memory, policy: &Policy, set: &DesiredSet, live: &Value) -> (Action, bool) {
        let gvk = Gvk::of(live).unwrap();
        let body = json!({"items": [live]}).to_string().into_bytes();
        let live = Live::of_list(body, gvk, false).unwrap();
        let (schemas, delegated) = (Schemas::builtin(), set.delegated());
        let ground = Ground { version: "1.37", schemas: &schemas, policy, delegated: &delegated };
        let mut known = Known::read(memory, Reads::All, ground);
        known.look(set, &live);
        let was_known = known.is_known(set.objects.keys().next().unwrap());
        let same = known.same(set, &live).unwrap();
        let is_same = |key: &ObjectKey| same.contains(key);
        let options = Options::default();
        let plan = plan(set, |key| live.get(key), &[], &schemas, policy, &options, is_same).unwrap();
        known.keep(&plan);
        (plan.steps[0].action, was_known)
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
