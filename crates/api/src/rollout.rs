//! Rollout: how one workload changes its version.

mod convert;
mod mistakes;
mod status;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use convert::RolloutError;
pub use status::{End, Measurement, RolloutStatus};

/// How one workload changes its version.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "kubectl-gitops.dev",
    version = "v1alpha1",
    kind = "Rollout",
    namespaced,
    status = "RolloutStatus",
    doc = "How one workload changes its version.",
    category = "gitops",
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Step","type":"integer","jsonPath":".status.step"}"#,
    printcolumn = r#"{"name":"Weight","type":"integer","jsonPath":".status.weight"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("!has(self.traffic) || !has(self.traffic.weightPath) || !has(self.traffic.routes) || self.traffic.routes.size() == 0").message("weightPath and routes exclude each other"))]
pub struct RolloutSpec {
    pub target: Target,
    pub strategy: Strategy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// Analysis in the background.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<Analysis>,
    #[serde(default)]
    pub deadlines: Deadlines,
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// The workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    #[schemars(length(min = 1, max = 253))]
    pub api_version: String,
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Exactly one way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("[has(self.canary), has(self.rolling), has(self.recreate), has(self.blueGreen)].filter(x, x).size() == 1").message("exactly one strategy is needed"))]
pub struct Strategy {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolling: Option<Rolling>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recreate: Option<Recreate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blue_green: Option<BlueGreen>,
}

/// Step by step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Canary {
    #[schemars(length(min = 1, max = 100))]
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("[has(self.setWeight), has(self.setScale), has(self.setHeader), has(self.setMirror), has(self.analysis), has(self.pause)].filter(x, x).size() == 1").message("a step does exactly one thing"))]
pub struct Step {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub set_weight: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub set_scale: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_header: Option<Header>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub set_mirror: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<Analysis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
}

/// Requests that go to the new version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Header {
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// For a while, or until it is promoted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pause {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub duration: Option<String>,
}

/// Templates that judge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Analysis {
    #[serde(default)]
    #[schemars(length(max = 20))]
    pub templates: Vec<TemplateRef>,
}

/// An AnalysisTemplate, with its arguments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TemplateRef {
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub args: Vec<crate::analysis::Argument>,
}

/// Batches, analysis between.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("self.batches.all(x, x > 0 && x <= 100)").message("batches are percentages"))]
pub struct Rolling {
    #[schemars(length(min = 1, max = 100))]
    pub batches: Vec<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<Analysis>,
}

/// To zero, gate, up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Recreate {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Analysis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Analysis>,
}

/// A second one beside the first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlueGreen {
    #[schemars(length(min = 1, max = 63))]
    pub active_service: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub preview_service: Option<String>,
    /// A number or a percentage.
    #[serde(default = "all")]
    #[schemars(length(max = 16))]
    pub preview_replicas: String,
    #[serde(default = "yes")]
    pub auto_promote: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Analysis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Analysis>,
    #[serde(default = "thirty_seconds")]
    #[schemars(length(max = 32))]
    pub scale_down_delay: String,
}

fn all() -> String {
    "100%".into()
}

fn yes() -> bool {
    true
}

fn thirty_seconds() -> String {
    "30s".into()
}

/// Who gets which requests. Absent: by replicas.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Traffic {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_service: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_service: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub routes: Vec<Route>,
    /// The field of a kind that has a weight of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_path: Option<String>,
}

/// A Gateway API route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    pub kind: RouteKind,
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Kinds of routes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RouteKind {
    #[default]
    HTTPRoute,
    GRPCRoute,
}

/// How long it may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Deadlines {
    #[serde(default = "ten_minutes")]
    #[schemars(length(max = 32))]
    pub progress: String,
    #[serde(default = "two_hours")]
    #[schemars(length(max = 32))]
    pub total: String,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { progress: ten_minutes(), total: two_hours() }
    }
}

fn ten_minutes() -> String {
    "10m".into()
}

fn two_hours() -> String {
    "2h".into()
}

/// What becomes of Git after a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    #[default]
    Revert,
    Branch,
    Hold,
}
