//! `kubectl gitops sync`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use gitops_cluster::ErrorKind;
use gitops_core::health::HealthReport;
use gitops_core::object::ObjectKey;
use gitops_core::plan::Action;
use gitops_engine::sync::{Outcome, Result as ObjectResult};
use gitops_engine::{DryRun, Loaded, Progress, Report as SyncReport, Survey, SyncOptions, sync};
use gitops_source::Commit;
use indicatif::{ProgressBar, ProgressStyle};

use crate::applications::{Destination, select};
use crate::cli::Selection;
use crate::error::{Failure, code};
use crate::output::{self, Format, ObjectId, ObjectReport, Report};
use crate::printer::{Ink, Printer};
use crate::settings::{Settings, duration};

/// Brings the cluster to what Git says
///
/// Objects are applied on the server's side, in the order in which they are
/// needed; only those that differ are written. Running it again after an
/// interruption goes on where it stopped.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops sync\n  kubectl gitops sync web --wait\n  kubectl gitops sync --prune --dry-run=server\n  kubectl gitops sync --repo https://git.example/shop.git --path apps/web -n shop"
)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Write nothing: plan only (client), or let the API server judge every write (server)
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "client", value_name = "WHO")]
    dry_run: Option<DryRunBy>,
    /// Delete what an earlier commit declared and this one does not
    #[arg(long)]
    prune: bool,
    /// Wait until everything is healthy
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, default_value = "5m", value_name = "DURATION")]
    timeout: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Who checks a dry run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DryRunBy {
    Client,
    Server,
    None,
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let limit = duration(&arguments.timeout)?.unwrap_or(Duration::MAX);
    let destination = Destination::reach(settings).await?;
    let applications = select(&arguments.selection, settings, Some(&destination.cluster)).await?;
    let interrupted = interruption();
    let (mut reports, mut worst) = (Vec::new(), code::YES);
    for loaded in &applications {
        let options = SyncOptions {
            dry_run: match arguments.dry_run {
                Some(DryRunBy::Client) => DryRun::Client,
                Some(DryRunBy::Server) => DryRun::Server,
                Some(DryRunBy::None) | None => DryRun::None,
            },
            prune: arguments.prune || loaded.spec.sync.prune,
            wait: arguments.wait.then_some(limit),
            ..SyncOptions::default()
        };
        let start = Instant::now();
        let (commit, survey) =
            destination.survey(loaded, arguments.selection.revision.as_deref(), printer).await?;
        let talk = arguments.output == Format::Text || arguments.output == Format::Wide;
        let progress = Lines::new(printer, &survey, options.dry_run, talk);
        if options.dry_run == DryRun::None {
            namespace(&destination, loaded, &survey).await?;
        }
        let done = sync(
            &destination.cluster,
            loaded,
            &destination.environment,
            &survey,
            &options,
            &progress,
            &interrupted,
        )
        .await?;
        progress.finish();
        if talk {
            summary(loaded, &commit, &done, options.dry_run, start.elapsed(), printer);
        }
        worst = worst.max(exit_code(&done));
        reports.push(report(loaded, &survey, &done));
        if done.interrupted {
            break;
        }
    }
    match arguments.output {
        Format::Text | Format::Wide => {}
        Format::Name => reports
            .iter()
            .flat_map(|report| &report.objects)
            .filter(|object| object.action != Action::Unchanged)
            .for_each(|object| {
                printer.line(&format!("{}/{}", object.object.kind.to_lowercase(), object.object.name));
            }),
        format => output::print(&reports, format, printer)?,
    }
    Ok(worst)
}

/// Set by Ctrl-C; the second one ends the program.
fn interruption() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = flag.clone();
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if set.swap(true, Ordering::Relaxed) {
                std::process::exit(i32::from(code::INTERRUPTED));
            }
        }
    });
    flag
}

/// Makes the destination's namespace where the Application asks for it, and
/// says so where nobody will.
async fn namespace(destination: &Destination, loaded: &Loaded, survey: &Survey) -> Result<(), Failure> {
    use gitops_cluster::ApplyOptions;
    let mut wanted: Vec<&str> = survey
        .desired
        .objects
        .keys()
        .map(|key| key.namespace.as_str())
        .filter(|name| !name.is_empty())
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let Some(kind) = destination.discovery.preferred("", "Namespace") else { return Ok(()) };
    for name in wanted {
        let key = ObjectKey {
            group: String::new(),
            kind: "Namespace".into(),
            namespace: String::new(),
            name: name.to_owned(),
        };
        if survey.desired.objects.contains_key(&key) || destination.cluster.get(kind, &key).await?.is_some() {
            continue;
        }
        if !(loaded.spec.destination.create_namespace && name == loaded.namespace) {
            return Err(Failure { message: format!("{key} is not there; nothing was applied"), hint: None, code: code::REFUSED }
                .hint(format!("kubectl create namespace {name}, or declare it in Git, or set spec.destination.createNamespace")));
        }
        let object = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let options = ApplyOptions { field_manager: gitops_core::names::FIELD_MANAGER, dry_run: false };
        destination.cluster.apply(kind, &key, &object, &options).await?;
    }
    Ok(())
}

/// Progress: a bar where someone watches, plain lines elsewhere.
struct Lines<'a> {
    printer: &'a Printer,
    bar: Option<ProgressBar>,
    dry_run: DryRun,
    talk: bool,
}

impl<'a> Lines<'a> {
    fn new(printer: &'a Printer, survey: &Survey, dry_run: DryRun, talk: bool) -> Self {
        let bar = (talk && printer.is_watched()).then(|| {
            let bar = ProgressBar::new(survey.plan.steps.len() as u64);
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { printer, bar, dry_run, talk }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.printer.line(text)),
            None => self.printer.line(text),
        }
    }

    fn finish(&self) {
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
        match &result.outcome {
            Outcome::Done if result.action == Action::Unchanged => {}
            Outcome::Done => {
                let (word, ink) = match result.action {
                    Action::Create => ("created", Ink::Git),
                    Action::Update => ("changed", Ink::Change),
                    _ => ("pruned", Ink::Live),
                };
                self.line(&format!("{} {}{would}", self.printer.ink(ink, word), result.key));
            }
            Outcome::Skipped(reason) => {
                self.line(&format!("{} {}: {reason}", self.printer.ink(Ink::Dim, "skipped"), result.key))
            }
            Outcome::Failed(error) => {
                self.line(&format!("{} {}: {error}", self.printer.ink(Ink::Live, "failed"), result.key))
            }
        }
    }

    fn waiting(&self, waiting: &[(ObjectKey, HealthReport)]) {
        if let (Some(bar), Some((key, state))) = (&self.bar, waiting.first()) {
            bar.set_message(format!("waiting for {} objects: {key}: {}", waiting.len(), state.message));
        }
    }
}

fn summary(
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
    for (count, word) in [(done.failed(), "failed"), (skipped, "skipped")] {
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
            if let Some(health) =
                result.health.as_ref().filter(|health| health.health != gitops_core::health::Health::Healthy)
            {
                printer.talk(&format!("  {} is {:?}: {}", result.key, health.health, health.message));
            }
        }
        printer.talk("not everything was healthy in time; look on with: kubectl gitops status");
    }
    if done.interrupted {
        printer.talk("interrupted; run it again to go on");
    }
}

fn exit_code(done: &SyncReport) -> u8 {
    let changed = done
        .results
        .iter()
        .any(|result| result.action != Action::Unchanged && matches!(result.outcome, Outcome::Done));
    let first = done.results.iter().find_map(|result| match &result.outcome {
        Outcome::Failed(error) => Some(Failure::from(error.clone()).code),
        _ => None,
    });
    let disputed = |result: &ObjectResult| match &result.outcome {
        Outcome::Failed(error) => error.kind() == ErrorKind::Conflict,
        _ => true,
    };
    match first {
        Some(code::CONFLICT) if !done.interrupted && done.results.iter().all(disputed) => code::CONFLICT,
        _ if done.interrupted => code::INTERRUPTED,
        Some(_) if changed => code::PARTLY,
        Some(code) => code,
        None if done.timed_out => code::TIMEOUT,
        None => code::YES,
    }
}

fn report(loaded: &Loaded, survey: &Survey, done: &SyncReport) -> Report {
    let mut report = Report::new("Sync", loaded.application.to_string(), survey.desired.revision.clone());
    for result in &done.results {
        let (outcome, error) = match &result.outcome {
            Outcome::Done => ("done", None),
            Outcome::Skipped(reason) => ("skipped", Some(reason.clone())),
            Outcome::Failed(error) => ("failed", Some(error.to_string())),
        };
        match outcome {
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
        });
    }
    report
}
