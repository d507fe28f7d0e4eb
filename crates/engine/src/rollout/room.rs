//! Room for more Pods. In: the setting that is about to be. Out: what is lacking
//! for it, asked of the cluster only when there are to be more Pods.

use gitops_cluster::ErrorKind;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::rollout::program::count;
use gitops_core::rollout::room::{no_node, over_quota};
use gitops_core::rollout::state::State;
use serde_json::Value;

use super::gate::{Ground, Rolling};
use crate::error::EngineError;

/// How many Pods more the second workload has by a decision.
pub(super) fn more(before: &State, after: &State) -> i64 {
    let pods = |state: &State| state.setting.second.map_or(0, |size| count(state.replicas, size));
    (pods(after) - pods(before)).max(0)
}

/// What is lacking for so many more Pods of the new version.
pub(super) async fn shortage(
    ground: &Ground<'_>,
    rolling: &Rolling,
    after: &State,
    more: i64,
) -> Result<Option<String>, EngineError> {
    let new = after.new.as_ref().and_then(|new| rolling.versions.get(&new.hash));
    let Some(template) = new.and_then(|target| target.value.pointer("/spec/template")) else {
        return Ok(None);
    };
    let quotas = list(ground, "ResourceQuota", &rolling.key.namespace).await?;
    if let Some(lacking) = over_quota(template, more, &quotas) {
        return Ok(Some(lacking));
    }
    if grows(ground).await? {
        return Ok(None);
    }
    let nodes = list(ground, "Node", "").await?;
    // Who may not look at nodes cannot tell.
    if nodes.is_empty() {
        return Ok(None);
    }
    let pods = list(ground, "Pod", "").await?;
    Ok(no_node(template, more, &nodes, &pods))
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
