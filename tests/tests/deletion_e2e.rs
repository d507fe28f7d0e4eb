//! Applications that go, under the controller and the webhook: their hooks, what
//! holds them up, and Applications that others declare.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use gitops_tests::cluster::eventually;
use gitops_tests::shop::CONFIG;
use gitops_tests::{Controller, GitServer, Shop};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Patience with a machine that does other things as well.
const LONG: Duration = Duration::from_secs(90);

fn argo(name: &str, value: &str) -> Value {
    json!({format!("argocd.argoproj.io/{name}"): value})
}

fn config(name: &str, annotations: &Value) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "annotations": annotations}})
        .to_string()
}

/// Nobody runs it: it fails after a second.
fn failing_job() -> String {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "check", "annotations": argo("hook", "PreDelete")}, "spec": {
        "activeDeadlineSeconds": 1, "backoffLimit": 0, "template": {"spec": {
            "restartPolicy": "Never", "nodeSelector": {"disk": "none"}, "containers": [{"name": "a", "image": "a:1"}]}}}})
    .to_string()
}

/// A shop in sync, with a controller.
fn kept(files: &[(&str, &str)], spec: Value) -> (Shop, Controller, TempDir) {
    let shop = Shop::unheld(files);
    let mut sync = json!({"sync": {"mode": "Automatic", "prune": true}});
    sync.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    // Applications are declared where the Project says so.
    let kinds = json!([{"group": "*", "kind": "*"}, {"group": "kubectl-gitops.dev", "kind": "Application"}]);
    shop.hold_under(json!({"kinds": kinds}), sync);
    let cache = TempDir::with_prefix("gitops-controller-").unwrap();
    let controller = Controller::start(shop.cluster, shop.name(), cache.path());
    synced(&shop, "web");
    (shop, controller, cache)
}

fn synced(shop: &Shop, application: &str) {
    eventually(&format!("{application} is in sync"), LONG, || {
        (shop.get("application", application)?["status"]["sync"] == "Synced").then_some(())
    });
}

fn has(shop: &Shop, name: &str) -> bool {
    shop.get("configmap", name).is_some()
}

fn finalize(shop: &Shop, finalizers: &Value) {
    let patch = json!({"metadata": {"finalizers": finalizers}}).to_string();
    shop.kubectl_args(&["patch", "application", "web", "--type=merge", "-p", &patch]).ok();
}

fn delete(shop: &Shop) {
    finalize(shop, &json!(["kubectl-gitops.dev/prune"]));
    shop.kubectl("delete application web --wait=false").ok();
}

/// Waits for this reason and these words of condition Deleting.
fn says(shop: &Shop, reason: &str, words: &str) {
    eventually(&format!("Deleting says {reason}: {words}"), LONG, || {
        let application = shop.get("application", "web")?;
        let conditions = application["status"]["conditions"].as_array()?.clone();
        let found = conditions.into_iter().find(|known| known["type"] == "Deleting")?;
        (found["reason"] == reason && found["message"].as_str()?.contains(words)).then_some(())
    });
}

fn gone(shop: &Shop) {
    eventually("the Application is gone", LONG, || shop.get("application", "web").is_none().then_some(()));
}

fn event(shop: &Shop, reason: &str) -> String {
    eventually(&format!("an Event {reason}"), LONG, || {
        let events = shop.kubectl("get events -o json").ok().json();
        let found = events["items"].as_array()?.iter().find(|event| event["reason"] == reason)?;
        Some(found["message"].as_str()?.to_owned())
    })
}

#[test]
fn hooks_are_run_before_and_after() {
    let held = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web", "finalizers": ["example.com/hold"]}});
    let (shop, controller, cache) = kept(
        &[
            ("app/web.yaml", &held.to_string()),
            ("app/late.yaml", &config("late", &argo("sync-wave", "1"))),
            ("app/kept.yaml", &config("kept", &argo("sync-options", "Delete=false"))),
            ("app/asked.yaml", &config("asked", &argo("sync-options", "Delete=confirm"))),
            ("app/pre.yaml", &config("pre", &argo("hook", "PreDelete"))),
            ("app/post.yaml", &config("post", &argo("hook", "PostDelete"))),
        ],
        json!({}),
    );
    assert!(!has(&shop, "pre") && !has(&shop, "post"), "they are no hooks of a sync");
    delete(&shop);
    eventually("the last wave is gone", LONG, || (!has(&shop, "late")).then_some(()));
    says(&shop, "Objects", "");
    assert!(has(&shop, "pre") && !has(&shop, "post"));
    let first = shop.get("configmap", "pre").unwrap()["metadata"]["uid"].clone();
    // One that comes in its place goes on from there.
    controller.kill();
    let _next = Controller::start(shop.cluster, shop.name(), &cache.path().join("next"));
    says(&shop, "Objects", "ConfigMap");
    shop.hold_off();
    eventually("what holds it up goes", LONG, || {
        let free = "patch configmap web --type merge -p {\"metadata\":{\"finalizers\":null}}";
        (shop.kubectl(free).code == 0).then_some(())
    });
    gone(&shop);
    assert!(has(&shop, "post") && !has(&shop, "web"));
    assert_eq!(shop.get("configmap", "pre").unwrap()["metadata"]["uid"], first, "it is not run again");
    assert!(has(&shop, "kept") && has(&shop, "asked"));
}

#[test]
fn a_failed_hook_lets_everything_stay_and_says_how_to_go_on() {
    let (shop, _controller, _cache) =
        kept(&[("app/config.yaml", CONFIG), ("app/check.yaml", &failing_job())], json!({}));
    delete(&shop);
    says(&shop, "Hooks", "hook ");
    says(&shop, "Hooks", "kubectl patch application web");
    assert!(has(&shop, "web"));
    finalize(&shop, &Value::Null);
    gone(&shop);
    assert!(has(&shop, "web"), "nobody asked for more");
}

#[test]
fn without_its_project_it_takes_its_own_along() {
    let (shop, _controller, _cache) = kept(
        &[
            ("app/config.yaml", CONFIG),
            ("app/kept.yaml", &config("kept", &argo("sync-options", "Delete=false"))),
            ("app/post.yaml", &config("post", &argo("hook", "PostDelete"))),
        ],
        json!({}),
    );
    shop.kubectl(&format!("delete project {}", shop.name())).ok();
    delete(&shop);
    gone(&shop);
    assert!(!has(&shop, "web") && has(&shop, "kept") && !has(&shop, "post"), "no hook is made without it");
    let kept = event(&shop, "Kept");
    assert!(kept.contains("/kept (Git says Delete=false)"), "{kept}");
}

#[test]
fn without_its_repository_it_goes_by_what_is_here_or_says_what_is_wrong() {
    let files = [("app/config.yaml", CONFIG)];
    for is_here in [true, false] {
        let shop = Shop::unheld(&files);
        let (bare, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let root = bare.path().display().to_string();
        shop.repo.git(&["clone", "--quiet", "--bare", ".", &format!("{root}/shop.git")]);
        let server = GitServer::start(bare.path(), "127.0.0.1:0", None).unwrap();
        let source = json!({"repo": server.url("shop.git"), "revision": "main", "path": "app"});
        shop.hold(json!({"source": source, "sync": {"mode": "Automatic"}}));
        let controller = Controller::start(shop.cluster, shop.name(), cache.path());
        synced(&shop, "web");
        drop(server);
        controller.kill();
        let folder = if is_here { cache.path().to_owned() } else { cache.path().join("empty") };
        let _next = Controller::start(shop.cluster, shop.name(), &folder);
        delete(&shop);
        if is_here {
            gone(&shop);
            assert!(!has(&shop, "web"));
        } else {
            says(&shop, "Hooks", "cannot be reached");
            assert!(has(&shop, "web"));
            finalize(&shop, &Value::Null);
            gone(&shop);
        }
    }
}

fn child(shop: &Shop, greeting: &str) -> (String, String) {
    let application = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application",
        "metadata": {"name": "child", "finalizers": ["kubectl-gitops.dev/prune"]},
        "spec": {"project": shop.name(), "source": {"repo": shop.repo.url(), "revision": "main", "path": "child"}, "sync": {"mode": "Automatic"}}});
    (application.to_string(), CONFIG.replace("name: web", "name: born").replace("hello", greeting))
}

#[test]
fn an_application_declares_another_and_takes_it_away_again() {
    let (shop, _controller, _cache) = kept(&[("app/config.yaml", CONFIG)], json!({}));
    let (application, born) = child(&shop, "hello");
    shop.repo.commit("child", &[("app/child.json", &application), ("child/born.yaml", &born)]);
    eventually("the child's object is there", LONG, || has(&shop, "born").then_some(()));
    synced(&shop, "child");
    let history = |name: &str| {
        let application = shop.get("application", name).unwrap();
        application["status"]["history"].as_array().unwrap().len()
    };
    // What the child does with itself concerns its parent's sync no more.
    shop.repo.commit("greet", &[("child/born.yaml", &child(&shop, "goodbye").1)]);
    let greets = || Some(shop.get("configmap", "born")?["data"]["greeting"] == "goodbye");
    eventually("the child follows by itself", LONG, || greets().filter(|greets| *greets));
    synced(&shop, "child");
    let settled = eventually("it is quiet", LONG, || {
        let versions = || {
            ["web", "child"]
                .map(|name| shop.get("application", name).unwrap()["metadata"]["resourceVersion"].clone())
        };
        let before = versions();
        std::thread::sleep(Duration::from_secs(4));
        (before == versions()).then_some((history("web"), history("child")))
    });
    assert_eq!(settled, (2, 2), "no fight, and nothing twice");
    // A child that somebody deletes is refused while Git declares it.
    shop.kubectl("delete application child --wait=false").refused(&["child"]);
    shop.repo.remove("no child", &["app/child.json"]);
    eventually("the child is gone", LONG, || shop.get("application", "child").is_none().then_some(()));
    assert!(!has(&shop, "born"), "its own finalizer has taken it along");
    assert!(has(&shop, "web"));
}
