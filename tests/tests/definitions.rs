//! Our kinds at the real API server: what their schemas and rules take, and
//! what they refuse, with which words.
#![allow(clippy::unwrap_used, reason = "tests")]

use gitops_tests::webhook_cluster;
use serde_json::{Value, json};

fn object(kind: &str, spec: Value) -> Value {
    json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": kind, "metadata": {"name": "sample", "namespace": "default"}, "spec": spec})
}

fn application(change: impl FnOnce(&mut Value)) -> Value {
    let mut value = object(
        "Application",
        json!({"project": "shop", "source": {"repo": "https://git.example/shop.git", "path": "app"}, "destination": {"namespace": "default"}}),
    );
    change(&mut value["spec"]);
    value
}

fn rollout(strategy: Value) -> Value {
    object(
        "Rollout",
        json!({"target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "strategy": strategy}),
    )
}

fn analysis(metric: Value) -> Value {
    let mut metric = metric;
    metric["name"] = json!("errors");
    object("AnalysisTemplate", json!({"metrics": [metric]}))
}

fn over(expires: &str) -> Value {
    object(
        "Override",
        json!({"namespaces": ["shop"], "users": ["ada"], "reason": "INC-12", "expiresAt": expires}),
    )
}

#[test]
fn what_is_right_is_taken() {
    let canary = json!({"canary": {"steps": [{"setWeight": 10}, {"pause": {"duration": "5m"}}, {"analysis": {"templates": [{"name": "errors"}]}}, {"pause": {}}]}});
    let prometheus = json!({"success": "result < 0.01", "prometheus": {"address": "http://prometheus:9090", "query": "up"}});
    for sample in [
        object(
            "Project",
            json!({"repositories": [{"url": "https://git.example/a/*", "branches": ["main"]}], "destinations": [{"namespaces": ["a-*"]}]}),
        ),
        application(|_| {}),
        application(|spec| {
            spec["sync"] = json!({"mode": "Automatic", "prune": true, "retry": {"limit": 3, "backoff": "5s", "max": "3m"}})
        }),
        application(
            |spec| spec["enforcement"] = json!({"mode": "Warn", "delegate": [{"group": "apps", "kind": "Deployment", "name": "web", "path": "spec.replicas", "min": 1, "max": 9}]}),
        ),
        application(
            |spec| spec["source"] = json!({"repo": "https://git.example/x.git", "type": "Helm", "helm": {"releaseName": "x", "valueFiles": ["a.yaml"], "values": {"a": {"b": [1]}}, "set": {"c": "d"}}}),
        ),
        rollout(canary),
        rollout(json!({"rolling": {"batches": [10, 50, 100]}})),
        rollout(json!({"blueGreen": {"activeService": "web", "previewService": "web-preview"}})),
        rollout(json!({"recreate": {}})),
        analysis(prometheus),
    ] {
        let ran = webhook_cluster().kubectl_stdin("apply --dry-run=server -f -", &sample.to_string());
        assert_eq!(ran.code, 0, "{sample}\n{}", ran.stderr);
    }
}

#[test]
fn what_is_wrong_is_refused_with_its_field() {
    let long = "a".repeat(53);
    let mut named = application(|_| {});
    named["metadata"]["name"] = json!(long);
    let two = json!({"canary": {"steps": [{"setWeight": 10}]}, "recreate": {}});
    for (sample, words) in [
        (object("Project", json!({"repositories": []})), "spec"),
        (object("Project", json!({"repositories": [{"url": ""}]})), "spec.repositories[0].url"),
        (named, "52"),
        (application(|spec| drop(spec.as_object_mut().unwrap().remove("source"))), "source"),
        (application(|spec| spec["sources"] = json!([{"repo": "https://git.example/b.git"}])), "source"),
        (application(|spec| spec["sync"] = json!({"mode": "Sometimes"})), "spec.sync.mode"),
        (application(|spec| spec["sync"] = json!({"retry": {"limit": -1}})), "spec.sync.retry.limit"),
        (application(|spec| spec["sync"] = json!({"prunee": true})), "prunee"),
        (application(|spec| spec["enforcement"] = json!({"mode": "On"})), "spec.enforcement.mode"),
        (
            application(|spec| spec["destination"]["server"] = json!("https://kubernetes.default.svc")),
            "say destination.cluster instead of server",
        ),
        (rollout(json!({})), "spec.strategy"),
        (rollout(two), "spec.strategy"),
        (rollout(json!({"canary": {"steps": [{"setWeight": 101}]}})), "setWeight"),
        (rollout(json!({"canary": {"steps": [{"setWeight": 10, "pause": {}}]}})), "steps[0]"),
        (rollout(json!({"canary": {"steps": [{}]}})), "steps[0]"),
        (analysis(json!({"success": "result < 1"})), "metrics[0]"),
        (over("soon"), "expiresAt"),
    ] {
        let ran = webhook_cluster().kubectl_stdin("apply --dry-run=server -f -", &sample.to_string());
        assert_ne!(ran.code, 0, "taken: {sample}");
        assert!(ran.stderr.contains(words), "{words:?} is not in the answer to {sample}:\n{}", ran.stderr);
    }
}
