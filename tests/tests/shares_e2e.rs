//! Replicas of the controller share Applications, in a cluster of their own: each
//! is synced by one, and a lost replica's are taken over.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use gitops_tests::cluster::eventually;
use gitops_tests::{Controller, NodeCluster, Repo, TestCluster};
use serde_json::json;
use tempfile::TempDir;

/// Patience with a machine that does other things as well.
const LONG: Duration = Duration::from_secs(90);
const COUNT: usize = 12;

fn config(at: usize, says: &str) -> (String, String) {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("app-{at}")}, "data": {"says": says}});
    (format!("app-{at}/config.yaml"), object.to_string())
}

fn files(says: &str) -> Vec<(String, String)> {
    (0..COUNT).map(|at| config(at, says)).collect()
}

fn commit(repo: &Repo, says: &str) {
    let files = files(says);
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    repo.commit(says, &files);
}

fn all_say(cluster: &TestCluster, says: &str) {
    eventually(&format!("all say {says}"), LONG, || {
        let path = "get configmaps -n shop -o jsonpath={.items[*].data.says}";
        let live = cluster.kubectl(path).ok().stdout;
        (live.split_whitespace().filter(|word| *word == says).count() == COUNT).then_some(())
    });
}

/// How many syncs a replica has done.
fn syncs(controller: &Controller) -> usize {
    let metrics = controller.get("/metrics").unwrap();
    let line = metrics.lines().find(|line| line.starts_with("gitops_syncs_total{result=\"ok\"}"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn replicas_share_applications_and_take_over_from_a_lost_one() {
    let node = NodeCluster::control_plane("shares");
    let cluster = &node.cluster;
    let initial = files("one");
    let initial: Vec<_> = initial.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let repo = Repo::with(&initial);
    cluster.kubectl("create namespace shop").ok();
    let project = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Project", "metadata": {"name": "shop"}, "spec": {
        "applicationNamespaces": ["shop"], "repositories": [{"url": "file:///**"}], "destinations": [{"namespaces": ["shop"]}]}});
    cluster.kubectl_stdin("apply -f -", &project.to_string()).ok();
    let cache = TempDir::new().unwrap();
    let first = Controller::replica(cluster, "first", &cache.path().join("first"));
    let second = Controller::replica(cluster, "second", &cache.path().join("second"));
    let shared = || {
        [&first, &second].iter().all(|one| {
            one.log().contains("{\\\"first\\\", \\\"second\\\"}")
                || one.log().contains("\"first\", \"second\"")
        })
    };
    eventually("they know of each other", LONG, || shared().then_some(()));
    for at in 0..COUNT {
        let application = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": format!("app-{at}"), "namespace": "shop"},
            "spec": {"project": "shop", "source": {"repo": repo.url(), "revision": "main", "path": format!("app-{at}")}, "sync": {"mode": "Automatic"}}});
        cluster.kubectl_stdin("apply -f -", &application.to_string()).ok();
    }
    all_say(cluster, "one");
    commit(&repo, "two");
    all_say(cluster, "two");
    eventually("every sync is counted, each once", LONG, || {
        let (one, other) = (syncs(&first), syncs(&second));
        assert!(one + other <= 2 * COUNT, "{one} and {other} syncs of {COUNT} Applications at two commits");
        (one + other == 2 * COUNT).then_some(())
    });
    assert!(syncs(&first) > 0 && syncs(&second) > 0, "both have a share");

    let before = syncs(&second);
    first.kill();
    commit(&repo, "three");
    let lost = Instant::now();
    all_say(cluster, "three");
    // A Lease lives for ten seconds; the rest is for a machine that does other
    // things as well.
    assert!(lost.elapsed() < Duration::from_secs(45), "taken over after {:?}", lost.elapsed());
    eventually("all are synced by the other one", LONG, || (syncs(&second) == before + COUNT).then_some(()));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(syncs(&second), before + COUNT, "each once");
    let list = cluster.kubectl("get applications -n shop -o json").ok().json();
    for one in list["items"].as_array().unwrap() {
        let history = one["status"]["history"].as_array().unwrap();
        let revisions: BTreeSet<String> = history.iter().map(|entry| entry["revision"].to_string()).collect();
        assert_eq!((history.len(), revisions.len()), (3, 3), "{history:?}");
    }
    // One that comes back takes its share again.
    let first = Controller::replica(cluster, "first", &cache.path().join("first"));
    second.stop();
    commit(&repo, "four");
    all_say(cluster, "four");
    drop(first);
}
