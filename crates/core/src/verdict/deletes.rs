//! Deletes (rule 4): of what Git declares, and those that leave behind what an
//! object owns.

use serde_json::Value;

use super::{Context, Objection, Operation, Review};
use crate::children;
use crate::compare::{Difference, Op};
use crate::path::{Path, Segment};
use crate::plan::{DeletePolicy, HookState, Role, annotations, hook_state};

/// What Git declares is not deleted (rule 4).
pub(super) fn delete_declared(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    if review.operation != Operation::Delete
        || !review.subresource.is_empty()
        || context.facts.namespace_terminating
        || context.facts.application_terminating
    {
        return None;
    }
    let want = context.tip()?;
    let old = review.old?;
    let immutable = context
        .differences(want, old)
        .iter()
        .any(|difference| is_immutable(&want.key.kind, old, &difference.path));
    let lost = context.facts.node_lost && want.key.kind == "Pod" && want.key.group.is_empty();
    if immutable || lost || is_expired_job(old, review.now) || is_done_hook(&want.value, old) {
        return None;
    }
    Some(Objection { hint: format!("remove it from {}", want.origin), ..Objection::default() })
}

/// Fields that can only be changed by making the object anew.
fn is_immutable(kind: &str, old: &Value, path: &Path) -> bool {
    let fields: &[&str] = match kind {
        "Deployment" | "DaemonSet" | "ReplicaSet" => &["spec.selector"],
        "StatefulSet" => {
            &["spec.selector", "spec.serviceName", "spec.podManagementPolicy", "spec.volumeClaimTemplates"]
        }
        "Job" => &[
            "spec.selector",
            "spec.template",
            "spec.completions",
            "spec.completionMode",
            "spec.podFailurePolicy",
        ],
        "PersistentVolumeClaim" => &[
            "spec.accessModes",
            "spec.storageClassName",
            "spec.volumeName",
            "spec.volumeMode",
            "spec.selector",
        ],
        "Service" => &["spec.clusterIP", "spec.clusterIPs"],
        "RoleBinding" | "ClusterRoleBinding" => &["roleRef"],
        "StorageClass" => &["provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"],
        "PriorityClass" => &["value", "preemptionPolicy"],
        "Secret" if old.get("immutable") == Some(&Value::Bool(true)) => &["data", "immutable"],
        "Secret" => &["type"],
        "ConfigMap" if old.get("immutable") == Some(&Value::Bool(true)) => {
            &["data", "binaryData", "immutable"]
        }
        "Pod" => &["spec"],
        _ => &[],
    };
    fields.iter().any(|field| field.parse::<Path>().is_ok_and(|field| path.starts_with(&field)))
}

/// A Job that the TTL controller may take away: finished for longer than its
/// `ttlSecondsAfterFinished`.
fn is_expired_job(old: &Value, now: i64) -> bool {
    let Some(ttl) = old.pointer("/spec/ttlSecondsAfterFinished").and_then(Value::as_i64) else {
        return false;
    };
    let conditions = old.pointer("/status/conditions").and_then(Value::as_array);
    let finished = conditions.into_iter().flatten().find(|condition| {
        matches!(condition.get("type").and_then(Value::as_str), Some("Complete" | "Failed"))
            && condition.get("status") == Some(&"True".into())
    });
    let at = finished
        .and_then(|condition| condition.get("lastTransitionTime")?.as_str())
        .and_then(crate::compare::unix_seconds);
    // A second of grace: the controller's clock is not ours.
    at.is_some_and(|at| at.saturating_add(ttl) <= now.saturating_add(1))
}

/// A hook that its own delete policy lets go. Git says which.
fn is_done_hook(want: &Value, old: &Value) -> bool {
    let Ok(Role::Hook(hook)) = annotations::role(want) else { return false };
    let over = match hook_state(old) {
        HookState::Succeeded => hook.delete.contains(&DeletePolicy::HookSucceeded),
        HookState::Failed(_) => hook.delete.contains(&DeletePolicy::HookFailed),
        HookState::Running(_) => false,
    };
    over || hook.delete.contains(&DeletePolicy::BeforeHookCreation)
}

/// The finalizer by which an API server lets dependents stay behind.
const ORPHAN: &str = "orphan";

fn has_orphan(object: Option<&Value>) -> bool {
    let finalizers = object.and_then(|object| object.pointer("/metadata/finalizers")?.as_array());
    finalizers.is_some_and(|all| all.iter().any(|finalizer| finalizer == ORPHAN))
}

/// What derives from Git's objects is not left without an owner, where no rule
/// would know it any more.
pub(super) fn orphan(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    if !review.subresource.is_empty() && review.subresource != "status" {
        return None;
    }
    let asked = match review.operation {
        Operation::Delete => context.facts.orphaning || has_orphan(review.old),
        Operation::Create | Operation::Update => has_orphan(review.new) && !has_orphan(review.old),
        Operation::Connect => false,
    };
    if !asked || context.facts.namespace_terminating {
        return None;
    }
    let owned = !children::references(review.old.or(review.new)).is_empty();
    let derived = match &context.facts.lineage {
        Some(lineage) => lineage.owners.iter().any(|owner| owner.descends),
        None => owned,
    };
    if context.tip().is_none() && !derived {
        return None;
    }
    let item = Segment::Item(ORPHAN.to_owned());
    let path = Path::root().field("metadata").field("finalizers").child(item);
    let by_finalizer = review.operation != Operation::Delete;
    let differences = by_finalizer
        .then(|| Difference { path, op: Op::Add, git: None, tried: Some(ORPHAN.into()) })
        .into_iter()
        .collect();
    Some(Objection {
        differences,
        message: "what it owns would stay behind, and nobody would keep it as Git says".into(),
        hint: "delete it with --cascade=background".into(),
    })
}
