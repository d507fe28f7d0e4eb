//! `kubectl gitops delete`

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use gitops_core::object::ObjectKey;
use gitops_core::plan::{Action, Propagation, Step};
use gitops_engine::lease;
use gitops_engine::leaving::{Consent, Stays, left_behind, sorted};
use gitops_engine::memory::Memory;
use gitops_engine::sync::delete;
use gitops_engine::{DryRun, Loaded, Report as SyncReport, RunHooks, Stop, Survey, SyncOptions};

use super::sync::interruption;
use crate::applications::{Destination, select};
use crate::claiming::claim;
use crate::cli::Selection;
use crate::error::{Failure, code};
use crate::layout;
use crate::output::{self, Format, ObjectId, ObjectReport, Report};
use crate::printer::{Ink, Printer};
use crate::settings::{Settings, duration};
use crate::synctext::{self, Lines};

/// Deletes an Application's objects from the cluster, in reverse order
///
/// Its PreDelete hooks are run first, its PostDelete hooks when all is gone.
/// Git is not touched, and neither is what belongs to another Application or to
/// nobody, or what Git says is to stay (Delete=false). Namespaces, definitions and claims stay unless --with-contents is
/// given. What a webhook holds to Git has to leave Git first.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops delete web --dry-run\n  kubectl gitops delete web --yes\n  kubectl gitops delete web --orphan"
)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Leave what the objects own, such as a Deployment's Pods
    #[arg(long)]
    orphan: bool,
    /// Delete Namespaces, CustomResourceDefinitions and PersistentVolumeClaims as well, and all that is in them
    #[arg(long)]
    with_contents: bool,
    /// Delete what is to be confirmed (Delete=confirm), too
    #[arg(long)]
    confirm_delete: bool,
    /// Run no PreDelete and PostDelete hooks
    #[arg(long)]
    no_hooks: bool,
    /// How long each hook, and the wait until all is gone, may take
    #[arg(long, default_value = "5m", value_name = "DURATION")]
    timeout: String,
    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let options = arguments.options()?;
    let destination = Destination::reach(settings).await?;
    let applications = select(&arguments.selection, settings, Some(&destination.cluster)).await?;
    let stop = Stop { interrupted: interruption(), ..Stop::default() };
    let (mut reports, mut worst) = (Vec::new(), code::YES);
    for loaded in &applications {
        let destination = &*destination.of(loaded).await?;
        let case =
            Case { destination, loaded, arguments: &arguments, options: &options, printer, stop: &stop };
        let (report, done) = case.run().await?;
        worst = worst.max(synctext::exit_code(&done));
        reports.push(report);
        if done.interrupted {
            printer.talk("interrupted; run it again to go on");
            break;
        }
        if done.lost {
            printer.talk(
                "a sync of this Application has taken over, or may have while the API server was away; look at it, and run it again",
            );
            break;
        }
        if let Some(error) = done.broken {
            printer.failure(&error.into());
            break;
        }
    }
    match arguments.output {
        Format::Text | Format::Wide => {}
        Format::Name => output::names(reports.iter().flat_map(|report| &report.objects), printer),
        format => output::print(&reports, format, printer)?,
    }
    Ok(worst)
}

impl Arguments {
    fn options(&self) -> Result<SyncOptions, Failure> {
        Ok(SyncOptions {
            dry_run: if self.dry_run { DryRun::Client } else { DryRun::None },
            timeout: duration(&self.timeout)?.unwrap_or(Duration::MAX),
            hooks: if self.no_hooks { RunHooks::Never } else { RunHooks::Always },
            ..SyncOptions::default()
        })
    }

    fn consent(&self) -> Consent {
        Consent { contents: self.with_contents, confirmed: self.confirm_delete }
    }

    fn propagation(&self) -> Propagation {
        if self.orphan { Propagation::Orphan } else { Propagation::Background }
    }
}

/// Why an object stays, with the flag that takes it along.
fn why(stays: &Stays) -> String {
    match stays {
        Stays::Unconfirmed => format!("{stays} (--confirm-delete)"),
        Stays::Container => format!("{stays} (--with-contents)"),
        _ => stays.to_string(),
    }
}

/// One Application's deletion.
struct Case<'a> {
    destination: &'a Destination,
    loaded: &'a Loaded,
    arguments: &'a Arguments,
    options: &'a SyncOptions,
    printer: &'a Printer,
    stop: &'a Stop,
}

impl Case<'_> {
    async fn run(&self) -> Result<(Report, SyncReport), Failure> {
        let (cluster, application) = (&self.destination.cluster, &self.loaded.application);
        let version = lease::version(cluster, application).await;
        let mut survey = self.survey().await?;
        let agreed = self.going(&survey);
        self.confirm(&agreed, &BTreeSet::new())?;
        let environment = &self.destination.environment;
        let memory = Memory::at(cluster, environment, application);
        let works = self.options.dry_run == DryRun::None && (!agreed.is_empty() || memory.read().deleting);
        let mut lease = None;
        if works {
            lease =
                claim(cluster, application, &survey, &self.stop.hold, "nothing was deleted", self.printer)
                    .await?;
        }
        let done = async {
            // Someone has synced meanwhile, or may have where no Lease tells.
            if works && lease.as_ref().is_none_or(|lease| lease.before != version) {
                self.destination.look_again();
                survey = self.survey().await?;
                self.confirm(&self.going(&survey), &agreed)?;
            }
            self.delete(&survey).await
        };
        let done = done.await;
        if let Some(lease) = lease {
            lease.release(&memory, done.is_ok()).await;
        }
        let done = done?;
        let mut report = Report { kind: "Delete", ..synctext::report(self.loaded, &survey, &done) };
        for (step, stays) in sorted(self.loaded, &survey, self.arguments.consent()).1 {
            let why = why(&stays);
            if self.arguments.output.is_text() {
                self.printer.line(&format!("{} {}: {why}", self.printer.ink(Ink::Dim, "kept"), step.key));
            }
            report.counts.skipped += 1;
            report.objects.push(kept(step, why));
        }
        let is_whole = !done.interrupted && !done.lost && done.broken.is_none();
        if report.objects.is_empty() && is_whole && self.arguments.output.is_text() {
            self.printer.line(&format!("nothing to delete: {application} has no objects in the cluster"));
        }
        Ok((report, done))
    }

    async fn survey(&self) -> Result<Survey, Failure> {
        let revision = self.arguments.selection.revision.as_deref();
        Ok(self.destination.survey(self.loaded, revision, self.printer).await?.1)
    }

    fn going(&self, survey: &Survey) -> BTreeSet<ObjectKey> {
        let (going, _) = sorted(self.loaded, survey, self.arguments.consent());
        let hooks = left_behind(self.loaded, survey, !self.arguments.no_hooks);
        going.into_iter().chain(&hooks).map(|step| step.key.clone()).collect()
    }

    async fn delete(&self, survey: &Survey) -> Result<SyncReport, Failure> {
        let (loaded, options) = (self.loaded, self.options);
        let (mut going, _) = sorted(loaded, survey, self.arguments.consent());
        let hooks = left_behind(loaded, survey, !self.arguments.no_hooks);
        going.extend(hooks.iter());
        let talk = self.arguments.output.is_text();
        let progress = Lines::new(self.printer, survey, options.dry_run, talk).deleting();
        let (cluster, environment) = (&self.destination.cluster, &self.destination.environment);
        let what = (going.as_slice(), self.arguments.propagation());
        let done = delete(cluster, loaded, environment, survey, what, options, &progress, self.stop).await;
        progress.finish();
        Ok(done?)
    }

    /// Asks, unless all that goes was agreed to before.
    fn confirm(&self, going: &BTreeSet<ObjectKey>, agreed: &BTreeSet<ObjectKey>) -> Result<(), Failure> {
        if going.is_subset(agreed) || self.arguments.yes || self.arguments.dry_run {
            return Ok(());
        }
        going.iter().for_each(|key| self.printer.talk(&format!("  {key}")));
        let count = layout::counted(going.len(), "object");
        let question = format!("Delete {count} of {}?", self.loaded.application);
        self.printer.agrees(
            &question,
            "say --yes, or see with --dry-run what would go",
            "nothing was deleted",
        )
    }
}

fn kept(step: &Step, why: String) -> ObjectReport {
    ObjectReport {
        object: ObjectId::new(&step.gvk, &step.key),
        action: Action::Prune,
        differences: Vec::new(),
        outcome: Some("skipped"),
        error: Some(why),
        health: None,
        hook: None,
        note: String::new(),
    }
}
