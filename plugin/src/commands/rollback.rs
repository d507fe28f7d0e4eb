//! `kubectl gitops rollback`

use clap::Args;
use gitops_core::managers::writer;
use gitops_core::names::OUTPUT_API_VERSION;
use gitops_core::path::Path;
use gitops_engine::desired::commit;
use gitops_engine::load::{Place as SourcePlace, find_file};
use gitops_engine::{Loaded, restore};
use gitops_source::git::Draft;
use gitops_source::{Change, Commit, NewCommit};
use serde::Serialize;

use self::described::{Before, Description, Otherwise};
use super::sync;
use crate::applications::{is_local, select};
use crate::asking;
use crate::cli::Selection;
use crate::drafting::Drafting;
use crate::error::{Failure, code};
use crate::output::{self, Format, Report};
use crate::place::Place;
use crate::printer::Printer;
use crate::settings::{Settings, who};

mod described;
mod target;

/// Goes back to what an earlier commit says, by a new commit, and syncs
///
/// The commit gives an Application's files (all that a render reads) the
/// content they had, whatever else has changed in the repository since. What the
/// file that describes the Application says of it stays, unless --with-spec is
/// said. It is shown first, then pushed, then synced. It is made with your name,
/// and signed if your Git configuration says so; hooks of Git are not run.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops rollback web\n  kubectl gitops rollback web --to 3 --dry-run\n  kubectl gitops rollback web --to v1.2 --reason INC-12 --yes --wait\n  kubectl gitops rollback web --branch undo-web\n  kubectl gitops rollback web --to v1.2 --with-spec"
)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// How it was so many changes ago, or at this branch, tag or commit
    #[arg(long, value_name = "COUNT|REVISION", default_value = "1")]
    to: String,
    /// Push to a new branch of this name instead, and do not sync
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// Take back what gitops.yaml says of the Application, too: path, chart, values, how it is kept
    #[arg(long)]
    with_spec: bool,
    /// Why, for the commit's message
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Let the sync delete what the earlier commit did not declare
    #[arg(long)]
    prune: bool,
    /// Wait until everything is healthy
    #[arg(long)]
    wait: bool,
    /// How long each wave, each hook, and --wait may take
    #[arg(long, default_value = "5m", value_name = "DURATION")]
    timeout: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Arguments {
    /// An Application as it was at a commit, with the flags of another command.
    pub(super) fn to_commit(selection: Selection, to: String, way: Way) -> Self {
        let Way { branch, reason, dry_run, yes, wait, timeout, output } = way;
        let (with_spec, prune) = (false, false);
        Self { selection, to, branch, with_spec, reason, dry_run, yes, prune, wait, timeout, output }
    }
}

/// How a way back is gone.
#[derive(Debug)]
pub(super) struct Way {
    pub branch: Option<String>,
    pub reason: Option<String>,
    pub dry_run: bool,
    pub yes: bool,
    pub wait: bool,
    pub timeout: String,
    pub output: Format,
}

/// What a rollback is about, as programs read it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rollback {
    api_version: &'static str,
    kind: &'static str,
    application: String,
    /// The commit whose files are restored.
    restores: String,
    branch: String,
    /// The new commit; absent in a dry run, and where nothing changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    /// What does not go back, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stays: Vec<String>,
    /// What becomes of the objects.
    changes: Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    sync: Option<Report>,
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let syncs = !arguments.dry_run && arguments.branch.is_none();
    let place = if syncs || !is_local(&arguments.selection, settings) {
        Place::reach(settings).await?
    } else {
        Place::reach_if_there(settings, printer, "changes are shown by Kubernetes' own kinds").await?
    };
    let loaded = one(select(&arguments.selection, settings, place.cluster()).await?)?;
    let (place, selection) = (&place, &arguments.selection);
    let drafting = Drafting { place, loaded: &loaded, selection, settings, printer };
    let case = Case { drafting, arguments: &arguments };
    let (draft, now, mut told) = case.draft().await?;
    if arguments.output.is_text() {
        case.show(&draft, &told).await?;
    }
    if arguments.branch.is_none() && !draft.is_empty() {
        case.drafting.counts(&draft, &now).await?;
    }
    let mut worst = code::YES;
    if !arguments.dry_run {
        if !draft.is_empty() {
            let branch = arguments.branch.as_deref();
            told.revision = Some(case.drafting.publish(draft, branch, arguments.yes).await?);
        }
        if syncs {
            let format = arguments.output;
            let Arguments { selection, prune, wait, timeout, .. } = &arguments;
            let whole =
                sync::Arguments::whole(named(selection, &loaded), *prune, *wait, timeout.clone(), format);
            let (reports, code) = sync::carry_out(whole, settings, printer).await?;
            worst = code;
            told.sync = reports.into_iter().next();
        }
    }
    match arguments.output {
        Format::Text | Format::Wide => {}
        Format::Name => output::names(&told.changes.objects, printer),
        format => output::print(&[told], format, printer)?,
    }
    Ok(worst)
}

/// A rollback is of one Application.
fn one(mut all: Vec<Loaded>) -> Result<Loaded, Failure> {
    match (all.pop(), all.len()) {
        (Some(one), 0) => Ok(one),
        (last, _) => {
            let names: Vec<String> =
                all.iter().chain(&last).map(|one| one.application.name.clone()).collect();
            Err(Failure::usage("which Application is to go back?")
                .hint(format!("name one of: {}", names.join(", "))))
        }
    }
}

/// The selection, with the Application by its name.
fn named(selection: &Selection, loaded: &Loaded) -> Selection {
    Selection { names: vec![loaded.application.name.clone()], ..selection.clone() }
}

/// What an Application is once it has gone back.
struct Goal {
    loaded: Loaded,
    /// With the files of the commit that it goes back to.
    revision: String,
    /// What becomes of the file that describes it.
    file: Option<Change>,
    /// What that file said then, and does not say again.
    stays: Option<String>,
}

/// One Application's way back.
struct Case<'a> {
    drafting: Drafting<'a>,
    arguments: &'a Arguments,
}

impl Case<'_> {
    /// The commit, made but not published; the revision of now; and what changes.
    async fn draft(&self) -> Result<(Draft, String, Rollback), Failure> {
        let Drafting { loaded, place, printer, .. } = self.drafting;
        let environment = place.environment();
        let instead = "change the version of its chart or artifact where the Application is described";
        let home = self.drafting.home(instead)?;
        let asked = self.arguments.selection.revision.as_deref();
        let now = commit(loaded, environment, asked).await?.id;
        let base = restore::commit_of(loaded, &now).to_owned();
        let read = restore::read(loaded, environment, &now).await?;
        let description = self.description(home, &base)?;
        let (mut counted, with_spec) = (read.paths.clone(), self.arguments.with_spec);
        counted.extend(description.iter().filter(|_| with_spec).map(|found| found.file.clone()));
        let wanted = target::find(environment, home, &base, (&counted, with_spec), &self.arguments.to)?;
        let goal = self.goal(home, (&now, &wanted.id), description.as_ref()).await?;
        let then = restore::read(&goal.loaded, environment, &goal.revision).await?;
        let mut changes = restore::changes(&read, &then, &wanted.id);
        changes.extend(goal.file.or_else(|| description.as_ref()?.kept(&changes)));
        let since = if description.is_none() { self.since(&wanted).await } else { None };
        let stays: Vec<String> = read.notes.into_iter().chain(goal.stays).chain(since).collect();
        stays.iter().for_each(|note| printer.warning(note));
        let writer = self.drafting.writer(home);
        let branch = writer.branch(asked.unwrap_or(&home.source.revision))?;
        let new = NewCommit { changes, message: self.message(&wanted), author: None };
        let draft = writer.draft(&branch, &base, new)?;
        let changes = self.drafting.changes_into((&goal.loaded, &goal.revision), &now, &draft).await?;
        let told = Rollback {
            api_version: OUTPUT_API_VERSION,
            kind: "Rollback",
            application: loaded.application.to_string(),
            restores: wanted.id,
            branch: self.arguments.branch.clone().unwrap_or(branch),
            revision: None,
            stays,
            changes,
            sync: None,
        };
        Ok((draft, now, told))
    }

    /// The file of the repository that describes the Application.
    fn description(&self, home: &SourcePlace, base: &str) -> Result<Option<Description>, Failure> {
        let Drafting { place, settings, selection, .. } = self.drafting;
        let named = selection.file.clone().or_else(|| find_file(&settings.folder));
        match named.filter(|_| selection.repo.is_none()) {
            Some(file) => Description::find(&file, home, place.environment(), base),
            None => Ok(None),
        }
    }

    /// Whether the Application of the cluster says something else by now, which
    /// nobody here knows. One that cannot be read is told by what follows.
    async fn since(&self, wanted: &Commit) -> Option<String> {
        let Drafting { loaded, place, selection, .. } = self.drafting;
        let there = place.destination().filter(|_| selection.repo.is_none())?;
        let key = asking::key(&loaded.application);
        let live = there.cluster.get(there.discovery.kind(&asking::kind().gvk)?, &key).await.ok()??;
        let by = writer(&live, &Path::root().field("spec"))?;
        let time: jiff::Timestamp = by.time.parse().ok()?;
        (time.as_second() >= wanted.time).then(|| {
            format!("{key} was written since, by {} at {}: what it says stays as it is", by.manager, by.time)
        })
    }

    /// The Application as the commit leaves it.
    async fn goal(
        &self,
        home: &SourcePlace,
        (now, wanted): (&str, &str),
        description: Option<&Description>,
    ) -> Result<Goal, Failure> {
        let Drafting { loaded, place, settings, .. } = self.drafting;
        let environment = place.environment();
        let same = || Goal {
            loaded: loaded.clone(),
            revision: restore::with_commit(loaded, now, wanted),
            file: None,
            stays: None,
        };
        let otherwise = match description {
            Some(found) => found.otherwise(loaded, home, environment, settings, wanted)?,
            None if self.arguments.with_spec => {
                return Err(Failure::usage("no file of this repository describes the Application").hint(
                    "where the cluster's Application says it, change it there: kubectl gitops app set",
                ));
            }
            None => None,
        };
        let (Some(Otherwise { told, before }), Some(description)) = (otherwise, description) else {
            return Ok(same());
        };
        if !self.arguments.with_spec {
            let way = if before.is_some() { " (--with-spec takes that back, too)" } else { "" };
            return Ok(Goal { stays: Some(format!("{told}; it stays as it is{way}")), ..same() });
        }
        let is_at_home = |then: &Loaded| restore::home(then).is_some_and(|then| then.repo == home.repo);
        let Some(Before { loaded, text }) = before.filter(|before| is_at_home(&before.loaded)) else {
            return Err(Failure::git(format!("{told}: that cannot be taken back"))
                .hint("name a later commit by --to, or leave --with-spec out"));
        };
        let then = commit(&loaded, environment, None).await?.id;
        let revision = restore::with_commit(&loaded, &then, wanted);
        Ok(Goal { loaded, revision, file: Some(description.with(text)), stays: None })
    }

    fn message(&self, wanted: &Commit) -> String {
        let application = &self.drafting.loaded.application;
        let reason = self.arguments.reason.as_deref().map(|text| format!("{text}\n\n")).unwrap_or_default();
        let time = jiff::Timestamp::from_second(wanted.time).map(|time| time.to_string()).unwrap_or_default();
        format!(
            "Roll back {} to {}\n\n{reason}Gives the files of Application {application} the content that they had in commit\n{}\n({:?} by {}, {time}).\n\nRequested-by: {}\nRestores: {}\n",
            application.name,
            &wanted.id[..12],
            wanted.id,
            wanted.subject,
            wanted.author,
            who(),
            wanted.id
        )
    }

    /// Shows what changes.
    async fn show(&self, draft: &Draft, told: &Rollback) -> Result<(), Failure> {
        if draft.is_empty() {
            self.drafting.printer.talk(&format!(
                "{} holds these files as they were at {} already; nothing is committed",
                draft.branch,
                &told.restores[..12]
            ));
            return Ok(());
        }
        self.drafting.show(draft, &told.changes).await
    }
}
