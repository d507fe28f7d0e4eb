//! A namespace of the shared cluster, and a repository with a `gitops.yaml` that
//! fills it: what the plugin's own tests work on. No webhook holds it.

use serde_json::{Value, json};

use crate::cluster::{Namespace, Ran, cluster};
use crate::repo::Repo;

/// A namespace, and the repository that fills it.
#[derive(Debug)]
pub struct Place {
    pub namespace: Namespace,
    pub repo: Repo,
}

impl Place {
    /// With these files (path, text), and Application `web` of those in `app`.
    pub fn new<Text: AsRef<str>>(files: &[(&str, Text)]) -> Self {
        Self::with(files, &json!({}))
    }

    /// The same, with more in the Application's spec.
    pub fn with<Text: AsRef<str>>(files: &[(&str, Text)], more: &Value) -> Self {
        let place = Self::undescribed(files);
        let mut application = place.application("web", "app");
        for (field, value) in more.as_object().into_iter().flatten() {
            application["spec"][field] = value.clone();
        }
        place.describe(&[application]);
        place
    }

    /// With these files, and no Application.
    pub fn undescribed<Text: AsRef<str>>(files: &[(&str, Text)]) -> Self {
        Self { namespace: cluster().namespace("place"), repo: Repo::with(&texts(files)) }
    }

    /// An Application that brings a path's objects into the namespace.
    pub fn application(&self, name: &str, path: &str) -> Value {
        json!({"metadata": {"name": name}, "spec": {
            "source": {"path": path}, "destination": {"namespace": self.namespace.name}}})
    }

    /// Writes these Applications, in the namespace, to `gitops.yaml` and commits.
    pub fn describe(&self, applications: &[Value]) {
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

    /// Writes these files and commits.
    pub fn commit<Text: AsRef<str>>(&self, files: &[(&str, Text)]) {
        self.repo.commit("change", &texts(files));
    }

    /// `kubectl gitops` in the working tree.
    pub fn gitops(&self, arguments: &str) -> Ran {
        cluster().gitops(self.repo.path(), arguments)
    }

    /// kubectl in the namespace.
    pub fn kubectl(&self, arguments: &str) -> Ran {
        cluster().kubectl(&format!("--namespace {} {arguments}", self.namespace.name))
    }

    /// A live object, or what else `kubectl get` finds by these arguments.
    pub fn get(&self, arguments: &str) -> Option<Value> {
        let ran = self.kubectl(&format!("get {arguments} -o json"));
        (ran.code == 0).then(|| ran.json())
    }

    /// Whether an object is there.
    pub fn has(&self, object: &str) -> bool {
        self.get(object).is_some()
    }

    /// The uid of an object that is there.
    pub fn uid(&self, object: &str) -> String {
        self.get(object).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned()
    }
}

fn texts<'a, Text: AsRef<str>>(files: &'a [(&'a str, Text)]) -> Vec<(&'a str, &'a str)> {
    files.iter().map(|(path, text)| (*path, text.as_ref())).collect()
}
