//! What is lost is rebuilt from Git alone: a cluster that Applications go to,
//! and the hub itself.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use gitops_tests::cluster::eventually;
use gitops_tests::hub::{config, contexts, far, greets, project};
use gitops_tests::{Controller, Hub, NodeCluster, Repo, TestCluster};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Patience with a machine that does other things as well.
const LONG: Duration = Duration::from_secs(120);

/// The Application that goes to east, as the root Application declares it.
fn child(repo: &Repo) -> String {
    json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"project": "shop", "source": {"repo": repo.url(), "revision": "main", "path": "web"},
            "destination": {"cluster": "east", "namespace": "shop"}, "sync": {"mode": "Automatic"}}})
    .to_string()
}

fn mirror(cluster: &TestCluster) -> Option<Value> {
    let ran = cluster.kubectl("get application web -n shop -o json");
    (ran.code == 0).then(|| ran.json())
}

/// A hub as the chart's values and its root Application make it.
fn hub(repo: &Repo) -> Hub {
    let hub = Hub::up();
    project(
        hub.cluster(),
        &json!({"kinds": [{"group": "*", "kind": "*"}, {"group": "kubectl-gitops.dev", "kind": "Application"}]}),
    );
    hub.send("root", "in-cluster", repo, "root", &json!({}));
    hub
}

fn add(hub: &Hub, east: &NodeCluster, folder: &Path) {
    let user = contexts(&[("hub", hub.cluster()), ("kind-east", &east.cluster)], &folder.join("kubeconfig"));
    user.gitops(Path::new("/"), "cluster add kind-east --name east --namespaces shop").ok();
}

#[test]
fn a_cluster_and_then_the_hub_come_back_from_git() {
    let folder = TempDir::new().unwrap();
    let repo = Repo::with(&[("web/config.yaml", &config("web", "hello"))]);
    repo.commit("root", &[("root/web.json", &child(&repo)), ("root/config.yaml", &config("root", "hello"))]);
    let (first_hub, first_east) = (hub(&repo), far("east"));
    add(&first_hub, &first_east, folder.path());
    let controller = Controller::replica(first_hub.cluster(), "one", &folder.path().join("one"));
    greets(&first_east.cluster, "web", "hello");
    first_hub.says("web", "Synced");

    // East is lost, and an empty one comes in its place.
    drop(first_east);
    first_hub.says("web", "ClusterUnreachable");
    let east = far("east");
    add(&first_hub, &east, folder.path());
    greets(&east.cluster, "web", "hello");
    first_hub.says("web", "Synced");
    let before = eventually("it is mirrored anew", LONG, || mirror(&east.cluster));

    // The hub is lost: what it has mirrored stays until the next one declares it.
    drop(controller);
    drop(first_hub);
    repo.commit("meanwhile", &[("web/config.yaml", &config("web", "meanwhile"))]);
    let second_hub = Hub::up();
    add(&second_hub, &east, folder.path());
    let _controller = Controller::replica(second_hub.cluster(), "two", &folder.path().join("two"));
    // Several times as long as it takes to find what nobody declares.
    std::thread::sleep(Duration::from_secs(8));
    let kept = mirror(&east.cluster).unwrap();
    assert_eq!(kept["metadata"]["uid"], before["metadata"]["uid"]);
    project(
        second_hub.cluster(),
        &json!({"kinds": [{"group": "*", "kind": "*"}, {"group": "kubectl-gitops.dev", "kind": "Application"}]}),
    );
    second_hub.send("root", "in-cluster", &repo, "root", &json!({}));
    greets(&east.cluster, "web", "meanwhile");
    second_hub.says("web", "Synced");
    let adopted = mirror(&east.cluster).unwrap();
    assert_eq!(adopted["metadata"]["uid"], before["metadata"]["uid"], "the same mirror");
    let hub_uid = |mirror: &Value| mirror["metadata"]["annotations"]["kubectl-gitops.dev/hub-uid"].clone();
    assert_ne!(hub_uid(&adopted), hub_uid(&before), "it is the new hub's");
    // From then on it goes when the new hub no longer declares it.
    repo.remove("no web", &["root/web.json"]);
    second_hub.send(
        "root",
        "in-cluster",
        &repo,
        "root",
        &json!({"sync": {"mode": "Automatic", "prune": true}}),
    );
    eventually("its mirror goes with it", LONG, || mirror(&east.cluster).is_none().then_some(()));
}
