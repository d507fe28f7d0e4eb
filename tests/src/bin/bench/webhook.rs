//! The webhook as a process.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gitops_tests::Repo;
use serde_json::json;

use crate::cluster::{Cluster, binary};
use crate::objects::objects;
use crate::report::{Bench, PAIRS, Pair};
use crate::verdict::memory;

/// The webhook as a process, with 10,000 declared objects.
pub fn webhook(bench: &mut Bench, cluster: &Cluster) {
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
