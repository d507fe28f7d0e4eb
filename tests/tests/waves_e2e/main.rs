//! Waves, hooks, options and safety of a sync on the real API server.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fields;
mod interrupted;
mod lease;
mod options;
mod phases;

use gitops_tests::{FakeNode, Namespace, Ran, Repo, cluster};
use serde_json::{Value, json};

/// A namespace and a repository with a `gitops.yaml` that fills it.
struct Place {
    namespace: Namespace,
    repo: Repo,
}

impl Place {
    fn new(files: &[(&str, String)]) -> Self {
        Self::with(files, &json!({}))
    }

    /// With this in the Application's `spec.sync`.
    fn with(files: &[(&str, String)], sync: &Value) -> Self {
        let namespace = cluster().namespace("waves");
        let place = Self { namespace, repo: Repo::new() };
        place.commit(files);
        place.applications(&[
            json!({"metadata": {"name": "web"}, "spec": {"source": {"path": "app"}, "sync": sync}}),
        ]);
        place
    }

    /// Writes gitops.yaml and commits.
    fn applications(&self, applications: &[Value]) {
        let documents: Vec<String> = applications
            .iter()
            .map(|application| {
                let mut application = application.clone();
                application["apiVersion"] = "kubectl-gitops.dev/v1alpha1".into();
                application["kind"] = "Application".into();
                application["metadata"]["namespace"] = self.namespace.name.clone().into();
                application.to_string()
            })
            .collect();
        self.repo.commit("describe", &[("gitops.yaml", &documents.join("\n---\n"))]);
    }

    fn commit(&self, files: &[(&str, String)]) {
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        self.repo.commit("change", &files);
    }

    fn gitops(&self, arguments: &str) -> Ran {
        cluster().gitops(self.repo.path(), arguments)
    }

    fn kubectl(&self, arguments: &str) -> Ran {
        cluster().kubectl(&format!("--namespace {} {arguments}", self.namespace.name))
    }

    fn get(&self, arguments: &str) -> Option<Value> {
        let ran = self.kubectl(&format!("get {arguments} -o json"));
        (ran.code == 0).then(|| ran.json())
    }

    fn has(&self, object: &str) -> bool {
        self.get(object).is_some()
    }

    fn uid(&self, object: &str) -> String {
        self.get(object).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned()
    }
}

fn object(kind: &str, name: &str, annotations: &Value, rest: &Value) -> String {
    let api = match kind {
        "Job" => "batch/v1",
        "Deployment" => "apps/v1",
        _ => "v1",
    };
    let mut object =
        json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "annotations": annotations}});
    for (field, value) in rest.as_object().unwrap() {
        object[field] = value.clone();
    }
    object.to_string()
}

fn config(name: &str, annotations: &Value) -> String {
    object("ConfigMap", name, annotations, &json!({"data": {"a": "1"}}))
}

/// A Job that ends well on this node, or, without one, fails after a second.
fn job(name: &str, annotations: &Value, node: Option<&FakeNode>) -> String {
    let mut pod = node.map_or_else(|| json!({"nodeSelector": {"none": "such"}}), FakeNode::placement);
    pod["restartPolicy"] = "Never".into();
    pod["containers"] = json!([{"name": "run", "image": "run:1"}]);
    let mut spec = json!({"template": {"spec": pod}, "backoffLimit": 0});
    if node.is_none() {
        spec["activeDeadlineSeconds"] = 1.into();
    }
    object("Job", name, annotations, &json!({"spec": spec}))
}

fn wave(number: i32) -> Value {
    json!({"argocd.argoproj.io/sync-wave": number.to_string()})
}

fn hook(phase: &str) -> Value {
    json!({"argocd.argoproj.io/hook": phase})
}
