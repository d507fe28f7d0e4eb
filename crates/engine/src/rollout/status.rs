//! The status of a Rollout in the cluster. In: the Rollout as it was seen, and
//! what its status is to say. Out: whether it says so; somebody else's write in
//! between is no error.

use gitops_api::rollout::RolloutStatus;
use gitops_core::names::{FIELD_MANAGER_ROLLOUT, GROUP, VERSION};
use gitops_core::object::ObjectKey;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, PostParams};
use serde::Deserialize;
use serde_json::{Value, json};

use super::gate::Ground;
use crate::error::EngineError;

/// What became of a status.
pub(super) enum Written {
    Yes,
    /// The Rollout is another one by now.
    Missed,
    /// By the API server, and why.
    Refused(String),
}

/// What a Rollout's status says; nothing where it cannot be read.
pub(super) fn status_of(live: &Value) -> RolloutStatus {
    live.get("status").and_then(|status| RolloutStatus::deserialize(status).ok()).unwrap_or_default()
}

/// Writes a status over the one that was seen.
///
/// # Errors
/// When the API server cannot be asked.
pub(super) async fn write(
    ground: &Ground<'_>,
    live: &Value,
    status: &RolloutStatus,
) -> Result<Written, EngineError> {
    let resource = ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(GROUP, VERSION, "Rollout"));
    let mut whole = live.clone();
    whole["status"] = json!(status);
    let internal = |error: &dyn std::fmt::Display| EngineError::Internal(error.to_string());
    let key = ObjectKey::of(live).map_err(|error| internal(&error))?;
    let object: DynamicObject = serde_json::from_value(whole).map_err(|error| internal(&error))?;
    let api: Api<DynamicObject> = Api::namespaced_with(ground.cluster.client(), &key.namespace, &resource);
    let params = PostParams { field_manager: Some(FIELD_MANAGER_ROLLOUT.into()), ..PostParams::default() };
    let failed = |error: &dyn std::fmt::Display| format!("its status could not be written: {error}");
    match api.replace_status(&key.name, &params, &object).await {
        Ok(_) => Ok(Written::Yes),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(Written::Missed),
        Err(kube::Error::Api(status)) => Ok(Written::Refused(failed(&status.message))),
        Err(error) => Err(EngineError::Rollout { rollout: key, reason: failed(&error) }),
    }
}
