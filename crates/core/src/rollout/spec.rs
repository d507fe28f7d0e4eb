//! What a Rollout says, ready to be used: durations in seconds, templates
//! resolved to rules. Its conversion from the custom resource lives where the
//! resource does.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::object::{Gvk, ObjectKey};
use crate::path::Path;

/// One Rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The workload.
    pub target: ObjectKey,
    pub strategy: Strategy,
    pub traffic: Traffic,
    /// Analysis in the background, from the first step to the last.
    pub analysis: Vec<Rule>,
    /// Seconds without any progress after which it is aborted.
    pub progress_deadline: i64,
    /// Seconds after which it is aborted wherever it stands, pauses included.
    pub total_deadline: i64,
    pub on_failure: OnFailure,
}

/// Who gets the new version, and when.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Strategy {
    Canary(Vec<Step>),
    Rolling {
        /// Percentages of all replicas.
        batches: Vec<u8>,
        /// After each batch.
        analysis: Vec<Rule>,
    },
    Recreate {
        /// While nothing runs.
        before: Vec<Rule>,
        after: Vec<Rule>,
    },
    BlueGreen {
        active_service: String,
        preview_service: Option<String>,
        preview_replicas: Size,
        auto_promote: bool,
        /// Before requests go to the new version.
        before: Vec<Rule>,
        /// While all of them do, and the old version can still take over.
        after: Vec<Rule>,
        /// Seconds.
        scale_down_delay: i64,
    },
}

/// A number of replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Size {
    Percent(u8),
    Count(u32),
}

/// One step of a canary.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Step {
    /// Percent of the requests.
    SetWeight(u8),
    /// Percent of the replicas; by default as many as the weight.
    SetScale(u8),
    SetHeader(Header),
    /// Percent of the requests that are sent to both.
    SetMirror(u8),
    Analysis(Vec<Rule>),
    /// Seconds; none: until someone promotes it.
    Pause(Option<i64>),
}

/// Requests that always go to the new version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub name: String,
    pub value: String,
}

/// How requests are divided.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Traffic {
    pub stable_service: Option<String>,
    pub canary_service: Option<String>,
    pub routes: Vec<Route>,
    /// The field of a kind that has a weight of its own.
    pub weight_path: Option<Path>,
}

/// A Gateway API route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Route {
    /// `HTTPRoute` or `GRPCRoute`.
    pub kind: String,
    pub name: String,
}

/// How often a metric is measured and what it takes to fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Template and metric, such as `errors/rate`.
    pub name: String,
    /// Seconds.
    pub interval: i64,
    pub count: u32,
    /// Failures beyond this many fail the analysis.
    pub failure_limit: u32,
    pub inconclusive_limit: u32,
    /// A measurement on fewer samples says nothing.
    pub min_samples: u64,
}

/// What becomes of Git after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFailure {
    Revert,
    Branch,
    Hold,
}

/// By what means versions are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// A second workload; requests follow the number of Pods.
    Replicas,
    /// A second workload; requests follow Services and routes.
    Routes,
    /// A StatefulSet's own partition.
    Partition,
    /// A weight field of the target.
    Field,
    /// The target alone, through zero.
    Alone,
}

impl Spec {
    /// By what means this Rollout keeps versions apart.
    pub fn means(&self) -> Means {
        let stateful = self.target.group == "apps" && self.target.kind == "StatefulSet";
        match self.strategy {
            Strategy::Recreate { .. } => Means::Alone,
            Strategy::BlueGreen { .. } => Means::Routes,
            _ if self.traffic.weight_path.is_some() => Means::Field,
            _ if stateful => Means::Partition,
            _ if self.traffic.canary_service.is_some() => Means::Routes,
            _ => Means::Replicas,
        }
    }

    /// The name of the second workload.
    pub fn second(&self) -> ObjectKey {
        ObjectKey { name: format!("{}-canary", self.target.name), ..self.target.clone() }
    }

    /// An object of the target's namespace.
    pub fn beside(&self, group: &str, kind: &str, name: &str) -> ObjectKey {
        ObjectKey {
            group: group.to_owned(),
            kind: kind.to_owned(),
            namespace: self.target.namespace.clone(),
            name: name.to_owned(),
        }
    }

    /// Of the second workload's Pods, as their label says.
    pub fn track(&self) -> &'static str {
        if matches!(self.strategy, Strategy::BlueGreen { .. }) { "preview" } else { "canary" }
    }

    /// The Service that must reach the old version alone while both run.
    pub fn stable_service(&self) -> Option<&str> {
        match &self.strategy {
            Strategy::BlueGreen { active_service, .. } => Some(active_service),
            _ => self.traffic.stable_service.as_deref(),
        }
    }

    /// The Service that reaches the new version alone.
    pub fn new_service(&self) -> Option<&str> {
        match &self.strategy {
            Strategy::BlueGreen { preview_service, .. } => preview_service.as_deref(),
            _ => self.traffic.canary_service.as_deref(),
        }
    }

    /// A digest of how it goes; steps counted under one say nothing under
    /// another.
    pub fn digest(&self) -> String {
        let told = serde_json::json!([self.target, self.strategy, self.traffic]).to_string();
        hex::encode(Sha256::digest(told))[..10].to_owned()
    }

    /// Whether the second workload would be of this kind.
    pub fn has_second(&self) -> bool {
        matches!(self.means(), Means::Replicas | Means::Routes)
    }

    /// The label by which Kubernetes tells the target's versions apart.
    pub fn version_label(&self) -> &'static str {
        if self.target.kind == "StatefulSet" { "controller-revision-hash" } else { "pod-template-hash" }
    }
}

/// The part of the target that makes a version: its pod template, or the whole
/// spec of a kind with a weight field.
pub fn versioned(means: Means) -> &'static str {
    if means == Means::Field { "/spec" } else { "/spec/template" }
}

/// A Deployment's or StatefulSet's kind.
pub fn is_workload(gvk: &Gvk) -> bool {
    gvk.group == "apps" && matches!(gvk.kind.as_str(), "Deployment" | "StatefulSet")
}
