//! A small cluster for the properties: objects as the gate gives them, Pods as
//! Kubernetes' controllers would make them, and who is reached by requests.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::analysis::{Measured, Outcome, due};
use super::bounds::{Grounds, Request, objection};
use super::desired::{Objects, Versions, gate, version};
use super::machine::{Decision, Wish, step};
use super::observe::{Asked, Observed, Workload};
use super::spec::{OnFailure, Spec, Strategy, Traffic};
use super::state::{Phase, State, Version};
use crate::desired::{DesiredObject, Origin};
use crate::names::LABEL_TRACK;
use crate::object::{Gvk, ObjectKey};

/// A Pod and when it is ready.
#[derive(Clone, Debug)]
pub struct Pod {
    workload: String,
    ordinal: i64,
    /// The image tells the version.
    pub image: String,
    labels: BTreeMap<String, String>,
    age: u32,
    broken: bool,
}

impl Pod {
    fn ready(&self) -> bool {
        self.age > 0 && !self.broken
    }
}

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
    pub reverts: usize,
}

pub const REPLICAS: i64 = 5;
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

fn object(value: Value) -> (ObjectKey, DesiredObject) {
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
        let grounds = Grounds {
            declared: Some(REPLICAS),
            pods: self.commits.keys().map(named).collect(),
            ..Grounds::default()
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
        let changed = desired.values().filter(|object| self.live.get(&object.key) != Some(&*object.value));
        let changed: Vec<_> = changed.map(|object| (object.key.clone(), (*object.value).clone())).collect();
        self.live.extend(changed.into_iter().take(limit));
        if limit == usize::MAX {
            self.live.retain(|key, _| desired.contains_key(key));
        }
    }

    pub fn decide(&self, request: Option<Asked>) -> Decision {
        let state = self.state();
        step(&self.spec, &state, &self.observe(&state, request), self.now)
    }

    fn observe(&self, state: &State, request: Option<Asked>) -> Observed {
        let desired = self.desired();
        let same = |key: &ObjectKey| self.live.get(key) == desired.get(key).map(|object| &*object.value);
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
            replicas: REPLICAS,
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
            healthy: updated == REPLICAS && pods.iter().all(|pod| pod.image != image || pod.ready()),
        })
    }

    fn controllers(&mut self) {
        for pod in &mut self.pods {
            pod.age += 1;
        }
        let runs = |key: &ObjectKey| key.group == "apps" || key.kind == MODEL;
        let live: Vec<_> = self.live.iter().filter(|(key, _)| runs(key)).collect();
        let names: Vec<&str> = live.iter().map(|(key, _)| key.name.as_str()).collect();
        self.pods.retain(|pod| names.contains(&pod.workload.as_str()));
        for (key, object) in live {
            let want = object["spec"]["replicas"].as_i64().unwrap();
            let new = pod(key, object, &self.broken);
            match key.kind.as_str() {
                "Deployment" => roll(&mut self.pods, &new, want),
                MODEL => serve(&mut self.pods, &new, want, object["spec"]["canaryTrafficPercent"].as_i64()),
                _ => {
                    let partition = object.pointer("/spec/updateStrategy/rollingUpdate/partition");
                    let by_hand = object["spec"]["updateStrategy"]["type"] == "OnDelete";
                    let partition = partition.and_then(Value::as_i64).filter(|_| !by_hand);
                    let none = if by_hand { i64::MAX } else { 0 };
                    partitioned(&mut self.pods, &new, want, partition.unwrap_or(none));
                }
            }
        }
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

fn image(object: &Value) -> &str {
    object.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str).unwrap()
}

fn pod(key: &ObjectKey, object: &Value, broken: &[String]) -> Pod {
    let image = image(object).to_owned();
    let labels = object.pointer("/spec/template/metadata/labels").and_then(Value::as_object).unwrap();
    let mut labels: BTreeMap<String, String> =
        labels.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
    let label = if key.kind == "StatefulSet" { "controller-revision-hash" } else { "pod-template-hash" };
    labels.insert(label.into(), format!("{}-{image}", key.name));
    labels.entry(LABEL_TRACK.into()).or_insert_with(|| "stable".into());
    Pod { workload: key.name.clone(), ordinal: 0, broken: broken.contains(&image), image, labels, age: 0 }
}

/// A Deployment with maxSurge 1 and maxUnavailable 0.
fn roll(pods: &mut Vec<Pod>, new: &Pod, want: i64) {
    let own = |pod: &Pod| pod.workload == new.workload;
    let count = |pods: &[Pod], chosen: &dyn Fn(&Pod) -> bool| {
        pods.iter().filter(|pod| own(pod) && chosen(pod)).count() as i64
    };
    let remove = |pods: &mut Vec<Pod>, chosen: &dyn Fn(&Pod) -> bool| {
        if let Some(at) = pods.iter().position(|pod| own(pod) && chosen(pod)) {
            pods.remove(at);
        }
    };
    while count(pods, &|_| true) > want && count(pods, &|pod| pod.image != new.image && !pod.ready()) > 0 {
        remove(pods, &|pod| pod.image != new.image && !pod.ready());
    }
    while count(pods, &Pod::ready) > want && count(pods, &|pod| pod.image != new.image) > 0 {
        remove(pods, &|pod| pod.image != new.image);
    }
    while count(pods, &|pod| pod.image == new.image) > want {
        remove(pods, &|pod| pod.image == new.image);
    }
    while want == 0 && count(pods, &|_| true) > 0 {
        remove(pods, &|_| true);
    }
    let surge = i64::from(want > 0 && count(pods, &|pod| pod.image != new.image) > 0);
    while count(pods, &|pod| pod.image == new.image) < want && count(pods, &|_| true) < want + surge {
        pods.push(new.clone());
    }
}

/// As KServe does it: the version before stays as long as it gets requests, and
/// until the new one is ready.
fn serve(pods: &mut Vec<Pod>, new: &Pod, want: i64, weight: Option<i64>) {
    let count = |pods: &[Pod], ready: bool| {
        pods.iter().filter(|pod| pod.image == new.image && (pod.ready() || !ready)).count() as i64
    };
    while count(pods, false) < want {
        pods.push(new.clone());
    }
    if weight.is_none_or(|weight| weight == 100) && count(pods, true) >= want {
        pods.retain(|pod| pod.image == new.image);
    }
}

/// A StatefulSet: one Pod at a time, and a broken one is waited for.
fn partitioned(pods: &mut Vec<Pod>, new: &Pod, want: i64, partition: i64) {
    pods.retain(|pod| pod.workload != new.workload || pod.ordinal < want);
    let current = pods.iter().find(|pod| pod.workload == new.workload && pod.image != new.image).cloned();
    for ordinal in 0..want {
        if pods.iter().any(|pod| pod.workload == new.workload && pod.ordinal == ordinal) {
            continue;
        }
        let made = current.as_ref().filter(|_| ordinal < partition).unwrap_or(new);
        pods.push(Pod { ordinal, age: 0, ..made.clone() });
    }
    if pods.iter().any(|pod| pod.workload == new.workload && !pod.ready()) {
        return;
    }
    let stale =
        |pod: &&mut Pod| pod.workload == new.workload && pod.image != new.image && pod.ordinal >= partition;
    if let Some(pod) = pods.iter_mut().filter(stale).max_by_key(|pod| pod.ordinal) {
        *pod = Pod { ordinal: pod.ordinal, ..new.clone() };
    }
}
