//! What a person asks of the controller, as an annotation on an Application or
//! Rollout. In: the write, and whether the writer has the verb. Out: an
//! objection, unless the very user who writes is stamped beside the request
//! and may ask for it.

use serde_json::Value;

use super::marks::{difference, mark};
use super::{Context, Objection, Review};
use crate::compare::carries_requests;
use crate::names::{ANNOTATION_REQUEST, ANNOTATION_REQUESTED_BY, GROUP};

/// What is known of the request that a write changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// Not looked up yet.
    #[default]
    Unknown,
    /// It is no request, in a sentence.
    Unreadable(String),
    /// The writer has not got this verb.
    Forbidden(String),
    Permitted,
}

/// The request of an object, as its annotation's text.
pub fn request_of(object: Option<&Value>) -> Option<&str> {
    mark(object, "annotations", ANNOTATION_REQUEST)?.as_str()
}

/// A request that is new, changed or withdrawn takes its verb; who asks is
/// stamped on it, and nobody else's name.
pub(super) fn request(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    let new = review.new.filter(|_| carries_requests(&review.key.group, &review.key.kind))?;
    let stamp = |object| mark(object, "annotations", ANNOTATION_REQUESTED_BY);
    let (before, after) = (request_of(review.old), request_of(Some(new)));
    let (was, is) = (stamp(review.old), stamp(Some(new)));
    if before == after {
        return (was != is).then(|| stamped("who asked does not change with the request", was.cloned(), is));
    }
    let objection = |message: String, hint: String| Objection { message, hint, ..Objection::default() };
    match &context.facts.asked {
        Asked::Permitted => {}
        Asked::Unknown => {
            return Some(objection(
                "whether you may ask for that is not known".into(),
                "try again in a moment".into(),
            ));
        }
        Asked::Unreadable(reason) => {
            return Some(objection(reason.clone(), "ask by kubectl gitops, such as: sync NAME".into()));
        }
        Asked::Forbidden(verb) => return Some(forbidden(review, verb)),
    }
    let writer = Value::from(context.facts.writer.as_str());
    match after {
        Some(_) if is != Some(&writer) => {
            Some(stamped("a request names who asks, as the API server knows them", Some(writer), is))
        }
        None if is.is_some() && is != was => Some(stamped("nothing is asked for", None, is)),
        _ => None,
    }
}

fn stamped(message: &str, git: Option<Value>, tried: Option<&Value>) -> Objection {
    Objection {
        differences: vec![difference("annotations", ANNOTATION_REQUESTED_BY, git, tried)],
        message: message.into(),
        hint: "leave the annotation to kubectl-gitops".into(),
    }
}

fn forbidden(review: &Review<'_>, verb: &str) -> Objection {
    let key = review.key;
    let resource = format!("{}s.{GROUP}", key.kind.to_lowercase());
    Objection {
        message: format!("asking for that takes the verb `{verb}` on {resource}"),
        hint: format!(
            "ask who may: kubectl auth can-i {verb} {resource}/{} --namespace {}",
            key.name, key.namespace
        ),
        ..Objection::default()
    }
}
