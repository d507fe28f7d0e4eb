//! Room for more Pods. In: the setting that is about to be. Out: what is lacking
//! for it, asked of the cluster only when there are to be more Pods.

use std::collections::HashMap;
use std::sync::Arc;

use gitops_cluster::ErrorKind;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::rollout::program::{Whole, grows};
use gitops_core::rollout::room::{Freed, Taken, no_node, over_quota};
use gitops_core::rollout::spec::{Means, Spec};
use gitops_core::rollout::state::{Phase, State};
use serde_json::Value;
use tokio::sync::{Mutex, OnceCell};

use super::gate::{Ground, Rolling};
use crate::error::EngineError;

/// For how many Pods of the new version there has to be room by a decision. On the
/// way back nothing is waited for.
pub(super) fn more(spec: &Spec, whole: Whole, before: &State, after: &State) -> i64 {
    if after.phase == Phase::Aborting {
        return 0;
    }
    grows(spec.means(), whole, &before.setting, &after.setting)
}

/// What was found of the room for more Pods, in words.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// What is lacking.
    pub shortage: Option<String>,
    /// What may not be looked at.
    pub unseen: Option<String>,
}

/// What was read of the cluster's room, once for all Rollouts of a look.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// None: they may not be looked at.
    quotas: Mutex<HashMap<String, Option<Arc<Vec<Value>>>>>,
    nodes: OnceCell<Nodes>,
}

#[derive(Debug)]
enum Nodes {
    /// With the Pods of all namespaces.
    There(Vec<Value>, Vec<Value>),
    /// They are made when Pods wait.
    Made,
    /// They may not be looked at, or what runs on them may not.
    Unseen,
}

impl Room {
    async fn quotas(
        &self,
        ground: &Ground<'_>,
        namespace: &str,
    ) -> Result<Option<Arc<Vec<Value>>>, EngineError> {
        let mut known = self.quotas.lock().await;
        if let Some(quotas) = known.get(namespace) {
            return Ok(quotas.clone());
        }
        let quotas = list(ground, "ResourceQuota", namespace).await?.map(Arc::new);
        known.insert(namespace.to_owned(), quotas.clone());
        Ok(quotas)
    }

    async fn nodes(&self, ground: &Ground<'_>) -> Result<&Nodes, EngineError> {
        let read = async || {
            if makes_nodes(ground).await? {
                return Ok::<_, EngineError>(Nodes::Made);
            }
            let Some(nodes) = list(ground, "Node", "").await? else { return Ok(Nodes::Unseen) };
            let Some(pods) = list(ground, "Pod", "").await? else { return Ok(Nodes::Unseen) };
            Ok(if nodes.is_empty() { Nodes::Made } else { Nodes::There(nodes, pods) })
        };
        self.nodes.get_or_try_init(read).await
    }

    /// What is lacking for so many Pods of the new version. `live`: the target, as
    /// it is.
    pub(super) async fn look(
        &self,
        ground: &Ground<'_>,
        rolling: &Rolling,
        (after, live): (&State, Option<&Value>),
        more: i64,
    ) -> Result<Found, EngineError> {
        let new = after.new.as_ref().or(after.stable.as_ref());
        let new = new.and_then(|new| rolling.versions.get(&new.hash));
        // The old version goes first.
        let leaves = live.filter(|_| rolling.spec.means() == Means::Alone);
        let freed = leaves.and_then(|live| Freed::of(live, after.replicas));
        let Some(template) = new.and_then(|target| target.value.pointer("/spec/template")) else {
            return Ok(Found::default());
        };
        let mut unseen = Vec::new();
        match self.quotas(ground, &rolling.key.namespace).await? {
            Some(quotas) => {
                if let Some(lacking) = over_quota(template, more, freed.as_ref(), &quotas) {
                    return Ok(Found { shortage: Some(lacking), unseen: None });
                }
            }
            None => unseen.push("ResourceQuotas"),
        }
        let shortage = match self.nodes(ground).await? {
            Nodes::There(nodes, pods) => {
                let stays = |pod: &&Value| !freed.as_ref().is_some_and(|freed| freed.holds(pod));
                no_node(template, more, nodes, &Taken::by(pods.iter().filter(stays)))
            }
            Nodes::Made => None,
            Nodes::Unseen => {
                unseen.push("Nodes with their Pods");
                None
            }
        };
        let unseen = (!unseen.is_empty()).then(|| format!("{} may not be listed", unseen.join(" and ")));
        Ok(Found { shortage, unseen })
    }
}

/// All objects of a kind, of one namespace or of all; none where they may not be
/// listed.
async fn list(ground: &Ground<'_>, kind: &str, namespace: &str) -> Result<Option<Vec<Value>>, EngineError> {
    let Some(kind) = ground.discovery.kind(&Gvk::new("v1", kind)) else { return Ok(Some(Vec::new())) };
    let path = kind.path(namespace, "");
    match ground.cluster.get_json(&format!("{}?resourceVersion=0", path.trim_end_matches('/'))).await {
        Ok(answer) => Ok(Some(answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default())),
        Err(error) if error.kind() == ErrorKind::Forbidden => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether nodes are made when Pods wait for them.
async fn makes_nodes(ground: &Ground<'_>) -> Result<bool, EngineError> {
    if ground.discovery.kinds().iter().any(|kind| kind.gvk.group == "karpenter.sh") {
        return Ok(true);
    }
    let Some(kind) = ground.discovery.kind(&Gvk::new("v1", "ConfigMap")) else { return Ok(false) };
    let key = ObjectKey {
        group: String::new(),
        kind: "ConfigMap".into(),
        namespace: "kube-system".into(),
        name: "cluster-autoscaler-status".into(),
    };
    match ground.cluster.get(kind, &key).await {
        Ok(found) => Ok(found.is_some()),
        // It cannot be told: the scheduler will.
        Err(error) if error.kind() == ErrorKind::Forbidden => Ok(true),
        Err(error) => Err(error.into()),
    }
}
