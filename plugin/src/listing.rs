//! Objects of ours in a cluster. In: a kind by its plural, and a namespace or
//! none for all. Out: the objects as they are.

use gitops_cluster::{Cluster, ClusterError};
use gitops_core::desired::AppRef;
use gitops_core::names::API_VERSION;
use serde_json::Value;

/// All of a kind.
///
/// # Errors
/// When they cannot be listed; where nothing is installed the kind is not found.
pub async fn list(
    cluster: &Cluster,
    plural: &str,
    namespace: Option<&str>,
) -> Result<Vec<Value>, ClusterError> {
    let within = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    let mut list = cluster.get_json(&format!("/apis/{API_VERSION}{within}/{plural}")).await?;
    match list.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => Ok(items),
        _ => Ok(Vec::new()),
    }
}

/// All Applications.
///
/// # Errors
/// As of [`list`].
pub async fn applications(cluster: &Cluster, namespace: Option<&str>) -> Result<Vec<Value>, ClusterError> {
    list(cluster, "applications", namespace).await
}

/// Namespace and name of one.
pub fn reference(object: &Value) -> AppRef {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    AppRef { namespace: text("/metadata/namespace"), name: text("/metadata/name") }
}
