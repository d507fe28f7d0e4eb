//! Wanted against live, by schema. In: a desired object, a live one, the
//! cluster's schemas. Out: every difference in meaning, and none other.
//!
//! Rules 2 and 3 of the verdict: by schema, not by guess; and a closed world
//! for built-in kinds and ours, where what Git does not declare may not be
//! there unless it is a default or Kubernetes fills it.

mod confidential;
mod derived;
mod hashed;
mod metadata;
mod scalar;
mod walk;

use serde::Serialize;
use serde_json::Value;

use crate::delegation::Free;
use crate::names::GROUP;
use crate::object::Gvk;
use crate::path::{Path, Segment};
use crate::schema::Schemas;

pub use confidential::{holds, mask, mask_all, mask_message, mask_text, quoted};
pub use hashed::{salted, salted_value, told};
pub use metadata::{OWN_MARKS, carries_requests, has_power, is_ours};
pub(crate) use scalar::nanos;
pub use scalar::unix_seconds;

/// A difference between what Git says and what is there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    pub path: Path,
    pub op: Op,
    /// What Git says, where it says something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git: Option<Value>,
    /// What is there, or was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tried: Option<Value>,
}

/// How a live object differs, seen from Git.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// There, but not declared.
    Add,
    /// Declared, but not there.
    Remove,
    /// There with another value.
    Change,
}

/// Whether fields that Git does not declare matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// They may not appear: built-in kinds and ours.
    Closed,
    /// They are free: other custom kinds, whose operators write into them.
    Declared,
}

/// The world of a kind, by its group: those of Kubernetes itself and ours are
/// closed.
pub fn world_of(gvk: &Gvk) -> World {
    let built_in = !gvk.group.contains('.') || BUILT_IN_GROUPS.contains(&gvk.group.as_str());
    if built_in || gvk.group == GROUP { World::Closed } else { World::Declared }
}

/// Groups of kube-apiserver whose names have a dot.
const BUILT_IN_GROUPS: &[&str] = &[
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

/// What a comparison leaves out.
#[derive(Clone, Copy, Debug)]
pub struct CompareOptions<'a> {
    pub world: World,
    /// Paths that are left to others: named injectors, delegations and ignore
    /// rules.
    pub free: &'a [Free],
}

impl CompareOptions<'_> {
    /// The options of a kind without injectors or ignore rules.
    pub fn of(gvk: &Gvk) -> Self {
        Self { world: world_of(gvk), free: &[] }
    }
}

/// Every difference in meaning between `want` and `live`, sorted by path.
/// `status` is never looked at. A kind without a schema is compared
/// structurally. Values that `want` knows by their hashes alone are compared as
/// if it knew them; a difference shows their hashes.
pub fn compare(
    schemas: &Schemas,
    gvk: &Gvk,
    want: &Value,
    live: &Value,
    options: &CompareOptions<'_>,
) -> Vec<Difference> {
    let found = differences(schemas, gvk, want, live, options);
    if found.is_empty() {
        return found;
    }
    let Some(told) = hashed::Told::of(want, live) else { return found };
    let mut known = differences(schemas, gvk, &told.want, live, options);
    known.iter_mut().for_each(|difference| told.hide(difference));
    known
}

fn differences(
    schemas: &Schemas,
    gvk: &Gvk,
    want: &Value,
    live: &Value,
    options: &CompareOptions<'_>,
) -> Vec<Difference> {
    let mut differences = walk::differences(schemas, gvk, want, live, options.world);
    metadata::compare(want, live, &mut differences);
    if !options.free.is_empty() {
        leave(options.free, live, &mut differences);
    }
    differences.sort_by(|a, b| a.path.cmp(&b.path).then(a.op.cmp(&b.op)));
    differences
}

/// Takes out what is left to others, and puts in what they set outside of
/// their bounds where Git itself says nothing.
fn leave(free: &[Free], live: &Value, differences: &mut Vec<Difference>) {
    differences.retain_mut(|difference| {
        let covering = || free.iter().filter(|free| free.covers(&difference.path, live));
        let admitted = covering().any(|free| free.admits(difference.tried.as_ref()));
        if let Some(bounds) = covering().find_map(|free| free.bounds.as_ref()) {
            difference.git = Some(bounds.to_string().into());
        }
        !admitted
    });
    for (path, bounds) in free.iter().filter_map(|free| Some((&free.path, free.bounds.as_ref()?))) {
        let Some(tried) = some(path.find(live)) else { continue };
        let admitted = free.iter().any(|other| other.path == *path && other.admits(Some(tried)));
        if !admitted && !differences.iter().any(|difference| difference.path == *path) {
            let (git, tried) = (Some(bounds.to_string().into()), Some(tried.clone()));
            differences.push(Difference { path: path.clone(), op: Op::Change, git, tried });
        }
    }
}

/// `null` is absence.
pub(crate) fn some(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_null())
}

/// What stands for a Secret's value wherever a person may read it.
pub const MASK: &str = "***";

/// Hides the values of a Secret's difference: under `data` and `stringData`,
/// and in the annotation in which kubectl keeps what was applied.
pub fn mask_secret(gvk: &Gvk, difference: &mut Difference) {
    if gvk.is_secret() {
        let last_applied = Segment::Field("kubectl.kubernetes.io/last-applied-configuration".into());
        let secret = matches!(difference.path.head(), "data" | "stringData" | "")
            || difference.path.0.contains(&last_applied)
            || difference.path.0.len() == 2 && difference.path.0[1] == Segment::Field("annotations".into());
        if secret {
            for value in [&mut difference.git, &mut difference.tried].into_iter().flatten() {
                *value = Value::from(MASK);
            }
        }
    }
}

#[cfg(test)]
mod given_tests;
#[cfg(test)]
mod tests;
