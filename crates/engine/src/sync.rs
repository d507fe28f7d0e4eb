//! Carrying out a plan: in order groups, side by side within one. Writes only
//! what differs, and reports what was and what was not done.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use gitops_cluster::{ApplyOptions, Cluster, ClusterError, DeleteOptions, Discovery, ErrorKind};
use gitops_core::compare::{Difference, Op};
use gitops_core::delegation::{Delegated, begin, carry};
use gitops_core::desired::{AppRef, DesiredObject, stamp};
use gitops_core::health::{Health, HealthReport};
use gitops_core::names::{FIELD_MANAGER, GROUP};
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::plan::{Action, Step};
use gitops_core::verdict::Policy;
use serde_json::Value;

use crate::contest::{conflict, contested};
use crate::desired::Environment;
use crate::error::EngineError;
use crate::kin::healths;
use crate::load::Loaded;
use crate::memory::expiring;
use crate::rules::Rules;
use crate::survey::{Survey, remember, remember_run};

mod patch;

/// How long a definition may take until its kind is served.
const SERVED: Duration = Duration::from_secs(30);

/// Whether anything is really written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DryRun {
    #[default]
    None,
    /// The plan alone.
    Client,
    /// The API server judges every write and keeps none.
    Server,
}

/// How a plan is carried out.
#[derive(Clone, Debug)]
pub struct SyncOptions {
    pub dry_run: DryRun,
    pub prune: bool,
    /// Wait until everything is healthy, at most this long.
    pub wait: Option<Duration>,
    /// Writes under way at once.
    pub parallel: usize,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self { dry_run: DryRun::None, prune: false, wait: None, parallel: 24 }
    }
}

/// What became of an object.
#[derive(Clone, Debug)]
pub enum Outcome {
    Done,
    /// Not touched: pruning was not asked for, a group before failed, or the
    /// sync was interrupted.
    Skipped(String),
    Failed(ClusterError),
}

/// An object and what became of it.
#[derive(Clone, Debug)]
pub struct Result {
    pub key: ObjectKey,
    pub gvk: Gvk,
    pub action: Action,
    pub differences: Vec<Difference>,
    pub outcome: Outcome,
    /// `metadata.generation` after the write; 0 where nothing was written.
    pub generation: i64,
    /// A Job that is gone some time after it has run.
    pub is_expiring: bool,
    /// Filled where the sync waited.
    pub health: Option<HealthReport>,
}

/// What a sync did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub results: Vec<Result>,
    pub interrupted: bool,
    /// Not everything was healthy in time.
    pub timed_out: bool,
}

impl Report {
    /// How many objects failed.
    pub fn failed(&self) -> usize {
        self.results.iter().filter(|result| matches!(result.outcome, Outcome::Failed(_))).count()
    }

    /// How many objects this was done to.
    pub fn done(&self, action: Action) -> usize {
        self.results
            .iter()
            .filter(|result| result.action == action && matches!(result.outcome, Outcome::Done))
            .count()
    }
}

/// Told of every object while a sync runs.
pub trait Progress: Sync {
    /// An object is done, skipped or failed.
    fn object(&self, result: &Result);
    /// Everything is written; this is not healthy yet.
    fn waiting(&self, waiting: &[(ObjectKey, HealthReport)]);
}

/// Carries out a survey's plan. `interrupted` stops it between objects.
///
/// # Errors
/// When the API server cannot be asked at all; what is refused for one object
/// is in the report.
pub async fn sync(
    cluster: &Cluster,
    loaded: &Loaded,
    environment: &Environment,
    survey: &Survey,
    options: &SyncOptions,
    progress: &dyn Progress,
    interrupted: &AtomicBool,
) -> std::result::Result<Report, EngineError> {
    if options.dry_run == DryRun::None {
        // Before the first write, so that even an interrupted sync is found.
        remember(cluster, loaded, environment, survey);
    }
    let (policy, delegated) = (loaded.policy()?, survey.desired.delegated());
    let rules = Rules::of(loaded)?;
    let mut report = Report::default();
    let mut discovery = survey.discovery.clone();
    let mut groups: BTreeMap<u32, Vec<&Step>> = BTreeMap::new();
    for step in &survey.plan.steps {
        groups.entry(step.group).or_default().push(step);
    }
    let contested = contested(cluster, &survey.discovery, loaded, survey).await?;
    let mut failed_before = false;
    for steps in groups.into_values() {
        if options.dry_run == DryRun::None && !failed_before {
            discovery = served(cluster, discovery, &steps).await?;
        }
        let worker = Worker {
            cluster,
            policy: &policy,
            delegated: &delegated,
            loaded,
            survey,
            options,
            discovery: &discovery,
            interrupted,
            contested: &contested,
            skip: failed_before,
        };
        let mut results: Vec<Result> = futures::stream::iter(steps.into_iter().map(|step| worker.step(step)))
            .buffer_unordered(options.parallel.max(1))
            .inspect(|result| progress.object(result))
            .collect()
            .await;
        failed_before |= results.iter().any(|result| {
            matches!(result.outcome, Outcome::Failed(_)) && !contested.contains_key(&result.key)
        });
        results.sort_by(|a, b| a.key.cmp(&b.key));
        report.results.append(&mut results);
    }
    if options.dry_run == DryRun::None {
        remember_run(cluster, loaded, environment, survey, &report);
    }
    report.interrupted = interrupted.load(Ordering::Relaxed);
    if let Some(limit) = options.wait
        && options.dry_run == DryRun::None
        && !failed_before
        && !report.interrupted
    {
        wait(cluster, &discovery, &rules, &mut report, limit, progress, interrupted).await?;
    }
    Ok(report)
}

/// Waits for kinds that a definition before them brought.
async fn served(
    cluster: &Cluster,
    discovery: Discovery,
    steps: &[&Step],
) -> std::result::Result<Discovery, EngineError> {
    let missing: Vec<Gvk> = steps
        .iter()
        .filter(|step| step.action == Action::Create && discovery.kind(&step.gvk).is_none())
        .map(|step| step.gvk.clone())
        .collect();
    if missing.is_empty() { Ok(discovery) } else { Ok(cluster.wait_served(&missing, SERVED).await?) }
}

struct Worker<'a> {
    cluster: &'a Cluster,
    policy: &'a Policy,
    delegated: &'a Delegated,
    loaded: &'a Loaded,
    survey: &'a Survey,
    options: &'a SyncOptions,
    discovery: &'a Discovery,
    interrupted: &'a AtomicBool,
    /// Objects that are another Application's.
    contested: &'a BTreeMap<ObjectKey, AppRef>,
    /// A group before failed.
    skip: bool,
}

impl Worker<'_> {
    async fn step(&self, step: &Step) -> Result {
        let (outcome, generation) = match self.carry_out(step).await {
            Ok(generation) => (Outcome::Done, generation),
            Err(outcome) => (outcome, 0),
        };
        Result {
            key: step.key.clone(),
            gvk: step.gvk.clone(),
            action: step.action,
            differences: step.differences.clone(),
            outcome,
            generation,
            is_expiring: expiring(self.survey.desired.objects.get(&step.key)).is_some(),
            health: None,
        }
    }

    /// The generation that was written, or what became of it instead.
    async fn carry_out(&self, step: &Step) -> std::result::Result<i64, Outcome> {
        let skipped = |reason: &str| Err(Outcome::Skipped(reason.to_owned()));
        if let Some(owner) = self.contested.get(&step.key) {
            return Err(Outcome::Failed(conflict(&step.key, owner, &self.loaded.application)));
        }
        if step.action == Action::Unchanged {
            return Ok(0);
        }
        if self.interrupted.load(Ordering::Relaxed) {
            return skipped("the sync was interrupted");
        }
        if self.skip {
            return skipped("an object before it failed");
        }
        if step.action == Action::Prune && !self.options.prune {
            return skipped("pruning was not asked for (--prune)");
        }
        if self.options.dry_run == DryRun::Client {
            return Ok(0);
        }
        self.tried_again(step).await.or_else(|error| {
            if self.is_unchecked(step, &error) {
                return skipped("its namespace or kind is not there yet, so the server cannot check it");
            }
            Err(Outcome::Failed(error))
        })
    }

    /// A webhook that has not heard of the commit yet refuses at first, and
    /// asks Git meanwhile.
    async fn tried_again(&self, step: &Step) -> std::result::Result<i64, ClusterError> {
        const TRIES: u32 = 3;
        for attempt in 1.. {
            let result = match (step.action, self.survey.desired.objects.get(&step.key)) {
                (Action::Prune, _) => self.prune(step).await.map(|()| 0),
                (_, Some(object)) => self.write(step, object).await,
                (_, None) => Ok(0),
            };
            match result {
                Err(ClusterError::Denied { webhook, .. }) if attempt < TRIES && webhook.ends_with(GROUP) => {
                    tokio::time::sleep(Duration::from_millis(700)).await;
                }
                other => return other,
            }
        }
        unreachable!("the loop returns at its last try")
    }

    /// On the server's dry run, what stands on things that a real sync would
    /// make first cannot be judged.
    fn is_unchecked(&self, step: &Step, error: &ClusterError) -> bool {
        let namespace = ObjectKey {
            group: String::new(),
            kind: "Namespace".into(),
            namespace: String::new(),
            name: step.key.namespace.clone(),
        };
        let made_here = self.survey.desired.objects.contains_key(&namespace)
            || self.loaded.spec.destination.create_namespace;
        self.options.dry_run == DryRun::Server
            && error.kind() == ErrorKind::NotFound
            && (made_here || self.discovery.kind(&step.gvk).is_none())
    }

    async fn write(&self, step: &Step, object: &DesiredObject) -> std::result::Result<i64, ClusterError> {
        let kind = self
            .discovery
            .kind(&object.gvk)
            .ok_or_else(|| ClusterError::NotFound { what: object.gvk.to_string() })?;
        let options =
            ApplyOptions { field_manager: FIELD_MANAGER, dry_run: self.options.dry_run == DryRun::Server };
        let mut stamped = stamp(object, &self.loaded.application, &self.survey.desired.revision);
        let live = self.survey.live.get(&step.key);
        let free = self.policy.free(&step.key, self.delegated.of(&step.key));
        match live {
            Some(live) => carry(&mut stamped, live, &free),
            None => begin(&mut stamped, &free),
        }
        carry_replicas(&mut stamped, live);
        // An apply cannot take away what others added, nor change a template
        // and what was left in it at once: then all goes in one patch first.
        if let Some(live) = live
            && step
                .differences
                .iter()
                .any(|difference| difference.op == Op::Add || patch::changes_strategy(difference))
        {
            let patch = patch::to_git(live, &stamped, &step.differences);
            self.cluster.patch(kind, &step.key, &patch, &options).await?;
        }
        Ok(generation(&self.cluster.apply(kind, &step.key, &stamped, &options).await?.object))
    }

    async fn prune(&self, step: &Step) -> std::result::Result<(), ClusterError> {
        let Some(kind) = self.discovery.kind(&step.gvk) else { return Ok(()) };
        let uid = self
            .survey
            .live
            .get(&step.key)
            .and_then(|live| live.pointer("/metadata/uid")?.as_str())
            .map(str::to_owned);
        self.cluster
            .delete(
                kind,
                &step.key,
                &DeleteOptions {
                    uid,
                    dry_run: self.options.dry_run == DryRun::Server,
                    ..DeleteOptions::default()
                },
            )
            .await
    }
}

fn generation(object: &Value) -> i64 {
    object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0)
}

/// Replicas that Git leaves out stay what they are: dropping them from an
/// apply would reset a running workload to 1.
fn carry_replicas(stamped: &mut Value, live: Option<&Value>) {
    let scaled = matches!(
        stamped.get("kind").and_then(Value::as_str),
        Some("Deployment" | "StatefulSet" | "ReplicaSet")
    );
    if !scaled || stamped.pointer("/spec/replicas").is_some() {
        return;
    }
    let ours = live.is_some_and(|live| live.pointer("/spec/replicas").is_some());
    if let (true, Some(live)) = (ours, live) {
        stamped["spec"]["replicas"] = live["spec"]["replicas"].clone();
    }
}

/// Asks until all is healthy, or one never will be.
async fn wait(
    cluster: &Cluster,
    discovery: &Discovery,
    rules: &Rules,
    report: &mut Report,
    limit: Duration,
    progress: &dyn Progress,
    interrupted: &AtomicBool,
) -> std::result::Result<(), EngineError> {
    let start = Instant::now();
    let mut wanted: BTreeMap<Gvk, std::collections::BTreeSet<String>> = BTreeMap::new();
    for result in report.results.iter().filter(|result| result.action != Action::Prune) {
        wanted.entry(result.gvk.clone()).or_default().insert(result.key.namespace.clone());
    }
    loop {
        let live = cluster.list(discovery, &wanted).await?;
        let mut waiting = Vec::new();
        for result in report.results.iter_mut().filter(|result| result.action != Action::Prune) {
            let state = match live.get(&result.key) {
                None if result.action == Action::Unchanged && result.is_expiring => HealthReport::expired(),
                None => HealthReport::missing(),
                // The API server's cache is a moment behind what was written.
                Some(object) if generation(object) < result.generation => HealthReport {
                    health: Health::Progressing,
                    reason: "NotSeen".into(),
                    message: "the change is not seen yet".into(),
                },
                Some(object) => rules.health(object),
            };
            if state.health != Health::Healthy {
                waiting.push((result.key.clone(), state.clone()));
            }
            result.health = Some(state);
        }
        if waiting.is_empty() {
            return Ok(());
        }
        if start.elapsed() > limit {
            report.timed_out = true;
            let judged =
                healths(cluster, discovery, rules, waiting.iter().map(|(key, _)| (key, live.get(key)))).await;
            for result in &mut report.results {
                if let Some(why) = judged.get(&result.key).filter(|why| why.health != Health::Healthy) {
                    result.health = Some(why.clone());
                }
            }
            return Ok(());
        }
        if interrupted.load(Ordering::Relaxed) {
            report.interrupted = true;
            return Ok(());
        }
        progress.waiting(&waiting);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
