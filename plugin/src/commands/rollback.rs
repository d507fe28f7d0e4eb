//! `kubectl gitops rollback`

use clap::Args;
use gitops_core::names::OUTPUT_API_VERSION;
use gitops_engine::desired::{commit, desired};
use gitops_engine::restore;
use gitops_engine::trust::trust_on;
use gitops_engine::{EngineError, Loaded};
use gitops_source::git::{Draft, enclosing, origin};
use gitops_source::{Commit, NewCommit, RepoUrl, SourceError, Target, Writer};
use serde::Serialize;

use super::diff::change;
use super::sync;
use crate::applications::{in_file, is_local, select};
use crate::cli::Selection;
use crate::error::{Failure, code};
use crate::output::{self, Format, Report};
use crate::place::Place;
use crate::printer::Printer;
use crate::settings::{Settings, who};

mod target;

/// Goes back to what an earlier commit says, by a new commit, and syncs
///
/// The commit gives an Application's files (all that a render reads) the
/// content they had, whatever else has changed in the repository since. It is
/// shown first, then pushed, then synced. It is made with your name, and signed
/// if your Git configuration says so; hooks of Git are not run.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops rollback web\n  kubectl gitops rollback web --to 3 --dry-run\n  kubectl gitops rollback web --to v1.2 --reason INC-12 --yes --wait\n  kubectl gitops rollback web --branch undo-web"
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
    let case = Case { place: &place, loaded: &loaded, arguments: &arguments, settings, printer };
    let (draft, now, mut told) = case.draft().await?;
    if arguments.output.is_text() {
        case.show(&draft, &told).await?;
    }
    if arguments.branch.is_none() && !draft.is_empty() {
        case.counts(&draft, &now).await?;
    }
    let mut worst = code::YES;
    if !arguments.dry_run {
        if !draft.is_empty() {
            told.revision = Some(case.publish(draft).await?);
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

/// One Application's way back.
struct Case<'a> {
    place: &'a Place,
    loaded: &'a Loaded,
    arguments: &'a Arguments,
    settings: &'a Settings,
    printer: &'a Printer,
}

impl Case<'_> {
    /// The commit, made but not published; the revision of now; and what changes.
    async fn draft(&self) -> Result<(Draft, String, Rollback), Failure> {
        let (loaded, environment) = (self.loaded, self.place.environment());
        let home = restore::home(loaded).ok_or_else(|| {
            Failure::usage(format!("Application {} has no source in Git", loaded.application))
                .hint("change the version of its chart or artifact where the Application is described")
        })?;
        let asked = self.arguments.selection.revision.as_deref();
        let now = commit(loaded, environment, asked).await?.id;
        let read = restore::read(loaded, environment, &now).await?;
        let base = restore::commit_of(loaded, &now).to_owned();
        let wanted = target::find(environment, home, &base, &read.paths, &self.arguments.to)?;
        let then_revision = restore::with_commit(loaded, &now, &wanted.id);
        let then = restore::read(loaded, environment, &then_revision).await?;
        read.notes.iter().for_each(|note| self.printer.warning(note));
        let writer = Writer {
            cache: environment.git(),
            repo: home.repo.clone(),
            credentials: home.credentials.clone(),
            timeout: environment.git_timeout,
            checkout: self.checkout(&home.repo),
        };
        let branch = writer.branch(asked.unwrap_or(&home.source.revision))?;
        let new = NewCommit {
            changes: restore::changes(&read, &then, &wanted.id),
            message: self.message(&wanted),
            author: None,
        };
        let draft = writer.draft(&branch, &base, new)?;
        let changes = self.changes(loaded, &now, &draft).await?;
        let told = Rollback {
            api_version: OUTPUT_API_VERSION,
            kind: "Rollback",
            application: loaded.application.to_string(),
            restores: wanted.id,
            branch: self.arguments.branch.clone().unwrap_or(branch),
            revision: None,
            changes,
            sync: None,
        };
        Ok((draft, now, told))
    }

    /// The checkout that one stands in, when it is one of this repository.
    fn checkout(&self, repo: &RepoUrl) -> Option<std::path::PathBuf> {
        let (root, _) = enclosing(&self.settings.folder)?;
        let same =
            origin(&root)?.parse::<RepoUrl>().is_ok_and(|origin| origin.to_string() == repo.to_string());
        same.then_some(root)
    }

    fn message(&self, wanted: &Commit) -> String {
        let application = &self.loaded.application;
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

    /// What the draft changes in what an Application declares.
    async fn changes(&self, loaded: &Loaded, now: &str, draft: &Draft) -> Result<Report, Failure> {
        let (environment, place) = (self.place.environment(), self.place);
        let drafted = restore::placed(loaded, &draft.repo());
        let before = desired(loaded, environment, now, place).await?;
        let revision = restore::with_commit(loaded, now, &draft.commit);
        let after = desired(&drafted, environment, &revision, place).await?;
        Ok(change::report(&before, &after, &change::schemas(place, &before, &after).await?))
    }

    /// Shows the files and objects that change, and which other Applications of
    /// the file they change, too.
    async fn show(&self, draft: &Draft, told: &Rollback) -> Result<(), Failure> {
        if draft.is_empty() {
            self.printer.talk(&format!(
                "{} holds these files as they were at {} already; nothing is committed",
                draft.branch,
                &told.restores[..12]
            ));
            return Ok(());
        }
        draft.stat()?.lines().for_each(|line| self.printer.line(line));
        change::text(&told.changes, self.printer);
        let home = restore::home(self.loaded);
        for other in in_file(&self.arguments.selection, self.settings, self.place.cluster())? {
            let shares = restore::home(&other).zip(home).is_some_and(|(other, home)| {
                other.repo == home.repo && other.source.revision == home.source.revision
            });
            if !shares || other.application == self.loaded.application {
                continue;
            }
            // One that does not render is no reason to stay with what is wrong here.
            match self.beside(&other, draft).await {
                Ok(report) if report.objects.is_empty() => {}
                Ok(report) => self.printer.warning(&format!(
                    "Application {} reads these files, too: {} of its objects change",
                    other.application,
                    report.objects.len()
                )),
                Err(failure) => {
                    self.printer.warning(&format!("Application {}: {}", other.application, failure.message));
                }
            }
        }
        Ok(())
    }

    /// What the draft changes in another Application.
    async fn beside(&self, other: &Loaded, draft: &Draft) -> Result<Report, Failure> {
        let now = commit(other, self.place.environment(), None).await?.id;
        self.changes(other, &restore::with_commit(other, &now, &draft.base), draft).await
    }

    /// Whether the Project takes the commit, so that none is pushed that cannot be
    /// synced.
    async fn counts(&self, draft: &Draft, now: &str) -> Result<(), Failure> {
        let drafted = restore::placed(self.loaded, &draft.repo());
        let revision = restore::with_commit(self.loaded, now, &draft.commit);
        let environment = self.place.environment();
        let counts = trust_on(&drafted, environment, &revision, &draft.commit, &draft.branch).await;
        counts.map_err(|error| match error {
            EngineError::Source(SourceError::Unsigned { reason, .. }) => {
                Failure::git(format!("the commit would not count: {reason}")).hint(
                    "sign with a key that the Project names: git config commit.gpgSign true; or leave it to a pull request: --branch NAME",
                )
            }
            error => error.into(),
        })
    }

    /// Asks, and pushes; returns the new commit.
    async fn publish(&self, draft: Draft) -> Result<String, Failure> {
        let (name, target) = match &self.arguments.branch {
            Some(name) => (name.clone(), Target::New(name.clone())),
            None => (draft.branch.clone(), Target::Same),
        };
        let question = format!("Commit this to {name} of {}?", draft.home());
        if !self.arguments.yes {
            let way = "say --yes, or see with --dry-run what would change";
            self.printer.agrees(&question, way, "nothing was committed")?;
        }
        let published = tokio::task::spawn_blocking(move || draft.publish(&target)).await;
        let commit = published.map_err(|error| Failure::other(error.to_string()))??;
        self.printer.talk(&format!("committed {} to {name}", &commit[..12]));
        Ok(commit)
    }
}
