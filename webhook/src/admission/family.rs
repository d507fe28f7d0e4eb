//! What the rules about children ask of the cluster. In: a review and the rule
//! that objects for lack of knowledge. Out: facts, each looked up once and only
//! when a rule asks for it. A GET without a version is consistent: a Pod's
//! review comes before any watch here could know its ReplicaSet.

use std::collections::BTreeSet;

use gitops_api::rollout::RolloutSpec;
use gitops_cluster::{ClusterError, ErrorKind, Kind};
use gitops_core::children::{
    Endpoints, Lineage, Owner, Reference, State, Surroundings, adopters, adopts, controller, is_claim_of,
    references, selects, service_of,
};
use gitops_core::compare::{CompareOptions, compare};
use gitops_core::desired::DesiredObject;
use gitops_core::names::{API_VERSION, GROUP, SYSTEM_NAMESPACE};
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::verdict::{Facts, Operation};
use gitops_engine::analysis::{Metrics, Templates, read_template};
use serde::Deserialize;
use serde_json::Value;

use super::validate::Case;
use crate::world::World;

/// Owners above an object's own: a Pod of a Job of a CronJob of a custom
/// resource is three away.
const GENERATIONS: usize = 5;
/// More owners than this are not looked up, and count as unknown.
const MAX_OWNERS: usize = 16;

/// What has been looked up for one review.
#[derive(Debug, Default)]
pub struct Learnt(BTreeSet<&'static str>);

impl Learnt {
    /// Whether this is asked for the first time.
    fn first(&mut self, what: &'static str) -> bool {
        self.0.insert(what)
    }

    /// It is to be asked for once more: something has changed.
    pub fn again(&mut self, what: &'static str) {
        self.0.remove(what);
    }
}

impl Case<'_> {
    /// Looks up what a rule wants to know. False: there is nothing more to
    /// know, so its objection stands.
    pub(super) async fn learn(
        &self,
        world: &World,
        rule: &str,
        facts: &mut Facts,
        learnt: &mut Learnt,
    ) -> bool {
        let by_owner = matches!(
            rule,
            "owners" | "child" | "adoption" | "child-replicas" | "scale-child" | "orphan" | "untracked"
        );
        // What was seen a moment ago may allow; only what is there now refuses.
        if by_owner && learnt.first("lineage") {
            facts.lineage = Some(self.lineage(world, true).await);
            return true;
        }
        if by_owner && learnt.first("lineage now") {
            facts.lineage = Some(self.lineage(world, false).await);
            return true;
        }
        match rule {
            "child" | "adoption" | "toward-git" | "revision-forward"
                if self.is_pod() && learnt.first("surroundings") =>
            {
                facts.surroundings = Some(self.surroundings().await);
            }
            "child" if self.is_measuring() && learnt.first("surroundings") => {
                facts.surroundings =
                    Some(Surroundings { jobs: self.measuring(world), ..Surroundings::default() });
            }
            "untracked" if self.key.kind == "PersistentVolumeClaim" && learnt.first("claim") => {
                facts.claimed = self.is_claimed(world);
            }
            "endpoints" | "untracked" if self.leads() && learnt.first("endpoints") => {
                facts.endpoints = self.endpoints(world, true).await;
            }
            // The API server's cache may not have the newest Pod yet.
            "endpoints" if learnt.first("endpoints now") => {
                facts.endpoints = self.endpoints(world, false).await;
            }
            "rollout-status" if learnt.first("promotion") => {
                let none = &Value::Null;
                let both = (self.before().unwrap_or(none), self.written().unwrap_or(none));
                facts.promotion = self.keeper.promotion(world, self.key, both).await;
            }
            "request" if learnt.first("asked") => facts.asked = self.asked().await,
            "delete-declared" if learnt.first("going") => {
                facts.application_terminating = self.is_application_going(world).await;
                facts.node_lost = self.is_pod() && self.is_node_lost().await;
            }
            _ => return false,
        }
        true
    }

    fn is_pod(&self) -> bool {
        self.key.group.is_empty() && self.key.kind == "Pod"
    }

    /// Whether it is a Job by which a Rollout's version is measured.
    fn is_measuring(&self) -> bool {
        let of_rollout = |owner: Reference| owner.gvk.group == GROUP && owner.gvk.kind == "Rollout";
        self.key.group == "batch"
            && self.key.kind == "Job"
            && controller(self.written()).is_some_and(of_rollout)
    }

    /// What such Jobs may say, as the Rollout and its templates are in Git.
    fn measuring(&self, world: &World) -> Vec<Value> {
        let Some(owner) = controller(self.written()) else { return Vec::new() };
        let declared = |kind: &str, namespace: &str, name: &str| {
            let key = ObjectKey {
                group: GROUP.into(),
                kind: kind.into(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            };
            world.owner(&key).and_then(|held| held.part.get(&key))
        };
        let namespace = self.key.namespace.as_str();
        let rollout = declared("Rollout", namespace, &owner.name);
        let spec = rollout.and_then(|rollout| RolloutSpec::deserialize(rollout.value.get("spec")?).ok());
        let Some(spec) = spec else { return Vec::new() };
        let mut templates = Templates::new();
        for reference in spec.templates() {
            let places = [namespace, SYSTEM_NAMESPACE];
            let found =
                places.into_iter().find_map(|place| declared("AnalysisTemplate", place, &reference.name));
            let read = found.map(|template| read_template(&reference.name, &template.value));
            templates.extend(read.map(|read| (reference.name.clone(), read)));
        }
        Metrics::new(&spec, namespace, &owner.name, &templates).jobs(&owner.uid)
    }

    fn written(&self) -> Option<&Value> {
        self.request.object.as_ref().filter(|object| !object.is_null())
    }

    fn before(&self) -> Option<&Value> {
        self.request.old_object.as_ref().filter(|object| !object.is_null())
    }

    /// Whether a DELETE leaves behind what the object owns. Jobs and
    /// ReplicationControllers do where nothing is said
    /// (`DefaultGarbageCollectionPolicy` of their strategies).
    pub(super) fn is_orphaning(&self) -> bool {
        if self.operation != Operation::Delete {
            return false;
        }
        let option = |field: &str| self.request.options.as_ref().and_then(|options| options.get(field));
        match (option("propagationPolicy").and_then(Value::as_str), option("orphanDependents")) {
            (Some(policy), _) => policy == "Orphan",
            (None, Some(Value::Bool(orphan))) => *orphan,
            _ => matches!(
                (self.key.group.as_str(), self.key.kind.as_str()),
                ("batch", "Job") | ("", "ReplicationController")
            ),
        }
    }

    /// All owners of the old and the new object.
    async fn lineage(&self, world: &World, recent: bool) -> Lineage {
        let mut lineage = Lineage::default();
        let parent = match self.itself(world).await {
            Ok(parent) => parent,
            Err(error) => {
                // Not knowing the object is not knowing its owners.
                let (gvk, state) = (self.gvk.clone(), State::Unknown(error.to_string()));
                let (name, uid) = (self.key.name.clone(), String::new());
                let reference = Reference { gvk, name, uid, controller: true };
                lineage.owners.push(Owner { reference, state, descends: false });
                return lineage;
            }
        };
        let all = [self.written(), self.before(), parent.as_ref()].into_iter().flat_map(references);
        for reference in all {
            if lineage.owner(&reference.uid).is_some() {
                continue;
            }
            if lineage.owners.len() >= MAX_OWNERS {
                let state = State::Unknown(format!("it names more than {MAX_OWNERS} owners"));
                lineage.owners.push(Owner { reference, state, descends: false });
                break;
            }
            let controls = reference.controller;
            let (owner, root) = self.owner(world, reference, recent).await;
            // By whom it is judged is not the writer's choice: the one in control.
            if lineage.root.is_none() && controls {
                lineage.tracks = root.as_ref().and_then(|root| world.tracks(&root.key));
                lineage.root = root;
            }
            lineage.owners.push(owner);
        }
        let orphan = self.written().filter(|object| controller(Some(object)).is_none());
        if let Some(orphan) = orphan.filter(|_| self.request.sub_resource != "scale") {
            for (api_version, kind) in adopters(self.gvk) {
                self.suit(world, orphan, &Gvk::new(api_version, kind), &mut lineage).await;
            }
        }
        lineage
    }

    /// Controllers of one kind that would adopt an object.
    async fn suit(&self, world: &World, orphan: &Value, gvk: &Gvk, lineage: &mut Lineage) {
        let unknown = |why: String| Owner {
            reference: Reference {
                gvk: gvk.clone(),
                name: String::new(),
                uid: String::new(),
                controller: true,
            },
            state: State::Unknown(why),
            descends: false,
        };
        let Some(kind) = world.discovery.kind(gvk) else {
            return lineage.suitors.push(unknown(format!("{gvk} is not served")));
        };
        let path = format!("{}?resourceVersion=0", kind.path(&self.key.namespace, ""));
        let all = match self.list(&path).await {
            Ok(all) => all,
            Err(error) => return lineage.suitors.push(unknown(error.to_string())),
        };
        for mut live in all {
            live["apiVersion"] = gvk.api_version().into();
            live["kind"] = gvk.kind.as_str().into();
            if !adopts(&live, orphan) {
                continue;
            }
            let text =
                |pointer: &str| live.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            let (name, uid) = (text("/metadata/name"), text("/metadata/uid"));
            let key = ObjectKey {
                group: gvk.group.clone(),
                kind: gvk.kind.clone(),
                namespace: self.key.namespace.clone(),
                name: name.clone(),
            };
            let reference = Reference { gvk: gvk.clone(), name, uid, controller: true };
            let mut suitor = Owner { reference, state: State::Live(live), descends: false };
            let root = self.climb(world, key, &mut suitor, true).await;
            if lineage.root.is_none() {
                lineage.root = root;
            }
            lineage.suitors.push(suitor);
        }
    }

    /// The object of a Scale, which has no owners itself.
    async fn itself(&self, world: &World) -> Result<Option<Value>, ClusterError> {
        match world.discovery.kind(self.gvk) {
            Some(kind) if self.request.sub_resource == "scale" => {
                self.keeper.cluster.get(kind, self.key).await
            }
            _ => Ok(None),
        }
    }

    /// One owner, and what Git declares above it.
    async fn owner(
        &self,
        world: &World,
        reference: Reference,
        recent: bool,
    ) -> (Owner, Option<DesiredObject>) {
        let (key, state) = self.look(world, &reference, recent).await;
        let mut owner = Owner { reference, state, descends: false };
        let root = self.climb(world, key, &mut owner, recent).await;
        (owner, root)
    }

    /// What Git declares at or above an owner.
    async fn climb(
        &self,
        world: &World,
        mut key: ObjectKey,
        owner: &mut Owner,
        recent: bool,
    ) -> Option<DesiredObject> {
        let State::Live(live) = &owner.state else { return None };
        let mut above = live.clone();
        for _ in 0..GENERATIONS {
            if let Some(held) = world.owner(&key) {
                owner.descends = true;
                return held.part.get(&key);
            }
            let next = controller(Some(&above)).or_else(|| references(Some(&above)).into_iter().next());
            let Some(next) = next else { break };
            let (next_key, state) = self.look(world, &next, recent).await;
            match state {
                State::Live(live) => (key, above) = (next_key, live),
                State::Unknown(why) => {
                    // Not knowing who is above is not knowing the owner.
                    owner.state = State::Unknown(why);
                    break;
                }
                State::Missing | State::Another(_) => break,
            }
        }
        None
    }

    /// What a reference points at. Owners share their children's namespace, or
    /// have none.
    async fn look(&self, world: &World, reference: &Reference, recent: bool) -> (ObjectKey, State) {
        let mut key = ObjectKey {
            group: reference.gvk.group.clone(),
            kind: reference.gvk.kind.clone(),
            namespace: self.key.namespace.clone(),
            name: reference.name.clone(),
        };
        let kind = world
            .discovery
            .kind(&reference.gvk)
            .or_else(|| world.discovery.preferred(&reference.gvk.group, &reference.gvk.kind));
        let Some(kind) = kind else {
            return (key, State::Unknown(format!("{} is not served", reference.gvk)));
        };
        if !kind.namespaced {
            key.namespace.clear();
        } else if key.namespace.is_empty() {
            return (key, State::Missing);
        }
        let _turn;
        if recent {
            match self.keeper.recent.get_or_turn(&key, &reference.uid).await {
                Ok(live) => return (key, State::Live(live)),
                Err(turn) => _turn = turn,
            }
        }
        let state = self.state(kind, &key, &reference.uid).await;
        if let State::Live(live) = &state {
            self.keeper.recent.put(&key, &reference.uid, live);
        }
        (key, state)
    }

    async fn state(&self, kind: &Kind, key: &ObjectKey, uid: &str) -> State {
        match self.keeper.cluster.get(kind, key).await {
            Ok(None) => State::Missing,
            Ok(Some(live)) => match live.pointer("/metadata/uid").and_then(Value::as_str) {
                Some(there) if there == uid => State::Live(live),
                other => State::Another(other.unwrap_or_default().to_owned()),
            },
            Err(error) => State::Unknown(error.to_string()),
        }
    }

    /// What admission and rolling updates may have put into a Pod.
    async fn surroundings(&self) -> Surroundings {
        let namespace = &self.key.namespace;
        let (limit_ranges, priority_classes) = tokio::join!(
            self.items(format!("/api/v1/namespaces/{namespace}/limitranges?resourceVersion=0")),
            self.items("/apis/scheduling.k8s.io/v1/priorityclasses?resourceVersion=0".to_owned()),
        );
        let text = |pointer: &str| self.written().and_then(|pod| pod.pointer(pointer)?.as_str());
        let runtime_class = match text("/spec/runtimeClassName").and_then(plain) {
            Some(name) => self.one(&format!("/apis/node.k8s.io/v1/runtimeclasses/{name}")).await,
            None => None,
        };
        let mut revisions = Vec::new();
        let hash = self
            .written()
            .and_then(|pod| pod.pointer("/metadata/labels")?.get("controller-revision-hash")?.as_str())
            .and_then(plain);
        if let (Some(hash), Some(owner)) = (hash, controller(self.written())) {
            // A StatefulSet's Pods carry the revision's name, a DaemonSet's its hash.
            let name = match owner.gvk.kind.as_str() {
                "StatefulSet" => hash.to_owned(),
                _ => format!("{}-{hash}", owner.name),
            };
            if let Some(name) = plain(&name) {
                let path = format!("/apis/apps/v1/namespaces/{namespace}/controllerrevisions/{name}");
                revisions.extend(self.one(&path).await);
            }
        }
        Surroundings { revisions, limit_ranges, priority_classes, runtime_class, jobs: Vec::new() }
    }

    async fn one(&self, path: &str) -> Option<Value> {
        self.keeper.cluster.get_json(path).await.ok()
    }

    /// None where they cannot be read: what they would allow is not allowed.
    async fn items(&self, path: String) -> Vec<Value> {
        self.list(&path).await.unwrap_or_default()
    }

    async fn list(&self, path: &str) -> Result<Vec<Value>, ClusterError> {
        let mut list = self.keeper.cluster.get_json(path).await?;
        match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }

    /// Whether a declared StatefulSet of this namespace makes this claim.
    fn is_claimed(&self, world: &World) -> bool {
        let sets = world.index.parts().iter().flat_map(|part| {
            let here = |key: &&ObjectKey| {
                key.kind == "StatefulSet" && key.group == "apps" && key.namespace == self.key.namespace
            };
            part.keys().filter(here).filter_map(|key| part.get(key))
        });
        let Some(claim) = self.written() else { return false };
        sets.into_iter()
            .any(|set| is_claim_of(&self.key.name, &set) && is_as_its_template(world, claim, &set))
    }

    /// Whether the object says where a Service's traffic goes.
    fn leads(&self) -> bool {
        service_of(self.key, self.written()).is_some()
    }

    /// Where its Service's traffic may go. `cached`: as far as the API server's
    /// watch cache knows.
    async fn endpoints(&self, world: &World, cached: bool) -> Endpoints {
        let Some(name) = service_of(self.key, self.written()) else { return Endpoints::Undeclared };
        let key = ObjectKey {
            group: String::new(),
            kind: "Service".into(),
            namespace: self.key.namespace.clone(),
            name,
        };
        let Some(declared) = world.owner(&key).and_then(|held| held.part.get(&key)) else {
            return Endpoints::Undeclared;
        };
        let selector = |service: &Value| {
            let selector = service.pointer("/spec/selector").cloned();
            selector.filter(|selector| selector.as_object().is_some_and(|map| !map.is_empty()))
        };
        let Some(git) = selector(&declared.value) else { return Endpoints::Unselected };
        // The controller follows the live Service, which a sync brings to Git's.
        let live = match world.discovery.kind(&Gvk::new("v1", "Service")) {
            Some(kind) => self.keeper.cluster.get(kind, &key).await.ok().flatten(),
            None => None,
        };
        let live = live.as_ref().and_then(selector);
        let version = if cached { "?resourceVersion=0" } else { "" };
        let pods = self.items(format!("/api/v1/namespaces/{}/pods{version}", key.namespace)).await;
        let mut known = selects(&git, pods.iter());
        if let Some(live) = live.filter(|live| *live != git) {
            known.extend(selects(&live, pods.iter()));
        }
        Endpoints::Selected(known)
    }

    async fn is_application_going(&self, world: &World) -> bool {
        let Some(held) = world.owner(self.key) else { return false };
        let application = &held.loaded.application;
        let path = format!(
            "/apis/{API_VERSION}/namespaces/{}/applications/{}",
            application.namespace, application.name
        );
        let live = self.one(&path).await.unwrap_or_default();
        live.pointer("/metadata/deletionTimestamp").is_some_and(Value::is_string)
    }

    /// Whether the Pod's node is gone, or evicts it.
    async fn is_node_lost(&self) -> bool {
        let Some(pod) = self.before() else { return false };
        let Some(name) =
            pod.pointer("/spec/nodeName").and_then(Value::as_str).filter(|name| !name.is_empty())
        else {
            return false;
        };
        let Some(name) = plain(name) else { return false };
        match self.keeper.cluster.get_json(&format!("/api/v1/nodes/{name}")).await {
            Err(error) => error.kind() == ErrorKind::NotFound,
            Ok(node) => gitops_core::children::is_evicting(&node, pod),
        }
    }
}

/// A name that may stand in a path as it is.
fn plain(name: &str) -> Option<&str> {
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    (!name.is_empty() && name.chars().all(ok) && !name.starts_with('.')).then_some(name)
}

/// Whether a claim says what its StatefulSet's template says; a template that
/// names no class has the cluster's default.
fn is_as_its_template(world: &World, claim: &Value, set: &DesiredObject) -> bool {
    let name = claim.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let templates = set.value.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
    let of_name = |template: &&Value| {
        let own = template.pointer("/metadata/name").and_then(Value::as_str);
        own.is_some_and(|own| name.starts_with(&format!("{own}-")))
    };
    let gvk = Gvk::new("v1", "PersistentVolumeClaim");
    templates.into_iter().flatten().filter(of_name).any(|template| {
        let mut want = claim.clone();
        want["spec"] = template["spec"].clone();
        compare(&world.schemas, &gvk, &want, claim, &CompareOptions::of(&gvk)).is_empty()
            && claim.pointer("/spec/volumeName") == template.pointer("/spec/volumeName")
    })
}
