//! Time moves forward only (rule 7). In: the commit recorded on an object, and
//! whether it is known here. Out: what speaks against a write of a replica
//! that is behind, or that claims another commit.

use serde_json::Value;

use super::marks::{self, difference};
use super::rules::is_restart;
use super::{Context, Objection, Operation, Review};
use crate::delegation;
use crate::names::ANNOTATION_REVISION;

/// The commit at which an object was last accepted.
pub fn revision_of(object: Option<&Value>) -> Option<&str> {
    marks::mark(object, "annotations", ANNOTATION_REVISION)?.as_str()
}

/// Another replica has accepted a commit that this one does not know: what Git
/// says is not known here, so nothing of it changes.
pub(super) fn behind(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    if !context.facts.behind || context.facts.namespace_terminating {
        return None;
    }
    let old = review.old?;
    let stays = match (context.tip(), review.operation) {
        (_, Operation::Connect) => true,
        (_, Operation::Delete) => !review.subresource.is_empty(),
        _ if review.subresource == "scale" => {
            replicas(Some(old)) == replicas(review.new) || is_delegated(context, review.new?)
        }
        (Some(want), _) => context.differences(want, old) == context.differences(want, review.new?),
        // The newer commit may declare it: what is not metadata stays.
        (None, _) => body(old) == body(review.new?),
    };
    let recorded = revision_of(Some(old)).unwrap_or_default();
    let known = context.candidates.first().map_or_else(String::new, |tip| {
        format!(
            "; the newest commit that is known here, {}, may be older, so the object stays as it is, even where \
             it differs from that",
            short(tip.revision)
        )
    });
    (!stays).then(|| Objection {
        differences: vec![difference(
            "annotations",
            ANNOTATION_REVISION,
            context.candidates.first().map(|tip| Value::from(tip.revision)),
            Some(&Value::from(recorded)),
        )],
        message: format!(
            "it was last accepted at commit {}, which is not known here, and Git could not be asked{known}",
            short(recorded)
        ),
        hint: "try again once the repository can be reached, which its Application's status tells; if its branch \
               went back, push a commit that reverts"
            .into(),
    })
}

/// The first characters of a commit; a revision of several sources as it is.
fn short(revision: &str) -> &str {
    const SHOWN: usize = 12;
    let is_commit = revision.chars().all(|c| c.is_ascii_hexdigit());
    revision.get(..SHOWN).filter(|_| is_commit).unwrap_or(revision)
}

fn replicas(object: Option<&Value>) -> Option<&Value> {
    object?.pointer("/spec/replicas")
}

/// Whether these replicas are an autoscaler's own matter.
fn is_delegated(context: &Context<'_>, scale: &Value) -> bool {
    let path = delegation::replicas();
    context.free.iter().any(|free| free.covers(&path, scale) && free.admits(replicas(Some(scale))))
}

/// An object without metadata and status.
fn body(object: &Value) -> Vec<(&String, &Value)> {
    let fields = object.as_object().into_iter().flatten();
    fields.filter(|(name, _)| !matches!(name.as_str(), "metadata" | "status")).collect()
}

/// The recorded commit only moves forward, and only to one that the object
/// matches as a whole.
pub(super) fn recorded(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    if !matches!(review.operation, Operation::Create | Operation::Update) || review.subresource == "scale" {
        return None;
    }
    context.tip()?;
    let (old, new) = (revision_of(review.old), revision_of(review.new));
    if old == new {
        return None;
    }
    let candidate = context.candidates.iter().find(|candidate| Some(candidate.revision) == new);
    let matches =
        candidate.and_then(|candidate| candidate.object).zip(review.new).is_some_and(|(want, new)| {
            context.differences(want, new).iter().all(|difference| is_restart(difference, review))
        });
    // An object without a record may be made without one.
    if matches {
        return None;
    }
    let tip = context.candidates.first().map(|tip| Value::from(tip.revision));
    let (message, hint) = if candidate.is_some() {
        ("the object does not match the commit it claims", "sync it: kubectl gitops sync")
    } else {
        (
            "that commit is unknown here, older than the recorded one, or not on the branch",
            "pull, and sync again: time moves forward only",
        )
    };
    let tried = new.map(Value::from);
    Some(Objection {
        differences: vec![difference("annotations", ANNOTATION_REVISION, tip, tried.as_ref())],
        message: message.into(),
        hint: hint.into(),
    })
}
