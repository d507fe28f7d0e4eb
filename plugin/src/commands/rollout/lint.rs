//! `kubectl gitops rollout lint`

use std::path::{Path, PathBuf};

use clap::Args;
use gitops_core::names::OUTPUT_API_VERSION;
use gitops_core::rollout::desired::Objects;
use gitops_engine::lint::{Found, Linted, Written, lint_all, not_trusted};
use gitops_engine::load::find_file;
use gitops_source::yaml;
use serde::Serialize;

use crate::applications::{declared, revert, select};
use crate::cli::Selection;
use crate::error::{Failure, code};
use crate::layout;
use crate::output::{self, Format};
use crate::place::Place;
use crate::printer::{Ink, Printer};
use crate::settings::Settings;

/// Tells what will not work in Rollouts and AnalysisTemplates
///
/// FILE is a file or folder of YAML, or - for stdin; it need not be committed.
/// Where an Application is known, by -f or the nearest gitops.yaml, what it
/// declares is looked at beside: whether the target, Services, routes and
/// templates are there and fit. Without FILE, all Rollouts of the Application
/// are read as they are committed; where the cluster has the Application, it is
/// told whether the commit of a Revert would count. No cluster is changed; no
/// metric is asked.
/// Exit code 0: nothing found, or warnings only; 1: mistakes.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops rollout lint app/rollout.yaml\n  kubectl gitops rollout lint\n  kubectl gitops rollout lint app -f gitops.yaml -o json"
)]
pub struct Arguments {
    /// Files or folders, - for stdin
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The file that describes the Applications; else the nearest gitops.yaml upwards
    #[arg(short, long = "file", value_name = "FILE")]
    described: Option<PathBuf>,
    /// An Application of that file; else all
    #[arg(long = "application", value_name = "NAME")]
    applications: Vec<String>,
    /// Warnings are mistakes
    #[arg(long)]
    strict: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    api_version: &'static str,
    kind: &'static str,
    items: Vec<Found>,
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let mut written = Vec::new();
    for path in &arguments.files {
        for file in files(path)? {
            written.extend(read(&file)?);
        }
    }
    let linted = look(&arguments, written, settings, printer).await?;
    if linted.read == 0 {
        return Err(Failure::usage("there is neither a Rollout nor an AnalysisTemplate")
            .hint("name a file or folder that has one"));
    }
    let bad = |found: &Found| found.severity == "error" || arguments.strict;
    let worst = if linted.found.iter().any(bad) { code::NO } else { code::YES };
    match arguments.output {
        Format::Text | Format::Wide => text(&linted, printer).iter().for_each(|line| printer.line(line)),
        Format::Name => linted.found.iter().for_each(|found| {
            printer.line(&format!("{}:{}", found.file, found.line));
        }),
        Format::Jsonl => output::print(&linted.found, arguments.output, printer)?,
        format => {
            let report = Report { api_version: OUTPUT_API_VERSION, kind: "RolloutLint", items: linted.found };
            output::print(&[report], format, printer)?;
        }
    }
    Ok(worst)
}

/// By themselves, or beside what their Applications declare.
async fn look(
    arguments: &Arguments,
    written: Vec<Written>,
    settings: &Settings,
    printer: &Printer,
) -> Result<Linted, Failure> {
    let namespace = settings.namespace.clone().unwrap_or_else(|| "default".into());
    let described = arguments.described.is_some() || find_file(&settings.folder).is_some();
    if !described {
        if arguments.files.is_empty() {
            return Err(Failure::usage("no file is named, and there is no gitops.yaml here or above")
                .hint("name a file or folder: kubectl gitops rollout lint FILE"));
        }
        return Ok(lint_all(&written, None, &namespace));
    }
    let selection = Selection {
        names: arguments.applications.clone(),
        file: arguments.described.clone(),
        ..Selection::default()
    };
    let place = Place::reach_if_there(settings, printer, "files are read by Kubernetes' own kinds").await?;
    let mut all = Linted::default();
    let (mut objects, mut home) = (Objects::new(), namespace);
    for loaded in select(&selection, settings, None).await? {
        let (_, set) = declared(&loaded, place.environment(), None, &place).await?;
        if written.is_empty() {
            let ours: Vec<Written> = set.objects.values().map(Written::declared).collect();
            let linted = lint_all(&ours, Some(&set.objects), &loaded.namespace);
            all.read += linted.read;
            all.found.extend(linted.found);
            let standing = revert(place.cluster(), &loaded.application, settings).await;
            all.found.extend(standing.doubt().into_iter().flat_map(|doubt| not_trusted(&set.objects, doubt)));
        }
        home.clone_from(&loaded.namespace);
        objects.extend(set.objects);
    }
    if written.is_empty() { Ok(all) } else { Ok(lint_all(&written, Some(&objects), &home)) }
}

/// A file, or those of a folder and below it.
fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |path: &Path, error: &std::io::Error| {
        Failure::usage(format!("{}: {error}", path.display())).hint("name a file or folder, or - for stdin")
    };
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| failed(path, &error))? {
        let entry = entry.map_err(|error| failed(path, &error))?;
        let kind = entry.file_type().map_err(|error| failed(path, &error))?;
        let (inner, hidden) = (entry.path(), entry.file_name().to_string_lossy().starts_with('.'));
        let yaml = inner.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
        if kind.is_dir() && !hidden {
            found.extend(files(&inner)?);
        } else if kind.is_file() && yaml {
            found.push(inner);
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<Written>, Failure> {
    let (shown, text) = output::read(path)?;
    let bad = |error: gitops_source::SourceError| {
        Failure::usage(error.to_string()).hint("mend the file, and try again")
    };
    let documents = yaml::documents(&shown, &text).map_err(bad)?;
    Ok(documents.into_iter().map(|document| Written::document(&shown, document)).collect())
}

fn text(linted: &Linted, printer: &Printer) -> Vec<String> {
    let mut lines = Vec::new();
    for found in &linted.found {
        let ink = if found.severity == "error" { Ink::Live } else { Ink::Change };
        let place = format!("{}:{}", found.file, found.line);
        let severity = printer.ink(ink, found.severity);
        lines.push(format!(
            "{}: {severity}: {}: {}",
            printer.ink(Ink::Bold, &place),
            found.object,
            found.field
        ));
        lines.extend(layout::wrapped(&found.message, "    ", printer.width()));
        lines.extend(layout::wrapped(&format!("hint: {}", found.hint), "    ", printer.width()));
    }
    let count = |severity: &str| linted.found.iter().filter(|found| found.severity == severity).count();
    lines.push(format!(
        "{} read: {}, {}",
        layout::counted(linted.read, "object"),
        layout::counted(count("error"), "mistake"),
        layout::counted(count("warning"), "warning")
    ));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ColorChoice;

    #[test]
    fn findings_are_read_one_after_the_other() {
        let found = |severity: &'static str, line| Found {
            file: "app/rollout.yaml".into(),
            line,
            object: "Rollout web".into(),
            field: "spec.target".into(),
            severity,
            message: "Deployment shop/other is not declared beside its Rollout".into(),
            hint: "declare it in the same Application, or mend spec.target".into(),
        };
        let linted = Linted { read: 1, found: vec![found("error", 5), found("warning", 7)] };
        insta::assert_snapshot!(text(&linted, &Printer::new(ColorChoice::Never).wide(60)).join("\n"), @"
        app/rollout.yaml:5: error: Rollout web: spec.target
            Deployment shop/other is not declared beside its Rollout
            hint: declare it in the same Application, or mend
            spec.target
        app/rollout.yaml:7: warning: Rollout web: spec.target
            Deployment shop/other is not declared beside its Rollout
            hint: declare it in the same Application, or mend
            spec.target
        1 object read: 1 mistake, 1 warning
        ");
    }
}
