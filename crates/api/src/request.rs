//! What a person asks of the controller. It travels as one annotation on the
//! Application or Rollout: the webhook stamps who asks and checks their verb,
//! the controller carries it out once and says so under the request's id.

use std::collections::BTreeMap;

use gitops_core::names::{ANNOTATION_REQUEST, ANNOTATION_REQUESTED_BY};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ApplicationStatus;

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
    /// The verb that RBAC has to grant on the resource of this kind that carries
    /// the request: what undoes something needs no verb of its own. Who may take a
    /// version back may also hold it.
    pub fn permission(self, kind: &str) -> &'static str {
        match self {
            Self::Pause | Self::Resume if kind == "Rollout" => "abort",
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

    /// Whether nobody answers for a request of an Application: a webhook judges
    /// it, and has stamped nobody's name (`by`) on the request. That happens
    /// where the API server does not call the webhook yet. Nobody stamps it later,
    /// so it is not carried out; who asks has to ask again.
    pub fn is_anonymous(by: &str, status: Option<&ApplicationStatus>) -> bool {
        by.is_empty() && is_judged(status)
    }

    /// The annotation's text.
    pub fn to_annotation(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

/// Reason of the condition Enforced where it is about another cluster.
pub const ELSEWHERE: &str = "Elsewhere";

/// Whether a webhook of this cluster judges an Application, as its status says.
pub fn is_judged(status: Option<&ApplicationStatus>) -> bool {
    let is_here = |known: &Condition| known.type_ == "Enforced" && known.reason != ELSEWHERE;
    status.is_some_and(|status| status.conditions.iter().any(is_here))
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
        assert_eq!(Request::parse(&request.to_annotation()).expect("a request"), request);
    }

    #[test]
    fn where_a_webhook_is_somebody_answers_for_a_request() {
        let judged: ApplicationStatus = serde_json::from_value(serde_json::json!({"conditions": [
            {"type": "Enforced", "status": "True", "reason": "Enforced", "message": "", "lastTransitionTime": "2026-11-24T10:00:00Z"}]}))
        .unwrap();
        assert!(Request::is_anonymous("", Some(&judged)));
        assert!(!Request::is_anonymous("ada", Some(&judged)));
        assert!(!Request::is_anonymous("", Some(&ApplicationStatus::default())));
        assert!(!Request::is_anonymous("", None));
        // Another cluster's webhook stamps nothing here.
        let mut elsewhere = judged;
        elsewhere.conditions[0].reason = ELSEWHERE.into();
        assert!(!Request::is_anonymous("", Some(&elsewhere)));
    }

    #[test]
    fn who_may_abort_may_pause() {
        for (verb, on_application, on_rollout) in [
            (Verb::Promote, "promote", "promote"),
            (Verb::Abort, "abort", "abort"),
            (Verb::Retry, "retry", "retry"),
            (Verb::Pause, "suspend", "abort"),
            (Verb::Resume, "suspend", "abort"),
        ] {
            assert_eq!(
                (verb.permission("Application"), verb.permission("Rollout")),
                (on_application, on_rollout)
            );
        }
    }

    #[test]
    fn a_verb_that_nobody_knows_is_an_error() {
        let error = Request::parse(r#"{"id": "1", "verb": "destroy"}"#).expect_err("no verb").to_string();
        assert!(error.contains("destroy") && error.contains("kubectl gitops writes it"), "{error}");
    }
}
