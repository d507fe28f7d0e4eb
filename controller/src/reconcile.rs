//! One look at an Application. In: its name. Out: the cluster as Git says, or
//! the reason why not, in its status, and when to look again.
//!
//! load → commit → trust → render → survey → decide → sync → health → status

use std::sync::Arc;
use std::time::{Duration, Instant};

use gitops_api::application::{ApplicationStatus, HistoryEntry, OperationStatus};
use gitops_api::{Application, Project};
use gitops_core::desired::AppRef;
use gitops_core::health::Health;
use gitops_core::names::FIELD_MANAGER;
use gitops_core::plan::{Action, Doubt, Select};
use gitops_engine::desired::desired;
use gitops_engine::trust::trust;
use gitops_engine::{
    EngineError, Loaded, Rules, Survey, SyncOptions, admit, has_work, healths, owners, revisions, survey,
};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};

use crate::carry_out::{Case, Ended};
use crate::controller::{Controller, Memory, Surroundings, reference};
use crate::error::Error;
use crate::schedule::{Backoff, Decision, Situation, decide};
use crate::status::{self, Found, Said};
use crate::windows;

/// However quiet it is, everybody is looked at again after this.
const RESYNC: Duration = Duration::from_secs(600);
/// While objects are on their way to health.
const PROGRESSING: Duration = Duration::from_secs(5);
/// After a sync that somebody else or a newer commit has held up.
const SOON: Duration = Duration::from_secs(1);
/// How long a status that was written is trusted more than one that is watched.
const LAG: Duration = Duration::from_secs(10);
/// The pauses after looks that failed.
const FAILED: Backoff = Backoff { limit: 0, first: Duration::from_secs(2), max: Duration::from_secs(180) };

/// Looks at an Application; none: it is gone.
pub async fn look(controller: &Arc<Controller>, name: &AppRef) -> Option<Duration> {
    let Some(application) = controller.application(name) else {
        controller.forget(name);
        return None;
    };
    if application.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let mut memory = controller.memory(&application);
    memory.looked = Some(Instant::now());
    let mut look = Look::new(controller, &application, memory);
    match look.pass().await {
        Ok(()) => look.memory.failed = 0,
        Err(error) => look.failed(&error),
    }
    look.write().await;
    controller.remember(name, look.memory);
    Some(look.again)
}

struct Look<'a> {
    controller: &'a Arc<Controller>,
    application: &'a Application,
    name: AppRef,
    memory: Memory,
    /// The status as it is now.
    before: ApplicationStatus,
    found: Found,
    /// Whether there is something to say.
    speaks: bool,
    again: Duration,
}

impl<'a> Look<'a> {
    fn new(controller: &'a Arc<Controller>, application: &'a Application, memory: Memory) -> Self {
        let watched = application.status.clone().unwrap_or_default();
        // What the webhook says is as it is watched, what is said here as it was
        // written.
        let before = match &memory.status {
            Some((written, at)) if at.elapsed() < LAG => written.clone(),
            _ => watched,
        };
        let (name, found) = (reference(application), Found::default());
        Self { controller, application, name, memory, before, found, speaks: true, again: RESYNC }
    }

    async fn pass(&mut self) -> Result<(), Error> {
        let (controller, application) = (self.controller, self.application);
        let project = controller.project(application);
        let loaded = admit::under_project(&controller.cluster, application, project.as_deref()).await?;
        let known = controller.surroundings(false).await?;
        let begun = Instant::now();
        let Some(commit) = controller.poller.commit(&loaded, &known.environment, None).await? else {
            self.speaks = false;
            return Ok(());
        };
        trust(&loaded, &known.environment, &commit.id).await?;
        self.moves_forward(&loaded, &known, &commit.id).await?;
        controller.metrics.phase("commit", begun.elapsed());
        self.found.revision = Some(commit.id.clone());
        let sight = Sight { controller, application, project: project.as_deref(), loaded: &loaded };
        let (mut known, mut survey) = sight.survey(known, &commit.id).await?;
        let decision = self.decide(&loaded, &known, &survey)?;
        let mut failure = None;
        if decision == Decision::Sync {
            failure = self.sync(&sight, &known, survey, &commit.id).await?;
            (known, survey) = sight.survey(known, &commit.id).await?;
        }
        let kinds = survey.desired.objects.values().map(|object| object.gvk.clone()).collect();
        controller.drift.track(controller, &known.discovery, &kinds);
        self.say_synced(&loaded, &survey, &decision, failure);
        self.say_health(&loaded, &known, &survey).await
    }

    async fn moves_forward(&self, loaded: &Loaded, known: &Surroundings, tip: &str) -> Result<(), Error> {
        let Some(last) = self.before.history.first().map(|entry| entry.revision.clone()) else {
            return Ok(());
        };
        let (loaded, git, tip) = (loaded.clone(), known.environment.git(), tip.to_owned());
        let moves =
            tokio::task::spawn_blocking(move || revisions::moves_forward(&loaded, &git, &last, &tip)).await;
        Ok(moves.map_err(|error| EngineError::Internal(error.to_string()))??)
    }

    fn options(&self, loaded: &Loaded, survey: &Survey) -> SyncOptions {
        SyncOptions { prune: prunes(loaded, survey), ..SyncOptions::default() }
    }

    fn decide(&mut self, loaded: &Loaded, known: &Surroundings, survey: &Survey) -> Result<Decision, Error> {
        let (controller, spec) = (self.controller, &self.application.spec);
        let options = self.options(loaded, survey);
        let revision = &survey.desired.revision;
        let generation = self.application.metadata.generation.unwrap_or(0);
        self.memory.attempts.meant_for(revision, generation);
        let waits_for = self.waits_for();
        let has_work = has_work(&controller.cluster, loaded, &known.environment, survey, &options);
        let synced = self.before.history.first().map(|entry| entry.revision.as_str());
        let suspended = spec.suspend.then_some("spec.suspend is true");
        let situation = Situation {
            policy: &spec.sync,
            has_work,
            revision,
            synced,
            is_asked: false,
            suspended: suspended.or_else(|| status::suspension(Some(&self.before))),
            waits_for: waits_for.as_deref(),
            closed: windows::closed(&spec.sync.windows, jiff::Timestamp::now())?,
            attempts: &self.memory.attempts,
            backoff: Backoff::of(&spec.sync.retry)?,
        };
        let decision = decide(&situation, Instant::now());
        if has_work && synced == Some(revision) {
            controller.metrics.drift(if decision == Decision::Sync { "healed" } else { "left" });
        }
        if let Decision::Leave { again: Some(again), .. } = &decision {
            self.again = self.again.min(*again);
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

    /// Syncs; what went wrong, if so.
    async fn sync(
        &mut self,
        sight: &Sight<'_>,
        known: &Surroundings,
        survey: Survey,
        revision: &str,
    ) -> Result<Option<(&'static str, String)>, Error> {
        let (controller, loaded) = (self.controller, sight.loaded);
        let case = Case { controller, application: self.application, loaded, known };
        let again = async || sight.survey(known.clone(), revision).await.map(|(_, survey)| survey);
        let ended = case.run(survey, |survey| prunes(loaded, survey), again).await;
        let ended = match ended {
            // Of the sync, not of the look: it counts as a try.
            Err(error) => Ended::Badly(error.to_string()),
            Ok(ended) => ended,
        };
        let id = self.before.operation.as_ref().map(|operation| operation.id.clone()).unwrap_or_default();
        let operation = |phase: &str, message: &str| {
            Some(OperationStatus { id: id.clone(), phase: phase.into(), message: message.into() })
        };
        match ended {
            Ended::Well(summary) => {
                self.memory.attempts.succeeded();
                let message = if summary.is_empty() { "nothing to change".to_owned() } else { summary };
                tracing::info!(application = %self.name, revision, message, "synced");
                let short: String = revision.chars().take(12).collect();
                controller.events.normal(self.application, "Synced", &format!("commit {short}: {message}"));
                self.found.operation = operation("Succeeded", &message);
                let entry = HistoryEntry { revision: revision.to_owned(), time: now(), message };
                self.found.entry = Some(entry);
                Ok(None)
            }
            Ended::Badly(why) => {
                self.memory.attempts.failed(Instant::now(), why.clone());
                self.again = self.again.min(self.pause());
                tracing::warn!(application = %self.name, revision, error = why, "the sync failed");
                controller.events.warn(self.application, "SyncFailed", &why);
                self.found.operation = operation("Failed", &why);
                Ok(Some(("Failed", why)))
            }
            Ended::Stopped => {
                self.again = Duration::ZERO;
                Ok(Some(("Superseded", "a newer commit is there".into())))
            }
            Ended::Locked(holder) => {
                self.again = SOON;
                Ok(Some(("Locked", format!("it is being synced by {holder}"))))
            }
        }
    }

    fn pause(&self) -> Duration {
        let backoff = Backoff::of(&self.application.spec.sync.retry).unwrap_or(FAILED);
        backoff.pause(self.memory.attempts.failed)
    }

    fn say_synced(
        &mut self,
        loaded: &Loaded,
        survey: &Survey,
        decision: &Decision,
        failure: Option<(&'static str, String)>,
    ) {
        let differs = survey.plan.steps.iter().filter(|step| {
            step.action != Action::Unchanged && !step.is_kept() && !survey.held.contains_key(&step.key)
        });
        let out_of_sync = differs.count();
        self.found.counts = Some((out_of_sync, self.found.counts.map_or(0, |(_, unhealthy)| unhealthy)));
        let total = survey.plan.declared;
        let said: Said = match (failure, decision) {
            (Some((reason, why)), _) => ("False", reason, why),
            (None, _) if out_of_sync == 0 => ("True", "Synced", format!("{total} objects are as Git says")),
            (None, Decision::Leave { reason, message, .. }) => {
                ("False", *reason, format!("{out_of_sync} objects differ from Git: {message}"))
            }
            (None, _) => ("False", "OutOfSync", unpruned(loaded, survey, out_of_sync)),
        };
        self.found.sync = Some(if out_of_sync == 0 && said.0 == "True" { "Synced" } else { "OutOfSync" });
        self.found.synced = Some(said);
    }

    async fn say_health(
        &mut self,
        loaded: &Loaded,
        known: &Surroundings,
        survey: &Survey,
    ) -> Result<(), Error> {
        let begun = Instant::now();
        let rules = Rules::of(loaded)?;
        let kept = survey.plan.steps.iter().filter(|step| step.action != Action::Prune);
        // A Job that has run and is gone is neither missing nor to be made.
        let there =
            kept.filter(|step| step.action != Action::Unchanged || survey.live.get(&step.key).is_some());
        let objects = there.map(|step| (&step.key, survey.live.get(&step.key)));
        let judged = healths(&self.controller.cluster, &known.discovery, &rules, objects).await;
        self.controller.metrics.phase("health", begun.elapsed());
        let bad: Vec<_> = judged
            .iter()
            .filter(|(_, state)| !matches!(state.health, Health::Healthy | Health::Suspended))
            .collect();
        let states = judged.values().map(|state| state.health);
        let worst = states.max_by_key(|health| health.rank()).unwrap_or(Health::Healthy);
        if let Some((out_of_sync, _)) = self.found.counts {
            self.found.counts = Some((out_of_sync, bad.len()));
        }
        if worst == Health::Progressing {
            self.again = self.again.min(PROGRESSING);
        }
        let why = bad
            .iter()
            .take(3)
            .map(|(key, state)| format!("{key} is {}: {}", state.health.name(), state.message));
        let message = why.collect::<Vec<_>>().join("\n");
        let is_well = matches!(worst, Health::Healthy | Health::Suspended);
        self.found.healthy = Some((if is_well { "True" } else { "False" }, worst.name(), message));
        self.found.health = Some(worst.name());
        Ok(())
    }

    /// What cannot even be compared.
    fn failed(&mut self, error: &Error) {
        self.memory.failed += 1;
        tracing::warn!(application = %self.name, %error, "it cannot be compared with Git");
        self.found = Found {
            sync: Some("Unknown"),
            synced: Some(("Unknown", "Failed", error.to_string())),
            ..Found::default()
        };
        // Git wakes its Applications itself.
        if !matches!(error, Error::Git(_)) {
            self.again = FAILED.pause(self.memory.failed);
        }
    }

    /// Writes the status, if it says something else.
    async fn write(&mut self) {
        let wanted = status::after(self.application, &self.before, &self.found, &now());
        if !self.speaks || status::says(&self.before, &wanted) {
            return;
        }
        let api: Api<Application> = Api::namespaced(self.controller.cluster.client(), &self.name.namespace);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(status::patch(self.application, &wanted));
        match api.patch_status(&self.application.name_any(), &params, &patch).await {
            Ok(written) => {
                self.memory.status = written.status.map(|status| (status, Instant::now()));
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => {
                tracing::warn!(application = %self.name, %error, "the status could not be written");
                self.again = self.again.min(PROGRESSING);
            }
        }
    }
}

/// The cluster beside Git, for one Application.
struct Sight<'a> {
    controller: &'a Arc<Controller>,
    application: &'a Application,
    project: Option<&'a Project>,
    loaded: &'a Loaded,
}

impl Sight<'_> {
    /// Renders, checks with the Project, and compares. Kinds that are not known
    /// are asked for once more: they may just have been defined.
    async fn survey(&self, known: Surroundings, revision: &str) -> Result<(Surroundings, Survey), Error> {
        let begun = Instant::now();
        let metrics = &self.controller.metrics;
        let mut known = known;
        let set = match desired(self.loaded, &known.environment, revision, &*known.discovery).await {
            Err(EngineError::Desired(_)) => {
                known = self.controller.surroundings(true).await?;
                desired(self.loaded, &known.environment, revision, &*known.discovery).await?
            }
            other => other?,
        };
        metrics.phase("render", begun.elapsed());
        let cluster = &self.application.spec.destination.cluster;
        for (key, object) in &set.objects {
            let project = self.project.ok_or_else(|| EngineError::Internal("a Project is gone".into()))?;
            admit::object(project, cluster, (key, &object.gvk), || object.value.clone())?;
        }
        let begun = Instant::now();
        let (cluster, discovery) = (&self.controller.cluster, &known.discovery);
        let mut survey = survey(cluster, discovery, self.loaded, &known.environment, set).await?;
        owners::settle(cluster, self.loaded, &known.environment, &mut survey, &[]).await?;
        metrics.phase("survey", begun.elapsed());
        Ok((known, survey))
    }
}

fn doubt(loaded: &Loaded, survey: &Survey) -> Option<Doubt> {
    survey.doubt(loaded.spec.prune_budget(), &Select::default(), false)
}

/// Whether a sync prunes: not more than its budget without a person.
fn prunes(loaded: &Loaded, survey: &Survey) -> bool {
    loaded.spec.sync.prune && doubt(loaded, survey).is_none()
}

/// Why objects stay out of sync after all else is done.
fn unpruned(loaded: &Loaded, survey: &Survey, count: usize) -> String {
    match doubt(loaded, survey).filter(|_| loaded.spec.sync.prune) {
        Some(doubt) => format!("{doubt}: kubectl gitops sync {} --confirm-prune", loaded.application.name),
        None if survey.plan.count(Action::Prune) > 0 => {
            format!(
                "{count} objects differ from Git; what Git no longer declares is not pruned (spec.sync.prune)"
            )
        }
        None => format!("{count} objects differ from Git"),
    }
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
