//! `kubectl gitops status`

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use gitops_core::desired::AppRef;
use gitops_core::health::{Health, HealthReport, health};
use gitops_core::plan::Action;
use gitops_engine::Survey;
use gitops_engine::load::{self, Loaded, Place};
use gitops_source::Commit;

use super::diff;
use crate::applications::{Destination, select, tell_whole_trees};
use crate::cli::Selection;
use crate::error::{Failure, code};
use crate::output::{self, Format, Report};
use crate::printer::{Ink, Printer};
use crate::settings::Settings;

/// Tells whether what is in Git is running, and if not, why
///
/// Exit code 0: in sync and healthy; 1: not.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops status\n  kubectl gitops status web -o wide\n  kubectl gitops status --all-namespaces -o json"
)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// All Applications of the cluster
    #[arg(short = 'A', long, conflicts_with_all = ["names", "file", "repo"])]
    all_namespaces: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let destination = Destination::reach(settings).await?;
    let applications = if arguments.all_namespaces {
        all(&destination, settings).await?
    } else {
        select(&arguments.selection, settings, Some(&destination.cluster)).await?
    };
    let mut reports = Vec::new();
    for (index, loaded) in applications.iter().enumerate() {
        let (commit, survey) =
            destination.survey(loaded, arguments.selection.revision.as_deref(), printer).await?;
        let report = report(loaded, &survey);
        tell_whole_trees(loaded, &destination.environment, &commit, printer).await?;
        match arguments.output {
            Format::Text | Format::Wide => {
                if index > 0 {
                    printer.line("");
                }
                text(loaded, &commit, &report, arguments.output == Format::Wide, printer);
            }
            Format::Name => printer.line(&format!("application/{}", loaded.application.name)),
            _ => {}
        }
        reports.push(report);
    }
    if matches!(arguments.output, Format::Json | Format::Yaml | Format::Jsonl) {
        output::print(&reports, arguments.output, printer)?;
    }
    let fine = reports.iter().all(|report| worst(report) == Health::Healthy && is_synced(report));
    Ok(if fine { code::YES } else { code::NO })
}

async fn all(destination: &Destination, settings: &Settings) -> Result<Vec<Loaded>, Failure> {
    let list = destination.cluster.get_json("/apis/kubectl-gitops.dev/v1alpha1/applications").await?;
    let mut found = Vec::new();
    for item in list.get("items").and_then(serde_json::Value::as_array).into_iter().flatten() {
        let text = |pointer: &str| {
            item.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
        };
        let reference = AppRef { namespace: text("/metadata/namespace"), name: text("/metadata/name") };
        found.push(load::from_cluster(&destination.cluster, &reference, &settings.credentials).await?);
    }
    Ok(found)
}

fn report(loaded: &Loaded, survey: &Survey) -> Report {
    let mut report = Report::new("Status", loaded.application.to_string(), survey.desired.revision.clone());
    for step in &survey.plan.steps {
        report.counts.add(step.action);
        let state = survey.live.get(&step.key).map_or_else(HealthReport::missing, health);
        report.objects.push(output::ObjectReport { health: Some(state), ..diff::object(survey, step) });
    }
    report
}

fn is_synced(report: &Report) -> bool {
    report.objects.iter().all(|object| object.action == Action::Unchanged)
}

fn worst(report: &Report) -> Health {
    let rank = |health: Health| match health {
        Health::Healthy => 0,
        Health::Suspended => 1,
        Health::Unknown => 2,
        Health::Progressing => 3,
        Health::Missing => 4,
        Health::Degraded => 5,
    };
    report
        .objects
        .iter()
        .filter(|o| o.action != Action::Prune)
        .filter_map(|o| o.health.as_ref())
        .map(|h| h.health)
        .max_by_key(|h| rank(*h))
        .unwrap_or(Health::Healthy)
}

/// A step's state of sync in a word.
pub(super) fn sync_word(action: Action) -> &'static str {
    match action {
        Action::Unchanged => "Synced",
        Action::Create => "Missing",
        Action::Update => "OutOfSync",
        Action::Prune => "Extra",
    }
}

fn text(loaded: &Loaded, commit: &Commit, report: &Report, wide: bool, printer: &Printer) {
    printer.line(&printer.ink(Ink::Bold, &format!("Application {}", loaded.application)));
    for Place { source, repo, .. } in &loaded.sources {
        let what = match source.helm.as_ref().filter(|helm| !helm.chart.is_empty()) {
            Some(helm) => format!("chart {} {}", helm.chart, helm.version),
            None => format!("{} {}", source.revision, source.path),
        };
        printer.line(&format!("  source:   {repo} {what}"));
    }
    printer.line(&format!(
        "  revision: {} {} ({}, {})",
        &commit.id[..12],
        commit.subject,
        commit.author,
        age(commit.time)
    ));
    let (sync, health) = (is_synced(report), worst(report));
    let ink = |good: bool| if good { Ink::Git } else { Ink::Live };
    printer
        .line(&format!("  sync:     {}", printer.ink(ink(sync), if sync { "Synced" } else { "OutOfSync" })));
    printer.line(&format!(
        "  health:   {}",
        printer.ink(ink(health == Health::Healthy), &format!("{health:?}"))
    ));
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(if wide {
        vec!["OBJECT", "SYNC", "HEALTH", "WHY", "FIELDS"]
    } else {
        vec!["OBJECT", "SYNC", "HEALTH", "WHY"]
    });
    for object in &report.objects {
        let place = if object.object.namespace.is_empty() {
            String::new()
        } else {
            format!("{}/", object.object.namespace)
        };
        let state = object.health.clone().unwrap_or_else(HealthReport::missing);
        let why = if object.action == Action::Prune {
            "Git no longer declares it".to_owned()
        } else {
            state.message.clone()
        };
        let mut row = vec![
            format!("{} {place}{}", object.object.kind, object.object.name),
            sync_word(object.action).to_owned(),
            format!("{:?}", state.health),
            why,
        ];
        if wide {
            let fields: Vec<String> =
                object.differences.iter().map(|located| located.difference.path.to_string()).collect();
            row.push(fields.join(", "));
        }
        table.add_row(row);
    }
    printer.line("");
    table.to_string().lines().for_each(|line| printer.line(line.trim_end()));
}

/// How long ago, roughly.
fn age(time: i64) -> String {
    let seconds = (jiff::Timestamp::now().as_second() - time).max(0);
    match seconds {
        0..=119 => format!("{seconds} seconds ago"),
        120..=7199 => format!("{} minutes ago", seconds / 60),
        7200..=172_799 => format!("{} hours ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}
