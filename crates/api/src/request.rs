//! What a person asks of the controller. It travels as one annotation on the
//! Application or Rollout: the webhook stamps who asks and checks their verb,
//! the controller carries it out once and says so under the request's id.

use std::collections::BTreeMap;

use gitops_core::names::{ANNOTATION_REQUEST, ANNOTATION_REQUESTED_BY};
use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A request, as JSON in the annotation `kubectl-gitops.dev/request`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// Of this request alone; `status.operation.id` is the one carried out last.
    pub id: String,
    pub verb: Verb,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<String, String>,
    /// Why, in the words of who asks.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What is asked: a custom verb of Kubernetes RBAC on the resource that carries
/// the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    Sync,
    Rollback,
    Suspend,
    Resume,
    Promote,
    Abort,
    Retry,
    Pause,
    Restart,
}

impl Verb {
    /// The verb that RBAC has to grant: what undoes something needs no verb of
    /// its own.
    pub fn permission(self) -> &'static str {
        match self {
            Self::Sync | Self::Restart => "sync",
            Self::Rollback => "rollback",
            Self::Suspend | Self::Resume | Self::Pause => "suspend",
            Self::Promote => "promote",
            Self::Abort => "abort",
            Self::Retry => "retry",
        }
    }
}

/// An annotation that is no request.
#[derive(Debug, Error)]
#[error("annotation {ANNOTATION_REQUEST} is no request ({0}); kubectl gitops writes it")]
pub struct RequestError(#[from] serde_json::Error);

impl Request {
    /// From the annotation's text.
    ///
    /// # Errors
    /// When it is no JSON of this shape.
    pub fn parse(text: &str) -> Result<Self, RequestError> {
        Ok(serde_json::from_str(text)?)
    }

    /// The request that a resource carries, and who asked, as the webhook
    /// stamped them; empty where none did.
    ///
    /// # Errors
    /// As of [`Self::parse`].
    pub fn of<R: ResourceExt>(resource: &R) -> Result<Option<(Self, String)>, RequestError> {
        let annotations = resource.annotations();
        let Some(text) = annotations.get(ANNOTATION_REQUEST) else { return Ok(None) };
        let by = annotations.get(ANNOTATION_REQUESTED_BY).cloned().unwrap_or_default();
        Ok(Some((Self::parse(text)?, by)))
    }

    /// The annotation's text.
    pub fn to_annotation(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_its_annotation() {
        let request = Request {
            id: "a1".into(),
            verb: Verb::Sync,
            arguments: BTreeMap::from([("prune".into(), "true".into())]),
            reason: "INC-12".into(),
        };
        assert_eq!(Request::parse(&request.to_annotation()).unwrap(), request);
    }

    #[test]
    fn a_verb_that_nobody_knows_is_an_error() {
        let error = Request::parse(r#"{"id": "1", "verb": "destroy"}"#).unwrap_err().to_string();
        assert!(error.contains("destroy") && error.contains("kubectl gitops writes it"), "{error}");
    }
}
