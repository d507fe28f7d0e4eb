//! What a look has found, in words. In: a survey after the sync, if there was
//! one. Out: sync and health, with their conditions.

use std::time::{Duration, Instant};

use gitops_core::health::Health;
use gitops_core::plan::Action;
use gitops_engine::{Loaded, Rules, Survey, healths};

use super::{FAILED, Look, PROGRESSING};
use crate::clusters::Surroundings;
use crate::controller::Still;
use crate::error::Error;
use crate::schedule::Decision;
use crate::sight::{counted, left};
use crate::status::{Found, Said};

/// How often the Secrets are read with which Git cannot be asked.
const SECRETS: Duration = Duration::from_secs(30);
/// While the API server cannot be asked, at most so long between two tries.
const AWAY: Duration = Duration::from_secs(15);

impl Look<'_> {
    pub(super) fn say_synced(
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
            (None, _) if out_of_sync == 0 => {
                let words = counted(total, "object is", "objects are");
                ("True", "Synced", format!("{words} as Git says{}", held_back(survey)))
            }
            (None, Decision::Leave { reason, message, .. }) => {
                let words = counted(out_of_sync, "object differs", "objects differ");
                ("False", *reason, format!("{words} from Git: {message}"))
            }
            (None, _) => ("False", "OutOfSync", left(loaded, survey, out_of_sync)),
        };
        self.found.sync = Some(if out_of_sync == 0 && said.0 == "True" { "Synced" } else { "OutOfSync" });
        self.found.synced = Some(said);
    }

    pub(super) async fn say_health(
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
        let judged = healths(known.cluster(), &known.discovery, &rules, objects).await;
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
        let why = bad
            .iter()
            .take(3)
            .map(|(key, state)| format!("{key} is {}: {}", state.health.name(), state.message));
        let message = why.collect::<Vec<_>>().join("\n");
        if worst == Health::Progressing {
            self.memory.still.note(&message);
            self.again = self.again.min(PROGRESSING.pause(self.memory.still.looks));
        } else {
            self.memory.still = Still::default();
        }
        let is_well = matches!(worst, Health::Healthy | Health::Suspended);
        self.found.healthy = Some((if is_well { "True" } else { "False" }, worst.name(), message));
        self.found.health = Some(worst.name());
        Ok(())
    }

    /// What cannot even be compared.
    pub(super) fn failed(&mut self, error: &Error) {
        self.memory.failed += 1;
        tracing::warn!(application = %self.name, %error, "it cannot be compared with Git");
        let reason = match error {
            Error::Destination { reason, .. } => *reason,
            _ => "Failed",
        };
        self.found = Found {
            sync: Some("Unknown"),
            synced: Some(("Unknown", reason, error.to_string())),
            operation: self.asked.as_ref().map(|asked| asked.operation("Failed", &error.to_string())),
            // Of a Rollout that went on all the same.
            entries: std::mem::take(&mut self.found.entries),
            settled: self.found.settled.take(),
            ..Found::default()
        };
        let pause = FAILED.pause(self.memory.failed);
        self.again = match error {
            // What is asked with a Secret may be asked with another one by now.
            Error::Git(_) if self.has_secrets() => pause.min(SECRETS).min(self.again),
            // Git wakes its Applications itself.
            Error::Git(_) => self.again,
            // It comes back for all at once, and nobody tells of that.
            _ if error.is_of_the_way() => pause.min(AWAY),
            _ => pause.min(self.again),
        };
    }

    fn has_secrets(&self) -> bool {
        self.application.spec.all_sources().iter().any(|source| source.secret_ref.is_some())
    }
}

/// The Rollouts that hold back what Git says.
fn held_back(survey: &Survey) -> String {
    let held = survey.rollouts.iter().filter(|rolling| rolling.is_behind());
    held.map(|rolling| {
        let state = &rolling.state;
        let words = if state.message.is_empty() { String::new() } else { format!(", {}", state.message) };
        format!("; {} holds back its new version: {:?}{words}", rolling.key, state.phase)
    })
    .collect()
}
