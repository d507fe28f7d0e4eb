//! Secrets for repositories go along with Applications, where the Secret that
//! registers a cluster asks for it: its webhook reads Git by itself. In: an
//! Application of the hub. Out: the Secrets that its sources name, in the same
//! namespace there. One that is there already and is not from this hub stays.

use std::collections::BTreeSet;

use gitops_api::Application;
use gitops_cluster::{ApplyOptions, Cluster, ClusterError, Kind};
use gitops_core::names::{FIELD_MANAGER, LABEL_HUB};
use gitops_core::object::{Gvk, ObjectKey};
use serde_json::{Value, json};

/// Brings them from one cluster to another.
///
/// # Errors
/// When one is not here, or cannot be written there.
pub async fn bring(
    (here, there): (&Cluster, &Cluster),
    application: &Application,
    namespace: &str,
    hub: &str,
) -> Result<(), ClusterError> {
    let kind = Kind::known(Gvk::new("v1", "Secret"), "secrets", true);
    for name in named(application) {
        let key =
            ObjectKey { group: String::new(), kind: "Secret".into(), namespace: namespace.into(), name };
        let missing = || ClusterError::NotFound { what: key.to_string() };
        let wanted = copy(&here.get(&kind, &key).await?.ok_or_else(missing)?, hub);
        let live = there.get(&kind, &key).await?;
        if live.as_ref().is_some_and(|live| !is_ours(live, hub) || live["data"] == wanted["data"]) {
            continue;
        }
        let options = ApplyOptions { field_manager: FIELD_MANAGER, force: true, ..ApplyOptions::default() };
        there.apply(&kind, &key, &wanted, &options).await?;
    }
    Ok(())
}

fn named(application: &Application) -> BTreeSet<String> {
    let sources = application.spec.all_sources().into_iter();
    sources.filter_map(|source| source.secret_ref.as_ref().map(|secret| secret.name.clone())).collect()
}

fn is_ours(live: &Value, hub: &str) -> bool {
    live.pointer("/metadata/labels").and_then(|labels| labels.get(LABEL_HUB)?.as_str()) == Some(hub)
}

fn copy(secret: &Value, hub: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "type": secret["type"],
        "metadata": {"name": secret["metadata"]["name"], "namespace": secret["metadata"]["namespace"],
            "labels": {LABEL_HUB: hub}},
        "data": secret["data"]})
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn only_what_sources_name_is_copied_and_nothing_but_its_data() {
        let spec = json!({"sources": [{"repo": "https://a", "secretRef": {"name": "git"}},
            {"repo": "https://b", "ref": "b", "secretRef": {"name": "git"}}, {"repo": "https://c", "ref": "c"}]});
        let application = Application::new("web", serde_json::from_value(spec).unwrap());
        assert_eq!(named(&application).into_iter().collect::<Vec<_>>(), ["git"]);
        let secret = json!({"type": "Opaque", "data": {"token": "dA=="}, "metadata": {"name": "git",
            "namespace": "shop", "uid": "u", "annotations": {"a": "b"}, "ownerReferences": []}});
        let copied = copy(&secret, "hub");
        assert_eq!(
            copied["metadata"],
            json!({"name": "git", "namespace": "shop", "labels": {"kubectl-gitops.dev/hub": "hub"}})
        );
        assert_eq!(copied["data"], secret["data"]);
        assert!(is_ours(&copied, "hub") && !is_ours(&copied, "other") && !is_ours(&secret, "hub"));
    }
}
