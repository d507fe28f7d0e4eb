//! Our own kinds say what is true, so whoever may write one holds the cluster:
//! they change through Git, or by those with the verb (root of trust). An
//! Override is no matter of Git: it takes a verb of its own, names who asked
//! for it, and ends.

use serde_json::Value;

use super::rules::against_git;
use super::{Context, Objection, Operation, Review};
use crate::compare::{Difference, Op, carries_requests, is_ours, unix_seconds};
use crate::names::{ANNOTATION_REQUEST, ANNOTATION_REQUESTED_BY, FINALIZER_PRUNE, GROUP};
use crate::path::{Path, Segment};

/// Seconds that an Override lasts at most.
pub const LONGEST: i64 = 4 * 60 * 60;
/// Seconds by which the clocks of a user and of this program may differ.
const GRACE: i64 = 60;
/// Finalizers that Kubernetes itself takes off while it collects garbage.
const COLLECTED: [&str; 2] = ["foregroundDeletion", "orphan"];

/// The verb that it takes to write an object of ours, and the resource on
/// which it is asked for.
pub fn verb(kind: &str) -> (&'static str, String) {
    let verb = if kind == "Override" { "override" } else { "manage" };
    (verb, format!("{}s", kind.to_lowercase()))
}

fn is_override(review: &Review<'_>) -> bool {
    review.key.group == GROUP && review.key.kind == "Override" && review.subresource.is_empty()
}

/// Specs, and what of the metadata carries power, change through Git or by
/// those with the verb.
pub(super) fn own_kinds(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    let facts = context.facts;
    if review.key.group != GROUP || review.subresource == "status" {
        return None;
    }
    let may = if is_override(review) { facts.may_override } else { facts.may_manage };
    if may || facts.namespace_terminating && review.operation == Operation::Delete {
        return None;
    }
    let spec = |object: Option<&Value>| object.and_then(|object| object.get("spec").cloned());
    let changes_spec = spec(review.old) != spec(review.new);
    let mut differences = powers(review);
    // What Git declares is compared with it, but for further finalizers. An
    // Override is never Git's.
    let declared = context.tip().is_some() && !is_override(review);
    if declared {
        differences.retain(|difference| difference.path == at("finalizers"));
    }
    if differences.is_empty() && (declared || !changes_spec) {
        return None;
    }
    let (verb, plural) = verb(&review.key.kind);
    let resource = format!("{plural}.{GROUP}");
    let namespace = if review.key.namespace.is_empty() {
        String::new()
    } else {
        format!(" --namespace {}", review.key.namespace)
    };
    let ask = format!("kubectl auth can-i {verb} {resource}/{}{namespace}", review.key.name);
    let (message, hint) = if is_override(review) {
        ("it lets writes past Git", format!("ask who may: {ask}"))
    } else {
        (
            "it says what Git may say",
            format!("declare it in Git under a parent Application, or ask who may: {ask}"),
        )
    };
    Some(Objection {
        differences,
        message: format!("{message}, so changing it takes the verb `{verb}` on {resource}"),
        hint,
    })
}

/// What no schema can say of a spec is said when it is written: until somebody looks
/// at its status, an Application that cannot be read is kept by nobody.
pub(super) fn spec(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    let message = context.facts.mistake.clone()?;
    let hint = match context.tip() {
        Some(_) => against_git(Vec::new(), context).hint,
        None => format!(
            "correct that field; kubectl explain {}.spec says what it holds",
            review.key.kind.to_lowercase()
        ),
    };
    Some(Objection { message, hint, ..Objection::default() })
}

fn list<'a>(object: Option<&'a Value>, field: &str) -> &'a [Value] {
    let found = object.and_then(|object| object.get("metadata")?.get(field)?.as_array());
    found.map_or(&[], Vec::as_slice)
}

fn finalizers(object: Option<&Value>) -> Vec<&Value> {
    let all = list(object, "finalizers").iter();
    all.filter(|finalizer| !finalizer.as_str().is_some_and(|name| COLLECTED.contains(&name))).collect()
}

fn at(field: &str) -> Path {
    Path::root().field("metadata").field(field)
}

/// Changes of the metadata that decide what becomes of the object: finalizers,
/// owners, and labels and annotations of ours.
fn powers(review: &Review<'_>) -> Vec<Difference> {
    if review.operation != Operation::Update {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut note = |path: Path, git: Option<Value>, tried: Option<Value>| {
        if git != tried {
            let op = match (&git, &tried) {
                (None, _) => Op::Add,
                (_, None) => Op::Remove,
                _ => Op::Change,
            };
            found.push(Difference { path, op, git, tried });
        }
    };
    let some = |values: Vec<Value>| (!values.is_empty()).then(|| Value::from(values));
    // Whoever cleans up for an Application that is being deleted takes ours off.
    let is_going = review.old.is_some_and(|old| old.pointer("/metadata/deletionTimestamp").is_some());
    let held = |object| {
        let kept = finalizers(object).into_iter().filter(|name| !is_going || *name != FINALIZER_PRUNE);
        some(kept.cloned().collect())
    };
    note(at("finalizers"), held(review.old), held(review.new));
    let owners = |object| some(list(object, "ownerReferences").to_vec());
    note(at("ownerReferences"), owners(review.old), owners(review.new));
    for field in ["labels", "annotations"] {
        let map = |object: Option<&Value>| {
            object
                .and_then(|object| object.get("metadata")?.get(field)?.as_object().cloned())
                .unwrap_or_default()
        };
        let (old, new) = (map(review.old), map(review.new));
        let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
        keys.sort();
        keys.dedup();
        // What a person asks of the controller has a rule of its own.
        let asks = carries_requests(&review.key.group, &review.key.kind);
        let asked = |key: &str| asks && [ANNOTATION_REQUEST, ANNOTATION_REQUESTED_BY].contains(&key);
        for key in keys.into_iter().filter(|key| is_ours(key) && !(field == "annotations" && asked(key))) {
            let path = at(field).child(Segment::Field(key.clone()));
            note(path, old.get(key).cloned(), new.get(key).cloned());
        }
    }
    found
}

/// An Override names who asked for it, lasts four hours at most, and can only
/// be made to end earlier.
pub(super) fn override_window(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    if !is_override(review) {
        return None;
    }
    let new = review.new?;
    let asked_by = |object: &Value| {
        object.get("metadata")?.get("annotations")?.get(ANNOTATION_REQUESTED_BY)?.as_str().map(str::to_owned)
    };
    let stamp = |git: Option<String>, message: &str| {
        let path = Path::root().field("metadata").field("annotations");
        Objection {
            differences: vec![Difference {
                path: path.child(Segment::Field(ANNOTATION_REQUESTED_BY.into())),
                op: if asked_by(new).is_none() { Op::Remove } else { Op::Change },
                git: git.map(Value::from),
                tried: asked_by(new).map(Value::from),
            }],
            message: message.into(),
            hint: "leave the annotation to kubectl-gitops".into(),
        }
    };
    if let Some(old) = review.old {
        if asked_by(old) != asked_by(new) {
            return Some(stamp(asked_by(old), "who asked for an Override does not change"));
        }
        return only_earlier(old, new);
    }
    if asked_by(new).as_deref() != Some(context.facts.writer.as_str()) {
        return Some(stamp(Some(context.facts.writer.clone()), "an Override names who asks for it"));
    }
    let expires = expiry(new);
    let message = match expires {
        None => "expiresAt is no time",
        Some(at) if at <= review.now => "expiresAt has passed",
        Some(at) if at > review.now + LONGEST + GRACE => "expiresAt is more than four hours ahead",
        Some(_) => return None,
    };
    Some(window(message, None, new))
}

fn expiry(object: &Value) -> Option<i64> {
    object.pointer("/spec/expiresAt").and_then(Value::as_str).and_then(unix_seconds)
}

fn only_earlier(old: &Value, new: &Value) -> Option<Objection> {
    let rest = |object: &Value| {
        let mut spec = object.get("spec").cloned().unwrap_or_default();
        spec.as_object_mut().map(|spec| spec.remove("expiresAt"));
        spec
    };
    let earlier = old.pointer("/spec/expiresAt") == new.pointer("/spec/expiresAt")
        || matches!((expiry(old), expiry(new)), (Some(old), Some(new)) if new <= old);
    (!earlier || rest(old) != rest(new))
        .then(|| window("an Override cannot be changed, but for an earlier expiresAt", Some(old), new))
}

fn window(message: &str, old: Option<&Value>, new: &Value) -> Objection {
    let at = |object: &Value| object.pointer("/spec/expiresAt").cloned();
    let (git, tried) = (old.and_then(at), at(new));
    Objection {
        differences: vec![Difference {
            path: Path::root().field("spec").field("expiresAt"),
            op: Op::Change,
            git,
            tried,
        }],
        message: message.into(),
        hint: "open a new one: kubectl gitops override create --reason REASON --for 30m".into(),
    }
}
