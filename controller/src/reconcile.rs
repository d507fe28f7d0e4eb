//! One look at an Application. In: its name. Out: the cluster as Git says, or
//! the reason why not, in its status, and when to look again.
//!
//! load → commit → trust → render → survey → decide → sync → health → status

use std::sync::Arc;
use std::time::{Duration, Instant};

use gitops_api::application::ApplicationStatus;
use gitops_api::{Application, Project};
use gitops_core::desired::AppRef;
use gitops_engine::desired::reading;
use gitops_engine::follow::reference;
use gitops_engine::rollout::{Rolling, until};
use gitops_engine::windows::Windows;
use gitops_engine::{EngineError, Loaded, Survey, SyncOptions, admit, has_work, revisions};
use kube::ResourceExt;

use crate::clusters::{Surroundings, is_mirror};
use crate::controller::{Controller, Memory, Written};
use crate::deletion;
use crate::drift::Drift;
use crate::error::Error;
use crate::request::{Asked, Prune, What};
use crate::schedule::{Backoff, Decision, Situation, decide};
use crate::sight::prunes;
use crate::status::{self, Before, Found, Suspended};

mod commits;
mod labels;
mod rollouts;
mod saying;
mod settled;
mod syncing;

use commits::Ready;
use rollouts::Driven;

/// However quiet it is, everybody is looked at again after this.
const RESYNC: Duration = Duration::from_secs(600);
/// Between looks at objects on their way to health, longer while nothing moves:
/// what moves in a tracked object is watched, what it owns is not.
const PROGRESSING: Backoff =
    Backoff { limit: 0, first: Duration::from_secs(5), max: Duration::from_secs(60) };
/// After a status that could not be written.
const UNSAID: Duration = Duration::from_secs(5);
/// After a sync that somebody else or a newer commit has held up.
const SOON: Duration = Duration::from_secs(1);
/// How long a status that was written is trusted more than one that is watched.
const LAG: Duration = Duration::from_secs(10);
/// The pauses after looks that failed.
const FAILED: Backoff = Backoff { limit: 0, first: Duration::from_secs(2), max: Duration::from_secs(180) };

/// Looks at an Application; none: it is gone, or another replica's.
#[tracing::instrument(name = "reconcile", skip_all, fields(application = %name, revision))]
pub async fn look(controller: &Arc<Controller>, name: &AppRef) -> Option<Duration> {
    let Some(application) = controller.application(name) else {
        controller.forget(name);
        return None;
    };
    // A mirror is its hub's to sync.
    if is_mirror(&application) || !controller.shares.is_ours(&application.uid().unwrap_or_default()) {
        controller.forget(name);
        return None;
    }
    if application.metadata.deletion_timestamp.is_some() {
        return deletion::look(controller, &application).await;
    }
    if let Some(cause) = controller.poller.cause(name) {
        cause.of(&tracing::Span::current());
    }
    let mut memory = controller.memory(&application);
    memory.looked = Some(Instant::now());
    let mut look = Look::new(controller, &application, memory);
    let passed = tokio::select! {
        passed = look.pass() => passed,
        error = controller.clusters.away(&application) => Err(error),
    };
    match passed {
        Ok(()) => look.memory.failed = 0,
        Err(error) => {
            controller.poller.is_due(name);
            let error = match controller.clusters.of(&application) {
                Ok(Some(member)) => member.doubt(error),
                _ => error,
            };
            look.failed(&error);
        }
    }
    look.write().await;
    controller.remember(name, look.memory);
    Some(look.due.map_or(look.again, |due| until(due).min(look.again)))
}

/// Why the cluster is not as Git says: a reason in CamelCase, and in words.
type Failure = (&'static str, String);

struct Look<'a> {
    controller: &'a Arc<Controller>,
    application: &'a Application,
    name: AppRef,
    memory: Memory,
    /// The status as it is now, and in which version of the Application.
    before: ApplicationStatus,
    version: Option<String>,
    found: Found,
    /// The request for a sync that is carried out.
    asked: Option<Asked>,
    prune: Prune,
    /// Whether a Rollout may begin.
    may_begin: bool,
    /// Whether one was under way, or has moved.
    rolls: bool,
    /// Whether there is something to say.
    speaks: bool,
    /// After this look.
    again: Duration,
    /// When a Rollout is due, by the clock.
    due: Option<jiff::Timestamp>,
}

impl<'a> Look<'a> {
    fn new(controller: &'a Arc<Controller>, application: &'a Application, memory: Memory) -> Self {
        let watched = application.status.clone().unwrap_or_default();
        // What the webhook says is as it is watched, what is said here as it was
        // written.
        let (before, version) = match &memory.status {
            Some(written) if written.at.elapsed() < LAG => (written.status.clone(), written.version.clone()),
            _ => (watched, application.resource_version()),
        };
        let entries = memory.unsaid.clone();
        let (name, found) = (reference(application), Found { entries, ..Found::default() });
        let (asked, prune) = (None, Prune::default());
        Self {
            controller,
            application,
            name,
            memory,
            before,
            version,
            found,
            asked,
            prune,
            may_begin: false,
            rolls: false,
            speaks: true,
            again: RESYNC,
            due: None,
        }
    }

    async fn pass(&mut self) -> Result<(), Error> {
        let (controller, application) = (self.controller, self.application);
        let since = self.hear();
        let project = controller.project(application);
        let loaded = admit::under_project(&controller.cluster, application, project.as_deref()).await?;
        let Some(known) = controller.surroundings(application, false).await? else {
            self.speaks = self.found.operation.is_some();
            return Ok(());
        };
        let project = project.as_deref();
        match self.newest(project, &loaded, &known, since).await {
            Ok(Some(ready)) => self.bring(project, ready).await,
            // Unless a person is to be answered, there is nothing to say yet.
            Ok(None) => {
                self.speaks = self.found.operation.is_some();
                Ok(())
            }
            Err(error) => {
                self.go_on(project, &loaded, &known, &error).await;
                Err(error)
            }
        }
    }

    async fn bring(&mut self, project: Option<&Project>, ready: Ready) -> Result<(), Error> {
        let Ready { loaded, far, mut known, mut survey, revision } = ready;
        let controller = self.controller;
        let sight = self.sight(project, far.as_ref(), &loaded);
        let mut decision = self.decide(&loaded, &known, &survey)?;
        let failed = match self.drive(&sight, &known, &survey).await? {
            Driven::Still => Vec::new(),
            Driven::Moved(failed) => {
                (known, survey) = sight.survey(known, &revision).await?;
                decision = self.decide(&loaded, &known, &survey)?;
                failed
            }
        };
        self.count_drift(self.has_work(&loaded, &known, &survey));
        let mut failure = None;
        if decision == Decision::Sync {
            (known, survey, failure) = self.brought(&sight, known, survey, &revision).await?;
        }
        self.settle(&decision, &survey, failure.as_ref());
        if self.suspension().is_none() && survey.rollouts.iter().any(Rolling::is_new) {
            self.again = self.again.min(SOON);
        }
        self.memory.phases = survey.rollouts.iter().map(|rolling| rolling.state.phase).collect();
        self.push(&sight, &known, &failed, &revision).await;
        Drift::track(controller, &known, &self.name, &survey);
        self.label(&sight, &known, &survey).await;
        self.say_synced(&loaded, &survey, &decision, failure);
        self.say_health(&loaded, &known, &survey).await
    }

    /// Hears what a person asks. For a sync: since when Git has to be looked at.
    fn hear(&mut self) -> Option<Instant> {
        let asked = Asked::of(self.application, &self.before)?;
        match &asked.what {
            What::Nothing(why) => self.found.operation = Some(asked.operation("Failed", why)),
            What::Suspend(why) => {
                self.found.suspended = Some(Suspended::By(why.clone()));
                self.found.operation = Some(asked.operation("Succeeded", why));
            }
            What::Resume => {
                self.found.suspended = Some(Suspended::No);
                self.found.operation = Some(asked.operation("Succeeded", "resumed"));
            }
            What::Sync(prune) => {
                self.prune = *prune;
                let known = self.memory.request.as_ref().filter(|(id, _)| *id == asked.id);
                let since = known.map_or_else(Instant::now, |(_, since)| *since);
                self.memory.request = Some((asked.id.clone(), since));
                self.asked = Some(asked);
                return Some(since);
            }
        }
        None
    }

    /// Why the Application is left as it is, if it is.
    fn suspension(&self) -> Option<String> {
        match &self.found.suspended {
            _ if self.application.spec.suspend => Some("spec.suspend is true".into()),
            Some(Suspended::By(why)) => Some(why.clone()),
            Some(Suspended::No) => None,
            None => status::suspension(Some(&self.before)).map(str::to_owned),
        }
    }

    /// The revision, if it says something else than the one that the status has.
    async fn news(&self, loaded: &Loaded, known: &Surroundings, tip: &str) -> Option<String> {
        let Some(said) = self.before.revision.as_deref().filter(|said| *said != tip) else {
            return Some(tip.to_owned());
        };
        let reading =
            async |revision: &str| reading(loaded, &known.environment, revision).await.ok().flatten();
        let (before, now) = (reading(said).await, reading(tip).await);
        (now.is_none() || before != now).then(|| tip.to_owned())
    }

    async fn moves_forward(&self, loaded: &Loaded, known: &Surroundings, tip: &str) -> Result<(), Error> {
        let Some(last) = self.before.history.first().map(|entry| entry.revision.clone()) else {
            return Ok(());
        };
        let (loaded, environment, tip) = (loaded.clone(), known.environment.clone(), tip.to_owned());
        let moves =
            tokio::task::spawn_blocking(move || revisions::moves_forward(&loaded, &environment, &last, &tip))
                .await;
        Ok(moves.map_err(|error| EngineError::Internal(error.to_string()))??)
    }

    fn has_work(&self, loaded: &Loaded, known: &Surroundings, survey: &Survey) -> bool {
        let prune = prunes(loaded, survey, self.prune);
        let options = SyncOptions { prune, ..SyncOptions::default() };
        has_work(known.cluster(), loaded, &known.environment, survey, &options)
    }

    fn decide(&mut self, loaded: &Loaded, known: &Surroundings, survey: &Survey) -> Result<Decision, Error> {
        let spec = &self.application.spec;
        let revision = &survey.desired.revision;
        let generation = self.application.metadata.generation.unwrap_or(0);
        self.memory.attempts.meant_for(revision, generation);
        let waits_for = self.waits_for();
        let waits = survey.rollouts.iter().any(Rolling::is_waiting);
        let differs = waits || self.has_work(loaded, known, survey);
        let has_work = differs || self.adopts(survey);
        let suspended = self.suspension();
        let windows = Windows::at(&spec.sync.windows, jiff::Timestamp::now())?;
        let situation = Situation {
            policy: &spec.sync,
            has_work,
            is_drift: self.is_drift(),
            is_asked: self.asked.is_some(),
            suspended: suspended.as_deref(),
            waits_for: waits_for.as_deref(),
            windows: &windows,
            attempts: &self.memory.attempts,
            backoff: Backoff::of(&spec.sync.retry)?,
        };
        let decided = match decide(&situation, Instant::now()) {
            // What is as Git says can wait to be marked.
            Decision::Leave { reason, .. } if reason != "Suspended" && !differs => Decision::Settled,
            decided => decided,
        };
        self.may_begin = decided == Decision::Sync;
        let decision = self.goes_on(survey, has_work, decided);
        if decision == Decision::Settled {
            self.memory.attempts.succeeded();
        }
        if let Decision::Leave { again: Some(again), .. } = &decision {
            self.again = self.again.min(*again);
        }
        if let (Decision::Leave { reason: "Suspended", message, .. }, Some(asked)) = (&decision, &self.asked)
        {
            self.found.operation = Some(asked.operation("Failed", message));
        }
        Ok(decision)
    }

    /// The first Application that has to be healthy before this one.
    fn waits_for(&self) -> Option<String> {
        self.application.spec.depends_on.iter().find_map(|on| {
            let name = AppRef { namespace: self.name.namespace.clone(), name: on.name.clone() };
            let Some(other) = self.controller.application(&name) else {
                return Some(format!("it depends on Application {name}, which is not there"));
            };
            let status = other.status.clone().unwrap_or_default();
            let is_ready = status.sync.as_deref() == Some("Synced")
                && matches!(status.health.as_deref(), Some("Healthy" | "Suspended"));
            let (sync, health) = (status.sync.unwrap_or_default(), status.health.unwrap_or_default());
            (!is_ready).then(|| format!("it depends on Application {name}, which is {sync} and {health}"))
        })
    }

    /// Writes the status, if it says something else.
    async fn write(&mut self) {
        if !self.speaks {
            return;
        }
        let before = Before { status: self.before.clone(), version: self.version.clone() };
        match status::write(&self.controller.cluster, self.application, before, &self.found).await {
            Ok(Some(written)) => {
                self.version = written.resource_version();
                self.before = written.status.unwrap_or_default();
                // They are said by now, should there be more to say in this look.
                self.found.entries.clear();
                self.memory.unsaid.clear();
                let (status, version) = (self.before.clone(), self.version.clone());
                self.memory.status = Some(Written { status, version, at: Instant::now() });
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(application = %self.name, %error, "the status could not be written");
                self.again = self.again.min(UNSAID);
                self.memory.unsaid = self.found.entries.clone();
            }
        }
    }
}
