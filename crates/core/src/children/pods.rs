//! Pods of Kubernetes' own controllers. In: a Pod and its owner. Out: what it
//! may look like: the owner's template with what its controller sets in every
//! Pod (pkg/controller/{statefulset,daemon,job}, v1.37).

use serde_json::{Map, Value, json};

use super::{Surroundings, object, object_in, template_of};
use crate::object::Gvk;

const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// What a Pod may look like, the likeliest first.
pub(super) fn expected(
    owner_gvk: &Gvk,
    pod: &Value,
    owner: &Value,
    surroundings: Option<&Surroundings>,
) -> Vec<Value> {
    let live = owner.pointer("/spec/template").cloned().unwrap_or_default();
    let mut templates = vec![live];
    templates.extend(revisions(pod, owner, surroundings));
    let mut wants: Vec<Value> = Vec::new();
    for template in templates {
        let plain = from_template(owner_gvk, pod, owner, template);
        let mut admitted = plain.clone();
        label_keys(&mut admitted, pod);
        app_armor(&mut admitted);
        // Older API servers leave both alone.
        let differ = admitted != plain;
        wants.push(admitted);
        wants.extend(differ.then_some(plain));
    }
    if let Some(around) = surroundings {
        let plain = wants.clone();
        wants.extend(plain.into_iter().map(|want| around.fill(want)));
    }
    wants
}

/// The templates of those revisions of the owner whose hash the Pod carries:
/// a rolling update makes old Pods anew.
fn revisions(pod: &Value, owner: &Value, surroundings: Option<&Surroundings>) -> Vec<Value> {
    let hash = pod.pointer("/metadata/labels/controller-revision-hash").and_then(Value::as_str);
    let uid = owner.pointer("/metadata/uid");
    let is_its = |revision: &&Value| {
        let name = revision.pointer("/metadata/name").and_then(Value::as_str);
        let label = revision.pointer("/metadata/labels/controller-revision-hash").and_then(Value::as_str);
        let controller = super::controller(Some(revision)).map(|controller| Value::from(controller.uid));
        hash.is_some() && (name == hash || label == hash) && controller.as_ref() == uid
    };
    let all = surroundings.map_or(&[][..], |around| around.revisions.as_slice());
    all.iter().filter(is_its).map(template_of).collect()
}

fn from_template(owner_gvk: &Gvk, pod: &Value, owner: &Value, template: Value) -> Value {
    let metadata = template.get("metadata");
    let part = |field: &str| metadata.and_then(|metadata| metadata.get(field)).cloned().unwrap_or_default();
    let mut want = json!({
        "metadata": {"labels": part("labels"), "annotations": part("annotations"), "finalizers": part("finalizers")},
        "spec": template.get("spec").cloned().unwrap_or_default(),
    });
    match owner_gvk.kind.as_str() {
        "StatefulSet" => stateful(&mut want, pod, owner),
        "DaemonSet" => daemon(&mut want, pod),
        "Job" => indexed(&mut want, pod, owner),
        _ => {}
    }
    gates(&mut want, pod);
    want
}

/// Name, hostname, subdomain and claims of a StatefulSet's Pod.
fn stateful(want: &mut Value, pod: &Value, set: &Value) {
    let text = |value: &Value, pointer: &str| {
        value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let (name, set_name) = (text(pod, "/metadata/name"), text(set, "/metadata/name"));
    let ordinal = name.strip_prefix(&set_name).and_then(|rest| rest.strip_prefix('-')).unwrap_or_default();
    // A name that no controller gives is told by its hostname.
    let is_ordinal = !ordinal.is_empty() && ordinal.bytes().all(|byte| byte.is_ascii_digit());
    let hostname = if is_ordinal { name.clone() } else { format!("{set_name}-0") };
    let claims = set.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
    let claims: Vec<String> =
        claims.into_iter().flatten().map(|claim| text(claim, "/metadata/name")).collect();
    let spec = object(want, "spec");
    spec.insert("hostname".into(), hostname.clone().into());
    spec.insert("subdomain".into(), text(set, "/spec/serviceName").into());
    if claims.is_empty() {
        return;
    }
    let mut volumes: Vec<Value> = spec.get("volumes").and_then(Value::as_array).cloned().unwrap_or_default();
    volumes.retain(|volume| !claims.iter().any(|claim| volume.get("name") == Some(&claim.as_str().into())));
    volumes.extend(claims.iter().map(
        |claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": format!("{claim}-{hostname}")}}),
    ));
    spec.insert("volumes".into(), volumes.into());
}

/// Tolerations that every daemon gets: key and effect.
const DAEMON: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ("node.kubernetes.io/network-unavailable", "NoSchedule"),
];

/// A daemon is bound to its node by affinity, and stays there.
fn daemon(want: &mut Value, pod: &Value) {
    const TERMS: &str =
        "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    let node =
        pod.pointer(&format!("{TERMS}/0/matchFields/0/values/0")).and_then(Value::as_str).unwrap_or_default();
    let on_node = json!([{"key": "metadata.name", "operator": "In", "values": [node]}]);
    let affinity = object_in(object(want, "spec"), "affinity");
    let required =
        object_in(object_in(affinity, "nodeAffinity"), "requiredDuringSchedulingIgnoredDuringExecution");
    match required
        .get_mut("nodeSelectorTerms")
        .and_then(Value::as_array_mut)
        .filter(|terms| !terms.is_empty())
    {
        Some(terms) => {
            for term in terms {
                term["matchFields"] = on_node.clone();
            }
        }
        None => {
            required.insert("nodeSelectorTerms".into(), json!([{"matchFields": on_node}]));
        }
    }
    let there = pod.pointer("/spec/tolerations").and_then(Value::as_array);
    let given = |toleration: &&Value| {
        DAEMON
            .iter()
            .any(|(key, effect)| **toleration == json!({"key": key, "operator": "Exists", "effect": effect}))
    };
    let given: Vec<Value> = there.into_iter().flatten().filter(given).cloned().collect();
    add_to_list(object(want, "spec"), "tolerations", given);
}

/// Appends what a list does not have yet.
pub(super) fn add_to_list(map: &mut Map<String, Value>, field: &str, more: Vec<Value>) {
    let mut list = map.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
    if !list.is_empty() {
        map.insert(field.into(), list.into());
    }
}

/// An indexed Job tells each Pod its index.
fn indexed(want: &mut Value, pod: &Value, job: &Value) {
    let text =
        |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    if text(job, "/spec/completionMode").as_deref() != Some("Indexed") {
        return;
    }
    let index = pod.pointer("/metadata/annotations").and_then(|all| all.get(INDEX)?.as_str());
    let index = index
        .filter(|index| !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()))
        .unwrap_or("0");
    let metadata = object(want, "metadata");
    object_in(metadata, "annotations").insert(INDEX.into(), index.into());
    object_in(metadata, "labels").insert(INDEX.into(), index.into());
    let spec = object(want, "spec");
    let name = text(job, "/metadata/name").unwrap_or_default();
    spec.insert("hostname".into(), format!("{name}-{index}").into());
    // Kubernetes 1.28 and newer reads the label, older the annotation.
    let from = |what: &str| json!({"name": INDEX_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": format!("metadata.{what}['{INDEX}']")}}});
    for containers in ["containers", "initContainers"] {
        let live = pod.pointer(&format!("/spec/{containers}")).and_then(Value::as_array);
        for container in spec.get_mut(containers).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(map) = container.as_object_mut() else { continue };
            let twin = live.and_then(|live| live.iter().find(|other| other.get("name") == map.get("name")));
            let by_annotation = twin.is_some_and(|twin| twin.to_string().contains("metadata.annotations['"));
            let variable = from(if by_annotation { "annotations" } else { "labels" });
            let env = map.get("env").and_then(Value::as_array);
            if !env.into_iter().flatten().any(|entry| entry.get("name") == Some(&INDEX_VARIABLE.into())) {
                add_to_list(map, "env", vec![variable]);
            }
        }
    }
}

/// Scheduling gates only ever go.
fn gates(want: &mut Value, pod: &Value) {
    let there = pod.pointer("/spec/schedulingGates").and_then(Value::as_array);
    let spec = object(want, "spec");
    if let Some(gates) = spec.get_mut("schedulingGates").and_then(Value::as_array_mut) {
        gates.retain(|gate| there.is_some_and(|there| there.contains(gate)));
    }
}

/// The API server works `matchLabelKeys` into the selector beside them
/// (pkg/registry/core/pod/strategy.go).
fn label_keys(want: &mut Value, pod: &Value) {
    let labels = pod.pointer("/metadata/labels").cloned().unwrap_or_default();
    let spec = object(want, "spec");
    for constraint in
        spec.get_mut("topologySpreadConstraints").and_then(Value::as_array_mut).into_iter().flatten()
    {
        merge_keys(constraint, &labels);
    }
    for affinity in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = spec.get_mut("affinity").and_then(|all| all.get_mut(affinity)) else { continue };
        for (field, inner) in [
            ("requiredDuringSchedulingIgnoredDuringExecution", false),
            ("preferredDuringSchedulingIgnoredDuringExecution", true),
        ] {
            for term in affinity.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
                match term.get_mut("podAffinityTerm").filter(|_| inner) {
                    Some(term) => merge_keys(term, &labels),
                    None => merge_keys(term, &labels),
                }
            }
        }
    }
}

/// The API server copies the old AppArmor annotations into the fields that
/// took their place (pkg/registry/core/pod/strategy.go).
fn app_armor(want: &mut Value) {
    const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
    let annotations = want.pointer("/metadata/annotations").cloned().unwrap_or_default();
    let whole = want.pointer("/spec/securityContext/appArmorProfile").cloned();
    let windows = want.pointer("/spec/os/name").is_some_and(|name| name == "windows");
    let spec = object(want, "spec");
    for containers in ["containers", "initContainers"] {
        for container in spec.get_mut(containers).and_then(Value::as_array_mut).into_iter().flatten() {
            let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
            let said = annotations.get(format!("{PREFIX}{name}")).and_then(Value::as_str);
            let profile = match said.filter(|_| !windows) {
                Some("unconfined") => json!({"type": "Unconfined"}),
                Some("runtime/default") => json!({"type": "RuntimeDefault"}),
                Some(other) => match other.strip_prefix("localhost/").filter(|name| !name.is_empty()) {
                    Some(name) => json!({"type": "Localhost", "localhostProfile": name}),
                    None => continue,
                },
                None => continue,
            };
            let context = object(container, "securityContext");
            if context.get("appArmorProfile").is_none_or(Value::is_null) && whole.as_ref() != Some(&profile) {
                context.insert("appArmorProfile".into(), profile);
            }
        }
    }
}

fn merge_keys(term: &mut Value, labels: &Value) {
    let mut added = Vec::new();
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in term.get(field).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if let Some(value) = labels.get(key) {
                added.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    if !added.is_empty()
        && let Some(selector) = term.get_mut("labelSelector").and_then(Value::as_object_mut)
    {
        let mut expressions =
            selector.get("matchExpressions").and_then(Value::as_array).cloned().unwrap_or_default();
        expressions.extend(added);
        selector.insert("matchExpressions".into(), expressions.into());
    }
}
