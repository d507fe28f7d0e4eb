//! Rollouts in a sync from here. In: an Application's survey. Out: where nobody
//! drives them, a word about it; with --wait, each driven to its end.

use std::cell::RefCell;

use gitops_engine::analysis::Analyser;
use gitops_engine::rollout::here::{self, Ended, Told};
use gitops_engine::rollout::{Driver, Ground, Rolling};
use gitops_engine::{DryRun, Report as SyncReport, Survey, SyncOptions, has_work, sync};

use super::case::Case;
use crate::asking;
use crate::error::{Failure, code};
use crate::synctext::Lines;

/// Whether a version waits to be let in, or is on its way.
fn moves(rolling: &Rolling) -> bool {
    rolling.is_waiting() || rolling.state.is_under_way()
}

impl Case<'_> {
    /// Says, before anything is written, what nobody goes on with.
    pub(super) async fn warn_of_rollouts(
        &self,
        survey: &Survey,
        options: &SyncOptions,
    ) -> Result<(), Failure> {
        let held: Vec<&Rolling> = survey.rollouts.iter().filter(|rolling| moves(rolling)).collect();
        if held.is_empty() || options.dry_run != DryRun::None || options.wait {
            return Ok(());
        }
        if asking::controller_runs(&self.destination.cluster).await? {
            return Ok(());
        }
        for rolling in held {
            self.printer.warning(&format!(
                "{}: no controller runs here that lets its new version in; kubectl gitops sync {} --wait does",
                rolling.key, self.loaded.application.name
            ));
        }
        Ok(())
    }

    /// Drives every Rollout to its end, and says how it ended; what the syncs did
    /// is added to `done`.
    pub(super) async fn drive(
        &self,
        survey: &Survey,
        options: &SyncOptions,
        done: &mut SyncReport,
    ) -> Result<u8, Failure> {
        if survey.rollouts.is_empty() || !options.wait || options.dry_run != DryRun::None {
            return Ok(code::YES);
        }
        let (cluster, environment) = (&self.destination.cluster, &self.destination.environment);
        let analyser = Analyser::new(cluster.clone()).map_err(|error| Failure::other(error.to_string()))?;
        let discovery = &self.destination.discovery;
        let driver = Driver {
            ground: Ground { cluster, discovery, loaded: self.loaded, environment },
            writer: cluster,
            analyser: &analyser,
            may_begin: true,
            is_judged: true,
        };
        let talk = self.arguments.output.is_text();
        let told = |told: Told<'_>| self.tell(&told, talk);
        let (waiting, options) = (options, SyncOptions { wait: false, ..options.clone() });
        let reports = RefCell::new(Vec::new());
        let once = async |survey: &Survey| {
            if !has_work(cluster, self.loaded, environment, survey, &options) {
                return Ok(());
            }
            let progress = Lines::new(self.printer, survey, options.dry_run, talk);
            let done = sync(cluster, self.loaded, environment, survey, &options, &progress, self.stop).await;
            progress.finish();
            reports.borrow_mut().push(done?);
            Ok(())
        };
        let look = async || {
            self.destination.look_again();
            self.survey().await.map(|(_, survey)| survey)
        };
        let ended = here::to_the_end(&driver, look, once, told, self.stop, options.timeout).await?;
        let mut reports = reports.into_inner();
        if ended == Ended::Promoted {
            let progress = Lines::new(self.printer, survey, waiting.dry_run, false);
            let survey = self.survey().await?.1;
            reports
                .push(sync(cluster, self.loaded, environment, &survey, waiting, &progress, self.stop).await?);
        }
        for report in reports {
            done.timed_out |= report.timed_out;
            done.results.retain(|known| report.results.iter().all(|new| new.key != known.key));
            done.results.extend(report.results);
        }
        Ok(self.ended(&ended))
    }

    fn tell(&self, told: &Told<'_>, talk: bool) {
        match told {
            Told::Moved(one) if talk => {
                let weight = one.state.setting.weight;
                let words = if one.state.message.is_empty() {
                    String::new()
                } else {
                    format!(": {}", one.state.message)
                };
                self.printer.line(&format!("{} is {:?} at weight {weight}{words}", one.key, one.state.phase));
            }
            Told::Pushed(one, Ok(commit)) => {
                self.printer.talk(&format!("{}: Git goes back by {commit}", one.key))
            }
            Told::Pushed(one, Err(error)) => {
                self.printer
                    .warning(&format!("{}: Git could not be rolled back, trying again: {error}", one.key));
            }
            Told::Moved(_) => {}
        }
    }

    fn ended(&self, ended: &Ended) -> u8 {
        match ended {
            Ended::Promoted => code::YES,
            Ended::Waits(all) => {
                all.iter().for_each(|words| self.printer.talk(words));
                code::YES
            }
            Ended::Aborted(all) => {
                all.iter().for_each(|words| self.printer.warning(words));
                code::NO
            }
            Ended::Stopped => code::INTERRUPTED,
            Ended::TimedOut => {
                self.printer.warning("a Rollout is still under way; running this again goes on with it");
                code::TIMEOUT
            }
        }
    }
}
