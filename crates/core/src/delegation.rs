//! What is left to others, and between which bounds. In: what Git declares, an
//! Application's own list, a Project's injectors. Out: for an object, the
//! paths that are not held, or held between bounds. Delegations come from Git
//! only: one ends when Git drops it.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::compare::some;
use crate::desired::DesiredObject;
use crate::managers::{is_by, owned};
use crate::object::{Gvk, ObjectKey};
use crate::path::{Path, Segment};

/// A path at or beneath which Git's word does not hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Free {
    /// A field or item named `*` stands for any one segment.
    pub path: Path,
    /// None: any value will do.
    pub bounds: Option<Bounds>,
    /// Only what this field manager owns, by the API server's record.
    pub manager: Option<String>,
}

impl Free {
    /// Any value at or beneath a path.
    pub fn any(path: Path) -> Self {
        Self { path, bounds: None, manager: None }
    }

    /// What a field manager owns at or beneath a path.
    pub fn of_manager(path: Path, manager: &str) -> Self {
        Self { path, bounds: None, manager: Some(manager.to_owned()) }
    }

    /// Whether it is about this path of an object.
    pub fn covers(&self, path: &Path, object: &Value) -> bool {
        path.is_within(&self.path) && self.manager.as_ref().is_none_or(|manager| is_by(object, path, manager))
    }

    /// The same at an object's creation: who does not scale yet begins with one
    /// replica, as the API server does where it is told nothing.
    pub fn at_creation(mut self) -> Self {
        if let Some(bounds) = self.bounds.as_mut().filter(|_| self.path == replicas()) {
            bounds.min = bounds.min.map(|min| min.min(1));
        }
        self
    }

    /// Whether it lets this value be; one that is absent lies between no bounds.
    pub fn admits(&self, tried: Option<&Value>) -> bool {
        self.bounds.as_ref().is_none_or(|bounds| tried.is_some_and(|tried| bounds.admit(tried)))
    }
}

/// The values that others may set.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    pub min: Option<i64>,
    pub max: Option<i64>,
    /// Who sets it, such as `HorizontalPodAutoscaler web`.
    pub by: String,
}

impl Bounds {
    /// Whether a value lies between the bounds; what is no whole number does
    /// not.
    pub fn admit(&self, value: &Value) -> bool {
        value.as_i64().is_some_and(|value| {
            self.min.is_none_or(|min| min <= value) && self.max.is_none_or(|max| value <= max)
        })
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (Some(min), Some(max)) => write!(f, "{min} to {max}")?,
            (Some(min), None) => write!(f, "{min} or more")?,
            (None, Some(max)) => write!(f, "{max} or less")?,
            (None, None) => f.write_str("any number")?,
        }
        write!(f, ", set by {}", self.by)
    }
}

/// A free path of some objects: an injector's, an ignore rule's, one of an
/// Application's own delegations.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// None: every group.
    pub group: Option<String>,
    /// `*`: every kind.
    pub kind: String,
    /// `*` or empty: every name.
    pub name: String,
    pub free: Free,
}

impl Grant {
    /// Whether it is about this object.
    pub fn covers(&self, key: &ObjectKey) -> bool {
        self.is_of(&key.group, &key.kind) && (matches!(self.name.as_str(), "" | "*") || self.name == key.name)
    }

    /// Whether it is about objects of this kind.
    pub fn is_of(&self, group: &str, kind: &str) -> bool {
        self.group.as_ref().is_none_or(|own| own == "*" || own == group)
            && (self.kind == "*" || self.kind == kind)
    }
}

/// What the objects of one Application leave to others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delegated {
    free: BTreeMap<ObjectKey, Vec<Free>>,
    /// What Git both declares and leaves to others, in words.
    pub mistakes: Vec<String>,
}

impl Delegated {
    /// Joins what these objects delegate; `declared` finds their targets.
    pub fn collect<'a>(
        objects: impl Iterator<Item = &'a DesiredObject>,
        declared: impl Fn(&ObjectKey) -> Option<DesiredObject>,
    ) -> Self {
        let mut all = Self::default();
        for object in objects {
            for (target, free) in of(object) {
                match declared(&target).filter(|_| free.bounds.is_some()) {
                    Some(target) if some(free.path.find(&target.value)).is_some() => {
                        let line = target.line_of(&free.path).unwrap_or(target.origin.line);
                        all.mistakes.push(format!(
                            "{}:{line} declares {} of {}, and {} ({}) sets it: leave it out of Git",
                            target.origin.file, free.path, target.key, object.key, object.origin
                        ));
                    }
                    _ => all.free.entry(target).or_default().push(free),
                }
            }
        }
        all
    }

    /// Takes back what an object says by itself where Git leaves it out, as that of a
    /// Rollout which has scaled its target to zero.
    pub fn take_back(&mut self, said: &DesiredObject) {
        if let Some(free) = self.free.get_mut(&said.key) {
            free.retain(|free| free.bounds.is_none() || some(free.path.find(&said.value)).is_none());
        }
    }

    /// The free paths of an object.
    pub fn of(&self, key: &ObjectKey) -> &[Free] {
        self.free.get(key).map_or(&[], Vec::as_slice)
    }
}

/// Whether an object of this kind and JSON text may delegate something: a
/// cheap question before it is parsed.
pub fn may_delegate(gvk: &Gvk, json: &str) -> bool {
    matches!(
        (gvk.group.as_str(), gvk.kind.as_str()),
        ("autoscaling", "HorizontalPodAutoscaler") | ("keda.sh", "ScaledObject")
    ) || json.contains("cert-manager.io/inject-")
}

/// What this object delegates: the replicas of an autoscaler's target, or its
/// own CA to cert-manager.
pub fn of(object: &DesiredObject) -> Vec<(ObjectKey, Free)> {
    let key = &object.key;
    match (key.group.as_str(), key.kind.as_str()) {
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler(object).into_iter().collect(),
        ("keda.sh", "ScaledObject") => scaled_object(object).into_iter().collect(),
        _ => injected_ca(object).into_iter().map(|path| (key.clone(), Free::any(path))).collect(),
    }
}

/// The path of an object's replicas.
pub fn replicas() -> Path {
    Path::root().field("spec").field("replicas")
}

/// None where it is left out. What cannot be read, as a value that is known by its
/// hash alone, is `otherwise`, which admits nothing.
fn number(spec: &Value, field: &str, otherwise: i64) -> Option<i64> {
    some(spec.get(field)).map(|value| value.as_i64().unwrap_or(otherwise))
}

/// `minReplicas` is 1 where it is left out (pkg/apis/autoscaling/v2, defaults).
fn autoscaler(object: &DesiredObject) -> Option<(ObjectKey, Free)> {
    let spec = object.value.get("spec")?;
    let target = target(object, spec, "apps/v1", "")?;
    let bounds = Bounds {
        min: number(spec, "minReplicas", i64::MAX).or(Some(1)),
        max: number(spec, "maxReplicas", i64::MIN),
        by: by(object),
    };
    Some((target, Free { path: replicas(), bounds: Some(bounds), manager: None }))
}

/// `minReplicaCount` is 0 and `maxReplicaCount` 100 where they are left out
/// (keda.sh/docs/latest/reference/scaledobject-spec).
fn scaled_object(object: &DesiredObject) -> Option<(ObjectKey, Free)> {
    let spec = object.value.get("spec")?;
    let target = target(object, spec, "apps/v1", "Deployment")?;
    let min = number(spec, "minReplicaCount", i64::MAX).unwrap_or(0);
    let min = number(spec, "idleReplicaCount", i64::MAX).map_or(min, |idle| idle.min(min));
    let bounds = Bounds {
        min: Some(min),
        max: number(spec, "maxReplicaCount", i64::MIN).or(Some(100)),
        by: by(object),
    };
    Some((target, Free { path: replicas(), bounds: Some(bounds), manager: None }))
}

fn by(object: &DesiredObject) -> String {
    format!("{} {}", object.key.kind, object.key.name)
}

fn target(object: &DesiredObject, spec: &Value, api_version: &str, kind: &str) -> Option<ObjectKey> {
    let reference = spec.get("scaleTargetRef")?;
    let text = |field: &str| reference.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    let gvk = Gvk::new(text("apiVersion").unwrap_or(api_version), text("kind").unwrap_or(kind));
    (!gvk.kind.is_empty()).then_some(ObjectKey {
        group: gvk.group,
        kind: gvk.kind,
        namespace: object.key.namespace.clone(),
        name: text("name")?.to_owned(),
    })
}

/// Where cert-manager puts a CA (cert-manager.io/docs/concepts/ca-injector).
fn injected_ca(object: &DesiredObject) -> Option<Path> {
    const ASKED: [&str; 3] = [
        "cert-manager.io/inject-ca-from",
        "cert-manager.io/inject-ca-from-secret",
        "cert-manager.io/inject-apiserver-ca",
    ];
    let fields: &[&str] = match object.key.kind.as_str() {
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => {
            &["webhooks", "*", "clientConfig", "caBundle"]
        }
        "CustomResourceDefinition" => &["spec", "conversion", "webhook", "clientConfig", "caBundle"],
        "APIService" => &["spec", "caBundle"],
        _ => return None,
    };
    let annotations = object.value.get("metadata")?.get("annotations")?;
    ASKED.iter().find(|name| annotations.get(**name).is_some())?;
    Some(Path(fields.iter().map(|field| Segment::Field((*field).to_owned())).collect()))
}

/// Puts the live values of free paths into what is about to be applied, so
/// that an apply does not take them back, nor resets to a default what Git no
/// longer declares. A value outside its bounds is not carried.
pub fn carry(wanted: &mut Value, live: &Value, free: &[Free]) {
    for free in free {
        let Some(manager) = &free.manager else {
            carry_path(wanted, live, &free.path.0, &|value| free.admits(Some(value)));
            continue;
        };
        // What is only the manager's stays so.
        let both = |path: &Path| path.is_within(&free.path) && path.find(wanted).is_some();
        let paths: Vec<Path> = owned(live, manager).into_iter().filter(both).collect();
        paths.iter().for_each(|path| carry_path(wanted, live, &path.0, &|_| true));
    }
}

/// Replicas that Git leaves to an autoscaler begin at its minimum.
pub fn begin(wanted: &mut Value, free: &[Free]) {
    let min = free.iter().filter(|free| free.path == replicas()).find_map(|free| free.bounds.as_ref()?.min);
    if let (Some(min), Some(spec)) = (min, wanted.get_mut("spec").and_then(Value::as_object_mut)) {
        spec.entry("replicas").or_insert(min.into());
    }
}

fn carry_path(wanted: &mut Value, live: &Value, path: &[Segment], admits: &dyn Fn(&Value) -> bool) {
    let Some((segment, rest)) = path.split_first() else { return };
    match (segment, wanted) {
        (Segment::Field(name), Value::Object(map)) if name != "*" => match (live.get(name), rest) {
            (None, _) => {}
            (Some(value), []) if admits(value) => {
                map.insert(name.clone(), value.clone());
            }
            (Some(_), []) => {}
            (Some(live), rest) => {
                if let Some(inner) = map.get_mut(name) {
                    carry_path(inner, live, rest, admits);
                }
            }
        },
        (Segment::Field(_), Value::Object(map)) => {
            for (name, inner) in map {
                if let Some(live) = live.get(name) {
                    carry_path(inner, live, rest, admits);
                }
            }
        }
        (segment, Value::Array(items)) => {
            for (index, inner) in items.iter_mut().enumerate() {
                let name = inner.get("name").cloned();
                let here = match segment {
                    Segment::Field(any) => any == "*" || any.parse() == Ok(index),
                    Segment::Index(wanted) => *wanted == index,
                    Segment::Key(_) => {
                        Path(vec![segment.clone()]).find(&Value::Array(vec![inner.clone()])).is_some()
                    }
                    Segment::Item(_) => false,
                };
                let twin = live.as_array().and_then(|lives| match &name {
                    Some(name) => lives.iter().find(|other| other.get("name") == Some(name)),
                    None => lives.get(index),
                });
                if let (true, Some(live)) = (here, twin) {
                    carry_path(inner, live, rest, admits);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
