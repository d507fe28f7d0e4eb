//! One strategy's namespace. In: a case. Out: what its Pods and whoever asks them
//! see while a version is let in, and while one is taken back.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use gitops_tests::cluster::eventually;
use gitops_tests::{Controller, Repo, TestCluster};
use serde_json::{Value, json};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(180);

/// How long a version may take: good ones are given time even where the machine
/// is busy, bad ones are not.
const GOOD: &str = "120s";
const BAD: &str = "15s";

/// A strategy for a kind of workload.
pub struct Case {
    pub name: &'static str,
    pub kind: &'static str,
    pub rollout: Value,
}

impl Case {
    /// No two versions may run at once, so requests are lost between them.
    fn is_alone(&self) -> bool {
        self.rollout["strategy"]["recreate"].is_object()
    }

    fn workload(&self, version: &str) -> String {
        let mut whole = json!({"apiVersion": "apps/v1", "kind": self.kind, "metadata": {"name": "web"}, "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                // Its program does not hear that it is to end.
                "terminationGracePeriodSeconds": 8,
                "containers": [{"name": "web", "image": format!("localhost/web:{version}"), "imagePullPolicy": "Never",
                    "ports": [{"containerPort": 8080}],
                    // Requests that are on their way find it still there, however
                    // late a busy node hears that it goes.
                    "lifecycle": {"preStop": {"sleep": {"seconds": 8}}},
                    // Only a Pod that is broken counts as such, none that is slow.
                    "readinessProbe": {"periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": 10,
                        "httpGet": {"path": "/", "port": 8080}}}]}}}});
        if self.kind == "StatefulSet" {
            whole["spec"]["serviceName"] = "web-pods".into();
        }
        whole.to_string()
    }

    /// What is in Git beside the workload: the Rollout and the Services.
    fn beside(&self, progress: &str) -> String {
        let mut spec = json!({"target": {"apiVersion": "apps/v1", "kind": self.kind, "name": "web"}, "onFailure": "Hold",
            "deadlines": {"progress": progress}});
        for (key, value) in self.rollout.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let rollout = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"}, "spec": spec});
        let mut headless = service("web-pods");
        headless["spec"]["clusterIP"] = "None".into();
        [rollout, service("web"), service("web-new"), headless]
            .map(|object| object.to_string())
            .join("\n---\n")
    }
}

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {
        "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}})
}

/// A case's namespace with its Rollout and a controller for it.
pub struct Stage<'a> {
    cluster: &'a TestCluster,
    case: Case,
    begun: Instant,
    repo: Repo,
    _controller: Controller,
    _cache: TempDir,
}

impl<'a> Stage<'a> {
    /// Version 1 runs.
    pub fn new(cluster: &'a TestCluster, case: Case) -> Self {
        let (name, begun) = (case.name, Instant::now());
        cluster.kubectl(&format!("create namespace {name}")).ok();
        let (web, beside) = (case.workload("1"), case.beside(GOOD));
        let repo = Repo::with(&[("app/web.yaml", &web), ("app/beside.yaml", &beside)]);
        let project = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Project", "metadata": {"name": name}, "spec": {
            "applicationNamespaces": [name], "repositories": [{"url": "file:///**"}], "destinations": [{"namespaces": [name]}]}});
        let application = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": "web", "namespace": name}, "spec": {
            "project": name, "source": {"repo": repo.url(), "revision": "main", "path": "app"}, "destination": {"namespace": name},
            "sync": {"mode": "Automatic", "prune": true}}});
        for object in [project, application] {
            cluster.kubectl_stdin("apply -f -", &object.to_string()).ok();
        }
        let cache = TempDir::with_prefix("gitops-controller-").unwrap();
        let controller = Controller::start(cluster, name, cache.path());
        let stage = Self { cluster, case, begun, repo, _controller: controller, _cache: cache };
        stage.phase("Idle");
        stage.rests("1");
        stage
    }

    fn get(&self, what: &str) -> Value {
        let ran = self.cluster.kubectl(&format!("get {what} -n {} -o json", self.case.name));
        serde_json::from_str(&ran.stdout).unwrap_or_default()
    }

    fn eventually<T>(&self, what: &str, check: impl FnMut() -> Option<T>) -> T {
        eventually(&format!("{}: {what}", self.case.name), LONG, check)
    }

    fn phase(&self, phase: &str) -> Value {
        self.eventually(&format!("the Rollout is {phase}"), || {
            self.looks();
            let status = self.get("rollout/web")["status"].clone();
            (status["phase"] == phase).then_some(status)
        })
    }

    /// The workload's Pods, those that are about to end too.
    fn pods(&self) -> Vec<Value> {
        self.get("pods -l app=web")["items"].as_array().cloned().unwrap_or_default()
    }

    /// Where no two versions may run at once, none do: a Pod runs until its
    /// containers have ended, however long ago it was deleted.
    fn looks(&self) {
        if self.case.is_alone() {
            let mut pods = self.pods();
            pods.retain(|pod| !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")));
            let images: BTreeSet<&str> = pods.iter().map(image).collect();
            let status = || self.get("rollout/web")["status"].clone();
            assert!(images.len() < 2, "{}: at once: {images:?}: {}", self.case.name, status());
        }
    }

    /// Waits until this version alone runs.
    fn rests(&self, version: &str) {
        let wanted = format!("localhost/web:{version}");
        self.eventually(&format!("version {version} alone"), || {
            self.looks();
            let pods = self.pods();
            let live = self.get(&format!("{}/web", self.case.kind.to_lowercase()));
            let all = pods.len() == 3 && pods.iter().all(|pod| image(pod) == wanted);
            (all && live["status"]["availableReplicas"] == 3).then_some(())
        });
    }

    fn push(&self, version: &str, progress: &str) -> String {
        let (web, beside) = (self.case.workload(version), self.case.beside(progress));
        self.repo.commit(version, &[("app/web.yaml", &web), ("app/beside.yaml", &beside)])
    }

    /// Somebody who asks the Service again and again, and notes every answer; how many
    /// there are once version 1 answers all.
    fn client(&self) -> usize {
        let ask = "while true; do /usr/bin/curl -sf -m 10 http://$WEB_SERVICE_HOST/ || echo lost by $?; /bin/busybox usleep 50000; done";
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client", "namespace": self.case.name}, "spec": {
            "terminationGracePeriodSeconds": 0, "containers": [{"name": "client", "image": "localhost/client:1", "imagePullPolicy": "Never",
                "command": ["/bin/sh", "-c", ask]}]}});
        self.cluster.kubectl_stdin("apply -f -", &pod.to_string()).ok();
        // The node hears of the Service's Pods a moment after they are ready.
        self.answered_by("web:1").len()
    }

    /// Waits until this version answers one request after the other; all answers.
    fn answered_by(&self, version: &str) -> Vec<String> {
        self.eventually(&format!("{version} answers"), || {
            let answers = self.answers();
            let last = answers.iter().rev().take_while(|answer| *answer == version);
            (last.count() > 20).then_some(answers)
        })
    }

    fn answers(&self) -> Vec<String> {
        let log = self.cluster.kubectl(&format!("logs client -n {}", self.case.name));
        log.stdout.lines().map(str::to_owned).collect()
    }

    /// From a push to its promotion: both versions answer, and nothing is lost, but
    /// between two that may not run at once.
    pub fn promotes(&self) {
        let name = self.case.name;
        let before = self.client();
        let commit = self.push("2", GOOD);
        self.eventually("it is promoted", || {
            self.looks();
            let status = self.get("rollout/web")["status"].clone();
            assert!(!matches!(status["phase"].as_str(), Some("Aborting" | "Aborted")), "{name}: {status}");
            (status["phase"] == "Idle" && status["promotedRevision"] == *commit).then_some(())
        });
        self.rests("2");
        let answers = &self.answered_by("web:2")[before..];
        let begins = answers.iter().position(|answer| answer == "web:2").unwrap();
        let (mut between, mut lost) = (0, Vec::new());
        for (at, answer) in answers.iter().enumerate().filter(|(_, answer)| is_lost(answer)) {
            match self.case.is_alone() && at < begins {
                true => between += 1,
                false => lost.push((at, answer)),
            }
        }
        let (first, second) = (count(answers, "web:1"), count(answers, "web:2"));
        eprintln!(
            "{name}: {first} answers of the old version, {second} of the new one, {between} lost between them"
        );
        assert!(lost.is_empty(), "{name}: of {} requests these were lost: {lost:?}", answers.len());
        if self.case.is_alone() {
            assert_eq!(
                count(&answers[begins..], "web:1"),
                0,
                "{name}: the old version answers after the new one"
            );
        }
    }

    /// A version that does not start: the old one answers all the time, or, where no
    /// two may run at once, again.
    pub fn goes_back(&self) {
        let before = self.answers().len();
        self.push("broken", BAD);
        let status = self.phase("Aborted");
        assert!(status["message"].as_str().unwrap().contains("no progress"), "{status}");
        self.rests("2");
        let answers = self.answered_by("web:2");
        let is_meant = |answer: &&String| *answer == "web:2" || self.case.is_alone() && is_lost(answer);
        let wrong: Vec<_> =
            answers[before..].iter().enumerate().filter(|(_, answer)| !is_meant(answer)).collect();
        assert!(wrong.is_empty(), "{}: {wrong:?}", self.case.name);
    }

    /// The next one need not wait until it is gone.
    pub fn ends(self) {
        let name = self.case.name;
        self.cluster.kubectl(&format!("delete namespace {name} --wait=false"));
        eprintln!("{name}: {} s", self.begun.elapsed().as_secs());
    }
}

fn image(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default()
}

fn is_lost(answer: &str) -> bool {
    !answer.starts_with("web:")
}

fn count(answers: &[String], what: &str) -> usize {
    answers.iter().filter(|answer| *answer == what).count()
}
