//! Rollouts of an Application. In: a survey, and whether it is synced now. Out:
//! their next states, written; after the sync that follows, the commits that
//! failed ones ask for.

use std::time::Duration;

use gitops_api::request::is_judged;
use gitops_core::rollout::state::{Phase, State};
use gitops_engine::Survey;
use gitops_engine::lease;
use gitops_engine::rollout::{Driver, Ground, Moved, Rolling};

use super::{Look, SOON};
use crate::carry_out::Case;
use crate::clusters::Surroundings;
use crate::error::Error;
use crate::schedule::Decision;
use crate::sight::Sight;

/// After a state was written: what follows from it takes a moment.
pub(super) const MOVED: Duration = Duration::from_millis(500);
/// Before a commit that could not be pushed is looked at again.
const PUSH: Duration = Duration::from_secs(20);

/// What driving came to.
pub(super) enum Driven {
    /// Every Rollout stands where it stood.
    Still,
    /// Some have moved. Those that ask for a commit.
    Moved(Vec<Moved>),
}

impl Look<'_> {
    /// Drives the Application's Rollouts by one step each.
    pub(super) async fn drive(
        &mut self,
        sight: &Sight<'_>,
        known: &Surroundings,
        survey: &Survey,
    ) -> Result<Driven, Error> {
        self.memory.rolls = survey.rollouts.iter().any(|rolling| rolling.state.is_under_way());
        self.rolls |= self.memory.rolls;
        if survey.rollouts.is_empty() || self.suspension().is_some() {
            return Ok(Driven::Still);
        }
        let controller = self.controller;
        if survey.rollouts.iter().all(Rolling::is_quiet) {
            return Ok(Driven::Still);
        }
        if let Some(holder) = lease::held(known.cluster(), &self.name, controller.holder()).await? {
            tracing::debug!(application = %self.name, holder, "somebody else syncs it, and drives its Rollouts");
            self.again = self.again.min(SOON);
            return Ok(Driven::Still);
        }
        let (application, loaded) = (self.application, sight.loaded);
        let writer = Case { controller, application, loaded, known }.writer()?;
        let analyser = controller.analyser(known.cluster(), &writer)?;
        let driver = Driver {
            ground: ground(sight, known),
            writer: &writer,
            analyser: &analyser,
            may_begin: self.may_begin,
            is_judged: is_judged(Some(&self.before)),
        };
        let pushes = self.memory.pushes.clone();
        let now = jiff::Timestamp::now();
        let moved = driver.drive(survey, &|key| pushes.of(key), now).await?;
        for one in &moved {
            self.note(one);
        }
        let has_moved = moved.iter().any(Moved::has_moved);
        if has_moved {
            self.rolls = true;
            self.again = self.again.min(MOVED);
            // What failed before is not what is to be done now.
            self.memory.attempts.succeeded();
        }
        let failed: Vec<Moved> = moved.into_iter().filter(|one| !one.wishes.is_empty()).collect();
        Ok(if has_moved || !failed.is_empty() { Driven::Moved(failed) } else { Driven::Still })
    }

    /// What a Rollout has begun goes on, whatever keeps other syncs out.
    pub(super) fn goes_on(&self, survey: &Survey, has_work: bool, decided: Decision) -> Decision {
        let rolls = self.rolls
            || !survey.leftovers.is_empty()
            || survey.rollouts.iter().any(|rolling| rolling.state.is_under_way());
        match &decided {
            Decision::Leave { reason: "Manual" | "Drift" | "Window", .. } if rolls && has_work => {
                Decision::Sync
            }
            _ => decided,
        }
    }

    /// Says what a Rollout does, and when to look again.
    fn note(&mut self, one: &Moved) {
        self.due = [self.due, one.again].into_iter().flatten().min();
        self.memory.rolls |= one.state.is_under_way();
        if !matches!(one.state.phase, Phase::Aborting | Phase::Aborted) {
            self.memory.pushes.forget(&one.key);
        }
        if let Some(error) = &one.error {
            tracing::warn!(application = %self.name, rollout = %one.key, error, "the Rollout stands still");
            self.controller.events.warn(
                self.application,
                "RolloutStandsStill",
                &format!("{}: {error}", one.key),
            );
        }
        if let (Some(doubt), Phase::Gated) = (&one.doubt, one.state.phase) {
            self.controller.events.warn(
                self.application,
                "RevertNotTrusted",
                &format!("{}: {doubt}", one.key),
            );
        }
        if one.before.phase != one.state.phase {
            let note = format!("{}: {}", one.key, told(&one.state));
            tracing::info!(application = %self.name, rollout = %one.key, phase = ?one.state.phase, message = one.state.message, "Rollout");
            match one.state.phase {
                Phase::Aborting | Phase::Aborted => {
                    self.controller.events.warn(self.application, "RolloutAborted", &note);
                }
                _ => self.controller.events.normal(self.application, "Rollout", &note),
            }
        }
    }

    /// Pushes the commits that failed Rollouts ask for. What cannot be pushed is
    /// tried again, and the next state says why.
    pub(super) async fn push(
        &mut self,
        sight: &Sight<'_>,
        known: &Surroundings,
        failed: &[Moved],
        tip: &str,
    ) {
        for one in failed {
            self.again = self.again.min(PUSH);
            let Some(result) = self.memory.pushes.push(&ground(sight, known), one, tip).await else {
                continue;
            };
            match result {
                Ok(commit) => {
                    tracing::info!(application = %self.name, rollout = %one.key, commit, "rolled back in Git");
                    let note = format!("{}: Git goes back by {commit}", one.key);
                    self.controller.events.normal(self.application, "RolledBack", &note);
                }
                Err(error) => {
                    tracing::warn!(application = %self.name, rollout = %one.key, error, "Git could not be rolled back; trying again");
                }
            }
            self.again = self.again.min(MOVED);
        }
    }
}

fn ground<'a>(sight: &Sight<'a>, known: &'a Surroundings) -> Ground<'a> {
    Ground {
        cluster: known.cluster(),
        discovery: &known.discovery,
        loaded: sight.loaded,
        environment: &known.environment,
    }
}

fn told(state: &State) -> String {
    if state.message.is_empty() {
        format!("{:?}", state.phase)
    } else {
        format!("{:?}: {}", state.phase, state.message)
    }
}
