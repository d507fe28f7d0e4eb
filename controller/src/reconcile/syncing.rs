//! The sync of a look. In: a survey on which it was decided. Out: what went
//! wrong, if so, and what is there then; what the status remembers of it.

use std::time::{Duration, Instant};

use gitops_api::application::{HistoryEntry, OperationStatus};
use gitops_engine::lease::Last;
use gitops_engine::{Loaded, Survey, Synced};

use super::{FAILED, Failure, Look, SOON};
use crate::carry_out::{Case, Ended, Tried};
use crate::clusters::Surroundings;
use crate::error::Error;
use crate::request::RUNNING;
use crate::schedule::Backoff;
use crate::sight::{Sight, prunes};
use crate::status::now;

/// How far behind the API server's cache is, at most.
const CACHED: Duration = Duration::from_millis(500);

impl Look<'_> {
    /// Brings the cluster to what Git says; what is there then, and why not, if so.
    pub(super) async fn brought(
        &mut self,
        sight: &Sight<'_>,
        known: Surroundings,
        survey: Survey,
        revision: &str,
    ) -> Result<(Surroundings, Survey, Option<Failure>), Error> {
        let (failure, there) = self.sync(sight, &known, survey, revision).await?;
        let (known, survey) = match there {
            Some(survey) => (known, survey),
            None => sight.survey(known, revision).await?,
        };
        if failure.is_some() || !self.has_work(sight.loaded, &known, &survey) {
            return Ok((known, survey, failure));
        }
        // The API server's cache is a moment behind what was written.
        tokio::time::sleep(CACHED).await;
        let (known, survey) = sight.survey(known, revision).await?;
        let failure = self.still_differs(sight.loaded, &known, &survey);
        Ok((known, survey, failure))
    }

    /// Who may have synced it, as far as is known before its Lease is read.
    pub(super) fn synced(&self) -> Synced {
        match self.memory.lease {
            // If it was, the claim tells, or the next look.
            Last::Unknown if self.is_new() && self.memory.good.is_none() => Synced::Never,
            Last::Unknown | Last::Never => Synced::Anywhere,
            Last::GivenBack(_) => Synced::Here,
        }
    }

    /// Whether no controller has ever synced it.
    fn is_new(&self) -> bool {
        self.before.history.is_empty()
    }

    /// Syncs; what went wrong, if so, and what is there then, if that is known.
    async fn sync(
        &mut self,
        sight: &Sight<'_>,
        known: &Surroundings,
        survey: Survey,
        revision: &str,
    ) -> Result<(Option<Failure>, Option<Survey>), Error> {
        let (controller, loaded, prune) = (self.controller, sight.loaded, self.prune);
        let unsettles = self.unsettle();
        if let Some(asked) = &self.asked {
            self.found.operation = Some(asked.operation(RUNNING, ""));
        }
        if unsettles || self.asked.is_some() {
            self.write().await;
            self.found.operation = None;
        }
        let case = Case { controller, application: self.application, loaded, known };
        // Whoever has synced meanwhile has noted what is to be known of it.
        let anew = Sight { synced: Synced::Anywhere, ..*sight };
        let again = async || anew.survey(known.clone(), revision).await.map(|(_, survey)| survey);
        let last = std::mem::take(&mut self.memory.lease);
        let last = match last {
            Last::Unknown if self.is_new() => Last::Never,
            last => last,
        };
        let tried = case.run(survey, &last, |survey| prunes(loaded, survey, prune), again).await;
        if tried.is_err() {
            controller.metrics.sync(false);
        }
        let (ended, there) = match tried {
            // Of the sync, not of the look: it counts as a try, unless the cluster
            // is away.
            Err(error) => match known.member.doubt(error) {
                error @ Error::Destination {
                    reason: "ClusterUnreachable" | "ClusterUnauthorized", ..
                } => {
                    return Err(error);
                }
                error => (Ended::Badly(error.to_string()), None),
            },
            Ok(Tried { ended, survey, lease }) => {
                self.memory.lease = lease;
                (ended, survey)
            }
        };
        Ok((self.ended(ended, revision), there))
    }

    /// Says what a sync has come to; what went wrong, if so.
    fn ended(&mut self, ended: Ended, revision: &str) -> Option<Failure> {
        let controller = self.controller;
        // The id stays that of the last request: it is not to be carried out again.
        let last = self.before.operation.as_ref().map(|operation| operation.id.clone());
        let id = self.asked.as_ref().map(|asked| asked.id.clone()).or(last).unwrap_or_default();
        let operation = |phase: &str, message: &str| {
            Some(OperationStatus { id: id.clone(), phase: phase.into(), message: message.into() })
        };
        match ended {
            Ended::Well(summary) if summary.is_empty() && self.asked.is_none() => None,
            Ended::Well(summary) => {
                self.memory.attempts.succeeded();
                let message = if summary.is_empty() { "nothing to change".to_owned() } else { summary };
                tracing::info!(application = %self.name, revision, summary = message, "synced");
                let short: String = revision.chars().take(12).collect();
                controller.events.normal(self.application, "Synced", &format!("commit {short}: {message}"));
                self.found.operation = operation("Succeeded", &message);
                let entry = HistoryEntry { revision: revision.to_owned(), time: now(), message };
                self.found.entries.insert(0, entry);
                self.found.revision = Some(revision.to_owned());
                None
            }
            Ended::Badly(why) => {
                self.memory.attempts.failed(Instant::now(), why.clone());
                self.again = self.again.min(self.pause());
                tracing::warn!(application = %self.name, revision, error = why, "the sync failed");
                controller.events.warn(self.application, "SyncFailed", &why);
                self.found.operation = operation("Failed", &why);
                Some(("Failed", why))
            }
            Ended::Stopped => {
                self.again = Duration::ZERO;
                Some(("Superseded", "a newer commit, spec or request is there: it goes on with that".into()))
            }
            Ended::Locked(holder) => {
                self.again = SOON;
                Some(("Locked", format!("it is being synced by {holder}")))
            }
        }
    }

    fn pause(&self) -> Duration {
        let backoff = Backoff::of(&self.application.spec.sync.retry).unwrap_or(FAILED);
        backoff.pause(self.memory.attempts.failed)
    }

    /// What a sync has left alone counts as a try: it is not tried for ever.
    fn still_differs(&mut self, loaded: &Loaded, known: &Surroundings, survey: &Survey) -> Option<Failure> {
        if !self.has_work(loaded, known, survey) {
            return None;
        }
        let why = "objects still differ after the sync: others change or own them".to_owned();
        self.memory.attempts.failed(Instant::now(), why.clone());
        self.again = self.again.min(self.pause());
        Some(("Failed", why))
    }
}
