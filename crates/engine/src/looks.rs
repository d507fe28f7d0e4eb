//! When the hosts of repositories are asked. In: a repository, a revision, and
//! the credentials for it. Out: its commit, as the host says now, or as it said
//! when this run last looked.
//!
//! A command looks once, so that all it tells is of one moment and a repository
//! of many Applications costs one fetch; where it has to see news, it looks
//! again. Nothing is taken for new because little time has passed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gitops_source::git::is_full_commit;
use gitops_source::{Commit, Credentials, RepoUrl, SourceError};

use crate::desired::Environment;

/// Whether what was fetched before is new enough.
#[derive(Clone, Debug, Default)]
pub enum Looks {
    /// Never: every question goes to the host.
    #[default]
    Always,
    /// Where the same credentials have opened it since the last [`Looks::again`].
    /// Clones look together.
    Once(Seen),
}

/// What has been looked at; few enough to search one by one.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<Vec<(RepoUrl, Credentials)>>>);

impl Looks {
    /// Nothing is looked at yet, and everything once.
    pub fn once() -> Self {
        Self::Once(Seen::default())
    }

    /// Whoever asks from now on is told what is new by then.
    pub fn again(&self) {
        if let Self::Once(seen) = self {
            seen.all().clear();
        }
    }

    fn has(&self, repo: &RepoUrl, credentials: &Credentials) -> bool {
        match self {
            Self::Always => false,
            Self::Once(seen) => seen.all().iter().any(|(url, with)| url == repo && with == credentials),
        }
    }

    fn note(&self, repo: &RepoUrl, credentials: &Credentials) {
        if let Self::Once(seen) = self {
            seen.all().push((repo.clone(), credentials.clone()));
        }
    }
}

impl Seen {
    fn all(&self) -> MutexGuard<'_, Vec<(RepoUrl, Credentials)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Environment {
    /// Finds what a revision of a repository means. It may block.
    ///
    /// # Errors
    /// What is wrong with the repository or the way to it.
    pub fn find(
        &self,
        repo: &RepoUrl,
        revision: &str,
        credentials: &Credentials,
    ) -> Result<Commit, SourceError> {
        let git = self.git();
        // A commit may lie on no branch: only who names it is given it.
        let is_branch = !is_full_commit(revision);
        if is_branch && self.looks.has(repo, credentials) {
            let found = git.deeply(repo, credentials, self.git_timeout, || git.resolve(repo, revision));
            // Of a repository that is here in part, each name is asked for.
            if !matches!(found, Err(SourceError::NoSuchRevision { .. })) || !git.is_shallow(repo) {
                return found;
            }
        }
        let found = git.fetch(repo, revision, credentials, self.git_timeout);
        if is_branch && matches!(found, Ok(_) | Err(SourceError::NoSuchRevision { .. })) {
            self.looks.note(repo, credentials);
        }
        found
    }
}
