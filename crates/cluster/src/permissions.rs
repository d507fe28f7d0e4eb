//! What the user may do, as the API server itself says.

use http::{Method, header};
use serde_json::{Value, json};

use crate::error::ClusterError;
use crate::transport::{Call, Cluster};

/// A verb on a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access<'a> {
    pub verb: &'a str,
    pub group: &'a str,
    /// Such as `deployments`.
    pub resource: &'a str,
    /// Such as `log`; empty: none.
    pub subresource: &'a str,
    /// Empty: everywhere.
    pub namespace: &'a str,
}

impl Cluster {
    /// Whether this user may do that (SelfSubjectAccessReview).
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn may(&self, access: &Access<'_>) -> Result<bool, ClusterError> {
        let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": {
            "verb": access.verb, "group": access.group, "resource": access.resource, "subresource": access.subresource, "namespace": access.namespace}}});
        let headers = [(header::CONTENT_TYPE, "application/json".to_owned())];
        let call = Call {
            method: Method::POST,
            path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".into(),
            headers: &headers,
            body: body.to_string().into_bytes(),
            what: "asking what you may do",
        };
        let answer = self.ask(call).await?;
        let review: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        Ok(review.pointer("/status/allowed") == Some(&Value::Bool(true)))
    }

    /// The time by the API server's own clock (RFC 3339), which it stamps on
    /// what is created.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn clock(&self) -> Result<String, ClusterError> {
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let headers = [(header::CONTENT_TYPE, "application/json".to_owned())];
        let call = Call {
            method: Method::POST,
            path: "/apis/authentication.k8s.io/v1/selfsubjectreviews".into(),
            headers: &headers,
            body: body.to_string().into_bytes(),
            what: "asking for the time",
        };
        let answer = self.ask(call).await?;
        let review: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let stamp = review.pointer("/metadata/creationTimestamp").and_then(Value::as_str);
        Ok(stamp.unwrap_or_default().to_owned())
    }
}
