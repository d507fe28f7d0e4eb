//! What breaks around the controller, or the controller itself. After each, all
//! is as Git says, nothing is lost, nothing was changed twice, and the status is
//! true.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stdout, reason = "the seed")]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use gitops_tests::cluster::{eventually, ran};
use gitops_tests::roundtrip::Numbers;
use gitops_tests::{Controller, FaultyProxy, GitServer, NodeCluster, Repo, TestCluster};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Patience with a machine that does other things as well.
const LONG: Duration = Duration::from_secs(120);
const COUNT: usize = 12;

/// Applications of one repository behind a Git server, in a namespace of their
/// own. Each has a Deployment that no one runs, whose generation counts what was
/// changed, and a ConfigMap of the round, which the next round takes away.
struct World<'a> {
    cluster: &'a TestCluster,
    name: String,
    repo: Repo,
    bare: TempDir,
    server: GitServer,
    cache: TempDir,
    rounds: usize,
}

impl<'a> World<'a> {
    fn new(cluster: &'a TestCluster, name: &str) -> Self {
        let (repo, bare) = (Repo::new(), TempDir::new().unwrap());
        let server = GitServer::start(bare.path(), "127.0.0.1:0", None).unwrap();
        cluster.kubectl(&format!("create namespace {name}")).ok();
        let project = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Project", "metadata": {"name": name}, "spec": {
            "applicationNamespaces": [name], "repositories": [{"url": "http://127.0.0.1*/**"}], "destinations": [{"namespaces": [name]}]}});
        cluster.kubectl_stdin("apply -f -", &project.to_string()).ok();
        let mut world = Self {
            cluster,
            name: name.to_owned(),
            repo,
            bare,
            server,
            cache: TempDir::new().unwrap(),
            rounds: 0,
        };
        world.round();
        let applications: Vec<Value> = (0..COUNT)
            .map(|at| {
                json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": format!("app-{at}"), "namespace": name},
                    "spec": {"project": name, "source": {"repo": world.server.url("w.git"), "revision": "main", "path": format!("app-{at}")},
                        "sync": {"mode": "Automatic", "prune": true, "pruneBudget": {"count": 100, "percent": 100}, "retry": {"limit": 100, "backoff": "1s", "max": "3s"}}}})
            })
            .collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": applications});
        cluster.kubectl_stdin("apply --server-side -f -", &list.to_string()).ok();
        world
    }

    /// Pushes the next state of every Application.
    fn round(&mut self) -> String {
        let round = self.rounds;
        self.rounds += 1;
        for at in 0..COUNT {
            let folder = self.repo.file(&format!("app-{at}"));
            let _ = std::fs::remove_dir_all(&folder);
            std::fs::create_dir_all(&folder).unwrap();
            let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": format!("app-{at}")}, "spec": {
                "replicas": 0, "minReadySeconds": round + 1, "selector": {"matchLabels": {"app": format!("app-{at}")}},
                "template": {"metadata": {"labels": {"app": format!("app-{at}")}}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}}}});
            let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("app-{at}-{round}")}, "data": {"round": round.to_string()}});
            std::fs::write(folder.join("deployment.json"), deployment.to_string()).unwrap();
            std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
        }
        let commit = self.repo.commit_all(&format!("round {round}"));
        let bare = self.bare.path().join("w.git").display().to_string();
        if round == 0 {
            self.repo.git(&["clone", "--quiet", "--bare", ".", &bare]);
        } else {
            self.repo.git(&["push", "--quiet", &bare, "main"]);
        }
        commit
    }

    fn controller(&self) -> Controller {
        self.controller_at(self.cluster, &[])
    }

    fn controller_at(&self, cluster: &TestCluster, variables: &[(&str, &str)]) -> Controller {
        Controller::with_variables(
            cluster,
            &["--application-namespace", &self.name],
            variables,
            self.cache.path(),
        )
    }

    fn items(&self, kind: &str) -> BTreeMap<String, Value> {
        let list = self.cluster.kubectl(&format!("get {kind} -n {} -o json", self.name));
        let list: Value = serde_json::from_str(&list.stdout).unwrap_or_default();
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.into_iter().map(|item| (item["metadata"]["name"].as_str().unwrap().to_owned(), item)).collect()
    }

    /// What is not as Git says, or not said so.
    fn wrong(&self, head: &str, last: usize) -> Vec<String> {
        let (configs, applications) = (self.items("configmaps"), self.items("applications"));
        let mut wrong = Vec::new();
        for at in 0..COUNT {
            let ours = configs.keys().filter(|name| name.starts_with(&format!("app-{at}-")));
            let ours: Vec<&str> = ours.map(String::as_str).collect();
            let status = applications.get(&format!("app-{at}")).map(|one| &one["status"]);
            let is_true =
                status.is_some_and(|status| status["sync"] == "Synced" && status["revision"] == head);
            if ours != [format!("app-{at}-{last}")] || !is_true {
                wrong.push(format!("app-{at} has {ours:?}: {status:?}"));
            }
        }
        wrong
    }

    /// Waits until all is as the last round says, and checks how it came there.
    fn converges(&self) {
        let (head, last) = (self.repo.head(), self.rounds - 1);
        let start = Instant::now();
        loop {
            let wrong = self.wrong(&head, last);
            if wrong.is_empty() {
                break;
            }
            assert!(start.elapsed() < LONG, "round {last} at {head}: {wrong:#?}");
            std::thread::sleep(Duration::from_millis(200));
        }
        for (name, deployment) in self.items("deployments") {
            assert_eq!(deployment["spec"]["minReadySeconds"], last + 1, "{name}");
            let changes = usize::try_from(deployment["metadata"]["generation"].as_i64().unwrap()).unwrap();
            assert!(changes <= self.rounds, "{name} was changed {changes} times in {} rounds", self.rounds);
        }
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        let name = &self.name;
        self.cluster.kubectl(&format!("delete applications --all -n {name} --wait=false"));
        self.cluster.kubectl(&format!("delete project {name} --wait=false"));
        self.cluster.kubectl(&format!("delete namespace {name} --wait=false"));
    }
}

/// One from the environment, or another in each run.
fn seed() -> u64 {
    let given = std::env::var("FAULTS_SEED").ok().and_then(|text| text.parse().ok());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    given.unwrap_or_else(|| now.subsec_nanos().into())
}

#[test]
fn killed_at_any_moment_it_goes_on_from_there() {
    let node = NodeCluster::control_plane("killed");
    let kills: usize = std::env::var("FAULTS_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let seed = seed();
    println!("FAULTS_SEED={seed} FAULTS_KILLS={kills}");
    let mut numbers = Numbers(seed);
    let mut world = World::new(&node.cluster, "killed");
    for _ in 0..kills {
        let controller = world.controller();
        world.round();
        std::thread::sleep(Duration::from_millis(u64::try_from(numbers.below(2500)).unwrap()));
        controller.kill();
    }
    let _controller = world.controller();
    world.converges();
}

#[test]
fn the_control_plane_restarts_and_definitions_are_upgraded() {
    let node = NodeCluster::control_plane("restarts");
    let mut world = World::new(&node.cluster, "restarts");
    let controller = world.controller();
    world.converges();
    for program in ["kube-apiserver", "etcd"] {
        world.round();
        node.restart(program);
        world.converges();
    }
    // A newer version's definition: a field and a version more.
    let mut definition = node.cluster.kubectl("get crd applications.kubectl-gitops.dev -o json").ok().json();
    let mut next = definition["spec"]["versions"][0].clone();
    next["name"] = json!("v1alpha2");
    next["storage"] = json!(false);
    next["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["later"] =
        json!({"type": "string"});
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["later"] =
        json!({"type": "string"});
    definition["spec"]["versions"].as_array_mut().unwrap().push(next);
    definition["metadata"] = json!({"name": definition["metadata"]["name"], "resourceVersion": definition["metadata"]["resourceVersion"]});
    node.cluster.kubectl_stdin("replace -f -", &definition.to_string()).ok();
    world.round();
    world.converges();
    assert!(!controller.log().contains("ends"), "it has outlived all that");
}

#[test]
fn an_api_server_that_is_too_busy_is_asked_again() {
    let cluster = gitops_tests::webhook_cluster();
    let mut world = World::new(cluster, &format!("storm-{}", std::process::id()));
    let proxy = FaultyProxy::start(cluster);
    let _controller = world.controller_at(&proxy.cluster(), &[]);
    world.converges();
    world.round();
    proxy.storm(3, 4);
    std::thread::sleep(Duration::from_secs(5));
    proxy.storm(0, 1);
    world.converges();
    // Slowly, but also while it lasts.
    world.round();
    proxy.storm(1, 3);
    world.converges();
    proxy.storm(0, 1);
}

#[test]
fn a_git_server_that_says_nothing_holds_up_nobody_else() {
    let cluster = gitops_tests::webhook_cluster();
    let mut world = World::new(cluster, &format!("silent-{}", std::process::id()));
    // It takes connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/silent.git", silent.local_addr().unwrap());
    for at in 0..20 {
        let application = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": format!("silent-{at}"), "namespace": world.name},
            "spec": {"project": world.name, "source": {"repo": format!("{url}-{at}"), "path": "."}, "sync": {"mode": "Automatic"}}});
        cluster.kubectl_stdin("apply --server-side -f -", &application.to_string()).ok();
    }
    let controller = world.controller();
    eventually("all is as Git says", LONG, || (world.items("deployments").len() == COUNT).then_some(()));
    world.round();
    let last = world.rounds - 1;
    eventually("a push is live all the same", Duration::from_secs(30), || {
        (world.items("configmaps").keys().filter(|name| name.ends_with(&format!("-{last}"))).count() == COUNT)
            .then_some(())
    });
    for at in 0..20 {
        cluster.kubectl(&format!("delete application silent-{at} -n {} --wait=false", world.name)).ok();
    }
    world.converges();
    drop(controller);
}

#[test]
fn a_git_server_that_is_slow_or_half_open_is_waited_for() {
    let cluster = gitops_tests::webhook_cluster();
    let mut world = World::new(cluster, &format!("half-open-{}", std::process::id()));
    world.server.be_slow(true);
    let _controller = world.controller();
    // What is small comes in its time.
    world.converges();
    world.round();
    world.converges();
    world.server.be_slow(false);
    world.server.be_half_open(true);
    let before = world.server.requests();
    world.round();
    eventually("it asks", LONG, || (world.server.requests() > before).then_some(()));
    std::thread::sleep(Duration::from_secs(2));
    let last = world.rounds - 1;
    let is_new = |name: &String| name.ends_with(&format!("-{last}"));
    assert!(!world.items("configmaps").keys().any(is_new), "half an answer says nothing");
    world.server.be_half_open(false);
    world.converges();
}

/// A kubeconfig that reads its token from a file, as a Pod does.
struct Robot<'a> {
    cluster: &'a TestCluster,
    name: String,
    folder: TempDir,
}

impl<'a> Robot<'a> {
    /// One of a namespace.
    fn new(cluster: &'a TestCluster, name: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot", "namespace": name}});
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": name}]});
        for object in [account, binding] {
            cluster.kubectl_stdin("apply -f -", &object.to_string()).ok();
        }
        let robot = Self { cluster, name: name.to_owned(), folder };
        let text = cluster.kubectl("config view --raw --flatten -o json").ok().stdout;
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config["users"][0]["user"] = json!({"tokenFile": robot.folder.path().join("token")});
        std::fs::write(robot.folder.path().join("config"), config.to_string()).unwrap();
        robot
    }

    /// A token that lives as long as a Secret of this name.
    fn takes(&self, secret: &str) {
        let name = &self.name;
        self.cluster.kubectl(&format!("create secret generic {secret} -n {name}")).ok();
        let bound =
            format!("create token robot -n {name} --bound-object-kind Secret --bound-object-name {secret}");
        let token = self.cluster.kubectl(&bound).ok().stdout;
        std::fs::write(self.folder.path().join("token"), token.trim()).unwrap();
    }

    fn loses(&self, secret: &str) {
        self.cluster.kubectl(&format!("delete secret {secret} -n {}", self.name)).ok();
    }
}

impl Drop for Robot<'_> {
    fn drop(&mut self) {
        self.cluster.kubectl(&format!("delete clusterrolebinding {} --wait=false", self.name));
    }
}

#[test]
fn a_token_that_ends_is_followed_by_the_next_one() {
    let cluster = gitops_tests::webhook_cluster();
    let mut world = World::new(cluster, &format!("token-{}", std::process::id()));
    let robot = Robot::new(cluster, &world.name);
    robot.takes("first");
    let controller = world.controller_at(&TestCluster::at(robot.folder.path().join("config")), &[]);
    world.converges();
    robot.loses("first");
    // The API server believes a token for ten seconds more.
    std::thread::sleep(Duration::from_secs(12));
    let before = controller.log().len();
    world.round();
    eventually("it is refused", LONG, || {
        let log = controller.log();
        let said = &log[before..];
        (said.contains("Unauthorized") || said.contains("does not take these credentials")).then_some(())
    });
    robot.takes("second");
    world.converges();
}

#[test]
fn a_disk_that_is_full_is_said_and_outlived() {
    let cluster = gitops_tests::webhook_cluster();
    let mut world = World::new(cluster, &format!("full-{}", std::process::id()));
    let disk = Disk::new(world.cache.path(), "8m");
    let _controller = world.controller();
    world.converges();
    let filler = world.cache.path().join("filler");
    // As much as there is room for, and no more.
    ran(Command::new("dd").args(["if=/dev/zero", "bs=64k", &format!("of={}", filler.display())]), None);
    let noise: Vec<u8> = (0..4_u32 << 20)
        .map(|at| u8::try_from((at.wrapping_mul(2_654_435_761) >> 13) & 0xff).unwrap())
        .collect();
    std::fs::write(world.repo.file("noise"), noise).unwrap();
    world.round();
    eventually("the status says so", LONG, || {
        let applications = world.items("applications");
        let said = applications.values().filter(|one| {
            one["status"]["sync"] == "Unknown" && one["status"].to_string().contains("No space left")
        });
        (said.count() == COUNT).then_some(())
    });
    std::fs::remove_file(&filler).unwrap();
    disk.grow("64m");
    world.converges();
}

/// A small file system at a folder, as long as this value lives.
struct Disk(PathBuf);

impl Disk {
    fn new(folder: &Path, size: &str) -> Self {
        let options = format!("size={size}");
        ran(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder), None).ok();
        Self(folder.to_owned())
    }

    fn grow(&self, size: &str) {
        ran(Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.0), None).ok();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        ran(Command::new("umount").arg("--lazy").arg(&self.0), None);
    }
}

#[test]
fn credentials_that_are_changed_at_the_host_and_then_here() {
    let shop = gitops_tests::Shop::unheld(&[("app/config.yaml", gitops_tests::shop::CONFIG)]);
    let (bare, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let root = bare.path().join("shop.git").display().to_string();
    shop.repo.git(&["clone", "--quiet", "--bare", ".", &root]);
    let server = GitServer::start(bare.path(), "127.0.0.1:0", Some(("ada", "first"))).unwrap();
    let (url, address) = (server.url("shop.git"), server.address().to_string());
    let secret = |password: &str| {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "git"}, "stringData": {"username": "ada", "password": password}});
        shop.kubectl_stdin("apply -f -", &secret.to_string()).ok();
    };
    secret("first");
    shop.hold(json!({"source": {"repo": url, "revision": "main", "path": "app", "secretRef": {"name": "git"}}, "sync": {"mode": "Automatic"}}));
    let _controller = Controller::start(shop.cluster, shop.name(), cache.path());
    let greets = |wanted: &str| {
        eventually(&format!("it greets with {wanted}"), LONG, || {
            (shop.get("configmap", "web")?["data"]["greeting"] == wanted).then_some(())
        });
    };
    greets("hello");
    drop(server);
    let _server = eventually("the address is free", LONG, || {
        GitServer::start(bare.path(), &address, Some(("ada", "second"))).ok()
    });
    shop.repo.commit("next", &[("app/config.yaml", &gitops_tests::shop::CONFIG.replace("hello", "next"))]);
    shop.repo.git(&["push", "--quiet", &root, "main"]);
    eventually("the status says so", LONG, || {
        let status = shop.get("application", "web")?["status"].clone();
        (status["sync"] == "Unknown" && status.to_string().contains("refuses these credentials"))
            .then_some(())
    });
    secret("second");
    greets("next");
}

#[test]
fn clocks_that_jump_change_nothing() {
    let Some(library) = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"]
        .map(|folder| format!("{folder}/faketime/libfaketime.so.1"))
        .into_iter()
        .find(|path| Path::new(path).is_file())
    else {
        unreachable!("libfaketime is missing: run tests/cluster/install-packages");
    };
    let cluster = gitops_tests::webhook_cluster();
    let mut world = World::new(cluster, &format!("clock-{}", std::process::id()));
    let clock = world.cache.path().join("clock");
    let jump = |by: &str| std::fs::write(&clock, by).unwrap();
    jump("+0");
    let path = clock.display().to_string();
    let variables = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", &path),
        ("FAKETIME_NO_CACHE", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    let controller = world.controller_at(cluster, &variables);
    world.converges();
    for by in ["+30d", "-30d", "+0"] {
        jump(by);
        world.round();
        world.converges();
    }
    // It has really seen other times.
    let days = |text: &str| controller.log().matches(text).count();
    let now: jiff::Timestamp = jiff::Timestamp::now();
    let month = jiff::SignedDuration::from_hours(30 * 24);
    for then in [now + month, now - month] {
        assert!(days(&then.strftime("%Y-%m-%d").to_string()) > 0, "{}", controller.log());
    }
}
