//! Applications that leave another cluster while something else goes on: the
//! controller starts anew, the hub is another one, the cluster is removed.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use gitops_tests::cluster::eventually;
use gitops_tests::hub::{condition, config, contexts, far, greeting, greets};
use gitops_tests::{Controller, Hub, Repo, TestCluster};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Patience with a machine that does other things as well.
const LONG: Duration = Duration::from_secs(120);
const HUB_UID: &str = "kubectl-gitops.dev/hub-uid";
const PRUNE: &str = "kubectl-gitops.dev/prune";

struct Stage {
    hub: Hub,
    east: TestCluster,
    /// Contexts of both; the hub is the current one.
    user: TestCluster,
    repo: Repo,
    folder: TempDir,
}

impl Stage {
    /// What forgets everything when it ends, as in a pod.
    fn controller(&self, cache: &str) -> Controller {
        Controller::replica(self.hub.cluster(), "one", &self.folder.path().join(cache))
    }
}

fn patch(cluster: &TestCluster, what: &str, patch: &Value) {
    let patch = patch.to_string();
    let mut all = vec!["patch", "-n", "shop", "--type=merge", "-p", &patch];
    all.extend(what.split_whitespace());
    cluster.kubectl_args(&all).ok();
}

fn get(cluster: &TestCluster, what: &str) -> Option<Value> {
    let ran = cluster.kubectl(&format!("get {what} -n shop -o json"));
    (ran.code == 0).then(|| ran.json())
}

fn delete(cluster: &TestCluster, what: &str) {
    cluster.kubectl(&format!("delete {what} -n shop --wait=false")).ok();
}

fn with(text: &str, metadata: &Value) -> String {
    let mut object: Value = serde_json::from_str(text).unwrap();
    object["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
    object.to_string()
}

fn hook(name: &str, phase: &str) -> String {
    with(&config(name, "ran"), &json!({"annotations": {"argocd.argoproj.io/hook": phase}}))
}

#[test]
fn what_leaves_another_cluster_leaves_it_as_a_whole() {
    let (hub, east) = (Hub::up(), far("east"));
    let folder = TempDir::new().unwrap();
    let user = contexts(&[("hub", hub.cluster()), ("east", &east.cluster)], &folder.path().join("contexts"));
    let held = with(&config("going", "hello"), &json!({"finalizers": ["example.com/hold"]}));
    let repo = Repo::with(&[
        ("going/config.yaml", &held),
        ("going/pre.yaml", &hook("pre", "PreDelete")),
        ("going/post.yaml", &hook("post", "PostDelete")),
        ("web/config.yaml", &config("web", "hello")),
    ]);
    hub.register("east", &east.cluster);
    let cluster = TestCluster::at(east.cluster.kubeconfig().to_owned());
    let stage = Stage { hub, east: cluster, user, repo, folder };
    its_last_hooks_run_though_the_controller_starts_anew(&stage);
    one_of_a_hub_that_is_gone_is_declared_again(&stage);
    a_cluster_is_removed_while_something_leaves_it(&stage);
}

fn its_last_hooks_run_though_the_controller_starts_anew(stage: &Stage) {
    let controller = stage.controller("first");
    stage.hub.send("going", "east", &stage.repo, "going", &json!({}));
    stage.hub.says("going", "Synced");
    patch(stage.hub.cluster(), "application going", &json!({"metadata": {"finalizers": [PRUNE]}}));
    delete(stage.hub.cluster(), "application going");
    let its_objects_go = || {
        eventually("its objects go", LONG, || {
            (condition(&stage.hub.status("going"), "Deleting")["reason"] == "Objects").then_some(())
        });
    };
    its_objects_go();
    assert_eq!([greeting(&stage.east, "pre"), greeting(&stage.east, "post")], ["ran", ""]);
    let mirror = get(&stage.east, "application going").unwrap();
    assert!(mirror["metadata"]["deletionTimestamp"].is_string(), "it waits for its hub: {mirror}");
    controller.kill();
    patch(&stage.east, "configmap going", &json!({"metadata": {"finalizers": null}}));
    eventually("everything is gone", LONG, || get(&stage.east, "configmap going").is_none().then_some(()));
    delete(&stage.east, "configmap pre");
    // In a pod of its own: what the first one has noted is gone with it.
    let controller = stage.controller("second");
    eventually("the Application is gone", LONG, || {
        get(stage.hub.cluster(), "application going").is_none().then_some(())
    });
    assert_eq!([greeting(&stage.east, "pre"), greeting(&stage.east, "post")], ["", "ran"]);
    assert!(get(&stage.east, "application going").is_none(), "its mirror is gone as well");
    controller.stop();
}

/// A mirror that goes, of a hub that was rebuilt, does not go on going.
fn one_of_a_hub_that_is_gone_is_declared_again(stage: &Stage) {
    let controller = stage.controller("third");
    stage.hub.send("web", "east", &stage.repo, "web", &json!({}));
    greets(&stage.east, "web", "hello");
    stage.hub.says("web", "Synced");
    controller.stop();
    let before = get(&stage.east, "application web").unwrap();
    let metadata = json!({"annotations": {HUB_UID: "a hub that is gone"}, "finalizers": [PRUNE]});
    patch(&stage.east, "application web", &json!({"metadata": metadata}));
    delete(&stage.east, "application web");
    assert!(get(&stage.east, "application web").is_some(), "it waits for its hub");
    let _controller = stage.controller("fourth");
    eventually("it is made anew, by this hub", LONG, || {
        let live = get(&stage.east, "application web")?;
        let metadata = &live["metadata"];
        (metadata["annotations"][HUB_UID] == before["metadata"]["annotations"][HUB_UID]
            && metadata["deletionTimestamp"].is_null())
        .then_some(())
    });
    stage.hub.says("web", "Synced");
}

/// The mirror waits for a hub that knows the cluster no longer.
fn a_cluster_is_removed_while_something_leaves_it(stage: &Stage) {
    let mirror = get(&stage.east, "application web").unwrap();
    let make = |name: &str, finalizers: Value| {
        let mut other = mirror.clone();
        other["metadata"] = json!({"name": name, "namespace": "shop", "labels": mirror["metadata"]["labels"],
            "annotations": {HUB_UID: "a hub that is gone"}, "finalizers": finalizers});
        stage.east.kubectl_stdin("create -f -", &other.to_string()).ok();
    };
    make("leaving", json!([PRUNE]));
    delete(&stage.east, "application leaving");
    make("waiting", json!([PRUNE]));
    make("held", json!([PRUNE, "example.com/hold"]));
    let removed = stage.user.gitops(Path::new("/"), "cluster remove east --force -o json").ok();
    let report: Value = serde_json::from_str(&removed.stdout).unwrap();
    let names = |field: &str| -> Vec<&str> {
        let listed = report[field].as_array().into_iter().flatten();
        listed.filter(|one| one["kind"] == "Application").map(|one| one["name"].as_str().unwrap()).collect()
    };
    assert_eq!(names("taken"), ["leaving", "waiting", "web"], "{report}");
    assert_eq!(names("left"), ["held"], "{report}");
    assert!(removed.stderr.contains("Application shop/held is deleted there"), "{}", removed.stderr);
    assert!(removed.stderr.contains("example.com/hold"), "{}", removed.stderr);
    let left = stage.east.kubectl("get applications -n shop -o name").ok().stdout;
    assert_eq!(left.trim(), "application.kubectl-gitops.dev/held");
    assert_eq!(greeting(&stage.east, "web"), "hello", "what was brought there stays");
}
