//! Who may say what is true: principals with real RBAC try to widen their own
//! reach; Projects limit branches, signers and children; an Override opens for
//! a while; the guard and what it guards.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod children;
mod commits;
mod contested;
mod guard;
mod namespaces;
mod overrides;
mod reach;

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use gitops_tests::cluster::{Ran, eventually};
use gitops_tests::{Shop, TestCluster};
use serde_json::json;

/// The guard's objects have fixed names.
static ONE: Mutex<()> = Mutex::new(());

const API: &str = "kubectl-gitops.dev/v1alpha1";

/// Whoever asks, as the API server knows them.
fn account(name: &str) -> String {
    format!(
        "--as=system:serviceaccount:gitops-system:{name} --as-group=system:serviceaccounts --as-group=system:authenticated"
    )
}

/// The chart's roles and guard, as helm renders them.
fn installed(cluster: &TestCluster) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut helm = cluster.command("helm");
    helm.current_dir(root).args([
        "template",
        "gitops",
        "charts/gitops",
        "--namespace",
        "gitops-system",
        "--show-only",
        "templates/rbac.yaml",
        "--show-only",
        "templates/access.yaml",
        "--show-only",
        "templates/guard.yaml",
    ]);
    let rendered = gitops_tests::cluster::ran(&mut helm, None).ok().stdout;
    cluster.kubectl_stdin("apply --server-side --force-conflicts -f -", &rendered).ok();
}

/// A controller that syncs everything, and may do nothing of its own.
fn controller(cluster: &TestCluster) {
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "trust-controller"}, "rules": [
        {"apiGroups": ["", "apps"], "resources": ["*"], "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"]},
        {"apiGroups": ["kubectl-gitops.dev"], "resources": ["*"], "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"]},
        {"apiGroups": ["rbac.authorization.k8s.io", "admissionregistration.k8s.io", "apiextensions.k8s.io"], "resources": ["*"], "verbs": ["get", "list", "watch", "create", "update", "patch", "delete", "bind", "escalate"]}]});
    cluster.kubectl_stdin("apply -f -", &role.to_string()).ok();
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "trust-controller"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "trust-controller"},
        "subjects": [{"kind": "ServiceAccount", "name": "gitops-controller", "namespace": "gitops-system"}]});
    cluster.kubectl_stdin("apply -f -", &binding.to_string()).ok();
}

/// The guard takes seconds until it is in force: seen by somebody whom RBAC
/// alone would let write.
fn guarded(cluster: &TestCluster) {
    controller(cluster);
    eventually("the guard is in force", Duration::from_secs(60), || {
        let tried = cluster.kubectl(&format!(
            "{} annotate --overwrite --dry-run=server clusterrole gitops-viewer tried=now",
            account("gitops-controller")
        ));
        tried.stderr.contains("guards this object").then_some(())
    });
}

fn metric(name: &str) -> f64 {
    let url = format!("{}/metrics", std::env::var("GITOPS_TEST_WEBHOOK_HTTP").unwrap());
    let text = std::process::Command::new("curl").args(["-s", &url]).output().unwrap().stdout;
    let text = String::from_utf8(text).unwrap();
    let line =
        text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} is not in {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// `kubectl gitops` as somebody.
fn gitops(shop: &Shop, arguments: &str) -> Ran {
    shop.cluster.gitops(Path::new("/"), arguments)
}
