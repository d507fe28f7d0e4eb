//! The controller with no more rights than the chart gives it: it reads Secrets
//! in the namespaces that it writes to alone, and heals them there.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use gitops_tests::cluster::eventually;
use gitops_tests::controller::{account, installed};
use gitops_tests::{Controller, NodeCluster, Repo, TestCluster};
use serde_json::json;
use tempfile::TempDir;

const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: web}\nstringData: {greeting: hello}\n";

fn greeting(cluster: &TestCluster) -> String {
    cluster.kubectl("get secret web -n shop -o jsonpath={.data.greeting}").stdout
}

#[test]
fn a_secret_is_healed_where_not_all_may_be_read() {
    let node = NodeCluster::control_plane("narrow");
    let (cluster, repo) = (&node.cluster, Repo::with(&[("app/secret.yaml", SECRET)]));
    cluster.kubectl("create namespace shop").ok();
    let own = "kubectl-gitops.dev/v1alpha1";
    let project = json!({"apiVersion": own, "kind": "Project", "metadata": {"name": "shop"}, "spec": {
        "applicationNamespaces": ["shop"], "repositories": [{"url": "file:///**"}], "destinations": [{"namespaces": ["shop"]}]}});
    let application = json!({"apiVersion": own, "kind": "Application", "metadata": {"name": "web", "namespace": "shop"}, "spec": {
        "project": "shop", "source": {"repo": repo.url(), "revision": "main", "path": "app"}, "sync": {"mode": "Automatic"}}});
    for object in [project, application] {
        cluster.kubectl_stdin("apply -f -", &object.to_string()).ok();
    }
    let (folder, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    installed(cluster, "gitops-system", "shop");
    let account = account(cluster, "gitops-system", folder.path());
    let controller = Controller::replica(&account, "one", cache.path());
    // "hello", as Kubernetes keeps it.
    eventually("the Secret is there", Duration::from_secs(60), || {
        (greeting(cluster) == "aGVsbG8=").then_some(())
    });
    eventually("it is not watched everywhere", Duration::from_secs(60), || {
        controller.log().contains("only where Git declares it").then_some(())
    });
    // The watch of the namespace may begin a moment after a change.
    eventually("what was changed is healed", Duration::from_secs(120), || {
        let change = json!({"stringData": {"greeting": "changed"}}).to_string();
        cluster.kubectl_args(&["patch", "secret", "web", "-n", "shop", "--type=merge", "-p", &change]).ok();
        std::thread::sleep(Duration::from_secs(4));
        (greeting(cluster) == "aGVsbG8=").then_some(())
    });
    // A watch that is refused is not begun again with every look.
    let refused = controller.log().matches("drift is found by looking again only").count();
    assert_eq!(refused, 0, "{}", controller.log());
}
