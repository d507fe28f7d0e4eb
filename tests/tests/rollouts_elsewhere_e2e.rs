//! Rollouts of an Application that goes to another cluster: the plugin finds
//! them there by the context of the hub, and the hub's controller drives them.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use gitops_tests::cluster::eventually;
use gitops_tests::hub::far;
use gitops_tests::{Controller, FakeNode, Hub, Repo};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Patience with a machine that does other things as well.
const LONG: Duration = Duration::from_secs(120);

fn web(node: &FakeNode, image: &str) -> String {
    let mut pod = node.placement();
    pod["containers"] = json!([{"name": "web", "image": image}]);
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
        "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod}}})
    .to_string()
}

#[test]
fn a_rollout_is_found_where_its_application_goes() {
    let (hub, east) = (Hub::up(), far("east"));
    let node = FakeNode::start(&east.cluster, "east-node");
    let rollout = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"}, "spec": {
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "strategy": {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}}, "onFailure": "Hold"}});
    let files = [("web/web.yaml", web(&node, "web:1")), ("web/rollout.yaml", rollout.to_string())];
    let repo = Repo::with(&files.each_ref().map(|(path, text)| (*path, text.as_str())));
    hub.register("east", &east.cluster);
    hub.send("web", "east", &repo, "web", &json!({}));
    let cache = TempDir::new().unwrap();
    let controller = Controller::replica(hub.cluster(), "one", cache.path());
    let run = |arguments: &str| hub.cluster().gitops(Path::new("/"), &format!("rollout {arguments} -n shop"));
    let stands = |what: &str| {
        eventually(what, LONG, || {
            let seen = run("get web").stdout;
            seen.contains(what).then_some(seen)
        })
    };
    stands("phase:    Idle");
    // Whoever syncs there drives its Rollouts meanwhile.
    let holds = |who: Value| {
        let lease =
            json!({"spec": {"holderIdentity": who, "renewTime": format!("{:.6}", jiff::Timestamp::now())}});
        let patch =
            ["patch", "lease", "gitops-sync-web", "-n", "shop", "--type=merge", "-p", &lease.to_string()];
        east.cluster.kubectl_args(&patch).ok();
    };
    holds("somebody".into());
    repo.commit("Second", &[("web/web.yaml", &web(&node, "web:2"))]);
    std::thread::sleep(Duration::from_secs(5));
    stands("phase:    Idle");
    holds(Value::Null);
    let seen = stands("phase:    Paused");
    assert!(seen.contains("web:2"), "{seen}\n{}", controller.log());
    run("status web --watch=false").code(8);
    let restarted = run("restart web").ok().stdout;
    assert!(restarted.contains("web-canary") && restarted.contains("restarted"), "{restarted}");
    let promoted = run("promote web --reason tried --wait").ok();
    assert!(promoted.stdout.contains("promote"), "{promoted:?}");
    let history = run("history web").ok().stdout;
    assert!(history.contains("promoted") && history.contains("Second"), "{history}");
    let missing = run("get other").code(3);
    assert!(missing.stderr.contains("Rollout shop/other is not there"), "{missing:?}");
}
