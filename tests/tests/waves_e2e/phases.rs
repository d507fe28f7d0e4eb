//! In which order: phases and their hooks, waves, Applications that others
//! depend on.

use std::time::Duration;

use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use gitops_tests::{FakeNode, Place, Shop, cluster};
use serde_json::{Value, json};

use super::{config, hook, job, object, wave};

#[test]
fn phases_and_waves_follow_each_other_and_wait_for_health() {
    let node = FakeNode::start(cluster(), &format!("waves-{}", std::process::id()));
    let mut web: Value = json!({"replicas": 1, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": node.placement()}});
    web["template"]["spec"]["containers"] = json!([{"name": "web", "image": "web:1"}]);
    let place = Place::new(&[
        ("app/a.yaml", job("before", &hook("PreSync"), Some(&node))),
        ("app/b.yaml", object("Deployment", "web", &wave(-1), &json!({"spec": web}))),
        ("app/c.yaml", config("after-web", &wave(2))),
        (
            "app/d.yaml",
            job(
                "after",
                &json!({"helm.sh/hook": "post-install,post-upgrade", "helm.sh/hook-delete-policy": "hook-succeeded"}),
                Some(&node),
            ),
        ),
        ("app/e.yaml", config("skipped", &hook("Skip"))),
        ("app/f.yaml", config("failing", &hook("SyncFail"))),
    ]);
    place.gitops("diff -o name").code(1);
    let first = place.gitops("sync --timeout 60s -o json").ok().json();
    let done: Vec<String> = first["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| format!("{} {}", o["hook"].as_str().unwrap_or("-"), o["object"]["name"].as_str().unwrap()))
        .collect();
    assert_eq!(done, ["PreSync before", "- web", "- after-web", "PostSync after"]);
    assert_eq!((&first["counts"]["create"], &first["counts"]["hooks"]), (&json!(2), &json!(2)));
    let ready = place.get("deployment web").unwrap()["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["type"] == "Available")
        .unwrap()["lastTransitionTime"]
        .as_str()
        .unwrap()
        .to_owned();
    let made = place.get("configmap after-web").unwrap()["metadata"]["creationTimestamp"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(ready <= made, "{ready} {made}");
    assert!(
        place.has("job before")
            && !place.has("job after")
            && !place.has("configmap skipped")
            && !place.has("configmap failing")
    );
    // Hooks are no drift, and are not run again for nothing.
    place.gitops("diff").ok();
    place.gitops("status").ok();
    let (before, again) = (place.uid("job before"), place.gitops("sync -o json").ok().json());
    assert_eq!((again["counts"]["hooks"].clone(), place.uid("job before")), (Value::Null, before.clone()));
    place.gitops("sync --hooks=always --timeout 60s").ok();
    assert_ne!(place.uid("job before"), before, "it is made anew");
    // One that left Git is not pruned either.
    place.repo.remove("no hook", &["app/a.yaml"]);
    place.gitops("sync --prune --timeout 60s").ok();
    assert!(place.has("job before"));
}

#[test]
fn a_failed_hook_ends_the_sync_and_runs_those_for_failure() {
    let failing =
        json!({"argocd.argoproj.io/hook": "PreSync", "argocd.argoproj.io/hook-delete-policy": "HookFailed"});
    let place = Place::new(&[
        ("app/a.yaml", job("before", &failing, None)),
        ("app/b.yaml", config("web", &json!({}))),
        ("app/c.yaml", config("failed", &hook("SyncFail"))),
    ]);
    let ran = place.gitops("sync --timeout 60s").code(1);
    assert!(
        ran.stdout.contains("failed PreSync hook Job") && ran.stdout.contains("deadline"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("before failed") && ran.stdout.contains("ran SyncFail hook ConfigMap"),
        "{}",
        ran.stdout
    );
    assert!(!place.has("configmap web") && place.has("configmap failed"));
    assert!(!place.has("job before"), "it goes, as its policy says");
    place.commit(&[("app/a.yaml", job("before", &hook("PostSync"), None))]);
    place.gitops("sync --timeout 60s").code(7);
    assert!(place.has("configmap web"));
    // It has not ended well, so it is run again.
    place.gitops("sync --timeout 60s").code(1);
}

#[test]
fn a_wave_that_does_not_get_healthy_holds_up_the_next() {
    let place =
        Place::new(&[("app/a.yaml", DEPLOYMENT.to_owned()), ("app/b.yaml", config("late", &wave(1)))]);
    let ran = place.gitops("sync --timeout 2s").code(8);
    assert!(
        ran.stdout.contains("wave 1 waits for Deployment") && ran.stdout.contains("Progressing"),
        "{}",
        ran.stdout
    );
    assert!(!place.has("configmap late"));
    // Unless its health does not count.
    let mut web: Value = serde_json::to_value(serde_saphyr::from_str::<Value>(DEPLOYMENT).unwrap()).unwrap();
    web["metadata"]["annotations"] = json!({"argocd.argoproj.io/ignore-healthcheck": "true"});
    place.commit(&[("app/a.yaml", web.to_string())]);
    place.gitops("sync --wait --timeout 20s").ok();
    assert!(place.has("configmap late"));
    place.gitops("status").ok();
}

#[test]
fn what_is_pruned_last_waits_for_all_the_rest() {
    let last = config("last", &json!({"argocd.argoproj.io/sync-options": "PruneLast=true"}));
    let place = Place::new(&[("app/a.yaml", last), ("app/b.yaml", config("first", &json!({})))]);
    place.gitops("sync").ok();
    place.commit(&[("app/c.yaml", DEPLOYMENT.to_owned())]);
    place.repo.remove("less", &["app/a.yaml", "app/b.yaml"]);
    let ran = place.gitops("sync --prune --confirm-prune --timeout 2s").code(8);
    assert!(ran.stdout.contains("the last prune waits for Deployment"), "{}", ran.stdout);
    assert!(place.has("configmap last") && !place.has("configmap first"));
}

#[test]
fn generated_names_are_for_hooks_and_each_run_has_one() {
    let generated = |kind: &str, annotations: &Value| {
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"generateName": "run-", "annotations": annotations}, "data": {"a": "1"}}).to_string()
    };
    let place = Place::new(&[
        ("app/a.yaml", config("web", &json!({}))),
        ("app/b.yaml", generated("ConfigMap", &hook("PostSync"))),
    ]);
    place.gitops("sync").ok();
    std::thread::sleep(Duration::from_millis(1100));
    place.gitops("sync --hooks=always --prune").ok();
    let names = place.kubectl("get configmap -o name").stdout;
    assert_eq!(names.matches("/run-").count(), 2, "{names}");
    place.gitops("diff").ok();
    place.commit(&[("app/a.yaml", config("other", &json!({})))]);
    place.gitops("sync --hooks=never").ok();
    let names = place.kubectl("get configmap -o name").stdout;
    assert_eq!((names.matches("/run-").count(), names.contains("/other")), (2, true), "{names}");
    place.commit(&[("app/b.yaml", generated("ConfigMap", &json!({})))]);
    assert!(place.gitops("sync").code(4).stderr.contains("that is no hook needs a name"));
}

#[test]
fn applications_are_synced_after_those_they_depend_on() {
    let place = Place::new(&[("one/a.yaml", config("a", &json!({}))), ("two/b.yaml", DEPLOYMENT.to_owned())]);
    let application = |name: &str, path: &str, on: &[&str]| {
        let on: Vec<Value> = on.iter().map(|name| json!({"name": name})).collect();
        json!({"metadata": {"name": name}, "spec": {"source": {"path": path}, "dependsOn": on}})
    };
    place.describe(&[application("web", "one", &["base"]), application("base", "two", &[])]);
    let ran = place.gitops("sync --timeout 2s").code(8);
    assert!(
        ran.stderr.contains("Application") && ran.stderr.contains("which was not synced and healthy"),
        "{}",
        ran.stderr
    );
    assert!(place.has("deployment web") && !place.has("configmap a"));
    let ran = place.gitops("sync web --timeout 2s").code(1);
    assert!(ran.stderr.contains("it depends on") && ran.stderr.contains("Deployment"), "{}", ran.stderr);
    place.describe(&[application("web", "one", &["base"]), application("base", "two", &["web"])]);
    let ran = place.gitops("sync").code(2);
    assert!(ran.stderr.contains("depend on each other"), "{}", ran.stderr);
    place.describe(&[application("web", "one", &["nothing"])]);
    assert!(place.gitops("sync").code(2).stderr.contains("nothing"));
}

/// The webhook lets go what a hook's delete policy lets go, and nothing else.
#[test]
fn hooks_are_run_under_full_enforcement() {
    let hooked = json!({"argocd.argoproj.io/hook": "PreSync"});
    let helm = json!({"helm.sh/hook": "post-install", "helm.sh/hook-delete-policy": "hook-succeeded"});
    let generated = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "run-", "annotations": hooked}});
    let shop = Shop::with(&[
        ("app/config.yaml", CONFIG),
        ("app/a.yaml", &config("before", &hooked)),
        ("app/b.yaml", &config("after", &helm)),
        ("app/c.yaml", &generated.to_string()),
    ]);
    assert_ne!(shop.kubectl("get configmap after").code, 0);
    let uid = || shop.kubectl("get configmap before -o jsonpath={.metadata.uid}").ok().stdout;
    let first = uid();
    shop.repo.commit("change", &[("app/config.yaml", &CONFIG.replace("hello", "moin"))]);
    shop.sync().ok();
    assert_ne!(uid(), first);
    let names = shop.kubectl("get configmap -o name").stdout;
    assert_eq!(names.matches("/run-").count(), 2, "{names}");
    shop.kubectl("delete configmap web").refused(&["web"]);
}
