//! The webhook in front of the real API server: what is refused, what passes.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use gitops_tests::cluster::{Ran, eventually};
use gitops_tests::{GitServer, Shop};
use serde_json::{Value, json};

#[track_caller]
fn refused(ran: &Ran, parts: &[&str]) {
    ran.clone().refused(parts);
}

fn changed(shop: &Shop, kind: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut object = shop.get(kind, "web").unwrap();
    change(&mut object);
    object.to_string()
}

#[test]
fn scale_is_refused_with_the_line_in_git() {
    let shop = Shop::open();
    let ran = shop.kubectl("scale deployment web --replicas=5");
    let text = ran.stderr.replace(shop.name(), "NAMESPACE").replace(&shop.repo.head()[..12], "COMMIT");
    insta::assert_snapshot!(text, @r#"
    Error from server (Forbidden): admission webhook "validate.kubectl-gitops.dev" denied the request: Deployment NAMESPACE/web is kept as Git says
      field:  spec.replicas
      git:    2
      tried:  5
      commit: COMMIT app/web.yaml:7, application NAMESPACE/web
      hint:   change app/web.yaml:7, commit, push, then: kubectl gitops sync web
    "#);
}

#[test]
fn every_way_of_changing_a_declared_field_is_refused() {
    let shop = Shop::open();
    let image = "spec.template.spec.containers[name=web].image";
    refused(&shop.kubectl("set image deployment/web web=evil"), &[image, "web:1", "evil"]);
    let patches = [
        ("strategic", r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"evil"}]}}}}"#),
        ("json", r#"[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"evil"}]"#),
        ("merge", r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"evil"}]}}}}"#),
    ];
    for (kind, patch) in patches {
        refused(&shop.kubectl_args(&["patch", "deployment", "web", "--type", kind, "-p", patch]), &[image]);
    }
    let evil = changed(&shop, "deployment", |object| {
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("evil")
    });
    refused(&shop.kubectl_stdin("replace -f -", &evil), &[image]);
    let mine = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 9, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}}});
    refused(
        &shop.kubectl_stdin(
            "apply --server-side --force-conflicts --field-manager=me -f -",
            &mine.to_string(),
        ),
        &["spec.replicas"],
    );
    refused(&shop.kubectl_stdin("apply -f -", &mine.to_string()), &["spec.replicas"]);
    assert_eq!(shop.get("deployment", "web").unwrap()["spec"]["replicas"], 2);
}

#[test]
fn what_git_does_not_declare_is_not_added() {
    let shop = Shop::open();
    let patch =
        |patch: &str| shop.kubectl_args(&["patch", "deployment", "web", "--type=strategic", "-p", patch]);
    refused(
        &patch(r#"{"spec":{"template":{"spec":{"containers":[{"name":"sidecar","image":"x"}]}}}}"#),
        &["containers[name=sidecar]"],
    );
    refused(
        &patch(r#"{"spec":{"template":{"spec":{"hostNetwork":true}}}}"#),
        &["hostNetwork", "(not declared)"],
    );
    refused(
        &patch(r#"{"spec":{"template":{"spec":{"serviceAccountName":"admin"}}}}"#),
        &["serviceAccountName"],
    );
    refused(
        &shop.kubectl_args(&["patch", "configmap", "web", "--type=merge", "-p", r#"{"data":{"extra":"x"}}"#]),
        &["data.extra"],
    );
}

#[test]
fn deletes_of_declared_objects_are_refused() {
    let shop = Shop::open();
    refused(&shop.kubectl("delete deployment web"), &["Deployment", "app/web.yaml:1", "--prune"]);
    refused(&shop.kubectl("delete deployments,configmaps --all"), &["Deployment"]);
    let options = r#"{"kind":"DeleteOptions","apiVersion":"v1"}"#;
    let path = format!("/apis/apps/v1/namespaces/{}/deployments", shop.name());
    let collection = shop.kubectl_stdin(&format!("delete --raw {path} -f -"), options);
    refused(&collection, &["Deployment"]);
    assert!(shop.get("deployment", "web").is_some());
}

#[test]
fn objects_with_generated_names_are_nobodys() {
    let shop = Shop::open();
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "web-"}, "data": {"a": "b"}});
    shop.kubectl_stdin("create -f -", &object.to_string()).ok();
}

#[test]
fn unrelated_changes_and_controllers_go_on() {
    let shop = Shop::open();
    shop.kubectl("annotate deployment web team=blue").ok();
    shop.kubectl("label deployment web tier=front").ok();
    shop.kubectl("create configmap other --from-literal=a=b").ok();
    shop.kubectl("rollout restart deployment web").ok();
    eventually("the deployment controller has made a new ReplicaSet", Duration::from_secs(20), || {
        let sets: Value = serde_json::from_str(&shop.kubectl("get replicasets -o json").stdout).ok()?;
        (sets["items"].as_array()?.len() == 2).then_some(())
    });
}

#[test]
fn restoring_what_git_says_is_never_refused() {
    let shop = Shop::unheld(&[
        ("app/web.yaml", gitops_tests::shop::DEPLOYMENT),
        ("app/config.yaml", gitops_tests::shop::CONFIG),
    ]);
    let drifted =
        gitops_tests::shop::DEPLOYMENT.replace("replicas: 2", "replicas: 7").replace("web:1", "web:0");
    shop.kubectl_stdin("apply -f -", &drifted).ok();
    shop.kubectl_stdin("apply -f -", gitops_tests::shop::CONFIG).ok();
    shop.hold(json!({}));
    // A write that has nothing to do with the drift, one that makes it worse, and two that mend it.
    shop.kubectl("annotate deployment web team=blue").ok();
    refused(&shop.kubectl("set image deployment/web web=evil"), &["image"]);
    shop.kubectl("scale deployment web --replicas=2").ok();
    shop.kubectl("set image deployment/web web=web:1").ok();
    shop.sync().ok();
}

#[test]
fn a_commit_is_the_way_to_change_and_to_delete() {
    let shop = Shop::open();
    shop.repo.commit(
        "more",
        &[(
            "app/web.yaml",
            &gitops_tests::shop::DEPLOYMENT.replace("replicas: 2", "replicas: 3").replace("web:1", "web:2"),
        )],
    );
    shop.sync().ok();
    let live = shop.get("deployment", "web").unwrap();
    assert_eq!(live["spec"]["replicas"], 3);
    assert_eq!(live["metadata"]["annotations"]["kubectl-gitops.dev/revision"], shop.repo.head());
    shop.repo.remove("less", &["app/config.yaml"]);
    let ran = shop.sync().ok();
    assert!(ran.stdout.contains("pruned ConfigMap"), "{}", ran.stdout);
    assert!(shop.get("configmap", "web").is_none());
}

#[test]
fn time_moves_forward_only() {
    let shop = Shop::open();
    let first = shop.repo.head();
    shop.repo.commit("more", &[("app/web.yaml", &gitops_tests::shop::DEPLOYMENT.replace("web:1", "web:2"))]);
    shop.sync().ok();
    let back = shop.cluster.gitops(
        std::path::Path::new("/"),
        &format!("sync web --namespace {} --revision {first}", shop.name()),
    );
    assert_ne!(back.code, 0, "{}", back.stdout);
    assert!(
        back.stdout.contains("denied") || back.stdout.contains("is kept as Git says"),
        "{}{}",
        back.stdout,
        back.stderr
    );
    assert_eq!(
        shop.get("deployment", "web").unwrap()["spec"]["template"]["spec"]["containers"][0]["image"],
        "web:2"
    );
}

#[test]
fn a_commit_on_the_way_to_the_tip_may_be_applied_by_any_client() {
    let shop = Shop::open();
    let replicas =
        |count: u32| gitops_tests::shop::DEPLOYMENT.replace("replicas: 2", &format!("replicas: {count}"));
    let apply = |text: &str| shop.kubectl_stdin("apply --server-side --force-conflicts -f -", text);
    shop.repo.commit("three", &[("app/web.yaml", &replicas(3))]);
    shop.repo.commit("elsewhere", &[("README.md", "nothing\n")]);
    shop.repo.commit("four", &[("app/web.yaml", &replicas(4))]);
    refused(&apply(&replicas(5)), &["spec.replicas"]);
    refused(&apply(&replicas(3).replace("image: web:1", "image: evil")), &["image"]);
    apply(&replicas(3)).ok();
    shop.sync().ok();
    // The way is behind now.
    refused(&apply(&replicas(3)), &["spec.replicas"]);
    assert_eq!(shop.get("deployment", "web").unwrap()["spec"]["replicas"], 4);
}

#[test]
fn our_marks_are_held() {
    let shop = Shop::open();
    refused(
        &shop.kubectl("label deployment web kubectl-gitops.dev/application-"),
        &["kubectl-gitops.dev/application"],
    );
    refused(
        &shop.kubectl("annotate --overwrite deployment web kubectl-gitops.dev/owner=evil/app"),
        &["kubectl-gitops.dev/owner"],
    );
    refused(&shop.kubectl("annotate --overwrite deployment web kubectl-gitops.dev/revision=0000000000000000000000000000000000000000"), &["kubectl-gitops.dev/revision"]);
}

#[test]
fn another_clients_apply_is_marked_by_the_webhook() {
    let shop = Shop::open();
    shop.repo
        .commit("more", &[("app/config.yaml", &gitops_tests::shop::CONFIG.replace("hello", "good evening"))]);
    eventually("the webhook knows the commit", Duration::from_secs(20), || {
        let application = shop.get("application", "web")?;
        (application["status"]["revision"] == shop.repo.head()).then_some(())
    });
    shop.kubectl_stdin(
        "apply --server-side --force-conflicts --field-manager=me -f -",
        &gitops_tests::shop::CONFIG.replace("hello", "good evening"),
    )
    .ok();
    let annotations = shop.get("configmap", "web").unwrap()["metadata"]["annotations"].clone();
    assert_eq!(annotations["kubectl-gitops.dev/revision"], shop.repo.head(), "{annotations}");
    assert_eq!(annotations["kubectl-gitops.dev/origin"], "app/config.yaml:1");
}

#[test]
fn pods_get_their_rollout_labels() {
    let shop = Shop::open();
    let labels = eventually("pods are made", Duration::from_secs(20), || {
        let pods: Value = serde_json::from_str(&shop.kubectl("get pods -l app=web -o json").stdout).ok()?;
        Some(pods["items"].as_array()?.first()?["metadata"]["labels"].clone())
    });
    assert_eq!(labels["kubectl-gitops.dev/application"], "web", "{labels}");
    assert_eq!(labels["kubectl-gitops.dev/track"], "stable");
    assert_eq!(labels["kubectl-gitops.dev/revision"], shop.repo.head()[..12]);
    assert_eq!(labels["kubectl-gitops.dev/rollout-hash"].as_str().map(str::len), Some(10));
}

#[test]
fn a_broken_commit_leaves_the_last_good_one_in_force_and_says_why() {
    let shop = Shop::open();
    let good = shop.repo.head();
    shop.repo.commit("broken", &[("app/web.yaml", "apiVersion: apps/v1\nkind: [\n")]);
    let message = shop.wait_for("Rendered", "False");
    assert!(message.contains("app/web.yaml:"), "{message}");
    assert_eq!(shop.get("application", "web").unwrap()["status"]["revision"], good);
    refused(&shop.kubectl("scale deployment web --replicas=5"), &["spec.replicas"]);
    shop.repo.commit("mended", &[("app/web.yaml", gitops_tests::shop::DEPLOYMENT)]);
    shop.wait_for("Rendered", "True");
}

#[test]
fn git_away_is_no_way_in() {
    let root = tempfile::tempdir().unwrap();
    let shop = Shop::unheld(&[
        ("app/web.yaml", gitops_tests::shop::DEPLOYMENT),
        ("app/config.yaml", gitops_tests::shop::CONFIG),
    ]);
    shop.repo.git(&["clone", "--quiet", "--bare", ".", &root.path().join("shop.git").display().to_string()]);
    let server = GitServer::start(root.path(), "127.0.0.1:0", None).unwrap();
    shop.hold(json!({"source": {"repo": server.url("shop.git"), "revision": "main", "path": "app"}}));
    shop.sync().ok();
    drop(server);
    shop.wait_for("Rendered", "False");
    refused(&shop.kubectl("scale deployment web --replicas=5"), &["spec.replicas"]);
    shop.kubectl("annotate deployment web team=blue").ok();
}

#[test]
fn the_namespace_is_guarded() {
    let shop = Shop::open();
    refused(
        &shop.cluster.kubectl(&format!(
            "label namespace {} pod-security.kubernetes.io/enforce=privileged",
            shop.name()
        )),
        &["pod-security"],
    );
    shop.cluster.kubectl(&format!("label namespace {} team=blue", shop.name())).ok();
    refused(&shop.cluster.kubectl(&format!("delete namespace {}", shop.name())), &["2 objects"]);
}

#[test]
fn custom_resources_are_held_to_what_git_declares() {
    let group = format!("g{}.example.com", std::process::id());
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("dbs.{group}")}, "spec": {
        "group": group, "scope": "Namespaced", "names": {"kind": "Db", "plural": "dbs"}, "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
            "type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}, "note": {"type": "string"},
                "users": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "role": {"type": "string"}}}}}}}}}}]}});
    let db = format!(
        "apiVersion: {group}/v1\nkind: Db\nmetadata: {{name: web}}\nspec:\n  size: 1\n  users:\n  - {{name: ada, role: admin}}\n  - {{name: bob, role: reader}}\n"
    );
    let shop = Shop::with(&[
        ("app/crd.yaml", &definition.to_string()),
        ("app/db.yaml", &db),
        ("app/config.yaml", gitops_tests::shop::CONFIG),
    ]);
    let kind = format!("dbs.{group}");
    let patch = |patch: &str| shop.kubectl_args(&["patch", &kind, "web", "--type=merge", "-p", patch]);
    patch(r#"{"spec":{"note":"an operator's own field"}}"#).ok();
    patch(
        r#"{"spec":{"users":[{"name":"bob","role":"reader"},{"name":"ada","role":"admin"},{"name":"eve"}]}}"#,
    )
    .ok();
    eventually("the webhook holds the custom resource", Duration::from_secs(20), || {
        let ran = shop.kubectl_args(&[
            "patch",
            &kind,
            "web",
            "--type=merge",
            "--dry-run=server",
            "-p",
            r#"{"spec":{"size":2}}"#,
        ]);
        ran.stderr.contains("spec.size").then_some(())
    });
    refused(
        &patch(r#"{"spec":{"users":[{"name":"ada","role":"owner"},{"name":"bob","role":"reader"}]}}"#),
        &["spec.users[name=ada].role"],
    );
    refused(&shop.cluster.kubectl(&format!("delete crd dbs.{group}")), &["CustomResourceDefinition"]);
}

#[test]
fn an_editor_cannot_point_an_application_elsewhere() {
    let shop = Shop::open();
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "editor"}, "rules": [
        {"apiGroups": ["kubectl-gitops.dev"], "resources": ["applications"], "verbs": ["get", "list", "create", "update", "patch", "delete"]}]});
    shop.kubectl_stdin("apply -f -", &role.to_string()).ok();
    shop.kubectl("create rolebinding editor --role=editor --user=eve").ok();
    let point = r#"{"spec":{"source":{"repo":"https://evil.example/x"}}}"#;
    refused(
        &shop.kubectl_args(&["--as=eve", "patch", "application", "web", "--type=merge", "-p", point]),
        &["manage", "application"],
    );
    refused(&shop.kubectl("--as=eve delete application web"), &["manage"]);
    let new = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": "mine"}, "spec": {"project": shop.name(), "source": {"repo": "https://evil.example/x"}}});
    refused(&shop.kubectl_stdin("--as=eve create -f -", &new.to_string()), &["manage"]);
    shop.kubectl("--as=eve annotate application web note=fine").ok();
}

#[test]
fn what_of_an_application_cannot_be_read_is_refused_when_it_is_written() {
    let shop = Shop::open();
    let window = |schedule: &str, zone: &str| json!({"kind": "Allow", "schedule": schedule, "duration": "8h", "timeZone": zone});
    let patched = |spec: Value| {
        let patch = json!({"spec": spec}).to_string();
        shop.kubectl_args(&["patch", "application", "web", "--type=merge", "-p", &patch])
    };
    let wrong = [
        (
            json!({"sync": {"windows": [window("0 25 * * *", "")]}}),
            "spec.sync.windows[0].schedule: \"0 25 * * *\" is no cron schedule: value must be in range 0..=23",
        ),
        (
            json!({"sync": {"windows": [window("0 8 * * *", ""), window("0 8 * * *", "Mars/Base")]}}),
            "spec.sync.windows[1].timeZone: \"Mars/Base\" is no time zone",
        ),
        (json!({"sync": {"retry": {"backoff": "soon"}}}), "spec.sync.retry.backoff: \"soon\" is no duration"),
        (json!({"sync": {"options": ["Fly=true"]}}), "spec.sync.options: "),
        (json!({"ignore": [{"kind": "Service", "path": "spec..x"}]}), "spec.ignore[0].path: "),
        (json!({"health": [{"kind": "Db", "cel": "self."}]}), "spec.health[0].cel (Db): "),
        (json!({"source": {"repo": "ftp://example.com/x"}}), "ftp://example.com/x"),
    ];
    for (spec, told) in wrong {
        refused(
            &patched(spec),
            &["Application ", " cannot be read: ", told, "kubectl explain application.spec"],
        );
    }
    // Who may do more may not do this either.
    let name = shop.name();
    let mistaken = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": "other"}, "spec": {
        "project": name, "source": {"repo": shop.repo.url()}, "sync": {"windows": [window("never", "")]}}});
    refused(&shop.kubectl_stdin("create -f -", &mistaken.to_string()), &["\"never\" is no cron schedule"]);
    patched(json!({"sync": {"windows": [window("0 8 * * 1-5", "Europe/Berlin")]}})).ok();
}

#[test]
fn two_applications_that_declare_one_object_are_both_told() {
    let shop = Shop::open();
    let second = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": "second"}, "spec": {
        "project": shop.name(), "source": {"repo": shop.repo.url(), "revision": "main", "path": "app"}, "destination": {"namespace": shop.name()}}});
    shop.kubectl_stdin("apply -f -", &second.to_string()).ok();
    let message = eventually("the second is told", Duration::from_secs(30), || {
        let application = shop.get("application", "second")?;
        let conditions = application["status"]["conditions"].as_array()?.clone();
        conditions
            .iter()
            .find(|c| c["reason"] == "Conflicts")
            .and_then(|c| c["message"].as_str().map(str::to_owned))
    });
    assert!(message.contains("the older"), "{message}");
    let first = eventually("the first is told", Duration::from_secs(30), || {
        let conditions = shop.get("application", "web")?["status"]["conditions"].as_array()?.clone();
        conditions.iter().find(|c| c["reason"] == "Conflicts").map(|c| c["message"].clone())
    });
    assert!(first.as_str().unwrap().contains("/web"), "{first}");
}

#[test]
fn warn_lets_through_with_a_warning() {
    let shop = Shop::open();
    shop.kubectl_args(&[
        "patch",
        "application",
        "web",
        "--type=merge",
        "-p",
        r#"{"spec":{"enforcement":{"mode":"Warn"}}}"#,
    ])
    .ok();
    // The Project's floor is Enforce: the stricter holds.
    refused(&shop.kubectl("scale deployment web --replicas=5"), &["spec.replicas"]);
    shop.cluster
        .kubectl_args(&[
            "patch",
            "project",
            shop.name(),
            "--type=merge",
            "-p",
            r#"{"spec":{"enforcement":{"mode":"Warn"}}}"#,
        ])
        .ok();
    let ran = eventually("scaling passes", Duration::from_secs(20), || {
        Some(shop.kubectl("scale deployment web --replicas=5")).filter(|ran| ran.code == 0)
    });
    assert!(ran.stderr.contains("Warning: Deployment"), "{}", ran.stderr);
}
