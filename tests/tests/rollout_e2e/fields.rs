//! Kinds with a weight field of their own, as Knative has it: a list of two.

use gitops_tests::cluster::{eventually, webhook_cluster};
use gitops_tests::shop::CONFIG;
use gitops_tests::{Controller, Shop};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::stage::automatic;
use crate::{LONG, Stage};

fn service(image: &str) -> String {
    json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
        "template": {"spec": {"containers": [{"image": image}]}},
        "traffic": [{"latestRevision": true, "percent": 100}, {"revisionName": "web-1", "percent": 0}]}})
    .to_string()
}

/// A definition whose kind is served.
fn define(definition: &Value) {
    let cluster = webhook_cluster();
    cluster.kubectl_stdin("apply --server-side -f -", &definition.to_string()).ok();
    cluster.serves(definition["metadata"]["name"].as_str().unwrap());
}

/// KServe's kind, without a controller.
pub fn inference_services() {
    define(&json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "inferenceservices.serving.kserve.io"}, "spec": {"group": "serving.kserve.io", "scope": "Namespaced",
            "names": {"kind": "InferenceService", "plural": "inferenceservices"}, "versions": [{"name": "v1beta1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}}));
}

#[test]
fn an_inference_service_is_stepped_through_its_percent_and_back() {
    inference_services();
    let rollout = json!({"strategy": {"canary": {"steps": [{"setWeight": 10}, {"pause": {}}]}},
        "traffic": {"weightPath": "spec.predictor.canaryTrafficPercent"}, "onFailure": "Hold"});
    let stage = Stage::of("InferenceService", &rollout, &[]);
    let runs = |stage: &Stage| {
        let live = stage.shop.get("inferenceservice", "web").unwrap_or_default();
        let predictor = &live["spec"]["predictor"];
        (predictor["model"]["storageUri"].clone(), predictor["canaryTrafficPercent"].clone())
    };
    stage.push("web:2");
    stage.phase("Paused");
    assert_eq!(runs(&stage), (json!("web:2"), json!(10)));
    let more = json!({"spec": {"predictor": {"canaryTrafficPercent": 100}}}).to_string();
    let patch = ["patch", "inferenceservice", "web", "--type=merge", "-p", more.as_str()];
    stage.shop.kubectl_args(&patch).refused(&["denied the request", "canaryTrafficPercent"]);
    stage.ask("abort", json!({})).ok();
    stage.phase("Aborted");
    stage.eventually("the old version alone", |stage| {
        (runs(stage) == (json!("web:1"), Value::Null)).then_some(())
    });
}

/// Image, and percent of the newest and of the other revision.
fn runs(shop: &Shop) -> (Value, Value, Value) {
    let live = shop.get("services.serving.knative.dev", "web").unwrap_or_default();
    let traffic = &live["spec"]["traffic"];
    let image = &live["spec"]["template"]["spec"]["containers"][0]["image"];
    (image.clone(), traffic[0]["percent"].clone(), traffic[1]["percent"].clone())
}

#[test]
fn a_knative_service_is_stepped_through_its_traffic() {
    define(&json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "services.serving.knative.dev"}, "spec": {"group": "serving.knative.dev", "scope": "Namespaced",
            "names": {"kind": "Service", "plural": "services"}, "versions": [{"name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}}));
    let rollout = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"}, "spec": {
        "target": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "web"},
        "strategy": {"canary": {"steps": [{"setWeight": 10}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}]}},
        "traffic": {"weightPath": "spec.traffic[latestRevision=true].percent"}, "onFailure": "Hold"}});
    let files = [
        ("app/web.yaml", service("web:1")),
        ("app/config.yaml", CONFIG.to_owned()),
        ("app/rollout.yaml", rollout.to_string()),
    ];
    let shop = Shop::unheld(&files.each_ref().map(|(path, text)| (*path, text.as_str())));
    shop.hold(automatic());
    let cache = TempDir::with_prefix("gitops-controller-").unwrap();
    let controller = Controller::start(shop.cluster, shop.name(), cache.path());
    let stands = |what: &str, wanted: (&str, i64, i64)| {
        let wanted = (json!(wanted.0), json!(wanted.1), json!(wanted.2));
        let told = eventually(what, LONG, || {
            // Knative's own controller would say so.
            let ready = json!({"status": {"observedGeneration": shop.get("services.serving.knative.dev", "web")?["metadata"]["generation"],
                "conditions": [{"type": "Ready", "status": "True"}]}});
            shop.kubectl_args(&[
                "patch",
                "services.serving.knative.dev",
                "web",
                "--subresource=status",
                "--type=merge",
                "-p",
                &ready.to_string(),
            ]);
            let status = shop.get("rollout", "web")?["status"].clone();
            (status["phase"] == what && runs(&shop) == wanted).then_some(status)
        });
        assert!(told["state"]["stable"].is_object(), "{told}\n{}", controller.log());
    };
    let ask = |verb: &str, id: &str| {
        let request = json!({"id": id, "verb": verb, "reason": "a test"});
        let annotation = format!("kubectl-gitops.dev/request={request}");
        shop.kubectl_args(&["annotate", "--overwrite", "rollout", "web", &annotation]).ok();
    };
    stands("Idle", ("web:1", 100, 0));
    shop.repo.commit("second", &[("app/web.yaml", &service("web:2"))]);
    stands("Paused", ("web:2", 10, 90));
    let more = json!([{"op": "replace", "path": "/spec/traffic/0/percent", "value": 100}]).to_string();
    let tried =
        shop.kubectl_args(&["patch", "services.serving.knative.dev", "web", "--type=json", "-p", &more]);
    assert!(tried.stderr.contains("denied the request"), "{tried:?}");
    ask("promote", "1");
    stands("Paused", ("web:2", 60, 40));
    ask("abort", "2");
    stands("Aborted", ("web:1", 100, 0));
    ask("retry", "3");
    stands("Paused", ("web:2", 10, 90));
    ask("promote", "4");
    stands("Paused", ("web:2", 60, 40));
    ask("promote", "5");
    stands("Idle", ("web:2", 100, 0));
}
