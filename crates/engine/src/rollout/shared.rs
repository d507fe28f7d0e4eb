//! What is read once for all Rollouts of a look, however many there are. In: a
//! survey, commits and namespaces. Out: what was read, by the first who asked.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::plan::Action;
use gitops_core::rollout::spec::{OnFailure, Spec};
use gitops_core::verdict::Policy;
use serde_json::Value;
use tokio::sync::{Mutex, OnceCell};

use super::back;
use super::commits::Commits;
use super::gate::Ground;
use super::observe::family;
use super::room::Room;
use crate::error::EngineError;
use crate::kin::{Kin, Reach};
use crate::rules::Rules;
use crate::survey::{Survey, policy};

/// What is read once for all Rollouts of a look.
#[derive(Debug)]
pub(super) struct Shared {
    pub rules: Rules,
    pub policy: Policy,
    pub room: Room,
    pub commits: Commits,
    /// What is not as Git says.
    differs: BTreeSet<ObjectKey>,
    kin: Mutex<HashMap<String, Arc<Kin>>>,
    near: Mutex<HashMap<String, Arc<Near>>>,
    standing: OnceCell<back::Standing>,
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
    /// Of a survey.
    ///
    /// # Errors
    /// When something that the Application says cannot be read.
    pub(super) fn of(ground: &Ground<'_>, survey: &Survey) -> Result<Self, EngineError> {
        let differs = survey.plan.steps.iter().filter(|step| step.action != Action::Unchanged);
        Ok(Self {
            rules: Rules::of(ground.loaded)?,
            policy: policy(ground.loaded)?,
            room: Room::default(),
            commits: Commits::default(),
            differs: differs.map(|step| step.key.clone()).collect(),
            kin: Mutex::default(),
            near: Mutex::default(),
            standing: OnceCell::new(),
        })
    }

    /// Whether an object is as Git says.
    pub(super) fn is_same(&self, key: &ObjectKey) -> bool {
        !self.differs.contains(key)
    }

    /// Why a commit that takes a version of this Rollout back would not count.
    pub(super) async fn doubt(&self, ground: &Ground<'_>, spec: &Spec) -> Option<&str> {
        if spec.on_failure != OnFailure::Revert {
            return None;
        }
        self.standing.get_or_init(|| back::standing(ground.loaded)).await.doubt()
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
