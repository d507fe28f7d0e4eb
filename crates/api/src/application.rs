//! Application: one or more sources, a destination, and how it is kept. The
//! same YAML is `gitops.yaml` in a repository.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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

/// A repository, a revision and a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// URL of the repository. In `gitops.yaml`, absent: the one it lies in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub repo: Option<String>,
    /// Branch, tag or commit.
    #[serde(default = "head")]
    #[schemars(length(min = 1, max = 256))]
    pub revision: String,
    /// Folder in the repository.
    #[serde(default = "here")]
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,
    /// What the folder holds.
    #[serde(default, rename = "type")]
    pub kind: SourceType,
    /// A name by which other sources refer to this one, as in
    /// `$name/values.yaml`. With it and without path, type or options, the
    /// source itself is not rendered.
    #[serde(default, rename = "ref", skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub reference: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain: Option<Plain>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kustomize: Option<Kustomize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm: Option<Helm>,
    /// A Secret in the Application's namespace: username and password, token,
    /// or sshPrivateKey and knownHosts; caBundle; age, for SOPS files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<NameRef>,
}

impl Default for Source {
    fn default() -> Self {
        Self {
            repo: None,
            revision: head(),
            path: here(),
            kind: SourceType::Auto,
            reference: String::new(),
            plain: None,
            kustomize: None,
            helm: None,
            secret_ref: None,
        }
    }
}

impl Source {
    /// Whether it is a commit of a repository, no chart or artifact of a registry.
    pub fn is_git(&self) -> bool {
        let chart = self.helm.as_ref().is_some_and(|helm| !helm.chart.is_empty());
        let registry = self.repo.as_ref().is_some_and(|repo| repo.starts_with("oci://"));
        !chart && !registry && self.kind != SourceType::Oci
    }

    /// Whether it is only there for others to refer to.
    pub fn is_reference(&self) -> bool {
        let plain = Self {
            repo: self.repo.clone(),
            revision: self.revision.clone(),
            reference: self.reference.clone(),
            secret_ref: self.secret_ref.clone(),
            ..Self::default()
        };
        !self.reference.is_empty() && *self == plain
    }
}

fn head() -> String {
    "HEAD".into()
}

fn here() -> String {
    ".".into()
}

/// What a folder holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SourceType {
    /// Chart.yaml, kustomization.yaml, else plain; both is an error.
    #[default]
    Auto,
    Plain,
    Kustomize,
    Helm,
    Jsonnet,
    #[serde(rename = "OCI")]
    Oci,
}

/// Which files of a plain folder count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plain {
    #[serde(default = "yes")]
    pub recurse: bool,
    /// Globs on paths below the folder; empty: all.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub include: Vec<String>,
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub exclude: Vec<String>,
}

fn yes() -> bool {
    true
}

/// What is put on top of a kustomization.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kustomize {
    /// `name=new:tag`.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub images: Vec<String>,
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub components: Vec<String>,
    /// Let kustomizations inflate charts (`helmCharts`), of the repository or of
    /// chart repositories and registries that the Project takes.
    #[serde(default)]
    pub enable_helm: bool,
}

/// What a chart is rendered with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Helm {
    /// A chart of the chart repository or registry that `repo` names (https://
    /// or oci://), instead of a folder.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub chart: String,
    /// Of the chart: `1.2.3`, a range such as `^1.2`, either with
    /// `@sha256:...` behind it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Empty: the Application's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 53))]
    pub release_name: String,
    /// Paths from the chart's folder, with a leading / from the repository's
    /// root, or as `$ref/path` from the root of another source.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub value_files: Vec<String>,
    #[serde(default)]
    #[schemars(schema_with = "any_object")]
    pub values: Value,
    #[serde(default)]
    pub set: BTreeMap<String, String>,
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
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
pub struct Destination {
    #[serde(default = "default_destination_cluster")]
    #[schemars(length(min = 1, max = 253))]
    pub cluster: String,
    /// Of objects that name none. Absent: the Application's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub namespace: String,
    #[serde(default)]
    pub create_namespace: bool,
}

impl Default for Destination {
    fn default() -> Self {
        Self { cluster: default_destination_cluster(), namespace: String::new(), create_namespace: false }
    }
}

/// The cluster that the Application is in.
pub(crate) fn default_destination_cluster() -> String {
    "in-cluster".into()
}

/// How an Application is brought to the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SyncPolicy {
    #[serde(default)]
    pub mode: SyncMode,
    /// Delete what an earlier commit declared and the newest does not.
    #[serde(default)]
    pub prune: bool,
    #[serde(default = "yes")]
    pub self_heal: bool,
    #[serde(default)]
    pub prune_budget: PruneBudget,
    #[serde(default)]
    pub retry: Retry,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub windows: Vec<Window>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub options: Vec<String>,
}

impl Default for SyncPolicy {
    fn default() -> Self {
        Self {
            mode: SyncMode::Manual,
            prune: false,
            self_heal: true,
            prune_budget: PruneBudget::default(),
            retry: Retry::default(),
            windows: Vec::new(),
            options: Vec::new(),
        }
    }
}

/// Who starts a sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SyncMode {
    #[default]
    Manual,
    Automatic,
}

/// How much one sync may delete before a person has to confirm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PruneBudget {
    #[serde(default = "twenty")]
    #[schemars(range(min = 0))]
    pub count: i32,
    #[serde(default = "thirty")]
    #[schemars(range(min = 0, max = 100))]
    pub percent: i32,
}

impl Default for PruneBudget {
    fn default() -> Self {
        Self { count: twenty(), percent: thirty() }
    }
}

fn twenty() -> i32 {
    20
}

fn thirty() -> i32 {
    30
}

/// How often and how fast a failed sync is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retry {
    #[serde(default = "five")]
    #[schemars(range(min = 0, max = 1000))]
    pub limit: i32,
    #[serde(default = "five_seconds")]
    #[schemars(length(max = 32))]
    pub backoff: String,
    #[serde(default = "three_minutes")]
    #[schemars(length(max = 32))]
    pub max: String,
}

impl Default for Retry {
    fn default() -> Self {
        Self { limit: five(), backoff: five_seconds(), max: three_minutes() }
    }
}

fn five() -> i32 {
    5
}

fn five_seconds() -> String {
    "5s".into()
}

fn three_minutes() -> String {
    "3m".into()
}

/// When automatic syncs may run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Window {
    pub kind: WindowKind,
    /// Cron expression of its beginning.
    #[schemars(length(min = 1, max = 128))]
    pub schedule: String,
    #[schemars(length(min = 1, max = 32))]
    pub duration: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub time_zone: String,
}

/// Whether a window lets syncs through or keeps them out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WindowKind {
    #[default]
    Allow,
    Deny,
}

/// How an Application is held to Git.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Enforcement {
    #[serde(default)]
    pub mode: EnforcementMode,
    #[serde(default)]
    pub untracked: UntrackedMode,
    #[serde(default)]
    pub interactive: InteractiveMode,
    #[serde(default)]
    pub custom_kinds: CustomKinds,
    /// Fields that others may set, between bounds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub delegate: Vec<Delegation>,
}

/// The least that a Project asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnforcementFloor {
    #[serde(default)]
    pub mode: EnforcementMode,
    #[serde(default)]
    pub untracked: UntrackedMode,
    #[serde(default)]
    pub interactive: InteractiveMode,
    #[serde(default)]
    pub custom_kinds: CustomKinds,
}

/// What becomes of a write that Git does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EnforcementMode {
    #[default]
    Enforce,
    Warn,
    Audit,
    Off,
}

/// What becomes of objects that nobody declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UntrackedMode {
    #[default]
    Allow,
    Warn,
    Deny,
}

/// What becomes of exec, attach, port-forward and debugging.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum InteractiveMode {
    Allow,
    #[default]
    Warn,
    Deny,
}

/// Whether custom kinds are held to what Git declares, or closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CustomKinds {
    #[default]
    Declared,
    Closed,
}

/// A field that others may set, between bounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("!has(self.min) || !has(self.max) || self.min <= self.max").message("min is more than max"))]
pub struct Delegation {
    #[serde(default)]
    pub group: String,
    #[schemars(length(min = 1, max = 253))]
    pub kind: String,
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
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
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub path: String,
    /// A field manager whose fields do not count.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub manager: String,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Rendered, Synced, Healthy, Enforced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The newest commit that could be rendered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Synced, OutOfSync or Unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<String>,
    /// Healthy, Progressing, Degraded, Suspended, Missing or Unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<ObjectCounts>,
    /// Kinds declared, as `apps/v1 Deployment`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
    /// The last 20 syncs, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationStatus>,
}

/// How many objects there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectCounts {
    #[serde(default)]
    pub total: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_sync: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy: Option<i32>,
}

/// One sync of the past.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    pub revision: String,
    /// RFC 3339.
    pub time: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// The sync that runs or ran last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationStatus {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub phase: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
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
    /// Fields of the spec that are set and not carried out yet: a command or
    /// the webhook refuses them by name instead of passing them over.
    pub fn not_carried_out(&self) -> Vec<&'static str> {
        let spec = &self.spec;
        let mut found = Vec::new();
        let mut note = |set: bool, path: &'static str| {
            if set {
                found.push(path);
            }
        };
        note(spec.ignore.iter().any(|rule| !rule.manager.is_empty()), "spec.ignore[].manager");
        note(spec.destination.cluster != default_destination_cluster(), "spec.destination.cluster");
        found
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn application(spec: Value) -> Application {
        Application::new("a", serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn what_is_not_carried_out_is_named() {
        let plain = application(serde_json::json!({"source": {"repo": "https://h/x", "path": "a"}}));
        assert!(plain.not_carried_out().is_empty());
        let more = application(
            serde_json::json!({"source": {"repo": "https://h/x", "type": "Jsonnet"}, "destination": {"cluster": "far"}}),
        );
        assert_eq!(more.not_carried_out(), ["spec.destination.cluster"]);
    }

    #[test]
    fn a_source_that_is_only_referred_to_is_told_apart() {
        let source = |value: Value| serde_json::from_value::<Source>(value).unwrap();
        assert!(
            source(serde_json::json!({"repo": "https://h/x", "revision": "v1", "ref": "base"}))
                .is_reference()
        );
        assert!(!source(serde_json::json!({"ref": "base", "path": "apps"})).is_reference());
        assert!(!source(serde_json::json!({"repo": "https://h/x"})).is_reference());
    }

    #[test]
    fn unknown_fields_are_refused() {
        let error = serde_json::from_value::<ApplicationSpec>(serde_json::json!({"sourse": {}})).unwrap_err();
        assert!(error.to_string().contains("unknown field `sourse`"), "{error}");
    }
}
