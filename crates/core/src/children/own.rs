//! What Kubernetes itself makes in every namespace, so that a closed namespace
//! still works. A small table; each line with its reason.

use serde_json::Value;

use super::{Reference, is_judged};
use crate::compare::{World, world_of};
use crate::desired::DesiredObject;
use crate::names::GROUP;
use crate::object::{Gvk, ObjectKey};

/// Objects that every namespace has: group, kind and name.
const EVERYWHERE: &[(&str, &str, &str)] = &[
    // Made by the service account controller; Pods cannot start without it.
    ("", "ServiceAccount", "default"),
    // Made by the root CA publisher; every Pod's token volume mounts it.
    ("", "ConfigMap", "kube-root-ca.crt"),
];

/// Kinds that say what happened or who is first, and run nothing: group and
/// kind. The API server is not asked to review them where it can be helped.
const RECORDS: &[(&str, &str)] = &[
    ("", "Event"),
    ("events.k8s.io", "Event"),
    // Leader election and heartbeats, many a second.
    ("coordination.k8s.io", "Lease"),
    // Answers to questions; never stored.
    ("authorization.k8s.io", "LocalSubjectAccessReview"),
    // The scheduler's word, about a Pod that was judged when it was made.
    ("", "Binding"),
];

/// What Kubernetes' own owners make that no rule judges by a template: the
/// owner's group and kind, the child's group and kind.
const MADE: &[(&str, &str, &str, &str)] = &[
    // A Pod's ephemeral volumes and devices, named in its template.
    ("", "Pod", "", "PersistentVolumeClaim"),
    ("", "Pod", "resource.k8s.io", "ResourceClaim"),
    // A StatefulSet's claims, where they go with it.
    ("apps", "StatefulSet", "", "PersistentVolumeClaim"),
    // Mirrors of Endpoints that Git declares.
    ("", "Endpoints", "discovery.k8s.io", "EndpointSlice"),
];

/// Whether an owner really makes such children, so that one that names it as
/// its owner is as good as declared. Operators make what they will.
pub fn makes(owner: &Reference, child: &Gvk) -> bool {
    let gvk = &owner.gvk;
    let known = (gvk.group.as_str(), gvk.kind.as_str(), child.group.as_str(), child.kind.as_str());
    // An operator controls what it makes, and gives no rights.
    let operators = world_of(gvk) == World::Declared && child.group != "rbac.authorization.k8s.io";
    MADE.contains(&known) || owner.controller && (operators || is_judged(child, gvk))
}

/// Whether an object that nobody declares is Kubernetes' own by its name or
/// kind.
pub fn is_kubernetes_own(key: &ObjectKey, object: &Value) -> bool {
    let named = EVERYWHERE
        .iter()
        .any(|(group, kind, name)| *group == key.group && *kind == key.kind && *name == key.name);
    // Our own kinds have rules of their own.
    named || key.group == GROUP || is_record(&key.group, &key.kind) || is_mirror(key, object)
}

/// Whether objects of a kind are only records.
pub fn is_record(group: &str, kind: &str) -> bool {
    RECORDS.contains(&(group, kind))
}

/// A static Pod's mirror runs nothing: the kubelet runs the file.
fn is_mirror(key: &ObjectKey, object: &Value) -> bool {
    let annotations = object.pointer("/metadata/annotations");
    key.group.is_empty()
        && key.kind == "Pod"
        && annotations.is_some_and(|annotations| annotations.get("kubernetes.io/config.mirror").is_some())
}

/// The name of the StatefulSet that would make a claim of this name from a
/// template of that name: `data-db-0` is claim `data` of `db`.
pub fn claim_owner<'a>(claim: &'a str, template: &str) -> Option<&'a str> {
    let (set, ordinal) = claim.strip_prefix(template)?.strip_prefix('-')?.rsplit_once('-')?;
    let is_ordinal = !ordinal.is_empty() && ordinal.bytes().all(|byte| byte.is_ascii_digit());
    is_ordinal.then_some(set)
}

/// Whether this StatefulSet makes that claim.
pub fn is_claim_of(claim: &str, set: &DesiredObject) -> bool {
    let templates = set.value.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
    templates
        .into_iter()
        .flatten()
        .filter_map(|template| template.pointer("/metadata/name")?.as_str())
        .any(|template| claim_owner(claim, template) == Some(&set.key.name))
}

/// Whether a node evicts a Pod: it has a NoExecute taint that the Pod does not
/// tolerate for ever.
pub fn is_evicting(node: &Value, pod: &Value) -> bool {
    let list = |value: &Value, pointer: &str| {
        value.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let tolerations = list(pod, "/spec/tolerations");
    let tolerated = |taint: &Value| {
        tolerations.iter().any(|toleration| {
            let text = |value: &Value, field: &str| {
                value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let key = text(toleration, "key");
            let exists = text(toleration, "operator") == "Exists";
            toleration.get("tolerationSeconds").is_none_or(Value::is_null)
                && matches!(text(toleration, "effect").as_str(), "" | "NoExecute")
                && (key == text(taint, "key") || key.is_empty() && exists)
                && (exists || text(toleration, "value") == text(taint, "value"))
        })
    };
    list(node, "/spec/taints")
        .iter()
        .any(|taint| taint.get("effect") == Some(&"NoExecute".into()) && !tolerated(taint))
}
