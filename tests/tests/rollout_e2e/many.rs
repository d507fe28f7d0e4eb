//! Many at once: every step of every Rollout comes soon after the one before.

use std::time::{Duration, Instant};

use gitops_tests::fake_node::FakeNode;
use gitops_tests::shop::CONFIG;
use gitops_tests::{Controller, Shop};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Two hundred in `make soak`; by default as many as take little time.
fn many() -> usize {
    std::env::var("GITOPS_TEST_ROLLOUTS").ok().and_then(|count| count.parse().ok()).unwrap_or(60)
}

/// What all of it may take on a machine that does other things as well.
const LONG: Duration = Duration::from_secs(300);
/// A version that is at rest is not written to.
const IDLE: Duration = Duration::from_secs(5);

fn objects(node: &FakeNode, image: &str) -> String {
    let one = |number: usize| {
        let (name, mut pod) = (format!("web-{number}"), node.placement());
        pod["containers"] = json!([{"name": "web", "image": image}]);
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod}}});
        let rollout = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": name}, "spec": {
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "strategy": {"canary": {"steps": [{"setWeight": 50}, {"pause": {"duration": "1s"}}]}}, "onFailure": "Hold"}});
        format!("---\n{deployment}\n---\n{rollout}\n")
    };
    (0..many()).map(one).collect()
}

/// How many Rollouts stand at rest with this version promoted.
fn done(shop: &Shop, commit: &str) -> usize {
    let all = shop.kubectl("get rollouts -o json").ok().json();
    let items = all["items"].as_array().cloned().unwrap_or_default();
    let is_done = |rollout: &&Value| {
        rollout["status"]["phase"] == "Idle" && rollout["status"]["promotedRevision"] == *commit
    };
    items.iter().filter(is_done).count()
}

fn until_done(shop: &Shop, commit: &str, controller: &Controller) {
    let begun = Instant::now();
    loop {
        let count = done(shop, commit);
        if count == many() {
            return;
        }
        let log = controller.log();
        let last = log.lines().last().unwrap_or_default();
        assert!(begun.elapsed() < LONG, "{count} are done; {last}");
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// A write of anybody but Kubernetes itself, as the API server's audit log has it.
fn writes(shop: &Shop) -> usize {
    let log = shop.cluster.kubeconfig().parent().unwrap().join("logs/audit.log");
    let text = std::fs::read_to_string(log).unwrap();
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let is_one = |event: &Value| {
        let verb = event["verb"].as_str().unwrap_or_default();
        event["objectRef"]["namespace"] == shop.name()
            && event["objectRef"]["apiGroup"] == "kubectl-gitops.dev"
            && ["create", "update", "patch", "delete"].contains(&verb)
    };
    events.filter(is_one).count()
}

#[test]
fn many_go_side_by_side_and_rest_without_a_write() {
    let shop = Shop::unheld(&[("app/config.yaml", CONFIG)]);
    let node = FakeNode::start(shop.cluster, &format!("node-{}", shop.name()));
    shop.repo.commit("first", &[("app/all.yaml", &objects(&node, "web:1"))]);
    // As in a repository of many: the first version is promoted at a commit that
    // touches nothing of it.
    let first = shop.repo.commit("beside", &[("other/note", "x")]);
    shop.hold(
        json!({"sync": {"mode": "Automatic", "prune": true, "pruneBudget": {"count": 1000, "percent": 100}}}),
    );
    let cache = TempDir::with_prefix("gitops-controller-").unwrap();
    let controller = Controller::start(shop.cluster, shop.name(), cache.path());
    until_done(&shop, &first, &controller);
    let commit = shop.repo.commit("second", &[("app/all.yaml", &objects(&node, "web:2"))]);
    until_done(&shop, &commit, &controller);
    let images =
        shop.kubectl("get deployments -o jsonpath={.items[*].spec.template.spec.containers[0].image}").ok();
    let images: Vec<&str> = images.stdout.split_whitespace().filter(|image| *image == "web:2").collect();
    assert_eq!(images.len(), many());
    shop.wait_for("Healthy", "True");
    shop.wait_for("Synced", "True");
    let before = writes(&shop);
    // Whatever makes it look again.
    shop.kubectl("annotate deployment web-0 example.com/seen=now").ok();
    std::thread::sleep(IDLE);
    assert_eq!(writes(&shop), before, "{}", controller.log());
}
