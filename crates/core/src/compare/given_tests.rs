//! What Kubernetes itself gives an object, kind by kind; all of it was seen on
//! a real API server (`tests/tests/roundtrip`).
#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::{Value, json};

use super::*;

fn found(want: &Value, live: &Value) -> Vec<String> {
    static SCHEMAS: std::sync::LazyLock<Schemas> = std::sync::LazyLock::new(Schemas::builtin);
    let gvk = Gvk::of(want).unwrap();
    let differences = compare(&SCHEMAS, &gvk, want, live, &CompareOptions::of(&gvk));
    differences.iter().map(|d| format!("{:?} {}", d.op, d.path)).collect()
}

fn object(api_version: &str, kind: &str, spec: Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, "spec": spec})
}

#[track_caller]
fn same(want: &Value, live: &Value) {
    assert_eq!(found(want, live), Vec::<String>::new());
}

fn pod() -> Value {
    object(
        "v1",
        "Pod",
        json!({"containers": [{"name": "c", "image": "i:1", "resources": {"limits": {"cpu": "1"}}}]}),
    )
}

/// As admission leaves it.
fn admitted() -> Value {
    let mut live = pod();
    live["spec"]["containers"][0]["resources"]["requests"] = json!({"cpu": "1"});
    live["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "kube-api-access-ab1cd", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]);
    live["spec"]["volumes"] = json!([{"name": "kube-api-access-ab1cd", "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}]}}]);
    live["spec"]["serviceAccount"] = json!("default");
    live["spec"]["serviceAccountName"] = json!("default");
    live["spec"]["priority"] = json!(0);
    live["spec"]["preemptionPolicy"] = json!("PreemptLowerPriority");
    live["spec"]["nodeName"] = json!("n");
    live["spec"]["tolerations"] = json!([
        {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
        {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]);
    live
}

#[test]
fn what_admission_gives_a_pod_is_no_difference_and_nothing_else() {
    same(&pod(), &admitted());
    let cases: &[(&str, Value, &str)] = &[
        ("/spec/serviceAccountName", json!("admin"), "Add spec.serviceAccountName"),
        ("/spec/priority", json!(5), "Add spec.priority"),
        ("/spec/preemptionPolicy", json!("Never"), "Add spec.preemptionPolicy"),
        ("/spec/tolerations/0/key", json!("other"), "Add spec.tolerations"),
        ("/spec/tolerations/0/effect", json!("NoSchedule"), "Add spec.tolerations"),
        (
            "/spec/containers/0/volumeMounts/0/mountPath",
            json!("/etc"),
            "Add spec.containers[name=c].volumeMounts",
        ),
        (
            "/spec/containers/0/resources/requests/cpu",
            json!("2"),
            "Add spec.containers[name=c].resources.requests.cpu",
        ),
    ];
    for (pointer, value, expected) in cases {
        let mut live = admitted();
        *live.pointer_mut(pointer).unwrap() = value.clone();
        assert_eq!(found(&pod(), &live), [*expected], "{pointer}");
    }
    let mut live = admitted();
    live["spec"]["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]["audience"] = json!("x");
    assert!(found(&pod(), &live).contains(&"Add spec.volumes".to_owned()));
    let mut without_token = pod();
    without_token["spec"]["automountServiceAccountToken"] = json!(false);
    assert!(found(&without_token, &admitted()).contains(&"Add spec.volumes".to_owned()));
}

#[test]
fn templates_are_not_given_what_pods_are() {
    let spec = json!({"hostNetwork": true, "containers": [{"name": "c", "image": "i:1", "resources": {"limits": {"cpu": "1"}}, "ports": [{"containerPort": 80}]}]});
    let template =
        |spec: &Value| object("apps/v1", "DaemonSet", json!({"selector": {}, "template": {"spec": spec}}));
    let mut live = spec.clone();
    live["containers"][0]["resources"]["requests"] = json!({"cpu": "1"});
    live["containers"][0]["ports"][0]["hostPort"] = json!(80);
    same(&object("v1", "Pod", spec.clone()), &object("v1", "Pod", live.clone()));
    live["serviceAccountName"] = json!("default");
    live["nodeName"] = json!("n");
    let at = |field: &str| format!("Add spec.template.spec.{field}");
    let container = |field: &str| at(&format!("containers[name=c].{field}"));
    let expected = [
        container("ports[containerPort=80,protocol=TCP].hostPort"),
        container("resources.requests.cpu"),
        at("nodeName"),
        at("serviceAccountName"),
    ];
    assert_eq!(found(&template(&spec), &template(&live)), expected);

    let claims = |class: Option<&str>| {
        let mut claim = json!({"metadata": {"name": "d"}, "spec": {"accessModes": ["ReadWriteOnce"]}});
        if let Some(class) = class {
            claim["spec"]["storageClassName"] = class.into();
        }
        object("apps/v1", "StatefulSet", json!({"selector": {}, "volumeClaimTemplates": [claim]}))
    };
    assert_eq!(
        found(&claims(None), &claims(Some("fast"))),
        ["Add spec.volumeClaimTemplates[0].spec.storageClassName"]
    );
    let claim = |spec: Value| object("v1", "PersistentVolumeClaim", spec);
    same(&claim(json!({})), &claim(json!({"storageClassName": "standard", "volumeName": "v"})));
}

#[test]
fn a_pods_own_requests_are_those_of_its_containers() {
    let with = |requests: Option<&str>| {
        let mut pod = object(
            "v1",
            "Pod",
            json!({"resources": {"limits": {"cpu": 4}},
            "initContainers": [{"name": "a", "restartPolicy": "Always", "resources": {"requests": {"cpu": 0.25}}}, {"name": "b", "resources": {"limits": {"cpu": "1.5"}}}],
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "300m"}}}]}),
        );
        if let Some(requests) = requests {
            pod["spec"]["resources"]["requests"] = json!({"cpu": requests});
        }
        pod
    };
    same(&with(None), &with(Some("1750m")));
    for other in ["4", "1", "1751m"] {
        assert_eq!(found(&with(None), &with(Some(other))), ["Add spec.resources.requests.cpu"]);
    }
}

#[test]
fn zero_that_go_drops_is_the_default() {
    let probe = |path: &str| {
        object(
            "v1",
            "Pod",
            json!({"containers": [{"name": "c", "livenessProbe": {"httpGet": {"port": 1, "path": path}}}]}),
        )
    };
    same(&probe(""), &probe("/"));
    assert_eq!(found(&probe(""), &probe("/x")).len(), 1);
    let role = |rules: Value| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "x"}, "aggregationRule": {}, "rules": rules});
    same(&role(json!([])), &role(json!([{"verbs": ["get"]}])));
    // In custom kinds and untyped data, it says what it says.
    let custom = |list: Value| object("example.com/v1", "Db", json!({"list": list}));
    assert_eq!(found(&custom(json!([])), &custom(json!(["x"]))), ["Add spec.list[0]"]);
    let revision = |data: Value| json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "x"}, "data": data});
    assert_eq!(found(&revision(json!({"a": []})), &revision(json!({}))), ["Remove data.a"]);
    assert_eq!(found(&revision(json!({})), &revision(json!({"a": []}))), ["Add data.a"]);
}

#[test]
fn scaling_rules_are_completed_each_in_its_way() {
    let scaler = |behavior: Value| {
        object("autoscaling/v2", "HorizontalPodAutoscaler", json!({"maxReplicas": 2, "behavior": behavior}))
    };
    let down = json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]);
    let up = json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]);
    let want = scaler(json!({"scaleUp": {"tolerance": "0.1"}, "scaleDown": {"selectPolicy": "Disabled"}}));
    let mut live = scaler(
        json!({"scaleUp": {"tolerance": "100m", "selectPolicy": "Max", "policies": up, "stabilizationWindowSeconds": 0},
        "scaleDown": {"selectPolicy": "Disabled", "policies": down}}),
    );
    same(&want, &live);
    live["spec"]["behavior"]["scaleDown"]["policies"] = up;
    live["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] = json!(0);
    assert_eq!(
        found(&want, &live),
        ["Add spec.behavior.scaleDown.policies", "Add spec.behavior.scaleDown.stabilizationWindowSeconds"]
    );
}

#[test]
fn a_jobs_labels_are_filled_and_its_completions_depend() {
    let job = |metadata: Value| {
        object("batch/v1", "Job", json!({"template": {"metadata": metadata, "spec": {"containers": []}}}))
    };
    let bare = object("batch/v1", "Job", json!({"template": {"spec": {"containers": []}}}));
    let labels = json!({"controller-uid": "u", "job-name": "x", "batch.kubernetes.io/job-name": "x"});
    same(&bare, &job(json!({"labels": labels, "creationTimestamp": null})));
    same(
        &job(json!({"annotations": {"a": "b"}})),
        &job(json!({"annotations": {"a": "b"}, "labels": labels})),
    );
    assert_eq!(
        found(&bare, &job(json!({"labels": {"job-name": "x", "a": "b"}}))),
        ["Add spec.template.metadata.labels.a"]
    );
    let with = |spec: Value| object("batch/v1", "Job", spec);
    same(&with(json!({})), &with(json!({"completions": 1, "parallelism": 1})));
    let queue = with(json!({"parallelism": 3}));
    assert_eq!(found(&queue, &with(json!({"parallelism": 3, "completions": 1}))), ["Add spec.completions"]);
}

#[test]
fn names_limits_and_taints_are_completed_exactly() {
    let definition = |singular: &str| {
        object(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            json!({"names": {"kind": "Shop", "plural": "shops", "singular": singular, "listKind": "ShopList"}}),
        )
    };
    let mut want = definition("");
    want["spec"]["names"] = json!({"kind": "Shop", "plural": "shops"});
    same(&want, &definition("shop"));
    assert_eq!(found(&want, &definition("evil")), ["Add spec.names.singular"]);

    let range = |item: Value| object("v1", "LimitRange", json!({"limits": [item]}));
    let want = range(
        json!({"type": "Container", "max": {"cpu": 2, "memory": "1Gi"}, "default": {"cpu": 1}, "min": {"x/y": 1}}),
    );
    let mut live = range(
        json!({"type": "Container", "max": {"cpu": "2", "memory": "1Gi"}, "min": {"x/y": "1"},
        "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "1", "memory": "1Gi", "x/y": "1"}}),
    );
    same(&want, &live);
    live["spec"]["limits"][0]["default"]["memory"] = json!("2Gi");
    live["spec"]["limits"][0]["defaultRequest"]["a/b"] = json!("1");
    assert_eq!(
        found(&want, &live),
        ["Add spec.limits[0].default.memory", "Add spec.limits[0].defaultRequest[\"a/b\"]"]
    );

    let node = |taints: Value| object("v1", "Node", json!({"taints": taints}));
    let (own, state) = (
        json!({"key": "a", "effect": "NoSchedule"}),
        json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}),
    );
    same(&node(json!([own])), &node(json!([state, own])));
    assert_eq!(
        found(&node(json!([own])), &node(json!([own, {"key": "b", "effect": "NoSchedule"}]))),
        ["Change spec.taints"]
    );
    assert_eq!(found(&node(json!([own])), &node(json!([state]))), ["Remove spec.taints"]);
    assert_eq!(found(&node(json!([state])), &node(json!([]))), ["Remove spec.taints"]);
}

#[test]
fn a_bound_volume_and_a_default_class_are_no_difference() {
    let volume = |reference: Value| object("v1", "PersistentVolume", json!({"claimRef": reference}));
    let want = volume(json!({"namespace": "n", "name": "c"}));
    let mut live = volume(
        json!({"namespace": "n", "name": "c", "kind": "PersistentVolumeClaim", "apiVersion": "v1", "uid": "u", "resourceVersion": "5"}),
    );
    same(&want, &live);
    live["spec"]["claimRef"]["kind"] = json!("Other");
    live["spec"]["claimRef"]["name"] = json!("d");
    assert_eq!(found(&want, &live), ["Add spec.claimRef.kind", "Change spec.claimRef.name"]);

    let service = |ip: &str| {
        object("v1", "Service", json!({"ports": [{"port": 1}], "clusterIP": ip, "clusterIPs": [ip]}))
    };
    let mut want = service("");
    want["spec"] = json!({"ports": [{"port": 1}]});
    same(&want, &service("10.0.0.1"));
    assert_eq!(found(&want, &service("None")), ["Add spec.clusterIP", "Add spec.clusterIPs"]);
    want["spec"]["clusterIP"] = json!("None");
    same(&want, &service("None"));

    let ingress =
        |class: Value| object("networking.k8s.io/v1", "Ingress", json!({"ingressClassName": class}));
    same(&ingress(Value::Null), &ingress(json!("nginx")));
    assert_eq!(found(&ingress(json!("nginx")), &ingress(json!("other"))), ["Change spec.ingressClassName"]);
}

#[test]
fn bytes_and_resources_are_read_as_the_api_server_reads_them() {
    let secret = |value: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "data": {"a": value}});
    same(&secret("aGVsbG8s\nIHdvcmxk\n"), &secret("aGVsbG8sIHdvcmxk"));
    assert_eq!(found(&secret("eA=="), &secret("eQ==")), ["Change data.a"]);
    let quota = |cpu: Value| object("v1", "ResourceQuota", json!({"hard": {"cpu": cpu}}));
    same(&quota(json!(0.00001)), &quota(json!("1m")));
    assert_eq!(found(&quota(json!(0.00001)), &quota(json!("2m"))), ["Change spec.hard.cpu"]);
    // Only core's resources are rounded.
    let class = |cpu: Value| json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "x"}, "overhead": {"podFixed": {"cpu": cpu}}});
    assert_eq!(found(&class(json!(0.25001)), &class(json!("251m"))), ["Change overhead.podFixed.cpu"]);
}

#[test]
fn devices_are_counted_by_their_mode() {
    let claim = |request: Value| {
        object(
            "resource.k8s.io/v1",
            "ResourceClaim",
            json!({"devices": {"requests": [{"name": "a", "exactly": request}]}}),
        )
    };
    same(
        &claim(json!({"deviceClassName": "c"})),
        &claim(json!({"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1})),
    );
    let all = json!({"deviceClassName": "c", "allocationMode": "All"});
    let mut live = all.clone();
    live["count"] = json!(1);
    assert_eq!(found(&claim(all), &claim(live)), ["Add spec.devices.requests[0].exactly.count"]);
}
