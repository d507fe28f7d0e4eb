//! One Application's sync: surveyed, claimed, confirmed, carried out. In: what
//! was typed, and the Application. Out: a report and an exit code.

use std::time::Instant;

use gitops_core::plan::Doubt;
use gitops_engine::memory::Memory;
use gitops_engine::sync::unmarked;
use gitops_engine::{
    DryRun, Loaded, Report as SyncReport, Stop, Survey, SyncOptions, has_work, namespaces, sync,
};
use gitops_source::Commit;

use super::Arguments;
use super::ahead::{Look, Writes, settled};
use crate::applications::{Destination, declared, tell_mistakes};
use crate::claiming::claim;
use crate::error::{Failure, code};
use crate::output::Report;
use crate::printer::Printer;
use crate::synctext::{self, Lines};

/// How it ended.
pub(super) struct Done {
    pub report: Report,
    pub code: u8,
    /// Whether there is any use in going on with others.
    pub goes_on: bool,
}

/// One Application's sync.
pub(super) struct Case<'a> {
    pub destination: &'a Destination,
    pub loaded: &'a Loaded,
    /// The Applications of the same file.
    pub known: &'a [Loaded],
    pub arguments: &'a Arguments,
    pub printer: &'a Printer,
    pub stop: &'a Stop,
    pub writes: &'a Writes,
    /// Of the Application's Lease, before Git was looked at.
    pub version: Option<String>,
}

impl Case<'_> {
    /// Syncs it, where it differs from what was seen of it.
    pub async fn run(&self, look: Look, options: &SyncOptions) -> Result<Done, Failure> {
        let (start, cluster, loaded) = (Instant::now(), &self.destination.cluster, self.loaded);
        let writes = options.dry_run == DryRun::None;
        let (mut commit, mut survey) = look.survey(self.destination, loaded, self.known, self.writes).await?;
        tell_mistakes(&survey, self.printer);
        if writes {
            namespaces::ensure(cluster, loaded, &survey).await?;
        }
        let environment = &self.destination.environment;
        let mut lease = None;
        self.warn_of_rollouts(&survey, options).await?;
        let drives = options.wait && !survey.rollouts.is_empty();
        let adopts = unmarked(&survey, options).next().is_some();
        let works = writes && (drives || has_work(cluster, loaded, environment, &survey, options) || adopts);
        if works {
            let hold = &self.stop.hold;
            lease = claim(cluster, &loaded.application, &survey, hold, "nothing was applied", self.printer)
                .await?;
            // Someone has synced since Git was looked at, or may have where no
            // Lease tells: what it said is over.
            if lease.as_ref().is_none_or(|lease| lease.before != self.version) {
                self.destination.look_again();
                (commit, survey) = self.survey().await?;
            }
        }
        let done = async {
            // What a Rollout holds back is not waited for before it is driven.
            let first = SyncOptions { wait: options.wait && !drives, ..options.clone() };
            let mut done = self.carry_out(&survey, &commit, &first, start).await?;
            let is_whole = !done.interrupted && !done.lost && done.broken.is_none();
            let rolled = if is_whole { self.drive(&survey, options, &mut done).await? } else { code::YES };
            Ok::<_, Failure>((done, rolled))
        };
        let done = done.await;
        self.writes.note(works);
        if let Some(lease) = lease {
            let memory = Memory::at(cluster, environment, &loaded.application);
            lease.release(&memory, done.is_ok()).await;
        }
        let (done, rolled) = done?;
        let is_whole = !done.interrupted && !done.lost && done.broken.is_none();
        let report = synctext::report(loaded, &survey, &done);
        // It is large: nobody waits until it is gone, the end of the program least.
        tokio::task::spawn_blocking(move || drop(survey));
        Ok(Done {
            report,
            code: synctext::exit_code(&done).max(rolled),
            goes_on: is_whole && rolled != code::INTERRUPTED,
        })
    }

    pub(super) async fn survey(&self) -> Result<(Commit, Survey), Failure> {
        let revision = self.arguments.selection.revision.as_deref();
        let Destination { environment, discovery, .. } = self.destination;
        let (commit, set) = declared(self.loaded, environment, revision, discovery).await?;
        let survey = settled(self.destination, self.loaded, self.known, set, None).await?;
        tell_mistakes(&survey, self.printer);
        Ok((commit, survey))
    }

    async fn carry_out(
        &self,
        survey: &Survey,
        commit: &Commit,
        options: &SyncOptions,
        start: Instant,
    ) -> Result<SyncReport, Failure> {
        self.confirm(survey, options)?;
        let talk = self.arguments.output.is_text();
        let progress = Lines::new(self.printer, survey, options.dry_run, talk);
        let (cluster, environment) = (&self.destination.cluster, &self.destination.environment);
        let done = sync(cluster, self.loaded, environment, survey, options, &progress, self.stop).await;
        progress.finish();
        let done = done?;
        if talk {
            synctext::summary(self.loaded, commit, &done, options.dry_run, start.elapsed(), self.printer);
        }
        if let Some(error) = &done.broken {
            self.printer.failure(&Failure::from(error.clone()));
        }
        Ok(done)
    }

    /// Asks a person before much is deleted; where there is none to ask,
    /// nothing is done at all.
    fn confirm(&self, survey: &Survey, options: &SyncOptions) -> Result<(), Failure> {
        let budget = self.loaded.spec.prune_budget();
        let doubt = survey.doubt(budget, &options.select, self.arguments.allow_empty);
        let doubt = doubt.filter(|_| options.prune);
        let Some(doubt) = doubt else { return Ok(()) };
        let is_empty = matches!(doubt, Doubt::Empty { .. });
        if options.dry_run != DryRun::None {
            self.printer.warning(&doubt.to_string());
            return Ok(());
        }
        if !is_empty
            && (self.arguments.confirm_prune || self.printer.confirms(&format!("{doubt}. Prune them?")))
        {
            return Ok(());
        }
        let hint = if is_empty {
            "if that is meant, use --allow-empty"
        } else {
            "look at them with --dry-run; if that is meant, use --confirm-prune"
        };
        Err(Failure {
            message: format!("{doubt}; nothing was applied"),
            hint: Some(hint.into()),
            code: code::CONFLICT,
        })
    }
}
