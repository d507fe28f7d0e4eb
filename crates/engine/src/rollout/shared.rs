//! What is read once for all Rollouts of a look, however many there are. In:
//! commits and namespaces. Out: what was read, by the first who asked.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use gitops_core::desired::DesiredSet;
use gitops_core::object::Gvk;
use serde_json::Value;
use tokio::sync::{Mutex, OnceCell};

use super::gate::Ground;
use super::observe::family;
use super::room::Room;
use crate::error::EngineError;
use crate::kin::{Kin, Reach};

/// Commits that are searched for the last one before a new version.
const SEARCHED: usize = 20;

/// What is read once for all Rollouts of a look.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub room: Room,
    passed: OnceCell<Vec<String>>,
    /// None: it cannot be rendered, or does not count.
    sets: Mutex<HashMap<String, Option<Arc<DesiredSet>>>>,
    kin: Mutex<HashMap<String, Arc<Kin>>>,
    near: Mutex<HashMap<String, Arc<Near>>>,
}

/// What serves requests in a namespace.
#[derive(Debug, Default)]
pub(super) struct Near {
    pub replica_sets: Vec<Value>,
    pub slices: Vec<Value>,
    /// By name.
    pub pods: BTreeMap<String, Value>,
}

impl Shared {
    /// The commits before the newest one that changed the source, newest first.
    pub(super) async fn passed(&self, ground: &Ground<'_>, tip: &str) -> Result<&Vec<String>, EngineError> {
        self.passed.get_or_try_init(|| ground.passed(tip, SEARCHED)).await
    }

    pub(super) async fn at(&self, ground: &Ground<'_>, revision: &str, tip: &str) -> Option<Arc<DesiredSet>> {
        let mut sets = self.sets.lock().await;
        if let Some(known) = sets.get(revision) {
            return known.clone();
        }
        let set = ground.at(revision, tip).await.ok().map(Arc::new);
        sets.insert(revision.to_owned(), set.clone());
        set
    }

    /// What the objects of a namespace own, and what was told of them.
    pub(super) async fn kin(&self, ground: &Ground<'_>, namespace: &str) -> Arc<Kin> {
        let mut known = self.kin.lock().await;
        if let Some(kin) = known.get(namespace) {
            return kin.clone();
        }
        let place = [namespace.to_owned()].into();
        let kin = Arc::new(Kin::look(ground.cluster, ground.discovery, &place, Reach::Workloads).await);
        known.insert(namespace.to_owned(), kin.clone());
        kin
    }

    /// ReplicaSets, EndpointSlices and Pods of a namespace.
    pub(super) async fn near(&self, ground: &Ground<'_>, namespace: &str) -> Result<Arc<Near>, EngineError> {
        let mut known = self.near.lock().await;
        if let Some(near) = known.get(namespace) {
            return Ok(near.clone());
        }
        let place: BTreeSet<String> = [namespace.to_owned()].into();
        let kinds = [family("ReplicaSet"), family("Pod"), Gvk::new("discovery.k8s.io/v1", "EndpointSlice")];
        let wanted = kinds.into_iter().map(|gvk| (gvk, place.clone())).collect();
        let mut near = Near::default();
        for (key, object) in ground.cluster.list(ground.discovery, &wanted).await? {
            match key.kind.as_str() {
                "ReplicaSet" => near.replica_sets.push(object),
                "EndpointSlice" => near.slices.push(object),
                _ => {
                    near.pods.insert(key.name, object);
                }
            }
        }
        let near = Arc::new(near);
        known.insert(namespace.to_owned(), near.clone());
        Ok(near)
    }
}
