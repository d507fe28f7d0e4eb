//! What an API server, or the way to it, can answer.

use http::StatusCode;
use serde_json::Value;

/// What an error is about, for exit codes and hints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    Configuration,
    Unreachable,
    Unauthorized,
    Forbidden,
    NotFound,
    Denied,
    Conflict,
    Invalid,
    Timeout,
    Busy,
    /// An admission webhook does not answer.
    Webhook,
    Other,
}

/// A field that someone else has set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldConflict {
    /// The field manager's name, as `kubectl-edit`.
    pub manager: String,
    /// As the API server writes it: `spec.replicas`.
    pub path: String,
}

/// An error of this crate.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("kubeconfig: {0}")]
    Configuration(String),
    #[error("{server} cannot be reached: {reason}")]
    Unreachable { server: String, reason: String },
    /// It was there, and went away in the middle of an answer, or broke.
    #[error("{server}: {reason}")]
    Cut { server: String, reason: String },
    #[error("{server} does not take these credentials")]
    Unauthorized { server: String },
    #[error("{what}: forbidden: {message}")]
    Forbidden { what: String, message: String },
    #[error("{what}: not found")]
    NotFound { what: String },
    #[error("{message}")]
    Denied { what: String, webhook: String, message: String },
    #[error("{what}: {message}")]
    Conflict { what: String, message: String },
    /// Fields that others have set and apply would change.
    #[error("{what}: {}", fields(.conflicts))]
    Fields { what: String, conflicts: Vec<FieldConflict> },
    /// Fields that cannot be changed, by the API server's word.
    #[error("{what}: {message}")]
    Immutable { what: String, message: String, fields: Vec<String> },
    #[error("{what}: {message}")]
    Invalid { what: String, message: String },
    #[error("{what}: no answer in time")]
    Timeout { what: String },
    #[error("{what}: the API server is busy: {message}")]
    Busy { what: String, message: String, retry_after: Option<u64> },
    #[error("{what}: the admission webhook {name} does not answer: {message}")]
    Webhook { what: String, name: String, message: String },
    #[error("{what}: {message}")]
    Other { what: String, message: String },
}

impl ClusterError {
    /// Whether the same request may succeed a moment later, and does no harm
    /// when it is sent twice.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Webhook { .. } | Self::Cut { .. } | Self::Timeout { .. })
    }

    /// The same with the API server's words changed.
    #[must_use]
    pub fn reworded(mut self, change: impl FnOnce(&str) -> String) -> Self {
        match &mut self {
            Self::Forbidden { message, .. }
            | Self::Denied { message, .. }
            | Self::Conflict { message, .. }
            | Self::Immutable { message, .. }
            | Self::Invalid { message, .. }
            | Self::Busy { message, .. }
            | Self::Webhook { message, .. }
            | Self::Other { message, .. }
            | Self::Cut { reason: message, .. } => *message = change(message),
            Self::Configuration(_)
            | Self::Unreachable { .. }
            | Self::Unauthorized { .. }
            | Self::NotFound { .. }
            | Self::Fields { .. }
            | Self::Timeout { .. } => {}
        }
        self
    }

    /// What the error is about.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Configuration(_) => ErrorKind::Configuration,
            Self::Unreachable { .. } | Self::Cut { .. } => ErrorKind::Unreachable,
            Self::Unauthorized { .. } => ErrorKind::Unauthorized,
            Self::Forbidden { .. } => ErrorKind::Forbidden,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Denied { .. } => ErrorKind::Denied,
            Self::Conflict { .. } | Self::Fields { .. } => ErrorKind::Conflict,
            Self::Invalid { .. } | Self::Immutable { .. } => ErrorKind::Invalid,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Busy { .. } => ErrorKind::Busy,
            Self::Webhook { .. } => ErrorKind::Webhook,
            Self::Other { .. } => ErrorKind::Other,
        }
    }

    /// From an answer that is no success; its body is a `Status`.
    pub(crate) fn from_answer(
        server: &str,
        what: &str,
        status: StatusCode,
        retry_after: Option<u64>,
        body: &[u8],
    ) -> Self {
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = answer
            .get("message")
            .and_then(Value::as_str)
            .map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
        let what = what.to_owned();
        if let Some((webhook, message)) = denied(&text) {
            return Self::Denied { what, webhook, message };
        }
        let conflicts = field_conflicts(&answer);
        if status == StatusCode::CONFLICT && !conflicts.is_empty() {
            return Self::Fields { what, conflicts };
        }
        let fields = immutable(&answer);
        if status == StatusCode::UNPROCESSABLE_ENTITY && !fields.is_empty() {
            return Self::Immutable { what, message: text, fields };
        }
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthorized { server: server.to_owned() },
            StatusCode::FORBIDDEN => Self::Forbidden { what, message: text },
            StatusCode::NOT_FOUND if text.starts_with("namespaces ") => Self::NotFound {
                what: text
                    .trim_end_matches(" not found")
                    .replace("namespaces ", "Namespace ")
                    .replace('"', ""),
            },
            StatusCode::NOT_FOUND => Self::NotFound { what },
            StatusCode::CONFLICT => Self::Conflict { what, message: text },
            StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST => {
                Self::Invalid { what, message: text }
            }
            StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => Self::Timeout { what },
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Self::Busy { what, message: text, retry_after }
            }
            StatusCode::INTERNAL_SERVER_ERROR if text.contains(WEBHOOK) => {
                let (name, message) = of_webhook(&text);
                Self::Webhook { what, name: name.into(), message: message.into() }
            }
            // The API server's own words for a mistake of whoever applies.
            StatusCode::INTERNAL_SERVER_ERROR if text.contains(UNDECLARED) => {
                Self::Invalid { what, message: text }
            }
            status if status.is_server_error() => {
                let reason = format!("{what}: {status}: {}", text.lines().next().unwrap_or_default());
                Self::Cut { server: server.to_owned(), reason }
            }
            _ => Self::Other { what, message: text },
        }
    }
}

/// What the API server says, behind its path, of a field that its schema does not have
/// and that is applied on its side.
pub const UNDECLARED: &str = ": field not declared in schema";

/// What the API server says when it cannot ask a webhook, before its name.
const WEBHOOK: &str = "failed calling webhook \"";

/// The name of the webhook that did not answer, and why, of
/// `Internal error occurred: failed calling webhook "NAME": failed to call webhook: WHY`.
fn of_webhook(text: &str) -> (&str, &str) {
    let named = text.split_once(WEBHOOK).and_then(|(_, rest)| rest.split_once("\": "));
    let (name, why) = named.unwrap_or(("", text));
    (name, why.strip_prefix("failed to call webhook: ").unwrap_or(why))
}

fn fields(conflicts: &[FieldConflict]) -> String {
    let told: Vec<String> = conflicts
        .iter()
        .map(|conflict| format!("{} is set by {}", conflict.path, conflict.manager))
        .collect();
    told.join(", ")
}

fn causes(answer: &Value) -> impl Iterator<Item = (&str, &str, String)> {
    let causes = answer.pointer("/details/causes").and_then(Value::as_array);
    causes.into_iter().flatten().map(|cause| {
        let text = |field: &str| cause.get(field).and_then(Value::as_str).unwrap_or_default();
        (text("reason"), text("message"), text("field").trim_start_matches('.').to_owned())
    })
}

/// `conflict with "kubectl-edit" using apps/v1`, one for each field.
fn field_conflicts(answer: &Value) -> Vec<FieldConflict> {
    causes(answer)
        .filter(|(reason, ..)| *reason == "FieldManagerConflict")
        .map(|(_, message, path)| {
            let manager = message.split('"').nth(1).unwrap_or(message).to_owned();
            FieldConflict { manager, path }
        })
        .collect()
}

/// The words of the API server's validation for what never changes.
fn immutable(answer: &Value) -> Vec<String> {
    const WORDS: [&str; 5] = [
        "immutable",
        "may not change",
        "may not be changed",
        "cannot change",
        "updates to statefulset spec for fields other than",
    ];
    causes(answer)
        .filter(|(_, message, _)| WORDS.iter().any(|words| message.contains(words)))
        .map(|(.., field)| field)
        .collect()
}

/// A webhook's own words in the API server's answer.
fn denied(text: &str) -> Option<(String, String)> {
    let rest = text.strip_prefix("admission webhook \"")?;
    let (webhook, rest) = rest.split_once("\" denied the request")?;
    let message = rest.strip_prefix(": ").unwrap_or(rest);
    Some((webhook.to_owned(), message.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16, causes: &Value) -> ClusterError {
        let body = serde_json::json!({"kind": "Status", "message": "no", "reason": "x", "details": {"causes": causes}});
        let status = StatusCode::from_u16(code).unwrap_or_default();
        ClusterError::from_answer("s", "Deployment shop/web", status, None, body.to_string().as_bytes())
    }

    #[test]
    fn conflicts_name_manager_and_field() {
        let causes = serde_json::json!([{"reason": "FieldManagerConflict", "message": "conflict with \"kubectl-edit\" using apps/v1", "field": ".spec.replicas"}]);
        let error = answer(409, &causes);
        assert_eq!(error.to_string(), "Deployment shop/web: spec.replicas is set by kubectl-edit");
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }

    #[test]
    fn what_cannot_be_changed_is_told_apart() {
        let causes = serde_json::json!([{"reason": "FieldValueInvalid", "message": "Invalid value: x: field is immutable", "field": "spec.selector"}]);
        assert!(
            matches!(answer(422, &causes), ClusterError::Immutable { fields, .. } if fields == ["spec.selector"])
        );
        let causes = serde_json::json!([{"reason": "FieldValueInvalid", "message": "must be positive", "field": "spec.replicas"}]);
        assert!(matches!(answer(422, &causes), ClusterError::Invalid { .. }));
    }

    #[test]
    fn a_broken_server_may_be_asked_again() {
        assert!(answer(500, &Value::Null).is_passing() && answer(429, &Value::Null).is_passing());
        assert!(!answer(404, &Value::Null).is_passing() && !answer(401, &Value::Null).is_passing());
    }

    #[test]
    fn fields_that_a_kind_does_not_have_are_no_broken_server() {
        let body = br#"{"message": "failed to create typed patch object (shop/web; /v1, Kind=ConfigMap): .dato: field not declared in schema"}"#;
        let error = ClusterError::from_answer(
            "s",
            "ConfigMap shop/web",
            StatusCode::INTERNAL_SERVER_ERROR,
            None,
            body,
        );
        assert_eq!((error.kind(), error.is_passing()), (ErrorKind::Invalid, false));
    }

    #[test]
    fn a_webhook_that_does_not_answer_is_named() {
        let body = br#"{"kind":"Status","message":"Internal error occurred: failed calling webhook \"own.kubectl-gitops.dev\": failed to call webhook: Post \"https://x/validate?timeout=3s\": connection refused","code":500,"reason":"InternalError"}"#;
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let error = ClusterError::from_answer("s", "Application shop/web", status, None, body);
        assert_eq!((error.kind(), error.is_passing()), (ErrorKind::Webhook, true));
        assert_eq!(
            error.to_string(),
            "Application shop/web: the admission webhook own.kubectl-gitops.dev does not answer: Post \"https://x/validate?timeout=3s\": connection refused"
        );
    }

    #[test]
    fn a_denial_keeps_the_webhooks_words() {
        let body = br#"{"kind":"Status","message":"admission webhook \"validate.kubectl-gitops.dev\" denied the request: Deployment shop/web is kept\n  field: x","code":403,"reason":"Forbidden"}"#;
        let error = ClusterError::from_answer("s", "Deployment shop/web", StatusCode::FORBIDDEN, None, body);
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert_eq!(error.to_string(), "Deployment shop/web is kept\n  field: x");
    }
}
