//! `kubectl gitops wait`

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use futures::TryStreamExt;
use gitops_core::health::{Health, HealthReport};
use gitops_core::object::ObjectKey;
use gitops_core::plan::Action;
use gitops_engine::{Loaded, Survey};

use super::status;
use crate::applications::{Destination, Seen, select};
use crate::cli::Selection;
use crate::error::{Failure, code};
use crate::output::{self, Format};
use crate::printer::Printer;
use crate::said;
use crate::settings::{Settings, duration};

const INTERVAL: Duration = Duration::from_secs(1);

/// Waits until Applications are healthy, or in sync
///
/// Exit code 0: they are; 8: not in time, with what they wait for.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops wait web\n  kubectl gitops wait --for=synced --timeout 2m\n  kubectl gitops wait --for=healthy,synced -o json"
)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// For what; healthy means every object Git declares is there and well
    #[arg(long = "for", value_enum, value_delimiter = ',', default_value = "healthy", value_name = "WHAT")]
    wanted: Vec<Wanted>,
    /// How long; 0 without an end
    #[arg(long, default_value = "5m", value_name = "DURATION")]
    timeout: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wanted {
    Healthy,
    Synced,
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let limit = duration(&arguments.timeout)?.unwrap_or(Duration::MAX);
    let (destination, start) = (Destination::reach(settings).await?, Instant::now());
    let applications = select(&arguments.selection, settings, Some(&destination.cluster)).await?;
    let (mut late, mut reports) = (false, Vec::new());
    let what = What { wanted: &arguments.wanted, revision: arguments.selection.revision.as_deref() };
    while reports.len() < applications.len() {
        // The commit is the one of now, when those before it have been waited
        // for: a newer one is another wait's.
        destination.look_again();
        let mut surveys = destination.surveys(&applications[reports.len()..], what.revision, printer);
        while let Some(Seen { there, loaded, survey, .. }) = surveys.try_next().await? {
            let waited = tokio::select! {
                waited = one(&there, &loaded, survey, &what, limit, start, printer) => waited?,
                _ = tokio::signal::ctrl_c() => return Ok(code::INTERRUPTED),
            };
            let mut report = waited.report;
            if !waited.in_time {
                late = true;
                report = status::explained(report, &said::status_now(&destination.cluster, &loaded).await);
                let why = report.controller.iter().chain(&report.webhook);
                why.for_each(|why| printer.talk(&format!("  {why}")));
            }
            reports.push(report);
            if waited.has_waited {
                break;
            }
        }
    }
    match arguments.output {
        Format::Text | Format::Wide => {}
        Format::Name => {
            reports.iter().for_each(|report| printer.line(&format!("application/{}", report.application)))
        }
        format => output::print(&reports, format, printer)?,
    }
    Ok(if late { code::TIMEOUT } else { code::YES })
}

/// What is waited for, at which commit.
struct What<'a> {
    wanted: &'a [Wanted],
    revision: Option<&'a str>,
}

/// Waits until an Application is healthy; false: not in time, and why is told.
pub(super) async fn until_healthy(
    destination: &Destination,
    loaded: &Loaded,
    limit: Duration,
    printer: &Printer,
) -> Result<bool, Failure> {
    let what = What { wanted: &[Wanted::Healthy], revision: None };
    let destination = &*destination.of(loaded).await?;
    destination.look_again();
    let (_, survey) = destination.survey(loaded, what.revision, printer).await?;
    Ok(one(destination, loaded, survey, &what, limit, Instant::now(), printer).await?.in_time)
}

/// How a wait ended.
struct Waited {
    report: output::Report,
    in_time: bool,
    /// Whether it was not so from the first.
    has_waited: bool,
}

/// Waits from what was seen first.
async fn one(
    destination: &Destination,
    loaded: &Loaded,
    mut survey: Survey,
    what: &What<'_>,
    limit: Duration,
    start: Instant,
    printer: &Printer,
) -> Result<Waited, Failure> {
    let mut said = String::new();
    loop {
        let healths = destination.healths(loaded, &survey).await?;
        let open = open(&survey.plan.steps, &healths, what.wanted);
        if open.is_empty() {
            printer.talk(&format!("{} is {}", loaded.application, words(what.wanted)));
            let report = status::report(loaded, &survey, &healths);
            return Ok(Waited { report, in_time: true, has_waited: !said.is_empty() });
        }
        if start.elapsed() >= limit {
            printer.talk(&format!("{} is not {} in time:", loaded.application, words(what.wanted)));
            open.iter().for_each(|line| printer.talk(&format!("  {line}")));
            let report = status::report(loaded, &survey, &healths);
            return Ok(Waited { report, in_time: false, has_waited: !said.is_empty() });
        }
        let line = format!("waiting for {} of {}: {}", open.len(), loaded.application, open[0]);
        if line != said {
            printer.talk(&line);
            said = line;
        }
        tokio::time::sleep(INTERVAL.min(limit.saturating_sub(start.elapsed()))).await;
        survey = destination.resurvey(loaded, survey.declared()).await?;
    }
}

fn words(wanted: &[Wanted]) -> &'static str {
    match (wanted.contains(&Wanted::Healthy), wanted.contains(&Wanted::Synced)) {
        (true, true) => "healthy and in sync",
        (false, true) => "in sync",
        _ => "healthy",
    }
}

/// What is not yet as it is wanted, in words.
fn open(
    steps: &[gitops_core::plan::Step],
    healths: &BTreeMap<ObjectKey, HealthReport>,
    wanted: &[Wanted],
) -> Vec<String> {
    let mut open = Vec::new();
    for step in steps {
        if wanted.contains(&Wanted::Synced) && step.action != Action::Unchanged {
            open.push(format!("{} is {}", step.key, status::sync_word(step.action)));
        } else if wanted.contains(&Wanted::Healthy)
            && step.action != Action::Prune
            && let Some(state) = healths.get(&step.key).filter(|state| state.health != Health::Healthy)
        {
            open.push(format!("{} is {}: {}", step.key, state.health.name(), state.message));
        }
    }
    open
}
