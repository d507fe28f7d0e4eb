use serde_json::json;

use super::*;
use crate::fixture::declared;

fn told(value: Value) -> Vec<String> {
    let tell = |(key, free): (ObjectKey, Free)| {
        format!("{key} {}: {}", free.path, free.bounds.map_or("any".into(), |bounds| bounds.to_string()))
    };
    of(&declared(value)).into_iter().map(tell).collect()
}

#[test]
fn autoscalers_hold_their_targets_between_bounds() {
    let object = |api: &str, kind: &str, spec: Value| json!({"apiVersion": api, "kind": kind, "metadata": {"name": "web", "namespace": "shop"}, "spec": spec});
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    for (value, expected) in [
        (
            object(
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
                json!({"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 9}),
            ),
            "Deployment shop/web spec.replicas: 2 to 9, set by HorizontalPodAutoscaler web",
        ),
        (
            object(
                "autoscaling/v1",
                "HorizontalPodAutoscaler",
                json!({"scaleTargetRef": target, "maxReplicas": 9}),
            ),
            "Deployment shop/web spec.replicas: 1 to 9, set by HorizontalPodAutoscaler web",
        ),
        (
            object(
                "keda.sh/v1alpha1",
                "ScaledObject",
                json!({"scaleTargetRef": {"name": "web"}, "minReplicaCount": 3, "idleReplicaCount": 0}),
            ),
            "Deployment shop/web spec.replicas: 0 to 100, set by ScaledObject web",
        ),
    ] {
        assert_eq!(told(value), [expected]);
    }
}

#[test]
fn cert_manager_fills_what_asks_for_it() {
    let hook = |annotations: Value| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "w", "annotations": annotations}});
    assert_eq!(
        told(hook(json!({"cert-manager.io/inject-ca-from": "a/b"}))),
        ["ValidatingWebhookConfiguration w webhooks.*.clientConfig.caBundle: any"]
    );
    assert!(told(hook(json!({"team": "blue"}))).is_empty());
}

#[test]
fn bounds_admit_whole_numbers_between_them() {
    let bounds = Bounds { min: Some(2), max: Some(9), by: "x".into() };
    for (value, admitted) in [
        (json!(2), true),
        (json!(9), true),
        (json!(1), false),
        (json!(10), false),
        (json!("5"), false),
        (json!(null), false),
    ] {
        assert_eq!(bounds.admit(&value), admitted, "{value}");
    }
}

#[test]
fn live_values_of_free_paths_are_carried() {
    let between = |min, max| Some(Bounds { min: Some(min), max: Some(max), by: "x".into() });
    let live =
        json!({"spec": {"replicas": 7, "webhooks": [{"name": "a", "ca": "A"}, {"name": "b", "ca": "B"}]}});
    for (wanted, path, bounds, expected) in [
        (json!({"spec": {}}), "spec.replicas", between(1, 9), json!({"spec": {"replicas": 7}})),
        (json!({"spec": {"replicas": 2}}), "spec.replicas", between(1, 9), json!({"spec": {"replicas": 7}})),
        (json!({"spec": {"replicas": 2}}), "spec.replicas", between(1, 5), json!({"spec": {"replicas": 2}})),
        (
            json!({"spec": {"webhooks": [{"name": "b"}]}}),
            "spec.webhooks[\"*\"].ca",
            None,
            json!({"spec": {"webhooks": [{"name": "b", "ca": "B"}]}}),
        ),
        (
            json!({"spec": {"webhooks": [{"name": "a"}, {"name": "b"}]}}),
            "spec.webhooks[name=a].ca",
            None,
            json!({"spec": {"webhooks": [{"name": "a", "ca": "A"}, {"name": "b"}]}}),
        ),
    ] {
        let mut wanted = wanted;
        carry(&mut wanted, &live, &[Free { path: path.parse().unwrap(), bounds, manager: None }]);
        assert_eq!(wanted, expected, "{path}");
    }
}

#[test]
fn scaled_workloads_begin_at_the_minimum_or_with_one() {
    let bounds = Bounds { min: Some(3), max: Some(9), by: "x".into() };
    let free = Free { path: replicas(), bounds: Some(bounds), manager: None };
    for (wanted, expected) in [(json!({"spec": {}}), 3), (json!({"spec": {"replicas": 5}}), 5)] {
        let mut wanted = wanted;
        begin(&mut wanted, std::slice::from_ref(&free));
        assert_eq!(wanted["spec"]["replicas"], expected);
    }
    assert!(!free.admits(Some(&json!(1))));
    assert!(free.clone().at_creation().admits(Some(&json!(1))));
    assert!(!free.at_creation().admits(Some(&json!(0))));
}

#[test]
fn what_a_manager_owns_is_carried_where_git_says_something_else() {
    let live = json!({
        "metadata": {"managedFields": [{"manager": "keel", "fieldsV1": {"f:spec": {"f:a": {}, "f:b": {}, "f:list": {"k:{\"name\":\"x\"}": {"f:image": {}}}}}}]},
        "spec": {"a": 1, "b": 2, "c": 3, "list": [{"name": "x", "image": "x:2"}]},
    });
    let mut wanted = json!({"spec": {"a": 9, "c": 9, "list": [{"name": "x", "image": "x:1"}]}});
    carry(&mut wanted, &live, &[Free::of_manager(Path::root(), "keel")]);
    assert_eq!(wanted, json!({"spec": {"a": 1, "c": 9, "list": [{"name": "x", "image": "x:2"}]}}));
    let mut wanted = json!({"spec": {"a": 9, "list": [{"name": "x", "image": "x:1"}]}});
    carry(&mut wanted, &live, &[Free::of_manager("spec.list".parse().unwrap(), "keel")]);
    assert_eq!(wanted, json!({"spec": {"a": 9, "list": [{"name": "x", "image": "x:2"}]}}));
}

#[test]
fn bounds_that_cannot_be_read_admit_nothing() {
    let hashed = crate::compare::salted_value(&json!(2000), "salt");
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    for (api, kind, min, max) in [
        ("autoscaling/v2", "HorizontalPodAutoscaler", "minReplicas", "maxReplicas"),
        ("keda.sh/v1alpha1", "ScaledObject", "minReplicaCount", "maxReplicaCount"),
    ] {
        let object = declared(
            json!({"apiVersion": api, "kind": kind, "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"scaleTargetRef": target, min: 1, max: hashed}}),
        );
        let (_, free) = of(&object).remove(0);
        assert!(!free.admits(Some(&json!(1))) && !free.admits(Some(&json!(2000))), "{free:?}");
    }
}
