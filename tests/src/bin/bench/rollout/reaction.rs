//! From a measurement that fails to a route that sends nobody to the new version.
//! In: an endpoint that says good or bad. Out: seconds from its first bad answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gitops_tests::http_server::{HttpServer, Reply};
use gitops_tests::shop::CONFIG;
use gitops_tests::{Controller, FakeNode, Shop, gateway};
use serde_json::{Value, json};

use super::{World, deployment, file};
use crate::report::{Bench, pairs};

/// Between two looks at the route.
const LOOK: Duration = Duration::from_millis(5);
/// Until the cluster has come to where a round begins.
const LONG: Duration = Duration::from_secs(120);

/// What is measured: it remembers when it first said that the version is bad.
#[derive(Clone, Default)]
struct Errors {
    are_many: Arc<AtomicBool>,
    told: Arc<Mutex<Option<Instant>>>,
}

impl Errors {
    fn serve(&self) -> HttpServer {
        let this = self.clone();
        HttpServer::start(move |_| {
            let are_many = this.are_many.load(Ordering::SeqCst);
            if are_many {
                this.told.lock().unwrap().get_or_insert_with(Instant::now);
            }
            Reply::ok(json!({"errors": if are_many { 0.2 } else { 0.001 }}).to_string())
        })
    }
}

struct Round<'a> {
    client: kube::Client,
    shop: &'a Shop,
    controller: &'a Controller,
    errors: Errors,
}

impl Round<'_> {
    async fn get(&self, group: &str, plural: &str) -> Value {
        let path = format!("/apis/{group}/namespaces/{}/{plural}/web", self.shop.name());
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        self.client.request::<Value>(request).await.unwrap_or_default()
    }

    /// The share of the requests that the new version gets.
    async fn weight(&self) -> Option<i64> {
        let route = self.get("gateway.networking.k8s.io/v1", "httproutes").await;
        let references = route.pointer("/spec/rules/0/backendRefs")?.as_array()?.clone();
        let new = references.iter().find(|one| one["name"] == "web-new");
        Some(new.map_or(0, |one| one["weight"].as_i64().unwrap_or(1)))
    }

    async fn phase(&self, phase: &str) {
        let begun = Instant::now();
        loop {
            let status = self.get("kubectl-gitops.dev/v1alpha1", "rollouts").await["status"].clone();
            if status["phase"] == phase {
                return;
            }
            assert!(begun.elapsed() < LONG, "it is not {phase}: {status}\n{}", self.controller.log());
            tokio::time::sleep(LOOK * 20).await;
        }
    }

    /// Lets a version in half, has it fail, and waits for the route.
    async fn run(&self, commit: impl FnOnce()) -> f64 {
        commit();
        self.phase("Paused").await;
        assert_eq!(self.weight().await, Some(50));
        // Some measurements that go well.
        tokio::time::sleep(Duration::from_secs(2)).await;
        *self.errors.told.lock().unwrap() = None;
        self.errors.are_many.store(true, Ordering::SeqCst);
        let begun = Instant::now();
        while self.weight().await != Some(0) {
            assert!(begun.elapsed() < LONG, "{}", self.controller.log());
            tokio::time::sleep(LOOK).await;
        }
        let off = Instant::now();
        let told = self.errors.told.lock().unwrap().expect("the endpoint was asked");
        self.errors.are_many.store(false, Ordering::SeqCst);
        self.phase("Aborted").await;
        (off - told).as_secs_f64()
    }
}

/// What Git holds, with this image.
fn objects(image: &str, node: &FakeNode, errors: &HttpServer) -> String {
    let service = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {
            "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}})
    };
    let route = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "web"},
        "spec": {"rules": [{"backendRefs": [{"name": "web", "port": 80}]}]}});
    let template = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "errors"}, "spec": {"metrics": [
        {"name": "share", "interval": "1s", "success": "result < 0.05", "http": {"url": errors.url("/"), "jsonPath": "$.errors"}}]}});
    let rollout = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"}, "spec": {
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "strategy": {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}}, "onFailure": "Hold",
        "traffic": {"stableService": "web", "canaryService": "web-new", "routes": [{"kind": "HTTPRoute", "name": "web"}]},
        "analysis": {"templates": [{"name": "errors"}]}}});
    let web = deployment("web", image, 4, node);
    file([web, service("web"), service("web-new"), route, template, rollout].into_iter())
}

/// Traffic off a bad version, without the proxy's own delay.
pub fn reaction(bench: &mut Bench) {
    let world = World::up();
    gateway::install(world.tests);
    let (shop, errors) = (Shop::at(world.tests, &[]), Errors::default());
    let (node, server) = (FakeNode::start(world.tests, "node"), errors.serve());
    let commit = |image: &str| {
        let files = [("app/all.yaml", &*objects(image, &node, &server)), ("app/config.yaml", CONFIG)];
        shop.repo.commit(image, &files);
    };
    commit("web:1");
    shop.hold(json!({"sync": {"mode": "Automatic", "prune": true}}));
    let controller = Controller::start(world.tests, shop.name(), &world.folder.path().join("controller"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut times: Vec<f64> = runtime.block_on(async {
        let client = world.cluster.client().await;
        let round = Round { client, shop: &shop, controller: &controller, errors };
        round.phase("Idle").await;
        let mut times = Vec::new();
        for number in 0..pairs() {
            times.push(round.run(|| commit(&format!("web:{}", number + 2))).await);
        }
        times
    });
    times.sort_by(f64::total_cmp);
    bench.seconds("rollout.reaction", &times, 0.5, 2.0);
    bench.seconds("rollout.reaction.slowest", &times, 1.0, 2.0);
}
