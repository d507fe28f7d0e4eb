//! A shop with a Rollout, a controller that drives it and a node that plays its
//! Pods.

use std::time::Duration;

use gitops_tests::cluster::{Ran, eventually};
use gitops_tests::fake_node::FakeNode;
use gitops_tests::shop::CONFIG;
use gitops_tests::{Controller, Shop};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Patience with a machine that does other things as well.
pub const LONG: Duration = Duration::from_secs(120);

/// Everything that a rollout takes.
#[derive(Debug)]
pub struct Stage {
    pub shop: Shop,
    pub node: FakeNode,
    pub cache: TempDir,
    pub controller: Option<Controller>,
    kind: &'static str,
    /// Git leaves the replicas out.
    pub scaled: std::cell::Cell<bool>,
    requests: std::cell::Cell<u32>,
}

impl Stage {
    /// A Deployment of four with this Rollout's spec, in sync and at rest.
    pub fn new(rollout: &Value) -> Self {
        Self::of("Deployment", rollout, &[])
    }

    /// The same of this kind, with more objects.
    pub fn of(kind: &'static str, rollout: &Value, more: &[Value]) -> Self {
        Self::held(kind, rollout, more, |shop| shop.hold(automatic()))
    }

    /// The same, held in another way.
    pub fn held(kind: &'static str, rollout: &Value, more: &[Value], hold: impl FnOnce(&Shop)) -> Self {
        let shop = Shop::unheld(&[]);
        let node = FakeNode::start(shop.cluster, &format!("node-{}", shop.name()));
        let stage = Self {
            shop,
            node,
            cache: TempDir::with_prefix("gitops-controller-").unwrap(),
            controller: None,
            kind,
            scaled: std::cell::Cell::new(false),
            requests: std::cell::Cell::new(0),
        };
        let beside = more.iter().map(|object| format!("---\n{object}\n")).collect::<String>();
        let files = [
            ("app/web.yaml", stage.workload("web:1")),
            ("app/config.yaml", CONFIG.to_owned()),
            ("app/rollout.yaml", rollout_of(kind, rollout)),
            ("app/beside.yaml", beside),
        ];
        stage.shop.repo.commit("first", &files.each_ref().map(|(path, text)| (*path, text.as_str())));
        hold(&stage.shop);
        let stage = stage.driven();
        stage.phase("Idle");
        if kind != "InferenceService" {
            stage.eventually("all Pods are there", |stage| (stage.available("web") == 4).then_some(()));
        }
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

    /// The workload as Git has it, with this image.
    pub fn workload(&self, image: &str) -> String {
        let mut pod = self.node.placement();
        let reads = json!([{"configMapRef": {"name": "web"}}]);
        pod["containers"] = json!([{"name": "web", "image": image, "envFrom": reads}]);
        if self.kind == "InferenceService" {
            return json!({"apiVersion": "serving.kserve.io/v1beta1", "kind": self.kind, "metadata": {"name": "web"},
                "spec": {"predictor": {"model": {"storageUri": image}}}})
            .to_string();
        }
        let mut whole = json!({"apiVersion": "apps/v1", "kind": self.kind, "metadata": {"name": "web"}, "spec": {
            "replicas": 4, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod}}});
        if self.scaled.get() {
            whole["spec"].as_object_mut().unwrap().remove("replicas");
        }
        if self.kind == "StatefulSet" {
            whole["spec"]["serviceName"] = "web".into();
        }
        whole.to_string()
    }

    /// Commits the workload with this image.
    pub fn push(&self, image: &str) -> String {
        self.shop.repo.commit(image, &[("app/web.yaml", &self.workload(image))])
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

    /// Image and replicas of a workload.
    pub fn runs(&self, name: &str) -> Option<(String, i64)> {
        let live = self.shop.get(self.kind, name)?;
        let image = live.pointer("/spec/template/spec/containers/0/image")?.as_str()?.to_owned();
        Some((image, live["spec"]["replicas"].as_i64()?))
    }

    pub fn available(&self, name: &str) -> i64 {
        let live = self.shop.get(self.kind, name).unwrap_or_default();
        live["status"]["availableReplicas"].as_i64().unwrap_or(0)
    }

    /// Images of the Pods that are there, sorted.
    pub fn images(&self) -> Vec<String> {
        let ran = self.shop.kubectl("get pods -l app=web -o json").ok().json();
        let pods = ran["items"].as_array().cloned().unwrap_or_default();
        let living = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let image =
            |pod: &Value| pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default().to_owned();
        let mut images: Vec<String> = living.map(image).collect();
        images.sort();
        images
    }

    /// A Service's selector.
    pub fn selector(&self, service: &str) -> Value {
        self.shop.get("service", service).unwrap_or_default()["spec"]["selector"].clone()
    }

    /// Waits until this commit is promoted and everything else is gone.
    pub fn promoted(&self, commit: &str, image: &str) {
        self.eventually("it is promoted", |stage| {
            let status = stage.rollout()["status"].clone();
            (status["phase"] == "Idle" && status["promotedRevision"] == *commit).then_some(())
        });
        self.eventually("nothing else is left", |stage| {
            let rests =
                stage.runs("web") == Some((image.to_owned(), 4)) && stage.runs("web-canary").is_none();
            (rests && stage.images() == [image; 4]).then_some(())
        });
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

/// An Application that is synced by itself.
pub fn automatic() -> Value {
    json!({"sync": {"mode": "Automatic", "prune": true}})
}

/// A Service of the workload.
pub fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {
        "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}})
}

/// A Rollout of the workload as a file.
pub fn rollout_of(kind: &str, spec: &Value) -> String {
    let version = if kind == "InferenceService" { "serving.kserve.io/v1beta1" } else { "apps/v1" };
    let mut whole = json!({"target": {"apiVersion": version, "kind": kind, "name": "web"}});
    for (key, value) in spec.as_object().into_iter().flatten() {
        whole[key] = value.clone();
    }
    json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"}, "spec": whole})
        .to_string()
}
