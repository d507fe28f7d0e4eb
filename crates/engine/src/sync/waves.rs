//! Phases and waves, one after another. In: a plan. Out: a report. A wave
//! waits until what came before it is healthy, a phase until the hooks before
//! it have ended well; after a failure only the hooks for it are run.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use gitops_cluster::{Cluster, ClusterError, Discovery};
use gitops_core::health::Health;
use gitops_core::object::Gvk;
use gitops_core::plan::{Action, HookStep, Phase, Stage, Step, order_of};

use super::waiting::{Waited, until_healthy};
use super::worker::Worker;
use super::{DryRun, Outcome, Report, Result, Run, hooks, is_meant, is_work};
use crate::error::EngineError;

/// How long a definition may take until its kind is served.
const SERVED: Duration = Duration::from_secs(30);

/// Something to be done.
#[derive(Clone, Copy)]
enum Task<'a> {
    Step(&'a Step),
    Hook(&'a HookStep),
}

/// What belongs to one wave of one phase.
pub(super) struct Batch<'a> {
    name: String,
    /// By the order of kinds.
    groups: BTreeMap<i64, Vec<Task<'a>>>,
    /// What came before has to be healthy.
    gated: bool,
}

impl<'a> Batch<'a> {
    fn tasks(&self) -> impl Iterator<Item = Task<'a>> {
        self.groups.values().flatten().copied()
    }
}

/// The batches of a sync up to PostSync, in order.
fn batches<'a>(run: &Run<'a>, with_hooks: bool) -> Vec<Batch<'a>> {
    let plan = &run.survey.plan;
    let mut all = hook_batches(run, Phase::PreSync, with_hooks);
    let mut by_place: BTreeMap<(Stage, i64), BTreeMap<i64, Vec<Task<'a>>>> = BTreeMap::new();
    for step in plan.steps.iter().filter(|step| is_meant(step, run.survey, run.options)) {
        let (wave, kind) = (i64::from(step.wave), i64::from(order_of(&step.key.kind)));
        let back = if step.stage == Stage::Apply { 1 } else { -1 };
        let groups = by_place.entry((step.stage, back * wave)).or_default();
        groups.entry(back * kind).or_default().push(Task::Step(step));
    }
    for hook in plan.hooks.iter().filter(|hook| with_hooks && hook.phase == Phase::Sync) {
        let groups = by_place.entry((Stage::Apply, i64::from(hook.wave))).or_default();
        groups.entry(i64::from(hook.order)).or_default().push(Task::Hook(hook));
    }
    all.extend(by_place.into_iter().map(|((stage, place), groups)| match stage {
        Stage::Apply => Batch { name: format!("wave {place}"), groups, gated: true },
        Stage::Prune => Batch { name: format!("prune of wave {}", -place), groups, gated: false },
        Stage::PruneLast => Batch { name: "the last prune".into(), groups, gated: true },
    }));
    all.extend(hook_batches(run, Phase::PostSync, with_hooks));
    all
}

/// The waves of a phase that has nothing but hooks.
pub(super) fn hook_batches<'a>(run: &Run<'a>, phase: Phase, with_hooks: bool) -> Vec<Batch<'a>> {
    let mut waves: BTreeMap<i32, BTreeMap<i64, Vec<Task<'a>>>> = BTreeMap::new();
    for hook in run.survey.plan.hooks.iter().filter(|hook| with_hooks && hook.phase == phase) {
        let groups = waves.entry(hook.wave).or_default();
        groups.entry(i64::from(hook.order)).or_default().push(Task::Hook(hook));
    }
    let batch = |(wave, groups)| Batch { name: format!("{phase:?} wave {wave}"), groups, gated: true };
    waves.into_iter().map(batch).collect()
}

/// Carries out everything.
pub(super) async fn carry_out(run: &Run<'_>, with_hooks: bool) -> std::result::Result<Report, EngineError> {
    let mut course = Course::new(run).await?;
    for batch in batches(run, with_hooks) {
        course.gate(&batch).await?;
        course.batch(&batch).await;
    }
    if course.failure.is_some()
        && course.broken.is_none()
        && run.options.dry_run == DryRun::None
        && run.stop.reason().is_none()
    {
        course.failure = None;
        for batch in hook_batches(run, Phase::SyncFail, with_hooks) {
            course.batch(&batch).await;
        }
    }
    let Course { results, timed_out, broken, .. } = course;
    Ok(Report { results, timed_out, broken, ..Report::default() })
}

/// A sync, or a deletion, under way.
pub(super) struct Course<'a> {
    pub run: &'a Run<'a>,
    worker_parts: Worker<'a>,
    pub discovery: Discovery,
    pub results: Vec<Result>,
    /// Results before this one are known to be healthy.
    settled: usize,
    /// Why nothing more is done.
    pub failure: Option<String>,
    /// The cluster can no longer be asked.
    pub broken: Option<ClusterError>,
    pub timed_out: bool,
}

impl<'a> Course<'a> {
    pub async fn new(run: &'a Run<'a>) -> std::result::Result<Self, EngineError> {
        Ok(Self {
            run,
            worker_parts: Worker::new(run).await?,
            discovery: run.survey.discovery.clone(),
            results: Vec::new(),
            settled: 0,
            failure: None,
            broken: None,
            timed_out: false,
        })
    }

    /// Waits until what came before is healthy, if this batch has to do
    /// something.
    async fn gate(&mut self, batch: &Batch<'a>) -> std::result::Result<(), EngineError> {
        let work = batch.tasks().any(|task| match task {
            Task::Step(step) => is_work(step, self.run.survey, self.run.options),
            Task::Hook(_) => true,
        });
        let idle = self.settled == self.results.len();
        if !work || idle || !batch.gated || self.failure.is_some() || self.run.options.dry_run != DryRun::None
        {
            return Ok(());
        }
        let mut before: Vec<&mut Result> = self.results[self.settled..].iter_mut().collect();
        // What Git suspends is as it should be.
        let enough = [Health::Healthy, Health::Suspended];
        match until_healthy(self.run, &self.discovery, &mut before, &enough).await? {
            Waited::Healthy => self.settled = self.results.len(),
            Waited::Stopped => {}
            Waited::Broken(error) => self.ends_at(error),
            Waited::TimedOut(waiting) => {
                self.timed_out = true;
                let (key, state) = &waiting[0];
                self.failure = Some(format!(
                    "{} waits for {key}, which is {:?}: {}",
                    batch.name, state.health, state.message
                ));
            }
        }
        Ok(())
    }

    /// Nothing more can be done; what was done stays told.
    fn ends_at(&mut self, error: ClusterError) {
        self.failure.get_or_insert_with(|| format!("the sync ended early: {error}"));
        self.broken.get_or_insert(error);
    }

    pub async fn batch(&mut self, batch: &Batch<'a>) {
        let mut running = Vec::new();
        for tasks in batch.groups.values() {
            if self.run.options.dry_run == DryRun::None && self.failure.is_none() {
                match served(self.run.cluster, self.discovery.clone(), tasks).await {
                    Ok(discovery) => self.discovery = discovery,
                    Err(error) => self.ends_at(error),
                }
            }
            let (worker, discovery, failure) = (&self.worker_parts, &self.discovery, self.failure.as_deref());
            let objects = &self.run.survey.desired.objects;
            let done = futures::stream::iter(tasks.iter().map(|task| async move {
                let (result, started, declared) = match task {
                    Task::Step(step) => (worker.step(step, discovery, failure).await, None, &step.key),
                    Task::Hook(hook) => {
                        let (result, started) = hooks::start(worker, hook, discovery, failure).await;
                        (result, started.map(|started| (*hook, started)), &hook.key)
                    }
                };
                let declared = if result.outcome.is_failure() { objects.get(declared) } else { None };
                let outcome = result.outcome.masked(declared);
                (Result { outcome, ..result }, started)
            }));
            let progress = self.run.progress;
            let mut done: Vec<_> = done
                .buffer_unordered(self.run.options.parallel.max(1))
                .inspect(|(result, started)| {
                    // A hook is told of when it has ended.
                    if started.is_none() {
                        progress.object(result);
                    }
                })
                .collect()
                .await;
            done.sort_by(|(a, _), (b, _)| a.key.cmp(&b.key));
            for (result, started) in done {
                if result.outcome.is_failure() && !self.worker_parts.is_contested(&result.key) {
                    self.failure.get_or_insert_with(|| "an object before it failed".into());
                }
                running.extend(started.map(|started| (self.results.len(), started)));
                self.results.push(result);
            }
        }
        self.ends(running).await;
    }

    /// Waits for the hooks of a batch; all are seen to their end, even when one
    /// has failed.
    async fn ends(&mut self, running: Vec<(usize, (&'a HookStep, hooks::Started))>) {
        let (run, discovery) = (self.run, &self.discovery);
        let ends = running.into_iter().map(|(at, (hook, started))| async move {
            (at, hook, hooks::end(run, hook, started, discovery).await)
        });
        let ends = futures::future::join_all(ends).await;
        for (at, hook, end) in ends {
            let result = &mut self.results[at];
            match end {
                hooks::End::Succeeded => {}
                hooks::End::Failed(why) => result.outcome = Outcome::HookFailed(why),
                hooks::End::Error(error) => result.outcome = Outcome::Failed(error),
                hooks::End::TimedOut(why) => {
                    self.timed_out = true;
                    result.outcome = Outcome::HookFailed(why);
                }
                hooks::End::Stopped(why) => result.outcome = Outcome::Skipped(why.into()),
            }
            let declared = run.survey.desired.objects.get(&hook.key);
            result.outcome = std::mem::replace(&mut result.outcome, Outcome::Done).masked(declared);
            if result.outcome.is_failure() {
                let name = result.key.to_string();
                self.failure.get_or_insert_with(|| format!("hook {name} failed"));
            }
            run.progress.object(result);
        }
    }
}

/// Waits for kinds that a definition before them brought.
async fn served(
    cluster: &Cluster,
    discovery: Discovery,
    tasks: &[Task<'_>],
) -> std::result::Result<Discovery, ClusterError> {
    let gvk = |task: &Task<'_>| match task {
        Task::Step(step) if step.action == Action::Create => Some(step.gvk.clone()),
        Task::Step(_) => None,
        Task::Hook(hook) => Some(hook.gvk.clone()),
    };
    let missing: Vec<Gvk> =
        tasks.iter().filter_map(gvk).filter(|gvk| discovery.kind(gvk).is_none()).collect();
    if missing.is_empty() { Ok(discovery) } else { cluster.wait_served(&missing, SERVED).await }
}
