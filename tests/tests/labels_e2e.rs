//! Labels by which a Pod's version is told: given at admission and to Pods that
//! run already, refused to everybody else. Fake nodes run the Pods.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use gitops_tests::cluster::eventually;
use gitops_tests::shop::CONFIG;
use gitops_tests::{Controller, FakeNode, Shop};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(90);

fn key(name: &str) -> String {
    format!("kubectl-gitops.dev/{name}")
}

/// A workload of two Pods on a fake node.
fn workload(node: &FakeNode, kind: &str, image: &str) -> String {
    let mut pod = node.placement();
    pod["containers"] = json!([{"name": "web", "image": image}]);
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": pod});
    let mut spec = json!({"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    if kind == "StatefulSet" {
        spec["serviceName"] = json!("web");
        spec["podManagementPolicy"] = json!("Parallel");
    }
    if kind == "DaemonSet" {
        spec.as_object_mut().unwrap().remove("replicas");
    }
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web"}, "spec": spec}).to_string()
}

fn pods(shop: &Shop) -> Vec<Value> {
    let list = shop.kubectl("get pods -l app=web -o json").ok().json();
    let going = |pod: &&Value| pod.pointer("/metadata/deletionTimestamp").is_none();
    list["items"].as_array().unwrap().iter().filter(going).cloned().collect()
}

fn label(pod: &Value, name: &str) -> String {
    pod["metadata"]["labels"][key(name)].as_str().unwrap_or_default().to_owned()
}

/// Application, track, revision and hash of all Pods, when all of them say the
/// same.
fn told(shop: &Shop, count: usize) -> Option<[String; 4]> {
    let all: Vec<[String; 4]> = pods(shop)
        .iter()
        .map(|pod| ["application", "track", "revision", "rollout-hash"].map(|name| label(pod, name)))
        .collect();
    let first = all.first()?.clone();
    (all.len() == count && all.iter().all(|one| *one == first)).then_some(first)
}

fn short(commit: &str) -> String {
    commit.chars().take(12).collect()
}

#[test]
fn pods_tell_their_version_at_admission() {
    for (kind, count) in [("Deployment", 2), ("StatefulSet", 2), ("DaemonSet", 1)] {
        let shop = Shop::unheld(&[("app/config.yaml", CONFIG)]);
        let node = FakeNode::start(shop.cluster, &format!("node-{}", shop.name()));
        let first = shop.repo.commit("1", &[("app/web.yaml", &workload(&node, kind, "web:1"))]);
        shop.hold(json!({}));
        shop.sync().ok();
        let [application, track, revision, hash] =
            eventually("all Pods say the same", LONG, || told(&shop, count));
        assert_eq!(
            (application.as_str(), track.as_str(), revision),
            ("web", "stable", short(&first)),
            "{kind}"
        );
        assert_eq!(hash.len(), 10, "{kind}");
        let template =
            shop.kubectl(&format!("get {kind} web -o jsonpath={{.spec.template.metadata.labels}}"));
        assert_eq!(template.ok().stdout, r#"{"app":"web"}"#, "no template changes for it");

        let second = shop.repo.commit("2", &[("app/web.yaml", &workload(&node, kind, "web:2"))]);
        eventually("the sync is let in", LONG, || (shop.sync().code == 0).then_some(()));
        eventually("all Pods are of the second commit", LONG, || {
            let [_, track, revision, other] = told(&shop, count)?;
            (track == "stable" && revision == short(&second) && other.len() == 10 && other != hash)
                .then_some(())
        });
    }
}

#[test]
fn nobody_says_of_a_pod_what_it_is_not() {
    let shop = Shop::unheld(&[("app/config.yaml", CONFIG)]);
    let node = FakeNode::start(shop.cluster, &format!("node-{}", shop.name()));
    shop.repo.commit("1", &[("app/web.yaml", &workload(&node, "Deployment", "web:1"))]);
    shop.hold(json!({}));
    shop.sync().ok();
    let before = eventually("all Pods say the same", LONG, || told(&shop, 2));
    let pod = pods(&shop)[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let set = |labels: &str| shop.kubectl(&format!("label --overwrite pod {pod} {labels}"));
    for (name, value) in [
        ("track", "canary"),
        ("application", "other"),
        ("revision", "0123456789ab"),
        ("rollout-hash", "0123456789"),
    ] {
        set(&format!("{}={value}", key(name))).refused(&[&key(name), "leave these labels to kubectl-gitops"]);
        set(&format!("{}-", key(name))).refused(&[&key(name)]);
    }
    set("team=a").ok();
    assert_eq!(told(&shop, 2), Some(before.clone()));

    // A Pod that its ReplicaSet makes is never refused for what the mutating side
    // gave it; one that somebody makes with a wrong track is.
    let mut copy = pods(&shop)[0].clone();
    copy["metadata"] = json!({"generateName": "web-", "ownerReferences": copy["metadata"]["ownerReferences"], "labels": copy["metadata"]["labels"]});
    copy["metadata"]["labels"][key("track")] = json!("canary");
    copy.as_object_mut().unwrap().remove("status");
    copy["spec"].as_object_mut().unwrap().remove("nodeName");
    // The mutating side sets it right before anybody judges.
    let made = shop.kubectl_stdin("create -f - -o json", &copy.to_string());
    if made.code == 0 {
        assert_eq!(label(&made.json(), "track"), "stable");
    }
}

#[test]
fn pods_that_run_already_are_labelled_without_a_restart() {
    let shop = Shop::unheld(&[("app/config.yaml", CONFIG)]);
    let node = FakeNode::start(shop.cluster, &format!("node-{}", shop.name()));
    for kind in ["Deployment", "StatefulSet"] {
        let web = workload(&node, kind, "web:1");
        shop.kubectl_stdin("apply --server-side -f -", &web).ok();
        shop.kubectl(&format!("rollout status {kind} web --timeout=90s")).ok();
        let before: Vec<Value> = pods(&shop).iter().map(|pod| pod["metadata"]["uid"].clone()).collect();
        assert_eq!(told(&shop, 2), Some(Default::default()), "nothing is labelled yet");

        let commit = shop.repo.commit(kind, &[("app/web.yaml", &web)]);
        if kind == "Deployment" {
            shop.hold(json!({"sync": {"mode": "Automatic", "prune": true}}));
        }
        let cache = tempfile::tempdir().unwrap();
        let controller = Controller::start(shop.cluster, shop.name(), cache.path());
        let [application, track, revision, hash] = eventually("all Pods are labelled", LONG, || {
            told(&shop, 2).filter(|told| !told[3].is_empty()).or_else(|| {
                assert!(!controller.log().contains("panicked"), "{}", controller.log());
                None
            })
        });
        assert_eq!((application.as_str(), track.as_str(), hash.len()), ("web", "stable", 10), "{kind}");
        assert_eq!(revision, short(&commit), "{kind}");
        let after: Vec<Value> = pods(&shop).iter().map(|pod| pod["metadata"]["uid"].clone()).collect();
        assert_eq!(before, after, "nothing restarts");
        // For the next kind.
        controller.stop();
        shop.hold_off();
        eventually("nothing is held any more", LONG, || {
            (shop.kubectl(&format!("delete {kind} web --cascade=foreground")).code == 0).then_some(())
        });
        eventually("its Pods are gone", LONG, || pods(&shop).is_empty().then_some(()));
    }
}
