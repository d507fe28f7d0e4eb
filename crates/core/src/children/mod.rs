//! Objects that controllers make for declared ones. In: a child, its owner as
//! it is live, and what surrounds them. Out: what the child has to look like.
//! A Pod is its owner's template plus what Kubernetes fills; who writes it
//! does not matter.

mod endpoints;
mod labels;
mod own;
mod pods;
mod surroundings;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::desired::DesiredObject;
use crate::names::GROUP;
use crate::object::Gvk;
use crate::path::Path;

pub use endpoints::{Endpoints, addresses, selects, service_of};
pub use labels::{LABELS, Tracks, Whose, maker, version_labels, wrong_labels};
pub use own::{claim_owner, is_claim_of, is_evicting, is_kubernetes_own, is_record, makes};
pub use surroundings::Surroundings;

/// Kinds whose types are needed to judge children, in the versions in which
/// they are asked about.
pub const KINDS: &[(&str, &str)] = &[
    ("v1", "Pod"),
    ("v1", "ReplicationController"),
    ("apps/v1", "ReplicaSet"),
    ("apps/v1", "ControllerRevision"),
    ("batch/v1", "Job"),
    // By whose templates ControllerRevisions are judged.
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
];

/// An entry of `metadata.ownerReferences`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub gvk: Gvk,
    pub name: String,
    pub uid: String,
    pub controller: bool,
}

/// Whether an owner is there.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// As it is, with just this uid.
    Live(Value),
    /// There is none of this name.
    Missing,
    /// There is one of this name, with this uid instead.
    Another(String),
    /// It could not be looked up, and why.
    Unknown(String),
}

/// An owner and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Owner {
    pub reference: Reference,
    pub state: State,
    /// Git declares it, or something above it.
    pub descends: bool,
}

/// What is known of an object's owners, of the old object's and of the new's.
#[derive(Clone, Debug, Default)]
pub struct Lineage {
    pub owners: Vec<Owner>,
    /// Controllers that would adopt the new object, which has none.
    pub suitors: Vec<Owner>,
    /// What Git declares at the end of the chain of owners.
    pub root: Option<DesiredObject>,
    /// Where a Rollout lets a new version into that very workload.
    pub tracks: Option<Tracks>,
}

impl Lineage {
    /// The owner of this uid.
    pub fn owner(&self, uid: &str) -> Option<&Owner> {
        self.owners.iter().find(|owner| owner.reference.uid == uid)
    }

    /// Where the root says what a child of this kind says at `path`.
    pub fn in_root(&self, kind: &str, path: &Path) -> Option<Path> {
        let root = self.root.as_ref()?;
        let prefix = match (root.key.kind.as_str(), kind) {
            ("CronJob", "Pod") => "spec.jobTemplate.spec.template",
            ("CronJob", "Job") => "spec.jobTemplate",
            (_, "Pod") => "spec.template",
            _ => ".",
        };
        let mut whole: Path = prefix.parse().ok()?;
        whole.0.extend(path.0.iter().cloned());
        Some(whole)
    }
}

/// The owner references of an object.
pub fn references(object: Option<&Value>) -> Vec<Reference> {
    let list = object.and_then(|object| object.pointer("/metadata/ownerReferences")?.as_array());
    let text =
        |owner: &Value, field: &str| owner.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let reference = |owner: &Value| Reference {
        gvk: Gvk::new(&text(owner, "apiVersion"), &text(owner, "kind")),
        name: text(owner, "name"),
        uid: text(owner, "uid"),
        controller: owner.get("controller") == Some(&Value::Bool(true)),
    };
    list.into_iter().flatten().map(reference).collect()
}

/// The reference of the owner that controls an object.
pub fn controller(object: Option<&Value>) -> Option<Reference> {
    references(object).into_iter().find(|reference| reference.controller)
}

/// Whether an owner's kind is one of Kubernetes' own controllers', so that
/// this program knows what its children look like and may always look it up.
pub fn is_built_in(gvk: &Gvk) -> bool {
    match gvk.group.as_str() {
        "" => matches!(gvk.kind.as_str(), "Pod" | "ReplicationController" | "Service" | "Endpoints" | "Node"),
        "apps" | "batch" => true,
        _ => false,
    }
}

/// Whether what an owner of this kind makes of this kind is judged.
pub fn is_judged(child: &Gvk, owner: &Gvk) -> bool {
    matches!(
        (owner.group.as_str(), owner.kind.as_str(), child.group.as_str(), child.kind.as_str()),
        ("apps", "Deployment", "apps", "ReplicaSet")
            | ("apps", "ReplicaSet" | "StatefulSet" | "DaemonSet", "", "Pod")
            | ("", "ReplicationController", "", "Pod")
            | ("batch", "Job", "", "Pod")
            | ("batch", "CronJob", "batch", "Job")
            | (GROUP, "Rollout", "batch", "Job")
            | ("apps", "StatefulSet" | "DaemonSet", "apps", "ControllerRevision")
    )
}

/// The kinds of controllers that adopt objects of a kind which have none.
pub fn adopters(child: &Gvk) -> &'static [(&'static str, &'static str)] {
    match (child.group.as_str(), child.kind.as_str()) {
        ("", "Pod") => &[
            ("apps/v1", "ReplicaSet"),
            ("apps/v1", "StatefulSet"),
            ("apps/v1", "DaemonSet"),
            ("v1", "ReplicationController"),
            ("batch/v1", "Job"),
        ],
        ("apps", "ReplicaSet") => &[("apps/v1", "Deployment")],
        ("apps", "ControllerRevision") => &[("apps/v1", "StatefulSet"), ("apps/v1", "DaemonSet")],
        _ => &[],
    }
}

/// Whether a controller would adopt this object: its selector selects it, and
/// a StatefulSet's Pod has one of its names.
pub fn adopts(owner: &Value, child: &Value) -> bool {
    let text = |object: &Value, pointer: &str| {
        object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let selects = owner
        .pointer("/spec/selector")
        .is_some_and(|selector| selects_labels(selector, child.pointer("/metadata/labels")));
    let (name, pod) = (text(owner, "/metadata/name"), text(child, "/metadata/name"));
    let ordinal = pod.strip_prefix(&name).and_then(|rest| rest.strip_prefix('-')).unwrap_or_default();
    let is_member = !ordinal.is_empty() && ordinal.bytes().all(|byte| byte.is_ascii_digit());
    let by_name = text(owner, "/kind") == "StatefulSet" && text(child, "/kind") == "Pod";
    selects && (is_member || !by_name)
}

/// What a child may look like, as an object of `gvk`.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    pub gvk: Gvk,
    pub value: Value,
}

/// All that a child of this owner may look like, the likeliest first; nothing
/// for kinds that are not judged.
pub fn expected(
    gvk: &Gvk,
    child: &Value,
    owner: &Value,
    surroundings: Option<&Surroundings>,
) -> Vec<Expected> {
    let Ok(owner_gvk) = Gvk::of(owner) else { return Vec::new() };
    if !is_judged(gvk, &owner_gvk) {
        return Vec::new();
    }
    let of_child = |value: Value| Expected { gvk: gvk.clone(), value };
    let wants = match gvk.kind.as_str() {
        "Pod" => pods::expected(&owner_gvk, child, owner, surroundings).into_iter().map(of_child).collect(),
        "ReplicaSet" => vec![of_child(replica_set(child, owner))],
        "Job" if owner_gvk.kind == "Rollout" => measuring(surroundings).into_iter().map(of_child).collect(),
        "Job" => vec![of_child(job(owner))],
        "ControllerRevision" => {
            vec![Expected {
                gvk: owner_gvk,
                value: json!({"spec": {"template": owner.pointer("/spec/template")}}),
            }]
        }
        _ => Vec::new(),
    };
    wants.into_iter().map(|want| with_owned_metadata(want, child)).collect()
}

/// A child as it is compared: a ControllerRevision by the template in it.
pub fn view<'a>(gvk: &Gvk, child: &'a Value) -> Cow<'a, Value> {
    if gvk.kind != "ControllerRevision" {
        return Cow::Borrowed(child);
    }
    let metadata = child.get("metadata").cloned().unwrap_or_default();
    Cow::Owned(json!({"metadata": metadata, "spec": {"template": template_of(child)}}))
}

/// The template that a ControllerRevision holds, as a patch of its owner.
pub(crate) fn template_of(revision: &Value) -> Value {
    let mut template = revision.pointer("/data/spec/template").cloned().unwrap_or_default();
    if let Some(map) = template.as_object_mut() {
        map.remove("$patch");
    }
    template
}

/// Owners have a rule of their own, and so have the labels that this program
/// gives to Pods ([`wrong_labels`]).
fn with_owned_metadata(mut want: Expected, child: &Value) -> Expected {
    let owners = child.pointer("/metadata/ownerReferences").cloned();
    let metadata = object(&mut want.value, "metadata");
    metadata.remove("ownerReferences");
    metadata.extend(owners.map(|owners| ("ownerReferences".to_owned(), owners)));
    if want.gvk.kind == "Pod" {
        let labels = object_in(metadata, "labels");
        for name in LABELS {
            let given = child.pointer("/metadata/labels").and_then(|labels| labels.get(name));
            if let Some(given) = given.filter(|_| !labels.contains_key(name)) {
                labels.insert(name.to_owned(), given.clone());
            }
        }
    }
    want
}

/// A Deployment's ReplicaSet (pkg/controller/deployment/sync.go).
fn replica_set(child: &Value, deployment: &Value) -> Value {
    let hash = child.pointer("/metadata/labels/pod-template-hash").cloned().unwrap_or_default();
    let mut spec = Map::new();
    for field in ["template", "selector", "minReadySeconds"] {
        spec.extend(
            deployment.pointer(&format!("/spec/{field}")).map(|value| (field.to_owned(), value.clone())),
        );
    }
    let mut want = json!({"spec": spec});
    let template = object(&mut want["spec"], "template");
    let metadata = object_in(template, "metadata");
    object_in(metadata, "labels").insert("pod-template-hash".into(), hash.clone());
    let selector = object(&mut want["spec"], "selector");
    object_in(selector, "matchLabels").insert("pod-template-hash".into(), hash.clone());
    let labels = want.pointer("/spec/template/metadata/labels").cloned().unwrap_or_default();
    want["metadata"] = json!({"labels": labels, "annotations": copied(child, deployment)});
    want["spec"]["replicas"] = child.pointer("/spec/replicas").cloned().unwrap_or_default();
    want
}

/// A Deployment's annotations are copied to its ReplicaSets.
fn copied(child: &Value, deployment: &Value) -> Map<String, Value> {
    let of = |object: &Value| object.pointer("/metadata/annotations").and_then(Value::as_object).cloned();
    let there = of(child).unwrap_or_default();
    of(deployment)
        .unwrap_or_default()
        .into_iter()
        .filter(|(key, value)| there.get(key) == Some(value))
        .collect()
}

/// A CronJob's Job (pkg/controller/cronjob/utils.go).
fn job(cron_job: &Value) -> Value {
    let template = cron_job.pointer("/spec/jobTemplate");
    let part = |pointer: &str| template.and_then(|template| template.pointer(pointer).cloned());
    json!({
        "metadata": {"labels": part("/metadata/labels"), "annotations": part("/metadata/annotations")},
        "spec": part("/spec"),
    })
}

/// What a Rollout's Job may say: what one of its templates does. Without one,
/// nothing at all.
fn measuring(surroundings: Option<&Surroundings>) -> Vec<Value> {
    let known = surroundings.map_or(&[][..], |around| around.jobs.as_slice());
    if known.is_empty() { vec![json!({"spec": {}})] } else { known.to_vec() }
}

/// A field's object; made where there is none.
fn object<'a>(value: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(map) => object_in(map, field),
        _ => unreachable!("made an object above"),
    }
}

fn object_in<'a>(map: &'a mut Map<String, Value>, field: &str) -> &'a mut Map<String, Value> {
    let value = map.entry(field).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

/// The most replicas that a Deployment's ReplicaSets have while it rolls: its
/// own and the surge, a percentage rounded up.
pub fn most_replicas(deployment: &Value) -> Option<i64> {
    let replicas = deployment.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let surge = match deployment.pointer("/spec/strategy/rollingUpdate/maxSurge") {
        None | Some(Value::Null) => 0,
        Some(Value::String(percent)) => {
            let percent: i64 = percent.trim_end_matches('%').parse().ok()?;
            replicas.saturating_mul(percent).saturating_add(99) / 100
        }
        Some(number) => number.as_i64()?,
    };
    // Neither surge nor unavailable: the controller surges by one.
    Some(replicas.saturating_add(surge.max(1)))
}

/// Whether a label selector (matchLabels, matchExpressions, or a plain map)
/// selects these labels; one without any terms selects nothing here.
pub fn selects_labels(selector: &Value, labels: Option<&Value>) -> bool {
    let label = |key: &str| labels.and_then(|labels| labels.get(key)?.as_str());
    let structured = selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some();
    let equal = if structured { selector.get("matchLabels") } else { Some(selector) };
    let equal = equal.and_then(Value::as_object);
    let expressions = selector.get("matchExpressions").and_then(Value::as_array).filter(|_| structured);
    let all_equal = equal.is_none_or(|map| {
        map.iter().all(|(key, value)| label(key).is_some() && label(key) == value.as_str())
    });
    let all_hold = expressions.is_none_or(|list| {
        list.iter().all(|expression| {
            let value = label(expression.get("key").and_then(Value::as_str).unwrap_or_default());
            let among = || {
                let values = expression.get("values").and_then(Value::as_array);
                value.is_some_and(|value| values.is_some_and(|values| values.iter().any(|v| v == value)))
            };
            match expression.get("operator").and_then(Value::as_str) {
                Some("In") => among(),
                Some("NotIn") => !among(),
                Some("Exists") => value.is_some(),
                Some("DoesNotExist") => value.is_none(),
                _ => false,
            }
        })
    });
    let any = equal.is_some_and(|map| !map.is_empty()) || expressions.is_some_and(|list| !list.is_empty());
    any && all_equal && all_hold
}
