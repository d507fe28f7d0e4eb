//! Room for more Pods. In: the setting that is about to be. Out: what is lacking
//! for it, asked of the cluster only when there are to be more Pods.

use std::collections::HashMap;
use std::sync::Arc;

use gitops_cluster::ErrorKind;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::rollout::program::count;
use gitops_core::rollout::room::{Taken, no_node, over_quota};
use gitops_core::rollout::state::State;
use serde_json::Value;
use tokio::sync::{Mutex, OnceCell};

use super::gate::{Ground, Rolling};
use crate::error::EngineError;

/// How many Pods more the second workload has by a decision.
pub(super) fn more(before: &State, after: &State) -> i64 {
    let pods = |state: &State| state.setting.second.map_or(0, |size| count(state.replicas, size));
    (pods(after) - pods(before)).max(0)
}

/// What was read of the cluster's room, once for all Rollouts of a look.
#[derive(Debug, Default)]
pub(super) struct Room {
    quotas: Mutex<HashMap<String, Arc<Vec<Value>>>>,
    /// None: nodes are made when Pods wait, or may not be looked at.
    nodes: OnceCell<Option<(Vec<Value>, Taken)>>,
}

impl Room {
    async fn quotas(&self, ground: &Ground<'_>, namespace: &str) -> Result<Arc<Vec<Value>>, EngineError> {
        let mut known = self.quotas.lock().await;
        if let Some(quotas) = known.get(namespace) {
            return Ok(quotas.clone());
        }
        let quotas = Arc::new(list(ground, "ResourceQuota", namespace).await?);
        known.insert(namespace.to_owned(), quotas.clone());
        Ok(quotas)
    }

    async fn nodes(&self, ground: &Ground<'_>) -> Result<Option<&(Vec<Value>, Taken)>, EngineError> {
        let read = async || {
            if grows(ground).await? {
                return Ok::<_, EngineError>(None);
            }
            let nodes = list(ground, "Node", "").await?;
            if nodes.is_empty() {
                return Ok(None);
            }
            Ok(Some((nodes, Taken::by(&list(ground, "Pod", "").await?))))
        };
        Ok(self.nodes.get_or_try_init(read).await?.as_ref())
    }

    /// What is lacking for so many more Pods of the new version.
    pub(super) async fn shortage(
        &self,
        ground: &Ground<'_>,
        rolling: &Rolling,
        after: &State,
        more: i64,
    ) -> Result<Option<String>, EngineError> {
        let new = after.new.as_ref().and_then(|new| rolling.versions.get(&new.hash));
        let Some(template) = new.and_then(|target| target.value.pointer("/spec/template")) else {
            return Ok(None);
        };
        let quotas = self.quotas(ground, &rolling.key.namespace).await?;
        if let Some(lacking) = over_quota(template, more, &quotas) {
            return Ok(Some(lacking));
        }
        let nodes = self.nodes(ground).await?;
        Ok(nodes.and_then(|(nodes, taken)| no_node(template, more, nodes, taken)))
    }
}

/// All objects of a kind, of one namespace or of all; none where they may not be
/// listed.
async fn list(ground: &Ground<'_>, kind: &str, namespace: &str) -> Result<Vec<Value>, EngineError> {
    let Some(kind) = ground.discovery.kind(&Gvk::new("v1", kind)) else { return Ok(Vec::new()) };
    let path = kind.path(namespace, "");
    match ground.cluster.get_json(&format!("{}?resourceVersion=0", path.trim_end_matches('/'))).await {
        Ok(answer) => Ok(answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default()),
        Err(error) if error.kind() == ErrorKind::Forbidden => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Whether nodes are made when Pods wait for them.
async fn grows(ground: &Ground<'_>) -> Result<bool, EngineError> {
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
