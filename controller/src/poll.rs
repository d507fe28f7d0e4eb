//! One look at Git per repository, for all Applications that live in it. In:
//! Applications with their sources. Out: their commits from what is here, and
//! the Applications woken when one of their revisions has moved.
//!
//! Nobody waits for a host: an Application whose repository has not been looked
//! at yet is woken when it has.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gitops_core::desired::AppRef;
use gitops_engine::desired::commit_here;
use gitops_engine::load::Place;
use gitops_engine::{Environment, Loaded};
use gitops_source::git::is_full_commit;
use gitops_source::{Commit, Credentials, GitCache, RepoUrl, SourceError};
use tokio::sync::{Notify, Semaphore};

use crate::error::Error;
use crate::metrics::Metrics;
use crate::queue::Queue;

/// Repositories that are asked at once.
const PARALLEL: usize = 16;
/// Of a look.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A repository as one of its readers may see it: what one reads with a
/// password is not shown to those without.
#[derive(Debug)]
struct Repo {
    url: RepoUrl,
    credentials: Credentials,
    wake: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the last look began, and why it failed, if so.
    looked: Option<(Instant, Option<String>)>,
    /// Who reads which revisions.
    readers: BTreeMap<AppRef, Vec<String>>,
    /// Who is woken by the next look, whatever it finds.
    waiting: BTreeSet<AppRef>,
    /// What each revision was at the last look; none: it is not there.
    tips: BTreeMap<String, Option<String>>,
}

/// All repositories.
#[derive(Debug)]
pub struct Poller {
    git: GitCache,
    interval: Duration,
    slots: Semaphore,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    repos: Mutex<Vec<Arc<Repo>>>,
    /// How often something has moved for an Application.
    moves: Mutex<HashMap<AppRef, u64>>,
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Between 0.9 and 1.1 times as long, so that not everybody asks at once.
fn with_jitter(interval: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) % 200;
    interval.mul_f64(0.9 + f64::from(u32::try_from(random).unwrap_or(100)) / 1000.0)
}

impl Poller {
    pub fn new(git: GitCache, interval: Duration, queue: Arc<Queue>, metrics: Arc<Metrics>) -> Arc<Self> {
        let (repos, moves, slots) = (Mutex::default(), Mutex::default(), Semaphore::new(PARALLEL));
        Arc::new(Self { git, interval, slots, queue, metrics, repos, moves })
    }

    /// The commits that an Application means, from what is here; none when its
    /// repositories have not been looked at yet, or not since `since`: then it
    /// is woken as soon as they have.
    ///
    /// # Errors
    /// Why the last look failed, or what is wrong with a revision.
    pub async fn commit(
        self: &Arc<Self>,
        loaded: &Loaded,
        environment: &Environment,
        since: Option<Instant>,
    ) -> Result<Option<Commit>, Error> {
        let mut wanted: Vec<(Arc<Repo>, Vec<String>)> = Vec::new();
        let places = loaded.sources.iter().filter(|place| place.source.is_git() && !place.repo.is_registry());
        for place in places {
            let repo = self.repo(place, &loaded.application);
            match wanted.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &repo)) {
                Some((_, revisions)) => revisions.push(place.source.revision.clone()),
                None => wanted.push((repo, vec![place.source.revision.clone()])),
            }
        }
        self.leave_others(&loaded.application, &wanted);
        let mut is_known = true;
        for (repo, revisions) in wanted {
            let mut state = held(&repo.state);
            let is_new = revisions.iter().any(|revision| !state.tips.contains_key(revision));
            state.readers.insert(loaded.application.clone(), revisions);
            let is_old = |at: &Instant| since.is_some_and(|since| *at < since);
            match &state.looked {
                Some((at, Some(error))) if !is_old(at) => return Err(Error::Git(error.clone())),
                Some((at, _)) if !is_old(at) && !is_new => continue,
                Some(_) => repo.wake.notify_one(),
                None => {}
            }
            is_known = false;
            state.waiting.insert(loaded.application.clone());
        }
        if !is_known {
            return Ok(None);
        }
        Ok(Some(commit_here(loaded, environment).await?))
    }

    /// A count that grows whenever Git moves for an Application.
    pub fn moves(&self, application: &AppRef) -> u64 {
        held(&self.moves).get(application).copied().unwrap_or(0)
    }

    /// An Application is gone.
    pub fn forget(&self, application: &AppRef) {
        self.leave_others(application, &[]);
        held(&self.moves).remove(application);
    }

    fn leave_others(&self, application: &AppRef, kept: &[(Arc<Repo>, Vec<String>)]) {
        for repo in held(&self.repos).iter() {
            if !kept.iter().any(|(known, _)| Arc::ptr_eq(known, repo)) {
                held(&repo.state).readers.remove(application);
            }
        }
    }

    /// A source's repository, with the Application among its readers.
    fn repo(self: &Arc<Self>, place: &Place, reader: &AppRef) -> Arc<Repo> {
        let mut repos = held(&self.repos);
        let known = repos.iter().find(|repo| repo.url == place.repo && repo.credentials == place.credentials);
        if let Some(known) = known {
            held(&known.state).readers.entry(reader.clone()).or_default();
            return known.clone();
        }
        let repo = Arc::new(Repo {
            url: place.repo.clone(),
            credentials: place.credentials.clone(),
            wake: Notify::new(),
            state: Mutex::default(),
        });
        held(&repo.state).readers.entry(reader.clone()).or_default();
        repos.push(repo.clone());
        tokio::spawn(self.clone().follow(repo.clone()));
        repo
    }

    /// Looks again and again, until nobody reads the repository any more.
    async fn follow(self: Arc<Self>, repo: Arc<Repo>) {
        loop {
            self.look(&repo).await;
            let pause = with_jitter(self.interval);
            let _ = tokio::time::timeout(pause, repo.wake.notified()).await;
            let mut repos = held(&self.repos);
            if held(&repo.state).readers.is_empty() {
                repos.retain(|known| !Arc::ptr_eq(known, &repo));
                return;
            }
        }
    }

    async fn look(&self, repo: &Arc<Repo>) {
        let Ok(_slot) = self.slots.acquire().await else { return };
        let begun = Instant::now();
        let revisions: Vec<String> = {
            let state = held(&repo.state);
            let mut all: Vec<String> = state.readers.values().flatten().cloned().collect();
            all.sort();
            all.dedup();
            all
        };
        let (git, url, credentials) = (self.git.clone(), repo.url.clone(), repo.credentials.clone());
        let found = tokio::task::spawn_blocking(move || fetch(&git, &url, &credentials, &revisions)).await;
        let (error, tips) = match found {
            Ok(Ok(tips)) => (None, Some(tips)),
            Ok(Err(error)) => (Some(error.to_string()), None),
            Err(error) => (Some(error.to_string()), None),
        };
        self.metrics.look(error.is_none());
        self.metrics.phase("fetch", begun.elapsed());
        if let Some(error) = &error {
            tracing::warn!(repository = %repo.url, error, "Git cannot be asked");
        }
        self.tell(repo, begun, error, tips);
    }

    /// Notes what a look has found, and wakes whom it concerns.
    fn tell(
        &self,
        repo: &Repo,
        begun: Instant,
        error: Option<String>,
        tips: Option<BTreeMap<String, Option<String>>>,
    ) {
        let mut state = held(&repo.state);
        let before = state.looked.replace((begun, error.clone()));
        let was = before.map(|(_, error)| error);
        let changed = was.as_ref() != Some(&error);
        let moved = |state: &State, revisions: &[String]| {
            let tips = tips.as_ref();
            tips.is_some_and(|tips| revisions.iter().any(|name| tips.get(name) != state.tips.get(name)))
        };
        let waiting = std::mem::take(&mut state.waiting);
        waiting.iter().for_each(|application| self.queue.push(application, Duration::ZERO));
        let mut moves = held(&self.moves);
        for (application, revisions) in &state.readers {
            let moved = moved(&state, revisions);
            if moved {
                *moves.entry(application.clone()).or_default() += 1;
            }
            if moved || changed {
                self.queue.push(application, Duration::ZERO);
            }
        }
        if let Some(tips) = tips {
            state.tips = tips;
        }
    }
}

/// Brings the repository up to date and finds the revisions in it. All branches
/// and tags come by one fetch, once its history is here; a commit that is here is
/// not asked for.
fn fetch(
    git: &GitCache,
    url: &RepoUrl,
    credentials: &Credentials,
    revisions: &[String],
) -> Result<BTreeMap<String, Option<String>>, SourceError> {
    let names = revisions.iter().filter(|revision| !is_full_commit(revision));
    let commits =
        revisions.iter().filter(|revision| is_full_commit(revision) && !git.contains(url, revision));
    for (index, revision) in names.chain(commits).enumerate() {
        if index > 0 && !is_full_commit(revision) && !git.is_shallow(url) {
            continue;
        }
        match git.fetch(url, revision, credentials, TIMEOUT) {
            // What is not there is told to who asks for it.
            Ok(_) | Err(SourceError::NoSuchRevision { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    git.deepen_behind(url, credentials);
    let tip = |revision: &String| git.resolve(url, revision).ok().map(|commit| commit.id);
    Ok(revisions.iter().map(|revision| (revision.clone(), tip(revision))).collect())
}
