//! When the hosts of repositories are asked. In: a repository, a revision, and
//! the credentials for it. Out: its commit, as the host says now, or as it said
//! when this run last looked.
//!
//! A command looks once, so that all it tells is of one moment and a repository
//! of many Applications costs one fetch; where it has to see news, it looks
//! again. Nothing is taken for new because little time has passed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

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

/// What is and has been looked at; few enough to search one by one.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<Vec<Look>>>);

/// One look with these credentials: held while it goes on, true when it is over.
#[derive(Clone, Debug)]
struct Look {
    repo: RepoUrl,
    credentials: Credentials,
    over: Arc<Mutex<bool>>,
}

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

    fn look(&self, repo: &RepoUrl, credentials: &Credentials) -> Option<Arc<Mutex<bool>>> {
        let Self::Once(seen) = self else { return None };
        let mut all = seen.all();
        if let Some(look) = all.iter().find(|look| look.repo == *repo && look.credentials == *credentials) {
            return Some(look.over.clone());
        }
        let over = Arc::default();
        let look = Look { repo: repo.clone(), credentials: credentials.clone(), over: Arc::clone(&over) };
        all.push(look);
        Some(over)
    }
}

impl Seen {
    fn all(&self) -> MutexGuard<'_, Vec<Look>> {
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
        let fetched = || self.git().fetch(repo, revision, credentials, self.git_timeout);
        // A commit may lie on no branch: only who names it is given it.
        if is_full_commit(revision) {
            return fetched();
        }
        let Some(look) = self.looks.look(repo, credentials) else { return fetched() };
        // Who comes while another looks waits for that. When it failed, those
        // who waited do not queue up for the same timeout.
        let (mut over, is_first) = match look.try_lock() {
            Ok(over) => (over, true),
            Err(TryLockError::Poisoned(over)) => (over.into_inner(), true),
            Err(TryLockError::WouldBlock) => (look.lock().unwrap_or_else(PoisonError::into_inner), false),
        };
        if *over {
            drop(over);
            return self.found_before(repo, revision, credentials).unwrap_or_else(fetched);
        }
        if !is_first {
            drop(over);
            return fetched();
        }
        let found = fetched();
        *over = matches!(found, Ok(_) | Err(SourceError::NoSuchRevision { .. }));
        found
    }

    /// What this run's look at the host says; nothing where the repository is
    /// here in part and the name is not: each name is asked for.
    fn found_before(
        &self,
        repo: &RepoUrl,
        revision: &str,
        credentials: &Credentials,
    ) -> Option<Result<Commit, SourceError>> {
        let git = self.git();
        let found = git.deeply(repo, credentials, self.git_timeout, || git.resolve(repo, revision));
        let is_missing = matches!(found, Err(SourceError::NoSuchRevision { .. }));
        (!is_missing || !git.is_shallow(repo)).then_some(found)
    }
}
