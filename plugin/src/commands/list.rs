//! `kubectl gitops list`

use clap::Args;
use futures::TryStreamExt;
use gitops_core::desired::AppRef;
use gitops_core::names::OUTPUT_API_VERSION;
use gitops_engine::Loaded;
use serde::Serialize;

use super::status;
use crate::applications::{Destination, is_local, of_cluster, select};
use crate::beside::beside;
use crate::cli::Selection;
use crate::error::{Failure, code};
use crate::layout;
use crate::output::{self, Format};
use crate::printer::Printer;
use crate::said;
use crate::settings::Settings;

/// Lists Applications: those of gitops.yaml, else of the namespace in the cluster
///
/// Each is compared with the cluster; one that cannot be is Unknown, with the
/// reason.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops list\n  kubectl gitops list -A -o wide\n  kubectl gitops list -n shop -o json"
)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Those of all namespaces of the cluster
    #[arg(short = 'A', long, conflicts_with_all = ["names", "file", "repo"])]
    all_namespaces: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// An Application in one line.
#[derive(Clone, Debug, Serialize)]
struct Line {
    namespace: String,
    name: String,
    sync: &'static str,
    health: &'static str,
    revision: String,
    objects: usize,
    repo: String,
    path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    api_version: &'static str,
    kind: &'static str,
    items: Vec<Line>,
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let destination = Destination::reach(settings).await?;
    let found = applications(&arguments, &destination, settings).await?;
    let revision = arguments.selection.revision.clone();
    let lines = beside(found, |(reference, loaded)| {
        let (destination, revision) = (destination.clone(), revision.clone());
        async move {
            let line = match &loaded {
                Ok(loaded) => line(&destination, loaded, revision.as_deref()).await,
                Err(failure) => Err(failure.clone()),
            };
            Ok(line
                .unwrap_or_else(|failure| (unknown(&reference, loaded.as_ref().ok(), &failure), Vec::new())))
        }
    });
    let told = lines.map_ok(|(line, mistakes)| {
        mistakes.iter().for_each(|mistake| printer.warning(mistake));
        line
    });
    let lines: Vec<Line> = told.try_collect().await?;
    match arguments.output {
        Format::Text | Format::Wide if lines.is_empty() => printer.talk("there are no Applications"),
        Format::Text | Format::Wide => {
            text(&lines, arguments.output == Format::Wide, printer).iter().for_each(|line| printer.line(line))
        }
        Format::Name => lines.iter().for_each(|line| printer.line(&format!("application/{}", line.name))),
        Format::Jsonl => output::print(&lines, arguments.output, printer)?,
        format => {
            let report = Report { api_version: OUTPUT_API_VERSION, kind: "ApplicationList", items: lines };
            output::print(&[report], format, printer)?;
        }
    }
    Ok(code::YES)
}

type Found = Vec<(AppRef, Result<Loaded, Failure>)>;

async fn applications(
    arguments: &Arguments,
    destination: &Destination,
    settings: &Settings,
) -> Result<Found, Failure> {
    let selection = &arguments.selection;
    let cluster = &destination.cluster;
    let described = !selection.names.is_empty() || is_local(selection, settings);
    if arguments.all_namespaces {
        return of_cluster(cluster, None, settings).await;
    }
    if !described {
        let namespace = settings.namespace.as_deref().unwrap_or(cluster.default_namespace());
        return of_cluster(cluster, Some(namespace), settings).await;
    }
    let all = select(selection, settings, Some(cluster)).await?;
    Ok(all.into_iter().map(|loaded| (loaded.application.clone(), Ok(loaded))).collect())
}

/// Its line, and mistakes to be told.
async fn line(
    destination: &Destination,
    loaded: &Loaded,
    revision: Option<&str>,
) -> Result<(Line, Vec<String>), Failure> {
    let said = said::status(&destination.cluster, loaded).await;
    let destination = &*destination.of(loaded).await?;
    let (commit, survey) = destination.survey_silently(loaded, revision).await?;
    let mistakes = survey.desired.delegated().mistakes;
    let healths = destination.healths(loaded, &survey).await?;
    let report = status::explained(status::report(loaded, &survey, &healths), &said);
    let worst = status::worst(&report);
    let bad = report
        .objects
        .iter()
        .filter_map(|object| Some((object, object.health.as_ref()?)))
        .find(|(_, state)| state.health == worst && worst != gitops_core::health::Health::Healthy)
        .map(|(object, state)| format!("{}: {}", layout::object(&object.object), state.message));
    // Why nobody mends it comes before what is to be mended.
    let why: Vec<String> = report.controller.iter().chain(&report.webhook).cloned().chain(bad).collect();
    let line = Line {
        namespace: loaded.application.namespace.clone(),
        name: loaded.application.name.clone(),
        sync: if status::is_synced(&report) { "Synced" } else { "OutOfSync" },
        health: worst.name(),
        revision: commit.id,
        objects: report.objects.len(),
        repo: loaded.repo.to_string(),
        path: loaded.source().path,
        message: why.join("; "),
    };
    Ok((line, mistakes))
}

fn unknown(reference: &AppRef, loaded: Option<&Loaded>, failure: &Failure) -> Line {
    Line {
        namespace: reference.namespace.clone(),
        name: reference.name.clone(),
        sync: "Unknown",
        health: "Unknown",
        revision: String::new(),
        objects: 0,
        repo: loaded.map(|loaded| loaded.repo.to_string()).unwrap_or_default(),
        path: loaded.map(|loaded| loaded.source().path).unwrap_or_default(),
        message: failure.message.clone(),
    }
}

fn text(lines: &[Line], wide: bool, printer: &Printer) -> Vec<String> {
    let row = |line: &Line| {
        let revision = line.revision.chars().take(12).collect();
        let mut row = vec![
            format!("{}/{}", line.namespace, line.name),
            line.sync.to_owned(),
            line.health.to_owned(),
            revision,
        ];
        if wide {
            row.extend([line.objects.to_string(), format!("{} {}", line.repo, line.path)]);
        }
        row.push(line.message.clone());
        row
    };
    let header: &[&str] = if wide {
        &["APPLICATION", "SYNC", "HEALTH", "REVISION", "OBJECTS", "SOURCE", "WHY"]
    } else {
        &["APPLICATION", "SYNC", "HEALTH", "REVISION", "WHY"]
    };
    layout::columns(header, &lines.iter().map(row).collect::<Vec<_>>(), printer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ColorChoice;

    #[test]
    fn one_line_an_application() {
        let reference = AppRef { namespace: "shop".into(), name: "db".into() };
        let failure = Failure::git("https://git.example/x cannot be reached");
        let fine = Line {
            namespace: "shop".into(),
            name: "web".into(),
            sync: "Synced",
            health: "Healthy",
            revision: "0123456789abcdef".into(),
            objects: 3,
            repo: "https://git.example/shop".into(),
            path: "app".into(),
            message: String::new(),
        };
        let lines = [fine, unknown(&reference, None, &failure)];
        let printer = Printer::new(ColorChoice::Never);
        insta::assert_snapshot!(text(&lines, false, &printer.wide(100)).join("\n"), @"
        APPLICATION  SYNC     HEALTH   REVISION      WHY
        shop/web     Synced   Healthy  0123456789ab
        shop/db      Unknown  Unknown                https://git.example/x cannot be reached
        ");
        insta::assert_snapshot!(text(&lines, false, &printer.wide(60)).join("\n"), @"
        APPLICATION  SYNC     HEALTH   REVISION
        shop/web     Synced   Healthy  0123456789ab
        shop/db      Unknown  Unknown
            https://git.example/x cannot be reached
        ");
    }
}
