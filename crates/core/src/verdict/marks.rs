//! Our own label and annotations on declared objects: whose it is, where it
//! stands, at which commit it was last accepted.

use serde_json::Value;

use super::{Context, Objection, Operation, Review};
use crate::compare::{Difference, Op};
use crate::desired::{self, MARKS};
use crate::names::{ANNOTATION_OWNER, ANNOTATION_REVISION};
use crate::path::{Path, Segment};

/// Reads a mark of an object.
pub(super) fn mark<'a>(object: Option<&'a Value>, field: &str, key: &str) -> Option<&'a Value> {
    object?.get("metadata")?.get(field)?.get(key)
}

pub(super) fn difference(field: &str, key: &str, git: Option<Value>, tried: Option<&Value>) -> Difference {
    let path = Path::root().field("metadata").field(field).child(Segment::Field(key.to_owned()));
    let op = if tried.is_none() { Op::Remove } else { Op::Change };
    Difference { path, op, git, tried: tried.cloned() }
}

/// The marks stay, or become what Git makes them.
pub(super) fn held(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    if !matches!(review.operation, Operation::Create | Operation::Update) || review.subresource == "scale" {
        return None;
    }
    let application = context.application?;
    context.tip()?;
    let mut differences = Vec::new();
    // The recorded commit has a rule of its own.
    for (field, key) in MARKS.into_iter().filter(|(_, key)| *key != ANNOTATION_REVISION) {
        let (old, new) = (mark(review.old, field, key), mark(review.new, field, key));
        if old == new {
            continue;
        }
        let mut wanted = context.candidates.iter().filter_map(|candidate| {
            Some(Value::from(desired::mark(key, candidate.object?, application, candidate.revision)))
        });
        let tip = wanted.next();
        if tip.as_ref() != new && !wanted.any(|wanted| Some(&wanted) == new) {
            differences.push(difference(field, key, tip, new));
        }
    }
    (!differences.is_empty()).then(|| Objection {
        differences,
        message: "this mark says where the object comes from".into(),
        hint: "leave it as it is; a sync keeps it true".into(),
    })
}

/// What nobody declares does not say that it is somebody's. A child may: its
/// owner's controller copies annotations to it.
pub(super) fn pretender(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    let whole =
        matches!(review.operation, Operation::Create | Operation::Update) && review.subresource != "scale";
    let declared = context.candidates.iter().any(|candidate| candidate.object.is_some());
    let new = review.new.filter(|_| whole && !declared)?;
    let claim = mark(Some(new), "annotations", ANNOTATION_OWNER)?;
    let is_child = new.pointer("/metadata/ownerReferences/0").is_some();
    if is_child || mark(review.old, "annotations", ANNOTATION_OWNER) == Some(claim) {
        return None;
    }
    Some(Objection {
        differences: vec![Difference {
            op: Op::Add,
            ..difference("annotations", ANNOTATION_OWNER, None, Some(claim))
        }],
        message: "no Application declares it, so it is no Application's".into(),
        hint: "leave the annotation out, or add the object to Git".into(),
    })
}
