//! `kubectl gitops delete` on the real API server: its hooks, its order, and
//! what Git says is to stay.
#![allow(clippy::unwrap_used, reason = "tests")]

use gitops_tests::Place;
use serde_json::{Value, json};

fn config(name: &str, annotations: &Value) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "annotations": annotations}})
        .to_string()
}

fn argo(name: &str, value: &str) -> Value {
    json!({format!("argocd.argoproj.io/{name}"): value})
}

/// Nobody runs it: it fails after a second.
fn failing_job(phase: &str) -> String {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "check", "annotations": argo("hook", phase)}, "spec": {
        "activeDeadlineSeconds": 1, "backoffLimit": 0, "template": {"spec": {
            "restartPolicy": "Never", "nodeSelector": {"disk": "none"}, "containers": [{"name": "a", "image": "a:1"}]}}}})
    .to_string()
}

#[test]
fn hooks_are_run_before_and_after() {
    let place = Place::new(&[
        ("app/web.yaml", config("web", &json!({}))),
        ("app/late.yaml", config("late", &argo("sync-wave", "1"))),
        ("app/pre.yaml", config("pre", &argo("hook", "PreDelete"))),
        ("app/post.yaml", config("post", &argo("hook", "PostDelete"))),
    ]);
    place.gitops("sync").ok();
    assert!(!place.has("configmap/pre") && !place.has("configmap/post"), "they are no hooks of a sync");
    let dry = place.gitops("delete --dry-run").ok().stdout;
    assert!(dry.contains("deleted ConfigMap") && place.has("configmap/web"), "{dry}");

    // What is not gone yet holds the last hooks back, also over two runs.
    place
        .kubectl("patch configmap web --type merge -p {\"metadata\":{\"finalizers\":[\"example.com/hold\"]}}")
        .ok();
    let held = place.gitops("delete --yes --timeout 2s").code(8);
    let lines: Vec<&str> = held.stdout.lines().collect();
    let at = |words: &str| lines.iter().position(|line| line.contains(words)).unwrap();
    assert!(at("PreDelete hook") < at("/late") && at("/late") < at("/web"), "{lines:?}");
    assert!(held.stdout.contains("/web is not gone yet"), "{}", held.stdout);
    assert!(place.has("configmap/pre") && !place.has("configmap/post"));
    place.kubectl("patch configmap web --type merge -p {\"metadata\":{\"finalizers\":null}}").ok();
    let done = place.gitops("delete --yes -o json").ok().json();
    assert!(place.has("configmap/post"), "{done}");
    let hooks: Vec<&Value> =
        done["objects"].as_array().unwrap().iter().filter(|one| one["hook"] == "PostDelete").collect();
    assert_eq!((hooks.len(), &hooks[0]["outcome"]), (1, &json!("done")), "{done}");
    assert_eq!(done["kind"], "Delete");
    // All is done: nothing is run again.
    let again = place.gitops("delete --yes --no-hooks").ok();
    assert!(!again.stdout.contains("ran"), "{}", again.stdout);
    let none = place.gitops("delete --yes --no-hooks").ok().stdout;
    assert!(none.starts_with("nothing to delete: "), "{none}");
}

#[test]
fn a_failed_hook_lets_everything_stay() {
    let place = Place::new(&[
        ("app/web.yaml", config("web", &json!({}))),
        ("app/check.yaml", failing_job("PreDelete")),
    ]);
    place.gitops("sync").ok();
    let failed = place.gitops("delete --yes --timeout 60s").code(1);
    assert!(failed.stdout.contains("failed PreDelete hook Job"), "{}{}", failed.stdout, failed.stderr);
    assert!(failed.stdout.contains("skipped ConfigMap"), "{}", failed.stdout);
    assert!(place.has("configmap/web"));
    place.gitops("delete --yes --no-hooks").ok();
    assert!(!place.has("configmap/web") && !place.has("job/check"), "hooks that are left go along");
}

#[test]
fn what_git_says_is_to_stay_stays() {
    let place = Place::new(&[
        ("app/web.yaml", config("web", &json!({}))),
        ("app/kept.yaml", config("kept", &argo("sync-options", "Delete=false"))),
        ("app/chart.yaml", config("chart", &json!({"helm.sh/resource-policy": "keep"}))),
        ("app/asked.yaml", config("asked", &argo("sync-options", "Delete=confirm"))),
    ]);
    place.gitops("sync").ok();
    let gone = place.gitops("delete --yes").ok().stdout;
    assert!(gone.contains("Delete=false") && gone.contains("--confirm-delete"), "{gone}");
    let left = ["web", "kept", "chart", "asked"].map(|name| place.has(&format!("configmap/{name}")));
    assert_eq!(left, [false, true, true, true]);
    place.gitops("delete --yes --confirm-delete").ok();
    assert!(!place.has("configmap/asked") && place.has("configmap/kept"));
}

#[test]
fn charts_hooks_of_a_deletion_are_run() {
    let place = Place::new(&[
        ("app/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n".into()),
        (
            "app/templates/web.yaml",
            r#"{apiVersion: v1, kind: ConfigMap, metadata: {name: web}, data: {apps: "{{ .Capabilities.APIVersions.Has "apps/v1/Deployment" }}", none: "{{ .Capabilities.APIVersions.Has "ex.io/v9" }}"}}"#.into(),
        ),
        ("app/templates/bye.yaml", config("bye", &json!({"helm.sh/hook": "post-delete"}))),
    ]);
    place.gitops("sync").ok();
    assert_eq!(place.get("configmap/web").unwrap()["data"], json!({"apps": "true", "none": "false"}));
    assert!(!place.has("configmap/bye"));
    place.gitops("delete --yes").ok();
    assert!(!place.has("configmap/web") && place.has("configmap/bye"));
}
