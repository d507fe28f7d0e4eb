//! `kubectl gitops diff`

pub mod change;

use clap::{Args, ValueEnum};
use futures::TryStreamExt;
use gitops_core::desired::DesiredSet;
use gitops_core::plan::{Action, Step};
use gitops_engine::{Loaded, Survey};

use crate::applications::{Destination, Seen, select};
use crate::cli::Selection;
use crate::difftext;
use crate::error::{Failure, code};
use crate::output::{self, Format, ObjectId, ObjectReport, Report};
use crate::printer::{Ink, Printer};
use crate::settings::Settings;

/// Shows where the cluster differs from Git, field by field
///
/// Nothing is written. What `diff` shows is exactly what `sync` would change.
/// With --base and --head: what a pull request changes in every Application that
/// the repository's gitops.yaml files describe, without a cluster. Exit code 0: no difference; 1: there is one.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops diff\n  kubectl gitops diff web --revision v1.2\n  kubectl gitops diff --repo https://git.example/shop.git --path apps/web -o json\n  kubectl gitops diff --base origin/main --head HEAD -o markdown"
)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Compare what this revision of the repository renders to that of --head
    #[arg(long, value_name = "REVISION", conflicts_with_all = ["repo", "revision"])]
    base: Option<String>,
    /// The revision that is compared to --base
    #[arg(long, value_name = "REVISION", default_value = "HEAD", requires = "base")]
    head: String,
    /// With --base: ask the cluster for its kinds and version
    #[arg(long, requires = "base")]
    live: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: DiffFormat,
}

/// How differences are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum DiffFormat {
    /// For people
    #[default]
    Text,
    /// For people, with more columns
    Wide,
    /// One name a line
    Name,
    Json,
    Yaml,
    /// One object a line
    Jsonl,
    /// For a comment on a pull request, with --base
    Markdown,
}

impl DiffFormat {
    /// As other commands print; none for Markdown.
    fn format(self) -> Option<Format> {
        Some(match self {
            Self::Text => Format::Text,
            Self::Wide => Format::Wide,
            Self::Name => Format::Name,
            Self::Json => Format::Json,
            Self::Yaml => Format::Yaml,
            Self::Jsonl => Format::Jsonl,
            Self::Markdown => return None,
        })
    }
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    if let Some(base) = &arguments.base {
        return change::run(&arguments, (base, &arguments.head), settings, printer).await;
    }
    let format = arguments.output.format().ok_or_else(|| {
        Failure::usage("-o markdown needs --base").hint("kubectl gitops diff --base origin/main -o markdown")
    })?;
    let destination = Destination::reach(settings).await?;
    let applications = select(&arguments.selection, settings, Some(&destination.cluster)).await?;
    let mut reports = Vec::new();
    let revision = arguments.selection.revision.as_deref();
    let mut surveys = destination.surveys(&applications, revision, printer);
    while let Some(Seen { loaded, survey, .. }) = surveys.try_next().await? {
        let report = report(&loaded, &survey);
        if format.is_text() {
            text(&report, &survey, applications.len() > 1, printer);
        }
        reports.push(report);
    }
    match format {
        Format::Text | Format::Wide => {}
        Format::Name => output::names(reports.iter().flat_map(|report| &report.objects), printer),
        format => output::print(&reports, format, printer)?,
    }
    let settled = reports.iter().all(|report| report.objects.is_empty());
    Ok(if settled { code::YES } else { code::NO })
}

/// What differs; what does not is only counted.
fn report(loaded: &Loaded, survey: &Survey) -> Report {
    let mut report = Report::new("Diff", loaded.application.to_string(), survey.desired.revision.clone());
    for step in &survey.plan.steps {
        report.counts.add(step.action);
        if step.action != Action::Unchanged {
            report.objects.push(object(&survey.desired, step));
        }
    }
    report
}

/// A step as a report shows it.
pub(super) fn object(desired: &DesiredSet, step: &Step) -> ObjectReport {
    ObjectReport {
        object: ObjectId::new(&step.gvk, &step.key),
        action: step.action,
        differences: output::located(desired, &step.gvk, &step.key, &step.differences),
        outcome: None,
        error: None,
        health: None,
        hook: None,
        note: String::new(),
    }
}

fn text(report: &Report, survey: &Survey, heading: bool, printer: &Printer) {
    if heading {
        printer
            .line(&printer.ink(Ink::Bold, &format!("{} at {}", report.application, &report.revision[..12])));
    }
    let changed = survey.plan.steps.iter().filter(|step| step.action != Action::Unchanged);
    for (object, step) in report.objects.iter().zip(changed) {
        let origin = survey
            .desired
            .objects
            .get(&step.key)
            .map(|declared| declared.origin.to_string())
            .unwrap_or_default();
        difftext::object(object, &origin, printer).iter().for_each(|line| printer.line(line));
    }
    let counts = report.counts;
    if report.objects.is_empty() {
        printer.talk(&format!(
            "{}: no difference; {} objects are as Git says at {}",
            report.application,
            counts.unchanged,
            &report.revision[..12]
        ));
    } else {
        printer.talk(&format!(
            "{}: {} to create, {} to change, {} to prune, {} unchanged",
            report.application, counts.create, counts.update, counts.prune, counts.unchanged
        ));
    }
}
