//! Application: one or more sources, a destination, and how it is kept. The
//! same YAML is `gitops.yaml` in a repository.

mod enforcement;
mod source;
mod status;
mod sync;

use gitops_core::names::IN_CLUSTER;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Deserializer, Serialize};

pub use enforcement::{
    CustomKinds, Delegation, Enforcement, EnforcementFloor, EnforcementMode, InteractiveMode, UntrackedMode,
};
pub use source::{Helm, Kustomize, Plain, Source, SourceType};
pub use status::{ApplicationStatus, HistoryEntry, ObjectCounts, OperationStatus};
pub use sync::{PruneBudget, Retry, SyncMode, SyncPolicy, Window, WindowKind};

/// What is kept in a cluster, from which repository, and how.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "kubectl-gitops.dev",
    version = "v1alpha1",
    kind = "Application",
    namespaced,
    status = "ApplicationStatus",
    doc = "One or more sources (repository, revision, path), a destination, and how it is kept.",
    category = "gitops",
    shortname = "gapp",
    validation = Rule::new("self.metadata.name.size() <= 52").message("the name of an Application has at most 52 characters"),
    printcolumn = r#"{"name":"Sync","type":"string","jsonPath":".status.sync"}"#,
    printcolumn = r#"{"name":"Health","type":"string","jsonPath":".status.health"}"#,
    printcolumn = r#"{"name":"Enforced","type":"string","jsonPath":".status.conditions[?(@.type=='Enforced')].status"}"#,
    printcolumn = r#"{"name":"Revision","type":"string","jsonPath":".status.revision","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.source) != (has(self.sources) && self.sources.size() > 0)").message("exactly one of source and sources is needed"))]
pub struct ApplicationSpec {
    /// The Project that admits it.
    #[serde(default = "default_project")]
    #[schemars(length(min = 1, max = 253))]
    pub project: String,
    /// Where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Where it comes from, if from several places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub sources: Vec<Source>,
    /// Where it goes.
    #[serde(default)]
    pub destination: Destination,
    /// How it is brought there.
    #[serde(default)]
    pub sync: SyncPolicy,
    /// How it is held there.
    #[serde(default)]
    pub enforcement: Enforcement,
    /// Rules for the health of kinds of one's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub health: Vec<HealthRule>,
    /// Differences that do not count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub ignore: Vec<IgnoreRule>,
    /// Applications that have to be healthy first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub depends_on: Vec<NameRef>,
    /// Leave it as it is.
    #[serde(default)]
    pub suspend: bool,
    /// Apply as this service account of the Application's namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub service_account_name: String,
}

fn default_project() -> String {
    "default".into()
}

fn yes() -> bool {
    true
}

/// An object of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NameRef {
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Where an Application goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("!has(self.server)").message("clusters are named, not addressed: say destination.cluster instead of server, in-cluster for https://kubernetes.default.svc"))]
pub struct Destination {
    #[serde(default = "default_destination_cluster")]
    #[schemars(length(min = 1, max = 253))]
    pub cluster: String,
    /// As Argo CD has it, a URL; refused: `cluster` names one that is registered.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "no_server")]
    #[schemars(length(max = 2048))]
    pub server: Option<String>,
    /// Of objects that name none. Absent: the Application's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub namespace: String,
    #[serde(default)]
    pub create_namespace: bool,
}

impl Default for Destination {
    fn default() -> Self {
        Self {
            cluster: default_destination_cluster(),
            server: None,
            namespace: String::new(),
            create_namespace: false,
        }
    }
}

impl Destination {
    /// Whether it is the cluster that the Application is in.
    pub fn is_here(&self) -> bool {
        self.cluster == IN_CLUSTER || self.cluster.is_empty()
    }
}

/// The cluster that the Application is in.
pub(crate) fn default_destination_cluster() -> String {
    IN_CLUSTER.into()
}

/// Says what to write instead; were it passed over, the Application would go to
/// the cluster that it is in.
fn no_server<'de, D: Deserializer<'de>>(given: D) -> Result<Option<String>, D::Error> {
    match Option::<String>::deserialize(given)? {
        None => Ok(None),
        Some(url) => Err(serde::de::Error::custom(format!(
            "clusters are named, not addressed: say destination.cluster instead of destination.server {url}, \
             {IN_CLUSTER} for https://kubernetes.default.svc"
        ))),
    }
}

/// Health of a kind, as a CEL expression.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthRule {
    #[serde(default)]
    pub group: String,
    #[schemars(length(min = 1, max = 253))]
    pub kind: String,
    #[schemars(length(min = 1, max = 4096))]
    pub cel: String,
}

/// Differences that do not count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IgnoreRule {
    #[serde(default)]
    pub group: String,
    #[schemars(length(min = 1, max = 253))]
    pub kind: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Written as `spec.containers[name=app].image`, as a JSON pointer, or as jq
    /// does: `.spec.containers[] | select(.name == "app") | .image`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub path: String,
    /// A field manager whose fields do not count, at or beneath the path if there
    /// is one. Whoever writes calls themselves what they like: this opens the
    /// fields to all who use the name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128))]
    pub manager: String,
}

impl ApplicationSpec {
    /// `source`, or `sources`, in their order.
    pub fn all_sources(&self) -> Vec<&Source> {
        self.source.iter().chain(&self.sources).collect()
    }

    /// The name of the field that holds a source, by its place.
    pub fn source_path(&self, index: usize) -> String {
        if self.source.is_some() { "spec.source".into() } else { format!("spec.sources[{index}]") }
    }
}

impl Application {
    /// Whether it goes to the cluster that it is in.
    pub fn is_here(&self) -> bool {
        self.spec.destination.is_here()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_named_not_addressed() {
        let spec = |destination: serde_json::Value| {
            let spec = serde_json::json!({"source": {"repo": "https://h/x"}, "destination": destination});
            serde_json::from_value::<ApplicationSpec>(spec)
        };
        let refused = spec(serde_json::json!({"server": "https://kubernetes.default.svc"})).unwrap_err();
        assert!(refused.to_string().contains("destination.cluster"), "{refused}");
        let named = spec(serde_json::json!({"cluster": "east", "server": null})).unwrap();
        assert_eq!(named.destination.cluster, "east");
        assert!(!serde_json::to_string(&named).unwrap().contains("server"));
    }

    #[test]
    fn unknown_fields_are_refused() {
        let error = serde_json::from_value::<ApplicationSpec>(serde_json::json!({"sourse": {}})).unwrap_err();
        assert!(error.to_string().contains("unknown field `sourse`"), "{error}");
    }
}
