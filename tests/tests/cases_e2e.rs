//! Cases that others' tools pass, or fail at: each by name, at the real API
//! server.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use gitops_tests::Shop;
use gitops_tests::cluster::{Ran, eventually};
use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use serde_json::{Value, json};

fn patched(shop: &Shop, what: &str, patch: &str) -> Ran {
    shop.kubectl_args(&["patch", what, "web", "--type=merge", "-p", patch])
}

/// Both Project and Application are held so.
fn set_mode(shop: &Shop, mode: &str) {
    let patch = json!({"spec": {"enforcement": {"mode": mode}}}).to_string();
    shop.cluster.kubectl_args(&["patch", "project", shop.name(), "--type=merge", "-p", &patch]).ok();
    patched(shop, "application", &patch).ok();
}

// From Config Sync's tests.

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
fn an_object_that_pretends_to_be_managed_is_refused_and_never_pruned() {
    let shop = Shop::open();
    let head = shop.repo.head();
    let pretender = |owner: bool| {
        let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine", "labels": {"kubectl-gitops.dev/application": "web"}}, "data": {"a": "b"}});
        if owner {
            object["metadata"]["annotations"] = json!({"kubectl-gitops.dev/owner": format!("{}/web", shop.name()), "kubectl-gitops.dev/revision": head});
        }
        object.to_string()
    };
    shop.kubectl_stdin("create -f -", &pretender(true))
        .refused(&["kubectl-gitops.dev/owner", "no Application declares it"]);
    shop.kubectl_stdin("create -f -", &pretender(false)).ok();
    shop.kubectl("annotate configmap mine kubectl-gitops.dev/owner=x/y")
        .refused(&["kubectl-gitops.dev/owner"]);
    shop.sync().ok();
    assert!(shop.get("configmap", "mine").is_some(), "a label alone is no proof");
}

#[test]
fn objects_of_another_identity_are_left_alone() {
    let shop = Shop::unheld(&[("app/config.yaml", CONFIG)]);
    // Marked as if by other Applications, before anything is held.
    for (name, owner) in [("foreign", "elsewhere/web"), ("mismatched", "x/other")] {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"kubectl-gitops.dev/application": "web"},
            "annotations": {"kubectl-gitops.dev/owner": owner, "kubectl-gitops.dev/revision": shop.repo.head()}}});
        shop.kubectl_stdin("create -f -", &object.to_string()).ok();
    }
    shop.hold(json!({}));
    shop.sync().ok();
    for name in ["foreign", "mismatched"] {
        assert!(shop.get("configmap", name).is_some(), "{name} is pruned");
        shop.kubectl(&format!("annotate configmap {name} note=fine")).ok();
    }
}

#[test]
fn enforcement_is_switched_off_and_on_without_a_restart() {
    let shop = Shop::open();
    set_mode(&shop, "Off");
    eventually("what was held is free", Duration::from_secs(20), || {
        Some(shop.kubectl("scale deployment web --replicas=5")).filter(|ran| ran.code == 0)
    });
    set_mode(&shop, "Enforce");
    eventually("it is held again", Duration::from_secs(20), || {
        let ran = shop.kubectl("scale deployment web --replicas=6");
        ran.stderr.contains("denied the request").then_some(())
    });
    // The drift of the time between is found, may not grow, and may be mended.
    let diff =
        shop.cluster.gitops(std::path::Path::new("/"), &format!("diff web --namespace {}", shop.name()));
    assert!(diff.code == 1 && diff.stdout.contains("spec.replicas"), "{}{}", diff.stdout, diff.stderr);
    shop.kubectl("scale deployment web --replicas=2").ok();
}

#[test]
fn a_project_switches_enforcement_for_all_of_its_namespaces() {
    let shop = Shop::open();
    set_mode(&shop, "Off");
    let patch = r#"{"spec":{"enforcement":{"mode":"Enforce"}}}"#;
    shop.cluster.kubectl_args(&["patch", "project", shop.name(), "--type=merge", "-p", patch]).ok();
    eventually("the Project's floor holds", Duration::from_secs(20), || {
        let ran = shop.kubectl("scale deployment web --replicas=6");
        ran.stderr.contains("denied the request").then_some(())
    });
}

#[test]
fn audit_records_and_lets_pass() {
    let shop = Shop::open();
    set_mode(&shop, "Audit");
    let ran = eventually("a write passes", Duration::from_secs(20), || {
        Some(shop.kubectl("scale deployment web --replicas=5")).filter(|ran| ran.code == 0)
    });
    assert!(!ran.stderr.contains("Warning"), "{}", ran.stderr);
    let log = std::fs::read_to_string(audit_log(&shop)).unwrap();
    let line =
        log.lines().rev().find(|line| line.contains(shop.name()) && line.contains("\"scale\"")).unwrap();
    for part in
        ["validate.kubectl-gitops.dev/rule\":\"scale", "validate.kubectl-gitops.dev/paths\":\"spec.replicas"]
    {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

/// The API server's audit log, beside the kubeconfig of the embedded cluster.
fn audit_log(shop: &Shop) -> std::path::PathBuf {
    shop.cluster.kubeconfig().parent().unwrap().join("logs/audit.log")
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

#[test]
fn objects_applied_client_side_are_adopted() {
    let shop = Shop::unheld(&[("app/config.yaml", CONFIG), ("app/web.yaml", DEPLOYMENT)]);
    for object in [CONFIG, DEPLOYMENT] {
        shop.kubectl_stdin("apply -f -", object).ok();
    }
    let uid = shop.get("deployment", "web").unwrap()["metadata"]["uid"].clone();
    shop.hold(json!({}));
    shop.repo.commit(
        "less",
        &[(
            "app/web.yaml",
            &DEPLOYMENT.replace("  labels: {app: web}\nspec", "spec").replace("replicas: 2", "replicas: 3"),
        )],
    );
    shop.sync().ok();
    let live = shop.get("deployment", "web").unwrap();
    assert_eq!((&live["metadata"]["uid"], &live["spec"]["replicas"]), (&uid, &json!(3)));
    assert_eq!(live["metadata"]["labels"]["kubectl-gitops.dev/application"], "web");
    // The client that was there before is held like anyone.
    shop.kubectl_stdin("apply -f -", DEPLOYMENT).refused(&["spec.replicas"]);
}

#[test]
fn a_new_definitions_objects_are_covered_at_once() {
    let group = format!("new{}.example.com", std::process::id());
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("gadgets.{group}")}, "spec": {
        "group": group, "scope": "Namespaced", "names": {"kind": "Gadget", "plural": "gadgets"}, "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}}}]}});
    let gadget =
        format!("apiVersion: {group}/v1\nkind: Gadget\nmetadata: {{name: web}}\nspec: {{size: 1}}\n");
    let shop = Shop::unheld(&[
        ("app/config.yaml", CONFIG),
        ("app/crd.json", &definition.to_string()),
        ("app/gadget.yaml", &gadget),
    ]);
    shop.hold(json!({}));
    // By hand, and before any sync: the very first object of the kind is judged.
    shop.cluster.kubectl_stdin("create -f -", &definition.to_string()).ok();
    let evil = gadget.replace("size: 1", "size: 9");
    eventually("the kind is served", Duration::from_secs(20), || {
        let ran = shop.kubectl_stdin("create -f -", &evil);
        assert_ne!(ran.code, 0, "an object of a new kind was not judged: {}", ran.stdout);
        ran.stderr.contains("spec.size").then_some(())
    });
    shop.sync().ok();
}

// Where others fail.

#[test]
fn the_same_amount_in_other_words_is_no_change() {
    let deployment = DEPLOYMENT.replace(
        "          image: web:1\n",
        "          image: web:1\n          resources: {limits: {cpu: \"1\", memory: 1Gi}}\n",
    );
    let shop = Shop::with(&[("app/config.yaml", CONFIG), ("app/web.yaml", &deployment)]);
    for (cpu, memory) in [("1000m", "1024Mi"), ("1.0", "1073741824"), ("1", "1048576Ki")] {
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "resources": {"limits": {"cpu": cpu, "memory": memory}}}]}}}});
        shop.kubectl_args(&["patch", "deployment", "web", "-p", &patch.to_string()]).ok();
    }
    let more = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "resources": {"limits": {"cpu": "1001m"}}}]}}}});
    shop.kubectl_args(&["patch", "deployment", "web", "-p", &more.to_string()])
        .refused(&["resources.limits.cpu"]);
}

#[test]
fn the_syncer_itself_is_held() {
    let shop = Shop::open();
    // A commit that was never pushed, synced by the plugin with an administrator's kubeconfig.
    let fork = tempfile::tempdir().unwrap();
    let path = fork.path().display().to_string();
    shop.repo.git(&["clone", "--quiet", ".", &path]);
    std::fs::write(fork.path().join("app/web.yaml"), DEPLOYMENT.replace("replicas: 2", "replicas: 8"))
        .unwrap();
    for arguments in [
        ["add", "--all"].as_slice(),
        &["-c", "user.name=e", "-c", "user.email=e@e", "commit", "--quiet", "-m", "mine"],
    ] {
        let mut all = vec!["-C", path.as_str()];
        all.extend(arguments);
        shop.repo.git(&all);
    }
    let ran = shop.cluster.gitops(
        std::path::Path::new("/"),
        &format!("sync web --repo {path} --path app --namespace {}", shop.name()),
    );
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("that commit is unknown here"), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(shop.get("deployment", "web").unwrap()["spec"]["replicas"], 2);
}

#[test]
fn a_stale_old_object_opens_nothing() {
    // Two writers at once on a drifted object: one mends, one would keep the drift in another field's name.
    let shop = Shop::unheld(&[("app/config.yaml", CONFIG), ("app/web.yaml", DEPLOYMENT)]);
    shop.kubectl_stdin("apply -f -", &DEPLOYMENT.replace("replicas: 2", "replicas: 7")).ok();
    shop.hold(json!({}));
    let stale = shop.get("deployment", "web").unwrap();
    shop.kubectl("scale deployment web --replicas=2").ok();
    // With its resourceVersion it conflicts; without, it is judged against what is there now.
    let ran = shop.kubectl_stdin("replace -f -", &stale.to_string());
    assert_ne!(ran.code, 0, "{}", ran.stdout);
    let mut bare = stale.clone();
    bare["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    shop.kubectl_stdin("replace -f -", &bare.to_string()).refused(&["spec.replicas", "7"]);
}

// Delegations from Git.

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

// The closed world.

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
