//! AnalysisTemplate: how a new version is measured.

mod fill;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::application::NameRef;

pub use fill::{FillError, VERSIONS, fill};

/// Metrics by which a version is judged.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "kubectl-gitops.dev",
    version = "v1alpha1",
    kind = "AnalysisTemplate",
    namespaced,
    doc = "Metrics by which a new version is judged. Those in gitops-system are usable everywhere.",
    category = "gitops",
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("self.metrics.size() > 0").message("at least one metric is needed"))]
pub struct AnalysisTemplateSpec {
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub args: Vec<Argument>,
    #[schemars(length(max = 50))]
    pub metrics: Vec<Metric>,
}

/// A value that whoever uses the template gives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Argument {
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// One measurement, repeated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("[has(self.prometheus), has(self.http), has(self.job), has(self.kubernetes)].filter(x, x).size() == 1").message("exactly one of prometheus, http, job and kubernetes is needed"))]
#[x_kube(validation = Rule::new("has(self.success) || has(self.job) || has(self.kubernetes) || (has(self.prometheus) && has(self.prometheus.baselineQuery))").message("a condition is needed: success"))]
pub struct Metric {
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    #[serde(default = "thirty_seconds")]
    #[schemars(length(max = 32))]
    pub interval: String,
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10000))]
    pub count: i32,
    #[serde(default)]
    #[schemars(range(min = 0, max = 10000))]
    pub failure_limit: i32,
    #[serde(default)]
    #[schemars(range(min = 0, max = 10000))]
    pub inconclusive_limit: i32,
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub min_samples: i32,
    /// CEL on `result`; with a baseline also on `baseline` and `worse`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub success: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<Prometheus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobMetric>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesMetric>,
}

impl Metric {
    /// The texts that arguments are put in; a Job's template is none.
    pub fn texts(&mut self) -> Vec<&mut String> {
        let mut all: Vec<&mut String> = self.success.iter_mut().collect();
        if let Some(prometheus) = &mut self.prometheus {
            all.extend([&mut prometheus.address, &mut prometheus.query]);
            all.extend(&mut prometheus.baseline_query);
        }
        if let Some(http) = &mut self.http {
            all.extend([&mut http.url, &mut http.json_path]);
        }
        all
    }
}

fn thirty_seconds() -> String {
    "30s".into()
}

fn one() -> i32 {
    1
}

/// A query to Prometheus.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prometheus {
    #[schemars(length(min = 1, max = 2048))]
    pub address: String,
    #[schemars(length(min = 1, max = 8192))]
    pub query: String,
    /// The same for the old version: compared by Mann-Whitney at 0.95.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub baseline_query: Option<String>,
    /// In which direction the new version's samples may not differ.
    #[serde(default)]
    pub worse: Worse,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
}

/// How an address is asked that does not let everybody in, or whose certificate
/// is of an authority of one's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("!has(self.caBundle) || !has(self.caConfigMapRef)").message("caBundle and caConfigMapRef exclude each other"))]
pub struct Access {
    /// A Secret of the Rollout's namespace with the label
    /// kubectl-gitops.dev/secret-type: analysis. It holds address, the only one
    /// that it is sent to; token, or username and password, or header and value;
    /// perhaps ca.crt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<NameRef>,
    /// Certificates (PEM) that are trusted instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub ca_bundle: Option<String>,
    /// A ConfigMap of the Rollout's namespace that holds them as ca.crt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_config_map_ref: Option<NameRef>,
}

/// Which samples are the worse ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Worse {
    /// As of errors and durations.
    #[default]
    Higher,
    /// As of requests that went well.
    Lower,
}

/// A JSON document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Http {
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    #[schemars(length(min = 1, max = 1024))]
    pub json_path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
}

/// A Job that succeeds or fails.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobMetric {
    #[schemars(schema_with = "any_object")]
    pub template: Value,
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// What Kubernetes itself knows of the pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesMetric {
    #[schemars(length(min = 1, max = 3))]
    pub signals: Vec<Signal>,
}

/// A sign of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Signal {
    Restarts,
    Readiness,
    Events,
}
