//! Rollouts on a real node: real Pods answer real requests while versions
//! change, each strategy with a version that works and one that does not.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod images;
mod stage;

use std::process::Command;
use std::sync::Mutex;

use gitops_tests::NodeCluster;
use serde_json::{Value, json};
use tempfile::TempDir;

use stage::{Case, Stage};

/// Stages side by side: each waits most of its time.
const LANES: usize = 3;

fn has_node() -> bool {
    let user = Command::new("id").arg("-u").output().unwrap();
    std::env::consts::OS == "linux" && String::from_utf8_lossy(&user.stdout).trim() == "0"
}

/// The longest ones first.
fn cases() -> Vec<Case> {
    let services = json!({"stableService": "web", "canaryService": "web-new"});
    let canary = json!({"canary": {"steps": [{"setWeight": 34}, {"pause": {"duration": "5s"}}]}});
    let blue_green =
        json!({"blueGreen": {"activeService": "web", "previewService": "web-new", "scaleDownDelay": "3s"}});
    let case = |name: &'static str, kind: &'static str, rollout: Value| Case { name, kind, rollout };
    vec![
        case("stateful-blue-green", "StatefulSet", json!({"strategy": blue_green})),
        case("stateful", "StatefulSet", json!({"strategy": canary})),
        case("recreate", "Deployment", json!({"strategy": {"recreate": {}}})),
        case("by-replicas", "Deployment", json!({"strategy": canary})),
        case("blue-green", "Deployment", json!({"strategy": blue_green})),
        case("by-services", "Deployment", json!({"strategy": canary, "traffic": services})),
        case("rolling", "Deployment", json!({"strategy": {"rolling": {"batches": [34, 100]}}})),
    ]
}

#[test]
fn requests_are_answered_while_versions_change() {
    if !has_node() {
        eprintln!("skipped: a node needs Linux and root");
        return;
    }
    let node = NodeCluster::up("rollout");
    images::load(&node, TempDir::new().unwrap().path());
    let definitions = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/gitops/templates/crds");
    node.cluster.kubectl(&format!("apply --server-side -f {definitions}")).ok();
    let cases = Mutex::new(cases().into_iter());
    let next = || cases.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some(case) = next() {
                    let stage = Stage::new(&node.cluster, case);
                    stage.promotes();
                    stage.goes_back();
                    stage.ends();
                }
            });
        }
    });
}
