//! `kubectl gitops delete`

use std::time::Duration;

use clap::Args;
use gitops_core::plan::{Action, Propagation, Step};
use gitops_engine::leaving::{Consent, Stays, left_behind, sorted};
use gitops_engine::sync::delete;
use gitops_engine::{DryRun, Loaded, RunHooks, Stop, SyncOptions};

use super::sync::interruption;
use crate::applications::{Destination, select};
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
        let revision = arguments.selection.revision.as_deref();
        let destination = &*destination.of(loaded).await?;
        let (_, survey) = destination.survey(loaded, revision, printer).await?;
        let (mut going, staying) = sorted(loaded, &survey, arguments.consent());
        let hooks = left_behind(loaded, &survey, !arguments.no_hooks);
        going.extend(hooks.iter());
        confirm(loaded, &going, &arguments, printer)?;
        let done = {
            let talk = arguments.output.is_text();
            let progress = Lines::new(printer, &survey, options.dry_run, talk).deleting();
            let (cluster, environment) = (&destination.cluster, &destination.environment);
            let what = (going.as_slice(), arguments.propagation());
            let done = delete(cluster, loaded, environment, &survey, what, &options, &progress, &stop).await;
            progress.finish();
            done?
        };
        let mut report = Report { kind: "Delete", ..synctext::report(loaded, &survey, &done) };
        for (step, stays) in staying {
            let why = why(&stays);
            if arguments.output.is_text() {
                printer.line(&format!("{} {}: {why}", printer.ink(Ink::Dim, "kept"), step.key));
            }
            report.counts.skipped += 1;
            report.objects.push(kept(step, why));
        }
        worst = worst.max(synctext::exit_code(&done));
        reports.push(report);
        if done.interrupted {
            printer.talk("interrupted; run it again to go on");
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

fn confirm(
    loaded: &Loaded,
    going: &[&Step],
    arguments: &Arguments,
    printer: &Printer,
) -> Result<(), Failure> {
    if going.is_empty() || arguments.yes || arguments.dry_run {
        return Ok(());
    }
    going.iter().for_each(|step| printer.talk(&format!("  {}", step.key)));
    let question = format!("Delete {} of {}?", layout::counted(going.len(), "object"), loaded.application);
    printer.agrees(&question, "say --yes, or see with --dry-run what would go", "nothing was deleted")
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
