//! The closed world: what Git does not declare may not appear where it matters.

use std::time::Duration;

use gitops_tests::Shop;
use gitops_tests::cluster::eventually;
use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use serde_json::{Value, json};

#[test]
fn what_git_does_not_declare_may_not_appear_where_it_matters() {
    let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}, "spec": {"rules": [{"host": "a.example.com", "http": {"paths": [
        {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]}});
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "web"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "web"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "web"},
        "subjects": [{"kind": "ServiceAccount", "name": "default"}]});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web"}, "stringData": {"password": "hunter2"}});
    let shop = Shop::with(&[
        ("app/config.yaml", CONFIG),
        ("app/web.yaml", DEPLOYMENT),
        ("app/ingress.json", &ingress.to_string()),
        ("app/role.json", &role.to_string()),
        ("app/binding.json", &binding.to_string()),
        ("app/secret.json", &secret.to_string()),
    ]);
    let pod = "/spec/template/spec";
    let container = "/spec/template/spec/containers/0";
    let add = |path: String, value: Value| json!([{"op": "add", "path": path, "value": value}]);
    let cases = [
        (
            "deployment",
            add(format!("{pod}/containers/-"), json!({"name": "x", "image": "x"})),
            "containers[name=x]",
        ),
        (
            "deployment",
            add(format!("{pod}/initContainers"), json!([{"name": "x", "image": "x"}])),
            "initContainers",
        ),
        ("deployment", add(format!("{pod}/hostNetwork"), json!(true)), "hostNetwork"),
        ("deployment", add(format!("{pod}/hostPID"), json!(true)), "hostPID"),
        (
            "deployment",
            add(format!("{container}/securityContext"), json!({"privileged": true})),
            "securityContext",
        ),
        ("deployment", add(format!("{pod}/serviceAccountName"), json!("admin")), "serviceAccount"),
        ("deployment", add(format!("{container}/env"), json!([{"name": "LD_PRELOAD", "value": "x"}])), "env"),
        ("deployment", add(format!("{container}/command"), json!(["sh"])), "command"),
        (
            "deployment",
            add(format!("{container}/lifecycle"), json!({"postStart": {"exec": {"command": ["x"]}}})),
            "lifecycle",
        ),
        (
            "deployment",
            add(format!("{pod}/volumes"), json!([{"name": "root", "hostPath": {"path": "/"}}])),
            "volumes",
        ),
        ("deployment", add(format!("{pod}/nodeName"), json!("node")), "nodeName"),
        (
            "deployment",
            add("/spec/template/metadata/annotations".into(), json!({"a": "b"})),
            "spec.template.metadata.annotations",
        ),
        (
            "deployment",
            add(
                "/metadata/ownerReferences".into(),
                json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "web", "uid": "x"}]),
            ),
            "metadata.ownerReferences",
        ),
        ("configmap", add("/data/extra".into(), json!("x")), "data.extra"),
        ("configmap", add("/binaryData".into(), json!({"extra": "eA=="})), "binaryData"),
        ("configmap", add("/immutable".into(), json!(true)), "immutable"),
        ("secret", add("/data/extra".into(), json!("eA==")), "data.extra"),
        (
            "role",
            add("/rules/-".into(), json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]})),
            "rules",
        ),
        ("role", add("/rules/0/verbs/-".into(), json!("*")), "rules"),
        (
            "rolebinding",
            add(
                "/subjects/-".into(),
                json!({"kind": "User", "name": "eve", "apiGroup": "rbac.authorization.k8s.io"}),
            ),
            "subjects",
        ),
        (
            "ingress",
            add(
                "/spec/rules/0/http/paths/-".into(),
                json!({"path": "/admin", "pathType": "Prefix", "backend": {"service": {"name": "x", "port": {"number": 1}}}}),
            ),
            "paths",
        ),
        ("ingress", add("/spec/rules/-".into(), json!({"host": "b.example.com"})), "rules"),
        (
            "ingress",
            add(
                "/metadata/annotations/nginx.ingress.kubernetes.io~1configuration-snippet".into(),
                json!("return 200;"),
            ),
            "configuration-snippet",
        ),
    ];
    for (kind, patch, path) in cases {
        let ran = shop.kubectl_args(&["patch", kind, "web", "--type=json", "-p", &patch.to_string()]);
        let ran = ran.refused(&[path]);
        assert!(!ran.stderr.contains("hunter2") && !ran.stderr.contains("aHVudGVyMg"), "{}", ran.stderr);
    }
}

#[test]
fn custom_kinds_are_closed_where_asked() {
    let group = format!("closed{}.example.com", std::process::id());
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("dbs.{group}")}, "spec": {
        "group": group, "scope": "Namespaced", "names": {"kind": "Db", "plural": "dbs"}, "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": {
            "type": "object", "properties": {"status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}, "spec": {"type": "object", "properties": {
                "size": {"type": "integer"}, "tier": {"type": "string", "default": "small"}, "note": {"type": "string"}}}}}}}]}});
    let db = format!("apiVersion: {group}/v1\nkind: Db\nmetadata: {{name: web}}\nspec: {{size: 1}}\n");
    let shop = Shop::unheld(&[
        ("app/config.yaml", CONFIG),
        ("app/crd.json", &definition.to_string()),
        ("app/db.yaml", &db),
    ]);
    shop.hold(json!({"enforcement": {"customKinds": "Closed"}}));
    shop.sync().ok();
    let kind = format!("dbs.{group}");
    let patch = |what: &[&str], patch: &str| {
        let mut arguments = vec!["patch", kind.as_str(), "web", "--type=merge", "-p", patch];
        arguments.extend(what);
        shop.kubectl_args(&arguments)
    };
    eventually("the kind's types are known, its default is no difference", Duration::from_secs(30), || {
        patch(&["--dry-run=server"], r#"{"spec":{"note":"x"}}"#).stderr.contains("spec.note").then_some(())
    });
    patch(&[], r#"{"spec":{"note":"x"}}"#).refused(&["spec.note", "(not declared)"]);
    patch(&[], r#"{"spec":{"tier":"large"}}"#).refused(&["spec.tier"]);
    patch(&[], r#"{"metadata":{"annotations":{"note":"fine"}}}"#).ok();
    patch(&["--subresource=status"], r#"{"status":{"ready":true}}"#).ok();
}
