//! Whose an object and a field is, and what cannot be changed in place.

use gitops_tests::{Place, cluster};
use serde_json::{Value, json};

use super::{config, object};

#[test]
fn objects_move_between_applications_and_shared_ones_are_told() {
    let place = Place::new(&[
        ("one/a.yaml", config("moves", &json!({}))),
        ("two/b.yaml", config("other", &json!({}))),
    ]);
    let application = |name: &str, path: &str, options: Value| json!({"metadata": {"name": name}, "spec": {"source": {"path": path}, "sync": {"prune": true, "options": options}}});
    place.describe(&[application("one", "one", json!([])), application("two", "two", json!([]))]);
    place.gitops("sync").ok();
    let uid = place.uid("configmap moves");
    place.repo.git(&["mv", "one/a.yaml", "two/a.yaml"]);
    place.commit(&[("one/c.yaml", config("stays", &json!({})))]);
    let ran = place.gitops("sync").ok();
    assert!(ran.stdout.contains("it moves to Application"), "{}", ran.stdout);
    let owner = || {
        place.get("configmap moves").unwrap()["metadata"]["annotations"]["kubectl-gitops.dev/owner"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        (owner(), place.uid("configmap moves")),
        (format!("{}/two", place.namespace.name), uid.clone())
    );
    // A new name: the objects stay and change hands.
    place.describe(&[application("one", "one", json!([])), application("zwei", "two", json!([]))]);
    place.gitops("sync").ok();
    assert_eq!((owner(), place.uid("configmap moves")), (format!("{}/zwei", place.namespace.name), uid));
    // What two declare stays with the one that has it.
    place.commit(&[("one/a.yaml", config("moves", &json!({})))]);
    let ran = place.gitops("sync one").code(6);
    assert!(
        ran.stdout.contains("failed ConfigMap") && ran.stdout.contains("/zwei owns it"),
        "{}",
        ran.stdout
    );
    place.describe(&[
        application("one", "one", json!(["FailOnSharedResource=true"])),
        application("zwei", "two", json!([])),
    ]);
    assert!(place.gitops("sync one").code(6).stderr.contains("nothing was applied"));
}

#[test]
fn fields_of_tools_are_taken_and_those_of_controllers_are_told() {
    let place = Place::new(&[("app/a.yaml", config("web", &json!({})))]);
    let text = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web", "namespace": place.namespace.name}, "data": {"a": "0"}}).to_string();
    // Made by hand before: taken over, and kubectl lets go.
    cluster().kubectl_stdin("apply -f -", &text).ok();
    let ran = place.gitops("sync --conflicts=fail").code(6);
    assert!(ran.stdout.contains("data.a is set by kubectl-client-side-apply"), "{}", ran.stdout);
    assert_eq!(place.get("configmap web").unwrap()["data"]["a"], "0");
    let ran = place.gitops("sync").ok();
    assert!(ran.stdout.contains("data.a taken from kubectl-client-side-apply"), "{}", ran.stdout);
    let fields = || {
        place.kubectl("get configmap web -o json --show-managed-fields").json()["metadata"]["managedFields"]
            .clone()
    };
    let held = fields().as_array().unwrap().iter().any(|entry| {
        entry["manager"] == "kubectl-client-side-apply" && entry["fieldsV1"].get("f:data").is_some()
    });
    assert!(!held, "{}", fields());
    place.gitops("diff").ok();
    let operator = |value: &str| {
        let text = text.replace("\"a\":\"0\"", &format!("\"a\":\"{value}\""));
        cluster()
            .kubectl_stdin("apply --server-side --force-conflicts --field-manager=my-operator -f -", &text)
            .ok();
    };
    operator("9");
    let ran = place.gitops("sync").code(6);
    assert!(
        ran.stdout.contains("data.a is set by my-operator") && ran.stdout.contains("--conflicts"),
        "{}",
        ran.stdout
    );
    let ran = place.gitops("sync --conflicts=keep").ok();
    assert!(ran.stdout.contains("data.a left to my-operator"), "{}", ran.stdout);
    assert_eq!(place.get("configmap web").unwrap()["data"]["a"], "9");
    let ran = place.gitops("sync --conflicts=take").ok();
    assert!(ran.stdout.contains("data.a taken from my-operator"), "{}", ran.stdout);
    place.gitops("diff").ok();
    // So that a controller knows, too.
    operator("8");
    let options = |text: &str| json!({"argocd.argoproj.io/sync-options": text});
    place.commit(&[("app/a.yaml", config("web", &options("Conflicts=keep")))]);
    let ran = place.gitops("sync").ok();
    assert!(ran.stdout.contains("data.a left to my-operator"), "{}", ran.stdout);
    place.commit(&[("app/a.yaml", config("web", &options("Conflicts=take")))]);
    place.gitops("sync").ok();
    assert_eq!(place.get("configmap web").unwrap()["data"]["a"], "1");
}

/// Argo CD, Flux and Helm apply on the server's side, too: what they have said is
/// over, but for what they alone have said.
#[test]
fn tools_that_apply_on_the_servers_side_let_go() {
    let labelled = |value: &str, labels: Value| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web", "labels": labels}, "data": {"a": value}}).to_string()
    };
    for manager in ["argocd-controller", "kustomize-controller"] {
        let place = Place::new(&[("app/a.yaml", labelled("1", json!({"team": "x"})))]);
        let before = labelled("0", json!({"team": "x", "theirs": "y"}));
        let apply = format!("apply --server-side --field-manager={manager} -n {} -f -", place.namespace.name);
        cluster().kubectl_stdin(&apply, &before).ok();
        let ran = place.gitops("sync").ok();
        assert!(ran.stdout.contains(&format!("data.a taken from {manager}")), "{}", ran.stdout);
        place.commit(&[("app/a.yaml", labelled("2", json!({})))]);
        place.gitops("sync").ok();
        let live = place.get("configmap web").unwrap();
        let labels = &live["metadata"]["labels"];
        assert_eq!(
            (&live["data"]["a"], labels.get("team"), &labels["theirs"]),
            (&json!("2"), None, &json!("y")),
            "{manager}"
        );
    }
}

#[test]
fn what_cannot_be_changed_is_told_and_made_anew_only_where_allowed() {
    let service = |ip: &str, annotations: &Value| {
        object("ConfigMap", "fixed", annotations, &json!({"data": {"a": ip}, "immutable": true}))
    };
    let claim = |size: &str, mode: &str| {
        object(
            "PersistentVolumeClaim",
            "disk",
            &json!({"argocd.argoproj.io/sync-options": "Force=true"}),
            &json!({"spec": {"accessModes": [mode], "resources": {"requests": {"storage": size}}}}),
        )
    };
    let place = Place::new(&[
        ("app/a.yaml", service("1", &json!({}))),
        ("app/b.yaml", claim("1Gi", "ReadWriteOnce")),
    ]);
    place.gitops("sync").ok();
    let uid = place.uid("configmap fixed");
    place.commit(&[("app/a.yaml", service("2", &json!({})))]);
    let ran = place.gitops("sync").code(3);
    assert!(
        ran.stdout.contains("data.a cannot be changed: it is \"1\", Git says \"2\"")
            && ran.stdout.contains("--replace"),
        "{}",
        ran.stdout
    );
    assert_eq!(place.uid("configmap fixed"), uid);
    place.gitops("sync --replace --dry-run=server").ok();
    let ran = place.gitops("sync --replace").ok();
    assert!(ran.stdout.contains("made anew") && place.uid("configmap fixed") != uid, "{}", ran.stdout);
    let uid = place.uid("configmap fixed");
    place.commit(&[(
        "app/a.yaml",
        service("3", &json!({"argocd.argoproj.io/sync-options": "Replace=true,Force=true"})),
    )]);
    place.gitops("sync").ok();
    assert_ne!(place.uid("configmap fixed"), uid);
    // What can be changed is replaced in its place, and what others have added goes.
    let whole = |value: &str| {
        object(
            "ConfigMap",
            "whole",
            &json!({"argocd.argoproj.io/sync-options": "Replace=true"}),
            &json!({"data": {"a": value}}),
        )
    };
    place.commit(&[("app/c.yaml", whole("1"))]);
    place.gitops("sync").ok();
    let uid = place.uid("configmap whole");
    place.kubectl("label configmap whole added=here").ok();
    place.commit(&[("app/c.yaml", whole("2"))]);
    let ran = place.gitops("sync").ok();
    assert!(ran.stdout.contains("replaced as a whole"), "{}", ran.stdout);
    let live = place.get("configmap whole").unwrap();
    assert_eq!((place.uid("configmap whole"), live["metadata"]["labels"].get("added")), (uid, None));
    // A claim's data goes with it, whatever its annotations say.
    let uid = place.uid("pvc disk");
    place.commit(&[("app/b.yaml", claim("1Gi", "ReadWriteMany"))]);
    place.gitops("sync --replace").code(3);
    assert_eq!(place.uid("pvc disk"), uid);
    place.gitops("sync --replace --force").ok();
    assert_ne!(place.uid("pvc disk"), uid);
}
