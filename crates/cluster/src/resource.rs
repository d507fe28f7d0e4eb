//! Kinds by the names that people type. In: `deployment`, `deploy`,
//! `deployments.apps`, `deployments.v1.apps`. Out: the kind, as kubectl would
//! take it.

use std::collections::BTreeSet;

use gitops_core::object::Gvk;
use serde_json::Value;

use crate::discovery::{Discovery, Kind};
use crate::error::ClusterError;
use crate::transport::Cluster;

impl Discovery {
    /// A kind by its plural or singular name, with or without its group.
    pub fn named(&self, name: &str) -> Option<&Kind> {
        let (name, place) = split(name);
        let name = name.to_lowercase();
        self.kinds().iter().find(|kind| {
            (kind.plural == name || kind.gvk.kind.to_lowercase() == name) && lies_in(&kind.gvk, place)
        })
    }
}

impl Cluster {
    /// A kind by its plural, singular or short name. Short names are asked for
    /// only when nothing else fits.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn named(&self, discovery: &Discovery, name: &str) -> Result<Option<Kind>, ClusterError> {
        if let Some(kind) = discovery.named(name) {
            return Ok(Some(kind.clone()));
        }
        let (short, place) = split(name);
        let mut versions = Vec::new();
        let mut seen = BTreeSet::new();
        for kind in discovery.kinds().iter().filter(|kind| lies_in(&kind.gvk, place)) {
            if seen.insert(kind.gvk.api_version()) {
                versions.push(kind.gvk.clone());
            }
        }
        let lists = versions.iter().map(|gvk| async move {
            let root = if gvk.group.is_empty() { "/api/" } else { "/apis/" };
            self.get_json(&format!("{root}{}", gvk.api_version())).await
        });
        // An aggregated server that is down hides its own kinds only.
        let lists = futures::future::join_all(lists).await;
        for (gvk, list) in versions.iter().zip(&lists) {
            let Ok(list) = list else { continue };
            if let Some(plural) = plural_of(list, short) {
                let found = |kind: &&Kind| {
                    kind.gvk.group == gvk.group && kind.gvk.version == gvk.version && kind.plural == plural
                };
                return Ok(discovery.kinds().iter().find(found).cloned());
            }
        }
        match lists.into_iter().find_map(Result::err) {
            Some(error) if discovery.kinds().is_empty() => Err(error),
            _ => Ok(None),
        }
    }
}

/// `deployments.v1.apps` is `deployments` and `v1.apps`.
fn split(name: &str) -> (&str, Option<&str>) {
    name.split_once('.').map_or((name, None), |(name, place)| (name, Some(place)))
}

fn lies_in(gvk: &Gvk, place: Option<&str>) -> bool {
    place.is_none_or(|place| {
        place == gvk.group || place == format!("{}.{}", gvk.version, gvk.group).trim_end_matches('.')
    })
}

fn plural_of(list: &Value, short: &str) -> Option<String> {
    let resources = list.get("resources")?.as_array()?;
    let has = |resource: &&Value| {
        let names = resource.get("shortNames").and_then(Value::as_array);
        names.into_iter().flatten().any(|name| name == short)
    };
    Some(resources.iter().find(has)?.get("name")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn groups_and_versions_are_told_apart() {
        let gvk = Gvk::new("apps/v1", "Deployment");
        for (name, fits) in [
            ("deployments", true),
            ("d.apps", true),
            ("d.v1.apps", true),
            ("d.v2.apps", false),
            ("d.batch", false),
        ] {
            assert_eq!(lies_in(&gvk, split(name).1), fits, "{name}");
        }
        assert!(lies_in(&Gvk::new("v1", "Pod"), Some("v1")));
        let list = json!({"resources": [{"name": "deployments", "shortNames": ["deploy"]}]});
        assert_eq!(plural_of(&list, "deploy").as_deref(), Some("deployments"));
        assert_eq!(plural_of(&list, "dep"), None);
    }
}
