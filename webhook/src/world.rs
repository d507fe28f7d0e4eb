//! What is known at a moment: everything that Git declares, how it is held,
//! and the types to judge it by. Made anew for every change, read without
//! locks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use gitops_cluster::{Discovery, Kind};
use gitops_core::children::Tracks;
use gitops_core::desired::AppRef;
use gitops_core::index::{Index, Part};
use gitops_core::names::ANNOTATION_OWNER;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::rollout::spec::{Means, Spec};
use gitops_core::rollout::state::{State, Version};
use gitops_core::schema::Schemas;
use gitops_core::verdict::{Mode, Policy};
use gitops_engine::Loaded;
use serde_json::{Value, json};

use crate::asked::Beside;
use crate::configurations::Scope;

/// A kind that Git itself defines.
#[derive(Clone, Debug)]
pub struct Defined {
    pub kind: Kind,
    /// Its types, as an OpenAPI document: the API server tells them some time
    /// after it serves the kind.
    pub document: Value,
}

/// The kinds that an Application's own definitions bring.
pub fn defined(part: &Part) -> Vec<Defined> {
    let definitions = part.keys().filter(|key| key.kind == "CustomResourceDefinition");
    let mut found = Vec::new();
    for definition in definitions.filter_map(|key| part.get(key)) {
        let text = |value: &Value, pointer: &str| {
            value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let spec = &definition.value["spec"];
        for version in spec["versions"].as_array().into_iter().flatten() {
            let names = |field: &str| {
                let found = version.get("subresources").and_then(|all| all.get(field));
                found.map(|_| field.to_owned())
            };
            let kind = Kind {
                gvk: Gvk {
                    group: text(spec, "/group"),
                    version: text(version, "/name"),
                    kind: text(spec, "/names/kind"),
                },
                plural: text(spec, "/names/plural"),
                namespaced: text(spec, "/scope") == "Namespaced",
                verbs: Vec::new(),
                subresources: ["scale", "status"].into_iter().filter_map(names).collect(),
            };
            let mut types = version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or_default();
            if types.is_object() {
                let Gvk { group, version, kind } = &kind.gvk;
                types["x-kubernetes-group-version-kind"] =
                    json!([{"group": group, "version": version, "kind": kind}]);
            }
            let document = json!({"components": {"schemas": {"defined": types}}});
            found.push(Defined { kind, document });
        }
    }
    found
}

/// An Application that is enforced.
#[derive(Clone, Debug)]
pub struct Held {
    pub loaded: Loaded,
    /// Of which Application and Project, and how they were by then.
    pub version: Arc<str>,
    pub policy: Policy,
    pub part: Arc<Part>,
    /// Its Rollouts, which are worked into the part; none: the part is of a copy,
    /// with Rollouts as they stood by then.
    pub gates: Option<Arc<Gates>>,
}

/// The Rollouts of an Application, as they were looked at last.
#[derive(Clone, Debug, Default)]
pub struct Gates {
    pub rollouts: BTreeMap<ObjectKey, Gate>,
    /// Objects that a Rollout may change: no older commit counts for them.
    pub changes: BTreeSet<ObjectKey>,
    /// What the state makes of them, as text, to tell whether it has changed.
    pub told: String,
}

/// One Rollout.
#[derive(Clone, Debug)]
pub struct Gate {
    pub spec: Spec,
    pub state: State,
    /// The promoted version, where no status says it.
    pub running: Option<Version>,
    pub tip: Option<Version>,
}

impl Held {
    /// Whether a Rollout may change an object.
    pub fn is_gated(&self, key: &ObjectKey) -> bool {
        let gates = self.gates.as_ref();
        gates.is_some_and(|gates| gates.changes.contains(key) || gates.rollouts.contains_key(key))
    }
}

/// Everything an answer needs.
#[derive(Debug, Default)]
pub struct World {
    pub index: Index,
    pub schemas: Schemas,
    pub discovery: Discovery,
    held: HashMap<AppRef, Held>,
    /// The strictest policy of those who hold objects in a namespace.
    namespaces: HashMap<String, Policy>,
}

impl World {
    /// Joins the enforced Applications.
    pub fn new(held: &BTreeMap<AppRef, Held>, schemas: Schemas, discovery: Discovery) -> Self {
        let index = Index::new(held.values().map(|held| held.part.clone()).collect());
        let mut namespaces: HashMap<String, Policy> = HashMap::new();
        for held in held.values() {
            for key in held.part.keys() {
                let policy = namespaces.entry(key.namespace.clone()).or_insert_with(|| held.policy.clone());
                policy.mode = policy.mode.max(held.policy.mode);
                policy.untracked = policy.untracked.max(held.policy.untracked);
                policy.interactive = policy.interactive.max(held.policy.interactive);
            }
        }
        Self {
            index,
            schemas,
            discovery,
            held: held.iter().map(|(name, held)| (name.clone(), held.clone())).collect(),
            namespaces,
        }
    }

    /// Who holds an object.
    pub fn owner(&self, key: &ObjectKey) -> Option<&Held> {
        self.held.get(&self.index.owner(key)?.application)
    }

    /// The Application that gates an object, declared or not.
    pub fn gating(&self, key: &ObjectKey) -> Option<&Held> {
        let gates = |held: &&Held| held.is_gated(key);
        self.owner(key).filter(gates).or_else(|| self.held.values().find(gates))
    }

    /// The Rollout whose second workload has this key, by namespace and name.
    pub fn second_of(&self, key: &ObjectKey) -> Option<String> {
        let gates = self.gating(key)?.gates.as_ref()?;
        let is_it = |gate: &Gate| gate.spec.has_second() && gate.spec.second() == *key;
        let found = gates.rollouts.iter().find(|(_, gate)| is_it(gate))?;
        Some(format!("{}/{}", found.0.namespace, found.0.name))
    }

    /// By what the versions of one StatefulSet are told apart, while a Rollout
    /// lets a new one in.
    pub fn tracks(&self, workload: &ObjectKey) -> Option<Tracks> {
        let gates = self.owner(workload)?.gates.as_ref()?;
        let gate = gates.rollouts.values().find(|gate| gate.spec.target == *workload)?;
        let both = gate.spec.means() == Means::Partition && gate.state.is_under_way();
        let State { stable_pods, new_pods, .. } = &gate.state;
        both.then(|| Tracks { stable: stable_pods.clone(), new: new_pods.clone() })
    }

    /// The Applications that declare a Rollout.
    pub fn applications_of(&self, rollout: &ObjectKey) -> Vec<AppRef> {
        let has =
            |held: &&Held| held.gates.as_ref().is_some_and(|gates| gates.rollouts.contains_key(rollout));
        self.held.values().filter(has).map(|held| held.loaded.application.clone()).collect()
    }

    /// How many objects in other namespaces are held by Applications of this one:
    /// they would be let go with it.
    pub fn held_from(&self, namespace: &str) -> usize {
        let from_here = self.held.values().filter(|held| held.loaded.application.namespace == namespace);
        from_here.flat_map(|held| held.part.keys()).filter(|key| key.namespace != namespace).count()
    }

    /// The Application that an object says is its owner.
    pub fn claimed(&self, object: Option<&Value>) -> Option<&Held> {
        let owner = object?.get("metadata")?.get("annotations")?.get(ANNOTATION_OWNER)?.as_str()?;
        let (namespace, name) = owner.split_once('/')?;
        self.held.get(&AppRef { namespace: namespace.into(), name: name.into() })
    }

    /// The Applications that go to a namespace.
    pub fn applications_in(&self, namespace: &str) -> impl Iterator<Item = &AppRef> {
        self.held
            .values()
            .filter(move |held| held.loaded.namespace == namespace)
            .map(|held| &held.loaded.application)
    }

    /// An Application's uid.
    pub fn uid_of(&self, application: &AppRef) -> Option<&str> {
        self.held.get(application).map(|held| held.part.precedence.1.as_str())
    }

    /// Whether a kind is served, and its types are known.
    pub fn knows(&self, gvk: &Gvk) -> bool {
        self.schemas.has(gvk) && self.discovery.kind(gvk).is_some()
    }

    /// How a namespace is held.
    pub fn policy_of(&self, namespace: &str) -> Policy {
        self.namespaces.get(namespace).cloned().unwrap_or_default()
    }

    /// What the API server has to ask about.
    pub fn scope(&self) -> Scope {
        let enforced: Vec<&Held> = self.held.values().filter(|held| held.policy.mode != Mode::Off).collect();
        let kinds: BTreeSet<_> = enforced.iter().flat_map(|held| held.part.kinds()).cloned().collect();
        let namespaces: BTreeSet<_> = enforced
            .iter()
            .flat_map(|held| held.part.keys())
            .map(|key| key.namespace.clone())
            .filter(|name| !name.is_empty())
            .collect();
        let defined =
            enforced.iter().flat_map(|held| defined(&held.part)).map(|defined| defined.kind).collect();
        let mut beside = Beside::default();
        enforced.iter().for_each(|held| beside.widen(&held.policy));
        Scope { kinds, defined, namespaces, beside }
    }
}
