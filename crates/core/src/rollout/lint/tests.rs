use serde_json::json;

use super::super::simulation::{self, commit};
use super::super::spec::{Header, OnFailure, Route};
use super::*;

fn spec(kind: &str, strategy: Strategy) -> Spec {
    let mut spec = Spec { progress_deadline: 600, total_deadline: 7200, ..simulation::spec(strategy) };
    spec.on_failure = OnFailure::Revert;
    spec.target.kind = kind.into();
    spec
}

fn told(spec: &Spec, change: impl FnOnce(&mut Value)) -> String {
    let mut objects = commit(&spec.target.kind, "v1");
    change(&mut objects.get_mut(&spec.target).unwrap().value);
    lint(spec, &objects).iter().map(|found| format!("{}; {}\n", found.message, found.hint)).collect()
}

fn blue_green() -> Strategy {
    Strategy::BlueGreen {
        active_service: "web".into(),
        preview_service: Some("web-canary".into()),
        preview_replicas: super::super::spec::Size::Percent(100),
        auto_promote: true,
        before: vec![],
        after: vec![],
        scale_down_delay: 30,
    }
}

#[test]
fn good_ones_pass() {
    let steps = vec![Step::SetWeight(10), Step::Pause(None), Step::SetWeight(50)];
    for kind in ["Deployment", "StatefulSet"] {
        for strategy in [Strategy::Canary(steps.clone()), blue_green()] {
            assert_eq!(told(&spec(kind, strategy), |_| {}), "");
        }
    }
}

#[test]
fn each_mistake_is_named() {
    let canary = |steps: &[Step]| Strategy::Canary(steps.to_vec());
    let deployment = spec("Deployment", canary(&[Step::SetWeight(10)]));
    let stateful = spec("StatefulSet", canary(&[Step::SetWeight(10)]));
    let header = Step::SetHeader(Header { name: "a".into(), value: "b".into() });
    let mut lost = deployment.clone();
    lost.traffic.routes = vec![Route { kind: "HTTPRoute".into(), name: "none".into() }];
    let claims = json!([{"metadata": {"name": "data"}}]);
    let claim = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "disk"}}]);
    for (found, expected) in [
        (told(&stateful, |v| v["spec"]["updateStrategy"] = json!({"type": "OnDelete"})), "OnDelete"),
        (told(&stateful, |v| v["spec"]["replicas"] = json!(1)), "has one Pod"),
        (
            told(&spec("StatefulSet", blue_green()), |v| v["spec"]["volumeClaimTemplates"] = claims),
            "volumes of its own",
        ),
        (told(&deployment, |v| v["spec"]["template"]["spec"]["volumes"] = claim), "claim disk"),
        (told(&deployment, |v| v["spec"]["paused"] = json!(true)), "is paused"),
        (
            told(&spec("Deployment", blue_green()), |v| {
                v["spec"]["template"]["metadata"]["labels"]["app"] = json!("x")
            }),
            "does not select",
        ),
        (
            told(&spec("Deployment", canary(&[Step::SetWeight(50), Step::SetWeight(10)])), |_| {}),
            "from 50 to 10",
        ),
        (told(&spec("Deployment", canary(&[header])), |_| {}), "need a route"),
        (told(&spec("Deployment", canary(&[Step::Pause(Some(9000))])), |_| {}), "deadlines.total"),
        (told(&lost, |_| {}), "HTTPRoute none is not declared"),
    ] {
        assert!(found.contains(expected), "{expected}: {found}");
    }
    let mut stands = commit("StatefulSet", "v1");
    assert_eq!(obstacle(&stateful, &stands), None);
    stands.get_mut(&stateful.target).unwrap().value["spec"]["replicas"] = json!(1);
    assert_eq!(obstacle(&stateful, &stands), None, "what may surprise holds nothing up");
    stands.get_mut(&stateful.target).unwrap().value["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    assert!(
        obstacle(&stateful, &stands)
            .unwrap()
            .starts_with("spec.target: StatefulSet shop/web has updateStrategy")
    );
    let mut missing = deployment;
    missing.target.name = "other".into();
    assert!(told_missing(&missing).contains("Deployment shop/other is not declared"));
}

#[test]
fn what_an_autoscaler_does_to_a_rollout_is_told() {
    let canary = || Strategy::Canary(vec![Step::SetWeight(10)]);
    let mut routed = spec("Deployment", canary());
    routed.traffic.stable_service = Some("web".into());
    routed.traffic.canary_service = Some("web-canary".into());
    for (spec, expected) in [
        (spec("Deployment", canary()), "weights by numbers of Pods are rough"),
        (spec("StatefulSet", canary()), "Pods that it adds between two steps have the new version"),
        (routed, ""),
    ] {
        let mut objects = commit(&spec.target.kind, "v1");
        let target = json!({"apiVersion": "apps/v1", "kind": spec.target.kind, "name": "web"});
        let scaler =
            simulation::object(json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web", "namespace": "shop"}, "spec": {"scaleTargetRef": target}}));
        objects.extend([scaler]);
        let found = lint(&spec, &objects);
        let told: String = found.iter().map(|found| found.message.clone()).collect();
        assert!(told.contains(expected) && (!expected.is_empty() || told.is_empty()), "{told}");
        assert_eq!(obstacle(&spec, &objects), None);
    }
}

fn told_missing(spec: &Spec) -> String {
    lint(spec, &commit("Deployment", "v1")).iter().map(|found| found.message.clone()).collect()
}

#[test]
fn what_both_versions_read_is_named_once() {
    let spec = spec("Deployment", Strategy::Canary(vec![Step::SetWeight(10)]));
    let mut objects = commit("Deployment", "v1");
    let declare = |objects: &mut Objects, kind: &str, name: &str, immutable: bool| {
        let value = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "immutable": immutable});
        let (key, mut object) = (spec.beside("", kind, name), objects[&spec.target].clone());
        (object.key, object.value) = (key.clone(), value.into());
        objects.insert(key, object);
    };
    for (kind, name, immutable) in [
        ("ConfigMap", "env", false),
        ("Secret", "tls", false),
        ("ConfigMap", "fixed", true),
        ("Secret", "other", false),
    ] {
        declare(&mut objects, kind, name, immutable);
    }
    let target = &mut objects.get_mut(&spec.target).unwrap().value;
    target["spec"]["template"]["spec"]["volumes"] = json!([{"name": "a", "configMap": {"name": "env"}},
        {"name": "b", "secret": {"secretName": "tls"}}, {"name": "c", "configMap": {"name": "fixed"}},
        {"name": "d", "secret": {"secretName": "by-an-operator"}}]);
    let found = lint(&spec, &objects);
    assert!(found.len() == 1 && !found[0].error, "{found:?}");
    let message = &found[0].message;
    assert!(message.contains(" in ConfigMap shop/env, Secret shop/tls: "), "{message}");
}
