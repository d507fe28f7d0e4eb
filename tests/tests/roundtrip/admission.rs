//! What Kubernetes' admission plugins put is no difference: each plugin of
//! `tests/data/roundtrip/admission.txt` acts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use gitops_cluster::DeleteOptions;
use gitops_core::children::Surroundings;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_tests::roundtrip::reasons;
use serde_json::{Value, json};

use super::{Instance, World, none};

/// A case for an admission plugin: what is applied, and where it acts.
fn plugin_cases(name: &str) -> [(&'static str, Value, &'static str); 9] {
    let pod = |spec: Value| {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "c:1"}]}});
        pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        pod
    };
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "i"}, "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}});
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
    [
        ("DefaultIngressClass", ingress, "/spec/ingressClassName"),
        ("DefaultStorageClass", claim.clone(), "/spec/storageClassName"),
        ("DefaultTolerationSeconds", pod(json!({})), "/spec/tolerations/0/tolerationSeconds"),
        ("LimitRanger", pod(json!({})), "/spec/containers/0/resources/limits/memory"),
        ("Priority", pod(json!({"priorityClassName": name})), "/spec/priority"),
        ("RuntimeClass", pod(json!({"runtimeClassName": name})), "/spec/overhead/cpu"),
        ("ServiceAccount", pod(json!({})), "/spec/volumes/0/projected"),
        ("StorageObjectInUseProtection", claim, "/metadata/finalizers/0"),
        ("TaintNodesByCondition", node, "/spec/taints/0/key"),
    ]
}

/// Every admission plugin of the table acts, and what it puts is no difference.
#[tokio::test(flavor = "multi_thread")]
async fn what_admission_plugins_put_is_no_difference() {
    let world = &World::open("").await;
    let name = format!("plugins-{}", std::process::id());
    let standard = |annotation: &str| json!({"name": name, "annotations": {annotation: "true"}});
    let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "limits", "namespace": name},
        "spec": {"limits": [{"type": "Container", "default": {"cpu": "1", "memory": "64Mi"}, "defaultRequest": {"cpu": "100m"}}]}});
    let runtime = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": "h", "overhead": {"podFixed": {"cpu": "10m"}}});
    let around = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": standard("ingressclass.kubernetes.io/is-default-class"), "spec": {"controller": "a.b/c"}}),
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": standard("storageclass.kubernetes.io/is-default-class"), "provisioner": "a.b/c"}),
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 7}),
        runtime.clone(),
        range.clone(),
    ];
    for object in &around {
        world.apply_raw(object).await.unwrap();
    }
    // Quotas, limits and classes reach the plugins by their caches.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let surroundings =
        Surroundings { limit_ranges: vec![range], runtime_class: Some(runtime), ..Surroundings::default() };
    let (mut failures, mut proven) = (Vec::new(), BTreeSet::new());
    for (plugin, value, acts_at) in plugin_cases(&name) {
        let mut want = world.desired(&value, &name);
        let live = world.apply(&want.gvk, &want.key, &want.value, true).await.unwrap();
        if live.pointer(acts_at).is_none() {
            failures.push(format!("{plugin} did not act at {acts_at}: {live}"));
        }
        if want.gvk.kind == "Pod" {
            want.value = surroundings.fill(want.value.into_value()).into();
        }
        let instance = Instance { label: plugin.to_owned(), object: Arc::new(want), added: Vec::new() };
        failures.extend(world.told(&instance, &live));
        proven.insert(plugin.to_owned());
    }
    for object in around.iter().rev() {
        let (gvk, key) = (Gvk::of(object).unwrap(), ObjectKey::of(object).unwrap());
        let _ = world.cluster.delete(world.kind(&gvk), &key, &DeleteOptions::default()).await;
    }
    let table: BTreeSet<String> = reasons("admission.txt").into_keys().collect();
    assert_eq!(table, proven, "the table of admission plugins and what is proven");
    none(failures);
}
