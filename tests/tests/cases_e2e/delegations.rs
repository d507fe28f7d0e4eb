//! Delegations from Git: what an autoscaler, an Application's list or
//! cert-manager may set.

use std::time::Duration;

use gitops_tests::Shop;
use gitops_tests::cluster::eventually;
use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use serde_json::json;

use super::patched;

fn autoscaler(min: u32, max: u32) -> String {
    format!(
        "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: web}}\nspec:\n  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: web}}\n  minReplicas: {min}\n  maxReplicas: {max}\n"
    )
}

#[test]
fn an_autoscaler_in_git_scales_between_its_bounds() {
    let unscaled = DEPLOYMENT.replace("  replicas: 2\n", "");
    let shop = Shop::with(&[
        ("app/config.yaml", CONFIG),
        ("app/web.yaml", &unscaled),
        ("app/hpa.yaml", &autoscaler(3, 6)),
    ]);
    // The real controller: below the minimum it needs no metrics.
    eventually("the autoscaler has scaled up", Duration::from_secs(40), || {
        (shop.get("deployment", "web")?["spec"]["replicas"] == 3).then_some(())
    });
    shop.kubectl("scale deployment web --replicas=6").ok();
    shop.kubectl("scale deployment web --replicas=7").refused(&[
        "spec.replicas",
        "3 to 6, set by HorizontalPodAutoscaler web",
        "7",
    ]);
    patched(&shop, "deployment", r#"{"spec":{"replicas":0}}"#).refused(&["spec.replicas", "3 to 6"]);
    // A sync of something else does not take them back, nor to 1.
    shop.repo.commit("more", &[("app/web.yaml", &unscaled.replace("web:1", "web:2"))]);
    shop.sync().ok();
    assert_eq!(shop.get("deployment", "web").unwrap()["spec"]["replicas"], 6);
    // Bounds end when Git drops them.
    shop.repo.remove("less", &["app/hpa.yaml"]);
    shop.sync().ok();
    shop.kubectl("scale deployment web --replicas=9").ok();
    shop.repo.commit("fixed", &[("app/web.yaml", &DEPLOYMENT.replace("replicas: 2", "replicas: 4"))]);
    shop.sync().ok();
    shop.kubectl("scale deployment web --replicas=6").refused(&["spec.replicas"]);
}

#[test]
fn replicas_in_git_beside_an_autoscaler_are_a_mistake_that_is_told() {
    let shop = Shop::unheld(&[
        ("app/config.yaml", CONFIG),
        ("app/web.yaml", DEPLOYMENT),
        ("app/hpa.yaml", &autoscaler(1, 6)),
    ]);
    shop.hold(json!({}));
    let ran = shop.sync().ok();
    let said = "app/web.yaml:7 declares spec.replicas of Deployment";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    let message = shop.wait_for("Rendered", "True");
    assert!(message.contains(said) && message.contains("app/hpa.yaml:1"), "{message}");
    shop.kubectl("scale deployment web --replicas=3").refused(&["spec.replicas"]);
}

#[test]
fn an_application_lists_what_others_may_set() {
    let shop = Shop::unheld(&[("app/config.yaml", CONFIG), ("app/web.yaml", DEPLOYMENT)]);
    shop.hold(json!({"enforcement": {"delegate": [
        {"group": "apps", "kind": "Deployment", "name": "web", "path": "spec.replicas", "min": 1, "max": 4},
        {"kind": "ConfigMap", "name": "web", "path": "data.level", "min": 0, "max": 9}]}}));
    shop.sync().ok();
    shop.kubectl("scale deployment web --replicas=4").ok();
    shop.kubectl("scale deployment web --replicas=5").refused(&["spec.replicas", "1 to 4"]);
    // What is text in Kubernetes is no number.
    patched(&shop, "configmap", r#"{"data":{"level":"5"}}"#).refused(&["data.level"]);
    shop.sync().ok();
    assert_eq!(shop.get("deployment", "web").unwrap()["spec"]["replicas"], 4);
}

#[test]
fn cert_manager_may_inject_its_ca_where_git_asks_for_it() {
    let name = format!("hook-{}", std::process::id());
    let hook = |annotations: &str| {
        format!(
            "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata:\n  name: {name}\n  annotations: {{{annotations}}}\nwebhooks:\n- name: a.example.com\n  admissionReviewVersions: [v1]\n  sideEffects: None\n  clientConfig: {{service: {{name: a, namespace: b}}}}\n  objectSelector: {{matchLabels: {{never: there}}}}\n  rules: []\n"
        )
    };
    let shop = Shop::under(
        json!({"clusterKinds": [{"group": "admissionregistration.k8s.io", "kind": "ValidatingWebhookConfiguration"}]}),
        &[("app/config.yaml", CONFIG), ("app/hook.yaml", &hook("cert-manager.io/inject-ca-from: a/b"))],
    );
    // Webhooks are not asked about webhook configurations: here the sync and the diff tell.
    let ca = json!([{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJmVENDQVNPZ0F3SUJBZ0lVZmFrZQotLS0tLUVORCBDRVJUSUZJQ0FURS0tLS0tCg=="}]).to_string();
    let inject = || {
        shop.cluster.kubectl_args(&[
            "patch",
            "validatingwebhookconfiguration",
            &name,
            "--type=json",
            "-p",
            &ca,
        ])
    };
    let diff =
        || shop.cluster.gitops(std::path::Path::new("/"), &format!("diff web --namespace {}", shop.name()));
    let injected = inject();
    assert!(injected.code == 0, "{}", injected.stderr);
    assert_eq!(diff().code, 0, "{}", diff().stdout);
    shop.repo.commit("no more", &[("app/hook.yaml", &hook("team: blue"))]);
    assert!(diff().stdout.contains("caBundle"), "{}", diff().stdout);
    shop.cluster.kubectl(&format!("delete validatingwebhookconfiguration {name}")).ok();
}
