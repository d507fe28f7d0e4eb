//! Everything that Git declares, ready for look-ups at admission. In: desired
//! sets. Out: the wanted object of a key, and what a namespace or a definition
//! holds. Objects are kept as compact JSON and parsed when they are asked for:
//! 10,000 objects of 2 KiB take little more than their text.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use crate::delegation::{Delegated, may_delegate};
use crate::desired::{AppRef, DesiredObject, DesiredSet, Origin, Stored};
use crate::object::{Gvk, ObjectKey};

/// Who was there first: creation time (RFC 3339, UTC), then uid.
pub type Precedence = (String, String);

/// One object that Git declares.
#[derive(Clone, Debug)]
pub struct Want {
    gvk: Arc<Gvk>,
    json: Box<str>,
    origin: Origin,
}

/// What one Application declares at one commit.
#[derive(Clone, Debug)]
pub struct Part {
    pub application: AppRef,
    /// The commit, in full.
    pub revision: String,
    pub precedence: Precedence,
    objects: Arc<HashMap<ObjectKey, Want>>,
    /// What is said instead of these, or beside them, while Rollouts hold versions
    /// back.
    gated: HashMap<ObjectKey, Want>,
    /// All that its objects leave to others, and what of it is left to them now.
    delegating: Delegated,
    delegated: Delegated,
}

impl Stored for Want {
    fn store(object: DesiredObject, kinds: &mut BTreeMap<Gvk, Arc<Gvk>>) -> Self {
        let DesiredObject { gvk, value, origin, .. } = object;
        let json = value.into_json();
        let gvk = kinds.entry(gvk).or_insert_with_key(|gvk| Arc::new(gvk.clone())).clone();
        Self { gvk, json, origin }
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }
}

impl Part {
    /// What a builder has packed.
    pub fn new(
        application: AppRef,
        revision: String,
        precedence: Precedence,
        objects: BTreeMap<ObjectKey, Want>,
    ) -> Self {
        let mut part = Self {
            application,
            revision,
            precedence,
            objects: Arc::new(objects.into_iter().collect()),
            gated: HashMap::new(),
            delegating: Delegated::default(),
            delegated: Delegated::default(),
        };
        let mut delegating: Vec<DesiredObject> = (part.objects.iter())
            .filter(|(_, want)| may_delegate(&want.gvk, &want.json))
            .filter_map(|(key, _)| part.get(key))
            .collect();
        delegating.sort_by(|a, b| a.key.cmp(&b.key));
        part.delegating = Delegated::collect(delegating.iter(), |key| part.get(key));
        part.delegated = part.delegating.clone();
        part
    }

    /// A desired set, packed.
    pub fn of(set: DesiredSet, precedence: Precedence) -> Self {
        let mut kinds = BTreeMap::new();
        let pack = |(key, object)| (key, Want::store(object, &mut kinds));
        let objects = set.objects.into_iter().map(pack).collect();
        Self::new(set.application, set.revision, precedence, objects)
    }

    /// The same with other objects said instead, or beside; those of before are
    /// dropped.
    #[must_use]
    pub fn gated(&self, objects: impl IntoIterator<Item = DesiredObject>) -> Self {
        let (mut kinds, mut delegated) = (BTreeMap::new(), self.delegating.clone());
        let pack = |object: DesiredObject| {
            delegated.take_back(&object);
            (object.key.clone(), Want::store(object, &mut kinds))
        };
        let gated = objects.into_iter().map(pack).collect();
        Self { gated, delegated, ..self.clone() }
    }

    /// The object of this key, if this Application declares it.
    pub fn get(&self, key: &ObjectKey) -> Option<DesiredObject> {
        let want = self.gated.get(key).or_else(|| self.objects.get(key))?;
        let value: Value = serde_json::from_str(&want.json).expect("written from a value");
        let (gvk, origin) = ((*want.gvk).clone(), want.origin.clone());
        Some(DesiredObject { key: key.clone(), gvk, value: value.into(), origin })
    }

    /// Only the objects that another part declares otherwise, or not at all.
    #[must_use]
    pub fn otherwise_than(mut self, other: &Self) -> Self {
        let objects = Arc::make_mut(&mut self.objects);
        objects.retain(|key, want| other.objects.get(key).is_none_or(|there| there.json != want.json));
        objects.shrink_to_fit();
        self
    }

    /// What its objects leave to others.
    pub fn delegated(&self) -> &Delegated {
        &self.delegated
    }

    /// The keys of all declared objects, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        let beside = self.gated.keys().filter(|key| !self.objects.contains_key(*key));
        self.objects.keys().chain(beside)
    }

    /// The keys of all declared objects with their versions, in no order.
    pub fn objects(&self) -> impl Iterator<Item = (&ObjectKey, &Gvk)> {
        let beside = self.gated.iter().filter(|(key, _)| !self.objects.contains_key(*key));
        self.objects.iter().chain(beside).map(|(key, want)| (key, want.gvk.as_ref()))
    }

    /// The kinds declared, in the versions in which they are declared.
    pub fn kinds(&self) -> BTreeSet<&Gvk> {
        self.objects().map(|(_, gvk)| gvk).collect()
    }

    /// How many objects are declared.
    pub fn len(&self) -> usize {
        self.keys().count()
    }

    /// Whether nothing is declared.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.gated.is_empty()
    }
}

/// An object that two Applications declare: the older one owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub key: ObjectKey,
    pub owner: AppRef,
    pub other: AppRef,
}

/// All Applications' parts. Made once for every change and never altered, so
/// that readers need no lock.
#[derive(Clone, Debug, Default)]
pub struct Index {
    parts: Vec<Arc<Part>>,
    owners: HashMap<ObjectKey, u32>,
    namespaces: HashMap<String, usize>,
    conflicts: Vec<Conflict>,
}

impl Index {
    /// Joins parts; where two declare one object, the older Application owns it.
    pub fn new(mut parts: Vec<Arc<Part>>) -> Self {
        parts.sort_by(|a, b| a.precedence.cmp(&b.precedence).then_with(|| a.application.cmp(&b.application)));
        let mut index =
            Self { owners: HashMap::with_capacity(parts.iter().map(|p| p.len()).sum()), ..Self::default() };
        for (at, part) in (0u32..).zip(&parts) {
            for key in part.keys() {
                if let Some(owner) = index.owners.get(key) {
                    let owner = parts[*owner as usize].application.clone();
                    index.conflicts.push(Conflict {
                        key: key.clone(),
                        owner,
                        other: part.application.clone(),
                    });
                } else {
                    *index.namespaces.entry(key.namespace.clone()).or_default() += 1;
                    index.owners.insert(key.clone(), at);
                }
            }
        }
        index.conflicts.sort_by(|a, b| a.key.cmp(&b.key));
        index.parts = parts;
        index
    }

    /// The part that owns an object.
    pub fn owner(&self, key: &ObjectKey) -> Option<&Arc<Part>> {
        self.owners.get(key).map(|at| &self.parts[*at as usize])
    }

    /// All parts, oldest Application first.
    pub fn parts(&self) -> &[Arc<Part>] {
        &self.parts
    }

    /// How many declared objects lie in a namespace.
    pub fn declared_in(&self, namespace: &str) -> usize {
        self.namespaces.get(namespace).copied().unwrap_or(0)
    }

    /// How many declared objects are of a kind.
    pub fn declared_of(&self, group: &str, kind: &str) -> usize {
        self.owners.keys().filter(|key| key.group == group && key.kind == kind).count()
    }

    /// Objects that two Applications declare.
    pub fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }

    /// The kinds declared anywhere.
    pub fn kinds(&self) -> BTreeSet<&Gvk> {
        self.parts.iter().flat_map(|part| part.kinds()).collect()
    }

    /// The namespaces that hold declared objects.
    pub fn namespaces(&self) -> BTreeSet<&str> {
        self.namespaces.keys().map(String::as_str).filter(|namespace| !namespace.is_empty()).collect()
    }

    /// How many objects are declared in all.
    pub fn len(&self) -> usize {
        self.owners.len()
    }

    /// Whether nothing is declared.
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_rollout_sets_is_left_to_nobody_meanwhile() {
        let metadata = json!({"name": "web", "namespace": "shop"});
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        let web = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {}});
        let mut stopped = web.clone();
        stopped["spec"]["replicas"] = json!(0);
        let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": metadata,
            "spec": {"scaleTargetRef": target, "maxReplicas": 9}});
        let declared = |value: &Value| crate::fixture::declared(value.clone());
        let objects = [declared(&web), declared(&scaler)].map(|object| (object.key.clone(), object)).into();
        let application = AppRef { namespace: "a".into(), name: "web".into() };
        let part = Part::of(DesiredSet { application, revision: "c".into(), objects }, Precedence::default());
        let left = |part: &Part| part.delegated().of(&declared(&web).key).len();
        let gated = part.gated([declared(&stopped)]);
        assert_eq!((left(&part), left(&gated), left(&gated.gated([]))), (1, 0, 1));
        assert_eq!(left(&gated.gated([declared(&web)])), 1);
    }

    fn part(name: &str, created: &str, objects: &[&str]) -> Arc<Part> {
        let application = AppRef { namespace: "a".into(), name: name.into() };
        let objects = objects.iter().map(|object| {
            let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": object, "namespace": "shop"}});
            let object = crate::fixture::declared(value);
            (object.key.clone(), object)
        });
        let set = DesiredSet { application, revision: "c".into(), objects: objects.collect() };
        Arc::new(Part::of(set, (created.into(), name.into())))
    }

    #[test]
    fn the_older_application_owns_what_two_declare() {
        for parts in [["new", "old"], ["old", "new"]] {
            let parts = parts
                .iter()
                .map(|name| part(name, if *name == "old" { "2026-01" } else { "2026-02" }, &["shared", name]))
                .collect();
            let index = Index::new(parts);
            let key = ObjectKey {
                group: String::new(),
                kind: "ConfigMap".into(),
                namespace: "shop".into(),
                name: "shared".into(),
            };
            assert_eq!(index.owner(&key).unwrap().application.name, "old");
            assert_eq!(
                (index.len(), index.declared_in("shop"), index.declared_of("", "ConfigMap")),
                (3, 3, 3)
            );
            assert_eq!(index.conflicts().len(), 1);
            assert_eq!(
                (index.conflicts()[0].owner.name.as_str(), index.conflicts()[0].other.name.as_str()),
                ("old", "new")
            );
        }
    }

    #[test]
    fn what_two_commits_declare_alike_is_left_out() {
        let (before, tip) = (part("a", "1", &["x", "y"]), part("a", "1", &["x", "z"]));
        let otherwise = Part::clone(&before).otherwise_than(&tip);
        assert_eq!(otherwise.keys().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["y"]);
    }

    #[test]
    fn what_a_gate_says_instead_is_found_and_dropped_again() {
        let plain = part("a", "1", &["x", "y"]);
        let object =
            |name: &str| plain.get(&ObjectKey { name: name.into(), ..plain.keys().next().unwrap().clone() });
        let mut other = object("x").unwrap();
        other.value["data"] = json!({"gated": "yes"});
        let mut second = other.clone();
        second.key.name = "x-canary".into();
        let gated = Arc::new(plain.gated([other.clone(), second.clone()]));
        assert_eq!((gated.len(), gated.get(&other.key)), (3, Some(other)));
        assert!(Index::new(vec![gated.clone()]).owner(&second.key).is_some());
        let again = gated.gated([]);
        assert_eq!((again.len(), again.get(&second.key)), (2, None));
        assert_eq!(again.get(&object("x").unwrap().key), object("x"));
    }

    #[test]
    fn objects_come_back_as_they_went_in() {
        let part = part("a", "1", &["x"]);
        let key = part.keys().next().unwrap().clone();
        assert_eq!(part.get(&key).unwrap().value["metadata"]["name"], "x");
        assert_eq!(part.get(&ObjectKey { name: "y".into(), ..key }), None);
    }
}
