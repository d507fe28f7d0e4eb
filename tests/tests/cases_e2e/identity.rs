//! From Config Sync's tests: whose an object is.

use gitops_tests::Shop;
use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use serde_json::json;

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
fn objects_that_are_as_git_says_get_marks_and_nothing_else() {
    let shop = Shop::unheld(&[("app/config.yaml", CONFIG), ("app/web.yaml", DEPLOYMENT)]);
    for object in [CONFIG, DEPLOYMENT] {
        shop.kubectl_stdin("apply -f -", object).ok();
    }
    shop.hold(json!({}));
    let ran = |what: &str| {
        let arguments = format!("{what} web --namespace {}", shop.name());
        shop.cluster.gitops(std::path::Path::new("/"), &arguments)
    };
    assert_eq!(ran("diff").code, 0);
    let before = shop.get("deployment", "web").unwrap()["spec"].clone();
    let adopted = ran("sync --local").ok();
    let told = adopted.stdout + &adopted.stderr;
    for part in ["adopted ConfigMap", "adopted Deployment", "2 unchanged", "2 adopted"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(shop.get("deployment", "web").unwrap()["spec"], before);
    let again = ran("sync --local").ok().stdout;
    assert!(!again.contains("adopted"), "{again}");
    shop.repo.remove("less", &["app/config.yaml"]);
    shop.sync().ok();
    assert!(shop.get("configmap", "web").is_none());
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
