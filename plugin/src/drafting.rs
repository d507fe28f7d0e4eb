//! Commits of ours. In: what becomes of an Application's files. Out: a draft,
//! what it changes in this and in other Applications, and the commit once
//! somebody agrees.

use gitops_engine::desired::{commit, desired};
use gitops_engine::load::Place as SourcePlace;
use gitops_engine::restore;
use gitops_engine::trust::trust_on;
use gitops_engine::{EngineError, Loaded};
use gitops_source::git::{Draft, enclosing, origin};
use gitops_source::{RepoUrl, SourceError, Target, Writer};

use crate::applications::in_file;
use crate::cli::Selection;
use crate::commands::diff::change;
use crate::error::Failure;
use crate::output::Report;
use crate::place::Place;
use crate::printer::Printer;
use crate::settings::Settings;

/// An Application whose files get a commit.
#[derive(Debug)]
pub struct Drafting<'a> {
    pub place: &'a Place,
    pub loaded: &'a Loaded,
    pub selection: &'a Selection,
    pub settings: &'a Settings,
    pub printer: &'a Printer,
}

impl Drafting<'_> {
    /// The source whose repository is written to; `instead` says what to change
    /// where there is none.
    pub fn home(&self, instead: &str) -> Result<&SourcePlace, Failure> {
        restore::home(self.loaded).ok_or_else(|| {
            Failure::usage(format!("Application {} has no source in Git", self.loaded.application))
                .hint(instead)
        })
    }

    /// The way to that repository.
    pub fn writer(&self, home: &SourcePlace) -> Writer {
        let environment = self.place.environment();
        Writer {
            cache: environment.git(),
            repo: home.repo.clone(),
            credentials: home.credentials.clone(),
            timeout: environment.git_timeout,
            checkout: self.checkout(&home.repo),
            // A person's own key signs, as Git's configuration says.
            signing_key: None,
        }
    }

    /// The checkout that one stands in, when it is one of this repository.
    fn checkout(&self, repo: &RepoUrl) -> Option<std::path::PathBuf> {
        let (root, _) = enclosing(&self.settings.folder)?;
        let same =
            origin(&root)?.parse::<RepoUrl>().is_ok_and(|origin| origin.to_string() == repo.to_string());
        same.then_some(root)
    }

    /// What the draft changes in what the Application declares.
    pub async fn changes(&self, now: &str, draft: &Draft) -> Result<Report, Failure> {
        self.changes_of(self.loaded, now, draft).await
    }

    async fn changes_of(&self, loaded: &Loaded, now: &str, draft: &Draft) -> Result<Report, Failure> {
        let (environment, place) = (self.place.environment(), self.place);
        let drafted = restore::placed(loaded, &draft.repo());
        let before = desired(loaded, environment, now, place).await?;
        let revision = restore::with_commit(loaded, now, &draft.commit);
        let after = desired(&drafted, environment, &revision, place).await?;
        Ok(change::report(&before, &after, &change::schemas(place, &before, &after).await?))
    }

    /// Shows the files and objects that change, and which other Applications of
    /// the file they change, too.
    pub async fn show(&self, draft: &Draft, changes: &Report) -> Result<(), Failure> {
        draft.stat()?.lines().for_each(|line| self.printer.line(line));
        change::text(changes, self.printer);
        let home = restore::home(self.loaded);
        for other in in_file(self.selection, self.settings, self.place.cluster())? {
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
        self.changes_of(other, &restore::with_commit(other, &now, &draft.base), draft).await
    }

    /// Whether the Project takes the commit, so that none is pushed that cannot be
    /// synced.
    pub async fn counts(&self, draft: &Draft, now: &str) -> Result<(), Failure> {
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

    /// Asks, unless `yes` was said, and pushes to the draft's branch or to a new
    /// one; returns the new commit.
    pub async fn publish(&self, draft: Draft, branch: Option<&str>, yes: bool) -> Result<String, Failure> {
        let (name, target) = match branch {
            Some(name) => (name.to_owned(), Target::New(name.to_owned())),
            None => (draft.branch.clone(), Target::Same),
        };
        let question = format!("Commit this to {name} of {}?", draft.home());
        if !yes {
            let way = "say --yes, or see with --dry-run what would change";
            self.printer.agrees(&question, way, "nothing was committed")?;
        }
        let published = tokio::task::spawn_blocking(move || draft.publish(&target)).await;
        let commit = published.map_err(|error| Failure::other(error.to_string()))??;
        self.printer.talk(&format!("committed {} to {name}", &commit[..12]));
        Ok(commit)
    }
}
