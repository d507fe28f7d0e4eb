//! Many Rollouts in motion at once. Out: how long each of their moves lags behind
//! the time when it could begin, as who watches them sees it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use gitops_tests::{Controller, FakeNode, Repo};
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::seen::{Seen, now};
use super::{World, deployment, file, rollout, team};
use crate::report::Bench;

/// Rollouts in all, and of each Application.
const ROLLOUTS: usize = 200;
const EACH: usize = 10;
/// Seconds that a step pauses, within which all Applications get their commits:
/// all are in motion at once.
const PAUSE: usize = 60;
/// What all of it may take.
const LONG: Duration = Duration::from_secs(600);

type All = Arc<Mutex<HashMap<String, Seen>>>;

fn number(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().and_then(|count| count.parse().ok()).unwrap_or(usual)
}

fn objects(at: usize, image: &str, (each, pause): (usize, usize), nodes: &[FakeNode]) -> String {
    let pause = json!({"duration": format!("{pause}s")});
    let steps = json!([{"setWeight": 50}, {"pause": pause}, {"setWeight": 100}, {"pause": pause}]);
    let node = &nodes[at % nodes.len()];
    let one = |number: usize| {
        let name = format!("web-{number}");
        [deployment(&name, image, 2, node), rollout(&name, &steps)]
    };
    file((0..each).flat_map(one))
}

/// Follows a kind everywhere.
async fn follow(client: kube::Client, kind: ApiResource, tell: impl Fn(&DynamicObject, bool)) {
    let api: Api<DynamicObject> = Api::all_with(client, &kind);
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
    while let Some(event) = events.next().await {
        match event.unwrap() {
            watcher::Event::Apply(object) | watcher::Event::InitApply(object) => tell(&object, true),
            watcher::Event::Delete(object) => tell(&object, false),
            watcher::Event::Init | watcher::Event::InitDone => {}
        }
    }
}

fn resource(group: &str, version: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(group, version, kind))
}

/// A Rollout by its namespace and the name of one of its objects.
fn of(object: &DynamicObject) -> String {
    let name = object.name_any();
    format!("{}/{}", object.namespace().unwrap_or_default(), name.trim_end_matches("-canary"))
}

/// Watches Rollouts and Deployments from now on.
async fn watch(client: kube::Client, all: All, pause: usize) {
    let deployments = follow(client.clone(), resource("apps", "v1", "Deployment"), |object, is_there| {
        let live = json!({"metadata": object.metadata, "spec": object.data["spec"], "status": object.data["status"]});
        let mut all = all.lock().unwrap();
        let seen = all.entry(of(object)).or_default();
        seen.deployment(&object.name_any(), is_there.then_some(&live), now());
    });
    let rollouts = follow(client, resource("kubectl-gitops.dev", "v1alpha1", "Rollout"), |object, _| {
        let mut all = all.lock().unwrap();
        let seen = all.entry(of(object)).or_default();
        seen.rollout(&object.data["status"], pause as f64, now());
    });
    futures::join!(deployments, rollouts);
}

/// Waits until so many are at rest, after so many versions.
fn until_done(all: &All, count: usize, versions: usize, controller: &Controller) {
    let begun = Instant::now();
    loop {
        let done = all.lock().unwrap().values().filter(|seen| seen.ends == Some(versions)).count();
        if done == count {
            return;
        }
        let log = controller.log();
        assert!(begun.elapsed() < LONG, "{done} are done; {}", log.lines().last().unwrap_or_default());
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Prints what a quick look wants to know.
fn by_place(all: &All) {
    let mut places: HashMap<String, Vec<f64>> = HashMap::new();
    for seen in all.lock().unwrap().values() {
        seen.lags.iter().for_each(|(lag, place)| places.entry(place.clone()).or_default().push(*lag));
    }
    let mut places: Vec<_> = places.into_iter().collect();
    places.sort_by(|one, other| one.0.cmp(&other.0));
    for (place, mut lags) in places {
        lags.sort_by(f64::total_cmp);
        let at = |part: f64| lags[((lags.len() - 1) as f64 * part).round() as usize];
        eprintln!(
            "  after {place}: n={} p50={:.2} p90={:.2} most={:.2}",
            lags.len(),
            at(0.5),
            at(0.9),
            at(1.0)
        );
    }
}

/// 200 Rollouts at once.
pub fn active(bench: &mut Bench) {
    let (count, each) = (number("BENCH_ROLLOUTS", ROLLOUTS), number("BENCH_ROLLOUTS_EACH", EACH));
    let pause = number("BENCH_PAUSE", PAUSE);
    let (world, repo, applications) = (World::up(), Repo::new(), count / each);
    let nodes = ["node-a", "node-b"].map(|name| FakeNode::start(world.tests, name));
    let commit = |at: usize, image: &str| {
        let path = format!("{}/all.yaml", team(at));
        repo.commit(image, &[(&path, &objects(at, image, (each, pause), &nodes))]);
    };
    for at in 0..applications {
        commit(at, "web:1");
    }
    world.hold(&repo, applications);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let all = All::default();
    let client = runtime.block_on(world.cluster.client());
    runtime.spawn(watch(client, all.clone(), pause));
    let controller = Controller::start(world.tests, "apps", &world.folder.path().join("controller"));
    until_done(&all, count, 0, &controller);
    // The Pods of the first version become ready.
    std::thread::sleep(Duration::from_secs(15));
    for at in 0..applications {
        commit(at, "web:2");
        std::thread::sleep(Duration::from_secs_f64(pause as f64 / applications as f64));
    }
    let moving = all.lock().unwrap().values().filter(|seen| seen.ends.is_none()).count();
    until_done(&all, count, 1, &controller);
    by_place(&all);
    let mut lags: Vec<f64> =
        all.lock().unwrap().values().flat_map(|seen| seen.lags.iter().map(|(lag, _)| *lag)).collect();
    lags.sort_by(f64::total_cmp);
    bench.seconds(&format!("rollout.active.{count}.median"), &lags, 0.5, 1.0);
    bench.seconds(&format!("rollout.active.{count}.p99"), &lags, 0.99, 1.0);
    eprintln!("  {moving} of {count} were in motion at once");
    bench.size(&format!("rollout.active.{count}.controller"), controller.memory(), 150.0);
}
