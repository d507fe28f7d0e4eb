//! A small cluster for the properties: objects as the gate gives them, Pods as
//! Kubernetes' controllers would make them, and who is reached by requests.

#![allow(clippy::unwrap_used, reason = "tests")]

mod controllers;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::analysis::{Measured, Outcome, due};
use super::bounds::{Grounds, Request, objection};
use super::desired::{Objects, Versions, gate, version};
use super::machine::{Decision, Wish, step};
use super::observe::{Asked, Observed, Workload};
use super::program::Whole;
use super::spec::{OnFailure, Spec, Strategy, Traffic};
use super::state::{Phase, State, Version};
use crate::delegation::Bounds;
use crate::desired::{DesiredObject, Origin};
use crate::object::{Gvk, ObjectKey};

pub use controllers::Pod;
use controllers::image;

/// Where a driver's process ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Crash {
    No,
    BeforeState,
    AfterState,
    /// After this many objects.
    AfterObjects(usize),
}

#[derive(Debug)]
pub struct World {
    pub spec: Spec,
    /// As the status holds it.
    stored: String,
    /// By image, the objects of its commit.
    commits: BTreeMap<String, Objects>,
    pub tip: String,
    live: BTreeMap<ObjectKey, Value>,
    pub pods: Vec<Pod>,
    pub now: i64,
    pub broken: Vec<String>,
    pub failing: Vec<String>,
    /// Measurements of these versions say nothing.
    pub unsure: Vec<String>,
    pub pulling: bool,
    /// Pods that take their time to end, where none may be left.
    pub ending: i64,
    pub trouble: Option<String>,
    pub shortage: Option<String>,
    /// What an autoscaler wants; none: Git says it.
    scaled: Option<i64>,
    /// There were to be more Pods before.
    pub shrunk: bool,
    pub reverts: usize,
}

pub const REPLICAS: i64 = 5;
/// To which they are scaled.
pub const MOST: i64 = 9;
/// A kind with a weight field, and that field.
pub const MODEL: &str = "InferenceService";
pub const MODEL_WEIGHT: &str = "spec.canaryTrafficPercent";

/// A Rollout of a Deployment.
pub fn spec(strategy: Strategy) -> Spec {
    let target = ObjectKey {
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: "shop".into(),
        name: "web".into(),
    };
    Spec {
        target,
        strategy,
        traffic: Traffic::default(),
        analysis: Vec::new(),
        progress_deadline: 200,
        total_deadline: 100_000,
        on_failure: OnFailure::Hold,
    }
}

pub fn object(value: Value) -> (ObjectKey, DesiredObject) {
    let (key, gvk) = (ObjectKey::of(&value).unwrap(), Gvk::of(&value).unwrap());
    let origin = Origin { confidential: Default::default(), file: "f".into(), line: 1, lines: None };
    (key.clone(), DesiredObject { key, gvk, value: value.into(), origin })
}

fn version_of(kind: &str) -> &'static str {
    if kind == MODEL { "serving.kserve.io/v1beta1" } else { "apps/v1" }
}

/// What Git says at the commit of this image.
pub fn commit(kind: &str, image: &str) -> Objects {
    let metadata = |name: &str| json!({"name": name, "namespace": "shop"});
    let config = format!("config-{image}");
    let service = |name: &str| json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata(name), "spec": {"selector": {"app": "web"}}});
    [
        json!({"apiVersion": version_of(kind), "kind": kind, "metadata": metadata("web"), "spec": {"replicas": REPLICAS,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
                {"name": "web", "image": image, "envFrom": [{"configMapRef": {"name": config}}]}]}}}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(&config)}),
        service("web"),
        service("web-canary"),
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": metadata("web"),
            "spec": {"rules": [{"backendRefs": [{"name": "web", "port": 80}]}]}}),
    ]
    .into_iter()
    .map(object)
    .collect()
}

impl World {
    pub fn new(spec: Spec, images: &[&str]) -> Self {
        let kind = spec.target.kind.clone();
        let commits = images.iter().map(|image| ((*image).to_owned(), commit(&kind, image))).collect();
        let mut world = Self {
            spec,
            stored: json!(State::default()).to_string(),
            commits,
            tip: images[0].to_owned(),
            live: BTreeMap::new(),
            pods: Vec::new(),
            now: 1_000,
            broken: Vec::new(),
            failing: Vec::new(),
            unsure: Vec::new(),
            pulling: false,
            ending: 0,
            trouble: None,
            shortage: None,
            scaled: None,
            shrunk: false,
            reverts: 0,
        };
        for _ in 0..4 * REPLICAS {
            world.tick(None, Crash::No);
        }
        world
    }

    pub fn state(&self) -> State {
        serde_json::from_str(&self.stored).unwrap()
    }

    pub fn version(&self, image: &str) -> Version {
        let target = &self.commits[image][&self.spec.target].value;
        Version { revision: image.to_owned(), hash: version(&self.spec, target).unwrap() }
    }

    /// What may be in the cluster now.
    pub fn desired(&self) -> Objects {
        let state = self.state();
        let of = |version: &Option<Version>| version.as_ref().map(|version| &self.commits[&version.revision]);
        let mut objects = self.commits[&self.tip].clone();
        let versions = Versions { stable: of(&state.stable), new: of(&state.new) };
        gate(&mut objects, &self.spec, &state, versions).unwrap();
        objects
    }

    /// Time goes on: controllers work, the driver looks, decides and writes.
    pub fn tick(&mut self, request: Option<Asked>, crash: Crash) {
        self.controllers();
        self.now += 10;
        let decision = self.decide(request.clone());
        self.is_within_bounds(&decision.next, request);
        if crash == Crash::BeforeState {
            return;
        }
        self.stored = serde_json::to_string(&decision.next).unwrap();
        if crash == Crash::AfterState {
            return;
        }
        self.apply(if let Crash::AfterObjects(count) = crash { count } else { usize::MAX });
        for wish in decision.wishes {
            match wish {
                Wish::Clear(version) => {
                    self.pods.retain(|pod| pod.ready() || pod.image != version.revision);
                }
                Wish::Revert(_) | Wish::Branch(_) => self.reverts += 1,
            }
        }
    }

    /// The webhook takes every state that the machine gives.
    fn is_within_bounds(&self, next: &State, request: Option<Asked>) {
        let named = |image: &String| (format!("web-{image}"), self.version(image).hash);
        let bounds = Bounds { min: Some(1), max: Some(MOST), by: "HPA web".into() };
        let grounds = Grounds {
            declared: self.declared(),
            live: self.live.get(&self.spec.target).and_then(replicas),
            bounds: self.scaled.map(|_| bounds),
            pods: self.commits.keys().map(named).collect(),
        };
        let request = request.map(|Asked { id, ask, by, reason }| Request {
            id,
            verb: ask.verb().to_owned(),
            by,
            reason,
        });
        let told = objection(&self.spec, (&self.state(), next), &grounds, request.as_ref());
        assert_eq!(told, None, "from {:?} to {next:?}", self.state());
    }

    /// Anyone's sync, with what is stored.
    pub fn apply(&mut self, limit: usize) {
        let desired = self.desired();
        let wanted = desired.values().map(|object| (object.key.clone(), self.carried(object)));
        let changed: Vec<_> = wanted.filter(|(key, wanted)| self.live.get(key) != Some(wanted)).collect();
        self.live.extend(changed.into_iter().take(limit));
        if limit == usize::MAX {
            self.live.retain(|key, _| desired.contains_key(key));
        }
    }

    /// An object as it is applied: replicas that Git leaves out stay what they are.
    fn carried(&self, object: &DesiredObject) -> Value {
        let mut value = (*object.value).clone();
        if let (Some(spec), Some(wanted)) = (value["spec"].as_object_mut(), self.scaled)
            && object.key == self.spec.target
        {
            let live = self.live.get(&object.key).and_then(replicas).unwrap_or(wanted);
            spec.entry("replicas").or_insert(live.into());
        }
        value
    }

    /// The replicas that the newest commit declares.
    pub fn declared(&self) -> Option<i64> {
        replicas(&self.commits[&self.tip][&self.spec.target].value)
    }

    /// As many Pods as there are to be.
    pub fn wanted(&self) -> i64 {
        self.scaled.or_else(|| self.declared()).unwrap()
    }

    /// By a commit that changes nothing else, or by an autoscaler.
    pub fn scale(&mut self, replicas: i64) {
        self.shrunk |= replicas < self.wanted();
        if self.scaled.is_some() {
            self.scaled = Some(replicas);
            return;
        }
        let (target, tip) = (self.spec.target.clone(), self.tip.clone());
        let object = self.commits.get_mut(&tip).unwrap().get_mut(&target).unwrap();
        object.value["spec"]["replicas"] = replicas.into();
    }

    /// Git leaves the replicas to an autoscaler from now on.
    pub fn autoscale(&mut self) {
        self.scaled = Some(REPLICAS);
        self.declare(|target| {
            target["spec"].as_object_mut().unwrap().remove("replicas");
        });
        self.tick(None, Crash::No);
    }

    pub fn decide(&self, request: Option<Asked>) -> Decision {
        let state = self.state();
        step(&self.spec, &state, &self.observe(&state, request), self.now)
    }

    fn observe(&self, state: &State, request: Option<Asked>) -> Observed {
        let desired = self.desired();
        let same = |key: &ObjectKey| {
            self.live.get(key) == desired.get(key).map(|object| self.carried(object)).as_ref()
        };
        let measured = due(&self.spec, state, self.now).into_iter().filter_map(|(scope, rule)| {
            let new = state.new.as_ref()?;
            let outcome = match &new.revision {
                image if self.failing.contains(image) => Outcome::Failure,
                image if self.unsure.contains(image) => Outcome::Inconclusive,
                _ => Outcome::Success,
            };
            Some(Measured { version: new.hash.clone(), scope, rule: rule.name, outcome, at: self.now })
        });
        Observed {
            tip: self.version(&self.tip),
            running: None,
            whole: Whole { replicas: self.replicas(state), declared: self.declared().is_some() },
            target: self.workload(&self.spec.target, &same).unwrap_or_default(),
            second: self.workload(&self.spec.second(), &same),
            traffic: desired
                .keys()
                .filter(|key| matches!(key.kind.as_str(), "Service" | "HTTPRoute" | MODEL))
                .all(same),
            measured: measured.collect(),
            request,
            pushed: None,
            shortage: self.shortage.clone(),
            unseen: None,
            pulling: self.pulling,
            trouble: self.trouble.clone(),
        }
    }

    /// As the driver sees it.
    fn replicas(&self, state: &State) -> i64 {
        let live = self.live.get(&self.spec.target).and_then(replicas);
        self.declared().or_else(|| state.scaled(live)).unwrap_or(1)
    }

    /// Goes on until it is so.
    pub fn until(&mut self, what: &str, reached: impl Fn(&Self) -> bool) {
        for _ in 0..100 {
            if reached(self) {
                break;
            }
            self.tick(None, Crash::No);
        }
        assert!(reached(self), "{what}: {:?}", self.state());
    }

    /// Changes what all commits say of the target.
    pub fn declare(&mut self, change: impl Fn(&mut Value)) {
        let target = self.spec.target.clone();
        for objects in self.commits.values_mut() {
            change(&mut objects.get_mut(&target).unwrap().value);
        }
    }

    /// Whether what this version's Pods refer to is there.
    pub fn has_config_of(&self, image: &str) -> bool {
        let name = format!("config-{image}");
        self.live.keys().any(|key| key.kind == "ConfigMap" && key.name == name)
    }

    fn workload(&self, key: &ObjectKey, same: &dyn Fn(&ObjectKey) -> bool) -> Option<Workload> {
        let object = self.live.get(key)?;
        let image = image(object);
        let pods: Vec<&Pod> = self.pods.iter().filter(|pod| pod.workload == key.name).collect();
        let updated = pods.iter().filter(|pod| pod.image == image).count() as i64;
        Some(Workload {
            hash: self.version(image).hash,
            seen: same(key),
            total: pods.len() as i64 + if object["spec"]["replicas"] == 0 { self.ending } else { 0 },
            updated,
            ready: pods.iter().filter(|pod| pod.ready()).count() as i64,
            pods: Some(format!("{}-{image}", key.name)),
            healthy: updated == self.wanted() && pods.iter().all(|pod| pod.image != image || pod.ready()),
        })
    }

    /// Ready Pods that a Service reaches.
    pub fn reached(&self, service: &str) -> Vec<&Pod> {
        let key = |key: &&ObjectKey| key.kind == "Service" && key.name == service;
        let object = self.live.keys().find(key).map(|key| &self.live[key]);
        let selector = object.and_then(|object| object["spec"]["selector"].as_object()).unwrap();
        let chosen = |pod: &&Pod| {
            pod.ready()
                && selector.iter().all(|(name, value)| pod.labels.get(name).is_some_and(|own| value == own))
        };
        self.pods.iter().filter(chosen).collect()
    }

    /// Services that requests go to, and their weights.
    pub fn weights(&self) -> Vec<(String, i64)> {
        if self.spec.traffic.routes.is_empty() {
            return vec![("web".into(), 1)];
        }
        let route = self.live.iter().find(|(key, _)| key.kind == "HTTPRoute").unwrap().1;
        // Those before it match a header.
        let rule =
            route.pointer("/spec/rules").and_then(Value::as_array).and_then(|rules| rules.last()).unwrap();
        let references = rule["backendRefs"].as_array().unwrap();
        let weight = |one: &Value| one.get("weight").map_or(1, |weight| weight.as_i64().unwrap());
        references.iter().map(|one| (one["name"].as_str().unwrap().to_owned(), weight(one))).collect()
    }

    pub fn is_over(&self) -> bool {
        matches!(self.state().phase, Phase::Idle | Phase::Aborted)
    }
}

fn replicas(object: &Value) -> Option<i64> {
    object.pointer("/spec/replicas")?.as_i64()
}
