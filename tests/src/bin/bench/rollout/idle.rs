//! Many Rollouts that have nothing to do, beside as many Deployments without one.
//! Out: what they write, and what more memory they take.

use std::path::Path;
use std::time::Duration;

use gitops_tests::{Controller, FakeNode, Repo};
use serde_json::{Value, json};

use super::{World, deployment, file, rollout, team};
use crate::report::Bench;
use crate::verdict::memory;

/// Rollouts in all, and Applications that they are of.
const ROLLOUTS: usize = 1000;
const APPLICATIONS: usize = 20;
/// How long nothing is to be written.
const IDLE: Duration = Duration::from_secs(60);

fn count() -> usize {
    std::env::var("BENCH_ROLLOUTS").ok().and_then(|count| count.parse().ok()).unwrap_or(ROLLOUTS)
}

/// One Application's Deployments, with or without Rollouts.
fn objects(at: usize, each: usize, node: &FakeNode, with: bool) -> String {
    let steps = json!([{"setWeight": 20}, {"pause": {"duration": "10m"}}, {"setWeight": 50}, {"pause": {}}]);
    let one = |number: usize| {
        let name = format!("web-{at}-{number}");
        let web = deployment(&name, "web:1", 1, node);
        [Some(web), with.then(|| rollout(&name, &steps))]
    };
    file((0..each).flat_map(one).flatten())
}

/// Rollouts that stand at rest.
fn at_rest(world: &World) -> usize {
    let listed = world.tests.kubectl("get rollouts -A -o json");
    let all: Value = serde_json::from_str(&listed.stdout).unwrap_or_default();
    let items = all["items"].as_array().cloned().unwrap_or_default();
    items.iter().filter(|one| one["status"]["phase"] == "Idle").count()
}

fn healthy(world: &World) {
    let wait = "wait --for=condition=Healthy application --all -n apps --timeout=600s";
    assert!(world.cluster.kubectl(wait), "{:?}", world.tests.kubectl("get applications -n apps"));
}

/// What controller and webhook hold at rest, in MiB, and how much is written
/// meanwhile.
fn rest(world: &mut World, cache: &Path) -> ([f64; 2], Vec<String>) {
    world.cluster.calms();
    // What the way here took is not what rest takes.
    world.renew_webhook();
    let controller = Controller::start(world.tests, "apps", cache);
    world.cluster.calms();
    let before = world.cluster.writes().len();
    std::thread::sleep(IDLE);
    let written = world.cluster.writes().split_off(before);
    let resident = |pid: u32| memory(&pid.to_string(), "VmRSS:");
    ([resident(controller.id()), resident(world.webhook.id())], written)
}

/// 1,000 Rollouts at rest.
pub fn idle(bench: &mut Bench) {
    let (count, repo) = (count(), Repo::new());
    let (each, mut world) = (count / APPLICATIONS, World::up());
    let node = FakeNode::start(world.tests, "node");
    let cache = world.folder.path().join("controller");
    let commit = |with: bool| {
        for at in 0..APPLICATIONS {
            let file = repo.path().join(team(at)).join("all.yaml");
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, objects(at, each, &node, with)).unwrap();
        }
        repo.commit_all(if with { "with Rollouts" } else { "without" });
    };
    commit(false);
    world.hold(&repo, APPLICATIONS);
    let controller = Controller::start(world.tests, "apps", &cache);
    world.tests.kubectl("wait --for=condition=Synced application --all -n apps --timeout=600s").ok();
    healthy(&world);
    controller.stop();
    let (without, _) = rest(&mut world, &cache);
    let controller = Controller::start(world.tests, "apps", &cache);
    commit(true);
    gitops_tests::cluster::eventually("the Rollouts are at rest", Duration::from_secs(600), || {
        std::thread::sleep(Duration::from_secs(2));
        (at_rest(&world) == each * APPLICATIONS).then_some(())
    });
    healthy(&world);
    controller.stop();
    let (with, written) = rest(&mut world, &cache);
    for line in written.iter().take(10) {
        eprintln!("  written: {line}");
    }
    bench.amount(&format!("rollout.idle.{count}.writes"), written.len() as f64, " a minute", 0.0);
    bench.size(&format!("rollout.idle.{count}.controller"), with[0] - without[0], 30.0);
    bench.size(&format!("rollout.idle.{count}.webhook"), with[1] - without[1], 30.0);
}
