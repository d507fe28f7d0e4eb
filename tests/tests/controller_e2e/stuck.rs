//! A sync that waits for what never gets healthy, and what ends that.

use gitops_tests::cluster::eventually;
use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use gitops_tests::{Controller, Shop};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{LONG, greeting, greets, says, status};

/// A shop whose ConfigMap comes after its Deployment, which no node runs, and a
/// controller that looks at one Application at a time.
fn stuck() -> (Shop, Controller, TempDir) {
    let config =
        CONFIG.replace("metadata:", "metadata:\n  annotations: {kubectl-gitops.dev/sync-wave: \"1\"}");
    let shop = Shop::unheld(&[("app/web.yaml", DEPLOYMENT), ("app/config.yaml", &config)]);
    shop.hold(json!({"sync": {"mode": "Automatic"}}));
    let cache = TempDir::with_prefix("gitops-controller-").unwrap();
    let arguments = ["--application-namespace", shop.name(), "--workers", "1"];
    let controller = Controller::with(shop.cluster, &arguments, cache.path());
    waits(&shop);
    (shop, controller, cache)
}

/// Waits until a sync waits for the Deployment.
fn waits(shop: &Shop) {
    eventually("the Deployment is there, and the sync goes on", LONG, || {
        let lease = shop.get("lease", "gitops-sync-web")?;
        shop.get("deployment", "web")?;
        lease["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty()).map(drop)
    });
    assert_eq!(greeting(shop), None);
}

#[test]
fn a_newer_commit_mends_a_stuck_sync() {
    let (shop, _controller, _cache) = stuck();
    let mended = DEPLOYMENT.replace("replicas: 2", "replicas: 0");
    let commit = shop.repo.commit("mended", &[("app/web.yaml", &mended)]);
    greets(&shop, "hello");
    let status = says(&shop, "Synced");
    let entries = status["history"].as_array().unwrap();
    let of = entries.iter().map(|entry| &entry["revision"]).collect::<Vec<_>>();
    assert_eq!(of, [&Value::from(commit)], "what was broken off is no sync: {status}");
}

#[test]
fn a_stuck_sync_holds_up_no_other() {
    let (shop, _controller, _cache) = stuck();
    let other = CONFIG.replace("name: web", "name: other");
    assert_ne!(other, CONFIG);
    shop.repo.commit("another one", &[("other/config.yaml", &other)]);
    let mut application = shop.get("application", "web").unwrap();
    application["metadata"] = json!({"namespace": shop.name(), "name": "other"});
    application["spec"]["source"]["path"] = "other".into();
    shop.kubectl_stdin("create -f -", &application.to_string()).ok();
    eventually("it is synced", LONG, || shop.get("configmap", "other").map(drop));
    assert_eq!(greeting(&shop), None, "the other one waits as before");
}

#[test]
fn who_suspends_or_deletes_does_not_wait_for_a_stuck_sync() {
    let (shop, _controller, _cache) = stuck();
    shop.change(&json!({"suspend": true}));
    says(&shop, "Suspended");
    shop.change(&json!({"suspend": false}));
    waits(&shop);
    let finalizers = json!({"metadata": {"finalizers": ["kubectl-gitops.dev/prune"]}}).to_string();
    shop.kubectl_args(&["patch", "application", "web", "--type=merge", "-p", &finalizers]).ok();
    shop.kubectl("delete application web --wait=false").ok();
    eventually("the Application is gone", LONG, || shop.get("application", "web").is_none().then_some(()));
    assert_eq!((shop.get("deployment", "web"), status(&shop)), (None, Value::Null));
}
