//! Pods. In: a review of one. Out: what admission and rolling updates may have
//! put into it, and whether its node is lost.

use gitops_cluster::ErrorKind;
use gitops_core::children::{Surroundings, controller, is_evicting};
use serde_json::Value;

use super::super::validate::Case;
use super::plain;

impl Case<'_> {
    /// What admission and rolling updates may have put into a Pod.
    pub(super) async fn surroundings(&self) -> Surroundings {
        let namespace = &self.key.namespace;
        let (limit_ranges, priority_classes) = tokio::join!(
            self.items(format!("/api/v1/namespaces/{namespace}/limitranges?resourceVersion=0")),
            self.items("/apis/scheduling.k8s.io/v1/priorityclasses?resourceVersion=0".to_owned()),
        );
        let text = |pointer: &str| self.written().and_then(|pod| pod.pointer(pointer)?.as_str());
        let runtime_class = match text("/spec/runtimeClassName").and_then(plain) {
            Some(name) => self.one(&format!("/apis/node.k8s.io/v1/runtimeclasses/{name}")).await,
            None => None,
        };
        let mut revisions = Vec::new();
        let hash = self
            .written()
            .and_then(|pod| pod.pointer("/metadata/labels")?.get("controller-revision-hash")?.as_str())
            .and_then(plain);
        if let (Some(hash), Some(owner)) = (hash, controller(self.written())) {
            // A StatefulSet's Pods carry the revision's name, a DaemonSet's its hash.
            let name = match owner.gvk.kind.as_str() {
                "StatefulSet" => hash.to_owned(),
                _ => format!("{}-{hash}", owner.name),
            };
            if let Some(name) = plain(&name) {
                let path = format!("/apis/apps/v1/namespaces/{namespace}/controllerrevisions/{name}");
                revisions.extend(self.one(&path).await);
            }
        }
        Surroundings { revisions, limit_ranges, priority_classes, runtime_class, jobs: Vec::new() }
    }

    /// Whether the Pod's node is gone, or evicts it.
    pub(super) async fn is_node_lost(&self) -> bool {
        let Some(pod) = self.before() else { return false };
        let Some(name) =
            pod.pointer("/spec/nodeName").and_then(Value::as_str).filter(|name| !name.is_empty())
        else {
            return false;
        };
        let Some(name) = plain(name) else { return false };
        match self.keeper.cluster.get_json(&format!("/api/v1/nodes/{name}")).await {
            Err(error) => error.kind() == ErrorKind::NotFound,
            Ok(node) => is_evicting(&node, pod),
        }
    }
}
