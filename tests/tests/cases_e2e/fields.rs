//! From Config Sync's tests: which fields are held, which are others', and
//! which Kubernetes fills.

use std::time::Duration;

use gitops_tests::Shop;
use gitops_tests::cluster::{Ran, eventually};
use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use serde_json::{Value, json};

use super::patched;

#[test]
fn declared_annotations_are_held_and_others_are_free() {
    let config = CONFIG.replace("  name: web\n", "  name: web\n  annotations: {team: blue}\n");
    let shop = Shop::with(&[("app/config.yaml", &config)]);
    let path = "metadata.annotations.team";
    shop.kubectl("annotate --overwrite configmap web team=red").refused(&[path, "blue", "red"]);
    shop.kubectl("annotate configmap web team-").refused(&[path, "(removed)"]);
    shop.kubectl("annotate configmap web note=one").ok();
    shop.kubectl("annotate --overwrite configmap web note=two").ok();
    shop.kubectl("annotate configmap web note-").ok();
}

#[test]
fn replace_may_keep_what_was_applied() {
    let shop = Shop::open();
    shop.kubectl_stdin("replace --save-config -f -", CONFIG).ok();
    let annotations = shop.get("configmap", "web").unwrap()["metadata"]["annotations"].clone();
    assert!(annotations.get("kubectl.kubernetes.io/last-applied-configuration").is_some(), "{annotations}");
}

#[test]
fn ignored_fields_are_others() {
    let shop = Shop::unheld(&[("app/config.yaml", CONFIG), ("app/web.yaml", DEPLOYMENT)]);
    shop.hold(json!({"ignore": [
        {"kind": "ConfigMap", "name": "web", "path": "data.learned"},
        {"group": "apps", "kind": "Deployment", "name": "*", "path": "/spec/replicas"}]}));
    shop.sync().ok();
    // Added, changed, taken away.
    patched(&shop, "configmap", r#"{"data":{"learned":"one"}}"#).ok();
    patched(&shop, "configmap", r#"{"data":{"learned":"two"}}"#).ok();
    shop.kubectl("scale deployment web --replicas=7").ok();
    patched(&shop, "configmap", r#"{"data":{"other":"one"}}"#).refused(&["data.other"]);
    // No drift, and a sync of something else leaves them.
    let diff =
        shop.cluster.gitops(std::path::Path::new("/"), &format!("diff web --namespace {}", shop.name()));
    assert_eq!(diff.code, 0, "{}{}", diff.stdout, diff.stderr);
    shop.repo.commit(
        "more",
        &[
            ("app/config.yaml", &CONFIG.replace("hello", "good day")),
            ("app/web.yaml", &DEPLOYMENT.replace("web:1", "web:2")),
        ],
    );
    shop.sync().ok();
    let config = shop.get("configmap", "web").unwrap();
    assert_eq!(
        (&config["data"]["greeting"], &config["data"]["learned"]),
        (&json!("good day"), &json!("two"))
    );
    assert_eq!(shop.get("deployment", "web").unwrap()["spec"]["replicas"], 7);
    patched(&shop, "configmap", r#"{"data":{"learned":null}}"#).ok();
    // Pruning takes no notice of them.
    shop.repo.remove("less", &["app/web.yaml"]);
    shop.sync().ok();
    assert!(shop.get("deployment", "web").is_none());
}

fn patched_by(shop: &Shop, manager: &str, patch: &Value) -> Ran {
    let patch = patch.to_string();
    shop.kubectl_args(&[
        "patch",
        "deployment",
        "web",
        "--type=merge",
        "--field-manager",
        manager,
        "-p",
        &patch,
    ])
}

#[test]
fn what_a_named_manager_owns_is_its_own() {
    let shop = Shop::unheld(&[("app/config.yaml", CONFIG), ("app/web.yaml", DEPLOYMENT)]);
    shop.hold(json!({"ignore": [
        {"group": "apps", "kind": "Deployment", "manager": "keel"},
        {"kind": "ConfigMap", "path": ".data[\"a.b\"]"},
        {"group": "apps", "kind": "Deployment", "path": ".spec.template.spec.containers[] | select(.name == \"web\") | .workingDir"}]}));
    shop.sync().ok();
    let image = |image: &str, manager: &str| {
        shop.kubectl(&format!("set image deployment/web web={image} --field-manager={manager}"))
    };
    image("web:8", "someone").refused(&["image", "web:8"]);
    image("web:9", "keel").ok();
    image("web:8", "someone").refused(&["image"]);
    let scale = |replicas: u8, manager: &str| {
        let patch = json!({"spec": {"replicas": replicas}}).to_string();
        shop.kubectl_args(&[
            "patch",
            "deployment",
            "web",
            "--subresource=scale",
            "--type=merge",
            "--field-manager",
            manager,
            "-p",
            &patch,
        ])
    };
    // A review of `/scale` does not say who is the manager.
    scale(7, "keel").refused(&["replicas"]);
    patched_by(&shop, "keel", &json!({"spec": {"replicas": 5}})).ok();
    patched(&shop, "configmap", r#"{"data":{"a.b":"one"}}"#).ok();
    patched(&shop, "configmap", r#"{"data":{"a.c":"one"}}"#).refused(&["a.c"]);
    let folder =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "workingDir": "/x"}]}}}})
            .to_string();
    shop.kubectl_args(&["patch", "deployment", "web", "-p", &folder]).ok();
    let diff =
        shop.cluster.gitops(std::path::Path::new("/"), &format!("diff web --namespace {}", shop.name()));
    assert_eq!(diff.code, 0, "{}{}", diff.stdout, diff.stderr);
    // A sync of something else leaves them to whom they belong.
    let more = DEPLOYMENT
        .replace("          image: web:1", "          image: web:1\n          env: [{name: A, value: b}]");
    shop.repo.commit("more", &[("app/web.yaml", &more)]);
    shop.sync().ok();
    let spec = shop.get("deployment", "web").unwrap()["spec"].clone();
    let web = &spec["template"]["spec"]["containers"][0];
    assert_eq!((&web["image"], &web["env"][0]["name"]), (&json!("web:9"), &json!("A")));
    assert_eq!((&spec["replicas"], &web["workingDir"]), (&json!(5), &json!("/x")));
    shop.change(&json!({"ignore": null}));
    eventually("what the manager has set is drift again", Duration::from_secs(30), || {
        let diff =
            shop.cluster.gitops(std::path::Path::new("/"), &format!("diff web --namespace {}", shop.name()));
        (diff.code == 1 && diff.stdout.contains("web:9")).then_some(())
    });
}

#[test]
fn what_the_api_server_gives_out_is_kept() {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: NodePort, selector: {app: web}, ports: [{port: 80}]}\n";
    let shop = Shop::with(&[("app/config.yaml", CONFIG), ("app/service.yaml", service)]);
    let given = |shop: &Shop| {
        let live = shop.get("service", "web").unwrap();
        (live["spec"]["clusterIP"].clone(), live["spec"]["ports"][0]["nodePort"].clone())
    };
    let before = given(&shop);
    shop.repo.commit("more", &[("app/service.yaml", &service.replace("app: web", "app: web, tier: front"))]);
    shop.sync().ok();
    assert_eq!(given(&shop), before);
    let port = before.1.as_i64().unwrap();
    patched(
        &shop,
        "service",
        &json!({"spec": {"ports": [{"port": 80, "nodePort": if port == 30123 { 30124 } else { 30123 }}]}})
            .to_string(),
    )
    .refused(&["nodePort", "Kubernetes has set this field"]);
    patched(&shop, "service", r#"{"spec":{"externalIPs":["203.0.113.7"]}}"#).refused(&["externalIPs"]);
}

#[test]
fn aggregated_rules_are_filled_by_kubernetes_alone() {
    let name = format!("agg-{}", std::process::id());
    let role = |rules: Value, more: Value| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": more["name"], "labels": more["labels"]}, "rules": rules, "aggregationRule": more["aggregationRule"]});
    let whole = role(
        json!([]),
        json!({"name": name, "labels": {}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {(name.as_str()): "true"}}]}}),
    );
    let mut part = role(
        json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]),
        json!({"name": format!("{name}-part"), "labels": {(name.as_str()): "true"}}),
    );
    part.as_object_mut().unwrap().remove("aggregationRule");
    let plain = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "web"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
    let shop = Shop::under(
        json!({"clusterKinds": [{"group": "rbac.authorization.k8s.io", "kind": "ClusterRole"}]}),
        &[
            ("app/config.yaml", CONFIG),
            ("app/whole.json", &whole.to_string()),
            ("app/part.json", &part.to_string()),
            ("app/role.json", &plain.to_string()),
        ],
    );
    eventually("the aggregation controller has filled the role", Duration::from_secs(20), || {
        let role: Value =
            serde_json::from_str(&shop.cluster.kubectl(&format!("get clusterrole {name} -o json")).stdout)
                .ok()?;
        (role["rules"][0]["verbs"] == json!(["get"])).then_some(())
    });
    let diff =
        shop.cluster.gitops(std::path::Path::new("/"), &format!("diff web --namespace {}", shop.name()));
    assert_eq!(diff.code, 0, "{}{}", diff.stdout, diff.stderr);
    let more =
        r#"[{"op":"add","path":"/rules/-","value":{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}}]"#;
    shop.cluster
        .kubectl_args(&["patch", "clusterrole", &format!("{name}-part"), "--type=json", "-p", more])
        .refused(&["rules"]);
    shop.kubectl_args(&["patch", "role", "web", "--type=json", "-p", more]).refused(&["rules"]);
    let label = "rbac.authorization.k8s.io/aggregate-to-admin=true";
    shop.cluster.kubectl(&format!("label clusterrole {name}-part {label}")).refused(&["aggregate-to-admin"]);
    // Nothing of it stays behind in the cluster.
    shop.repo.remove("less", &["app/whole.json", "app/part.json"]);
    shop.sync().ok();
}
