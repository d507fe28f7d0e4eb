//! The driver. In: a survey with its Rollouts, and what else there is to see.
//! Out: the next state of each, written to its status; the objects that follow
//! from it are the next sync's. Of two drivers the slower one's write is
//! refused, by the version of the Rollout that it has seen; the others of the
//! look go on.

use std::time::Duration;

use futures::StreamExt;
use gitops_api::rollout::{Measurement, RolloutStatus};
use gitops_cluster::{Cluster, DeleteOptions};
use gitops_core::desired::DesiredSet;
use gitops_core::object::ObjectKey;
use gitops_core::rollout::analysis::{Scope, measuring};
use gitops_core::rollout::desired::{Declares, Objects, concerned, version};
use gitops_core::rollout::lint::obstacle;
use gitops_core::rollout::machine::{Wish, again, step, waits_for_a_person};
use gitops_core::rollout::observe::{Ask, Asked};
use gitops_core::rollout::spec::Spec;
use gitops_core::rollout::state::{Phase, State};
use jiff::Timestamp;
use serde_json::Value;

use super::gate::{Ground, Rolling};
use super::observe::{self, Beside, Sight, family};
use super::room;
use super::shared::Shared;
use super::status::{Written, status_of, write};
use crate::analysis::{Analyser, Measurement as Taken, Metrics, Subject, templates};
use crate::error::EngineError;
use crate::survey::Survey;

/// Between two looks at Pods that are on their way.
const LOOK: Duration = Duration::from_secs(5);
/// After a Rollout that was written meanwhile.
const MISSED: Duration = Duration::from_millis(500);
/// Rollouts that are looked at side by side.
const PARALLEL: usize = 16;

/// What drives all Rollouts of an Application.
#[derive(Clone, Copy, Debug)]
pub struct Driver<'a> {
    pub ground: Ground<'a>,
    /// Who deletes Pods; states are written by whoever drives.
    pub writer: &'a Cluster,
    pub analyser: &'a Analyser,
    /// A new version may be let in: else only what is under way goes on.
    pub may_begin: bool,
    pub is_judged: bool,
}

/// What became of a Rollout.
#[derive(Clone, Debug)]
pub struct Moved {
    pub key: ObjectKey,
    pub spec: Spec,
    pub before: State,
    pub state: State,
    /// To be done outside of the cluster.
    pub wishes: Vec<Wish>,
    /// When it is to be looked at again: by the clock, for what comes after the
    /// decision takes its time.
    pub again: Option<Timestamp>,
    /// It stands until a person says something.
    pub waits: bool,
    /// Why a commit that takes the version back would not count.
    pub doubt: Option<String>,
    /// It was written meanwhile, by a person's request or another driver: it is
    /// to be looked at again.
    pub missed: bool,
    /// Its status was refused, as by a webhook that does not know the commit yet.
    pub refused: bool,
    /// Why it stands still, if it does.
    pub error: Option<String>,
}

impl Moved {
    /// Whether the objects are others now.
    pub fn has_moved(&self) -> bool {
        self.before != self.state
    }
}

impl Driver<'_> {
    /// Looks at every Rollout, decides, and writes what has changed.
    ///
    /// # Errors
    /// When the cluster cannot be asked; what is wrong with one Rollout is told
    /// of it.
    pub async fn drive(
        &self,
        survey: &Survey,
        beside: &(dyn Fn(&ObjectKey) -> Option<Result<String, String>> + Sync),
        now: Timestamp,
    ) -> Result<Vec<Moved>, EngineError> {
        let shared = Shared::of(&self.ground, survey)?;
        // Made before they are awaited: a closure in between would not be `Send`.
        let mut looks = Vec::new();
        for rolling in survey.rollouts.iter().filter(|rolling| !rolling.is_quiet()) {
            looks.push(self.one(survey, rolling, beside(&rolling.key), &shared, now));
        }
        let mut looks = futures::stream::iter(looks).buffered(PARALLEL);
        let mut all = Vec::new();
        while let Some(moved) = looks.next().await {
            all.extend(moved?);
        }
        Ok(all)
    }

    async fn one(
        &self,
        survey: &Survey,
        rolling: &Rolling,
        pushed: Option<Result<String, String>>,
        shared: &Shared,
        time: Timestamp,
    ) -> Result<Option<Moved>, EngineError> {
        // It is made by the sync that comes next.
        let Some(live) = &rolling.live else { return Ok(None) };
        let now = time.as_second();
        let namespace = &rolling.key.namespace;
        let cluster = self.ground.cluster;
        let found = templates(cluster, &rolling.resource, namespace, &survey.desired.objects).await;
        let metrics = Metrics::new(&rolling.resource, namespace, &rolling.key.name, &found);
        let mut before = rolling.state.clone();
        let spec = match rolling.resource.to_core(namespace, &|template| metrics.rules(template)) {
            Ok(spec) => spec,
            // The way back takes no analysis.
            Err(_) if self.goes_back(rolling) => rolling.spec.clone(),
            Err(error) => {
                return self.stand_still(rolling, live, ("Analysis", &error.to_string()), time).await;
            }
        };
        let begins = rolling.is_waiting() || rolling.state.phase == Phase::Gated && !self.goes_back(rolling);
        if let Some(why) = begins.then(|| obstacle(&spec, &declared(survey, rolling))).flatten() {
            return self.stand_still(rolling, live, ("Strategy", &why), time).await;
        }
        let ground = &self.ground;
        let sight = Sight { ground, survey, rolling, spec: &spec, state: &before, shared, now: time };
        let beside = Beside { is_judged: self.is_judged, pushed };
        let Some(mut observed) = sight.observe(beside).await? else { return Ok(None) };
        if rolling.is_waiting() {
            if !self.may_begin {
                return Ok(None);
            }
            self.find_last(rolling, &mut before, &survey.desired.revision, shared).await?;
        }
        let mut values = Vec::new();
        if before.new.is_some() {
            let subject = subject(rolling, &before, live, &spec, survey);
            let taken = self.analyser.measure(&spec, &before, &metrics, &subject, now).await;
            values.extend(taken.iter().map(shown));
            observed.measured = taken.into_iter().map(|taken| taken.measured).collect();
        }
        let mut decision = step(&spec, &before, &observed, now);
        let more = room::more(&spec, observed.whole, &before, &decision.next);
        if more > 0 {
            let room::Found { shortage, unseen } = shared
                .room
                .look(&self.ground, rolling, (&decision.next, survey.live.get(&spec.target)), more)
                .await?;
            (observed.shortage, observed.unseen) = (shortage, unseen);
            if observed.shortage.is_some() || observed.unseen.is_some() {
                decision = step(&spec, &before, &observed, now);
            }
        }
        let mut state = decision.next;
        if is_same(&rolling.state, &state) {
            state = rolling.state.clone();
        }
        let (last, mut doubt) = (status_of(live), None);
        let known = last.state.is_some();
        if state != rolling.state || !known && state.stable.is_some() || last.is_stalled() {
            doubt = shared.doubt(&self.ground, &spec).await.map(str::to_owned);
            let status = RolloutStatus::of(&state, &spec, generation(live))
                .measured(&last.measurements, &values, &state)
                .remembering(&last.history, &rolling.state, &state, now)
                .revertible(&last.conditions, doubt.as_deref(), now);
            match write(&self.ground, live, &status).await? {
                Written::Yes => {}
                Written::Missed => return Ok(Some(missed(rolling, time))),
                Written::Refused(why) => {
                    return Ok(Some(Moved { refused: true, ..stands_still(rolling, why, time) }));
                }
            }
        }
        self.clear(&spec, &state, &decision.wishes).await?;
        let wishes = decision.wishes.into_iter().filter(|wish| !matches!(wish, Wish::Clear(_))).collect();
        let again = when(&spec, &state, time);
        let (key, before) = (rolling.key.clone(), rolling.state.clone());
        let waits = waits_for_a_person(&spec, &state);
        Ok(Some(Moved {
            key,
            spec,
            before,
            state,
            wishes,
            again,
            waits,
            doubt,
            missed: false,
            refused: false,
            error: None,
        }))
    }

    /// Whether it is on its way back, or is to be, whatever else is wrong.
    fn goes_back(&self, rolling: &Rolling) -> bool {
        let asked = observe::asked(rolling.live.as_ref(), self.is_judged);
        let is_new = |asked: &Asked| rolling.state.record.as_ref().is_none_or(|record| record.id != asked.id);
        let aborts = asked.is_some_and(|asked| asked.ask == Ask::Abort && is_new(&asked));
        let returned = !rolling.is_behind();
        rolling.state.phase == Phase::Aborting || rolling.state.is_under_way() && (aborts || returned)
    }

    /// Says in its status why a Rollout cannot go on.
    async fn stand_still(
        &self,
        rolling: &Rolling,
        live: &Value,
        (reason, why): (&str, &str),
        time: Timestamp,
    ) -> Result<Option<Moved>, EngineError> {
        let words = format!("{why}; {}", way_out(&rolling.state));
        let last = status_of(live);
        let status = last.clone().stalled(reason, &words, time.as_second());
        if status != last {
            match write(&self.ground, live, &status).await? {
                Written::Yes | Written::Refused(_) => {}
                Written::Missed => return Ok(Some(missed(rolling, time))),
            }
        }
        Ok(Some(stands_still(rolling, words, time)))
    }

    /// The promoted version is that of the last commit that has it: what lies
    /// before the one that brought another.
    async fn find_last(
        &self,
        rolling: &Rolling,
        state: &mut State,
        tip: &str,
        shared: &Shared,
    ) -> Result<(), EngineError> {
        let Some(stable) = state.stable.as_mut().filter(|_| self.ground.loaded.sources.len() == 1) else {
            return Ok(());
        };
        for revision in shared.commits.passed(&self.ground, tip).await?.iter() {
            // Time moves forward: the state may name a commit that touched nothing of
            // the source and lies after this one.
            if self.ground.is_before(revision, &stable.revision).await? {
                return Ok(());
            }
            let Some(set) = shared.commits.at(&self.ground, revision, tip).await else { return Ok(()) };
            if hash(&set, &rolling.spec).is_some_and(|hash| hash == stable.hash) {
                stable.revision.clone_from(revision);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Pods of a version that is on its way out and that are not ready: a
    /// StatefulSet waits for a broken Pod before it rolls back.
    async fn clear(&self, spec: &Spec, state: &State, wishes: &[Wish]) -> Result<(), EngineError> {
        let is_wished = wishes.iter().any(|wish| matches!(wish, Wish::Clear(_)));
        let (Some(new), Some(kind)) = (&state.new_pods, self.ground.discovery.kind(&family("Pod"))) else {
            return Ok(());
        };
        if !is_wished {
            return Ok(());
        }
        let wanted = [(family("Pod"), [spec.target.namespace.clone()].into())].into();
        for (key, pod) in self.ground.cluster.list(self.ground.discovery, &wanted).await? {
            let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let owner = pod.pointer("/metadata/ownerReferences/0/name").and_then(Value::as_str);
            if text("/metadata/labels/controller-revision-hash") != new
                || owner != Some(&spec.target.name)
                || super::pods::is_ready(&pod)
            {
                continue;
            }
            let options =
                DeleteOptions { uid: Some(text("/metadata/uid").to_owned()), ..DeleteOptions::default() };
            self.writer.delete(kind, &key, &options).await?;
        }
        Ok(())
    }
}

/// Whether a state says the same but for the commit of the promoted version,
/// which moves with every commit and is found again when it matters.
fn is_same(before: &State, after: &State) -> bool {
    let of = |state: &State| {
        let mut state = state.clone();
        if state.phase == Phase::Idle
            && let Some(stable) = &mut state.stable
        {
            stable.revision = String::new();
        }
        state
    };
    of(before) == of(after)
}

/// A Rollout that is where it was.
fn stands(rolling: &Rolling) -> Moved {
    Moved {
        key: rolling.key.clone(),
        spec: rolling.spec.clone(),
        before: rolling.state.clone(),
        state: rolling.state.clone(),
        wishes: Vec::new(),
        again: None,
        waits: false,
        doubt: None,
        missed: false,
        refused: false,
        error: None,
    }
}

fn missed(rolling: &Rolling, time: Timestamp) -> Moved {
    Moved { missed: true, again: Some(after(time, MISSED)), ..stands(rolling) }
}

/// What the newest commit says of the objects that a Rollout changes.
fn declared(survey: &Survey, rolling: &Rolling) -> Objects {
    let mut objects = concerned(&rolling.spec, &survey.desired);
    let newest = rolling.tip.as_ref().and_then(|tip| rolling.versions.get(&tip.hash));
    objects.extend(newest.map(|target| (target.key.clone(), target.clone())));
    objects
}

/// What gets a Rollout on that cannot go on as it is.
fn way_out(state: &State) -> &'static str {
    if state.is_under_way() {
        "mend it in Git (kubectl gitops rollout lint), or take the version back (kubectl gitops rollout abort)"
    } else {
        "no new version gets in until that is mended in Git (kubectl gitops rollout lint)"
    }
}

fn stands_still(rolling: &Rolling, error: String, time: Timestamp) -> Moved {
    Moved { again: Some(after(time, LOOK)), waits: true, error: Some(error), ..stands(rolling) }
}

/// A measurement as the status tells it.
fn shown(taken: &Taken) -> Measurement {
    Measurement {
        metric: taken.measured.rule.clone(),
        value: taken.value.clone(),
        time: Timestamp::from_second(taken.measured.at).unwrap_or_default().to_string(),
        outcome: format!("{:?}", taken.measured.outcome),
    }
}

fn generation(live: &Value) -> Option<i64> {
    live.pointer("/metadata/generation")?.as_i64()
}

fn hash(set: &DesiredSet, spec: &Spec) -> Option<String> {
    version(spec, &set.declared(&spec.target)?.value)
}

/// Whose Pods are measured: those of the second workload, or of the target's new
/// version.
fn subject(rolling: &Rolling, state: &State, live: &Value, spec: &Spec, survey: &Survey) -> Subject {
    let second = spec.has_second() && state.setting.second.is_some();
    let key = if second { spec.second() } else { spec.target.clone() };
    let selector = survey
        .desired
        .objects
        .get(&key)
        .and_then(|object| object.value.pointer("/spec/selector/matchLabels"));
    let labels = selector.and_then(Value::as_object).into_iter().flatten();
    let mut pods: Vec<String> =
        labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    if let Some(new) = state.new_pods.as_ref().filter(|_| !second) {
        pods.push(format!("{}={new}", spec.version_label()));
    }
    Subject {
        namespace: rolling.key.namespace.clone(),
        rollout: rolling.key.name.clone(),
        uid: live.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default().to_owned(),
        pods: pods.join(","),
    }
}

fn after(time: Timestamp, pause: Duration) -> Timestamp {
    time.saturating_add(pause).unwrap_or(Timestamp::MAX)
}

/// When to look again: at the next deadline, pause or measurement; and at Pods
/// on their way every so often, should a watch miss something.
fn when(spec: &Spec, state: &State, time: Timestamp) -> Option<Timestamp> {
    let at = |second: i64| Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
    let timer = again(spec, state).map(at);
    let measured = next_measurement(spec, state, time.as_second()).map(at);
    let looked = state.is_under_way().then(|| after(time, LOOK));
    let looked = looked.filter(|_| state.phase != Phase::Paused);
    [timer, measured, looked].into_iter().flatten().min()
}

fn next_measurement(spec: &Spec, state: &State, now: i64) -> Option<i64> {
    let tally = |scope: &Scope, name: &str| match scope {
        Scope::Background => state.background.get(name),
        Scope::Move(_) => state.tallies.get(name),
    };
    let soon = now.saturating_add(1);
    let at = measuring(spec, state).into_iter().map(|(scope, rule)| {
        tally(&scope, &rule.name).map_or(soon, |tally| tally.last.saturating_add(rule.interval).max(soon))
    });
    at.min()
}
