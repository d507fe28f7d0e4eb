//! Waves, hooks, options and safety of a sync on the real API server.
#![allow(clippy::unwrap_used, reason = "tests")]

mod elsewhere;
mod fields;
mod interrupted;
mod lease;
mod options;
mod phases;

use gitops_tests::FakeNode;
use serde_json::{Value, json};

fn object(kind: &str, name: &str, annotations: &Value, rest: &Value) -> String {
    let api = match kind {
        "Job" => "batch/v1",
        "Deployment" => "apps/v1",
        _ => "v1",
    };
    let mut object =
        json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "annotations": annotations}});
    for (field, value) in rest.as_object().unwrap() {
        object[field] = value.clone();
    }
    object.to_string()
}

fn config(name: &str, annotations: &Value) -> String {
    object("ConfigMap", name, annotations, &json!({"data": {"a": "1"}}))
}

/// A Job that ends well on this node, or, without one, fails after a second.
fn job(name: &str, annotations: &Value, node: Option<&FakeNode>) -> String {
    let mut pod = node.map_or_else(|| json!({"nodeSelector": {"none": "such"}}), FakeNode::placement);
    pod["restartPolicy"] = "Never".into();
    pod["containers"] = json!([{"name": "run", "image": "run:1"}]);
    let mut spec = json!({"template": {"spec": pod}, "backoffLimit": 0});
    if node.is_none() {
        spec["activeDeadlineSeconds"] = 1.into();
    }
    object("Job", name, annotations, &json!({"spec": spec}))
}

fn wave(number: i32) -> Value {
    json!({"argocd.argoproj.io/sync-wave": number.to_string()})
}

fn hook(phase: &str) -> Value {
    json!({"argocd.argoproj.io/hook": phase})
}
