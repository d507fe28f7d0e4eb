//! Rollouts on a real node: real Pods answer real requests, and none is lost
//! while versions change.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gitops_tests::cluster::{eventually, ran};
use gitops_tests::{Controller, NodeCluster, Repo, TestCluster};
use serde_json::{Value, json};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(180);

fn has_node() -> bool {
    let user = Command::new("id").arg("-u").output().unwrap();
    std::env::consts::OS == "linux" && String::from_utf8_lossy(&user.stdout).trim() == "0"
}

/// Images that answer every request with their version; one that has nothing to
/// answer with.
fn images(node: &NodeCluster, folder: &Path) {
    for version in ["1", "2", "broken"] {
        let (page, archive) = (folder.join(format!("page-{version}")), folder.join(format!("{version}.tar")));
        std::fs::write(&page, format!("web:{version}\n")).unwrap();
        let program = if version == "broken" { "false" } else { "httpd -f -p 8080 -h /www" };
        let mut build = Command::new(gitops_tests::binary("test-cluster"));
        build.args(["build-image", "--name", &format!("localhost/web:{version}")]);
        build.args(["--file", &format!("{}:/www/index.html", page.display())]);
        build.args(["--file", "/bin/busybox:/bin/busybox:0755", "--file", "/bin/busybox:/bin/sh:0755"]);
        build.args([
            "--entrypoint",
            &format!("/bin/busybox {program}"),
            "-o",
            &archive.display().to_string(),
        ]);
        ran(&mut build, None).ok();
        node.load_image(&archive);
    }
    let (curl, archive) =
        (ran(Command::new("which").arg("curl"), None).ok().stdout, folder.join("client.tar"));
    let mut build = Command::new(gitops_tests::binary("test-cluster"));
    build.args(["build-image", "--name", "localhost/client:1", "--with-libs"]);
    build.args(["--file", &format!("{}:/usr/bin/curl:0755", curl.trim())]);
    build.args(["--file", "/bin/busybox:/bin/busybox:0755", "--file", "/bin/busybox:/bin/sh:0755"]);
    build.args(["--entrypoint", "/bin/sh", "-o", &archive.display().to_string()]);
    ran(&mut build, None).ok();
    node.load_image(&archive);
}

fn workload(kind: &str, version: &str) -> String {
    let whole = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web"}, "spec": {
        "replicas": 3, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
            "terminationGracePeriodSeconds": 20,
            "containers": [{"name": "web", "image": format!("localhost/web:{version}"), "imagePullPolicy": "Never",
                "ports": [{"containerPort": 8080}],
                // Requests that are on their way find it still there, however
                // late a busy node hears that it goes.
                "lifecycle": {"preStop": {"sleep": {"seconds": 8}}},
                // Only a Pod that is broken counts as such, none that is slow.
                "readinessProbe": {"periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": 10,
                    "httpGet": {"path": "/", "port": 8080}}}]}}}});
    whole.to_string()
}

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {
        "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}})
}

/// What is in Git beside the workload: the Rollout and the Services.
fn beside(kind: &str, rollout: &Value, progress: &str) -> String {
    let mut spec = json!({"target": {"apiVersion": "apps/v1", "kind": kind, "name": "web"}, "onFailure": "Hold",
        "deadlines": {"progress": progress}});
    for (key, value) in rollout.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let rollout = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"}, "spec": spec});
    format!("{rollout}\n---\n{}\n---\n{}\n", service("web"), service("web-new"))
}

/// How long a version may take: good ones are given time even where the machine
/// is busy, bad ones are not.
const GOOD: &str = "120s";
const BAD: &str = "15s";

/// A namespace with a Rollout of this kind and a controller for it.
struct Stage<'a> {
    cluster: &'a TestCluster,
    name: &'static str,
    kind: &'static str,
    rollout: Value,
    repo: Repo,
    _controller: Controller,
    _cache: TempDir,
}

impl<'a> Stage<'a> {
    fn new(cluster: &'a TestCluster, name: &'static str, kind: &'static str, rollout: &Value) -> Self {
        cluster.kubectl(&format!("create namespace {name}")).ok();
        let (web, beside) = (workload(kind, "1"), beside(kind, rollout, GOOD));
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
        let stage = Self {
            cluster,
            name,
            kind,
            rollout: rollout.clone(),
            repo,
            _controller: controller,
            _cache: cache,
        };
        stage.phase("Idle");
        stage.rests("1");
        stage
    }

    fn get(&self, what: &str) -> Value {
        let ran = self.cluster.kubectl(&format!("get {what} -n {} -o json", self.name));
        serde_json::from_str(&ran.stdout).unwrap_or_default()
    }

    fn phase(&self, phase: &str) -> Value {
        eventually(&format!("{}: the Rollout is {phase}", self.name), LONG, || {
            let status = self.get("rollout/web")["status"].clone();
            (status["phase"] == phase).then_some(status)
        })
    }

    /// Waits until this version alone runs.
    fn rests(&self, version: &str) {
        let image = json!(format!("localhost/web:{version}"));
        eventually(&format!("{}: version {version} alone", self.name), LONG, || {
            let pods = self.get("pods -l app=web")["items"].as_array().cloned().unwrap_or_default();
            let all = pods.iter().all(|pod| pod["spec"]["containers"][0]["image"] == image);
            let live = self.get(&format!("{}/web", self.kind.to_lowercase()));
            (all && pods.len() == 3 && live["status"]["availableReplicas"] == 3).then_some(())
        });
    }

    fn push(&self, version: &str, progress: &str) -> String {
        let (web, beside) = (workload(self.kind, version), beside(self.kind, &self.rollout, progress));
        self.repo.commit(version, &[("app/web.yaml", &web), ("app/beside.yaml", &beside)])
    }

    /// Somebody who asks the Service again and again, and notes every answer.
    fn client(&self) {
        let ask = "while true; do /usr/bin/curl -sf -m 10 http://$WEB_SERVICE_HOST/ || echo lost by $?; /bin/busybox usleep 50000; done";
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client", "namespace": self.name}, "spec": {
            "terminationGracePeriodSeconds": 0, "containers": [{"name": "client", "image": "localhost/client:1", "imagePullPolicy": "Never",
                "command": ["/bin/sh", "-c", ask]}]}});
        self.cluster.kubectl_stdin("apply -f -", &pod.to_string()).ok();
        eventually("somebody is answered", LONG, || {
            let answers = self.answers();
            assert!(
                answers.len() < 200 || answers.iter().any(|answer| answer == "web:1"),
                "{:?}",
                &answers[..5]
            );
            (answers.iter().filter(|answer| *answer == "web:1").count() > 20).then_some(())
        });
    }

    fn answers(&self) -> Vec<String> {
        let log = self.cluster.kubectl(&format!("logs client -n {}", self.name));
        log.stdout.lines().map(str::to_owned).collect()
    }

    /// From a push to its promotion: both versions answer, and nothing is lost.
    fn promotes(&self) {
        self.client();
        let commit = self.push("2", GOOD);
        eventually(&format!("{}: it is promoted", self.name), LONG, || {
            let status = self.get("rollout/web")["status"].clone();
            assert!(!matches!(status["phase"].as_str(), Some("Aborting" | "Aborted")), "{status}");
            (status["phase"] == "Idle" && status["promotedRevision"] == *commit).then_some(())
        });
        self.rests("2");
        let count = |answers: &[String], what: &str| answers.iter().filter(|answer| *answer == what).count();
        let answers = eventually(&format!("{}: the new version answers", self.name), LONG, || {
            let answers = self.answers();
            (count(&answers, "web:2") > 20).then_some(answers)
        });
        let (first, second, lost) = (
            count(&answers, "web:1"),
            count(&answers, "web:2"),
            answers.iter().filter(|answer| !answer.starts_with("web:")).collect::<Vec<_>>(),
        );
        eprintln!("{}: {first} answers of the old version, {second} of the new one", self.name);
        assert!(lost.is_empty(), "{}: of {} requests these were lost: {lost:?}", self.name, answers.len());
        assert_eq!(answers.last().map(String::as_str), Some("web:2"));
    }

    /// A version that does not start: the old one answers all the time.
    fn goes_back(&self) {
        let before = self.answers().len();
        self.push("broken", BAD);
        let status = self.phase("Aborted");
        assert!(status["message"].as_str().unwrap().contains("no progress"), "{status}");
        self.rests("2");
        let answers = self.answers();
        assert!(
            answers[before..].iter().all(|answer| answer == "web:2"),
            "{}: {:?}",
            self.name,
            &answers[before..]
        );
    }
}

#[test]
fn no_request_is_lost_while_versions_change() {
    if !has_node() {
        eprintln!("skipped: a node needs Linux and root");
        return;
    }
    let node = NodeCluster::up("rollout");
    let folder = TempDir::new().unwrap();
    images(&node, folder.path());
    let definitions = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/gitops/templates/crds");
    node.cluster.kubectl(&format!("apply --server-side -f {definitions}")).ok();
    let services = json!({"stableService": "web", "canaryService": "web-new"});
    let canary = json!({"canary": {"steps": [{"setWeight": 34}, {"pause": {"duration": "5s"}}]}});
    let blue_green =
        json!({"blueGreen": {"activeService": "web", "previewService": "web-new", "scaleDownDelay": "3s"}});
    for (name, kind, rollout) in [
        ("by-replicas", "Deployment", json!({"strategy": canary})),
        ("blue-green", "Deployment", json!({"strategy": blue_green})),
        ("by-services", "Deployment", json!({"strategy": canary, "traffic": services})),
        ("rolling", "Deployment", json!({"strategy": {"rolling": {"batches": [34, 100]}}})),
    ] {
        let stage = Stage::new(&node.cluster, name, kind, &rollout);
        stage.promotes();
        stage.goes_back();
        node.cluster.kubectl(&format!("delete namespace {name} --wait=false"));
    }
}
