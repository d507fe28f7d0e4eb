//! `kubectl gitops history`

use std::collections::BTreeMap;

use clap::Args;
use futures::TryStreamExt;
use gitops_core::names::{ANNOTATION_REVISION, OUTPUT_API_VERSION};
use gitops_engine::restore::{self, commit_of};
use gitops_engine::{Loaded, Survey};
use gitops_source::git::Ids;
use gitops_source::{Commit, GitCache};
use serde::Serialize;
use serde_json::Value;

use crate::applications::{Destination, Seen, select};
use crate::cli::Selection;
use crate::error::{Failure, code};
use crate::layout;
use crate::output::{self, Format};
use crate::printer::{Ink, Printer};
use crate::rollouts;
use crate::settings::Settings;

/// Lists the commits that changed an Application's files, newest first, and which one is live
///
/// Its files are all that a render reads: its path, and what that leads to.
/// Live is the newest one if the cluster is as it says. A commit that wrote
/// objects which are still as it left them says how many; an older one that
/// did not may have been synced all the same. Held is one whose version a Rollout
/// has not let in, or has taken back.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops history\n  kubectl gitops history web --limit 50 -o json"
)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// How many commits
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    limit: usize,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Files that are named of one commit.
const MAX_FILES: usize = 200;

/// A commit, and what the cluster has of it.
#[derive(Clone, Debug, Serialize)]
struct Entry {
    revision: String,
    /// RFC 3339.
    time: String,
    author: String,
    subject: String,
    /// Of the Application's files, those that it changed; not all of very many.
    files: Vec<String>,
    /// The cluster is as this commit says.
    live: bool,
    /// Objects whose last write was this commit's.
    objects: usize,
    /// Rollouts that have not let its version in, and where they stand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    held: Vec<String>,
    #[serde(skip)]
    seconds: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    api_version: &'static str,
    kind: &'static str,
    application: String,
    path: String,
    items: Vec<Entry>,
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let destination = Destination::reach(settings).await?;
    let applications = select(&arguments.selection, settings, Some(&destination.cluster)).await?;
    let mut reports = Vec::new();
    let mut surveys = destination.surveys(&applications, arguments.selection.revision.as_deref(), printer);
    while let Some(Seen { there, loaded, commit, survey }) = surveys.try_next().await? {
        let items = entries(&there, &loaded, &commit, &survey, arguments.limit).await?;
        let path = loaded.source().path;
        let application = loaded.application.to_string();
        if arguments.output.is_text() {
            let now = jiff::Timestamp::now().as_second();
            printer.line(&printer.ink(Ink::Bold, &format!("Application {application}, path {path}")));
            text(&items, now, printer).iter().for_each(|line| printer.line(line));
        }
        if arguments.output == Format::Name {
            items.iter().for_each(|entry| printer.line(&entry.revision));
        }
        reports.push(Report { api_version: OUTPUT_API_VERSION, kind: "History", application, path, items });
    }
    if matches!(arguments.output, Format::Json | Format::Yaml | Format::Jsonl) {
        output::print(&reports, arguments.output, printer)?;
    }
    Ok(code::YES)
}

async fn entries(
    destination: &Destination,
    loaded: &Loaded,
    commit: &Commit,
    survey: &Survey,
    limit: usize,
) -> Result<Vec<Entry>, Failure> {
    let git = destination.environment.git();
    let environment = &destination.environment;
    let home = restore::home(loaded);
    let paths = match home {
        Some(_) => restore::read(loaded, environment, &commit.id).await?.paths,
        None => vec![loaded.source().path],
    };
    let repo = home.map_or(&loaded.repo, |home| &home.repo);
    let read = |git: &GitCache| git.history(repo, commit_of(loaded, &commit.id), &paths, limit);
    let commits = match home {
        Some(home) => environment.deeply(home, read)?,
        None => read(&git)?,
    };
    // An object names the commit of its last write, which may have changed
    // something else: what counts is what that commit has at the paths.
    let mut written: BTreeMap<Ids, usize> = BTreeMap::new();
    for object in survey.plan.steps.iter().filter_map(|step| survey.live.get(&step.key)) {
        let mark = object.pointer("/metadata/annotations").and_then(|all| all.get(ANNOTATION_REVISION));
        if let Some(id) = mark.and_then(Value::as_str) {
            *written.entry(git.path_ids(repo, commit_of(loaded, id), &paths)).or_default() += 1;
        }
    }
    let settled = survey.plan.is_settled();
    let under_way = rollouts::under_way(&survey.rollouts);
    let held: Vec<String> =
        under_way.iter().map(|seen| format!("Rollout {} {}", seen.reference().name, seen.words())).collect();
    let mut entries = Vec::new();
    for (index, (commit, ids)) in commits.into_iter().enumerate() {
        entries.push(Entry {
            time: jiff::Timestamp::from_second(commit.time).map(|time| time.to_string()).unwrap_or_default(),
            files: git.changed(repo, &commit.id, &paths, MAX_FILES)?,
            revision: commit.id,
            author: commit.author,
            subject: commit.subject,
            live: index == 0 && settled && held.is_empty(),
            held: if index == 0 { held.clone() } else { Vec::new() },
            // Of two commits with the same content the newer one counts.
            objects: written.remove(&ids).unwrap_or(0),
            seconds: commit.time,
        });
    }
    Ok(entries)
}

/// The first files, and how many there are beside.
fn shortened(files: &[String]) -> String {
    match files {
        [] => String::new(),
        [one] => format!(": {one}"),
        [first, rest @ ..] => format!(": {first} and {} more", rest.len()),
    }
}

fn held(rollouts: &[String]) -> String {
    if rollouts.is_empty() { String::new() } else { format!("; {}", rollouts.join("; ")) }
}

fn text(items: &[Entry], now: i64, printer: &Printer) -> Vec<String> {
    let row = |entry: &Entry| {
        let state = match (entry.live, entry.objects) {
            _ if !entry.held.is_empty() => "held".to_owned(),
            (true, _) => "live".to_owned(),
            (false, 0) => String::new(),
            (false, count) => layout::counted(count, "object"),
        };
        vec![
            entry.revision.chars().take(12).collect(),
            layout::age(entry.seconds, now),
            state,
            format!("{} ({}){}{}", entry.subject, entry.author, shortened(&entry.files), held(&entry.held)),
        ]
    };
    let rows: Vec<Vec<String>> = items.iter().map(row).collect();
    layout::columns(&["REVISION", "WHEN", "IN CLUSTER", "WHAT"], &rows, printer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ColorChoice;

    #[test]
    fn the_live_commit_is_named() {
        let entry = |revision: &str, live, objects| Entry {
            revision: revision.into(),
            time: String::new(),
            author: "Ada".into(),
            subject: "Two replicas".into(),
            files: vec!["app/web.yaml".into(), "app/x.yaml".into()],
            live,
            objects,
            held: Vec::new(),
            seconds: 0,
        };
        let mut on_its_way = entry("3123456789abcdef", false, 1);
        on_its_way.held = vec!["Rollout web Paused, step 2 of 5: it waits until someone promotes it".into()];
        let items = [
            on_its_way,
            entry("0123456789abcdef", true, 1),
            entry("1123456789abcdef", false, 2),
            entry("2123456789abcdef", false, 0),
        ];
        insta::assert_snapshot!(text(&items, 300, &Printer::new(ColorChoice::Never).wide(60)).join("\n"), @"
        REVISION      WHEN           IN CLUSTER
        3123456789ab  5 minutes ago  held
            Two replicas (Ada): app/web.yaml and 1 more; Rollout web
            Paused, step 2 of 5: it waits until someone promotes it
        0123456789ab  5 minutes ago  live
            Two replicas (Ada): app/web.yaml and 1 more
        1123456789ab  5 minutes ago  2 objects
            Two replicas (Ada): app/web.yaml and 1 more
        2123456789ab  5 minutes ago
            Two replicas (Ada): app/web.yaml and 1 more
        ");
    }
}
