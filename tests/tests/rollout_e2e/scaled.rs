//! Replicas that change while a version is on its way in: by a commit that changes
//! nothing else, and by Kubernetes' own autoscaler, which takes its measurements
//! from custom resources: a kind that is shaped like an external metric.

use gitops_tests::cluster::{TestCluster, webhook_cluster};
use gitops_tests::gateway;
use serde_json::{Value, json};

use crate::Stage;
use crate::stage::service;

/// `load` as the autoscaler asks for it: external.metrics.k8s.io/v1beta1.
fn install_metric(cluster: &TestCluster) {
    let open = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "load.external.metrics.k8s.io", "annotations": {"api-approved.kubernetes.io": "unapproved, a test"}},
        "spec": {"group": "external.metrics.k8s.io", "scope": "Namespaced",
            "names": {"plural": "load", "singular": "load", "kind": "ExternalMetricValue", "listKind": "ExternalMetricValueList"},
            "versions": [{"name": "v1beta1", "served": true, "storage": true, "schema": open}]}});
    cluster.kubectl_stdin("apply --server-side --force-conflicts -f -", &definition.to_string()).ok();
    cluster.serves("load.external.metrics.k8s.io");
}

/// One Pod for each unit of the load, four to eight.
fn autoscaler() -> Value {
    let at_once = json!({"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 8, "periodSeconds": 1}]});
    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}, "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "minReplicas": 4, "maxReplicas": 8,
        "behavior": {"scaleUp": at_once, "scaleDown": at_once},
        "metrics": [{"type": "External", "external": {"metric": {"name": "load"}, "target": {"type": "AverageValue", "averageValue": "1"}}}]}})
}

impl Stage {
    /// At rest, with an autoscaler that scales.
    fn autoscaled(rollout: &Value, more: &[Value]) -> Self {
        install_metric(webhook_cluster());
        let stage = Self::of("Deployment", rollout, &[more, &[autoscaler()]].concat());
        stage.scaled.set(true);
        stage.push("web:1");
        stage.load(5);
        stage.eventually("the autoscaler scales", |stage| (stage.available("web") == 5).then_some(()));
        stage
    }

    fn load(&self, load: u8) {
        let now = jiff::Timestamp::now().to_string();
        let value = json!({"apiVersion": "external.metrics.k8s.io/v1beta1", "kind": "ExternalMetricValue", "metadata": {"name": "load"},
            "metricName": "load", "metricLabels": {}, "timestamp": now, "value": load.to_string()});
        self.shop.kubectl_stdin("apply --server-side --force-conflicts -f -", &value.to_string()).ok();
    }

    /// Waits for these replicas, all of them available.
    fn sized(&self, web: i64, canary: i64) {
        self.eventually(&format!("{web} and {canary} Pods"), |stage| {
            let has =
                |name: &str| (stage.runs(name).map_or(0, |(_, replicas)| replicas), stage.available(name));
            (has("web") == (web, web) && has("web-canary") == (canary, canary)).then_some(())
        });
    }

    /// Waits until this commit is promoted, with so many Pods and no others.
    fn ends_with(&self, commit: &str, image: &str, pods: usize) {
        self.eventually("it is promoted", |stage| {
            let status = stage.rollout()["status"].clone();
            assert!(!matches!(status["phase"].as_str(), Some("Aborting" | "Aborted")), "{status}");
            (status["phase"] == "Idle" && status["promotedRevision"] == *commit).then_some(())
        });
        self.eventually("these Pods alone", |stage| (stage.images() == vec![image; pods]).then_some(()));
    }

    /// A failing version goes back, while the load rises.
    fn goes_back(&self, image: &str, before: i64) {
        self.push("web:broken");
        self.eventually("it begins", |stage| stage.runs("web-canary"));
        self.load(8);
        let status = self.phase("Aborted");
        assert!(status["message"].as_str().unwrap().contains("no progress"), "{status}");
        assert!(before < 8);
        self.eventually("the old version alone", |stage| (stage.images() == vec![image; 8]).then_some(()));
        assert_eq!(self.runs("web-canary"), None);
    }
}

/// A canary at half, that waits.
fn half() -> Value {
    json!({"strategy": {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}},
        "deadlines": {"progress": "8s"}, "onFailure": "Hold"})
}

#[test]
fn a_commit_of_replicas_alone_is_followed_at_once() {
    let stage = Stage::new(&half());
    let commit = stage.push("web:2");
    stage.phase("Paused");
    stage.sized(2, 2);
    let more = |image: &str, replicas: u8| {
        let text = stage.workload(image).replace("\"replicas\":4", &format!("\"replicas\":{replicas}"));
        stage.shop.repo.commit("more", &[("app/web.yaml", &text)]);
    };
    more("web:2", 8);
    stage.sized(4, 4);
    assert_eq!(stage.rollout()["status"]["phase"], "Paused");
    more("web:2", 6);
    stage.sized(3, 3);
    stage.ask("promote", json!({})).ok();
    stage.ends_with(&commit, "web:2", 6);
}

#[test]
fn a_commit_of_replicas_alone_lets_no_more_of_a_stateful_set_out() {
    let rollout =
        json!({"strategy": {"canary": {"steps": [{"setWeight": 25}, {"pause": {}}]}}, "onFailure": "Hold"});
    let mut stage = Stage::of("StatefulSet", &rollout, &[service("web")]);
    let commit = stage.push("web:2");
    stage.phase("Paused");
    stage.controller.take().unwrap().kill();
    let text = stage.workload("web:2").replace("\"replicas\":4", "\"replicas\":12");
    stage.shop.repo.commit("more", &[("app/web.yaml", &text)]);
    let partition = "/spec/updateStrategy/rollingUpdate/partition";
    // Half of it would let eight more out.
    stage.eventually("the webhook knows the commit", |stage| {
        let ran = stage.shop.kubectl("scale statefulset/web --replicas=12");
        assert!(ran.code != 0 && ran.stderr.contains("denied the request"), "{ran:?}");
        ran.stderr.contains("Pods would be added").then_some(())
    });
    let patched =
        stage.shop.kubectl_args(&["patch", "statefulset", "web", "-p", r#"{"spec": {"replicas": 12}}"#]);
    patched.refused(&[
        "Pods would be added",
        "spec.updateStrategy.rollingUpdate.partition",
        "kubectl gitops sync",
    ]);
    stage.drive();
    stage.eventually("all Pods are there", |stage| {
        let new = stage.images().iter().filter(|image| *image == "web:2").count();
        assert!(new <= 4, "three of twelve, and the one that was updated before: {new}");
        let live = stage.shop.get("statefulset", "web")?;
        assert!(live["spec"]["replicas"] != 12 || live.pointer(partition) == Some(&json!(9)), "{live}");
        (stage.available("web") == 12).then_some(())
    });
    stage.ask("promote", json!({})).ok();
    stage.ends_with(&commit, "web:2", 12);
}

#[test]
fn requests_are_divided_while_an_autoscaler_scales() {
    gateway::install(webhook_cluster());
    let mut rollout = half();
    rollout["traffic"] = json!({"stableService": "web", "canaryService": "web-new", "routes": [{"kind": "HTTPRoute", "name": "web"}]});
    let route = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "web"},
        "spec": {"rules": [{"backendRefs": [{"name": "web", "port": 80}]}]}});
    let stage = Stage::autoscaled(&rollout, &[service("web"), service("web-new"), route]);
    let commit = stage.push("web:2");
    stage.phase("Paused");
    stage.sized(5, 3);
    stage.load(7);
    stage.sized(7, 4);
    let weights = |stage: &Stage| {
        let route = stage.shop.get("httproute", "web").unwrap();
        [0, 1].map(|at| route.pointer(&format!("/spec/rules/0/backendRefs/{at}/weight")).cloned())
    };
    assert_eq!(weights(&stage), [Some(json!(50)), Some(json!(50))]);
    stage.ask("promote", json!({})).ok();
    stage.ends_with(&commit, "web:2", 7);
    stage.goes_back("web:2", 7);
}

#[test]
fn pods_are_counted_while_an_autoscaler_scales() {
    let stage = Stage::autoscaled(&half(), &[]);
    let commit = stage.push("web:2");
    stage.phase("Paused");
    stage.sized(5, 3);
    stage.load(7);
    stage.sized(7, 4);
    stage.load(4);
    stage.sized(4, 2);
    stage.load(6);
    stage.ask("promote", json!({})).ok();
    stage.ends_with(&commit, "web:2", 6);
    stage.goes_back("web:2", 6);
}

/// The autoscaler leaves alone what is at zero.
#[test]
fn what_was_stopped_for_a_new_version_comes_back_in_its_old_size() {
    let stage = Stage::autoscaled(&json!({"strategy": {"recreate": {}}}), &[]);
    let commit = stage.push("web:2");
    stage.ends_with(&commit, "web:2", 5);
    stage.load(6);
    stage.eventually("it is scaled again", |stage| (stage.images() == ["web:2"; 6]).then_some(()));
}
