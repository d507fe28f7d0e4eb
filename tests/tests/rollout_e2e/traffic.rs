//! Requests through a real proxy while versions change: where they land, and
//! that none is lost.

use std::time::{Duration, Instant};

use gitops_tests::{Front, Proxy, Requests, gateway};
use serde_json::{Value, json};

use crate::Stage;
use crate::stage::service;

fn route() -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "web"},
        "spec": {"rules": [{"backendRefs": [{"name": "web", "port": 80}]}]}})
}

fn by_route(steps: Value, on_failure: &str) -> Stage {
    gateway::install(gitops_tests::cluster::webhook_cluster());
    let rollout = json!({"strategy": {"canary": {"steps": steps}}, "onFailure": on_failure,
        "traffic": {"stableService": "web", "canaryService": "web-new", "routes": [{"kind": "HTTPRoute", "name": "web"}]}});
    Stage::of("Deployment", &rollout, &[service("web"), service("web-new"), route()])
}

fn paused_at(stage: &Stage, step: i64) {
    stage.eventually(&format!("it pauses at step {step}"), |stage| {
        let status = stage.rollout()["status"].clone();
        (status["phase"] == "Paused" && status["step"] == step).then_some(())
    });
    // The proxy's own delay.
    std::thread::sleep(Duration::from_secs(1));
}

#[test]
fn a_canary_gets_its_share_and_nothing_is_lost() {
    let steps = json!([{"setHeader": {"name": "x-canary", "value": "1"}}, {"pause": {}}, {"setWeight": 25}, {"pause": {}}]);
    let stage = by_route(steps, "Hold");
    let proxy = Proxy::start(stage.shop.cluster, stage.shop.name(), Front::Route("web"));
    let requests = Requests::start(&proxy);
    let counted = requests.next(50);
    assert_eq!(counted.of("web:1"), counted.all(), "{counted:?}");
    let commit = stage.push("web:2");
    paused_at(&stage, 1);
    assert_eq!(requests.next(100).of("web:2"), 0, "nobody sends the header");
    assert_eq!(
        (requests.with("X-Canary: 1\r\n"), requests.with("X-Canary: 0\r\n")),
        ("web:2".into(), "web:1".into())
    );
    stage.ask("promote", json!({})).ok();
    paused_at(&stage, 3);
    let counted = requests.next(400);
    let share = f64::from(counted.of("web:2")) / f64::from(counted.all());
    assert!((0.15..0.35).contains(&share), "{counted:?}");
    stage.ask("promote", json!({})).ok();
    stage.promoted(&commit, "web:2");
    std::thread::sleep(Duration::from_secs(1));
    let counted = requests.next(100);
    assert_eq!(counted.of("web:2"), counted.all(), "{counted:?}");
}

#[test]
fn an_aborted_canary_gets_no_more_requests_and_none_is_lost() {
    let stage = by_route(json!([{"setWeight": 50}, {"pause": {}}]), "Hold");
    let proxy = Proxy::start(stage.shop.cluster, stage.shop.name(), Front::Route("web"));
    let requests = Requests::start(&proxy);
    stage.push("web:2");
    paused_at(&stage, 1);
    assert!(requests.next(100).of("web:2") > 20);
    stage.ask("abort", json!({})).ok();
    let begun = Instant::now();
    stage.eventually("the old version has all requests", |_| {
        let counted = requests.next(40);
        (counted.of("web:1") == counted.all()).then_some(())
    });
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    stage.phase("Aborted");
    let counted = requests.next(100);
    assert_eq!(counted.of("web:1"), counted.all(), "{counted:?}");
}

#[test]
fn copies_of_requests_reach_the_new_version_alone() {
    let steps = json!([{"setMirror": 100}, {"pause": {}}, {"setMirror": 25}, {"pause": {}}]);
    let stage = by_route(steps, "Hold");
    let proxy = Proxy::start(stage.shop.cluster, stage.shop.name(), Front::Route("web"));
    // So many requests: all are answered by the old version; how many copies came.
    let copied = |count: u32| {
        let before = proxy.copies();
        let answered = proxy.ask(count);
        assert_eq!((answered.of("web:1"), answered.all()), (count, count), "{answered:?}");
        // A copy is sent beside the request, and may come a moment after it.
        std::thread::sleep(Duration::from_secs(1));
        let after = proxy.copies();
        assert_eq!(after.of("web:1"), 0, "{after:?}");
        after.of("web:2") - before.of("web:2")
    };
    assert_eq!(copied(50), 0);
    let commit = stage.push("web:2");
    paused_at(&stage, 1);
    assert_eq!(copied(200), 200, "each request is copied");
    stage.ask("promote", json!({})).ok();
    paused_at(&stage, 3);
    let some = copied(400);
    assert!((60..140).contains(&some), "{some} of 400");
    let requests = Requests::start(&proxy);
    stage.ask("promote", json!({})).ok();
    stage.promoted(&commit, "web:2");
    std::thread::sleep(Duration::from_secs(1));
    requests.counted();
    drop(requests);
    let before = proxy.copies();
    assert_eq!(proxy.ask(50).of("web:2"), 50);
    assert_eq!(proxy.copies().all(), before.all());
}

#[test]
fn blue_green_switches_without_a_lost_request() {
    let rollout = json!({"strategy": {"blueGreen": {"activeService": "web", "previewService": "web-preview",
        "autoPromote": false, "scaleDownDelay": "1s"}}});
    let stage = Stage::of("Deployment", &rollout, &[service("web"), service("web-preview")]);
    let (cluster, namespace) = (stage.shop.cluster, stage.shop.name());
    let proxy = Proxy::start(cluster, namespace, Front::Service("web"));
    let preview = Proxy::start(cluster, namespace, Front::Service("web-preview"));
    let requests = Requests::start(&proxy);
    let commit = stage.push("web:2");
    stage.phase("Paused");
    std::thread::sleep(Duration::from_secs(1));
    let counted = requests.next(100);
    assert_eq!(counted.of("web:1"), counted.all(), "{counted:?}");
    let counted = Requests::start(&preview).next(50);
    assert_eq!(counted.of("web:2"), counted.all(), "the preview: {counted:?}");
    stage.ask("promote", json!({})).ok();
    stage.promoted(&commit, "web:2");
    std::thread::sleep(Duration::from_secs(1));
    let counted = requests.next(100);
    assert_eq!(counted.of("web:2"), counted.all(), "{counted:?}");
}
