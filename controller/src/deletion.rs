//! An Application that is being deleted. With the finalizer `prune`, in: what
//! it has in the cluster. Out: its hooks run, its objects gone, the last made
//! first, and then the Application. Without it, what it has stays.
//!
//! It never hangs: condition Deleting says what it waits for and what to do, and
//! what cannot be done in time is left behind, which an Event tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gitops_api::Application;
use gitops_core::health::HealthReport;
use gitops_core::names::{FINALIZER_PRUNE, LABEL_APPLICATION};
use gitops_core::object::ObjectKey;
use gitops_core::plan::{HookStep, Phase, Propagation, Step};
use gitops_engine::follow::reference;
use gitops_engine::lease::{self, Claim, Last};
use gitops_engine::leaving::{Consent, left_behind, sorted};
use gitops_engine::memory::{Memory, Places};
use gitops_engine::sync::{Result as Done, delete};
use gitops_engine::{Loaded, Outcome, Progress, RunHooks, Stop, Survey, SyncOptions, Synced, admit};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::carry_out::{Case, Ended, ended};
use crate::clusters::{self, Surroundings};
use crate::controller::Controller;
use crate::error::Error;
use crate::sight::Sight;
use crate::status::{self, Before, Found};

mod patience;

use patience::{PATIENCE, has_begun, is_late, reason, said};

/// How long each hook, and the wait until all is gone, may take.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Between two looks at what is going.
const INTERVAL: Duration = Duration::from_secs(2);
/// Between two tries that fail.
const FAILED: Duration = Duration::from_secs(10);
/// Tries to take the finalizer off, while others write.
const RELEASES: usize = 5;
/// Objects that stay and are named.
const NAMED: usize = 5;

/// How far it is: whether its objects are going, and what it waits for.
struct Left {
    begun: bool,
    why: String,
    again: Duration,
}

/// What a look has come to.
enum Came {
    /// Nothing is left of it but what is to stay.
    Gone {
        kept: Vec<String>,
    },
    Left(Left),
}

/// Goes on deleting; none: there is nothing left to do.
pub async fn look(controller: &Arc<Controller>, application: &Application) -> Option<Duration> {
    if !application.finalizers().iter().any(|known| known == FINALIZER_PRUNE) {
        return None;
    }
    let begun = is_begun(controller, application);
    let left = match (Deletion { controller, application, begun }).go_on().await {
        Ok(Came::Gone { kept }) => {
            if !kept.is_empty() {
                controller.events.normal(application, "Kept", &format!("it stays: {}", kept.join("; ")));
            }
            return release(controller, application).await;
        }
        Ok(Came::Left(left)) => left,
        Err(error) => {
            Left { begun: is_begun(controller, application), why: error.to_string(), again: FAILED }
        }
    };
    tracing::info!(application = %reference(application), why = left.why, "it is being deleted");
    let tried = tried(controller, application, left.begun);
    if !is_late(said(application, left.begun, jiff::Timestamp::now()), tried) {
        say(controller, application, &left).await;
        return Some(left.again);
    }
    let name = application.name_any();
    let find = format!("kubectl get all -A -l {LABEL_APPLICATION}={name}");
    let why = format!("deleted without what it had ({find}): {}", left.why);
    controller.events.warn(application, "Orphaned", &why);
    release(controller, application).await
}

/// Whether its objects are going already. What is watched may lag behind what this
/// replica has said itself.
fn is_begun(controller: &Controller, application: &Application) -> bool {
    let is_known = controller.memory(application).deletion.is_some_and(|(begun, _)| begun);
    is_known || has_begun(application)
}

/// For how long it has been tried here where it is.
fn tried(controller: &Controller, application: &Application, begun: bool) -> Duration {
    let mut memory = controller.memory(application);
    let since = match memory.deletion {
        Some((known, since)) if known == begun => since,
        _ => Instant::now(),
    };
    memory.deletion = Some((begun, since));
    controller.remember(&reference(application), memory);
    since.elapsed()
}

/// Says in condition Deleting what it waits for, and how to go on without.
async fn say(controller: &Arc<Controller>, application: &Application, left: &Left) {
    let name = reference(application);
    let way_out = format!(
        "what is left after {} minutes is left behind; at once: kubectl patch application {} -n {} --type=merge -p '{{\"metadata\":{{\"finalizers\":null}}}}'",
        PATIENCE.as_secs() / 60,
        name.name,
        name.namespace
    );
    let said = ("True", reason(left.begun), format!("{}\n{way_out}", left.why));
    let found = Found { deleting: Some(said), ..Found::default() };
    if let Err(error) =
        status::write(&controller.cluster, application, Before::watched(application), &found).await
    {
        tracing::warn!(application = %name, %error, "the status could not be written");
    }
}

/// An Application on its way out.
struct Deletion<'a> {
    controller: &'a Arc<Controller>,
    application: &'a Application,
    begun: bool,
}

impl Deletion<'_> {
    /// Deletes what is there of the last commit that was synced, and of those
    /// before.
    async fn go_on(&self) -> Result<Came, Error> {
        let (controller, application) = (self.controller, self.application);
        let project = controller.project(application);
        let admitted = admit::under_project(&controller.cluster, application, project.as_deref()).await;
        // What is its own goes all the same, but nothing new is made for it.
        let (loaded, refusal) = match admitted {
            Ok(loaded) => (loaded, None),
            Err(error) => {
                (admit::without_project(&controller.cluster, application).await?, Some(error.to_string()))
            }
        };
        let known = controller.surroundings(application, false).await?;
        let known = known.ok_or_else(|| Error::Git("its cluster has not answered yet".into()))?;
        if !known.member.is_here() {
            // It was released when all was done.
            if controller.memory(application).released {
                return Ok(Came::Gone { kept: Vec::new() });
            }
            // Unless its mirror is on its way out, that cluster's webhook lets nothing go.
            clusters::leave(controller, &known, &loaded.application).await?;
        }
        let came = self.clear(&loaded, known.clone(), refusal).await?;
        if matches!(came, Came::Gone { .. }) && !known.member.is_here() {
            clusters::release(controller, &known, &loaded.application).await?;
            let mut memory = controller.memory(application);
            memory.released = true;
            controller.remember(&loaded.application, memory);
        }
        Ok(came)
    }

    /// Runs the hooks and deletes the objects, or goes on with it.
    async fn clear(
        &self,
        loaded: &Loaded,
        known: Surroundings,
        refusal: Option<String>,
    ) -> Result<Came, Error> {
        let (controller, application) = (self.controller, self.application);
        let (known, survey) = self.survey(loaded, known).await?;
        let refusal = refusal.or_else(|| self.refused_hook(&survey));
        let (mut going, staying) = sorted(loaded, &survey, Consent::default());
        let behind = left_behind(loaded, &survey, refusal.is_none());
        going.extend(behind.iter());
        let has_hooks = |phase: Phase| survey.plan.hooks.iter().any(|hook| hook.phase == phase);
        let last = self.begun && refusal.is_none() && has_hooks(Phase::PostDelete);
        let is_going = |step: &&&Step| {
            survey
                .live
                .get(&step.key)
                .is_some_and(|live| live.pointer("/metadata/deletionTimestamp").is_some())
        };
        let all_go = going.iter().filter(is_going).count() == going.len();
        let named = staying.iter().take(NAMED).map(|(step, why)| format!("{} ({why})", step.key));
        let kept: Vec<String> = named.collect();
        if going.is_empty() && !last {
            return Ok(Came::Gone { kept });
        }
        if self.begun && all_go && !going.is_empty() {
            return Ok(Came::Left(still(&going)));
        }
        let case = Case { controller, application, loaded, known: &known };
        Ok(match self.delete(&case, &survey, &going, refusal).await? {
            Some(left) => Came::Left(left),
            None => Came::Gone { kept },
        })
    }

    /// The cluster beside the last commit that was synced, or the newest one where
    /// that is not here.
    async fn survey(&self, loaded: &Loaded, known: Surroundings) -> Result<(Surroundings, Survey), Error> {
        let (controller, application) = (self.controller, self.application);
        let (project, far, synced) = (None, None, Synced::Anywhere);
        let sight = Sight { controller, application, project, far, loaded, synced };
        let tip = controller.poller.commit(loaded, &known.environment, None).await;
        let synced = application.status.as_ref().and_then(|status| status.history.first());
        if let Some(entry) = synced {
            match sight.compared(known.clone(), &entry.revision).await {
                Err(error) if !matches!(tip, Ok(Some(_))) => {
                    return Err(tip.err().unwrap_or(error));
                }
                Err(_) => {}
                found => return found,
            }
        }
        match tip? {
            Some(commit) => sight.compared(known, &commit.id).await,
            None => Err(Error::Git("Git has not answered yet".into())),
        }
    }

    /// Why the Project does not admit a hook of the deletion.
    fn refused_hook(&self, survey: &Survey) -> Option<String> {
        let project = self.controller.project(self.application)?;
        let cluster = &self.application.spec.destination.cluster;
        let own = |hook: &&HookStep| matches!(hook.phase, Phase::PreDelete | Phase::PostDelete);
        survey.plan.hooks.iter().filter(own).find_map(|hook| {
            let admitted = admit::object(&project, cluster, (&hook.key, &hook.gvk), || json!({}));
            admitted.err().map(|error| error.to_string())
        })
    }

    /// Deletes and runs hooks; none: nothing is left to do.
    async fn delete(
        &self,
        case: &Case<'_>,
        survey: &Survey,
        going: &[&Step],
        refusal: Option<String>,
    ) -> Result<Option<Left>, Error> {
        let (controller, loaded, environment) = (self.controller, case.loaded, &case.known.environment);
        let cluster = case.writer()?;
        let stop = Stop::default();
        // A namespace that is going takes no Lease, and no hook either.
        let (lease, hooks) = match lease::claim(
            case.known.cluster(),
            &loaded.application,
            controller.holder(),
            &Last::Unknown,
            survey.places(),
            &stop.hold,
        )
        .await
        {
            Claim::Held(lease) => (Some(*lease), refusal.is_none()),
            Claim::Taken { holder } => {
                let why = format!("it is being synced by {holder}");
                return Ok(Some(Left { begun: self.begun, why, again: INTERVAL }));
            }
            Claim::Unusable(_) => (None, false),
            Claim::Failed(error) => return Err(error.into()),
        };
        let notes = Memory::at(&cluster, environment, &loaded.application);
        if self.begun {
            // Another replica may have begun.
            notes.write(&Places { deleting: true, ..notes.read() });
        }
        let options = SyncOptions {
            timeout: TIMEOUT,
            hooks: if hooks { RunHooks::Always } else { RunHooks::Never },
            ..SyncOptions::default()
        };
        let told = AtomicBool::new(self.begun);
        let progress = Watchman { controller, application: self.application, stop: &stop, told };
        let what = (going, Propagation::Background);
        let done = delete(&cluster, loaded, environment, survey, what, &options, &progress, &stop).await;
        if let Some(lease) = lease {
            lease.release(&notes, done.is_ok()).await;
        }
        let report = done?;
        let gone = report.results.iter().any(|result| result.hook.is_none());
        let begun = self.begun || gone && !report.results.iter().all(is_skipped);
        let left = |why: String, again| Ok(Some(Left { begun, why, again }));
        match ended(&report) {
            _ if report.interrupted || report.lost => left("it goes on elsewhere".into(), INTERVAL),
            Ended::Badly(why) => left(why, FAILED),
            // The last hooks have ended well: all was gone before.
            _ if report.results.iter().any(|result| result.hook == Some(Phase::PostDelete)) => Ok(None),
            _ if going.is_empty() => Ok(None),
            _ => {
                let mut waits = still(going);
                if let Some(refusal) = refusal {
                    waits.why = format!("{}; its hooks are not run: {refusal}", waits.why);
                }
                left(waits.why, waits.again)
            }
        }
    }
}

fn is_skipped(result: &Done) -> bool {
    matches!(result.outcome, Outcome::Skipped(_)) || result.hook.is_some()
}

fn still(going: &[&Step]) -> Left {
    let such = going.first().map(|step| step.key.to_string()).unwrap_or_default();
    let why = format!("{} objects are still there, such as {such}", going.len());
    Left { begun: true, why, again: INTERVAL }
}

/// Ends a deletion between two objects when the program ends, and says that it has
/// begun: whoever goes on with it has to know.
struct Watchman<'a> {
    controller: &'a Arc<Controller>,
    application: &'a Application,
    stop: &'a Stop,
    told: AtomicBool,
}

impl Watchman<'_> {
    fn look(&self) {
        if self.controller.is_draining() {
            self.stop.interrupted.store(true, Ordering::Relaxed);
        }
    }
}

impl Progress for Watchman<'_> {
    fn object(&self, result: &Done) {
        self.look();
        let goes = result.hook.is_none() && matches!(result.outcome, Outcome::Done);
        if goes && !self.told.swap(true, Ordering::Relaxed) {
            tried(self.controller, self.application, true);
            let (controller, application) = (self.controller.clone(), self.application.clone());
            let left = Left { begun: true, why: "its objects are going".into(), again: INTERVAL };
            tokio::spawn(async move { say(&controller, &application, &left).await });
        }
    }

    fn waiting(&self, _: &[(ObjectKey, HealthReport)]) {
        self.controller.queue.waits(&reference(self.application));
        self.look();
    }
}

/// Takes the finalizer off; a moment later, if that is refused. Its status has been
/// written since it was read, so it is read again.
async fn release(controller: &Arc<Controller>, application: &Application) -> Option<Duration> {
    let api: Api<Application> =
        Api::namespaced(controller.cluster.client(), &application.namespace().unwrap_or_default());
    let (name, uid) = (application.name_any(), application.uid());
    for _ in 0..RELEASES {
        let now = match api.get_opt(&name).await {
            Ok(Some(now)) if now.uid() == uid => now,
            Ok(_) => return None,
            Err(error) => return failed(application, &error),
        };
        let kept: Vec<&String> = now.finalizers().iter().filter(|known| *known != FINALIZER_PRUNE).collect();
        let patch = json!({"metadata": {"finalizers": kept, "resourceVersion": now.resource_version()}});
        match api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => return None,
            Err(kube::Error::Api(status)) if status.code == 404 => return None,
            // It has changed meanwhile.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return failed(application, &error),
        }
    }
    Some(INTERVAL)
}

fn failed(application: &Application, error: &kube::Error) -> Option<Duration> {
    tracing::warn!(application = %reference(application), %error, "its finalizer could not be taken off");
    Some(FAILED)
}
