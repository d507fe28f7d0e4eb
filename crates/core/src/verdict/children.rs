//! Children of declared objects, and what nobody declares (rule 6).

use serde_json::Value;

use super::rules::is_whole_write;
use super::{Context, Objection, Operation, Review, Untracked};
use crate::children::{
    Endpoints, Expected, Lineage, Owner, Reference, State, Whose, addresses, adopters, adopts, controller,
    expected, is_built_in, is_judged, is_kubernetes_own, maker, makes, most_replicas, references,
    selects_labels, service_of, version_labels, view, wrong_labels,
};
use crate::compare::{CompareOptions, Difference, Op, compare};
use crate::delegation;
use crate::path::{Path, Segment};

const UNKNOWN: &str = "its owners could not be looked up";

fn owners_path() -> Path {
    Path::root().field("metadata").field("ownerReferences")
}

fn is_declared(context: &Context<'_>) -> bool {
    context.candidates.iter().any(|candidate| candidate.object.is_some())
}

/// An owner is there, with just this uid; and what belongs to a declared
/// object is not taken from it.
pub(super) fn owners(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    if !is_whole_write(review) || is_declared(context) {
        return None;
    }
    let (before, after) = (references(review.old), references(review.new));
    let same = |a: &Reference, b: &Reference| a.uid == b.uid && a.controller == b.controller;
    let is_new = |one: &&Reference| !before.iter().any(|other| same(one, other));
    let is_gone = |one: &&Reference| one.controller && !after.iter().any(|other| same(one, other));
    let (mut added, mut removed) =
        (after.iter().filter(is_new).peekable(), before.iter().filter(is_gone).peekable());
    if added.peek().is_none() && removed.peek().is_none() {
        return None;
    }
    let object = |message: String| {
        let at = |object: Option<&Value>| {
            object.and_then(|object| object.pointer("/metadata/ownerReferences").cloned())
        };
        Some(Objection {
            differences: vec![Difference {
                path: owners_path(),
                op: Op::Change,
                git: at(review.old),
                tried: at(review.new),
            }],
            message,
            hint: "leave the owners to the controllers that set them".into(),
        })
    };
    let Some(lineage) = &context.facts.lineage else { return object(UNKNOWN.into()) };
    for reference in added {
        let named = format!("{} {}", reference.gvk.kind, reference.name);
        match lineage.owner(&reference.uid).map(|owner| &owner.state) {
            Some(State::Live(_)) => {}
            Some(State::Missing) => return object(format!("there is no {named}")),
            Some(State::Another(uid)) => {
                return object(format!("{named} has the uid {uid}, not {}", reference.uid));
            }
            // Kinds that this program may not read own nothing that it judges.
            Some(State::Unknown(_)) if !is_built_in(&reference.gvk) => {}
            Some(State::Unknown(why)) => return object(format!("{named} could not be looked up: {why}")),
            None => return object(UNKNOWN.into()),
        }
    }
    let kept =
        removed.filter_map(|reference| lineage.owner(&reference.uid)).find(|owner| keeps(owner, review.new));
    let kept = kept?;
    object(format!("{} {} controls it", kept.reference.gvk.kind, kept.reference.name))
}

/// Whether an owner still controls an object with these labels: a controller
/// lets go of what its selector does not select.
fn keeps(owner: &Owner, object: Option<&Value>) -> bool {
    let State::Live(live) = &owner.state else { return false };
    let going = live.pointer("/metadata/deletionTimestamp").is_some_and(Value::is_string);
    let labels = object.and_then(|object| object.pointer("/metadata/labels"));
    let selects = live.pointer("/spec/selector").is_none_or(|selector| selects_labels(selector, labels));
    owner.descends && !going && selects
}

/// The controller by which an object is judged, if the chain of owners ends in
/// something that Git declares.
fn judging<'a>(review: &Review<'_>, lineage: &'a Lineage) -> Option<(&'a Owner, &'a Value)> {
    let reference = controller(review.new)?;
    let owner = lineage.owner(&reference.uid)?;
    match &owner.state {
        State::Live(live) if owner.descends && is_judged(review.gvk, &owner.reference.gvk) => {
            Some((owner, live))
        }
        _ => None,
    }
}

/// Why the controller of a child is not known.
fn unknown<'a>(review: &Review<'_>, lineage: &'a Lineage) -> Option<&'a str> {
    let owner = lineage.owner(&controller(review.new)?.uid)?;
    match &owner.state {
        State::Unknown(why) => Some(why),
        _ => None,
    }
}

/// Whether a write leaves alone what a child is judged by: most are of the
/// status.
fn is_unchanged(review: &Review<'_>) -> bool {
    let (Some(old), Some(new)) = (review.old, review.new) else { return false };
    let metadata = ["labels", "annotations", "finalizers", "ownerReferences"];
    old.get("spec") == new.get("spec")
        && old.get("data") == new.get("data")
        && metadata.iter().all(|field| {
            let of = |object: &'_ Value| object.get("metadata").and_then(|all| all.get(*field)).cloned();
            of(old) == of(new)
        })
}

fn is_judged_write(review: &Review<'_>, context: &Context<'_>) -> bool {
    let judged = |reference: Reference| is_judged(review.gvk, &reference.gvk);
    is_whole_write(review)
        && controller(review.new).is_some_and(judged)
        && !is_declared(context)
        && !is_unchanged(review)
}

/// A child is what its owner makes: every difference of the new one is one of
/// the old, as for declared objects. One that changes hands counts as new.
pub(super) fn child(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    if !is_judged_write(review, context) {
        return None;
    }
    let new = review.new?;
    let Some(lineage) = &context.facts.lineage else {
        return Some(Objection { message: UNKNOWN.into(), ..Objection::default() });
    };
    if let Some(why) = unknown(review, lineage) {
        let message = format!("{UNKNOWN}: {why}");
        return Some(Objection { message, hint: "try again".into(), ..Objection::default() });
    }
    let (owner, live) = judging(review, lineage)?;
    let old =
        review.old.filter(|old| controller(Some(old)).is_some_and(|old| old.uid == owner.reference.uid));
    let labels = labels(review, context, lineage, live);
    let mut left = None;
    for want in expected(review.gvk, new, live, context.facts.surroundings.as_ref()) {
        let differences = |object: &Value| differences(review, context, &want, object);
        let mut added = differences(new);
        if !added.is_empty() {
            let before = old.map(differences).unwrap_or_default();
            added.retain(|difference| !before.contains(difference));
        }
        if added.is_empty() {
            left = Some(Vec::new());
            break;
        }
        left.get_or_insert(added);
    }
    let mut differences = left?;
    let owner = format!("{} {}", owner.reference.gvk.kind, owner.reference.name);
    if differences.is_empty() {
        let message = "its labels tell which version it is".to_owned();
        let hint = "leave these labels to kubectl-gitops".to_owned();
        return (!labels.is_empty()).then_some(Objection { differences: labels, message, hint });
    }
    differences.extend(labels);
    Some(Objection {
        message: format!("{owner} controls it, and says otherwise"),
        hint: hint(review, lineage, differences.first()),
        differences,
    })
}

/// What of the labels that tell a Pod's version is not as it is to be.
fn labels(review: &Review<'_>, context: &Context<'_>, lineage: &Lineage, owner: &Value) -> Vec<Difference> {
    let (Some(new), Some(root)) = (review.new, &lineage.root) else { return Vec::new() };
    if review.gvk.kind != "Pod" {
        return Vec::new();
    }
    let revisions = context.facts.surroundings.as_ref().map_or(&[][..], |around| around.revisions.as_slice());
    let whose = Whose {
        application: context.application.map_or("", |application| application.name.as_str()),
        revision: context.candidates.first().map_or("", |candidate| candidate.revision),
        tracks: lineage.tracks.as_ref(),
    };
    let right = version_labels(context.schemas, root, new, maker(new, owner, revisions), whose);
    let declared = owner.pointer("/spec/template").unwrap_or(&Value::Null);
    wrong_labels(&right, declared, review.old, new, lineage.tracks.is_some())
}

fn differences(
    review: &Review<'_>,
    context: &Context<'_>,
    want: &Expected,
    object: &Value,
) -> Vec<Difference> {
    let options = CompareOptions { world: context.policy.world(&want.gvk), free: context.free };
    compare(context.schemas, &want.gvk, &want.value, &view(review.gvk, object), &options)
}

/// What a controller would adopt has to be as it makes them: traffic would go
/// to it at once, and a controller whose adoption is refused stands still.
pub(super) fn adoption(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    let new = review.new?;
    let labels = |object: &Value| object.pointer("/metadata/labels").cloned();
    let going = new.pointer("/metadata/deletionTimestamp").is_some_and(Value::is_string);
    if !is_whole_write(review)
        || adopters(review.gvk).is_empty()
        || is_declared(context)
        || controller(Some(new)).is_some()
        || going
        || labels(new).is_none()
        || review.old.is_some_and(|old| labels(old) == labels(new))
    {
        return None;
    }
    let Some(lineage) = &context.facts.lineage else {
        return Some(Objection { message: UNKNOWN.into(), ..Objection::default() });
    };
    for suitor in &lineage.suitors {
        let live = match &suitor.state {
            State::Live(live) if suitor.descends => live,
            State::Unknown(why) => {
                let message = format!("who would adopt it could not be looked up: {why}");
                return Some(Objection { message, hint: "try again".into(), ..Objection::default() });
            }
            _ => continue,
        };
        // One that it could have had before is no news.
        if review.old.is_some_and(|old| adopts(live, old)) {
            continue;
        }
        let wants = expected(review.gvk, new, live, context.facts.surroundings.as_ref());
        let found: Vec<_> = wants.iter().map(|want| differences(review, context, want, new)).collect();
        if found.iter().any(Vec::is_empty) {
            continue;
        }
        let differences = found.into_iter().next()?;
        let owner = format!("{} {}", suitor.reference.gvk.kind, suitor.reference.name);
        return Some(Objection {
            message: format!("{owner} would adopt it by its labels, and says otherwise"),
            hint: format!("give it other labels, or {}", hint(review, lineage, differences.first())),
            differences,
        });
    }
    None
}

/// Where Git says what a child is to be.
fn hint(review: &Review<'_>, lineage: &Lineage, difference: Option<&Difference>) -> String {
    let Some(root) = &lineage.root else { return "change its owner".into() };
    let path = difference.and_then(|difference| lineage.in_root(&review.key.kind, &difference.path));
    let line = path.and_then(|path| root.line_of(&path));
    let place = line.map_or_else(|| root.origin.to_string(), |line| format!("{}:{line}", root.origin.file));
    format!("change {place}")
}

/// A ReplicaSet is not scaled beyond what its Deployment rolls with, so that
/// an old template does not come back in force.
pub(super) fn replicas(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    if review.gvk.kind != "ReplicaSet" || !is_judged_write(review, context) {
        return None;
    }
    let lineage = context.facts.lineage.as_ref()?;
    let (owner, live) = judging(review, lineage)?;
    let of = |object: Option<&Value>| {
        object.and_then(|object| object.pointer("/spec/replicas")?.as_i64()).unwrap_or_default()
    };
    let (before, after) = (of(review.old), of(review.new));
    let most = most_replicas(live)?;
    (after > before && after > most).then(|| Objection {
        differences: vec![Difference {
            path: delegation::replicas(),
            op: Op::Change,
            git: Some(format!("{most} at most").into()),
            tried: Some(after.into()),
        }],
        message: format!("{} {} scales it", owner.reference.gvk.kind, owner.reference.name),
        hint: "scale what Git declares, in Git".into(),
    })
}

/// A declared Service's traffic goes to the Pods that it selects.
pub(super) fn endpoints(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    if !is_whole_write(review) || is_declared(context) {
        return None;
    }
    let service = service_of(review.key, review.new)?;
    let tried = addresses(review.new);
    let same_service = service_of(review.key, review.old).as_ref() == Some(&service);
    let before = if same_service { addresses(review.old) } else { Default::default() };
    let added: Vec<&String> = tried.difference(&before).collect();
    let foreign: Vec<&String> = match &context.facts.endpoints {
        Endpoints::Undeclared | Endpoints::Unselected => return None,
        Endpoints::Unknown => added,
        Endpoints::Selected(known) => added.into_iter().filter(|address| !known.contains(*address)).collect(),
    };
    let field = if review.key.kind == "Endpoints" { "subsets" } else { "endpoints" };
    let difference = |address: &String| Difference {
        path: Path::root().field(field).child(Segment::Item(address.clone())),
        op: Op::Add,
        git: None,
        tried: Some(address.as_str().into()),
    };
    (!foreign.is_empty()).then(|| Objection {
        differences: foreign.into_iter().map(difference).collect(),
        message: format!("Service {service} selects no Pod of this address"),
        hint: format!("leave it to the controller; what Service {service} selects is in Git"),
    })
}

/// Objects that nobody declares, in an enforced namespace. A child of
/// something declared is as good as declared.
pub(super) fn untracked(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    let counted = context.policy.untracked != Untracked::Allow
        && review.operation == Operation::Create
        && review.subresource.is_empty()
        // It is a namespace that takes only what Git declares.
        && !review.key.namespace.is_empty()
        && !is_declared(context);
    let new = review.new.filter(|_| counted)?;
    if is_kubernetes_own(review.key, new)
        || context.facts.claimed
        || matches!(context.facts.endpoints, Endpoints::Selected(_))
    {
        return None;
    }
    let owners = context.facts.lineage.as_ref().map_or(&[][..], |lineage| &lineage.owners);
    if owners.iter().any(|owner| owner.descends && makes(&owner.reference, review.gvk)) {
        return None;
    }
    let unread = owners.iter().find_map(|owner| match &owner.state {
        State::Unknown(why) => Some((owner, why)),
        _ => None,
    });
    let (message, hint) = match unread {
        Some((owner, why)) => (
            format!("no Application declares it, and its owner could not be looked up: {why}"),
            format!(
                "let the webhook read {}.{}: a ClusterRole with the label kubectl-gitops.dev/aggregate-to-webhook: \"true\"",
                owner.reference.gvk.kind, owner.reference.gvk.group
            ),
        ),
        None => (
            "no Application declares it, and this namespace takes only what Git declares".to_owned(),
            "add it to the repository of one of this namespace's Applications".to_owned(),
        ),
    };
    Some(Objection { message, hint, ..Objection::default() })
}
