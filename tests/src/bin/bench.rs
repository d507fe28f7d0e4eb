//! The benchmarks, each beside a peer in the same run: interleaved pairs, the
//! median of their ratios with quartiles. Out: a line each, and
//! `target/bench.jsonl`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool: what is missing ends it"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gitops_core::compare::{CompareOptions, compare};
use gitops_core::desired::{AppRef, DesiredSet, Rendered, Scopes};
use gitops_core::index::{Index, Part};
use gitops_core::object::Gvk;
use gitops_core::schema::Schemas;
use gitops_core::verdict::{Candidate, Context, Facts, Operation, Policy, Review, judge};
use gitops_tests::Repo;
use serde_json::{Value, json};

const PAIRS: usize = 15;

/// A pair's two times, in seconds.
type Pair = (f64, f64);

struct Bench {
    out: std::fs::File,
}

impl Bench {
    /// Prints one result. `need` is the least ratio of peer to ours.
    fn report(&mut self, name: &str, peer: &str, pairs: &[Pair], need: f64) {
        let mut ratios: Vec<f64> = pairs.iter().map(|(ours, theirs)| theirs / ours).collect();
        ratios.sort_by(f64::total_cmp);
        let at = |part: f64| ratios[((ratios.len() - 1) as f64 * part).round() as usize];
        let median = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let ours = median(pairs.iter().map(|pair| pair.0).collect());
        let theirs = median(pairs.iter().map(|pair| pair.1).collect());
        let (p25, ratio, p75) = (at(0.25), at(0.5), at(0.75));
        let verdict = if p25 >= need {
            "ok"
        } else if p75 >= need {
            "noisy"
        } else {
            "short"
        };
        println!(
            "bench {name} ours={} peer={peer}:{} ratio={ratio:.2} [p25={p25:.2} p75={p75:.2}] n={} need>={need} {verdict}",
            shown(ours),
            shown(theirs),
            pairs.len()
        );
        let line = json!({"name": name, "ours": ours, "peer": peer, "peerTime": theirs, "ratio": ratio, "p25": p25, "p75": p75, "n": pairs.len(), "need": need, "verdict": verdict});
        writeln!(self.out, "{line}").unwrap();
    }

    /// Prints a size that has a limit and no peer.
    fn size(&mut self, name: &str, mib: f64, limit: f64) {
        let verdict = if mib <= limit { "ok" } else { "short" };
        println!("bench {name} ours={mib:.1}MiB need<={limit}MiB {verdict}");
        writeln!(self.out, "{}", json!({"name": name, "mib": mib, "limit": limit, "verdict": verdict}))
            .unwrap();
    }
}

fn shown(seconds: f64) -> String {
    if seconds >= 0.01 { format!("{seconds:.2}s") } else { format!("{:.1}us", seconds * 1e6) }
}

fn main() {
    let only: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|part| name.contains(part.as_str()));
    let target = binary("bench").parent().unwrap().parent().unwrap().to_owned();
    let mut bench = Bench { out: std::fs::File::create(target.join("bench.jsonl")).unwrap() };
    if wanted("verdict") {
        verdict(&mut bench);
    }
    if wanted("index") {
        index_size(&mut bench);
    }
    if wanted("sync") || wanted("diff") || wanted("https") || wanted("webhook") {
        let cluster = Cluster::up();
        if wanted("sync") || wanted("diff") {
            sync(&mut bench, &cluster);
        }
        if wanted("https") || wanted("webhook") {
            webhook(&mut bench, &cluster);
        }
    }
}

fn binary(name: &str) -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().join(name)
}

/// About 2 KiB of distinct text.
fn text(seed: usize) -> String {
    (0..40)
        .map(|line| {
            format!(
                "line {line} of object {seed}: {:016x}{:016x}\n",
                seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ line,
                line.wrapping_mul(seed + 7)
            )
        })
        .collect()
}

/// `count` objects: a quarter each of four kinds.
fn objects(count: usize) -> Vec<Value> {
    (0..count)
        .map(|n| {
            let name = format!("object-{n:05}");
            let note = json!({"example.com/note": text(n)});
            match n % 4 {
                0 => json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "annotations": note}, "spec": {"replicas": 0, "selector": {"matchLabels": {"app": name}},
                    "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": format!("registry.example.com/app-{n}:1.0"),
                        "env": [{"name": "A", "value": format!("{n}")}], "resources": {"limits": {"cpu": "0.5", "memory": "1Gi"}}}]}}}}),
                1 => json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "annotations": note}, "spec": {"selector": {"app": name}, "ports": [{"port": 80}]}}),
                2 => json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": text(n)}}),
                _ => json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "annotations": note}}),
            }
        })
        .collect()
}

struct BuiltIn;

impl Scopes for BuiltIn {
    fn namespaced(&self, _: &Gvk) -> Option<bool> {
        Some(true)
    }
}

fn set(count: usize) -> DesiredSet {
    let rendered = objects(count)
        .into_iter()
        .map(|value| Rendered { value, file: "app/all.yaml".into(), line: 1, lines: None })
        .collect();
    DesiredSet::build(
        AppRef { namespace: "shop".into(), name: "app".into() },
        "c".repeat(40),
        "shop",
        &BuiltIn,
        rendered,
    )
    .unwrap()
}

/// A verdict on a Deployment's update, beside parsing the same review.
fn verdict(bench: &mut Bench) {
    let set = set(10_000);
    let index = Index::new(vec![std::sync::Arc::new(Part::of(set.clone(), (String::new(), String::new())))]);
    let schemas = Schemas::builtin();
    let declared = set.objects.values().find(|object| object.key.kind == "Deployment").unwrap();
    let old = declared.value.clone();
    let mut new = old.clone();
    new["metadata"]["annotations"]["team"] = json!("blue");
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u", "object": new, "oldObject": old}}).to_string();
    assert!(
        compare(&schemas, &declared.gvk, &declared.value, &new, &CompareOptions::of(&declared.gvk))
            .is_empty()
    );
    let policy = Policy::default();
    let run = || {
        let part = index.owner(&declared.key).unwrap();
        let object = part.get(&declared.key);
        let candidates = [Candidate { revision: &part.revision, object: object.as_ref() }];
        let review = Review {
            operation: Operation::Update,
            gvk: &declared.gvk,
            key: &declared.key,
            subresource: "",
            old: Some(&old),
            new: Some(&new),
            now: 0,
        };
        let context = Context {
            schemas: &schemas,
            policy: &policy,
            application: Some(&part.application),
            candidates: &candidates,
            free: &[],
            facts: &Facts::default(),
        };
        std::hint::black_box(judge(&review, &context))
    };
    let pairs: Vec<Pair> = (0..200)
        .map(|_| {
            let ours = timed(100, || drop(run()));
            let theirs =
                timed(100, || drop(std::hint::black_box(serde_json::from_str::<Value>(&review).unwrap())));
            (ours, theirs)
        })
        .collect();
    bench.report("verdict.deployment.10000", "serde_json-parse", &pairs, 1.0);
}

/// Seconds of one call, over `times` calls.
fn timed(times: u32, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..times).for_each(|_| call());
    start.elapsed().as_secs_f64() / f64::from(times)
}

/// What 10,000 objects cost in the index.
fn index_size(bench: &mut Bench) {
    let part = std::sync::Arc::new(Part::of(set(10_000), (String::new(), String::new())));
    let before = resident();
    let again = std::sync::Arc::new(Part::of(set(10_000), (String::new(), "1".into())));
    let index = Index::new(vec![again]);
    bench.size("index.10000", (resident() - before).max(0.0), 60.0);
    drop((part, index));
}

fn resident() -> f64 {
    memory("self", "VmRSS:")
}

fn memory(pid: &str, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// An embedded control plane of the benchmarks' own.
struct Cluster {
    name: String,
    kubeconfig: String,
}

impl Cluster {
    fn up() -> Self {
        let name = format!("bench-{}", std::process::id());
        let output = Command::new(binary("test-cluster"))
            .args(["up", "--name", &name])
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success());
        Self { name, kubeconfig: String::from_utf8(output.stdout).unwrap().trim().to_owned() }
    }

    fn run(&self, program: &str, arguments: &[&str], folder: &Path) -> bool {
        let mut path = std::ffi::OsString::from(binary("bench").parent().unwrap());
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        let status = Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .env("PATH", path)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        status.success()
    }

    fn kubectl(&self, arguments: &str) -> bool {
        self.run("kubectl", &arguments.split(' ').collect::<Vec<_>>(), Path::new("/"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = Command::new(binary("test-cluster")).args(["down", "--name", &self.name]).status();
    }
}

/// Sync and diff of 1,000 objects, beside kubectl on the same files.
fn sync(bench: &mut Bench, cluster: &Cluster) {
    let repo = Repo::new();
    for (n, object) in objects(1000).into_iter().enumerate() {
        let path = repo.file(&format!("app/{n:04}.yaml"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, serde_saphyr::to_string(&object).unwrap()).unwrap();
    }
    repo.commit_all("a thousand objects");
    let repository = repo.path().display().to_string();
    let ours = |verb: &str, namespace: &str| {
        timed(1, || {
            cluster.run(
                "kubectl-gitops",
                &[verb, "--repo", &repository, "--path", "app", "-n", namespace],
                repo.path(),
            );
        })
    };
    let theirs = |arguments: &[&str], namespace: &str| {
        timed(1, || {
            let mut all = vec!["-n", namespace];
            all.extend(arguments);
            all.extend(["-f", "app"]);
            cluster.run("kubectl", &all, repo.path());
        })
    };
    let mut first = Vec::new();
    for pair in 0..PAIRS {
        let (a, b) = (format!("a{pair}"), format!("b{pair}"));
        for namespace in [&a, &b] {
            assert!(cluster.kubectl(&format!("create namespace {namespace}")));
        }
        // In turn, so that neither always goes first.
        let (mine, other) = if pair % 2 == 0 {
            let mine = ours("sync", &a);
            (mine, theirs(&["apply", "--server-side"], &b))
        } else {
            let other = theirs(&["apply", "--server-side"], &b);
            (ours("sync", &a), other)
        };
        first.push((mine, other));
        if pair + 1 < PAIRS {
            for namespace in [&a, &b] {
                cluster.kubectl(&format!("delete namespace {namespace}"));
            }
        }
    }
    bench.report("sync.first.1000", "kubectl-ssa", &first, 2.0);
    let (a, b) = (format!("a{}", PAIRS - 1), format!("b{}", PAIRS - 1));
    let unchanged: Vec<Pair> =
        (0..PAIRS).map(|_| (ours("sync", &a), theirs(&["apply", "--server-side"], &b))).collect();
    bench.report("sync.unchanged.1000", "kubectl-ssa", &unchanged, 20.0);
    let diff: Vec<Pair> =
        (0..PAIRS).map(|_| (ours("diff", &a), theirs(&["diff", "--server-side"], &b))).collect();
    bench.report("diff.1000", "kubectl-diff", &diff, 20.0);
}

/// The webhook as a process, with 10,000 declared objects.
fn webhook(bench: &mut Bench, cluster: &Cluster) {
    let repo = Repo::new();
    let folder = repo.file("app");
    std::fs::create_dir_all(&folder).unwrap();
    for (n, chunk) in objects(10_000).chunks(100).enumerate() {
        let text: Vec<String> = chunk.iter().map(|object| serde_saphyr::to_string(object).unwrap()).collect();
        std::fs::write(folder.join(format!("{n:03}.yaml")), text.join("---\n")).unwrap();
    }
    repo.commit_all("ten thousand objects");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    assert!(cluster.run("kubectl", &["apply", "--server-side", "-f", "charts/gitops/templates/crds"], root));
    for namespace in ["gitops-system", "shop"] {
        assert!(cluster.kubectl(&format!("create namespace {namespace}")));
    }
    let described = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Project", "metadata": {"name": "shop"}, "spec": {"applicationNamespaces": ["shop"], "repositories": [{"url": "file:///**"}], "destinations": [{"namespaces": ["shop"]}]}},
        {"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": "app", "namespace": "shop"}, "spec": {"project": "shop", "source": {"repo": repo.url(), "revision": "main", "path": "app"}, "destination": {"namespace": "shop"}}}]});
    let file = repo.file("described.json");
    std::fs::write(&file, described.to_string()).unwrap();
    assert!(cluster.kubectl(&format!("apply -f {}", file.display())));
    let cache = tempfile::tempdir().unwrap();
    let mut program = Running(
        Command::new(binary("gitops-webhook"))
            .args([
                "--listen",
                "127.0.0.1:19443",
                "--http",
                "127.0.0.1:18080",
                "--url",
                "https://127.0.0.1:19443",
                "--poll-interval",
                "1h",
            ])
            .args(["--kubeconfig", &cluster.kubeconfig, "--cache-dir", &cache.path().display().to_string()])
            .env("RUST_LOG", "warn")
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let ready = (0..240).any(|_| {
        std::thread::sleep(Duration::from_millis(500));
        cluster.kubectl("wait --for=condition=Enforced application/app -n shop --timeout=1s")
    });
    assert!(ready, "the webhook never enforced the benchmark's Application");
    let old = objects(1).remove(0);
    let review = |namespace: &str| {
        let mut old = old.clone();
        old["metadata"]["namespace"] = json!(namespace);
        let mut new = old.clone();
        new["metadata"]["annotations"]["team"] = json!("blue");
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u", "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
            "resource": {"group": "apps", "version": "v1", "resource": "deployments"}, "name": "object-00000", "namespace": namespace, "operation": "UPDATE",
            "userInfo": {"username": "ada"}, "object": new, "oldObject": old}})
        .to_string()
    };
    // The same server, asked about an object that nobody declares.
    let (judged, unjudged) = (review("shop"), review("elsewhere"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let pairs: Vec<Pair> =
        (0..PAIRS).map(|_| (runtime.block_on(p99(&judged)), runtime.block_on(p99(&unjudged)))).collect();
    // p99 at most 1.5 times the peer's is a ratio of at least two thirds.
    bench.report("https.p99.8", "unjudged", &pairs, 0.67);
    bench.size("webhook.memory.10000", memory(&program.0.id().to_string(), "VmHWM:"), 100.0);
    program.0.kill().unwrap();
}

/// A child that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// 99th percentile of a request's time, at 8 connections kept alive.
async fn p99(body: &str) -> f64 {
    const REQUESTS: usize = 500;
    let workers = (0..8).map(|_| {
        let body = body.to_owned();
        tokio::spawn(async move {
            let _ = rustls::crypto::ring::default_provider().install_default();
            let client = reqwest::Client::builder()
                .tls_danger_accept_invalid_certs(true)
                .http1_only()
                .build()
                .unwrap();
            let mut times = Vec::with_capacity(REQUESTS);
            for _ in 0..REQUESTS {
                let start = Instant::now();
                let answer = client
                    .post("https://127.0.0.1:19443/validate")
                    .header("content-type", "application/json")
                    .body(body.clone())
                    .send()
                    .await
                    .unwrap();
                assert!(answer.text().await.unwrap().contains("\"allowed\":true"));
                times.push(start.elapsed().as_secs_f64());
            }
            times
        })
    });
    let mut times = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        times.extend(worker.await.unwrap());
    }
    times.sort_by(f64::total_cmp);
    times[times.len() * 99 / 100]
}
