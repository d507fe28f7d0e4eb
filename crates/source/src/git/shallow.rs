//! Repositories of which only the newest commits are here. In: a question that
//! may need more of the history. Out: its answer, after the rest has been
//! fetched where it takes that. What is not certain without the rest is an
//! error ([`SourceError::Shallow`]), never a no.
//!
//! The first fetch brings one commit of what is asked for. The rest comes once,
//! all of it, and stays.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gix::refs::transaction::PreviousValue;
use gix::remote::fetch::Shallow;

use super::GitCache;
use super::failure::git_error;
use super::fetch::{Way, everything};
use super::revision::REMOTE_HEAD;
use crate::error::SourceError;
use crate::location::{Credentials, RepoUrl};

/// Where a history on its way keeps its branches and tags: those of the
/// repository may move on meanwhile.
const ASIDE: &str = "refs/gitops/history/";

/// Whether the histories of some commits end before they do elsewhere.
pub(super) fn is_partial(repository: &gix::Repository) -> bool {
    repository.is_shallow().unwrap_or(true)
}

/// The error for a revision that is not here.
pub(super) fn missing(repository: &gix::Repository, repo: &RepoUrl, revision: &str) -> SourceError {
    if is_partial(repository) {
        return SourceError::Shallow { repo: repo.to_string() };
    }
    SourceError::NoSuchRevision { repo: repo.to_string(), revision: revision.to_owned(), near: Vec::new() }
}

impl GitCache {
    /// Whether only the newest commits of a repository are here.
    pub fn is_shallow(&self, repo: &RepoUrl) -> bool {
        repo.path().is_none() && self.repository(repo).is_ok_and(|repository| is_partial(&repository))
    }

    /// Asks what may take the whole history. Where it does, that is fetched
    /// first, within `timeout`; it goes on behind that.
    ///
    /// # Errors
    /// As `ask`; when the history cannot be fetched in time.
    pub fn deeply<T>(
        &self,
        repo: &RepoUrl,
        credentials: &Credentials,
        timeout: Duration,
        ask: impl Fn() -> Result<T, SourceError>,
    ) -> Result<T, SourceError> {
        match ask() {
            Err(SourceError::Shallow { .. }) if repo.path().is_none() => {
                self.deepen(repo, credentials, timeout)?;
                ask()
            }
            answer => answer,
        }
    }

    /// Fetches what is missing of the history. One does it for all who ask, and
    /// does not end with who stops waiting.
    ///
    /// # Errors
    /// Wrong credentials, no way to the host, or `timeout`.
    pub fn deepen(
        &self,
        repo: &RepoUrl,
        credentials: &Credentials,
        timeout: Duration,
    ) -> Result<(), SourceError> {
        if !self.is_shallow(repo) {
            return Ok(());
        }
        let work = (self.clone(), repo.clone(), credentials.clone());
        let key = (self.folder(repo), credentials.clone());
        let done = one_at_a_time(key, move || work.0.deepen_here(&work.1, &work.2));
        match done.wait(timeout) {
            Some(Ok(())) => Ok(()),
            // Said once more, to whoever joined: an error is not to be cloned.
            Some(Err(Failed { credentials: true, reason })) => {
                Err(SourceError::Credentials { repo: repo.to_string(), reason })
            }
            Some(Err(Failed { reason, .. })) => Err(SourceError::Network { repo: repo.to_string(), reason }),
            None => Err(SourceError::Timeout {
                what: format!("fetching the history of {repo}"),
                seconds: timeout.as_secs(),
            }),
        }
    }

    /// Begins to fetch what is missing of the history, and does not wait for it.
    pub fn deepen_behind(&self, repo: &RepoUrl, credentials: &Credentials) {
        match self.deepen(repo, credentials, Duration::ZERO) {
            Ok(()) | Err(SourceError::Timeout { .. }) => {}
            Err(error) => tracing::warn!(%error, "the history is not fetched"),
        }
    }

    fn deepen_here(&self, repo: &RepoUrl, credentials: &Credentials) -> Result<(), SourceError> {
        let place = self.folder(repo);
        let lock = history_lock(&place)?;
        // Another process may be at it.
        lock.lock().map_err(SourceError::io(&place))?;
        let way = Way::of(repo, credentials)?;
        let repository = self.open_with(repo, way.options())?;
        if !is_partial(&repository) {
            return Ok(());
        }
        let fetching = place.with_extension("lock");
        let fetching = std::fs::File::create(&fetching).map_err(SourceError::io(&fetching))?;
        if fetching.try_lock().is_ok() {
            clear_lock(&repository);
        }
        drop(fetching);
        let error = |error: gix::Error| git_error(repo, &error);
        // What no branch has any more, too: it may be what a branch went back from.
        let ends = repository.shallow_commits().map_err(error)?;
        let ends = ends.iter().flat_map(|ends| ends.iter().map(ToString::to_string));
        let mut branches = everything(ASIDE);
        branches.push(format!("+HEAD:{ASIDE}HEAD"));
        let mut specs: Vec<String> = ends.map(|end| format!("+{end}:{ASIDE}commits/{end}")).collect();
        specs.extend(branches.iter().cloned());
        let never = AtomicBool::new(false);
        let whole = |specs: &[String]| {
            way.receive(&repository, specs, &never, |_| Ok(Some(Shallow::undo()))).map(drop)
        };
        // Servers may hand out nothing that no branch reaches.
        whole(&specs).or_else(|_| whole(&branches))?;
        take_over(&repository).map_err(error)
    }
}

/// Held by who fetches the history of the repository at `place`.
pub(super) fn history_lock(place: &Path) -> Result<std::fs::File, SourceError> {
    let path = place.with_extension("history.lock");
    std::fs::File::create(&path).map_err(SourceError::io(&path))
}

/// Takes away gix's lock of a process that was killed. Only who fetches, or
/// fetches the history, has one: to be called where nobody does.
pub(super) fn clear_lock(repository: &gix::Repository) {
    if let Ok(file) = repository.shallow_file() {
        let _ = std::fs::remove_file(file.with_extension("lock"));
    }
}

/// Branches and tags that are not known yet become so; those that are may be
/// newer by now. What was fetched by its id stays.
fn take_over(repository: &gix::Repository) -> Result<(), gix::Error> {
    for reference in repository.references()?.prefixed(ASIDE)?.filter_map(Result::ok) {
        let name = reference.name().as_bstr().to_string();
        let Some(name) = name.strip_prefix(ASIDE).filter(|name| !name.starts_with("commits/")) else {
            continue;
        };
        let name = if name == "HEAD" { REMOTE_HEAD.to_owned() } else { format!("refs/{name}") };
        if let Some(id) = reference.target().try_id()
            && repository.try_find_reference(&name)?.is_none()
        {
            // One that stands in the way is gone at the remote, as a fetch finds out.
            let _ = repository.reference(name, id, PreviousValue::MustNotExist, "fetch");
        }
        reference.delete()?;
    }
    Ok(())
}

/// Why a history could not be fetched.
#[derive(Clone, Debug)]
struct Failed {
    credentials: bool,
    reason: String,
}

/// A work that many wait for.
#[derive(Debug, Default)]
struct Done {
    result: Mutex<Option<Result<(), Failed>>>,
    ended: Condvar,
}

impl Done {
    /// None: not in time.
    fn wait(&self, timeout: Duration) -> Option<Result<(), Failed>> {
        let begun = Instant::now();
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if result.is_some() {
                return result.clone();
            }
            let left = timeout.checked_sub(begun.elapsed())?;
            result = self.ended.wait_timeout(result, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn end(&self, with: Result<(), Failed>) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(with);
        self.ended.notify_all();
    }
}

/// Whoever has other credentials is not told what these have shown.
type Key = (PathBuf, Credentials);

type UnderWay = Vec<(Key, Arc<Done>)>;

static UNDER_WAY: LazyLock<Mutex<UnderWay>> = LazyLock::new(Mutex::default);

/// Begins a work in a thread of its own, unless it is under way.
fn one_at_a_time(key: Key, work: impl FnOnce() -> Result<(), SourceError> + Send + 'static) -> Arc<Done> {
    let all = || UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
    let mut under_way = all();
    if let Some((_, done)) = under_way.iter().find(|(known, _)| *known == key) {
        return done.clone();
    }
    let done = Arc::new(Done::default());
    under_way.push((key.clone(), done.clone()));
    let ours = done.clone();
    std::thread::spawn(move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        let result = result.unwrap_or_else(|_| {
            Err(SourceError::Git { repo: String::new(), reason: "it broke off; this is a defect".into() })
        });
        all().retain(|(known, _)| *known != key);
        ours.end(result.map_err(|error| Failed {
            credentials: matches!(error, SourceError::Credentials { .. }),
            reason: error.to_string(),
        }));
    });
    done
}
