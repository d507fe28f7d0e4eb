//! A StatefulSet's partition while its Rollout holds a version back (the gate). In:
//! a write that adds Pods. Out: an objection where they would have that version,
//! because the partition is still one of fewer Pods. Each of both fields alone
//! would be brought toward Git.

use serde_json::Value;

use super::rules::against_git;
use super::{Context, Objection, Operation, Review};
use crate::compare::{Difference, Op};
use crate::path::Path;

pub(super) fn partition(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    if review.key.group != "apps"
        || review.key.kind != "StatefulSet"
        || review.operation != Operation::Update
        || !matches!(review.subresource, "" | "scale")
    {
        return None;
    }
    let (old, new, want) = (review.old?, review.new?, &context.tip()?.value);
    let partition = |object: &Value| object.pointer("/spec/updateStrategy/rollingUpdate/partition").cloned();
    let number = |value: Option<Value>| value.and_then(|value| value.as_i64());
    let replicas = |object: &Value| object.pointer("/spec/replicas").and_then(Value::as_i64);
    let wanted = number(partition(want))?;
    // Where Git leaves them out, somebody scales, and the partition follows.
    let declared = replicas(want)?;
    let (before, after) = (replicas(old).unwrap_or(1), replicas(new).unwrap_or(1));
    // A Scale does not say where its object's partition is.
    let tried = if review.subresource == "scale" { None } else { partition(new) };
    if after <= before || after > declared || number(tried.clone()).unwrap_or(0) >= wanted {
        return None;
    }
    let path = Path::root().field("spec").field("updateStrategy").field("rollingUpdate").field("partition");
    let difference = Difference { path, op: Op::Change, git: Some(wanted.into()), tried };
    Some(Objection {
        message: "Pods would be added that have the version which its Rollout holds back".into(),
        hint: "bring both together: kubectl gitops sync".into(),
        ..against_git(vec![difference], context)
    })
}
