//! Override: break-glass, for a scope, some users and at most four hours.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// Lets some users past the verdict, for a while.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "kubectl-gitops.dev",
    version = "v1alpha1",
    kind = "Override",
    doc = "Break-glass: lets some users past the verdict, in a scope and for at most four hours.",
    category = "gitops",
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".spec.reason"}"#,
    printcolumn = r#"{"name":"Expires","type":"string","jsonPath":".spec.expiresAt"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.namespaces == oldSelf.namespaces && self.kinds == oldSelf.kinds && self.names == oldSelf.names && self.users == oldSelf.users && self.reason == oldSelf.reason").message("an Override cannot be changed, but for an earlier expiresAt"),
    validation = Rule::new("timestamp(self.expiresAt) <= timestamp(oldSelf.expiresAt)").message("expiresAt can only become earlier")
)]
pub struct OverrideSpec {
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(max = 63)))]
    pub namespaces: Vec<String>,
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(max = 253)))]
    pub kinds: Vec<String>,
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(max = 253)))]
    pub names: Vec<String>,
    /// Empty: whoever made it, as the mutator stamps it.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(max = 253)))]
    pub users: Vec<String>,
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// RFC 3339, at most four hours ahead.
    #[schemars(length(min = 20, max = 40), extend("format" = "date-time"))]
    pub expires_at: String,
}
