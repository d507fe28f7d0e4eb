use serde_json::json;

use super::observe::{Ask, Asked};
use super::simulation::{Crash, World, spec};
use super::spec::{Rule, Step, Strategy, Traffic};
use super::state::{Held, Phase};

/// A canary whose new version never becomes ready.
fn broken() -> World {
    let spec = spec(Strategy::Canary(vec![Step::SetWeight(50)]));
    let mut world = World::new(spec, &["v1", "v2"]);
    world.broken = vec!["v2".into()];
    world.tip = "v2".into();
    while world.state().setting.second.is_none() {
        world.tick(None, Crash::No);
    }
    world
}

fn asked(ask: Ask) -> Option<Asked> {
    Some(Asked { id: format!("{ask:?}"), ask, by: "ada".into(), reason: String::new() })
}

#[test]
fn a_hold_is_no_lack_of_progress() {
    let mut world = broken();
    world.tick(asked(Ask::Pause), Crash::No);
    assert_eq!(world.state().phase, Phase::Paused);
    world.now += 1_000;
    world.tick(asked(Ask::Resume), Crash::No);
    world.tick(None, Crash::No);
    assert_eq!(world.state().phase, Phase::Progressing, "{:?}", world.state());
    world.now += 1_000;
    world.tick(None, Crash::No);
    assert_eq!(world.state().phase, Phase::Aborting);
}

/// Pods that take the place of others one by one, more slowly than the deadline
/// for all of them.
#[test]
fn a_pod_in_the_place_of_another_is_progress() {
    let mut world = broken();
    world.broken.clear();
    world.spec.target.kind = "StatefulSet".into();
    let mut world = World::new(world.spec, &["v1", "v2"]);
    world.spec.progress_deadline = 25;
    world.tip = "v2".into();
    for _ in 0..200 {
        world.tick(None, Crash::No);
        assert!(!matches!(world.state().phase, Phase::Aborting | Phase::Aborted), "{:?}", world.state());
    }
    assert_eq!((world.state().phase, world.state().stable), (Phase::Idle, Some(world.version("v2"))));
}

fn phase(world: &mut World, phase: Phase) {
    world.until(&format!("{phase:?}"), |world| world.state().phase == phase);
}

#[test]
fn an_image_that_is_being_pulled_is_progress() {
    let mut world = broken();
    // Its Pods are there, and that is all that they come to.
    (0..5).for_each(|_| world.tick(None, Crash::No));
    (world.pulling, world.trouble) = (true, Some("Pod web-1: it pulls web:2".into()));
    world.now += 1_000;
    world.tick(None, Crash::No);
    assert_eq!(
        (world.state().phase, &*world.state().message),
        (Phase::Progressing, "Pod web-1: it pulls web:2")
    );
    (world.pulling, world.trouble) = (false, Some("Pod web-1: it crashes".into()));
    world.tick(None, Crash::No);
    assert_eq!(world.state().phase, Phase::Aborting);
    assert_eq!(world.state().message, "no progress for 200 seconds: Pod web-1: it crashes");
}

/// A version that waits for good until someone promotes it, measured all the time.
fn measured(steps: Vec<Step>, background: bool) -> World {
    let rule = Rule {
        name: "errors/rate".into(),
        interval: 10,
        count: 2,
        failure_limit: 0,
        inconclusive_limit: 1,
        min_samples: 0,
    };
    let mut all = vec![Step::SetWeight(50)];
    match background {
        true => all.extend(steps),
        false => all.extend([Step::Analysis(vec![rule.clone()])].into_iter().chain(steps)),
    }
    let mut spec = spec(Strategy::Canary(all));
    spec.analysis.extend(background.then_some(rule));
    let mut world = World::new(spec, &["v1", "v2"]);
    world.tip = "v2".into();
    world
}

#[test]
fn what_turns_bad_while_it_is_held_goes_back() {
    let mut world = measured(vec![Step::Pause(None)], true);
    phase(&mut world, Phase::Paused);
    world.tick(asked(Ask::Pause), Crash::No);
    (0..5).for_each(|_| world.tick(None, Crash::No));
    assert_eq!((world.state().phase, world.state().held), (Phase::Paused, Some(Held::Asked)));
    world.failing.push("v2".into());
    phase(&mut world, Phase::Aborted);
    assert!(world.pods.iter().all(|pod| pod.image == "v1"));
}

#[test]
fn what_is_not_known_waits_for_a_person() {
    for (ask, ended, image) in [(Ask::Promote, Phase::Idle, "v2"), (Ask::Abort, Phase::Aborted, "v1")] {
        for background in [false, true] {
            let mut world = measured(vec![Step::Pause(Some(50))], background);
            world.unsure.push("v2".into());
            world.until("it is held", |world| world.state().held.is_some());
            assert_eq!((world.state().phase, world.state().held), (Phase::Paused, Some(Held::Inconclusive)));
            (0..20).for_each(|_| world.tick(None, Crash::No));
            assert_eq!(world.state().held, Some(Held::Inconclusive));
            assert!(
                world.state().message.contains("inconclusive: errors/rate: 2 of 2"),
                "{:?}",
                world.state()
            );
            world.unsure.clear();
            world.tick(asked(ask), Crash::No);
            phase(&mut world, ended);
            assert_eq!(world.state().stable, Some(world.version(image)), "{ask:?} {background}");
        }
    }
}

#[test]
fn the_second_workload_may_be_larger_than_its_weight() {
    let steps = vec![Step::SetWeight(20), Step::SetScale(60), Step::Pause(None)];
    let mut spec = spec(Strategy::Canary(steps));
    spec.traffic = Traffic {
        stable_service: Some("web".into()),
        canary_service: Some("web-canary".into()),
        ..Traffic::default()
    };
    let mut world = World::new(spec, &["v1", "v2"]);
    world.tip = "v2".into();
    phase(&mut world, Phase::Paused);
    let pods = world.pods.iter().filter(|pod| pod.image == "v2").count();
    assert_eq!((pods, world.state().setting.weight), (3, 20));
}

/// The target grows again while the second workload is still there.
#[test]
fn room_is_looked_for_whenever_there_are_to_be_more_pods() {
    let mut world = broken();
    world.broken.clear();
    world.until("half of it runs", |world| world.state().setting.share == 50);
    world.shortage = Some("ResourceQuota team leaves 1 of pods".into());
    (0..5).for_each(|_| world.tick(None, Crash::No));
    let state = world.state();
    assert_eq!((state.phase, state.setting.share), (Phase::Promoting, 50));
    assert_eq!(state.message, "it waits for room: ResourceQuota team leaves 1 of pods");
    world.shortage = None;
    phase(&mut world, Phase::Idle);
}

/// Where nothing runs meanwhile, before the old version stops.
#[test]
fn what_finds_no_room_does_not_stop_the_old_version() {
    let spec = spec(Strategy::Recreate { before: Vec::new(), after: Vec::new() });
    let mut world = World::new(spec, &["v1", "v2"]);
    (world.tip, world.shortage) = ("v2".into(), Some("the nodes have room for 1 of 5 more Pods".into()));
    for _ in 0..60 {
        world.tick(None, Crash::No);
        assert_eq!(world.reached("web").len(), 5, "{:?}", world.state());
    }
    assert_eq!(world.state().phase, Phase::Aborted);
    assert!(
        world.state().message.contains("there is no room for the new version: the nodes have room for 1")
    );
}

#[test]
fn where_none_may_be_left_nothing_starts_before_the_last_has_ended() {
    let spec = spec(Strategy::Recreate { before: Vec::new(), after: Vec::new() });
    let mut world = World::new(spec, &["v1", "v2", "broken"]);
    let only = |world: &World, image: &str| world.pods.iter().all(|pod| pod.image == image);
    // As long as they have time to end, they are waited for.
    (world.tip, world.ending, world.pulling) = ("v2".into(), 1, true);
    for _ in 0..60 {
        world.tick(None, Crash::No);
        assert!(only(&world, "v1"), "{:?}", world.pods);
    }
    assert_eq!((world.state().phase, world.pods.len()), (Phase::Progressing, 0));
    world.ending = 0;
    world.until("promoted", |world| world.is_over() && world.reached("web").len() == 5);
    assert!(only(&world, "v2"));
    // What hangs keeps the new version out, and on the way back the old one.
    (world.broken, world.tip, world.pulling) = (vec!["broken".into()], "broken".into(), false);
    world.until("the broken one", |world| !world.pods.is_empty() && only(world, "broken"));
    world.ending = 1;
    phase(&mut world, Phase::Aborting);
    for _ in 0..60 {
        world.tick(None, Crash::No);
        assert!(world.pods.is_empty(), "{:?}", world.pods);
    }
    world.ending = 0;
    phase(&mut world, Phase::Aborted);
    assert!(only(&world, "v2") && world.reached("web").len() == 5);
}

/// Whatever Git says by then of how its Pods are updated.
#[test]
fn a_stateful_set_goes_back_to_the_old_version() {
    for (kind, partition) in [("OnDelete", None), ("RollingUpdate", Some(4))] {
        let mut spec = spec(Strategy::Canary(vec![Step::SetWeight(60), Step::Pause(None)]));
        spec.target.kind = "StatefulSet".into();
        let mut world = World::new(spec, &["v1", "v2"]);
        world.tip = "v2".into();
        phase(&mut world, Phase::Paused);
        assert_eq!(world.pods.iter().filter(|pod| pod.image == "v2").count(), 3);
        world.declare(|target| {
            target["spec"]["updateStrategy"] = json!({"type": kind});
            if let Some(partition) = partition {
                target["spec"]["updateStrategy"]["rollingUpdate"] = json!({"partition": partition});
            }
        });
        world.tick(asked(Ask::Abort), Crash::No);
        phase(&mut world, Phase::Aborted);
        assert!(world.pods.iter().all(|pod| pod.image == "v1"), "{kind}: {:?}", world.pods);
    }
}

#[test]
fn time_before_the_first_step_is_none_of_the_deadline() {
    let mut world = broken();
    world.broken.clear();
    let mut world = World::new(world.spec, &["v1", "v2"]);
    world.spec.total_deadline = 1_000;
    world.tip = "v2".into();
    phase(&mut world, Phase::Gated);
    // Nobody has looked.
    world.now += 5_000;
    phase(&mut world, Phase::Idle);
    assert_eq!(world.state().stable, Some(world.version("v2")));
}
