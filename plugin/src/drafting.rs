//! Commits of ours. In: what becomes of an Application's files. Out: a draft,
//! what it changes in this and in other Applications, and the commit once
//! somebody agrees.

use std::path::Path;

use gitops_cluster::ErrorKind;
use gitops_engine::desired::{commit, desired};
use gitops_engine::load::{Place as SourcePlace, from_cluster};
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

/// Whether a checkout is of this repository, or is it itself.
pub fn is_same(repo: &RepoUrl, root: &Path) -> bool {
    repo.path() == Some(root) || is_clone(root, repo)
}

fn is_clone(root: &Path, repo: &RepoUrl) -> bool {
    let origin = origin(root).and_then(|origin| origin.parse::<RepoUrl>().ok());
    origin.is_some_and(|origin| origin.to_string() == repo.to_string())
}

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
        is_clone(&root, repo).then_some(root)
    }

    /// What the draft changes in what the Application declares.
    pub async fn changes(&self, now: &str, draft: &Draft) -> Result<Report, Failure> {
        self.changes_of((self.loaded, now), (self.loaded, now), draft).await
    }

    /// The same where the draft leaves the Application described otherwise: at a
    /// revision of what it is then.
    pub async fn changes_into(
        &self,
        then: (&Loaded, &str),
        now: &str,
        draft: &Draft,
    ) -> Result<Report, Failure> {
        self.changes_of((self.loaded, now), then, draft).await
    }

    async fn changes_of(
        &self,
        (loaded, now): (&Loaded, &str),
        (then, revision): (&Loaded, &str),
        draft: &Draft,
    ) -> Result<Report, Failure> {
        let (environment, place) = (self.place.environment(), self.place);
        let drafted = restore::placed(then, &draft.repo());
        let before = desired(loaded, environment, now, place).await?;
        let revision = restore::with_commit(then, revision, &draft.commit);
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
        let revision = restore::with_commit(other, &now, &draft.base);
        self.changes_of((other, &revision), (other, &revision), draft).await
    }

    /// Whether the Project takes the commit, so that none is pushed that cannot be
    /// synced. A file says nothing of Projects: the Application of the same name in
    /// the cluster does.
    pub async fn counts(&self, draft: &Draft, now: &str) -> Result<(), Failure> {
        if self.loaded.project.is_some() {
            return self.counts_for(self.loaded, draft, now).await;
        }
        let Some((held, now)) = self.held().await? else { return Ok(()) };
        self.counts_for(&held, draft, &now).await
    }

    /// The Application as the cluster holds it to the same repository, and its
    /// revision.
    async fn held(&self) -> Result<Option<(Loaded, String)>, Failure> {
        let Some(cluster) = self.place.cluster() else { return Ok(None) };
        let (application, usual) = (&self.loaded.application, &self.settings.credentials);
        let unknown = |reason: String| {
            self.printer.warning(&format!("whether the cluster takes this commit is not known: {reason}"));
            Ok(None)
        };
        let held = match from_cluster(cluster, application, usual).await {
            Ok(held) => held,
            Err(EngineError::Cluster(error)) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return unknown(error.to_string()),
        };
        let same = restore::home(&held).zip(restore::home(self.loaded)).is_some_and(|(held, home)| {
            held.repo.to_string() == home.repo.to_string()
                || home.repo.path().is_some_and(|root| is_clone(root, &held.repo))
        });
        if !same || held.project.is_none() {
            return Ok(None);
        }
        match commit(&held, self.place.environment(), None).await {
            Ok(now) => Ok(Some((held, now.id))),
            Err(error) => unknown(error.to_string()),
        }
    }

    async fn counts_for(&self, loaded: &Loaded, draft: &Draft, now: &str) -> Result<(), Failure> {
        let drafted = restore::placed(loaded, &draft.repo());
        let revision = restore::with_commit(loaded, now, &draft.commit);
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
