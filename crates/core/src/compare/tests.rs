#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// The OpenAPI documents of a real 1.37 API server, cut to what is used here.
fn schemas() -> &'static Schemas {
    static SCHEMAS: std::sync::LazyLock<Schemas> = std::sync::LazyLock::new(Schemas::builtin);
    &SCHEMAS
}

fn found(want: &Value, live: &Value) -> Vec<String> {
    let gvk = Gvk::of(want).unwrap();
    let differences = compare(schemas(), &gvk, want, live, &CompareOptions::of(&gvk));
    differences.iter().map(|d| format!("{:?} {}", d.op, d.path)).collect()
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{
                    "name": "web", "image": "web:1", "ports": [{"containerPort": 80}],
                    "resources": {"limits": {"cpu": "0.5", "memory": "1Gi"}, "requests": {"cpu": "100m"}},
                    "readinessProbe": {"httpGet": {"port": 80}},
                }]},
            },
        },
    })
}

/// As the API server returns it.
fn returned() -> Value {
    let mut live = deployment();
    live["metadata"]["uid"] = json!("u");
    live["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "1"});
    live["status"] = json!({"replicas": 1});
    live["spec"]["replicas"] = json!(1);
    live["spec"]["strategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}});
    live["spec"]["revisionHistoryLimit"] = json!(10);
    live["spec"]["progressDeadlineSeconds"] = json!(600);
    live["spec"]["template"]["metadata"]["creationTimestamp"] = Value::Null;
    let pod = &mut live["spec"]["template"]["spec"];
    pod["dnsPolicy"] = json!("ClusterFirst");
    pod["restartPolicy"] = json!("Always");
    pod["schedulerName"] = json!("default-scheduler");
    pod["securityContext"] = json!({});
    pod["terminationGracePeriodSeconds"] = json!(30);
    let container = &mut pod["containers"][0];
    container["imagePullPolicy"] = json!("IfNotPresent");
    container["terminationMessagePath"] = json!("/dev/termination-log");
    container["terminationMessagePolicy"] = json!("File");
    container["ports"][0]["protocol"] = json!("TCP");
    container["resources"] = json!({"limits": {"cpu": "500m", "memory": "1Gi"}, "requests": {"cpu": "100m"}});
    container["readinessProbe"] = json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3});
    live
}

#[test]
fn what_the_api_server_returns_is_no_difference() {
    assert_eq!(found(&deployment(), &returned()), Vec::<String>::new());
}

#[test]
fn what_git_does_not_declare_may_not_be_added() {
    let cases: &[(&str, Value, &str)] = &[
        ("/spec/template/spec/hostNetwork", json!(true), "Add spec.template.spec.hostNetwork"),
        (
            "/spec/template/spec/serviceAccountName",
            json!("admin"),
            "Add spec.template.spec.serviceAccountName",
        ),
        (
            "/spec/template/spec/volumes",
            json!([{"name": "v", "hostPath": {"path": "/"}}]),
            "Add spec.template.spec.volumes",
        ),
        (
            "/spec/template/spec/initContainers",
            json!([{"name": "i"}]),
            "Add spec.template.spec.initContainers",
        ),
        (
            "/spec/template/spec/containers/1",
            json!({"name": "sidecar"}),
            "Add spec.template.spec.containers[name=sidecar]",
        ),
        (
            "/spec/template/spec/containers/0/env",
            json!([{"name": "A"}]),
            "Add spec.template.spec.containers[name=web].env",
        ),
        (
            "/spec/template/spec/containers/0/securityContext",
            json!({"privileged": true}),
            "Add spec.template.spec.containers[name=web].securityContext",
        ),
        (
            "/spec/template/spec/containers/0/imagePullPolicy",
            json!("Always"),
            "Add spec.template.spec.containers[name=web].imagePullPolicy",
        ),
        ("/spec/template/metadata/labels/extra", json!("x"), "Add spec.template.metadata.labels.extra"),
        ("/spec/paused", json!(true), "Add spec.paused"),
        ("/metadata/ownerReferences", json!([{"name": "x"}]), "Add metadata.ownerReferences"),
        (
            "/metadata/labels/pod-security.kubernetes.io~1enforce",
            json!("privileged"),
            "Add metadata.labels[\"pod-security.kubernetes.io/enforce\"]",
        ),
    ];
    for (pointer, value, expected) in cases {
        let mut live = returned();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        match live.pointer_mut(parent).unwrap() {
            Value::Array(items) => items.push(value.clone()),
            parent => parent[field.replace("~1", "/")] = value.clone(),
        }
        assert_eq!(found(&deployment(), &live), [*expected], "{pointer}");
    }
}

#[test]
fn replicas_that_git_leaves_out_are_free() {
    let mut live = returned();
    live["spec"]["replicas"] = json!(7);
    assert!(found(&deployment(), &live).is_empty());
    let mut want = deployment();
    want["spec"]["replicas"] = json!(2);
    assert_eq!(found(&want, &live), ["Change spec.replicas"]);
}

#[test]
fn undeclared_labels_are_free_and_declared_ones_held() {
    let mut live = returned();
    live["metadata"]["labels"]["team"] = json!("blue");
    assert!(found(&deployment(), &live).is_empty());
    live["metadata"]["labels"] = json!({});
    assert_eq!(found(&deployment(), &live), ["Remove metadata.labels.app"]);
}

#[test]
fn roles_services_and_configuration_are_closed() {
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
    let mut live = role.clone();
    live["rules"]
        .as_array_mut()
        .unwrap()
        .push(json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}));
    assert_eq!(found(&role, &live), ["Add rules[1]"]);

    let config =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}});
    let mut live = config.clone();
    live["data"]["b"] = json!("2");
    live["binaryData"] = json!({"c": "AA=="});
    assert_eq!(found(&config, &live), ["Add binaryData.c", "Add data.b"]);

    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    let mut live = service.clone();
    live["spec"] = json!({"selector": {"app": "web"}, "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "clusterIP": "10.0.0.1",
        "clusterIPs": ["10.0.0.1"], "type": "ClusterIP", "sessionAffinity": "None", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster"});
    assert!(found(&service, &live).is_empty(), "{:?}", found(&service, &live));
    live["spec"]["externalIPs"] = json!(["192.0.2.1"]);
    live["spec"]["selector"]["app"] = json!("evil");
    assert_eq!(found(&service, &live), ["Add spec.externalIPs", "Change spec.selector.app"]);
}

#[test]
fn zero_is_absence_only_where_go_drops_it() {
    let mut want = deployment();
    want["spec"]["template"]["spec"]["hostNetwork"] = json!(false);
    want["spec"]["template"]["spec"]["automountServiceAccountToken"] = json!(false);
    assert_eq!(found(&want, &returned()), ["Remove spec.template.spec.automountServiceAccountToken"]);
}

#[test]
fn an_empty_selector_has_a_meaning() {
    let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p"},
        "spec": {"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"a": "b"}}}]}]}});
    let mut live = policy.clone();
    live["spec"]["policyTypes"] = json!(["Ingress"]);
    assert!(found(&policy, &live).is_empty());
    live["spec"]["ingress"][0]["from"][0]["namespaceSelector"] = json!({});
    assert_eq!(found(&policy, &live), ["Add spec.ingress[0].from[0].namespaceSelector"]);
}

#[test]
fn other_custom_kinds_are_held_to_what_git_declares() {
    let want =
        json!({"apiVersion": "example.com/v1", "kind": "Db", "metadata": {"name": "d"}, "spec": {"size": 1}});
    let mut live = want.clone();
    live["spec"]["operatorField"] = json!("x");
    assert!(found(&want, &live).is_empty());
    live["spec"]["size"] = json!(2);
    assert_eq!(found(&want, &live), ["Change spec.size"]);
}

#[test]
fn named_injectors_are_free() {
    let mut live = returned();
    live["spec"]["template"]["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "istio-proxy", "image": "p"}));
    let gvk = Gvk::of(&live).unwrap();
    let free = [Free::any("spec.template.spec.containers[name=istio-proxy]".parse().unwrap())];
    let options = CompareOptions { free: &free, ..CompareOptions::of(&gvk) };
    assert!(compare(schemas(), &gvk, &deployment(), &live, &options).is_empty());
}

#[test]
fn the_order_of_init_containers_is_their_meaning() {
    let mut want = deployment();
    want["spec"]["template"]["spec"]["initContainers"] = json!([{"name": "a"}, {"name": "b"}]);
    let mut live = want.clone();
    live["spec"]["template"]["spec"]["initContainers"] = json!([{"name": "b"}, {"name": "a"}]);
    let found = found(&want, &live);
    assert!(found.contains(&"Change spec.template.spec.initContainers".to_owned()), "{found:?}");
}

#[test]
fn a_secrets_values_are_masked() {
    let gvk = Gvk::new("v1", "Secret");
    let mut difference = Difference {
        path: "data.password".parse().unwrap(),
        op: Op::Change,
        git: Some(json!("a")),
        tried: Some(json!("b")),
    };
    mask_secret(&gvk, &mut difference);
    assert_eq!((difference.git, difference.tried), (Some(json!("***")), Some(json!("***"))));
}

/// Every leaf of a value: a pointer and another value of the same type.
fn leaves(value: &Value, pointer: &str, out: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(k, v)| leaves(v, &format!("{pointer}/{}", k.replace('/', "~1")), out))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, v)| leaves(v, &format!("{pointer}/{i}"), out))
        }
        Value::String(text) => out.push((pointer.to_owned(), format!("{text}9").into())),
        Value::Number(number) => out.push((pointer.to_owned(), (number.as_i64().unwrap_or(0) + 1).into())),
        Value::Bool(flag) => out.push((pointer.to_owned(), (!flag).into())),
        Value::Null => {}
    }
}

#[test]
fn every_change_of_a_declared_leaf_is_found() {
    let mut changes = Vec::new();
    leaves(&deployment()["spec"], "/spec", &mut changes);
    leaves(&deployment()["metadata"]["labels"], "/metadata/labels", &mut changes);
    assert!(changes.len() >= 10);
    for (pointer, value) in changes {
        let mut live = returned();
        *live.pointer_mut(&pointer).unwrap() = value;
        assert!(!found(&deployment(), &live).is_empty(), "{pointer}");
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z0-9]{0,6}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,6}", inner, 0..5)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_differs_from_itself(spec in json_value()) {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": spec});
        prop_assert_eq!(found(&object, &object), Vec::<String>::new());
    }

    #[test]
    fn any_two_values_are_compared_without_a_panic(want in json_value(), live in json_value()) {
        for kind in ["Deployment", "DaemonSet"] {
            let object = |spec: &Value| json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "x"}, "spec": spec});
            let _ = found(&object(&want), &object(&live));
        }
    }

    /// Order of map-lists and the writing of quantities carry no meaning.
    #[test]
    fn rewriting_without_changing_is_no_difference(cpu in 1_u32..5000, swap in any::<bool>()) {
        let container = |name: &str, cpu: String| json!({"name": name, "image": "i:1", "resources": {"limits": {"cpu": cpu}}});
        let object = |containers: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": containers}});
        let a = container("a", format!("{cpu}m"));
        let again = container("a", format!("{}.{:03}", cpu / 1000, cpu % 1000));
        let b = container("b", "1".into());
        let want = object(json!([a, b]));
        let live = object(if swap { json!([b, again]) } else { json!([again, b]) });
        prop_assert_eq!(found(&want, &live), Vec::<String>::new());
    }
}
