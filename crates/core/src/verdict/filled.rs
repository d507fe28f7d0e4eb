//! What Kubernetes fills, it fills once. In: a write that changes a field that
//! Git leaves out and Kubernetes sets. Out: an objection, unless the field was
//! empty before. The fields that Kubernetes itself changes later (replicas,
//! aggregated rules) are not among these.

use serde_json::Value;

use super::rules::{against_git, is_whole_write};
use super::{Context, Objection, Operation, Review};
use crate::compare::{Difference, Op, some};
use crate::path::Path;

/// Group, kind, and the field; of lists each element's.
const ONCE: &[(&str, &str, &str)] = &[
    ("networking.k8s.io", "Ingress", "spec.ingressClassName"),
    ("", "PersistentVolumeClaim", "spec.volumeName"),
    ("", "PersistentVolumeClaim", "spec.storageClassName"),
    ("", "Service", "spec.ports.*.nodePort"),
    ("", "Service", "spec.healthCheckNodePort"),
    ("", "Service", "spec.ipFamilyPolicy"),
    ("", "Service", "spec.ipFamilies"),
    ("", "ServiceAccount", "secrets"),
    ("", "Secret", "data"),
];

/// Such a field does not change from one value to another, and a claim or an
/// Ingress is not given one by hand after it was made.
pub(super) fn once(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    if review.operation != Operation::Update || !is_whole_write(review) {
        return None;
    }
    let (want, old, new) = (context.tip()?, review.old?, review.new?);
    let mut differences = Vec::new();
    let of_kind =
        ONCE.iter().filter(|(group, kind, _)| *group == review.key.group && *kind == review.key.kind);
    for (_, kind, field) in of_kind {
        for path in places(field, new) {
            let of = |object| some(path.find(object)).cloned();
            let (before, tried) = (of(old), of(new));
            let free = context.free.iter().any(|free| free.covers(&path, new) && free.admits(tried.as_ref()));
            let by_admission = *kind == "Ingress";
            if before != tried && (before.is_some() || by_admission) && of(&want.value).is_none() && !free {
                differences.push(Difference { path, op: Op::Change, git: before, tried });
            }
        }
    }
    (!differences.is_empty()).then(|| Objection {
        message: "Kubernetes has set this field, and Git leaves it to that".into(),
        ..against_git(differences, context)
    })
}

/// The paths that a field with `*` stands for in an object.
fn places(field: &str, object: &Value) -> Vec<Path> {
    let parsed = |text: &str| text.parse::<Path>().ok();
    let Some((list, rest)) = field.split_once(".*.") else { return parsed(field).into_iter().collect() };
    let count = parsed(list).and_then(|list| list.find(object)?.as_array().map(Vec::len)).unwrap_or(0);
    (0..count).filter_map(|index| parsed(&format!("{list}[{index}].{rest}"))).collect()
}
