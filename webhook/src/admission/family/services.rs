//! What Kubernetes makes of a declared Service or StatefulSet. In: a review of
//! an EndpointSlice or a claim. Out: the addresses that the Service may lead to,
//! and whether the StatefulSet makes the claim.

use gitops_core::children::{Endpoints, is_claim_of, selects, service_of};
use gitops_core::compare::{CompareOptions, compare};
use gitops_core::desired::DesiredObject;
use gitops_core::object::{Gvk, ObjectKey};
use serde_json::Value;

use super::super::validate::Case;
use crate::world::World;

impl Case<'_> {
    /// Whether a declared StatefulSet of this namespace makes this claim.
    pub(super) fn is_claimed(&self, world: &World) -> bool {
        let sets = world.index.parts().iter().flat_map(|part| {
            let here = |key: &&ObjectKey| {
                key.kind == "StatefulSet" && key.group == "apps" && key.namespace == self.key.namespace
            };
            part.keys().filter(here).filter_map(|key| part.get(key))
        });
        let Some(claim) = self.written() else { return false };
        sets.into_iter()
            .any(|set| is_claim_of(&self.key.name, &set) && is_as_its_template(world, claim, &set))
    }

    /// Whether the object says where a Service's traffic goes.
    pub(super) fn leads(&self) -> bool {
        service_of(self.key, self.written()).is_some()
    }

    /// Where its Service's traffic may go. `cached`: as far as the API server's
    /// watch cache knows.
    pub(super) async fn endpoints(&self, world: &World, cached: bool) -> Endpoints {
        let Some(name) = service_of(self.key, self.written()) else { return Endpoints::Undeclared };
        let key = ObjectKey {
            group: String::new(),
            kind: "Service".into(),
            namespace: self.key.namespace.clone(),
            name,
        };
        let Some(declared) = world.owner(&key).and_then(|held| held.part.get(&key)) else {
            return Endpoints::Undeclared;
        };
        let selector = |service: &Value| {
            let selector = service.pointer("/spec/selector").cloned();
            selector.filter(|selector| selector.as_object().is_some_and(|map| !map.is_empty()))
        };
        let Some(git) = selector(&declared.value) else { return Endpoints::Unselected };
        // The controller follows the live Service, which a sync brings to Git's.
        let live = match world.discovery.kind(&Gvk::new("v1", "Service")) {
            Some(kind) => self.keeper.cluster.get(kind, &key).await.ok().flatten(),
            None => None,
        };
        let live = live.as_ref().and_then(selector);
        let version = if cached { "?resourceVersion=0" } else { "" };
        let pods = self.items(format!("/api/v1/namespaces/{}/pods{version}", key.namespace)).await;
        let mut known = selects(&git, pods.iter());
        if let Some(live) = live.filter(|live| *live != git) {
            known.extend(selects(&live, pods.iter()));
        }
        Endpoints::Selected(known)
    }
}

/// Whether a claim says what its StatefulSet's template says; a template that
/// names no class has the cluster's default.
fn is_as_its_template(world: &World, claim: &Value, set: &DesiredObject) -> bool {
    let name = claim.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let templates = set.value.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
    let of_name = |template: &&Value| {
        let own = template.pointer("/metadata/name").and_then(Value::as_str);
        own.is_some_and(|own| name.starts_with(&format!("{own}-")))
    };
    let gvk = Gvk::new("v1", "PersistentVolumeClaim");
    templates.into_iter().flatten().filter(of_name).any(|template| {
        let mut want = claim.clone();
        want["spec"] = template["spec"].clone();
        compare(&world.schemas, &gvk, &want, claim, &CompareOptions::of(&gvk)).is_empty()
            && claim.pointer("/spec/volumeName") == template.pointer("/spec/volumeName")
    })
}
