//! The controller beside what a person would do by hand, and at its size.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::StreamExt;
use gitops_tests::{Controller, GitServer, Repo, TestCluster};
use hmac::{Hmac, Mac};
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::objects::{objects, write_files};
use crate::raw;
use crate::report::{Bench, Pair, pairs, timed};

/// Namespaces that the Applications' objects are in.
const NAMESPACES: usize = 100;
/// Clusters that Applications go to beside the one of the controller.
const OTHERS: usize = 2;
const KEY: &str = "a key of the benchmarks";

/// So many Applications, or as many as `BENCH_APPLICATIONS` says, for a quick
/// look.
fn applications(usual: usize) -> usize {
    std::env::var("BENCH_APPLICATIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(usual)
}

/// A cluster with our definitions, and Applications of one repository.
struct World {
    cluster: Cluster,
    tests: TestCluster,
    runtime: tokio::runtime::Runtime,
    repo: Repo,
    server: GitServer,
    bare: TempDir,
    count: usize,
    objects: Vec<Value>,
    per: usize,
}

fn namespace(at: usize) -> String {
    format!("ours-{}", at % NAMESPACES)
}

impl World {
    /// `count` Applications of `per` objects each; they are in the cluster, and
    /// nobody has looked at them.
    fn new(count: usize, per: usize) -> Self {
        Self::of(objects(count * per), per)
    }

    /// The same of these objects.
    fn of(objects: Vec<Value>, per: usize) -> Self {
        let count = objects.len() / per;
        let cluster = Cluster::up();
        let tests = TestCluster::at(cluster.kubeconfig.clone().into());
        let (repo, bare) = (Repo::new(), TempDir::new().unwrap());
        for (at, some) in objects.chunks(per).enumerate() {
            write_files(&repo.file(&format!("apps/a{at:05}")), some, 1);
        }
        repo.commit_all("applications");
        let there = bare.path().join("mono.git").display().to_string();
        repo.git(&["clone", "--quiet", "--bare", ".", &there]);
        // As a server keeps it: packed before anybody asks.
        repo.git(&["-C", &there, "repack", "--quiet", "-a", "-d"]);
        let server = GitServer::start(bare.path(), "127.0.0.1:0", None).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let world = Self { cluster, tests, runtime, repo, server, bare, count, objects, per };
        world.declare();
        world
    }

    fn declare(&self) {
        let definitions = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/gitops/templates/crds");
        assert!(self.cluster.kubectl(&format!("apply --server-side -f {definitions}")));
        let mut all = vec![
            json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Project", "metadata": {"name": "all"}, "spec": {
            "applicationNamespaces": ["apps"], "repositories": [{"url": "http://127.0.0.1*/**"}], "destinations": [{"namespaces": ["*"]}]}}),
        ];
        let named = (0..NAMESPACES.min(self.count)).flat_map(|at| [namespace(at), format!("raw-{at}")]);
        for name in named.chain(["apps", "gitops-system", "gitops-clusters"].map(str::to_owned)) {
            all.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
        }
        for at in 0..self.count {
            all.push(self.application(at));
        }
        self.runtime.block_on(raw::create(&self.cluster, &all));
    }

    fn application(&self, at: usize) -> Value {
        json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": format!("a{at:05}"), "namespace": "apps"},
            "spec": {"project": "all", "source": {"repo": self.server.url("mono.git"), "revision": "main", "path": format!("apps/a{at:05}")},
                "destination": {"namespace": namespace(at)}, "sync": {"mode": "Automatic"}}})
    }

    fn start(&self, cache: &Path, interval: &str, more: &[&str]) -> Controller {
        let arguments = [&["--application-namespace", "apps", "--poll-interval", interval], more].concat();
        Controller::with(&self.tests, &arguments, cache)
    }

    /// Registers another cluster, and declares that the first Application goes
    /// there as well.
    fn spread(&self, name: &str, other: &Cluster) {
        let other = TestCluster::at(other.kubeconfig.clone().into());
        let kubeconfig = other.kubectl("config view --raw --minify --flatten -o json").ok().stdout;
        self.cluster.apply(&json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "namespace": "gitops-clusters", "labels": {"kubectl-gitops.dev/secret-type": "cluster"}},
            "stringData": {"name": name, "kubeconfig": kubeconfig}}));
        let mut application = self.application(0);
        application["metadata"]["name"] = name.into();
        application["spec"]["destination"] =
            json!({"cluster": name, "namespace": namespace(0), "createNamespace": true});
        self.cluster.apply(&application);
    }

    /// Waits until every Application is in sync, as a watch tells: a LIST of them
    /// all again and again would cost more than what is measured.
    fn converge(&self) {
        self.converge_to(self.count);
    }

    /// The same of so many Applications.
    fn converge_to(&self, count: usize) {
        let kind = ApiResource {
            group: "kubectl-gitops.dev".into(),
            version: "v1alpha1".into(),
            api_version: "kubectl-gitops.dev/v1alpha1".into(),
            kind: "Application".into(),
            plural: "applications".into(),
        };
        self.runtime.block_on(async {
            let all: Api<DynamicObject> = Api::namespaced_with(self.cluster.client().await, "apps", &kind);
            let told = watcher(all, watcher::Config::default()).default_backoff().applied_objects();
            let mut told = std::pin::pin!(told);
            let mut synced = BTreeSet::new();
            while synced.len() < count {
                let application = told.next().await.unwrap().unwrap();
                if application.data["status"]["sync"] == "Synced" {
                    synced.insert(application.name_any());
                } else {
                    synced.remove(&application.name_any());
                }
            }
        });
    }

    /// The same objects, applied without looking.
    fn raw(&self) -> f64 {
        timed(1, || self.apply("raw"))
    }

    /// Applies them in namespaces that are called so.
    fn apply(&self, prefix: &str) {
        let placed = self.objects.iter().enumerate();
        let placed: Vec<(String, &Value)> =
            placed.map(|(at, object)| (format!("{prefix}-{}", at / self.per % NAMESPACES), object)).collect();
        self.runtime.block_on(raw::apply_in(&self.cluster, &placed));
    }
}

/// The first reconcile of 1,000 Applications of 4 objects.
pub fn first(bench: &mut Bench) {
    let count = applications(1000);
    let found: Vec<Pair> = (0..pairs())
        .map(|pair| {
            let (world, cache) = (World::new(count, 4), TempDir::new().unwrap());
            let ours = || {
                timed(1, || {
                    let controller = world.start(cache.path(), "1h", &[]);
                    world.converge();
                    drop(controller);
                })
            };
            // What comes first leaves work behind for Kubernetes' own controllers.
            let rest = || world.cluster.calms_of("\"resource\":\"deployments\"");
            rest();
            // In turn, so that none always goes first.
            if pair % 2 == 0 {
                let ours = ours();
                rest();
                (ours, world.raw())
            } else {
                let raw = world.raw();
                rest();
                (ours(), raw)
            }
        })
        .collect();
    // At most 1.5 times the peer's time.
    bench.report(&format!("controller.first.{count}-applications"), "raw-ssa", &found, 0.67);
}

/// Memory with 1,000 Applications of 10 objects, and a restart with nothing
/// changed.
pub fn size(bench: &mut Bench) {
    let count = applications(1000);
    let (world, cache) = (World::new(count, 10), TempDir::new().unwrap());
    let controller = world.start(cache.path(), "30s", &[]);
    world.converge();
    bench.size(&format!("controller.memory.{count}-applications"), controller.memory(), 150.0);
    world.cluster.calms();
    controller.stop();
    std::thread::sleep(Duration::from_secs(3));
    let before = world.cluster.writes().len();
    let begun = Instant::now();
    let controller = world.start(cache.path(), "30s", &[]);
    while looks(&controller) < count {
        std::thread::sleep(Duration::from_millis(100));
    }
    bench.amount(
        &format!("controller.restart.{count}-applications"),
        begun.elapsed().as_secs_f64(),
        "s",
        30.0,
    );
    std::thread::sleep(Duration::from_secs(3));
    let writes = world.cluster.writes().len() - before;
    bench.amount("controller.restart.writes", writes as f64, "", 0.0);
    bench.size("controller.memory.restart", controller.memory(), 150.0);
}

/// Memory for each cluster more, with an Application there.
pub fn clusters(bench: &mut Bench) {
    let (world, cache) = (World::new(1, 4), TempDir::new().unwrap());
    let controller = world.start(cache.path(), "30s", &[]);
    world.converge();
    world.cluster.calms();
    let before = controller.resident();
    let others: Vec<Cluster> = (0..OTHERS).map(|at| Cluster::called(&format!("bench-far{at}"))).collect();
    for (at, other) in others.iter().enumerate() {
        world.spread(&format!("far-{at}"), other);
    }
    world.converge_to(1 + OTHERS);
    world.cluster.calms();
    bench.size("controller.clusters.memory-each", (controller.resident() - before) / OTHERS as f64, 10.0);
}

/// A number of the controller's metrics.
fn metric(controller: &Controller, name: &str) -> usize {
    let text = controller.get("/metrics").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

/// Looks at Applications that came to their end.
fn looks(controller: &Controller) -> usize {
    metric(controller, "gitops_sync_duration_seconds_count{phase=\"health\"}")
}

/// What a poll of 10,000 unchanged Applications costs. Their objects are there
/// as Git says: what a first sync of them takes is not the question. They are
/// such as are well at once, so that nothing but Git brings about a look.
pub fn poll(bench: &mut Bench) {
    let count = applications(10_000);
    let simple = |object: &Value| object["kind"] == "ConfigMap" || object["kind"] == "ServiceAccount";
    let world = World::of(objects(count * 2).into_iter().filter(simple).collect(), 1);
    world.apply("ours");
    let cache = TempDir::new().unwrap();
    let controller = world.start(cache.path(), "2s", &[]);
    let begun = Instant::now();
    world.converge();
    let taken = begun.elapsed().as_secs_f64();
    bench.amount(&format!("controller.poll.{count}-applications.adopted"), taken, "s", 300.0);
    // What the last syncs have stirred up is looked at.
    std::thread::sleep(Duration::from_secs(10));
    let polls = |controller: &Controller| metric(controller, "gitops_git_looks_total{result=\"ok\"}");
    let (asked, polled, seen) = (world.server.requests(), polls(&controller), looks(&controller));
    std::thread::sleep(Duration::from_secs(20));
    let (asked, polled) = (world.server.requests() - asked, polls(&controller) - polled);
    // One fetch by Git's protocol: what there is, and where it is.
    bench.amount(
        &format!("controller.poll.{count}-applications"),
        asked as f64 / polled as f64,
        " requests a poll",
        2.0,
    );
    bench.size(&format!("controller.poll.{count}-applications.memory"), controller.memory(), 300.0);
    bench.amount("controller.poll.looks", (looks(&controller) - seen) as f64, " Applications looked at", 0.0);
}

/// From a push event to the last object applied, beside doing it by hand.
pub fn push(bench: &mut Bench) {
    let (world, cache) = (World::new(1, 4), TempDir::new().unwrap());
    let key = format!("--from-literal=key={}", KEY.replace(' ', "-"));
    assert!(
        world.cluster.kubectl(&format!("create secret generic gitops-push-events -n gitops-system {key}"))
    );
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let controller = world.start(cache.path(), "1h", &["--push-events", &address]);
    world.converge();
    let clone = cache.path().join("clone");
    world.repo.git(&["clone", "--quiet", &world.server.url("mono.git"), &clone.display().to_string()]);
    let by_hand = |namespace: &str| {
        timed(1, || {
            let git = Command::new("git").args(["pull", "--quiet"]).current_dir(&clone).status();
            assert!(git.unwrap().success());
            let apply = ["apply", "--server-side", "--force-conflicts", "-n", namespace, "-f", "apps/a00000"];
            assert!(world.cluster.run("kubectl", &apply, &clone));
        })
    };
    by_hand("raw-0");
    let found: Vec<Pair> = (0..pairs())
        .map(|pair| {
            world.change(&format!("turn-{pair}"));
            let ours = timed(1, || {
                world.tell(port);
                world.runtime.block_on(world.arrived(&namespace(0), &format!("turn-{pair}")));
            });
            (ours, by_hand("raw-0"))
        })
        .collect();
    drop(controller);
    bench.report("controller.push.4-objects", "git-fetch+kubectl-ssa", &found, 1.0);
}

impl World {
    /// Labels every object of the first Application with this, and pushes.
    fn change(&self, turn: &str) {
        let labelled: Vec<Value> = (self.objects[..self.per].iter().cloned())
            .map(|mut object| {
                object["metadata"]["labels"] = json!({"turn": turn});
                object
            })
            .collect();
        write_files(&self.repo.file("apps/a00000"), &labelled, 1);
        self.repo.commit_all(turn);
        self.repo.git(&["push", "--quiet", &self.bare.path().join("mono.git").display().to_string(), "main"]);
    }

    /// Sends what GitHub would.
    fn tell(&self, port: u16) {
        let body =
            json!({"after": self.repo.head(), "repository": {"clone_url": self.server.url("mono.git")}})
                .to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(KEY.replace(' ', "-").as_bytes()).unwrap();
        mac.update(body.as_bytes());
        let signature = format!("x-hub-signature-256: sha256={}", hex::encode(mac.finalize().into_bytes()));
        let told = Command::new("curl")
            .args([
                "-sf",
                "-o",
                "/dev/null",
                "-H",
                "x-github-event: push",
                "-H",
                &signature,
                "--data-binary",
                &body,
            ])
            .arg(format!("http://127.0.0.1:{port}/push"))
            .status();
        assert!(told.unwrap().success());
    }

    /// Waits until all four objects have this label.
    async fn arrived(&self, namespace: &str, turn: &str) {
        let client = self.cluster.client().await;
        let kinds = [("apps", "Deployment"), ("", "Service"), ("", "ConfigMap"), ("", "ServiceAccount")];
        for (object, (group, kind)) in self.objects[..self.per].iter().zip(kinds) {
            let resource = ApiResource {
                group: group.into(),
                version: "v1".into(),
                api_version: if group.is_empty() { "v1".into() } else { format!("{group}/v1") },
                kind: kind.into(),
                plural: format!("{}s", kind.to_lowercase()),
            };
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
            let name = object["metadata"]["name"].as_str().unwrap();
            while api.get(name).await.unwrap().labels().get("turn").map(String::as_str) != Some(turn) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }
}
