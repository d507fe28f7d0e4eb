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

/// What the tests below run, by strategy and kind.
const RUN: [(&str, &str); 6] = [
    ("canary", "Deployment"),
    ("blueGreen", "Deployment"),
    ("rolling", "Deployment"),
    ("recreate", "Deployment"),
    ("canary", "StatefulSet"),
    ("canary", "InferenceService"),
];

fn is_of(block: &[Value], (strategy, kind): (&str, &str)) -> bool {
    let spec = &block[0]["spec"];
    spec["target"]["kind"] == kind && spec["strategy"].get(strategy).is_some()
}

fn documented(strategy: &str, kind: &str) {
    assert!(RUN.contains(&(strategy, kind)));
    let mut found = blocks().into_iter().filter(|block| is_of(block, (strategy, kind)));
    runs(found.next().unwrap());
    found.for_each(runs);
}

#[test]
fn no_block_is_passed_over() {
    let blocks = blocks();
    let left = blocks.iter().find(|block| !RUN.iter().any(|pair| is_of(block, *pair)));
    assert!(left.is_none(), "no test runs {left:?}");
    assert!(RUN.iter().all(|pair| blocks.iter().any(|block| is_of(block, *pair))));
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
    crate::fields::inference_services();
    documented("canary", "InferenceService");
}
