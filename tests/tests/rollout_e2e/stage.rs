//! A shop with a Rollout, a controller that drives it and a node that plays its
//! Pods.

use std::time::Duration;

use gitops_tests::cluster::{Ran, eventually};
use gitops_tests::fake_node::FakeNode;
use gitops_tests::{Controller, Shop};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Patience with a machine that does other things as well.
pub const LONG: Duration = Duration::from_secs(120);

/// Everything that a rollout takes.
pub struct Stage {
    pub shop: Shop,
    pub node: FakeNode,
    pub cache: TempDir,
    pub controller: Option<Controller>,
    requests: std::cell::Cell<u32>,
}

impl Stage {
    /// A Deployment of four with this Rollout's spec, in sync and at rest.
    pub fn new(rollout: &Value) -> Self {
        Self::with(rollout, &[])
    }

    /// The same with more files.
    pub fn with(rollout: &Value, more: &[(&str, &str)]) -> Self {
        let shop = Shop::unheld(&[]);
        let node = FakeNode::start(shop.cluster, &format!("node-{}", shop.name()));
        let stage = Self {
            shop,
            node,
            cache: TempDir::with_prefix("gitops-controller-").unwrap(),
            controller: None,
            requests: std::cell::Cell::new(0),
        };
        let mut files =
            vec![("app/web.yaml", stage.deployment("web:1")), ("app/rollout.yaml", rollout_of(rollout))];
        files.extend(more.iter().map(|(path, text)| (*path, (*text).to_owned())));
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        stage.shop.repo.commit("first", &files);
        stage.shop.hold(json!({"sync": {"mode": "Automatic", "prune": true}}));
        let stage = stage.driven();
        stage.phase("Idle");
        stage.eventually("all Pods are there", |stage| (stage.available("web") == 4).then_some(()));
        stage
    }

    /// With a controller, anew if there was one.
    pub fn driven(mut self) -> Self {
        self.drive();
        self
    }

    pub fn drive(&mut self) {
        self.controller = Some(Controller::start(self.shop.cluster, self.shop.name(), self.cache.path()));
    }

    /// The Deployment as Git has it, with this image.
    pub fn deployment(&self, image: &str) -> String {
        let mut pod = self.node.placement();
        pod["containers"] = json!([{"name": "web", "image": image}]);
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
            "replicas": 4, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod}}})
        .to_string()
    }

    /// Commits a Deployment with this image.
    pub fn push(&self, image: &str) -> String {
        self.shop.repo.commit(image, &[("app/web.yaml", &self.deployment(image))])
    }

    pub fn rollout(&self) -> Value {
        self.shop.get("rollout", "web").unwrap_or_default()
    }

    /// Waits for a phase of the Rollout; returns its status.
    pub fn phase(&self, phase: &str) -> Value {
        self.eventually(&format!("the Rollout is {phase}"), |stage| {
            let status = stage.rollout()["status"].clone();
            (status["phase"] == phase).then_some(status)
        })
    }

    pub fn eventually<T>(&self, what: &str, mut check: impl FnMut(&Self) -> Option<T>) -> T {
        let last = std::cell::RefCell::new(String::new());
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(what, LONG, || {
                let found = check(self);
                if found.is_none() {
                    *last.borrow_mut() = self.rollout()["status"].to_string();
                }
                found
            })
        }));
        told.unwrap_or_else(|_| {
            let log = self.controller.as_ref().map(Controller::log).unwrap_or_default();
            let log: Vec<&str> = log.lines().rev().take(30).collect();
            panic!("{what}; the Rollout's status: {}\n{}", last.borrow(), log.join("\n"))
        })
    }

    /// Image and replicas of a Deployment.
    pub fn runs(&self, name: &str) -> Option<(String, i64)> {
        let live = self.shop.get("deployment", name)?;
        let image = live.pointer("/spec/template/spec/containers/0/image")?.as_str()?.to_owned();
        Some((image, live["spec"]["replicas"].as_i64()?))
    }

    pub fn available(&self, name: &str) -> i64 {
        let live = self.shop.get("deployment", name).unwrap_or_default();
        live["status"]["availableReplicas"].as_i64().unwrap_or(0)
    }

    /// Asks the controller for something.
    pub fn ask(&self, verb: &str, arguments: Value) -> Ran {
        self.requests.set(self.requests.get() + 1);
        let id = format!("{verb}-{}", self.requests.get());
        let request = json!({"id": id, "verb": verb, "arguments": arguments, "reason": "a test"});
        let annotation = format!("kubectl-gitops.dev/request={request}");
        self.shop.kubectl_args(&["annotate", "--overwrite", "rollout", "web", &annotation])
    }
}

/// A Rollout of the Deployment as a file.
pub fn rollout_of(spec: &Value) -> String {
    let mut whole = json!({"target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}});
    for (key, value) in spec.as_object().into_iter().flatten() {
        whole[key] = value.clone();
    }
    json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"}, "spec": whole})
        .to_string()
}
