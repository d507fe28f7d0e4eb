//! Carrying out a plan: phases and waves in order, side by side within a
//! group. Writes only what differs, and reports what was and what was not
//! done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gitops_cluster::{Cluster, ClusterError};
use gitops_core::compare::{Difference, mask_message};
use gitops_core::desired::DesiredObject;
use gitops_core::health::HealthReport;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::plan::{Action, Conflicts, Phase, Select, Step};
use serde_json::Value;

use crate::desired::Environment;
use crate::error::EngineError;
use crate::hold::Hold;
use crate::load::Loaded;
use crate::memory::Memory;
use crate::survey::{Survey, remember, remember_run};

mod adopt;
mod deletion;
mod hooks;
mod marking;
mod patch;
mod waiting;
mod waves;
mod worker;

pub use deletion::delete;
pub use marking::unmarked;

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

/// When hooks are run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunHooks {
    /// When something changes, or those of this commit have not ended well yet.
    #[default]
    Auto,
    Always,
    Never,
}

/// How a plan is carried out.
#[derive(Clone, Debug)]
pub struct SyncOptions {
    pub dry_run: DryRun,
    pub prune: bool,
    /// Wait at the end until everything is healthy.
    pub wait: bool,
    /// How long each wave and hook, and the wait at the end, may take.
    pub timeout: Duration,
    /// Writes under way at once.
    pub parallel: usize,
    /// Which objects are meant; hooks run only in a whole sync.
    pub select: Select,
    pub hooks: RunHooks,
    /// None: as Git says, else by who has set a field.
    pub conflicts: Option<Conflicts>,
    /// Make anew what cannot be changed.
    pub replace: bool,
    /// The same for claims of volumes, whose data goes with them.
    pub force: bool,
    /// Keep what the API server answered, for [`Survey::after`].
    pub answers: bool,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self {
            dry_run: DryRun::None,
            prune: false,
            wait: false,
            timeout: Duration::from_secs(300),
            parallel: 24,
            select: Select::default(),
            hooks: RunHooks::Auto,
            conflicts: None,
            replace: false,
            force: false,
            answers: false,
        }
    }
}

/// What ends a sync between two objects.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    pub interrupted: Arc<AtomicBool>,
    pub hold: Hold,
}

impl Stop {
    /// Why to stop, if so.
    pub fn reason(&self) -> Option<&'static str> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Some("the sync was interrupted");
        }
        self.hold
            .is_lost()
            .then_some("another sync has taken over, or may have while the API server was away")
    }

    /// The same before a write, which waits until the Lease is held for sure.
    pub(crate) async fn before_write(&self) -> Option<&'static str> {
        let is_interrupted = || self.interrupted.load(Ordering::Relaxed);
        while !is_interrupted() && tokio::time::timeout(waiting::INTERVAL, self.hold.known()).await.is_err() {
        }
        self.reason()
    }
}

/// What became of an object.
#[derive(Clone, Debug)]
pub enum Outcome {
    Done,
    /// Not touched: pruning was not asked for, something before failed, or the
    /// sync was stopped.
    Skipped(String),
    Failed(ClusterError),
    /// A hook that was run and ended badly.
    HookFailed(String),
}

impl Outcome {
    fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::HookFailed(_))
    }

    /// Without what nobody may read of the object: who refuses something quotes it.
    fn masked(self, object: Option<&DesiredObject>) -> Self {
        match (self, object) {
            (Self::Failed(error), Some(object)) => {
                Self::Failed(error.reworded(|message| mask_message(message, object)))
            }
            (Self::HookFailed(why), Some(object)) => Self::HookFailed(mask_message(&why, object)),
            (other, _) => other,
        }
    }
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
    /// The object after the write, where answers are kept.
    pub answer: Option<Value>,
    /// A Job that is gone some time after it has run.
    pub is_expiring: bool,
    /// Filled where the sync waited.
    pub health: Option<HealthReport>,
    /// Of a hook: when it ran.
    pub hook: Option<Phase>,
    /// What a person should know of how it was done; often empty.
    pub note: String,
    /// It is as Git says and was marked as the Application's.
    pub marked: bool,
}

/// What a sync did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub results: Vec<Result>,
    pub interrupted: bool,
    /// Another sync has taken over, or may have.
    pub lost: bool,
    /// Not everything was healthy in time.
    pub timed_out: bool,
    /// Why it ended early: the cluster could no longer be asked.
    pub broken: Option<ClusterError>,
}

impl Report {
    /// How many objects failed.
    pub fn failed(&self) -> usize {
        self.results.iter().filter(|result| result.outcome.is_failure()).count()
    }

    /// How many objects this was done to; hooks are counted by themselves.
    pub fn done(&self, action: Action) -> usize {
        let counts = |result: &&Result| result.hook.is_none() && result.action == action;
        self.results.iter().filter(counts).filter(|result| matches!(result.outcome, Outcome::Done)).count()
    }

    /// How many objects were as Git says and were marked.
    pub fn adopted(&self) -> usize {
        self.results.iter().filter(|result| result.marked).count()
    }

    /// How many hooks were run and ended well.
    pub fn hooks(&self) -> usize {
        let ran = |result: &&Result| result.hook.is_some() && matches!(result.outcome, Outcome::Done);
        self.results.iter().filter(ran).count()
    }
}

/// Told of every object while a sync runs.
pub trait Progress: Sync {
    /// An object is done, skipped or failed.
    fn object(&self, result: &Result);
    /// What is waited for, and is not healthy or ended yet, as far as that is
    /// known: while the cluster does not answer, nothing new is.
    fn waiting(&self, waiting: &[(ObjectKey, HealthReport)]);
}

/// Everything that carrying out takes.
struct Run<'a> {
    cluster: &'a Cluster,
    loaded: &'a Loaded,
    survey: &'a Survey,
    options: &'a SyncOptions,
    progress: &'a dyn Progress,
    stop: &'a Stop,
}

/// Whether a step writes something under these options.
fn is_work(step: &Step, survey: &Survey, options: &SyncOptions) -> bool {
    let prunes = step.action == Action::Prune;
    step.action != Action::Unchanged
        && !survey.held.contains_key(&step.key)
        && !(prunes && (!survey.prunes(&step.key, options.prune) || step.is_kept()))
}

/// Whether a step is meant by the selection.
fn is_meant(step: &Step, survey: &Survey, options: &SyncOptions) -> bool {
    if options.select.is_all() {
        return true;
    }
    let declared = survey.desired.objects.get(&step.key).map(|object| &*object.value);
    let object = declared.or_else(|| survey.live.get(&step.key));
    options.select.takes(&step.key, &step.gvk, step.action, object)
}

/// Whether hooks are to be run.
fn hooks_due(survey: &Survey, options: &SyncOptions, memory: &Memory) -> bool {
    let regular = |phase: Phase| matches!(phase, Phase::PreSync | Phase::Sync | Phase::PostSync);
    let changes = || survey.plan.steps.iter().any(|step| is_work(step, survey, options));
    options.select.is_all()
        && match options.hooks {
            RunHooks::Never => false,
            RunHooks::Always => true,
            RunHooks::Auto => {
                changes()
                    || survey.plan.hooks.iter().any(|hook| regular(hook.phase))
                        && memory.read().hooks != survey.desired.revision
            }
        }
}

/// Whether a sync would write anything.
pub fn has_work(
    cluster: &Cluster,
    loaded: &Loaded,
    environment: &Environment,
    survey: &Survey,
    options: &SyncOptions,
) -> bool {
    let changes = |step: &Step| is_work(step, survey, options) && is_meant(step, survey, options);
    survey.plan.steps.iter().any(changes)
        || !survey.plan.hooks.is_empty()
            && hooks_due(survey, options, &Memory::at(cluster, environment, &loaded.application))
}

/// Carries out a survey's plan. `stop` ends it between objects.
///
/// # Errors
/// When the API server cannot be asked at all; what is refused for one object
/// is in the report.
#[tracing::instrument(name = "apply", skip_all, fields(application = %loaded.application, revision = survey.desired.revision))]
pub async fn sync(
    cluster: &Cluster,
    loaded: &Loaded,
    environment: &Environment,
    survey: &Survey,
    options: &SyncOptions,
    progress: &dyn Progress,
    stop: &Stop,
) -> std::result::Result<Report, EngineError> {
    if options.dry_run == DryRun::None {
        // Before the first write, so that even an interrupted sync is found.
        remember(cluster, loaded, environment, survey);
    }
    let memory = Memory::at(cluster, environment, &loaded.application);
    let hooks = hooks_due(survey, options, &memory);
    let run = Run { cluster, loaded, survey, options, progress, stop };
    let mut report = waves::carry_out(&run, hooks).await?;
    if options.dry_run == DryRun::None {
        remember_run(cluster, loaded, environment, survey, &report);
    }
    report.interrupted = stop.interrupted.load(Ordering::Relaxed);
    report.lost = stop.hold.is_lost();
    let whole = options.dry_run == DryRun::None
        && report.failed() == 0
        && !report.timed_out
        && report.broken.is_none()
        && stop.reason().is_none();
    if whole && hooks {
        // Where there were never any, there is nothing to remember.
        memory.advance(|places| {
            if !survey.plan.hooks.is_empty() || !places.hooks.is_empty() {
                places.hooks.clone_from(&survey.desired.revision);
            }
        });
    }
    if whole && options.wait {
        waiting::at_the_end(&run, &mut report).await?;
    }
    Ok(report)
}
