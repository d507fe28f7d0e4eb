//! Namespaces end, whatever is held in them.

use std::time::Duration;

use gitops_tests::Shop;
use gitops_tests::cluster::eventually;
use gitops_tests::shop::CONFIG;
use serde_json::json;

use super::API;

#[test]
fn an_enforced_namespace_still_ends() {
    let shop = Shop::open();
    shop.cluster.kubectl(&format!("delete namespace {} --wait=false", shop.name())).refused(&["objects"]);
    shop.kubectl("delete application web").ok();
    eventually("nothing is held", Duration::from_secs(20), || {
        (shop.cluster.kubectl(&format!("delete namespace {} --wait=false", shop.name())).code == 0)
            .then_some(())
    });
    shop.cluster.kubectl(&format!("wait --for=delete namespace {} --timeout=60s", shop.name())).ok();
}

#[test]
fn a_namespace_with_nothing_but_an_application_ends() {
    let shop = Shop::unheld(&[("app/config.yaml", CONFIG)]);
    let application = json!({"apiVersion": API, "kind": "Application", "metadata": {"name": "web"}, "spec": {"project": "nowhere", "source": {"repo": shop.repo.url()}}});
    shop.kubectl_stdin("create -f -", &application.to_string()).ok();
    shop.cluster.kubectl(&format!("delete namespace {} --timeout=60s", shop.name())).ok();
}
