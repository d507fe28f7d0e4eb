//! Who may import whom. In: the workspace as `cargo metadata` sees it. Out: a
//! failure that names every import that the design forbids.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};

/// Workspace crates that each crate may import. One that is not listed here
/// may not exist: a new crate is a decision.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("gitops-core", &[]),
    ("gitops-api", &["gitops-core"]),
    ("gitops-source", &["gitops-core"]),
    ("gitops-cluster", &["gitops-core", "gitops-api"]),
    ("gitops-engine", &["gitops-core", "gitops-api", "gitops-source", "gitops-cluster"]),
    ("kubectl-gitops", LIBRARIES),
    ("gitops-webhook", LIBRARIES),
    ("gitops-controller", LIBRARIES),
    ("gitops-test-cluster", &[]),
    ("gitops-tests", &["*"]),
];
const LIBRARIES: &[&str] = &["gitops-core", "gitops-api", "gitops-source", "gitops-cluster", "gitops-engine"];

/// What core may not reach by any way: it has no I/O, no clock and no async.
const NOT_IN_CORE: &[&str] = &[
    "kube",
    "kube-client",
    "kube-core",
    "k8s-openapi",
    "tokio",
    "gix",
    "axum",
    "clap",
    "reqwest",
    "hyper",
    "jiff",
    "chrono",
];

/// Every broken rule in `metadata`, the output of `cargo metadata`.
fn violations(metadata: &Value) -> Vec<String> {
    let members: BTreeSet<&str> =
        metadata["workspace_members"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    let packages: BTreeMap<&str, &Value> =
        metadata["packages"].as_array().unwrap().iter().map(|p| (p["id"].as_str().unwrap(), p)).collect();
    let name = |id: &str| packages[id]["name"].as_str().unwrap().to_owned();
    let names: BTreeSet<String> = members.iter().map(|id| name(id)).collect();
    let mut found = Vec::new();
    for member in &names {
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(crate_name, _)| crate_name == member) else {
            found.push(format!("{member} has no import rule"));
            continue;
        };
        let package = packages.values().find(|p| p["name"] == json!(member)).unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let dependency = dependency["name"].as_str().unwrap();
            if names.contains(dependency) && !allowed.contains(&"*") && !allowed.contains(&dependency) {
                found.push(format!("{member} may not import {dependency}"));
            }
        }
    }
    found.extend(impure(metadata, &packages));
    found
}

/// Forbidden crates that core reaches through its normal dependencies.
fn impure(metadata: &Value, packages: &BTreeMap<&str, &Value>) -> Vec<String> {
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| (n["id"].as_str().unwrap(), n))
        .collect();
    let core = packages.iter().find(|(_, p)| p["name"] == json!("gitops-core")).map(|(id, _)| *id).unwrap();
    let (mut todo, mut seen, mut found) = (vec![core], BTreeSet::new(), Vec::new());
    while let Some(id) = todo.pop() {
        if !seen.insert(id) {
            continue;
        }
        let name = packages[id]["name"].as_str().unwrap();
        if NOT_IN_CORE.contains(&name) {
            found.push(format!("gitops-core reaches {name}"));
        }
        for dependency in nodes[id]["deps"].as_array().unwrap() {
            let normal = dependency["dep_kinds"].as_array().unwrap().iter().any(|k| k["kind"].is_null());
            if normal {
                todo.push(dependency["pkg"].as_str().unwrap());
            }
        }
    }
    found
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_workspace_keeps_the_import_rules() {
    let found = violations(&metadata());
    assert!(found.is_empty(), "broken import rules:\n  {}", found.join("\n  "));
}

#[test]
fn a_broken_rule_is_found() {
    let mut metadata = metadata();
    for package in metadata["packages"].as_array_mut().unwrap() {
        if package["name"] == json!("gitops-core") {
            package["dependencies"].as_array_mut().unwrap().push(json!({"name": "gitops-api"}));
        }
    }
    assert_eq!(violations(&metadata), ["gitops-core may not import gitops-api"]);
}

#[test]
fn a_clock_in_core_is_found() {
    let mut metadata = metadata();
    let tokio =
        metadata["packages"].as_array().unwrap().iter().find(|p| p["name"] == json!("tokio")).unwrap()["id"]
            .clone();
    let core =
        metadata["packages"].as_array().unwrap().iter().find(|p| p["name"] == json!("gitops-core")).unwrap()
            ["id"]
            .clone();
    for node in metadata["resolve"]["nodes"].as_array_mut().unwrap() {
        if node["id"] == core {
            node["deps"].as_array_mut().unwrap().push(json!({"pkg": tokio, "dep_kinds": [{"kind": null}]}));
        }
    }
    assert!(violations(&metadata).contains(&"gitops-core reaches tokio".to_owned()));
}
