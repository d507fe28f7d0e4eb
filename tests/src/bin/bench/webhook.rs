//! The webhook as a process, with 10,000 declared objects: what it answers in
//! how much time and memory, and what it adds to a write.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gitops_tests::Repo;
use serde_json::{Value, json};

use crate::cluster::{Cluster, binary};
use crate::objects::{objects, write_files};
use crate::report::{Bench, pairs};
use crate::verdict::memory;

/// Where it answers.
const LISTEN: &str = "127.0.0.1:19443";

/// Everything about it.
pub fn webhook(bench: &mut Bench, cluster: &Cluster) {
    let repo = Repo::new();
    write_files(&repo.file("app"), &objects(10_000), 100);
    repo.commit_all("ten thousand objects");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    assert!(cluster.run("kubectl", &["apply", "--server-side", "-f", "charts/gitops/templates/crds"], root));
    for namespace in ["gitops-system", "shop"] {
        assert!(cluster.kubectl(&format!("create namespace {namespace}")));
    }
    let described = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Project", "metadata": {"name": "shop"}, "spec": {"applicationNamespaces": ["shop"], "repositories": [{"url": "file:///**"}], "destinations": [{"namespaces": ["shop"]}]}},
        {"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": "app", "namespace": "shop"}, "spec": {"project": "shop", "source": {"repo": repo.url(), "revision": "main", "path": "app"}, "destination": {"namespace": "shop"}}}]});
    cluster.apply(&described);
    let cache = tempfile::tempdir().unwrap();
    let program = Running(
        Command::new(binary("gitops-webhook"))
            .args([
                "--listen",
                LISTEN,
                "--http",
                "127.0.0.1:18080",
                "--url",
                &format!("https://{LISTEN}"),
                "--poll-interval",
                "1h",
            ])
            .args(["--kubeconfig", &cluster.kubeconfig, "--cache-dir", &cache.path().display().to_string()])
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
    runtime.block_on(async {
        let callers = Callers::connect().await;
        let (mut rates, mut slowest) = (Vec::new(), Vec::new());
        for pair in 0..pairs() {
            // In turn, so that neither always goes first.
            let (ours, theirs) = if pair % 2 == 0 {
                let ours = callers.call(&judged).await;
                (ours, callers.call(&unjudged).await)
            } else {
                let theirs = callers.call(&unjudged).await;
                (callers.call(&judged).await, theirs)
            };
            rates.push((ours.each, theirs.each));
            slowest.push((ours.p99, theirs.p99));
        }
        bench.report("webhook.https", "unjudged", &rates, 0.7);
        // p99 at most 1.5 times the peer's is a ratio of at least two thirds.
        bench.report("https.p99.8", "unjudged", &slowest, 0.67);
    });
    runtime.block_on(latency(bench, cluster));
    bench.size("webhook.memory.10000", memory(&program.0.id().to_string(), "VmHWM:"), 100.0);
}

/// A child that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Eight connections, kept alive.
struct Callers(Vec<reqwest::Client>);

/// Seconds a request took: on the whole, and the slowest in a hundred.
struct Times {
    each: f64,
    p99: f64,
}

impl Callers {
    async fn connect() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client =
            || reqwest::Client::builder().tls_danger_accept_invalid_certs(true).http1_only().build().unwrap();
        Self((0..8).map(|_| client()).collect())
    }

    async fn call(&self, body: &str) -> Times {
        const REQUESTS: usize = 500;
        let start = Instant::now();
        let workers = self.0.iter().map(|client| {
            let (client, body) = (client.clone(), body.to_owned());
            tokio::spawn(async move {
                let mut times = Vec::with_capacity(REQUESTS);
                for _ in 0..REQUESTS {
                    let start = Instant::now();
                    let request = client
                        .post(format!("https://{LISTEN}/validate"))
                        .header("content-type", "application/json")
                        .body(body.clone());
                    let answer = request.send().await.unwrap();
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
        let each = start.elapsed().as_secs_f64() / times.len() as f64;
        times.sort_by(f64::total_cmp);
        Times { each, p99: times[times.len() * 99 / 100] }
    }
}

/// A PATCH of a ConfigMap at the API server: without admission, under a policy
/// of three expressions, and under the webhook.
async fn latency(bench: &mut Bench, cluster: &Cluster) {
    const WRITES: usize = 40;
    let config = objects(3).remove(2);
    let name = config["metadata"]["name"].as_str().unwrap().to_owned();
    for namespace in ["plain", "policy"] {
        assert!(cluster.kubectl(&format!("create namespace {namespace}")));
    }
    cluster.apply(&policy());
    for namespace in ["plain", "policy", "shop"] {
        let mut config = config.clone();
        config["metadata"]["namespace"] = namespace.into();
        cluster.apply(&config);
    }
    let client = cluster.client().await;
    let patch = async |namespace: &str, annotations: Value| {
        let body = json!({"metadata": {"annotations": annotations}}).to_string();
        let request = http::Request::patch(format!("/api/v1/namespaces/{namespace}/configmaps/{name}"))
            .header("content-type", "application/merge-patch+json")
            .body(body.into_bytes())
            .unwrap();
        client.request::<Value>(request).await
    };
    // A policy takes a moment to be in force.
    let mut in_force = false;
    for _ in 0..60 {
        in_force = patch("policy", json!({"forbidden": "x"})).await.is_err();
        if in_force {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(in_force, "the benchmark's policy never came into force");
    // And so does the webhook.
    assert!(patch("shop", json!({"kubectl-gitops.dev/revision": "x"})).await.is_err());
    let batch = async |namespace: &str, round: usize| {
        let start = Instant::now();
        for write in 0..WRITES {
            patch(namespace, json!({"team": format!("{round}-{write}")})).await.unwrap();
        }
        start.elapsed().as_secs_f64() / WRITES as f64
    };
    let (mut beside_none, mut beside_policy) = (Vec::new(), Vec::new());
    // The first round warms up.
    for round in 0..=pairs() {
        let mut order = ["plain", "policy", "shop"];
        order.rotate_left(round % 3);
        let mut times = std::collections::HashMap::new();
        for namespace in order {
            times.insert(namespace, batch(namespace, round).await);
        }
        if round > 0 {
            beside_none.push((times["shop"], times["plain"]));
            beside_policy.push((times["shop"], times["policy"]));
        }
    }
    bench.compare("webhook.latency.patch", "no-admission", &beside_none);
    bench.compare("webhook.latency.patch", "policy-of-3-cel", &beside_policy);
}

/// A policy of three expressions for one namespace, and its binding.
fn policy() -> Value {
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE", "UPDATE"]});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "bench"}, "spec": {"failurePolicy": "Fail", "matchConstraints": {"resourceRules": [rule]}, "validations": [
            {"expression": "!('forbidden' in object.metadata.?annotations.orValue({}))"},
            {"expression": "object.metadata.name.startsWith('object-')"},
            {"expression": "object.?data.orValue({}).all(key, key.size() < 64)"}]}},
        {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "bench"}, "spec": {"policyName": "bench", "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "policy"}}}}}]})
}
