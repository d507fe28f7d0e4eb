//! Replicas that change while a Rollout is under way: by a commit that changes
//! nothing else, or by an autoscaler.

#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::arbitrary::{self, few, rule};
use super::desired::GATED;
use super::observe::{Ask, Asked};
use super::program::{Whole, count, updated};
use super::properties::{self, ends};
use super::simulation::{Crash, MOST, REPLICAS, World, spec};
use super::spec::{Means, Size, Spec, Step, Strategy as Way, Traffic};
use super::state::{Holds, Phase};

/// A new version that waits at this weight.
fn held(mut spec: Spec, kind: &str, scaled: bool) -> World {
    spec.target.kind = kind.into();
    let mut world = World::new(spec, &["v1", "v2"]);
    if scaled {
        world.autoscale();
    }
    world.tip = "v2".into();
    world.until("it waits", |world| world.state().phase == Phase::Paused);
    world
}

fn canary(weight: u8) -> Spec {
    spec(Way::Canary(vec![Step::SetWeight(weight), Step::Pause(None)]))
}

/// Requests go by Services.
fn divided(weight: u8) -> Spec {
    let service = |name: &str| Some(name.to_owned());
    let traffic = Traffic {
        stable_service: service("web"),
        canary_service: service("web-canary"),
        ..Traffic::default()
    };
    Spec { traffic, ..canary(weight) }
}

fn blue_green() -> Spec {
    spec(Way::BlueGreen {
        active_service: "web".into(),
        preview_service: None,
        preview_replicas: Size::Percent(100),
        auto_promote: false,
        before: vec![],
        after: vec![],
        scale_down_delay: 0,
    })
}

/// Pods of the old and of the new version.
fn pods(world: &World) -> (usize, usize) {
    let new = world.pods.iter().filter(|pod| pod.image == "v2").count();
    (world.pods.len() - new, new)
}

fn asked(ask: Ask) -> Option<Asked> {
    Some(Asked { id: format!("{ask:?}"), ask, by: "ada".into(), reason: String::new() })
}

fn ticks(world: &mut World, count: usize) {
    (0..count).for_each(|_| world.tick(None, Crash::No));
}

#[test]
fn the_second_workload_follows_in_the_middle() {
    for (what, spec, scaled, before, after) in [
        ("blue-green", blue_green(), false, (5, 5), (8, 8)),
        ("blue-green with an autoscaler", blue_green(), true, (5, 5), (8, 8)),
        ("by requests", divided(50), false, (5, 3), (8, 4)),
        ("by requests with an autoscaler", divided(50), true, (5, 3), (8, 4)),
        ("by replicas", canary(40), false, (3, 2), (4, 4)),
        ("by replicas with an autoscaler", canary(40), true, (5, 2), (8, 4)),
        ("rolling with an autoscaler", canary(20), true, (5, 1), (8, 2)),
    ] {
        let mut world = held(spec, "Deployment", scaled);
        assert_eq!(pods(&world), before, "{what}");
        world.scale(8);
        ticks(&mut world, 20);
        assert_eq!(pods(&world), after, "{what}: {:?}", world.state());
        assert_eq!(world.state().phase, Phase::Paused);
        world.scale(REPLICAS);
        ticks(&mut world, 20);
        assert_eq!(pods(&world), before, "{what}: {:?}", world.state());
    }
}

/// Its Pods from this ordinal on have the new version.
fn partition(world: &World) -> i64 {
    let target = &world.desired()[&world.spec.target].value;
    target["spec"]["updateStrategy"]["rollingUpdate"]["partition"].as_i64().unwrap()
}

/// At no moment, whoever syncs first.
#[test]
fn a_commit_that_adds_pods_to_a_stateful_set_lets_none_out() {
    let mut world = held(canary(20), "StatefulSet", false);
    assert_eq!((pods(&world), partition(&world)), ((4, 1), 4));
    world.scale(10);
    assert_eq!(partition(&world), 8, "before the next state");
    world.apply(usize::MAX);
    ticks(&mut world, 20);
    // The one that was updated stays so.
    assert_eq!((pods(&world), partition(&world)), ((7, 3), 8));
    world.scale(2);
    assert_eq!(partition(&world), 1);
    ticks(&mut world, 20);
    assert_eq!((pods(&world), world.state().phase), ((1, 1), Phase::Paused));
}

/// A StatefulSet gives what an autoscaler adds the new version, above its partition:
/// what is below it by the next look goes back to no old one.
#[test]
fn a_stateful_set_that_is_scaled_up_gets_its_partition_back() {
    let mut world = held(canary(20), "StatefulSet", true);
    assert_eq!((pods(&world), partition(&world)), ((4, 1), 4));
    world.scale(9);
    ticks(&mut world, 20);
    assert_eq!((partition(&world), world.state().phase), (7, Phase::Paused));
}

#[test]
fn where_an_autoscaler_scales_nothing_is_waited_for_in_vain() {
    for weight in [20, 100] {
        for (scaled, before) in [(false, REPLICAS), (true, REPLICAS), (true, 8)] {
            let mut world = held(canary(weight), "Deployment", scaled);
            world.scale(before);
            world.tick(asked(Ask::Promote), Crash::No);
            world.until("it ends", |world| world.state().phase == Phase::Idle);
            ticks(&mut world, 20);
            assert_eq!(pods(&world), (0, before as usize), "{weight} {scaled}");
        }
    }
}

/// No autoscaler scales from there.
#[test]
fn what_a_rollout_has_scaled_to_zero_comes_back() {
    for failing in [false, true] {
        let rule = rule("t/after");
        let recreate = spec(Way::Recreate { before: vec![], after: vec![rule] });
        let mut world = World::new(recreate, &["v1", "v2"]);
        world.autoscale();
        world.scale(8);
        ticks(&mut world, 10);
        world.failing.extend(failing.then(|| "v2".to_owned()));
        world.tip = "v2".into();
        world.until("it begins", |world| world.state().is_under_way());
        world.until("it ends", |world| !world.state().is_under_way());
        ticks(&mut world, 20);
        assert_eq!(pods(&world), if failing { (8, 0) } else { (0, 8) }, "{:?}", world.state());
    }
    // And when it goes back before it was there.
    let mut world = World::new(spec(Way::Recreate { before: vec![], after: vec![] }), &["v1", "v2"]);
    world.autoscale();
    world.tip = "v2".into();
    world.until("it stops", |world| world.state().setting.share == 0);
    world.tip = "v1".into();
    world.until("it is back", |world| world.state().phase == Phase::Idle);
    ticks(&mut world, 20);
    assert_eq!(pods(&world), (REPLICAS as usize, 0), "{:?}", world.state());
}

/// Pods of the new version that the state lets out.
fn allowed(world: &World) -> i64 {
    let (state, replicas) = (world.state(), world.wanted());
    let second = state.setting.second.map_or(0, |size| count(replicas, size));
    let whole = Whole { replicas, declared: world.declared().is_some() };
    second
        + match (state.setting.target, world.spec.means()) {
            (Holds::Stable, _) => 0,
            (Holds::New, Means::Partition) => updated(replicas, state.setting.updated),
            (Holds::New, _) => whole.kept(state.setting.share),
        }
}

/// From which ordinal on the state lets Pods out.
fn lets_out_from(world: &World) -> i64 {
    match (world.spec.means(), world.state().setting.target) {
        (Means::Partition, Holds::New) => Some(partition(world)).filter(|from| *from != GATED).unwrap_or(0),
        _ => 0,
    }
}

/// Those there are from this ordinal on: what was let out before there were more
/// Pods stays below.
fn let_out(world: &World, from: i64) -> i64 {
    let new = |pod: &&super::simulation::Pod| pod.image == "v2" && pod.ordinal >= from;
    world.pods.iter().filter(new).count() as i64
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn no_more_of_the_new_version_runs_than_its_setting_says(
        spec in arbitrary::spec().prop_filter("it is counted in Pods", |spec| spec.means() != Means::Field),
        scaled: bool, aborts: bool, scales in prop::collection::vec((1..30_usize, 1..=MOST), 1..6),
    ) {
        let mut world = properties::world(spec);
        if scaled {
            world.autoscale();
        }
        world.tip = "v2".into();
        // What an autoscaler adds lies above the partition.
        let leaks = scaled && world.spec.means() == Means::Partition;
        let (mut before, mut from) = ((0, 0), 0);
        for (ticks, replicas) in scales {
            for _ in 0..ticks {
                properties::tick(&mut world, None, Crash::No)?;
                // They were made by what was applied before.
                let now = (let_out(&world, from.max(lets_out_from(&world))), allowed(&world));
                from = lets_out_from(&world);
                let is_gated = world.spec.means() == Means::Partition && now.1 == 0;
                let made = world.pods.iter().filter(|pod| pod.image == "v2" && pod.is_just_made()).count() as i64;
                let is_promoted = world.state().stable.unwrap().revision == "v2";
                let most = before.0.max(before.1).max(now.1);
                prop_assert!(is_promoted || leaks && !is_gated || now.0.max(made) <= most, "{now:?} {before:?} {:?} {:?}", world.state(), world.pods);
                before = now;
            }
            world.scale(replicas);
            // Anybody, before the next look.
            world.apply(usize::MAX);
            before.1 = before.1.max(allowed(&world));
        }
        let runs = !world.is_over();
        if aborts && runs {
            let request = properties::asked(&world, Ask::Abort);
            properties::tick(&mut world, Some(request), Crash::No)?;
        }
        ends(&mut world)?;
        if aborts && runs {
            prop_assert_eq!(world.state().stable.unwrap().revision, "v1");
        }
    }
}
