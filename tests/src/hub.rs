//! A hub: a cluster whose controller syncs Applications to others. In: clusters
//! and a repository. Out: Secrets that register them, Applications that go
//! there, and what the hub says of them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cluster::{Ran, TestCluster, eventually};
use crate::node_cluster::NodeCluster;
use crate::repo::Repo;

/// Patience with a machine that does other things as well.
const LONG: Duration = Duration::from_secs(120);

/// Where the hub keeps its Secrets.
pub const CLUSTERS: &str = "gitops-clusters";

/// A hub, without its controller.
#[derive(Debug)]
pub struct Hub {
    pub node: NodeCluster,
}

impl Hub {
    /// A control plane with our definitions, a namespace `shop`, and a Project of
    /// that name which lets Applications go everywhere.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn up() -> Self {
        Self::beside("hub")
    }

    /// The same beside another one, which has another prefix.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn beside(prefix: &str) -> Self {
        let hub = Self { node: NodeCluster::control_plane(prefix) };
        hub.cluster().kubectl(&format!("create namespace {CLUSTERS}")).ok();
        hub.cluster().kubectl("create namespace shop").ok();
        project(hub.cluster(), &json!({}));
        hub
    }

    pub fn cluster(&self) -> &TestCluster {
        &self.node.cluster
    }

    /// Registers a cluster, in Argo CD's format, by what its kubeconfig holds.
    pub fn register(&self, name: &str, cluster: &TestCluster) {
        let config = flat(cluster);
        let token = config["users"][0]["user"]["token"].as_str().unwrap_or_default();
        self.register_by(name, cluster, &json!({"bearerToken": token}));
    }

    /// The same, with these credentials.
    pub fn register_by(&self, name: &str, cluster: &TestCluster, credentials: &Value) {
        let endpoint = flat(cluster)["clusters"][0]["cluster"].clone();
        let mut config = credentials.clone();
        config["tlsClientConfig"]["caData"] = endpoint["certificate-authority-data"].clone();
        let data = json!({"name": name, "server": endpoint["server"], "config": config.to_string()});
        self.secret(name, "argocd.argoproj.io/secret-type", &data);
    }

    /// Registers a cluster by a command that prints its credentials; the command
    /// is a file in `folder`.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn register_exec(&self, name: &str, cluster: &TestCluster, folder: &Path) -> String {
        let config = flat(cluster);
        let credential = json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
            "status": {"token": config["users"][0]["user"]["token"]}});
        let file = folder.join("credentials");
        std::fs::write(&file, format!("#!/bin/sh\necho '{credential}'\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let command = file.display().to_string();
        let exec = json!({"command": command, "apiVersion": "client.authentication.k8s.io/v1"});
        self.register_by(name, cluster, &json!({"execProviderConfig": exec}));
        command
    }

    /// Registers a cluster by its kubeconfig.
    pub fn register_kubeconfig(&self, name: &str, cluster: &TestCluster) {
        let data = json!({"name": name, "kubeconfig": flat(cluster).to_string()});
        self.secret(name, "kubectl-gitops.dev/secret-type", &data);
    }

    fn secret(&self, name: &str, label: &str, data: &Value) {
        // Not as stringData: what is left out of it stays.
        let encoded: serde_json::Map<String, Value> = (data.as_object().unwrap().iter())
            .map(|(key, text)| (key.clone(), STANDARD.encode(text.as_str().unwrap()).into()))
            .collect();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": CLUSTERS,
            "labels": {label: "cluster"}}, "data": encoded});
        self.cluster().kubectl_stdin("apply -f -", &secret.to_string()).ok();
    }

    /// Creates or changes an Application that goes to a cluster, to namespace
    /// `shop` there.
    pub fn send(&self, name: &str, cluster: &str, repo: &Repo, path: &str, more: &Value) {
        let mut application = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"project": "shop", "source": {"repo": repo.url(), "revision": "main", "path": path},
                "destination": {"cluster": cluster, "namespace": "shop"},
                "sync": {"mode": "Automatic", "retry": {"backoff": "1s", "max": "3s"}}}});
        for (field, value) in more.as_object().into_iter().flatten() {
            application["spec"][field] = value.clone();
        }
        self.cluster()
            .kubectl_stdin("apply --server-side --force-conflicts -f -", &application.to_string())
            .ok();
    }

    /// An Application's status.
    pub fn status(&self, name: &str) -> Value {
        let ran = self.cluster().kubectl(&format!("get application {name} -n shop -o json"));
        if ran.code == 0 { ran.json()["status"].clone() } else { Value::Null }
    }

    /// Waits until the condition Synced has this reason; its message.
    pub fn says(&self, name: &str, reason: &str) -> String {
        eventually(&format!("Synced of {name} says {reason}"), LONG, || {
            let synced = condition(&self.status(name), "Synced");
            (synced["reason"] == reason).then(|| synced["message"].as_str().unwrap_or_default().to_owned())
        })
    }
}

/// A condition of a status.
pub fn condition(status: &Value, kind: &str) -> Value {
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|known| known["type"] == kind).unwrap_or_default()
}

/// A cluster that Applications go to: with namespace `shop` and a Project that
/// takes them.
pub fn far(prefix: &str) -> NodeCluster {
    let node = NodeCluster::control_plane(prefix);
    node.cluster.kubectl("create namespace shop").ok();
    project(&node.cluster, &json!({}));
    node
}

/// Creates or changes Project `shop`.
pub fn project(cluster: &TestCluster, more: &Value) {
    let mut project = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Project", "metadata": {"name": "shop"}, "spec": {
        "applicationNamespaces": ["shop"], "repositories": [{"url": "file:///**"}], "destinations": [{"namespaces": ["shop"]}]}});
    for (field, value) in more.as_object().into_iter().flatten() {
        project["spec"][field] = value.clone();
    }
    cluster.kubectl_stdin("apply -f -", &project.to_string()).ok();
}

/// A kubeconfig whose contexts lead to these clusters, by their names; the first
/// is the current one.
pub fn contexts(clusters: &[(&str, &TestCluster)], file: &Path) -> TestCluster {
    let mut all = json!({"apiVersion": "v1", "kind": "Config", "current-context": clusters[0].0,
        "clusters": [], "users": [], "contexts": []});
    for (name, cluster) in clusters {
        let config = flat(cluster);
        let mut add = |list: &str, field: &str, value: &Value| {
            all[list].as_array_mut().unwrap().push(json!({"name": name, field: value}));
        };
        add("clusters", "cluster", &config["clusters"][0]["cluster"]);
        add("users", "user", &config["users"][0]["user"]);
        add("contexts", "context", &json!({"cluster": name, "user": name}));
    }
    std::fs::write(file, all.to_string()).unwrap();
    TestCluster::at(file.to_owned())
}

/// The client certificate of a cluster's administrator, as Argo CD's Secrets
/// have it.
pub fn certificate(cluster: &TestCluster) -> Value {
    let pki = cluster.kubeconfig().parent().unwrap().join("pki");
    let read = |name: &str| STANDARD.encode(std::fs::read(pki.join(name)).unwrap());
    json!({"tlsClientConfig": {"certData": read("admin.crt"), "keyData": read("admin.key")}})
}

/// A kubeconfig that names no files.
fn flat(cluster: &TestCluster) -> Value {
    cluster.kubectl("config view --raw --minify --flatten -o json").ok().json()
}

/// Waits until ConfigMap `NAME` in `shop` of a cluster greets so.
pub fn greets(cluster: &TestCluster, name: &str, wanted: &str) {
    eventually(&format!("{name} greets with {wanted}"), LONG, || {
        (greeting(cluster, name) == wanted).then_some(())
    });
}

/// How ConfigMap `NAME` in `shop` of a cluster greets.
pub fn greeting(cluster: &TestCluster, name: &str) -> String {
    get(cluster, &format!("configmap {name} -n shop -o jsonpath={{.data.greeting}}")).stdout
}

fn get(cluster: &TestCluster, what: &str) -> Ran {
    cluster.kubectl(&format!("get {what} --ignore-not-found"))
}

/// A ConfigMap that greets.
pub fn config(name: &str, greeting: &str) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"greeting": greeting}})
        .to_string()
}
