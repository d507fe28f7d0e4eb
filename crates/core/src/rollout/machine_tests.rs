use super::observe::{Ask, Asked};
use super::simulation::{Crash, World, spec};
use super::spec::{Step, Strategy};
use super::state::Phase;

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
