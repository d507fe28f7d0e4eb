//! The plugin asks the controller, in a cluster of its own: what it asks for is
//! done there, once, and followed to its end.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use gitops_tests::cluster::{Ran, eventually};
use gitops_tests::shop::CONFIG;
use gitops_tests::{Controller, NodeCluster, Repo, TestCluster};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Namespace `shop` with Application `web`, which nobody has synced.
fn shop(cluster: &TestCluster, repo: &Repo) {
    cluster.kubectl("create namespace shop").ok();
    let project = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Project", "metadata": {"name": "shop"}, "spec": {
        "applicationNamespaces": ["shop"], "repositories": [{"url": "file:///**"}], "destinations": [{"namespaces": ["shop"]}]}});
    cluster.kubectl_stdin("apply -f -", &project.to_string()).ok();
    let flags = format!("--repo {} --revision main --path app --project shop", repo.url());
    gitops(cluster, &format!("app create web {flags}")).ok();
}

fn gitops(cluster: &TestCluster, arguments: &str) -> Ran {
    cluster.gitops(Path::new("/"), &format!("{arguments} -n shop"))
}

fn application(cluster: &TestCluster) -> Value {
    cluster.kubectl("get application web -n shop -o json").ok().json()
}

/// The Lease of a replica that was killed at this time.
fn lease(cluster: &TestCluster, renewed: &str) {
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "gitops-controller-one", "namespace": "gitops-system"},
        "spec": {"holderIdentity": "one", "leaseDurationSeconds": 10, "renewTime": renewed}});
    cluster.kubectl_stdin("apply --server-side --force-conflicts -f -", &lease.to_string()).ok();
}

/// From now on, who writes to an Application is stamped on it, as the mutating
/// webhook does.
fn stamps(cluster: &TestCluster) {
    let metadata = json!({"name": "stamp"});
    let expression = "[JSONPatch{op: \"add\", path: \"/metadata/annotations/\" + jsonpatch.escapeKey(\"kubectl-gitops.dev/requested-by\"), value: request.userInfo.username}]";
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": metadata, "spec": {
        "matchConstraints": {"resourceRules": [{"apiGroups": ["kubectl-gitops.dev"], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": ["applications"]}]},
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}]}});
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding", "metadata": metadata, "spec": {"policyName": "stamp"}});
    for object in [policy, binding] {
        cluster.kubectl_stdin("apply -f -", &object.to_string()).ok();
    }
}

/// A webhook says that it judges the Application, though the API server does not
/// call it yet.
fn judged(cluster: &TestCluster) {
    let enforced = json!({"type": "Enforced", "status": "True", "reason": "Enforced", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let status = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": "web", "namespace": "shop"}, "status": {"conditions": [enforced]}});
    let apply = "apply --server-side --subresource=status --field-manager=gitops-webhook -f -";
    cluster.kubectl_stdin(apply, &status.to_string()).ok();
}

/// A request that got in without a stamp is refused, and made again by the
/// plugin until it has one.
fn a_stamp_is_waited_for(cluster: &TestCluster) {
    judged(cluster);
    let synced = std::thread::scope(|scope| {
        let synced = scope.spawn(|| gitops(cluster, "sync web"));
        eventually("a request without a stamp is refused", Duration::from_secs(60), || {
            let operation = &application(cluster)["status"]["operation"];
            operation["message"].as_str()?.contains("has not said who asks").then_some(())
        });
        stamps(cluster);
        synced.join().unwrap()
    });
    synced.ok();
    let (live, operation) = (application(cluster), application(cluster)["status"]["operation"].clone());
    assert_ne!(live["metadata"]["annotations"]["kubectl-gitops.dev/requested-by"], Value::Null, "{live}");
    assert_eq!(operation["phase"], "Succeeded", "{operation}");
}

#[test]
fn the_controller_is_asked_where_one_runs() {
    let node = NodeCluster::control_plane("asking");
    let (cluster, repo) = (&node.cluster, Repo::with(&[("app/config.yaml", CONFIG)]));
    shop(cluster, &repo);
    let request = "kubectl-gitops.dev/request";

    // Where none runs, nothing is asked, and a sync is done from here.
    lease(cluster, "2026-01-01T00:00:00.000000Z");
    let ran = gitops(cluster, "app suspend web").code(6);
    assert!(ran.stderr.contains("no controller runs"), "{}", ran.stderr);
    gitops(cluster, "sync web").ok();
    assert_eq!(application(cluster)["metadata"]["annotations"][request], Value::Null);

    let cache = TempDir::new().unwrap();
    let controller = Controller::replica(cluster, "two", cache.path());
    eventually("its Lease is there", Duration::from_secs(30), || {
        let lease = cluster.kubectl("get lease gitops-controller-two -n gitops-system");
        (lease.code == 0).then_some(())
    });
    repo.commit("Goodbye", &[("app/config.yaml", &CONFIG.replace("hello", "goodbye"))]);
    let synced = gitops(cluster, "sync web --reason INC-12").ok();
    assert!(synced.stdout.contains("synced by the controller"), "{}", synced.stdout);
    let live = cluster.kubectl("get configmap web -n shop -o jsonpath={.data.greeting}").ok().stdout;
    assert_eq!(live, "goodbye");
    let asked = application(cluster)["metadata"]["annotations"][request].as_str().unwrap().to_owned();
    let asked: Value = serde_json::from_str(&asked).unwrap();
    assert_eq!((&asked["verb"], &asked["reason"]), (&json!("sync"), &json!("INC-12")));
    assert_eq!(application(cluster)["status"]["operation"]["id"], asked["id"]);

    // A suspended one is left as it is, until it is resumed.
    let told = gitops(cluster, "app suspend web --reason INC-12 -o json").ok().json();
    assert_eq!((&told["verb"], &told["phase"]), (&json!("suspend"), &json!("Succeeded")), "{told}");
    repo.commit("Again", &[("app/config.yaml", &CONFIG.replace("hello", "again"))]);
    let refused = gitops(cluster, "sync web");
    assert_ne!(refused.code, 0, "{}", refused.stdout);
    assert!(refused.stdout.contains("INC-12"), "{}", refused.stdout);
    assert_eq!(gitops(cluster, "app resume --all -o name").ok().stdout, "application/web\n");
    gitops(cluster, "sync web -o json").ok();
    // What is not for the controller is done from here.
    repo.commit("Once more", &[("app/config.yaml", &CONFIG.replace("hello", "once more"))]);
    let local = gitops(cluster, "sync web --kind ConfigMap").ok();
    assert!(local.stderr.contains("--kind is not for the controller"), "{}", local.stderr);

    a_stamp_is_waited_for(cluster);

    // One that has ended leaves nobody asking in vain.
    controller.stop();
    let ran = gitops(cluster, "app suspend web").code(6);
    assert!(ran.stderr.contains("no controller runs"), "{}", ran.stderr);
}
