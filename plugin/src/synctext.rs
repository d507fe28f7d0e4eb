//! A sync in words: a line for every object, a sum at the end, an exit code.

use std::time::Duration;

use gitops_cluster::{ClusterError, ErrorKind};
use gitops_core::health::{Health, HealthReport};
use gitops_core::object::ObjectKey;
use gitops_core::plan::Action;
use gitops_engine::sync::{Outcome, Result as ObjectResult};
use gitops_engine::{DryRun, Loaded, Progress, Report as SyncReport, Survey};
use gitops_source::Commit;
use indicatif::{ProgressBar, ProgressStyle};

use crate::error::{Failure, code};
use crate::output::{self, ObjectId, ObjectReport, Report};
use crate::printer::{Ink, Printer};

/// Progress: a bar where someone watches, plain lines elsewhere.
pub struct Lines<'a> {
    printer: &'a Printer,
    bar: Option<ProgressBar>,
    dry_run: DryRun,
    talk: bool,
    /// What became of what went.
    went: &'static str,
}

impl<'a> Lines<'a> {
    pub fn new(printer: &'a Printer, survey: &Survey, dry_run: DryRun, talk: bool) -> Self {
        let bar = (talk && printer.is_watched()).then(|| {
            let bar = ProgressBar::new(survey.plan.steps.len() as u64);
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { printer, bar, dry_run, talk, went: "pruned" }
    }

    /// The same, where objects go because a person says so.
    #[must_use]
    pub fn deleting(self) -> Self {
        Self { went: "deleted", ..self }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.printer.line(text)),
            None => self.printer.line(text),
        }
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Lines<'_> {
    fn object(&self, result: &ObjectResult) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
            bar.set_message(result.key.to_string());
        }
        if !self.talk {
            return;
        }
        let would = if self.dry_run == DryRun::None { "" } else { " (dry run)" };
        let object = match result.hook {
            Some(phase) => format!("{phase:?} hook {}", result.key),
            None => result.key.to_string(),
        };
        let failed = |why: &dyn std::fmt::Display| {
            self.line(&format!("{} {object}: {why}", self.printer.ink(Ink::Live, "failed")));
        };
        match &result.outcome {
            Outcome::Done if result.action == Action::Unchanged && !result.marked => {}
            Outcome::Done => {
                let (word, ink) = match result.action {
                    _ if result.hook.is_some() => ("ran", Ink::Git),
                    Action::Create => ("created", Ink::Git),
                    Action::Update => ("changed", Ink::Change),
                    Action::Unchanged => ("adopted", Ink::Dim),
                    _ => (self.went, Ink::Live),
                };
                let note = if result.note.is_empty() { String::new() } else { format!(": {}", result.note) };
                self.line(&format!("{} {object}{would}{note}", self.printer.ink(ink, word)));
            }
            Outcome::Skipped(reason) => {
                self.line(&format!("{} {object}: {reason}", self.printer.ink(Ink::Dim, "skipped")));
            }
            Outcome::HookFailed(why) => failed(why),
            Outcome::Failed(error) => {
                failed(error);
                let decides = matches!(error, ClusterError::Fields { .. } | ClusterError::Immutable { .. });
                if let Some(hint) = Failure::from(error.clone()).hint.filter(|_| decides) {
                    self.line(&format!("  hint: {hint}"));
                }
            }
        }
    }

    fn waiting(&self, waiting: &[(ObjectKey, HealthReport)]) {
        if let (Some(bar), Some((key, state))) = (&self.bar, waiting.first()) {
            bar.set_message(format!("waiting for {} objects: {key}: {}", waiting.len(), state.message));
        }
    }
}

/// What was done, in a line; and what is to be known beside it.
pub fn summary(
    loaded: &Loaded,
    commit: &Commit,
    done: &SyncReport,
    dry_run: DryRun,
    took: Duration,
    printer: &Printer,
) {
    let skipped = done.results.iter().filter(|result| matches!(result.outcome, Outcome::Skipped(_))).count();
    let mut parts = vec![
        format!("{} created", done.done(Action::Create)),
        format!("{} changed", done.done(Action::Update)),
        format!("{} pruned", done.done(Action::Prune)),
        format!("{} unchanged", done.done(Action::Unchanged)),
    ];
    let hooks = (done.hooks(), if done.hooks() == 1 { "hook run" } else { "hooks run" });
    for (count, word) in [hooks, (done.adopted(), "adopted"), (done.failed(), "failed"), (skipped, "skipped")]
    {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    let dry = if dry_run == DryRun::None { "" } else { ", nothing was written (dry run)" };
    printer.talk(&format!(
        "{} at {} ({}): {}{dry} in {:.1} s",
        loaded.application,
        &commit.id[..12],
        commit.subject,
        parts.join(", "),
        took.as_secs_f64()
    ));
    if done.timed_out {
        for result in &done.results {
            if let Some(health) = result.health.as_ref().filter(|health| health.health != Health::Healthy) {
                printer.talk(&format!("  {} is {:?}: {}", result.key, health.health, health.message));
            }
        }
        printer.talk("not everything was healthy in time; look on with: kubectl gitops status");
    }
    if done.interrupted {
        printer.talk("interrupted; run it again to go on");
    }
    if done.lost {
        printer.talk(
            "another sync of this Application has taken over, or may have while the API server was away; look at it with: kubectl gitops status",
        );
    }
}

/// What the command ends with.
pub fn exit_code(done: &SyncReport) -> u8 {
    let changed = done
        .results
        .iter()
        .filter(|result| result.hook.is_none() && result.action != Action::Unchanged)
        .any(|result| matches!(result.outcome, Outcome::Done));
    let first = done.results.iter().find_map(|result| match &result.outcome {
        Outcome::Failed(error) => Some(Failure::from(error.clone()).code),
        Outcome::HookFailed(_) => Some(code::NO),
        _ => None,
    });
    let disputed = |result: &ObjectResult| match &result.outcome {
        Outcome::Failed(error) => error.kind() == ErrorKind::Conflict,
        Outcome::HookFailed(_) => false,
        _ => true,
    };
    let broken = done.broken.as_ref().map(|error| Failure::from(error.clone()).code);
    match first.or(broken) {
        Some(code::CONFLICT) if !done.interrupted && done.results.iter().all(disputed) => code::CONFLICT,
        _ if done.interrupted => code::INTERRUPTED,
        _ if done.lost => code::CONFLICT,
        _ if done.timed_out => code::TIMEOUT,
        Some(_) if changed => code::PARTLY,
        Some(code) => code,
        None => code::YES,
    }
}

/// The same for programs.
pub fn report(loaded: &Loaded, survey: &Survey, done: &SyncReport) -> Report {
    let mut report = Report::new("Sync", loaded.application.to_string(), survey.desired.revision.clone());
    for result in &done.results {
        let (outcome, error) = match &result.outcome {
            Outcome::Done => ("done", None),
            Outcome::Skipped(reason) => ("skipped", Some(reason.clone())),
            Outcome::Failed(error) => ("failed", Some(error.to_string())),
            Outcome::HookFailed(why) => ("failed", Some(why.clone())),
        };
        match outcome {
            "done" if result.hook.is_some() => report.counts.hooks += 1,
            "done" => report.counts.add(result.action),
            "skipped" => report.counts.skipped += 1,
            _ => report.counts.failed += 1,
        }
        report.objects.push(ObjectReport {
            object: ObjectId::new(&result.gvk, &result.key),
            action: result.action,
            differences: output::located(&survey.desired, &result.gvk, &result.key, &result.differences),
            outcome: Some(outcome),
            error,
            health: result.health.clone(),
            hook: result.hook,
            note: result.note.clone(),
        });
    }
    report
}
