//! The namespaces of a sync. In: a survey. Out: the destination's namespace,
//! made where the Application asks for it.

use std::collections::BTreeSet;

use gitops_cluster::{ApplyOptions, Cluster};
use gitops_core::object::ObjectKey;
use serde_json::json;

use crate::error::EngineError;
use crate::load::Loaded;
use crate::survey::Survey;

/// Makes the destination's namespace where it is not there and the Application
/// asks for it.
///
/// # Errors
/// [`EngineError::NoNamespace`] when one is not there that nobody makes.
pub async fn ensure(cluster: &Cluster, loaded: &Loaded, survey: &Survey) -> Result<(), EngineError> {
    let declared = survey.desired.objects.keys().map(|key| key.namespace.as_str());
    let wanted: BTreeSet<&str> = declared.filter(|name| !name.is_empty()).collect();
    let Some(kind) = survey.discovery.preferred("", "Namespace") else { return Ok(()) };
    for name in wanted {
        let key = ObjectKey {
            group: String::new(),
            kind: "Namespace".into(),
            namespace: String::new(),
            name: name.to_owned(),
        };
        // Where one of its objects is, it is.
        let is_seen = survey.live.keys().any(|live| live.namespace == name);
        if is_seen || survey.desired.objects.contains_key(&key) || cluster.get(kind, &key).await?.is_some() {
            continue;
        }
        if !(loaded.creates_namespace() && name == loaded.namespace) {
            return Err(EngineError::NoNamespace { name: name.to_owned() });
        }
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        cluster.apply(kind, &key, &object, &ApplyOptions::default()).await?;
    }
    Ok(())
}
