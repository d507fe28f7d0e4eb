//! Jobs that measure a Rollout's version. In: a review of one. Out: what such
//! Jobs may say, as the Rollout and its templates are in Git.

use gitops_api::rollout::RolloutSpec;
use gitops_core::children::{Reference, controller};
use gitops_core::names::{GROUP, SYSTEM_NAMESPACE};
use gitops_core::object::ObjectKey;
use gitops_engine::analysis::{Metrics, Templates, read_template};
use serde::Deserialize;
use serde_json::Value;

use super::super::validate::Case;
use crate::world::World;

impl Case<'_> {
    /// Whether it is a Job by which a Rollout's version is measured.
    pub(super) fn is_measuring(&self) -> bool {
        let of_rollout = |owner: Reference| owner.gvk.group == GROUP && owner.gvk.kind == "Rollout";
        self.key.group == "batch"
            && self.key.kind == "Job"
            && controller(self.written()).is_some_and(of_rollout)
    }

    /// What such Jobs may say, as the Rollout and its templates are in Git.
    pub(super) fn measuring(&self, world: &World) -> Vec<Value> {
        let Some(owner) = controller(self.written()) else { return Vec::new() };
        let declared = |kind: &str, namespace: &str, name: &str| {
            let key = ObjectKey {
                group: GROUP.into(),
                kind: kind.into(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            };
            world.owner(&key).and_then(|held| held.part.get(&key))
        };
        let namespace = self.key.namespace.as_str();
        let rollout = declared("Rollout", namespace, &owner.name);
        let spec = rollout.and_then(|rollout| RolloutSpec::deserialize(rollout.value.get("spec")?).ok());
        let Some(spec) = spec else { return Vec::new() };
        let mut templates = Templates::new();
        for reference in spec.templates() {
            let places = [namespace, SYSTEM_NAMESPACE];
            let found =
                places.into_iter().find_map(|place| declared("AnalysisTemplate", place, &reference.name));
            let read = found.map(|template| read_template(&reference.name, &template.value));
            templates.extend(read.map(|read| (reference.name.clone(), read)));
        }
        Metrics::new(&spec, namespace, &owner.name, &templates).jobs(&owner.uid)
    }
}
