//! A namespace that is held to a repository: Project, Application and the
//! webhook's word that it is enforced.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Namespace, Ran, TestCluster, eventually, webhook_cluster};
use crate::repo::Repo;

/// A Deployment and a ConfigMap, as the repository has them at first.
pub const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
spec:
  replicas: 2
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
        - name: web
          image: web:1
";
pub const CONFIG: &str = "apiVersion: v1
kind: ConfigMap
metadata:
  name: web
data:
  greeting: hello
";

/// A namespace, its repository, and the Application between them.
#[derive(Debug)]
pub struct Shop {
    pub cluster: &'static TestCluster,
    namespace: Namespace,
    pub repo: Repo,
}

impl Shop {
    /// Enforced and in sync, with [`DEPLOYMENT`] and [`CONFIG`].
    pub fn open() -> Self {
        Self::with(&[("app/web.yaml", DEPLOYMENT), ("app/config.yaml", CONFIG)])
    }

    /// Enforced and in sync, with these files; objects are in `app`.
    pub fn with(files: &[(&str, &str)]) -> Self {
        let shop = Self::unheld(files);
        shop.hold(json!({}));
        shop.sync().ok();
        shop
    }

    /// A namespace and a repository; nothing is held yet.
    pub fn unheld(files: &[(&str, &str)]) -> Self {
        Self::at(webhook_cluster(), files)
    }

    /// The same in another cluster.
    pub fn at(cluster: &'static TestCluster, files: &[(&str, &str)]) -> Self {
        let namespace = cluster.namespace("shop");
        let repo = Repo::with(files);
        Self { cluster, namespace, repo }
    }

    /// The namespace's name.
    pub fn name(&self) -> &str {
        &self.namespace.name
    }

    /// Enforced and in sync under this Project, with these files; objects are in
    /// `app`.
    pub fn under(project: Value, files: &[(&str, &str)]) -> Self {
        let shop = Self::unheld(files);
        shop.hold_under(project, json!({}));
        shop.sync().ok();
        shop
    }

    /// Creates Project and Application, and waits until the API server asks the
    /// webhook about this namespace.
    pub fn hold(&self, spec: Value) {
        self.hold_under(json!({}), spec);
    }

    /// The same, with more in the Project's spec.
    pub fn hold_under(&self, more: Value, spec: Value) {
        let name = self.name();
        let mut project = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Project", "metadata": {"name": name}, "spec": {
            "applicationNamespaces": [name], "repositories": [{"url": "file:///**"}, {"url": "http://127.0.0.1*/**"}], "destinations": [{"namespaces": [name]}],
            "clusterKinds": [{"group": "apiextensions.k8s.io", "kind": "CustomResourceDefinition"}]}});
        for (key, value) in more.as_object().into_iter().flatten() {
            project["spec"][key] = value.clone();
        }
        self.cluster.kubectl_stdin("apply -f -", &project.to_string()).ok();
        let mut application = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": "web", "namespace": name}, "spec": {
            "project": name, "source": {"repo": self.repo.url(), "revision": "main", "path": "app"}, "destination": {"namespace": name}}});
        for (key, value) in spec.as_object().into_iter().flatten() {
            application["spec"][key] = value.clone();
        }
        self.cluster.kubectl_stdin("apply -f -", &application.to_string()).ok();
        self.wait_for("Enforced", "True");
        // The API server takes a moment to learn of new rules: an object that
        // claims to be declared is refused once it has.
        let probe = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web", "namespace": name}, "data": {"probe": "x"}});
        eventually("the API server asks the webhook", Duration::from_secs(20), || {
            let tried = self.cluster.kubectl_stdin(
                "apply --server-side --force-conflicts --dry-run=server -f -",
                &probe.to_string(),
            );
            tried.stderr.contains("denied the request").then_some(())
        });
    }

    /// Merges this into the Application's spec.
    pub fn change(&self, spec: &Value) {
        let patch = json!({"spec": spec}).to_string();
        self.kubectl_args(&["patch", "application", "web", "--type=merge", "-p", &patch]).ok();
    }

    /// Nothing is held any more: the Project and the Application ask for it.
    pub fn hold_off(&self) {
        let patch = json!({"spec": {"enforcement": {"mode": "Off"}}}).to_string();
        let name = self.name();
        self.cluster.kubectl_args(&["patch", "project", name, "--type=merge", "-p", &patch]).ok();
        self.change(&json!({"enforcement": {"mode": "Off"}}));
    }

    /// Waits until a condition of the Application has this status and returns
    /// its message.
    pub fn wait_for(&self, condition: &str, status: &str) -> String {
        eventually(&format!("{condition} is {status}"), Duration::from_secs(30), || {
            let application = self.get("application", "web")?;
            let conditions = application["status"]["conditions"].as_array()?.clone();
            let found =
                conditions.iter().find(|known| known["type"] == condition && known["status"] == status)?;
            Some(found["message"].as_str()?.to_owned())
        })
    }

    /// `kubectl gitops sync` of the Application in the cluster, from here.
    pub fn sync(&self) -> Ran {
        self.cluster.gitops(
            std::path::Path::new("/"),
            &format!("sync web --local --namespace {} --prune --confirm-prune", self.name()),
        )
    }

    /// kubectl in this namespace.
    pub fn kubectl(&self, arguments: &str) -> Ran {
        self.cluster.kubectl(&format!("--namespace {} {arguments}", self.name()))
    }

    /// kubectl in this namespace, arguments one by one.
    pub fn kubectl_args(&self, arguments: &[&str]) -> Ran {
        let mut all = vec!["--namespace", self.name()];
        all.extend(arguments);
        self.cluster.kubectl_args(&all)
    }

    /// kubectl in this namespace with an object on its stdin.
    pub fn kubectl_stdin(&self, arguments: &str, input: &str) -> Ran {
        self.cluster.kubectl_stdin(&format!("--namespace {} {arguments}", self.name()), input)
    }

    /// A live object.
    pub fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let ran = self.kubectl(&format!("get {kind} {name} --ignore-not-found -o json"));
        serde_json::from_str(&ran.stdout).ok()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // First what holds the namespace, or it could not go.
        self.kubectl("delete application --all --wait=false");
        self.cluster.kubectl(&format!("delete project {} --ignore-not-found --wait=false", self.name()));
    }
}
