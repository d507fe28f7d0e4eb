//! What stands between an Application and its sync: others that it depends on,
//! and its Project.

use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use gitops_tests::{Controller, Shop};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{LONG, condition, eventually, greeting, greets, says, status};

#[test]
fn it_waits_for_what_it_depends_on_and_is_woken() {
    let base = CONFIG.replace("name: web", "name: base");
    let shop = Shop::unheld(&[("app/config.yaml", CONFIG), ("base/config.yaml", &base)]);
    shop.hold(json!({"sync": {"mode": "Automatic"}, "dependsOn": [{"name": "base"}]}));
    let cache = TempDir::new().unwrap();
    let _controller = Controller::start(shop.cluster, shop.name(), cache.path());
    let why = |status: &Value| condition(status, "Synced")["message"].as_str().unwrap().to_owned();
    let waiting = why(&says(&shop, "Waiting"));
    assert!(waiting.contains("/base, which is not there"), "{waiting}");
    let declare = |mode: &str| {
        let name = shop.name();
        let application = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": "base", "namespace": name},
            "spec": {"project": name, "source": {"repo": shop.repo.url(), "revision": "main", "path": "base"},
                "destination": {"namespace": name}, "sync": {"mode": mode}}});
        shop.cluster.kubectl_stdin("apply -f -", &application.to_string()).ok();
    };
    declare("Manual");
    eventually("it says what the other is", LONG, || {
        why(&status(&shop)).contains("/base, which is OutOfSync and Missing").then_some(())
    });
    assert_eq!(greeting(&shop), None);
    declare("Automatic");
    greets(&shop, "hello");
    says(&shop, "Synced");
    shop.kubectl("delete application base").ok();
}

#[test]
fn what_its_project_does_not_admit_is_not_even_compared() {
    let shop = Shop::unheld(&[("app/config.yaml", CONFIG)]);
    let kinds = json!({"kinds": [{"group": "", "kind": "ConfigMap"}]});
    shop.hold_under(kinds, json!({"sync": {"mode": "Automatic"}}));
    let cache = TempDir::new().unwrap();
    let _controller = Controller::start(shop.cluster, shop.name(), cache.path());
    greets(&shop, "hello");
    let changed = CONFIG.replace("hello", "goodbye");
    shop.repo.commit("more", &[("app/config.yaml", &changed), ("app/web.yaml", DEPLOYMENT)]);
    let synced = eventually("the Project's word is said", LONG, || {
        Some(condition(&status(&shop), "Synced")).filter(|synced| synced["status"] == "Unknown")
    });
    let message = synced["message"].as_str().unwrap();
    let project = format!("Project {}", shop.name());
    assert!(message.contains(&project) && message.contains("Deployment"), "{message}");
    assert_eq!((greeting(&shop).unwrap().as_str(), shop.get("deployment", "web")), ("hello", None));
}
