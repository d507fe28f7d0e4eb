//! Every manifest of docs/strategies.md, from a push to its promotion.

use std::path::Path;

use gitops_tests::cluster::webhook_cluster;
use gitops_tests::gateway;
use serde_json::{Value, json};

use crate::Stage;

/// The blocks of YAML, each as its objects; what takes minutes takes a second.
fn blocks() -> Vec<Vec<Value>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/strategies.md");
    let text = std::fs::read_to_string(file).unwrap();
    let blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks
        .map(|block| {
            let documents = gitops_source::yaml::documents("docs/strategies.md", block).unwrap();
            documents.into_iter().map(|document| quick(document.value)).collect()
        })
        .collect()
}

fn quick(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                if matches!(key.as_str(), "duration" | "scaleDownDelay" | "interval") {
                    *inner = "1s".into();
                } else {
                    *inner = quick(inner.take());
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = quick(item.take())),
        _ => {}
    }
    value
}

/// A stage for what a block says, pushed and promoted.
fn runs(mut objects: Vec<Value>) {
    let rollout = objects.remove(0);
    let kind = match rollout["spec"]["target"]["kind"].as_str().unwrap() {
        "StatefulSet" => "StatefulSet",
        "InferenceService" => "InferenceService",
        _ => "Deployment",
    };
    let stage = Stage::of(kind, &rollout["spec"], &objects);
    let commit = stage.push("web:2");
    stage.eventually("it is promoted", |stage| {
        let status = stage.rollout()["status"].clone();
        if status["phase"] == "Paused" && status["message"].as_str().unwrap_or_default().contains("promotes")
        {
            stage.ask("promote", json!({})).ok();
        }
        assert!(!matches!(status["phase"].as_str(), Some("Aborting" | "Aborted")), "{status}");
        (status["phase"] == "Idle" && status["promotedRevision"] == *commit).then_some(())
    });
    if kind != "InferenceService" {
        stage.promoted(&commit, "web:2");
    }
}

fn documented(strategy: &str, kind: &str) {
    let mut found = blocks().into_iter().filter(|block| {
        let spec = &block[0]["spec"];
        spec["target"]["kind"] == kind && spec["strategy"].get(strategy).is_some()
    });
    runs(found.next().unwrap());
    found.for_each(runs);
}

#[test]
fn canaries() {
    gateway::install(webhook_cluster());
    documented("canary", "Deployment");
}

#[test]
fn blue_green() {
    documented("blueGreen", "Deployment");
}

#[test]
fn rolling() {
    documented("rolling", "Deployment");
}

#[test]
fn recreate() {
    documented("recreate", "Deployment");
}

#[test]
fn stateful_sets() {
    documented("canary", "StatefulSet");
}

#[test]
fn model_servers() {
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "inferenceservices.serving.kserve.io"}, "spec": {"group": "serving.kserve.io", "scope": "Namespaced",
            "names": {"kind": "InferenceService", "plural": "inferenceservices"}, "versions": [{"name": "v1beta1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    let cluster = webhook_cluster();
    cluster.kubectl_stdin("apply --server-side -f -", &definition.to_string()).ok();
    cluster
        .kubectl("wait --for=condition=Established --timeout=60s crd/inferenceservices.serving.kserve.io")
        .ok();
    documented("canary", "InferenceService");
}
