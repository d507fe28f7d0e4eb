//! Which version Pods have by what Kubernetes calls them. In: a live target, and
//! values of the label by which Kubernetes tells its versions apart. Out: the
//! hash of the version that the ReplicaSet or ControllerRevision of that name
//! has; what the target does not own counts for nothing.

use std::collections::BTreeMap;

use gitops_cluster::ClusterError;
use gitops_core::children::controller;
use gitops_core::desired::DesiredObject;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::rollout::spec::Spec;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::gate::Ground;
use super::running::{same_version, template_of};
use crate::error::EngineError;
use crate::survey::policy;

impl Ground<'_> {
    /// The hashes of the versions that Pods of these names have, of `versions`:
    /// the target as Git has it, by hash.
    ///
    /// # Errors
    /// When the cluster cannot be asked.
    pub async fn named(
        &self,
        spec: &Spec,
        live: &Value,
        names: &[&str],
        versions: &BTreeMap<String, DesiredObject>,
    ) -> Result<BTreeMap<String, String>, EngineError> {
        let kinds = versions.values().map(|version| version.gvk.clone()).collect();
        let (schemas, policy) = (self.cluster.schemas(&kinds).await?, policy(self.loaded)?);
        let mut found = BTreeMap::new();
        for name in names {
            for template in self.templates(spec, live, name).await? {
                let mut running = live.clone();
                running["spec"]["template"] = template;
                let of_it = |want: &DesiredObject| same_version(&schemas, &policy, spec, want, &running);
                if let Some((hash, _)) = versions.iter().find(|(_, want)| of_it(want)) {
                    found.insert((*name).to_owned(), hash.clone());
                }
            }
        }
        Ok(found)
    }

    /// The Pod templates of a name.
    async fn templates(&self, spec: &Spec, live: &Value, name: &str) -> Result<Vec<Value>, ClusterError> {
        let stateful = spec.target.kind == "StatefulSet";
        let kind = if stateful { "ControllerRevision" } else { "ReplicaSet" };
        let Some(kind) = self.discovery.kind(&Gvk::new("apps/v1", kind)) else { return Ok(Vec::new()) };
        let namespace = &spec.target.namespace;
        if stateful {
            let key = ObjectKey {
                group: "apps".into(),
                kind: kind.gvk.kind.clone(),
                namespace: namespace.clone(),
                name: name.to_owned(),
            };
            let revision = self.cluster.get(kind, &key).await?.filter(|revision| owns(live, revision));
            return Ok(revision.as_ref().and_then(template_of).into_iter().collect());
        }
        let label = spec.version_label();
        let value = utf8_percent_encode(name, NON_ALPHANUMERIC);
        let path = kind.path(namespace, "");
        let path = format!("{}?labelSelector={label}%3D{value}", path.trim_end_matches('/'));
        let sets = self.cluster.get_json(&path).await?;
        let sets = sets.get("items").and_then(Value::as_array).into_iter().flatten();
        let template = |set: &Value| {
            let mut template = set.pointer("/spec/template")?.clone();
            // It is the controller's.
            template.pointer_mut("/metadata/labels")?.as_object_mut()?.remove(label);
            Some(template)
        };
        Ok(sets.filter(|set| owns(live, set)).filter_map(template).collect())
    }
}

/// Whether the target is an object's controller.
fn owns(target: &Value, object: &Value) -> bool {
    let uid = target.pointer("/metadata/uid").and_then(Value::as_str);
    uid.is_some_and(|uid| controller(Some(object)).is_some_and(|owner| owner.uid == uid))
}
