//! One look per repository, for all Applications that live in it. In:
//! Applications with their sources, and pushes that a host tells of. Out: their
//! commits from what is here, and those Applications woken that read something
//! else at one of their revisions since.
//!
//! Nobody waits for a host: an Application whose repository has not been looked
//! at yet is woken when it has.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gitops_core::desired::AppRef;
use gitops_engine::desired::{changing, commit_here};
use gitops_engine::load::Place;
use gitops_engine::traces::Cause;
use gitops_engine::{Environment, Loaded};
use gitops_source::git::is_full_commit;
use gitops_source::registry::{self, Wanted};
use gitops_source::{Commit, Credentials, GitCache, RepoUrl, SourceError};
use tokio::sync::{Notify, Semaphore};

use crate::error::Error;
use crate::metrics::Metrics;
use crate::push::means;
use crate::queue::Queue;

mod touched;

use touched::Readings;

/// Repositories of one host that are asked at once: a host that says nothing
/// holds up no other.
const PARALLEL: usize = 16;
/// Of a look.
const TIMEOUT: Duration = Duration::from_secs(60);
/// A host may tell of a push before it shows it: when it is looked at again,
/// the last first.
const AGAIN: [Duration; 2] = [Duration::from_secs(8), Duration::from_secs(2)];

/// A repository as one of its readers may see it: what one reads with a
/// password is not shown to those without.
#[derive(Debug)]
struct Repo {
    url: RepoUrl,
    credentials: Credentials,
    /// Of a registry or chart repository; none: it is Git.
    wanted: Option<Wanted>,
    wake: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the last look began, and why it failed, if so.
    looked: Option<(Instant, Option<String>)>,
    /// Who reads which revisions.
    readers: BTreeMap<AppRef, Vec<String>>,
    /// Who is woken by the next look, whatever it finds, and the namespace that they go
    /// to: those of one share lists.
    waiting: BTreeSet<(String, AppRef)>,
    /// What each revision was at the last look; none: it is not there.
    tips: Tips,
    /// Looks that a push is still worth, unless one finds something.
    pushed: usize,
}

type Host = Option<(String, Option<u16>)>;
type Tips = BTreeMap<String, Option<String>>;

/// All repositories.
#[derive(Debug)]
pub struct Poller {
    git: GitCache,
    interval: Duration,
    slots: Mutex<HashMap<Host, Arc<Semaphore>>>,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    repos: Mutex<Vec<Arc<Repo>>>,
    /// How often something has moved for an Application, and the look that saw it
    /// last.
    moves: Mutex<HashMap<AppRef, (u64, Option<Cause>)>>,
    readings: Readings,
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
        let (repos, moves, slots) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { git, interval, slots, queue, metrics, repos, moves, readings: Readings::default() })
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
        let git = loaded.sources.iter().filter(|place| place.source.is_git() && !place.repo.is_registry());
        let others = changing(loaded)?.into_iter().map(|(place, wanted)| (place, Some(wanted)));
        for (place, other) in git.map(|place| (place, None)).chain(others) {
            let repo = self.repo(place, other, &loaded.application);
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
            state.waiting.insert((loaded.namespace.clone(), loaded.application.clone()));
        }
        if !is_known {
            return Ok(None);
        }
        let commit = commit_here(loaded, environment).await?;
        self.readings.keep(loaded, environment, &commit.id);
        Ok(Some(commit))
    }

    /// A look at an Application has failed: any commit may mend it.
    pub fn is_due(&self, application: &AppRef) {
        self.readings.forget(application);
    }

    /// A count that grows whenever Git moves for an Application.
    pub fn moves(&self, application: &AppRef) -> u64 {
        held(&self.moves).get(application).map_or(0, |(count, _)| *count)
    }

    /// The look at Git that has woken an Application, told once.
    pub fn cause(&self, application: &AppRef) -> Option<Cause> {
        held(&self.moves).get_mut(application)?.1.take()
    }

    /// Somebody has pushed to these places: their repositories are looked at now.
    pub fn pushed(&self, places: &BTreeSet<String>) {
        let repos = held(&self.repos);
        for repo in repos.iter().filter(|repo| means(places, &repo.url.place())) {
            held(&repo.state).pushed = AGAIN.len() + 1;
            repo.wake.notify_one();
        }
    }

    /// An Application is gone.
    pub fn forget(&self, application: &AppRef) {
        self.leave_others(application, &[]);
        held(&self.moves).remove(application);
        self.readings.forget(application);
    }

    fn leave_others(&self, application: &AppRef, kept: &[(Arc<Repo>, Vec<String>)]) {
        for repo in held(&self.repos).iter() {
            if !kept.iter().any(|(known, _)| Arc::ptr_eq(known, repo)) {
                held(&repo.state).readers.remove(application);
            }
        }
    }

    /// A source's repository, with the Application among its readers.
    fn repo(self: &Arc<Self>, place: &Place, wanted: Option<Wanted>, reader: &AppRef) -> Arc<Repo> {
        let mut repos = held(&self.repos);
        let is_same = |repo: &&Arc<Repo>| {
            repo.url == place.repo && repo.credentials == place.credentials && repo.wanted == wanted
        };
        if let Some(known) = repos.iter().find(is_same) {
            held(&known.state).readers.entry(reader.clone()).or_default();
            return known.clone();
        }
        let repo = Arc::new(Repo {
            url: place.repo.clone(),
            credentials: place.credentials.clone(),
            wanted,
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
            let pushed = AGAIN.get(held(&repo.state).pushed.wrapping_sub(1));
            let pause = pushed.map_or_else(|| with_jitter(self.interval), |soon| (*soon).min(self.interval));
            let _ = tokio::time::timeout(pause, repo.wake.notified()).await;
            let mut repos = held(&self.repos);
            if held(&repo.state).readers.is_empty() {
                repos.retain(|known| !Arc::ptr_eq(known, &repo));
                return;
            }
        }
    }

    #[tracing::instrument(name = "poll", skip_all, fields(repository = %repo.url))]
    async fn look(&self, repo: &Arc<Repo>) {
        let slots = {
            let mut all = held(&self.slots);
            all.entry(repo.url.server()).or_insert_with(|| Arc::new(Semaphore::new(PARALLEL))).clone()
        };
        let Ok(slot) = slots.acquire().await else { return };
        let begun = Instant::now();
        let revisions: Vec<String> = {
            let mut state = held(&repo.state);
            state.pushed = state.pushed.saturating_sub(1);
            let mut all: Vec<String> = state.readers.values().flatten().cloned().collect();
            all.sort();
            all.dedup();
            all
        };
        let (git, asked) = (self.git.clone(), repo.clone());
        let span = tracing::Span::current();
        let ask = move || span.in_scope(|| asked.ask(&git, &revisions));
        let found = tokio::task::spawn_blocking(ask).await;
        drop(slot);
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
        let moved = self.tell(repo, begun, error, tips);
        self.readings.touched(moved, |application| self.moved(application)).await;
    }

    /// Something else is read by an Application.
    fn moved(&self, application: &AppRef) {
        {
            let mut moves = held(&self.moves);
            let (count, cause) = moves.entry(application.clone()).or_default();
            *count += 1;
            *cause = Some(Cause::current());
        }
        self.queue.push(application);
    }

    /// Notes what a look has found, and wakes whom it concerns in any case. Out:
    /// who may be concerned, since one of its revisions is another commit now.
    fn tell(&self, repo: &Repo, begun: Instant, error: Option<String>, tips: Option<Tips>) -> Vec<AppRef> {
        let mut state = held(&repo.state);
        let before = state.looked.replace((begun, error.clone()));
        let was = before.map(|(_, error)| error);
        let changed = was.as_ref() != Some(&error);
        let waiting = std::mem::take(&mut state.waiting);
        waiting.iter().for_each(|(_, application)| self.queue.push(application));
        let mut moved = Vec::new();
        for (application, revisions) in &state.readers {
            let is_moved = tips
                .as_ref()
                .is_some_and(|tips| revisions.iter().any(|name| tips.get(name) != state.tips.get(name)));
            if is_moved {
                moved.push(application.clone());
            }
            if changed {
                self.queue.push(application);
            }
        }
        if let Some(tips) = tips {
            if tips != state.tips {
                state.pushed = 0;
            }
            state.tips = tips;
        }
        moved
    }
}

impl Repo {
    /// Brings the repository up to date and finds the revisions in it. All branches
    /// and tags come by one fetch, once its history is here; a commit that is here
    /// is not asked for.
    fn ask(&self, git: &GitCache, revisions: &[String]) -> Result<Tips, SourceError> {
        let Self { url, credentials, .. } = self;
        if let Some(wanted) = &self.wanted {
            let mark = registry::mark(url, wanted, credentials, TIMEOUT)?;
            return Ok(revisions.iter().map(|revision| (revision.clone(), Some(mark.clone()))).collect());
        }
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
}
