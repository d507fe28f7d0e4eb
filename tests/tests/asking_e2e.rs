//! The plugin asks the controller, in a cluster of its own: what it asks for is
//! done there, once, and followed to its end.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use gitops_tests::cluster::{Ran, eventually};
use gitops_tests::shop::CONFIG;
use gitops_tests::{Controller, NodeCluster, Repo, TestCluster};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Namespace `shop` with Application `web`, which nobody has synced.
fn shop(cluster: &TestCluster, repo: &Repo) {
    cluster.kubectl("create namespace shop").ok();
    let project = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Project", "metadata": {"name": "shop"}, "spec": {
        "applicationNamespaces": ["shop"], "repositories": [{"url": "file:///**"}], "destinations": [{"namespaces": ["shop"]}]}});
    cluster.kubectl_stdin("apply -f -", &project.to_string()).ok();
    let flags = format!("--repo {} --revision main --path app --project shop", repo.url());
    gitops(cluster, &format!("app create web {flags}")).ok();
}

fn gitops(cluster: &TestCluster, arguments: &str) -> Ran {
    cluster.gitops(Path::new("/"), &format!("{arguments} -n shop"))
}

fn application(cluster: &TestCluster) -> Value {
    cluster.kubectl("get application web -n shop -o json").ok().json()
}

/// The Lease of a replica that was killed at this time.
fn lease(cluster: &TestCluster, renewed: &str) {
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "gitops-controller-one", "namespace": "gitops-system"},
        "spec": {"holderIdentity": "one", "leaseDurationSeconds": 10, "renewTime": renewed}});
    cluster.kubectl_stdin("apply --server-side --force-conflicts -f -", &lease.to_string()).ok();
}

#[test]
fn the_controller_is_asked_where_one_runs() {
    let node = NodeCluster::control_plane("asking");
    let (cluster, repo) = (&node.cluster, Repo::with(&[("app/config.yaml", CONFIG)]));
    shop(cluster, &repo);
    let request = "kubectl-gitops.dev/request";

    // Where none runs, nothing is asked, and a sync is done from here.
    lease(cluster, "2026-01-01T00:00:00.000000Z");
    let ran = gitops(cluster, "app suspend web").code(6);
    assert!(ran.stderr.contains("no controller runs"), "{}", ran.stderr);
    gitops(cluster, "sync web").ok();
    assert_eq!(application(cluster)["metadata"]["annotations"][request], Value::Null);

    let cache = TempDir::new().unwrap();
    let controller = Controller::replica(cluster, "two", cache.path());
    eventually("its Lease is there", Duration::from_secs(30), || {
        let lease = cluster.kubectl("get lease gitops-controller-two -n gitops-system");
        (lease.code == 0).then_some(())
    });
    repo.commit("Goodbye", &[("app/config.yaml", &CONFIG.replace("hello", "goodbye"))]);
    let synced = gitops(cluster, "sync web --reason INC-12").ok();
    assert!(synced.stdout.contains("synced by the controller"), "{}", synced.stdout);
    let live = cluster.kubectl("get configmap web -n shop -o jsonpath={.data.greeting}").ok().stdout;
    assert_eq!(live, "goodbye");
    let asked = application(cluster)["metadata"]["annotations"][request].as_str().unwrap().to_owned();
    let asked: Value = serde_json::from_str(&asked).unwrap();
    assert_eq!((&asked["verb"], &asked["reason"]), (&json!("sync"), &json!("INC-12")));
    assert_eq!(application(cluster)["status"]["operation"]["id"], asked["id"]);

    // A suspended one is left as it is, until it is resumed.
    gitops(cluster, "app suspend web --reason INC-12").ok();
    repo.commit("Again", &[("app/config.yaml", &CONFIG.replace("hello", "again"))]);
    let refused = gitops(cluster, "sync web");
    assert_ne!(refused.code, 0, "{}", refused.stdout);
    assert!(refused.stdout.contains("INC-12"), "{}", refused.stdout);
    gitops(cluster, "app resume --all").ok();
    gitops(cluster, "sync web -o json").ok();
    // What is not for the controller is done from here.
    repo.commit("Once more", &[("app/config.yaml", &CONFIG.replace("hello", "once more"))]);
    let local = gitops(cluster, "sync web --kind ConfigMap").ok();
    assert!(local.stderr.contains("--kind is not for the controller"), "{}", local.stderr);

    // One that has ended leaves nobody asking in vain.
    controller.stop();
    let ran = gitops(cluster, "app suspend web").code(6);
    assert!(ran.stderr.contains("no controller runs"), "{}", ran.stderr);
}
