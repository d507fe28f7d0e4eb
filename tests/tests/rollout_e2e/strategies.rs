//! The other strategies, each from a push to its promotion.

use gitops_tests::gateway;
use serde_json::{Value, json};

use crate::Stage;
use crate::stage::{rollout_of, service};

#[test]
fn rolling_goes_in_batches() {
    let stage = Stage::new(&json!({"strategy": {"rolling": {"batches": [25, 75, 100]}}}));
    let commit = stage.push("web:2");
    stage.eventually("the first batch", |stage| stage.images().contains(&"web:2".to_owned()).then_some(()));
    assert!(stage.images().contains(&"web:1".to_owned()));
    stage.promoted(&commit, "web:2");
}

#[test]
fn recreate_lets_no_two_versions_run_at_once() {
    let stage = Stage::new(&json!({"strategy": {"recreate": {}}}));
    let commit = stage.push("web:2");
    stage.eventually("the new version", |stage| {
        let images = stage.images();
        let both = images.contains(&"web:1".to_owned()) && images.contains(&"web:2".to_owned());
        assert!(!both, "{images:?}");
        (images == ["web:2"; 4]).then_some(())
    });
    stage.promoted(&commit, "web:2");
}

#[test]
fn blue_green_switches_all_requests_at_once() {
    let rollout = json!({"strategy": {"blueGreen": {"activeService": "web", "previewService": "web-preview",
        "autoPromote": false, "previewReplicas": "50%", "scaleDownDelay": "1s"}}});
    let stage = Stage::of("Deployment", &rollout, &[service("web"), service("web-preview")]);
    let commit = stage.push("web:2");
    stage.phase("Paused");
    assert_eq!(stage.runs("web-canary"), Some(("web:2".into(), 2)), "for the preview, half of them");
    assert_eq!(stage.runs("web"), Some(("web:1".into(), 4)));
    let (active, preview) = (stage.selector("web"), stage.selector("web-preview"));
    assert_eq!(preview["kubectl-gitops.dev/track"], "preview", "{preview}");
    assert!(active["pod-template-hash"].is_string(), "{active}");
    let swap =
        json!({"spec": {"selector": {"pod-template-hash": null, "kubectl-gitops.dev/track": "preview"}}});
    let swapped = stage.shop.kubectl_args(&["patch", "service", "web", "-p", &swap.to_string()]);
    assert!(swapped.stderr.contains("denied the request"), "{swapped:?}");
    let all = json!({"spec": {"selector": {"kubectl-gitops.dev/track": null}}}).to_string();
    stage
        .shop
        .kubectl_args(&["patch", "service", "web-preview", "-p", &all])
        .refused(&["denied the request"]);
    stage.ask("promote", json!({})).ok();
    stage.eventually("it is full-size before the switch", |stage| {
        (stage.runs("web-canary") == Some(("web:2".into(), 4))).then_some(())
    });
    stage.promoted(&commit, "web:2");
    assert_eq!(stage.selector("web"), json!({"app": "web"}));
    assert_eq!(stage.selector("web-preview"), json!({"app": "web"}));
}

#[test]
fn routes_divide_requests_by_weight() {
    let route = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "web"},
        "spec": {"rules": [{"backendRefs": [{"name": "web", "port": 80}]}]}});
    let rollout = json!({"strategy": {"canary": {"steps": [{"setWeight": 10}, {"pause": {}}]}},
        "traffic": {"stableService": "web", "canaryService": "web-new", "routes": [{"kind": "HTTPRoute", "name": "web"}]}});
    gateway::install(gitops_tests::cluster::webhook_cluster());
    let stage = Stage::of("Deployment", &rollout, &[service("web"), service("web-new"), route]);
    let weights = |stage: &Stage| -> Vec<(Value, Value)> {
        let route = stage.shop.get("httproute", "web").unwrap_or_default();
        let backends = route.pointer("/spec/rules/0/backendRefs").and_then(Value::as_array).cloned();
        backends.unwrap_or_default().iter().map(|one| (one["name"].clone(), one["weight"].clone())).collect()
    };
    let commit = stage.push("web:2");
    stage.phase("Paused");
    assert_eq!(weights(&stage), [(json!("web"), json!(90)), (json!("web-new"), json!(10))]);
    assert_eq!(stage.runs("web"), Some(("web:1".into(), 4)), "the old version keeps its Pods");
    let all =
        json!([{"op": "replace", "path": "/spec/rules/0/backendRefs/1/weight", "value": 100}]).to_string();
    let tried = stage.shop.kubectl_args(&["patch", "httproute", "web", "--type=json", "-p", &all]);
    assert!(tried.stderr.contains("denied the request"), "{tried:?}");
    stage.ask("promote", json!({})).ok();
    stage.promoted(&commit, "web:2");
    assert_eq!(weights(&stage), [(json!("web"), json!(1))]);
}

#[test]
fn a_stateful_set_goes_by_its_partition_and_back() {
    let mut rollout =
        json!({"strategy": {"canary": {"steps": [{"setWeight": 25}, {"pause": {}}]}}, "onFailure": "Hold"});
    let stage = Stage::of("StatefulSet", &rollout, &[service("web")]);
    let bad = stage.push("web:2");
    stage.phase("Paused");
    let images = |new: usize| -> Vec<&str> { [vec!["web:1"; 4 - new], vec!["web:2"; new]].concat() };
    assert_eq!(stage.images(), images(1));
    let open = json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}}).to_string();
    for patch in [open, json!({"spec": {"replicas": 8}}).to_string()] {
        let tried = stage.shop.kubectl_args(&["patch", "statefulset", "web", "-p", &patch]);
        assert!(tried.stderr.contains("denied the request"), "{tried:?}");
    }
    // A restart lets nothing out: what is below the partition stays as it is.
    let last = |stage: &Stage| stage.shop.get("pod", "web-3").unwrap_or_default()["metadata"]["uid"].clone();
    let before = last(&stage);
    stage.shop.kubectl("rollout restart statefulset/web").ok();
    stage.eventually("the updated Pod has restarted", |stage| {
        (last(stage).is_string() && last(stage) != before && stage.available("web") == 4).then_some(())
    });
    assert_eq!(stage.images(), images(1));
    assert_eq!(stage.rollout()["status"]["phase"], "Paused");
    stage.ask("abort", json!({})).ok();
    let status = stage.phase("Aborted");
    assert!(status["message"].as_str().unwrap().contains("admin aborted it: a test"), "{status}");
    stage.eventually("the old version alone", |stage| (stage.images() == images(0)).then_some(()));
    // It is not tried again until Git changes.
    assert_eq!(stage.shop.repo.head(), bad);
    let commit = stage.push("web:3");
    stage.phase("Paused");
    stage.ask("promote", json!({"full": "true"})).ok();
    stage.promoted(&commit, "web:3");
    // Kubernetes would wait for a broken Pod for ever before it rolls back.
    rollout["deadlines"] = json!({"progress": "5s"});
    let (hurried, broken) = (rollout_of("StatefulSet", &rollout), stage.workload("web:broken"));
    stage.shop.repo.commit("broken", &[("app/rollout.yaml", &hurried), ("app/web.yaml", &broken)]);
    stage.phase("Aborted");
    stage.eventually("the old version alone", |stage| {
        (stage.images() == ["web:3"; 4] && stage.available("web") == 4).then_some(())
    });
}

#[test]
fn headers_and_mirrors_are_set_and_taken_away_in_both_kinds_of_routes() {
    let route = |kind: &str| {
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind, "metadata": {"name": "web"},
            "spec": {"rules": [{"backendRefs": [{"name": "web", "port": 80}]}]}})
    };
    let steps = json!([{"setHeader": {"name": "x-canary", "value": "1"}}, {"pause": {}}, {"setMirror": 20}, {"pause": {}},
        {"setWeight": 50}, {"pause": {}}]);
    let kinds = ["HTTPRoute", "GRPCRoute"];
    let routes = kinds.map(|kind| json!({"kind": kind, "name": "web"}));
    let rollout = json!({"strategy": {"canary": {"steps": steps}},
        "traffic": {"stableService": "web", "canaryService": "web-new", "routes": routes}});
    gateway::install(gitops_tests::cluster::webhook_cluster());
    let objects = [service("web"), service("web-new"), route("HTTPRoute"), route("GRPCRoute")];
    let stage = Stage::of("Deployment", &rollout, &objects);
    let rules =
        |stage: &Stage, kind: &str| stage.shop.get(kind, "web").unwrap_or_default()["spec"]["rules"].clone();
    let commit = stage.push("web:2");
    let next = |step: i64| {
        stage.eventually("it pauses", |stage| {
            let status = stage.rollout()["status"].clone();
            (status["phase"] == "Paused" && status["step"] == step).then_some(())
        });
    };
    next(1);
    for kind in kinds {
        let rules = rules(&stage, kind);
        let (matched, rest) = (&rules[0], &rules[1]);
        assert_eq!(matched["matches"][0]["headers"][0]["name"], "x-canary", "{kind}: {rules}");
        assert_eq!(matched["backendRefs"][0]["name"], "web-new", "{kind}: {rules}");
        assert_eq!(
            (&rest["backendRefs"][1]["weight"], &rest["filters"]),
            (&json!(0), &Value::Null),
            "{kind}: {rules}"
        );
    }
    stage.ask("promote", json!({})).ok();
    next(3);
    for kind in kinds {
        let rules = rules(&stage, kind);
        let filter = &rules[1]["filters"][0];
        assert_eq!(
            (&filter["type"], &filter["requestMirror"]["percent"]),
            (&json!("RequestMirror"), &json!(20)),
            "{kind}: {rules}"
        );
        assert_eq!(filter["requestMirror"]["backendRef"]["name"], "web-new", "{kind}: {rules}");
        let none = json!([{"op": "remove", "path": "/spec/rules/1/filters"}]).to_string();
        let tried = stage.shop.kubectl_args(&["patch", kind, "web", "--type=json", "-p", &none]);
        assert!(tried.stderr.contains("denied the request"), "{kind}: {tried:?}");
    }
    stage.ask("promote", json!({})).ok();
    next(5);
    for kind in kinds {
        assert_eq!(rules(&stage, kind)[1]["backendRefs"][1]["weight"], 50, "{kind}");
    }
    stage.ask("promote", json!({})).ok();
    stage.promoted(&commit, "web:2");
    for kind in kinds {
        let rules = rules(&stage, kind);
        assert_eq!(
            (rules.as_array().map(Vec::len), &rules[0]["filters"]),
            (Some(1), &Value::Null),
            "{kind}: {rules}"
        );
        assert_eq!(rules[0]["backendRefs"].as_array().map(Vec::len), Some(1), "{kind}: {rules}");
    }
}
