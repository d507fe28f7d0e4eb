//! Objects that are there before their Application, made by other clients.

use std::time::Duration;

use gitops_tests::cluster::eventually;
use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use gitops_tests::{Controller, Shop};
use serde_json::json;
use tempfile::TempDir;

use super::{LONG, drift_is_let, greeting, greets, says, status};

#[test]
fn what_is_as_git_says_already_is_kept_so_from_then_on() {
    let shop = Shop::unheld(&[("app/web.yaml", DEPLOYMENT), ("app/config.yaml", CONFIG)]);
    for object in [CONFIG, DEPLOYMENT] {
        shop.kubectl_stdin("apply -f -", object).ok();
    }
    let before = shop.get("deployment", "web").unwrap()["spec"].clone();
    let owner = |kind: &str| {
        let live = shop.get(kind, "web")?;
        live["metadata"]["annotations"]["kubectl-gitops.dev/owner"].as_str().map(str::to_owned)
    };
    shop.hold(json!({"sync": {"mode": "Manual", "prune": true, "pruneBudget": {"percent": 100}}}));
    let cache = TempDir::with_prefix("gitops-controller-").unwrap();
    let _controller = Controller::start(shop.cluster, shop.name(), cache.path());
    // It is no difference.
    let synced = says(&shop, "Synced");
    assert_eq!((&synced["sync"], owner("configmap")), (&json!("Synced"), None), "{synced}");

    shop.change(&json!({"sync": {"mode": "Automatic"}}));
    eventually("both are marked", LONG, || {
        let history = status(&shop)["history"].clone();
        (owner("configmap").and(owner("deployment")).is_some() && history[0]["message"] == "2 adopted")
            .then_some(())
    });
    assert_eq!(shop.get("deployment", "web").unwrap()["spec"], before);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(status(&shop)["history"].as_array().unwrap().len(), 1, "{}", status(&shop));

    // Long before the next look that no watch asks for.
    drift_is_let(&shop);
    greets(&shop, "hello");
    shop.repo.remove("no config", &["app/config.yaml"]);
    eventually("it is pruned", LONG, || greeting(&shop).is_none().then_some(()));
}
