//! Who guards the guard: no webhook sees webhook configurations or policies,
//! so they are watched. In: our two configurations, and the policy and binding
//! gitops-guard. Out: configurations put right at once; for the guard, which
//! the webhook may not write, an error in the log, a metric and an Event.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::Value;

use crate::events;
use crate::keeper::Keeper;
use gitops_core::object::ObjectKey;

/// The specs as the chart installs them.
const GUARD: &str = include_str!("../../charts/gitops/files/guard.yaml");
const GROUP: &str = "admissionregistration.k8s.io";
const NAME: &str = "gitops-guard";
/// Replicas that have not heard of the same commit yet write different scopes;
/// they have agreed after this.
const AGREED: Duration = Duration::from_secs(10);

/// Watches until the program ends.
pub async fn watch(keeper: Arc<Keeper>) {
    let policy = async {
        if keeper.settings.guard {
            guard(&keeper).await;
        }
    };
    tokio::join!(
        configuration(keeper.clone(), "ValidatingWebhookConfiguration"),
        configuration(keeper.clone(), "MutatingWebhookConfiguration"),
        policy,
    );
}

fn resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, "v1", kind))
}

/// Everything that happens to one object: as it is, or none when it is gone.
fn changes(
    keeper: &Keeper,
    kind: &str,
    name: &str,
) -> impl futures::Stream<Item = Option<Value>> + Send + use<> {
    let api: Api<DynamicObject> = Api::all_with(keeper.cluster.client(), &resource(kind));
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut there = None;
    watcher(api, config).default_backoff().filter_map(move |event| {
        let value = |object: &DynamicObject| serde_json::to_value(object).ok();
        let change = match event {
            Ok(watcher::Event::Init) => {
                there = None;
                None
            }
            Ok(watcher::Event::InitApply(object)) => {
                there = value(&object);
                None
            }
            Ok(watcher::Event::InitDone) => Some(there.take()),
            Ok(watcher::Event::Apply(object)) => Some(value(&object)),
            Ok(watcher::Event::Delete(_)) => Some(None),
            Err(error) => {
                tracing::warn!(%error, "watching what guards the cluster");
                None
            }
        };
        std::future::ready(change)
    })
}

/// Puts a configuration right whenever somebody else has changed it.
async fn configuration(keeper: Arc<Keeper>, kind: &'static str) {
    let mut changes = std::pin::pin!(changes(&keeper, kind, &keeper.settings.config_name));
    let mut is_disputed = false;
    loop {
        let limit = if is_disputed { AGREED } else { Duration::MAX };
        let next = tokio::time::timeout(limit, changes.next()).await;
        if next == Ok(None) {
            return;
        }
        is_disputed = keeper.put_right(kind, next.is_err()).await;
    }
}

/// Tells when the policy or its binding is not as it was installed.
async fn guard(keeper: &Keeper) {
    let Some(expected) = expected(&keeper.settings.namespace) else {
        tracing::error!("the guard's specs cannot be read; this is a defect of kubectl-gitops");
        return;
    };
    let watched = [("ValidatingAdmissionPolicy", "policy"), ("ValidatingAdmissionPolicyBinding", "binding")];
    let streams = watched.map(|(kind, part)| {
        let stream = changes(keeper, kind, NAME).map(move |live| (kind, part, live));
        Box::pin(stream)
    });
    let mut changes = futures::stream::select_all(streams);
    let mut faults = std::collections::BTreeMap::new();
    keeper.metrics.guard_intact.set(0);
    while let Some((kind, part, live)) = changes.next().await {
        let fault = match &live {
            None => Some("missing"),
            Some(live) if !is_same(&expected[part], &live["spec"]) => Some("altered"),
            Some(_) => None,
        };
        let before = faults.insert(kind, fault);
        let intact = faults.len() == watched.len() && faults.values().all(Option::is_none);
        keeper.metrics.guard_intact.set(i64::from(intact));
        if let Some(fault) = fault.filter(|_| before != Some(fault)) {
            tracing::error!(
                kind,
                name = NAME,
                fault,
                "what guards kubectl-gitops is not as it was installed"
            );
            let key = ObjectKey {
                group: GROUP.into(),
                kind: kind.into(),
                namespace: String::new(),
                name: NAME.into(),
            };
            let gvk =
                gitops_core::object::Gvk { group: GROUP.into(), version: "v1".into(), kind: kind.into() };
            let note = format!("{key} is {fault}: install the chart again; look in the audit log who did it");
            keeper.events.warn(events::object(Some(&gvk), &key), None, ("GuardBroken", "Watch"), &note);
        }
    }
}

/// The guard of a release in this namespace.
fn expected(namespace: &str) -> Option<Value> {
    let text = GUARD.replace("gitops-system", namespace);
    gitops_source::yaml::documents("guard.yaml", &text)
        .ok()?
        .into_iter()
        .next()
        .map(|document| document.value)
}

/// Whether a spec says what was installed; empty fields say nothing.
fn is_same(expected: &Value, live: &Value) -> bool {
    fn bare(value: &Value) -> Value {
        let empty = |value: &Value| {
            value.is_null()
                || value.as_object().is_some_and(|map| map.is_empty())
                || value.as_array().is_some_and(|list| list.is_empty())
        };
        match value {
            Value::Object(map) => map
                .iter()
                .map(|(key, value)| (key.clone(), bare(value)))
                .filter(|(_, value)| !empty(value))
                .collect(),
            Value::Array(items) => items.iter().map(bare).collect(),
            other => other.clone(),
        }
    }
    bare(expected) == bare(live)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_guard_is_known_for_any_namespace_and_a_weaker_one_is_seen() {
        let guard = expected("elsewhere").unwrap();
        assert!(guard.to_string().contains("system:serviceaccount:elsewhere:gitops-webhook"));
        let mut live = guard["policy"].clone();
        assert!(is_same(&guard["policy"], &live));
        live["failurePolicy"] = "Ignore".into();
        assert!(!is_same(&guard["policy"], &live));
        let mut live = guard["policy"].clone();
        live["matchConstraints"]["excludeResourceRules"] = serde_json::json!([{"resources": ["*"]}]);
        assert!(!is_same(&guard["policy"], &live));
        assert!(!is_same(
            &guard["binding"],
            &serde_json::json!({"policyName": NAME, "validationActions": ["Audit"]})
        ));
    }
}
