//! Who owns an object, and what Git declares above its owners. In: a review.
//! Out: every owner as it is now, and those that would adopt an object without
//! one.

use gitops_cluster::{ClusterError, Kind};
use gitops_core::children::{Lineage, Owner, Reference, State, adopters, adopts, controller, references};
use gitops_core::desired::DesiredObject;
use gitops_core::object::{Gvk, ObjectKey};
use serde_json::Value;

use super::super::validate::Case;
use crate::world::World;

/// Owners above an object's own: a Pod of a Job of a CronJob of a custom
/// resource is three away.
const GENERATIONS: usize = 5;
/// More owners than this are not looked up, and count as unknown.
const MAX_OWNERS: usize = 16;

impl Case<'_> {
    /// All owners of the old and the new object.
    pub(super) async fn lineage(&self, world: &World, recent: bool) -> Lineage {
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
}
