//! `kubectl gitops diff --base A --head B`: what a pull request changes. In:
//! two revisions of this repository, each with its own gitops.yaml files. Out: what
//! differs between what they render, without touching a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use gitops_core::compare::Op;
use gitops_core::desired::{AppRef, DesiredSet};
use gitops_core::plan::Action;
use gitops_core::schema::Schemas;
use gitops_engine::change::change;
use gitops_engine::desired::{commit, desired};
use gitops_engine::load::{self, FILE, Loaded, Place as Source};
use gitops_source::{RepoUrl, git};

use super::Arguments;
use crate::applications::is_called;
use crate::difftext;
use crate::error::{Failure, code};
use crate::output::{self, Format, ObjectReport, Report};
use crate::place::Place;
use crate::printer::Printer;
use crate::settings::Settings;

/// One side: a commit, and the Applications that it describes.
struct Side {
    commit: String,
    applications: BTreeMap<AppRef, Loaded>,
}

/// Where Applications are described.
struct Files {
    /// Of the repository.
    root: PathBuf,
    /// The one that was named, from there; none: all there are.
    one: Option<String>,
}

impl Files {
    fn of(named: Option<&Path>, folder: &Path) -> Result<Self, Failure> {
        let shown = named.unwrap_or(folder);
        let outside = || {
            Failure::usage(format!("{} is in no Git repository", shown.display()))
                .hint("run it in the repository whose commits are compared, or name a file of it with -f")
        };
        let within = match named {
            Some(file) => file.canonicalize().ok().and_then(|file| Some(file.parent()?.to_owned())),
            None => folder.canonicalize().ok(),
        };
        let (root, inside) = git::enclosing(&within.ok_or_else(outside)?).ok_or_else(outside)?;
        let name = named.map(|file| file.file_name().unwrap_or_default());
        let one = name.map(|name| inside.join(name).to_string_lossy().into_owned());
        Ok(Self { root, one })
    }
}

pub(super) async fn run(
    arguments: &Arguments,
    (base, head): (&str, &str),
    settings: &Settings,
    printer: &Printer,
) -> Result<u8, Failure> {
    let files = Files::of(arguments.selection.file.as_deref(), &settings.folder)?;
    let place = if arguments.live { Place::reach(settings).await? } else { Place::nowhere(settings, "") };
    let sides = [side(base, &files, &place, settings)?, side(head, &files, &place, settings)?];
    let mut reports = Vec::new();
    for application in names(&sides, &arguments.selection.names)? {
        let base = render(&sides[0], &application, &place).await?;
        let head = render(&sides[1], &application, &place).await?;
        let report = report(&base, &head, &schemas(&place, &base, &head).await?);
        if !report.objects.is_empty() {
            reports.push(report);
        }
    }
    print(&reports, arguments, printer)?;
    Ok(if reports.is_empty() { code::YES } else { code::NO })
}

/// The types of what both sides declare.
pub async fn schemas(place: &Place, base: &DesiredSet, head: &DesiredSet) -> Result<Schemas, Failure> {
    let objects = base.objects.values().chain(head.objects.values());
    place.schemas(&objects.map(|object| object.gvk.clone()).collect()).await
}

fn side(revision: &str, files: &Files, place: &Place, settings: &Settings) -> Result<Side, Failure> {
    let (git, repo) = (place.environment().git(), RepoUrl::local(&files.root));
    let commit = git.resolve(&repo, revision)?.id;
    let snapshot = git.snapshot(&repo, &commit)?;
    let namespace = settings.namespace.clone().unwrap_or_else(|| "default".into());
    let paths = match &files.one {
        Some(file) => vec![file.clone()],
        None => snapshot.named(FILE)?,
    };
    let origin = git::origin(&files.root);
    let (mut applications, mut described) = (BTreeMap::new(), BTreeMap::new());
    for file in paths {
        // A commit may be older than the file, or have removed it.
        let Ok(bytes) = snapshot.read(&file) else { continue };
        let shown = format!("{file} at {}", &commit[..12]);
        let text = String::from_utf8_lossy(&bytes);
        for mut loaded in
            load::read_text(&shown, &text, Some(&files.root), &namespace, &settings.credentials)?
        {
            loaded.sources.iter_mut().for_each(|place| at(place, &repo, origin.as_deref(), &commit));
            let name = loaded.application.clone();
            if let Some(before) = described.insert(name.clone(), file.clone()) {
                let message = format!(
                    "Application {name} is described twice at {}: by {before} and {file}",
                    &commit[..12]
                );
                return Err(Failure::usage(message).hint(
                    "give each a name and a namespace of its own (metadata), or say which file is meant by -f FILE",
                ));
            }
            applications.insert(name, loaded);
        }
    }
    Ok(Side { commit, applications })
}

/// The repository under its address elsewhere is this one, too.
fn at(place: &mut Source, repo: &RepoUrl, origin: Option<&str>, commit: &str) {
    if origin.is_some() && place.source.repo.as_deref() == origin {
        place.repo = repo.clone();
    }
    if place.repo == *repo {
        commit.clone_into(&mut place.source.revision);
    }
}

/// The Applications of both sides, or those that were named.
fn names(sides: &[Side; 2], wanted: &[String]) -> Result<BTreeSet<AppRef>, Failure> {
    let mut names: BTreeSet<AppRef> =
        sides.iter().flat_map(|side| side.applications.keys().cloned()).collect();
    if names.is_empty() {
        return Err(Failure::git(format!("{FILE} is in neither commit")).hint("commit it, and try again"));
    }
    let unknown = |name: &&String| !names.iter().any(|application| is_called(application, name));
    if let Some(name) = wanted.iter().find(unknown) {
        let listed: Vec<String> = names.iter().map(ToString::to_string).collect();
        return Err(Failure::usage(format!("neither side has an Application {name:?}"))
            .hint(format!("there are: {}", listed.join(", "))));
    }
    names.retain(|application| wanted.is_empty() || wanted.iter().any(|name| is_called(application, name)));
    Ok(names)
}

/// What one side declares; nothing where it has no such Application.
async fn render(side: &Side, application: &AppRef, place: &Place) -> Result<DesiredSet, Failure> {
    let Some(loaded) = side.applications.get(application) else {
        let application = AppRef { namespace: String::new(), name: application.name.clone() };
        return Ok(DesiredSet { application, revision: side.commit.clone(), objects: Default::default() });
    };
    let revision = commit(loaded, place.environment(), None).await?.id;
    Ok(desired(loaded, place.environment(), &revision, place).await?)
}

/// What differs between what two commits declare.
pub fn report(base: &DesiredSet, head: &DesiredSet, schemas: &Schemas) -> Report {
    let application =
        if head.application.namespace.is_empty() { &base.application } else { &head.application };
    let mut report = Report::new("Diff", application.to_string(), head.revision.clone());
    for step in change(base, head, schemas) {
        report.counts.add(step.action);
        report.objects.push(super::object(head, &step));
    }
    report
}

fn print(reports: &[Report], arguments: &Arguments, printer: &Printer) -> Result<(), Failure> {
    let Some(format) = arguments.output.format() else {
        markdown(reports, printer);
        return Ok(());
    };
    match format {
        Format::Text | Format::Wide => {
            reports.iter().for_each(|report| text(report, printer));
            if reports.is_empty() {
                printer.talk("no Application is changed");
            }
            Ok(())
        }
        Format::Name => {
            output::names(reports.iter().flat_map(|report| &report.objects), printer);
            Ok(())
        }
        format => output::print(reports, format, printer),
    }
}

/// One Application's changes, for people.
pub fn text(report: &Report, printer: &Printer) {
    printer.line(&printer.ink(crate::printer::Ink::Bold, &heading(report)));
    for object in &report.objects {
        printer.line(&title(object));
        fields(object).iter().for_each(|line| printer.line(&format!("  {line}")));
    }
}

fn heading(report: &Report) -> String {
    let counts = report.counts;
    format!("{}: {} new, {} changed, {} gone", report.application, counts.create, counts.update, counts.prune)
}

fn title(object: &ObjectReport) -> String {
    let sign = match object.action {
        Action::Create => "+",
        Action::Prune => "-",
        Action::Update | Action::Unchanged => "~",
    };
    let place = &object.object.namespace;
    let slash = if place.is_empty() { "" } else { "/" };
    format!("{sign} {} {place}{slash}{}", object.object.kind, object.object.name)
}

/// Each field before and after, in the manner of a diff.
fn fields(object: &ObjectReport) -> Vec<String> {
    let mut lines = Vec::new();
    for located in &object.differences {
        let difference = &located.difference;
        if let Some(before) = &difference.tried {
            lines.push(format!("- {}: {}", difference.path, difftext::value(before)));
        }
        if let Some(after) = difference.git.as_ref().filter(|_| difference.op != Op::Add) {
            let place = located.line.map(|line| format!("  {}:{line}", located.file)).unwrap_or_default();
            lines.push(format!("+ {}: {}{place}", difference.path, difftext::value(after)));
        }
    }
    lines
}

/// For a comment on a pull request.
fn markdown(reports: &[Report], printer: &Printer) {
    if reports.is_empty() {
        printer.line("No Application is changed.");
    }
    for report in reports {
        printer.line(&format!("### {}\n", heading(report)));
        for object in &report.objects {
            let lines = fields(object);
            if lines.is_empty() {
                printer.line(&format!("- `{}`\n", title(object)));
                continue;
            }
            let text = lines.join("\n");
            // Longer than any fence in a value.
            let fence = "`".repeat(longest_run(&text).max(2) + 1);
            let summary = title(object);
            printer.line(&format!(
                "<details open><summary><code>{summary}</code></summary>\n\n{fence}diff\n{text}\n{fence}\n\n</details>\n"
            ));
        }
    }
}

fn longest_run(text: &str) -> usize {
    text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0)
}
