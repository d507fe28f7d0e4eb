//! A sync from a computer on which this Application was never synced: its cache is
//! empty.

use gitops_tests::{FakeNode, Place, Ran, cluster};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{config, hook, job, object};

/// Runs the plugin on another computer.
fn elsewhere(place: &Place, arguments: &str) -> Ran {
    let cache = TempDir::new().unwrap();
    place.gitops(&format!("{arguments} --cache-dir {}", cache.path().display()))
}

fn names(ran: &Ran) -> Vec<String> {
    let report = ran.json();
    let objects = report["objects"].as_array().unwrap().iter();
    let changed = objects.filter(|object| object["action"] != "unchanged");
    changed.map(|object| object["object"]["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_left_git_and_what_has_run_is_known_from_everywhere() {
    let node = FakeNode::start(cluster(), &format!("elsewhere-{}", std::process::id()));
    let mut expiring: Value = serde_json::from_str(&job("once", &json!({}), Some(&node))).unwrap();
    expiring["spec"]["ttlSecondsAfterFinished"] = 3600.into();
    let secret = |name: &str| object("Secret", name, &json!({}), &json!({"stringData": {"a": "1"}}));
    let quota = object("ResourceQuota", "quota", &json!({}), &json!({"spec": {"hard": {"pods": "9"}}}));
    let place = Place::new(&[
        ("app/a.yaml", config("web", &json!({}))),
        ("app/b.yaml", secret("gone")),
        ("app/c.yaml", quota),
        ("app/d.yaml", expiring.to_string()),
        ("app/e.yaml", config("after", &hook("PostSync"))),
    ]);
    place.gitops("sync --wait --timeout 60s").ok();
    // As its time to live would.
    place.kubectl("delete job once --cascade=orphan").ok();
    let again = elsewhere(&place, "sync -o json").ok();
    assert_eq!((names(&again), again.json()["counts"]["hooks"].clone()), (Vec::new(), Value::Null));
    // The last of its kind.
    place.repo.remove("no secret", &["app/b.yaml"]);
    assert_eq!(elsewhere(&place, "diff -o name").code(1).stdout, "secret/gone\n");
    assert_eq!(names(&elsewhere(&place, "sync --prune --hooks=never -o json").ok()), ["gone"]);
    assert!(!place.has("secret gone"));
    // Without what the last sync has noted, all kinds are looked at.
    place.repo.remove("no quota", &["app/c.yaml"]);
    place.kubectl("annotate lease gitops-sync-web kubectl-gitops.dev/places-").ok();
    assert!(elsewhere(&place, "diff -o name").code(1).stdout.contains("resourcequota/quota\n"));
    elsewhere(&place, "sync --prune --confirm-prune").ok();
    assert!(!place.has("resourcequota quota"));
}
