//! Rollouts at their size, each in a cluster with webhook, controller and nodes
//! that play Pods.

mod active;
mod idle;
mod reaction;
mod seen;

use std::path::Path;

use gitops_tests::{FakeNode, Replica, Repo, TestCluster, Webhook};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::Cluster;

pub use active::active;
pub use idle::idle;
pub use reaction::reaction;

/// A cluster with our definitions and the webhook. What is last goes last.
struct World {
    webhook: Webhook,
    tests: &'static TestCluster,
    cluster: Cluster,
    folder: TempDir,
}

impl World {
    fn up() -> Self {
        let cluster = Cluster::up();
        let tests = Box::leak(Box::new(TestCluster::at(cluster.kubeconfig.clone().into())));
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let crds = ["apply", "--server-side", "-f", "charts/gitops/templates/crds"];
        assert!(cluster.run("kubectl", &crds, root));
        assert!(cluster.kubectl("create namespace gitops-system"));
        let folder = TempDir::with_prefix("gitops-bench-").unwrap();
        let webhook = start(tests, folder.path());
        Self { webhook, tests, cluster, folder }
    }

    /// Puts a new process for the webhook, with what the old one has kept on disk.
    fn renew_webhook(&mut self) {
        let fresh = start(self.tests, self.folder.path());
        std::mem::replace(&mut self.webhook, fresh).kill();
    }

    /// Applications of one repository, each in a namespace of its own; waits until
    /// all are enforced.
    fn hold(&self, repo: &Repo, count: usize) {
        let mut all = vec![
            json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Project", "metadata": {"name": "teams"}, "spec": {
                "applicationNamespaces": ["apps"], "repositories": [{"url": "file:///**"}], "destinations": [{"namespaces": ["team-*"]}]}}),
        ];
        for name in (0..count).map(team).chain(["apps".to_owned()]) {
            all.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
        }
        all.extend((0..count).map(|at| {
            json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": team(at), "namespace": "apps"}, "spec": {
                "project": "teams", "source": {"repo": repo.url(), "revision": "main", "path": team(at)}, "destination": {"namespace": team(at)},
                "sync": {"mode": "Automatic", "prune": true}}})
        }));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(crate::raw::create(&self.cluster, &all));
        let wait = "wait --for=condition=Enforced application --all -n apps --timeout=300s";
        assert!(self.cluster.kubectl(wait), "{}", self.webhook.log());
    }
}

fn start(tests: &'static TestCluster, folder: &Path) -> Webhook {
    Webhook::start(tests, &folder.join("webhook"), &Replica::default())
}

/// The namespace, the Application and the folder of one of many.
fn team(at: usize) -> String {
    format!("team-{at:02}")
}

/// A Deployment of this image, on one of these nodes.
fn deployment(name: &str, image: &str, replicas: u32, node: &FakeNode) -> Value {
    let mut pod = node.placement();
    pod["containers"] = json!([{"name": "web", "image": image, "env": [{"name": "NAME", "value": name}],
        "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}}}]);
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": pod}}})
}

/// Its Rollout with these steps.
fn rollout(name: &str, steps: &Value) -> Value {
    json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": name}, "spec": {
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "strategy": {"canary": {"steps": steps}}, "onFailure": "Hold"}})
}

/// A file of these objects.
fn file(objects: impl Iterator<Item = Value>) -> String {
    objects.map(|object| format!("---\n{object}\n")).collect()
}
