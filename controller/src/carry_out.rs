//! One sync. In: a survey that a decision has been made on. Out: what was done
//! and what is there then, under the Application's Lease in the cluster that it
//! goes to, in the name of its service account there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use gitops_api::Application;
use gitops_cluster::Cluster;
use gitops_core::desired::AppRef;
use gitops_core::health::HealthReport;
use gitops_core::names::ANNOTATION_REQUEST;
use gitops_core::object::ObjectKey;
use gitops_core::plan::Action;
use gitops_engine::lease::{self, Claim, Last};
use gitops_engine::memory::Memory;
use gitops_engine::sync::Result as Done;
use gitops_engine::{Loaded, Outcome, Progress, Report, Stop, Survey, SyncOptions, namespaces, sync};
use kube::ResourceExt;

use crate::clusters::Surroundings;
use crate::controller::Controller;
use crate::error::Error;

/// Objects that a message names.
const NAMED: usize = 5;
/// What was there before a sync is still there after it, unless it took longer.
const FRESH: Duration = Duration::from_secs(3);

/// What became of a sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// What was written, in words; empty: nothing.
    Well(String),
    /// What went wrong, and whether something was written all the same.
    Badly(String),
    /// A newer commit, spec or request is there, or the program is about to end:
    /// it goes on from there.
    Stopped,
    /// Somebody else syncs.
    Locked(String),
}

/// A sync that was tried.
pub struct Tried {
    pub ended: Ended,
    /// What is there now, where the sync itself was told.
    pub survey: Option<Survey>,
    /// Its Lease as it was given back.
    pub lease: Last,
}

/// A sync's surroundings.
pub struct Case<'a> {
    pub controller: &'a Arc<Controller>,
    pub application: &'a Application,
    pub loaded: &'a Loaded,
    pub known: &'a Surroundings,
}

impl Case<'_> {
    /// Writes what differs. `last` is what is known of the Lease; `again` surveys
    /// anew, where somebody has synced since.
    ///
    /// # Errors
    /// When the API server cannot be asked, or a namespace is not there.
    pub async fn run(
        &self,
        survey: Survey,
        last: &Last,
        prune: impl Fn(&Survey) -> bool,
        again: impl AsyncFn() -> Result<Survey, Error>,
    ) -> Result<Tried, Error> {
        let (controller, name) = (self.controller, &self.loaded.application);
        let stop = Stop::default();
        let (cluster, places) = (self.known.cluster(), survey.places());
        let lease = match lease::claim(cluster, name, controller.holder(), last, places, &stop.hold).await {
            Claim::Held(lease) => *lease,
            Claim::Taken { holder } => {
                return Ok(Tried { ended: Ended::Locked(holder), survey: None, lease: Last::Unknown });
            }
            Claim::Unusable(error) | Claim::Failed(error) => return Err(error.into()),
        };
        let (begun, has_synced) = (Instant::now(), lease.before != last.version());
        let done = async {
            let survey = if has_synced { again().await? } else { survey };
            let prune = prune(&survey);
            let options = SyncOptions { prune, answers: true, ..SyncOptions::default() };
            let report = self.write(&survey, &options, &stop).await?;
            Ok::<_, Error>((survey, report))
        };
        let done = done.await;
        let memory = Memory::at(cluster, &self.known.environment, name);
        let lease = lease.release(&memory, done.is_ok()).await;
        let (survey, report) = done?;
        if report.interrupted || report.lost {
            return Ok(Tried { ended: Ended::Stopped, survey: None, lease });
        }
        if let Some(error) = report.broken.clone().filter(|_| !self.known.member.is_here()) {
            return Err(error.into());
        }
        let ended = ended(&report);
        controller.metrics.sync(matches!(ended, Ended::Well(_)));
        let survey = match ended {
            Ended::Well(_) if begun.elapsed() < FRESH => {
                survey.after(self.known.cluster(), self.loaded, &self.known.environment, report)?
            }
            _ => None,
        };
        Ok(Tried { ended, survey, lease })
    }

    async fn write(&self, survey: &Survey, options: &SyncOptions, stop: &Stop) -> Result<Report, Error> {
        let (controller, begun) = (self.controller, Instant::now());
        let cluster = self.writer()?;
        namespaces::ensure(&cluster, self.loaded, survey).await?;
        let name = &self.loaded.application;
        let (moves, application) = (controller.poller.moves(name), self.application);
        let progress = Watchman { controller, name, moves, application, stop };
        let environment = &self.known.environment;
        let report = sync(&cluster, self.loaded, environment, survey, options, &progress, stop).await?;
        controller.metrics.phase("apply", begun.elapsed());
        Ok(report)
    }

    /// Whoever writes: the Application's service account, if it names one.
    ///
    /// # Errors
    /// When its name cannot be sent.
    pub fn writer(&self) -> Result<Cluster, Error> {
        let (cluster, account) = (self.known.cluster(), &self.application.spec.service_account_name);
        if account.is_empty() {
            return Ok(cluster.clone());
        }
        Ok(cluster.as_service_account(&self.loaded.application.namespace, account)?)
    }
}

/// Ends a sync that waits while Git has moved on, and any when the Application is
/// another one or the program ends.
struct Watchman<'a> {
    controller: &'a Controller,
    name: &'a AppRef,
    moves: u64,
    /// As it was when the sync began.
    application: &'a Application,
    stop: &'a Stop,
}

impl Watchman<'_> {
    fn ends(&self) -> bool {
        let is_other = || {
            let now = self.controller.application(self.name);
            now.is_none_or(|now| is_other(self.application, &now))
        };
        self.controller.is_draining() || is_other()
    }
}

impl Progress for Watchman<'_> {
    fn object(&self, _: &Done) {
        if self.ends() {
            self.stop.interrupted.store(true, Ordering::Relaxed);
        }
    }

    fn waiting(&self, _: &[(ObjectKey, HealthReport)]) {
        self.controller.queue.waits(self.name);
        if self.controller.poller.moves(self.name) != self.moves || self.ends() {
            self.stop.interrupted.store(true, Ordering::Relaxed);
        }
    }
}

/// Whether an Application says or asks for something else, or is to go.
fn is_other(before: &Application, now: &Application) -> bool {
    let said = |application: &Application| {
        let metadata = &application.metadata;
        (
            metadata.uid.clone(),
            metadata.generation,
            metadata.deletion_timestamp.is_some(),
            application.annotations().get(ANNOTATION_REQUEST).cloned(),
        )
    };
    said(before) != said(now)
}

/// What became of it, in words.
pub fn ended(report: &Report) -> Ended {
    let mut wrong: Vec<String> = report
        .results
        .iter()
        .filter_map(|result| match &result.outcome {
            Outcome::Failed(error) => Some(format!("{}: {error}", result.key)),
            Outcome::HookFailed(why) => Some(format!("hook {}: {why}", result.key)),
            Outcome::Done | Outcome::Skipped(_) => None,
        })
        .collect();
    wrong.extend(report.broken.iter().map(|error| format!("the sync ended early: {error}")));
    if report.timed_out {
        wrong.push("not everything was healthy in time".into());
    }
    if !wrong.is_empty() {
        let more = wrong.len().saturating_sub(NAMED);
        wrong.truncate(NAMED);
        if more > 0 {
            wrong.push(format!("and {more} more"));
        }
        return Ended::Badly(wrong.join("\n"));
    }
    let words = [(Action::Create, "created"), (Action::Update, "updated"), (Action::Prune, "pruned")];
    let counts = words.iter().map(|(action, word)| (report.done(*action), *word));
    let counts = counts
        .chain([(report.adopted(), "adopted"), (report.hooks(), "hooks run")])
        .filter(|(count, _)| *count > 0);
    Ended::Well(counts.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use gitops_cluster::ClusterError;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    #[test]
    fn what_an_application_says_and_asks_ends_a_sync_of_before() {
        let before = Application::new("a", gitops_api::ApplicationSpec::default());
        let with = |change: fn(&mut Application)| {
            let mut now = before.clone();
            change(&mut now);
            is_other(&before, &now)
        };
        assert!(!with(|_| {}));
        assert!(!with(|now| now.status = Some(gitops_api::application::ApplicationStatus::default())));
        assert!(!with(|now| drop(now.annotations_mut().insert("by".into(), "x".into()))));
        assert!(with(|now| now.metadata.generation = Some(2)));
        assert!(with(|now| now.metadata.uid = Some("u".into())));
        assert!(with(|now| now.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH))));
        assert!(with(|now| drop(now.annotations_mut().insert(ANNOTATION_REQUEST.into(), "{}".into()))));
    }

    #[test]
    fn a_sync_that_ended_early_has_not_gone_well() {
        assert_eq!(ended(&Report::default()), Ended::Well(String::new()));
        let broken = Some(ClusterError::Timeout { what: "GET /apis".into() });
        let report = Report { broken, ..Report::default() };
        assert!(matches!(ended(&report), Ended::Badly(why) if why.contains("GET /apis")));
        let late = Report { timed_out: true, ..Report::default() };
        assert!(matches!(ended(&late), Ended::Badly(_)));
    }
}
