//! The rules, as values: each looks at a write and says what speaks against
//! it. The numbers are those of the design's list.

use serde_json::Value;

use super::{
    Context, Decision, Interactive, Objection, Operation, Policy, Review, Untracked, asking, children,
    deletes, filled, forward, marks, own, partition, requests, rollouts, weight,
};
use crate::compare::{Difference, Op, World, has_power, world_of};
use crate::delegation::{self, Free};
use crate::desired::DesiredObject;
use crate::path::{Path, Segment};

/// A rule of the verdict.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Stable: written into metrics, audit annotations and denials.
    pub id: &'static str,
    pub judge: fn(&Review<'_>, &Context<'_>) -> Option<Objection>,
}

impl Rule {
    pub(super) fn severity(&self, policy: &Policy) -> Decision {
        match (self.id, policy.untracked, policy.interactive) {
            ("untracked", Untracked::Warn, _) | ("interactive", _, Interactive::Warn) => Decision::Warn,
            _ => Decision::Deny,
        }
    }
}

/// All rules, in the order in which they are asked.
pub const RULES: &[Rule] = &[
    Rule { id: "delete-namespace", judge: delete_namespace },
    Rule { id: "delete-definition", judge: delete_definition },
    Rule { id: "delete-declared", judge: deletes::delete_declared },
    Rule { id: "orphan", judge: deletes::orphan },
    Rule { id: "namespace-labels", judge: namespace_labels },
    Rule { id: "request", judge: asking::request },
    Rule { id: "own-kinds", judge: own::own_kinds },
    Rule { id: "own-spec", judge: own::spec },
    Rule { id: "override-window", judge: own::override_window },
    Rule { id: "rollout-status", judge: rollouts::status },
    Rule { id: "second", judge: rollouts::second },
    Rule { id: "behind", judge: forward::behind },
    Rule { id: "interactive", judge: requests::interactive },
    Rule { id: "scale", judge: scale },
    Rule { id: "scale-child", judge: requests::scale_child },
    Rule { id: "held-marks", judge: marks::held },
    Rule { id: "revision-forward", judge: forward::recorded },
    Rule { id: "toward-git", judge: toward_git },
    Rule { id: "mixed-commits", judge: mixed_commits },
    Rule { id: "partition", judge: partition::partition },
    Rule { id: "filled-once", judge: filled::once },
    Rule { id: "pretender", judge: marks::pretender },
    Rule { id: "owners", judge: children::owners },
    Rule { id: "child", judge: children::child },
    Rule { id: "adoption", judge: children::adoption },
    Rule { id: "child-replicas", judge: children::replicas },
    Rule { id: "endpoints", judge: children::endpoints },
    Rule { id: "untracked", judge: children::untracked },
];

/// The members of a namespace go without a review (rule 4).
fn delete_namespace(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    let whole = review.operation == Operation::Delete
        && review.key.kind == "Namespace"
        && review.key.group.is_empty();
    (whole && context.facts.holds > 0).then(|| Objection {
        message: format!("{} objects that Git declares are in it, and would go with it", context.facts.holds),
        hint: "remove them from Git first, commit, push and sync with --prune".into(),
        ..Objection::default()
    })
}

/// Deleting a definition deletes its objects without reviews (rule 4).
fn delete_definition(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    let whole = review.operation == Operation::Delete && review.key.kind == "CustomResourceDefinition";
    (whole && context.facts.holds > 0).then(|| Objection {
        message: format!(
            "{} objects of this kind are declared in Git, and would go with it",
            context.facts.holds
        ),
        hint: "remove them from Git first, commit, push and sync with --prune".into(),
        ..Objection::default()
    })
}

/// Labels of a namespace that decide what may run in it (root of trust).
fn namespace_labels(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    if review.key.kind != "Namespace" || !review.key.group.is_empty() || context.facts.holds == 0 {
        return None;
    }
    let (old, new) = (review.old?, review.new?);
    let want = context.tip();
    let label = |object: Option<&Value>, key: &str| {
        object.and_then(|o| o.pointer("/metadata/labels")?.get(key).cloned())
    };
    let keys = [old, new]
        .into_iter()
        .filter_map(|object| object.pointer("/metadata/labels")?.as_object())
        .flat_map(|map| map.keys());
    let mut differences: Vec<Difference> = keys
        .filter(|key| has_power(key))
        .filter_map(|key| {
            let (before, after) = (label(Some(old), key), label(Some(new), key));
            let git = label(want.map(|want| &*want.value), key);
            let op = if after.is_none() {
                Op::Remove
            } else if git.is_none() {
                Op::Add
            } else {
                Op::Change
            };
            let path = Path::root().field("metadata").field("labels").child(Segment::Field(key.clone()));
            (before != after && after != git).then_some(Difference { path, op, git, tried: after })
        })
        .collect();
    differences.dedup();
    (!differences.is_empty()).then(|| Objection {
        differences,
        message: "this label decides what may run beside objects that Git declares".into(),
        hint: "declare the Namespace with its labels in Git".into(),
    })
}

/// `/scale` is judged like the field that it sets (rule 5).
fn scale(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    if review.subresource != "scale" {
        return None;
    }
    let want = context.tip()?;
    let replicas = |object: &Value| object.pointer("/spec/replicas").cloned();
    let tried = replicas(review.new?);
    if tried == review.old.and_then(replicas) {
        return None;
    }
    let path = match (world_of(review.gvk), &context.facts.scale_path) {
        (World::Closed, _) => delegation::replicas(),
        (World::Declared, Some(path)) => path.clone(),
        (World::Declared, None) => {
            return Some(Objection {
                message: "which field its /scale sets is not known".into(),
                hint: "try again once its CustomResourceDefinition can be read".into(),
                ..Objection::default()
            });
        }
    };
    // A Scale does not say which manager writes it.
    let about = |free: &&Free| free.manager.is_none() && path.is_within(&free.path);
    let mut free = context.free.iter().filter(about).peekable();
    let between = free.peek().and_then(|free| free.bounds.as_ref()).map(|bounds| bounds.to_string().into());
    if free.any(|free| free.admits(tried.as_ref())) {
        return None;
    }
    let declared = |object: &DesiredObject| path.find(&object.value).cloned();
    let mut wanted = context.candidates.iter().filter_map(|candidate| candidate.object).map(declared);
    if wanted.any(|git| git == tried || git.is_none() && between.is_none()) {
        return None;
    }
    let git = between.or_else(|| declared(want));
    Some(against_git(vec![Difference { path, op: Op::Change, git, tried }], context))
}

/// Every difference of the new object is one of the old (rule 1), at the tip
/// or at a commit on the way to it (rule 7).
fn toward_git(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    if !is_whole_write(review) {
        return None;
    }
    let new = review.new?;
    let tip = context.tip()?;
    let mut left = Vec::new();
    for (at, candidate) in context.candidates.iter().enumerate() {
        let Some(want) = candidate.object else { continue };
        let mut added = context.differences(want, new);
        if !added.is_empty()
            && let Some(old) = review.old
        {
            let before = context.differences(want, old);
            added.retain(|difference| !contains(&before, difference));
        }
        added.retain(|difference| !is_restart(difference, review));
        if added.is_empty() {
            return None;
        }
        if at == 0 {
            left = added;
        }
    }
    debug_assert_eq!(tip.key, *review.key);
    Some(against_git(left, context))
}

/// Whether a sorted list holds a difference: two long lists meet in no time.
fn contains(sorted: &[Difference], difference: &Difference) -> bool {
    let order = |other: &Difference| other.path.cmp(&difference.path).then(other.op.cmp(&difference.op));
    let first = sorted.partition_point(|other| order(other).is_lt());
    sorted[first..].iter().take_while(|other| order(other).is_eq()).any(|other| other == difference)
}

pub(super) fn is_whole_write(review: &Review<'_>) -> bool {
    matches!(review.operation, Operation::Create | Operation::Update)
        && matches!(review.subresource, "" | "status" | "finalize")
}

/// `kubectl rollout restart` writes the time into the template: of now, or of
/// before, which stays there.
pub(super) fn is_restart(difference: &Difference, review: &Review<'_>) -> bool {
    const TOLERANCE: i64 = 300;
    let restarted = Segment::Field("kubectl.kubernetes.io/restartedAt".into());
    let Difference { path, tried, .. } = difference;
    if path.0.last() != Some(&restarted)
        || !path.to_string().starts_with("spec.template.metadata.annotations")
    {
        return false;
    }
    let at = tried.as_ref().and_then(Value::as_str).and_then(crate::compare::unix_seconds);
    let stays = tried.is_some() && review.old.and_then(|old| path.find(old)) == tried.as_ref();
    stays || at.is_some_and(|at| (at - review.now).abs() <= TOLERANCE)
}

/// Parts of an object that have one meaning as a whole (rule 1).
fn units(kind: &str) -> &'static [&'static str] {
    match kind {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" | "ReplicationController" => {
            &["spec.template"]
        }
        "CronJob" => &["spec.jobTemplate"],
        "Role" | "ClusterRole" => &["rules"],
        "RoleBinding" | "ClusterRoleBinding" => &["subjects", "roleRef"],
        _ => &[],
    }
}

/// A field by its plain path.
fn pointed<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(object, |value, field| value.get(field))
}

/// A pod template or role that was one commit's stays one commit's (rule 1).
/// One that had drifted may be repaired field by field.
fn mixed_commits(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    if !is_whole_write(review) || review.operation != Operation::Update {
        return None;
    }
    let (old, new) = (review.old?, review.new?);
    let tip = context.tip()?;
    for unit in units(&review.key.kind) {
        if pointed(old, unit) == pointed(new, unit) {
            continue;
        }
        let Ok(unit) = unit.parse::<Path>() else { continue };
        let within = |live: &Value, want| -> Vec<Difference> {
            let mut differences = context.differences(want, live);
            differences
                .retain(|difference| difference.path.starts_with(&unit) && !is_restart(difference, review));
            differences
        };
        let mut wants = context.candidates.iter().filter_map(|candidate| candidate.object);
        let was_whole = wants.clone().any(|want| within(old, want).is_empty());
        let is_whole = wants.any(|want| within(new, want).is_empty());
        if was_whole && !is_whole {
            let mut objection = against_git(within(new, tip), context);
            objection.message = format!("{unit} would mix two commits");
            return Some(objection);
        }
    }
    None
}

/// An objection that points at the lines in Git.
pub(super) fn against_git(mut differences: Vec<Difference>, context: &Context<'_>) -> Objection {
    weight::sort(&mut differences);
    let Some(want) = context.tip() else { return Objection { differences, ..Objection::default() } };
    let line = differences.first().and_then(|difference| want.line_of(&difference.path));
    let place = line.map_or_else(|| want.origin.to_string(), |line| format!("{}:{line}", want.origin.file));
    Objection { differences, message: String::new(), hint: format!("change {place}") }
}
