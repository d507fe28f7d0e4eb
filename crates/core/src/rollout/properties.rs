//! What holds for every Rollout, whatever happens: events in any order, crashes
//! between any two writes, versions that are broken or fail their analysis.

#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::arbitrary::{few, spec, step};
use super::observe::{Ask, Asked};
use super::program::{back, next, program};
use super::simulation::{Crash, MOST, World};
use super::spec::{Means, Size, Spec, Step, Strategy as Way};
use super::state::{Holds, Phase, Setting};

const IMAGES: [&str; 4] = ["v1", "v2", "broken", "failing"];

#[derive(Clone, Debug)]
enum Event {
    Push(&'static str),
    Ask(Ask),
    Crash(Crash),
    /// Someone else's sync.
    Sync,
    Spec(Box<Way>),
    Wait(usize),
    Scale(i64),
}

fn event() -> impl Strategy<Value = Event> {
    let asks = [Ask::Promote, Ask::PromoteFull, Ask::Abort, Ask::Retry, Ask::Pause, Ask::Resume];
    prop_oneof![
        2 => prop::sample::select(&IMAGES[..]).prop_map(Event::Push),
        2 => prop::sample::select(asks.to_vec()).prop_map(Event::Ask),
        1 => Just(Event::Crash(Crash::BeforeState)),
        1 => Just(Event::Crash(Crash::AfterState)),
        2 => (0..4_usize).prop_map(|count| Event::Crash(Crash::AfterObjects(count))),
        1 => Just(Event::Sync),
        1 => prop::collection::vec(step(), 1..4).prop_map(|steps| Event::Spec(Box::new(Way::Canary(steps)))),
        4 => (1..12_usize).prop_map(Event::Wait),
        2 => (1..=MOST).prop_map(Event::Scale),
    ]
}

pub(super) fn world(spec: Spec) -> World {
    let mut world = World::new(spec, &IMAGES);
    world.broken = vec!["broken".into()];
    world.failing = vec!["failing".into()];
    world
}

pub(super) fn asked(world: &World, ask: Ask) -> Asked {
    Asked { id: world.now.to_string(), ask, by: "ann".into(), reason: String::new() }
}

/// What holds at every moment.
fn holds(world: &World) -> Result<(), TestCaseError> {
    let state = world.state();
    let told =
        || format!("{:?} at {} of {:?}\n{state:?}\n{:?}", state.phase, state.at, world.weights(), world.pods);
    let setting = &state.setting;
    prop_assert!(setting.weight <= 100 && setting.share <= 100 && setting.updated <= 100, "{}", told());
    let weights = world.weights();
    if weights.len() > 1 {
        prop_assert_eq!(weights.iter().map(|(_, weight)| weight).sum::<i64>(), 100, "{}", told());
    }
    prop_assert!(weights.iter().all(|(_, weight)| (0..=100).contains(weight)), "{}", told());
    // Two full workloads, and one Pod more of each.
    prop_assert!(world.pods.len() as i64 <= 2 * MOST + 4, "{}", told());
    // A StatefulSet's new Pods are those that go first, and one Pod alone has none
    // beside it.
    let shrunk = world.shrunk && world.spec.means() == Means::Partition;
    if !shrunk && !matches!(world.spec.strategy, Way::Recreate { .. }) {
        for (service, weight) in weights {
            prop_assert!(weight == 0 || !world.reached(&service).is_empty(), "{service}: {}", told());
        }
    }
    if matches!(world.spec.strategy, Way::Recreate { .. }) {
        let alone = world.pods.windows(2).all(|two| two[0].image == two[1].image);
        prop_assert!(alone, "{}", told());
    }
    let stable = state.stable.as_ref().unwrap();
    // What the old version refers to is there as long as it runs.
    let runs = world.pods.iter().any(|pod| pod.image == stable.revision);
    prop_assert!(!runs || world.has_config_of(&stable.revision), "{}", told());
    // No requests but those of its weight reach the new version.
    let apart = world.spec.means() == Means::Routes && setting.target == Holds::Stable && setting.weight == 0;
    if apart && matches!(state.phase, Phase::Gated | Phase::Progressing | Phase::Paused) {
        let leaked = world.reached("web").iter().any(|pod| pod.image != stable.revision);
        prop_assert!(!leaked, "{}", told());
    }
    Ok(())
}

/// Pods of a version that the state does not let out are never made.
fn gated(world: &World, before: usize) -> Result<(), TestCaseError> {
    let state = world.state();
    for pod in world.pods.iter().skip(before) {
        let stable = state.stable.as_ref().is_some_and(|version| version.revision == pod.image);
        let new = state.new.as_ref().is_some_and(|version| version.revision == pod.image);
        prop_assert!(stable || new, "{pod:?} {state:?}");
    }
    Ok(())
}

pub(super) fn tick(world: &mut World, request: Option<Asked>, crash: Crash) -> Result<(), TestCaseError> {
    let before = world.state().setting;
    world.tick(request, crash);
    // The webhook lets no other be written.
    let after = world.state().setting;
    prop_assert!(after == before || next(&world.spec, &before).contains(&after), "{before:?} {after:?}");
    gated(world, 0)?;
    holds(world)
}

fn happen(world: &mut World, event: &Event) -> Result<(), TestCaseError> {
    match event {
        Event::Push(image) => world.tip = (*image).to_owned(),
        Event::Ask(ask) => {
            let asked = asked(world, *ask);
            tick(world, Some(asked), Crash::No)?;
        }
        Event::Crash(crash) => tick(world, None, *crash)?,
        Event::Sync => world.apply(usize::MAX),
        Event::Spec(way) if !matches!(world.spec.strategy, Way::Recreate { .. } | Way::BlueGreen { .. }) => {
            world.spec.strategy = (**way).clone();
        }
        Event::Spec(_) => {}
        // Of such a kind it would be another version.
        Event::Scale(replicas) if world.spec.means() != Means::Field => world.scale(*replicas),
        Event::Scale(_) => {}
        Event::Wait(ticks) => {
            for _ in 0..*ticks {
                tick(world, None, Crash::No)?;
            }
        }
    }
    Ok(())
}

/// Left alone, it comes to an end; and then one version alone runs.
pub(super) fn ends(world: &mut World) -> Result<(), TestCaseError> {
    let mut rest = 0;
    for _ in 0..2_000 {
        tick(world, None, Crash::No)?;
        rest = if world.is_over() { rest + 1 } else { 0 };
        if rest > 5 * MOST {
            break;
        }
    }
    let state = world.state();
    prop_assert!(world.is_over(), "{state:?}");
    prop_assert_eq!(&state.setting, &Setting::REST);
    let stable = state.stable.unwrap().revision;
    prop_assert!(world.pods.iter().all(|pod| pod.image == stable), "{} {:?}", stable, world.pods);
    prop_assert_eq!(world.pods.len() as i64, world.wanted());
    prop_assert_eq!(world.reached("web").len() as i64, world.wanted());
    match state.phase {
        Phase::Idle => prop_assert_eq!(&stable, &world.tip),
        _ => prop_assert_eq!(state.refused, Some(world.version(&world.tip).hash)),
    }
    prop_assert!(stable != "broken");
    Ok(())
}

/// Whether every version is measured on its way.
fn measures(spec: &Spec) -> bool {
    let strategy = match &spec.strategy {
        Way::Canary(steps) => steps.iter().any(|step| matches!(step, Step::Analysis(_))),
        Way::Rolling { batches, analysis } => {
            !analysis.is_empty() && batches.iter().any(|batch| *batch < 100)
        }
        Way::Recreate { before, after } | Way::BlueGreen { before, after, .. } => {
            !before.is_empty() || !after.is_empty()
        }
    };
    strategy || !spec.analysis.is_empty()
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn from_every_state_it_ends_with_one_version_serving(
        spec in spec(), scaled: bool, events in prop::collection::vec(event(), 0..14),
    ) {
        let mut world = world(spec);
        if scaled && world.spec.means() != Means::Field {
            world.autoscale();
        }
        for event in &events {
            happen(&mut world, event)?;
        }
        ends(&mut world)?;
    }

    #[test]
    fn a_crash_between_any_two_writes_changes_nothing_in_the_end(
        spec in spec(), image in prop::sample::select(&IMAGES[1..]),
        crashes in prop::collection::vec(prop_oneof![
            Just(Crash::No), Just(Crash::BeforeState), Just(Crash::AfterState),
            (0..4_usize).prop_map(Crash::AfterObjects)], 60),
    ) {
        // Crashes take time, and are no reason to be late.
        let spec = Spec { progress_deadline: 800, total_deadline: 9_000, ..spec };
        let (mut calm, mut crashing) = (world(spec.clone()), world(spec));
        (calm.tip, crashing.tip) = (image.to_owned(), image.to_owned());
        for crash in crashes {
            tick(&mut crashing, None, crash)?;
        }
        ends(&mut calm)?;
        ends(&mut crashing)?;
        let (calm, crashing) = (calm.state(), crashing.state());
        prop_assert_eq!((calm.phase, calm.stable, calm.refused), (crashing.phase, crashing.stable, crashing.refused));
    }

    #[test]
    fn what_fails_its_analysis_is_not_promoted(spec in spec().prop_filter("it is measured", measures)) {
        let mut world = world(spec);
        world.tip = "failing".into();
        ends(&mut world)?;
        let state = world.state();
        prop_assert_eq!((state.phase, state.stable.unwrap().revision), (Phase::Aborted, "v1".into()));
        prop_assert!(world.reverts > 0);
    }

    #[test]
    fn an_abort_leaves_the_old_version_serving_and_asks_for_a_revert(spec in spec(), ticks in 1..80_usize) {
        let mut world = world(spec);
        world.tip = "v2".into();
        for _ in 0..ticks {
            tick(&mut world, None, Crash::No)?;
        }
        prop_assume!(!world.is_over());
        let request = asked(&world, Ask::Abort);
        tick(&mut world, Some(request), Crash::No)?;
        if world.spec.means() != Means::Alone && world.state().setting.target == Holds::Stable && world.spec.means() == Means::Routes && !world.spec.traffic.routes.is_empty() {
            let serving = world.state().setting.weight;
            prop_assert!(serving == 0 || serving == 100, "at once, or once the old version is back: {serving}");
        }
        ends(&mut world)?;
        let state = world.state();
        prop_assert_eq!(state.phase, Phase::Aborted);
        prop_assert_eq!(state.stable.unwrap().revision, "v1");
        prop_assert!(world.reverts > 0);
        // The bad revision is not tried again until Git changes, or someone asks.
        ends(&mut world)?;
        prop_assert_eq!(world.state().phase, Phase::Aborted);
        world.tip = "v1".into();
        ends(&mut world)?;
        prop_assert_eq!(world.state().phase, Phase::Idle);
    }

    #[test]
    fn going_back_to_the_running_version_begins_at_once(spec in spec(), ticks in 1..80_usize) {
        let mut world = world(spec);
        world.tip = "v2".into();
        for _ in 0..ticks {
            tick(&mut world, None, Crash::No)?;
        }
        prop_assume!(!world.is_over());
        let before = world.state().setting;
        world.tip = "v1".into();
        tick(&mut world, None, Crash::No)?;
        let state = world.state();
        let next = back(world.spec.means(), &before).unwrap_or(before);
        prop_assert!(state.phase == Phase::Aborting || state.phase == Phase::Idle, "{state:?}");
        prop_assert_eq!(state.setting, next);
        ends(&mut world)?;
        prop_assert_eq!(world.reverts, 0);
    }

    #[test]
    fn a_newer_version_begins_from_rest(spec in spec(), ticks in 1..60_usize) {
        let mut world = world(spec);
        world.tip = "failing".into();
        world.failing.clear();
        for _ in 0..ticks {
            tick(&mut world, None, Crash::No)?;
        }
        prop_assume!(!world.is_over());
        world.tip = "v2".into();
        let mut rested = false;
        for _ in 0..600 {
            tick(&mut world, None, Crash::No)?;
            let state = world.state();
            let newer = state.new.is_some_and(|new| new.revision == "v2");
            rested |= newer && state.phase == Phase::Gated && state.setting == Setting::REST && state.at == 0;
            prop_assert!(rested || !newer);
            if rested {
                break;
            }
        }
        prop_assert!(rested);
    }

    #[test]
    fn every_setting_has_a_way_back(
        share in 0..=100_u8, second in prop::option::of((0..=100_u8).prop_map(Size::Percent)), updated in 0..=100_u8,
        weight in 0..=100_u8, mirror in 0..=100_u8, new: bool,
        means in prop::sample::select(vec![Means::Replicas, Means::Routes, Means::Partition, Means::Field, Means::Alone]),
    ) {
        let target = if new { Holds::New } else { Holds::Stable };
        let mut setting = Setting { target, share, second, updated, weight, header: None, mirror };
        for _ in 0..5 {
            let Some(next) = back(means, &setting) else { break };
            prop_assert_ne!(&next, &setting);
            setting = next;
        }
        prop_assert_eq!(setting, Setting::REST);
    }

    #[test]
    fn programs_keep_their_bounds_and_name_their_steps(spec in spec()) {
        let program = program(&spec);
        prop_assert!(program.promote <= program.moves.len());
        prop_assert!(program.moves.is_sorted_by_key(|planned| planned.step));
    }
}
