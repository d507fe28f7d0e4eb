//! What Kubernetes itself knows, and Jobs.

use std::time::Duration;

use gitops_cluster::ConnectOptions;
use gitops_core::rollout::analysis::{Outcome, Scope};
use gitops_core::rollout::state::Held;
use gitops_engine::analysis::Measurement;
use gitops_tests::cluster::eventually;
// Our definitions are there.
use gitops_tests::{FakeNode, Namespace, webhook_cluster as cluster};
use serde_json::{Value, json};

use super::{Case, now};

pub fn live() -> ConnectOptions {
    ConnectOptions { kubeconfig: vec![cluster().kubeconfig().to_owned()], ..ConnectOptions::default() }
}

pub fn create(object: &Value) {
    cluster().kubectl_stdin("create -f -", &object.to_string()).ok();
}

fn patch_status(namespace: &Namespace, pod: &str, status: &Value) {
    let patch = json!({"status": status}).to_string();
    let of =
        ["patch", "pod", pod, "-n", &namespace.name, "--subresource=status", "--type=merge", "-p", &patch];
    cluster().kubectl_args(&of).ok();
}

#[test]
fn pods_tell_how_they_are() {
    let namespace = cluster().namespace("signals");
    let node = FakeNode::start(cluster(), &format!("signals-{}", std::process::id()));
    let mut case =
        Case::new(json!({"name": "m", "kubernetes": {"signals": ["Restarts", "Readiness", "Events"]}}));
    case.subject.namespace.clone_from(&namespace.name);
    let measured = |case: &Case| {
        let taken = case.at(live(), now());
        (taken[0].measured.outcome, taken[0].value.clone())
    };
    let (outcome, value) = measured(&case);
    assert!(
        outcome == Outcome::Inconclusive && value.contains("there are no Pods with app=web,version=new"),
        "{value}"
    );
    for (name, version) in [("a", "new"), ("b", "new"), ("c", "old")] {
        let mut spec = node.placement();
        spec["containers"] = json!([{"name": "web", "image": "none"}]);
        create(
            &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace.name,
            "labels": {"app": "web", "version": version}}, "spec": spec}),
        );
    }
    cluster()
        .kubectl(&format!("wait --for=condition=Ready pods --all -n {} --timeout=60s", namespace.name))
        .ok();
    let (outcome, value) = measured(&case);
    assert!(outcome == Outcome::Success && value.contains("\"pods\":2"), "{value}");

    // The old version's troubles are not the new one's.
    let restarted = |count: u32| {
        json!({"containerStatuses": [{"name": "web", "image": "none", "imageID": "x", "ready": true, "restartCount": count,
        "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]})
    };
    patch_status(&namespace, "c", &restarted(5));
    assert_eq!(measured(&case).0, Outcome::Success);
    patch_status(&namespace, "a", &restarted(2));
    let (outcome, value) = measured(&case);
    assert!(outcome == Outcome::Failure && value.contains("a restarted web 2 times: OOMKilled"), "{value}");
    patch_status(&namespace, "a", &restarted(0));

    let uid = cluster()
        .kubectl(&format!("get pod b -n {} -o jsonpath={{.metadata.uid}}", namespace.name))
        .ok()
        .stdout;
    std::thread::sleep(Duration::from_secs(2));
    create(
        &json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "b.1", "namespace": namespace.name},
        "involvedObject": {"kind": "Pod", "namespace": namespace.name, "name": "b", "uid": uid}, "type": "Warning",
        "reason": "Unhealthy", "message": "Readiness probe failed", "lastTimestamp": jiff::Timestamp::now().to_string()}),
    );
    let (outcome, value) = measured(&case);
    assert!(outcome == Outcome::Failure && value.contains("b: Unhealthy: Readiness probe failed"), "{value}");
}

/// A Rollout as the owner of Jobs.
fn owner(namespace: &Namespace) -> String {
    create(
        &json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "web", "namespace": namespace.name},
        "spec": {"target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "strategy": {"recreate": {}}}}),
    );
    cluster()
        .kubectl(&format!("get rollout web -n {} -o jsonpath={{.metadata.uid}}", namespace.name))
        .ok()
        .stdout
}

fn by_job(namespace: &Namespace, placement: Option<Value>, success: Option<&str>) -> Case {
    let mut pod = placement.unwrap_or(json!({}));
    pod["containers"] = json!([{"name": "check", "image": "none", "args": ["{{args.url}}"]}]);
    let mut metric = json!({"name": "smoke", "interval": "1s", "count": 2, "job": {"template": {"spec": {"template": {"spec": pod}}}}});
    if let Some(success) = success {
        metric["success"] = success.into();
    }
    let mut case =
        Case::given(json!([metric]), json!([{"name": "url", "value": "http://web-canary"}]), json!([]));
    case.subject.namespace.clone_from(&namespace.name);
    case.subject.uid = owner(namespace);
    case
}

fn jobs(namespace: &Namespace) -> Vec<String> {
    let names =
        cluster().kubectl(&format!("get jobs -n {} -o jsonpath={{.items[*].metadata.name}}", namespace.name));
    names.ok().stdout.split_whitespace().map(str::to_owned).collect()
}

fn result(case: &Case) -> Measurement {
    eventually("the Job has ended", Duration::from_secs(60), || case.at(live(), now()).pop())
}

#[test]
fn a_job_runs_once_for_one_measurement_and_goes() {
    let namespace = cluster().namespace("jobs");
    let node = FakeNode::start(cluster(), &format!("jobs-{}", std::process::id()));
    let mut case = by_job(&namespace, Some(node.placement()), None);
    assert!(case.at(live(), now()).is_empty(), "it runs");
    let first = jobs(&namespace);
    assert_eq!(first.len(), 1);
    // Asked by one that knows nothing of the first time.
    assert!(result(&case).measured.outcome == Outcome::Success && result(&case).value == "true");
    assert_eq!(jobs(&namespace), first);
    let job = cluster().kubectl(&format!("get job {} -n {} -o json", first[0], namespace.name)).ok().json();
    assert_eq!(job["metadata"]["ownerReferences"][0]["name"], "web");
    assert_eq!(job["spec"]["template"]["spec"]["containers"][0]["args"], json!(["http://web-canary"]));

    let taken = result(&case).measured;
    assert!(taken.scope == Scope::Move(case.state.at) && taken.at >= case.state.entered);
    case.state.tallies.entry(taken.rule).or_default().count(taken.outcome, taken.at);
    let second = result(&case).measured;
    case.state.tallies.entry(second.rule).or_default().count(second.outcome, second.at);
    let jobs_left = || jobs(&namespace);
    assert!(!jobs_left().contains(&first[0]), "what was counted is deleted: {:?}", jobs_left());
    assert!(case.at(live(), now()).is_empty(), "both were taken");
    eventually("all Jobs are gone", Duration::from_secs(30), || jobs_left().is_empty().then_some(()));
}

#[test]
fn a_job_fails_or_says_what_it_found() {
    let namespace = cluster().namespace("jobs-said");
    // No node takes its Pod: this test plays it.
    for (phase, code, message, success, outcome, told) in [
        ("Succeeded", 0, "{\"errors\": 7}", Some("result.errors < 5"), Outcome::Failure, "{\"errors\":7}"),
        ("Succeeded", 0, "0.25", Some("result < 1.0"), Outcome::Success, "0.25"),
        ("Failed", 1, "cart is empty", Some("true"), Outcome::Failure, "cart is empty, Job web-"),
    ] {
        let mut case = by_job(&namespace, Some(json!({"nodeSelector": {"none": "none"}})), success);
        case.state.started += i64::from(code) + message.len() as i64;
        assert!(case.at(live(), now()).is_empty(), "it runs");
        let pod = eventually("its Pod", Duration::from_secs(30), || {
            let pods = cluster()
                .kubectl(&format!("get pods -n {} -o jsonpath={{.items[*].metadata.name}}", namespace.name));
            pods.stdout.split_whitespace().next().map(str::to_owned)
        });
        let ended = json!({"exitCode": code, "reason": phase, "message": message});
        patch_status(
            &namespace,
            &pod,
            &json!({"phase": phase, "containerStatuses": [{"name": "check", "image": "none", "imageID": "x",
            "ready": false, "restartCount": 0, "state": {"terminated": ended}}]}),
        );
        let taken = result(&case);
        assert!(taken.measured.outcome == outcome && taken.value.starts_with(told), "{taken:?}");
        // What was inconclusive begins anew, with nothing of the first time.
        case.state.held = Some(Held::Inconclusive);
        assert!(case.at(live(), now()).is_empty());
        eventually("the Job is gone", Duration::from_secs(30), || {
            let pods = cluster().kubectl(&format!("get pods,jobs -n {} -o name", namespace.name)).ok().stdout;
            pods.trim().is_empty().then_some(())
        });
        cluster().kubectl(&format!("delete rollout web -n {}", namespace.name)).ok();
    }
}
