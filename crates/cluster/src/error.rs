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
    Other,
}

/// An error of this crate.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("kubeconfig: {0}")]
    Configuration(String),
    #[error("{server} cannot be reached: {reason}")]
    Unreachable { server: String, reason: String },
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
    #[error("{what}: {message}")]
    Invalid { what: String, message: String },
    #[error("{what}: no answer in time")]
    Timeout { what: String },
    #[error("{what}: the API server is busy: {message}")]
    Busy { what: String, message: String, retry_after: Option<u64> },
    #[error("{what}: {message}")]
    Other { what: String, message: String },
}

impl ClusterError {
    /// What the error is about.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Configuration(_) => ErrorKind::Configuration,
            Self::Unreachable { .. } => ErrorKind::Unreachable,
            Self::Unauthorized { .. } => ErrorKind::Unauthorized,
            Self::Forbidden { .. } => ErrorKind::Forbidden,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Denied { .. } => ErrorKind::Denied,
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Busy { .. } => ErrorKind::Busy,
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
        let reason = answer.get("reason").and_then(Value::as_str).unwrap_or("");
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
            StatusCode::CONFLICT if reason != "AlreadyExists" => Self::Conflict { what, message: text },
            StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST => {
                Self::Invalid { what, message: text }
            }
            StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => Self::Timeout { what },
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Self::Busy { what, message: text, retry_after }
            }
            StatusCode::INTERNAL_SERVER_ERROR if text.contains("failed calling webhook") => {
                Self::Busy { what, message: text, retry_after: None }
            }
            _ => Self::Other { what, message: text },
        }
    }
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

    #[test]
    fn a_denial_keeps_the_webhooks_words() {
        let body = br#"{"kind":"Status","message":"admission webhook \"validate.kubectl-gitops.dev\" denied the request: Deployment shop/web is kept\n  field: x","code":403,"reason":"Forbidden"}"#;
        let error = ClusterError::from_answer("s", "Deployment shop/web", StatusCode::FORBIDDEN, None, body);
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert_eq!(error.to_string(), "Deployment shop/web is kept\n  field: x");
    }
}
