//! What the parts of the program share: the cluster, what is known of
//! Applications and Projects, the queue, and what is remembered between two
//! looks at an Application.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use gitops_api::application::{ApplicationStatus, HistoryEntry};
use gitops_api::{Application, Project};
use gitops_cluster::Cluster;
use gitops_core::desired::AppRef;
use gitops_core::object::ObjectKey;
use gitops_core::rollout::state::Phase;
use gitops_engine::EngineError;
use gitops_engine::analysis::Analyser;
use gitops_engine::follow::{Stores, reference};
use gitops_engine::lease::Last;
use gitops_engine::rollout::Pushes;
use gitops_source::GitCache;
use kube::ResourceExt;

use crate::clusters::{Clusters, Surroundings, name_of};
use crate::error::Error;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::poll::Poller;
use crate::push::Push;
use crate::queue::Queue;
use crate::schedule::Attempts;
use crate::settings::Settings;
use crate::shares::Shares;

/// A status as it was written, and the version of its Application since.
#[derive(Clone, Debug)]
pub struct Written {
    pub status: ApplicationStatus,
    pub version: Option<String>,
    pub at: Instant,
}

/// What is remembered of an Application between two looks at it.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub uid: String,
    pub attempts: Attempts,
    /// The status as it was written last: what is watched may lag behind.
    pub status: Option<Written>,
    /// Syncs that no status says yet, since it could not be written.
    pub unsaid: Vec<HistoryEntry>,
    /// The request that was seen last, and when.
    pub request: Option<(String, Instant)>,
    /// When the last look began.
    pub looked: Option<Instant>,
    /// Failed looks, one after the other.
    pub failed: u32,
    pub still: Still,
    /// What Git and the spec say at a commit and generation, as one hash.
    pub said: Option<((String, i64), String)>,
    /// What the last sync could not mark.
    pub unmarked: BTreeSet<ObjectKey>,
    /// It has drifted, and that was counted.
    pub drifts: bool,
    /// Of one that is being deleted: whether its objects are going, and since when.
    pub deletion: Option<(bool, Instant)>,
    /// Of one that was deleted: its mirror was let go, and nothing is left to do.
    pub released: bool,
    /// The Lease of its syncs, as the last one gave it back.
    pub lease: Last,
    /// A Rollout is under way.
    pub rolls: bool,
    /// Of which versions Pods were labelled, and when.
    pub labelled: Option<(String, Instant)>,
    /// Where each Rollout stood at the last look.
    pub phases: Vec<Phase>,
    /// The last commit that could be compared with the cluster.
    pub good: Option<String>,
    /// The commits that failed Rollouts ask for.
    pub pushes: Pushes,
}

/// For how many looks the same has been said of what is not healthy yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Still {
    message: String,
    pub looks: u32,
}

impl Still {
    /// Counts a look; what moves counts from the beginning.
    pub fn note(&mut self, message: &str) {
        self.looks = if self.message == message { self.looks + 1 } else { 1 };
        message.clone_into(&mut self.message);
    }
}

/// All that the program knows.
pub struct Controller {
    pub cluster: Cluster,
    pub settings: Settings,
    pub metrics: Arc<Metrics>,
    pub events: Events,
    pub queue: Arc<Queue>,
    pub poller: Arc<Poller>,
    pub clusters: Clusters,
    pub shares: Shares,
    pub push: Push,
    /// Filled once the watches have begun.
    pub stores: OnceLock<Stores>,
    memories: Mutex<HashMap<AppRef, Memory>>,
    analyser: OnceLock<Analyser>,
    holder: String,
    /// Ends every sync between two objects.
    stopping: AtomicBool,
}

impl Controller {
    pub fn new(cluster: Cluster, settings: Settings) -> Arc<Self> {
        let room = (usize::from(settings.workers), usize::from(settings.cluster_workers));
        let (queue, metrics) = (Arc::new(Queue::new(room.0, room.1)), Arc::<Metrics>::default());
        let git = GitCache::open(&settings.cache_dir);
        let poller = Poller::new(git, settings.poll_interval, queue.clone(), metrics.clone());
        let events = Events::new(cluster.client(), queue.clone());
        let shares = match &settings.application_namespace {
            Some(_) => Shares::alone(),
            None => Shares::among(&settings.namespace, &settings.replica.clone().unwrap_or_else(host)),
        };
        let push = Push::new(&settings);
        let clusters = Clusters::new(cluster.clone());
        Arc::new(Self {
            cluster,
            clusters,
            settings,
            metrics,
            events,
            queue,
            poller,
            shares,
            push,
            stores: OnceLock::new(),
            memories: Mutex::default(),
            analyser: OnceLock::new(),
            holder: holder(),
            stopping: AtomicBool::default(),
        })
    }

    /// Nothing new is begun, and syncs end between two objects.
    pub fn drain(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether the program is about to end.
    pub fn is_draining(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Who syncs, for whoever meets the Lease.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Whether Applications and Projects are known.
    pub fn is_ready(&self) -> bool {
        self.stores.get().is_some() && !self.is_draining()
    }

    /// Every Application is due.
    pub fn look_at_all(&self) {
        let all = self.stores.get().map(|stores| stores.applications.state()).unwrap_or_default();
        all.iter().for_each(|application| self.queue.push(&reference(application)));
    }

    /// An Application, if it is there.
    pub fn application(&self, name: &AppRef) -> Option<Arc<Application>> {
        self.stores.get()?.application(name)
    }

    /// An Application's Project, if it is there.
    pub fn project(&self, application: &Application) -> Option<Arc<Project>> {
        self.stores.get()?.project(application)
    }

    fn memories(&self) -> MutexGuard<'_, HashMap<AppRef, Memory>> {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered of an Application; another one of the same name
    /// begins anew.
    pub fn memory(&self, application: &Application) -> Memory {
        let (name, uid) = (reference(application), application.uid().unwrap_or_default());
        let known = self.memories().get(&name).filter(|known| known.uid == uid).cloned();
        known.unwrap_or_else(|| Memory { uid, ..Memory::default() })
    }

    /// Remembers it.
    pub fn remember(&self, name: &AppRef, memory: Memory) {
        self.memories().insert(name.clone(), memory);
    }

    /// When the last look at an Application began.
    pub fn looked(&self, name: &AppRef) -> Option<Instant> {
        self.memories().get(name)?.looked
    }

    /// Whether a Rollout of an Application is under way.
    pub fn rolls(&self, name: &AppRef) -> bool {
        self.memories().get(name).is_some_and(|memory| memory.rolls)
    }

    /// Where all Rollouts stand.
    pub fn rollout_phases(&self) -> Vec<Phase> {
        self.memories().values().flat_map(|memory| memory.phases.clone()).collect()
    }

    /// What measures new versions in a cluster, by Jobs in this name.
    ///
    /// # Errors
    /// When there can be no HTTP client.
    pub fn analyser(&self, cluster: &Cluster, worker: &Cluster) -> Result<Analyser, EngineError> {
        let of = |known: &Analyser| known.of(cluster.clone(), worker.clone());
        if let Some(known) = self.analyser.get() {
            return Ok(of(known));
        }
        let made =
            Analyser::new(cluster.clone()).map_err(|error| EngineError::Internal(error.to_string()))?;
        Ok(of(self.analyser.get_or_init(|| made)))
    }

    /// An Application is gone.
    pub fn forget(&self, name: &AppRef) {
        self.memories().remove(name);
        self.poller.forget(name);
        self.queue.forget(name);
        self.clusters.unwatch(name, None);
    }

    /// The cluster that an Application goes to; none: it is not known yet, and
    /// the Application is woken when it is. Asked for anew every so often, and at
    /// once when `anew`.
    ///
    /// # Errors
    /// When it cannot be used.
    pub async fn surroundings(
        &self,
        application: &Application,
        anew: bool,
    ) -> Result<Option<Surroundings>, Error> {
        let Some(member) = self.clusters.of(application)? else { return Ok(None) };
        Ok(Some(member.surroundings(&self.settings.cache_dir, anew).await?))
    }

    /// The Applications of a cluster are due; what went wrong there while it was
    /// away is no longer held against them.
    pub fn look_at_cluster(&self, cluster: &str, is_back: bool) {
        let all = self.stores.get().map(|stores| stores.applications.state()).unwrap_or_default();
        for application in all.iter().filter(|application| name_of(application) == cluster) {
            let name = reference(application);
            if is_back && let Some(memory) = self.memories().get_mut(&name) {
                (memory.attempts, memory.failed) = (Attempts::default(), 0);
            }
            self.queue.push(&name);
        }
    }
}

/// In a cluster, the pod's name.
fn host() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if host.trim().is_empty() { "a-computer".into() } else { host.trim().to_owned() }
}

fn holder() -> String {
    format!(
        "gitops-controller on {}, process {}, since {}",
        host(),
        std::process::id(),
        jiff::Timestamp::now()
    )
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Controller({})", self.cluster.server())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_is_counted_from_the_beginning() {
        let mut still = Still::default();
        let mut noted = |message: &str| {
            still.note(message);
            still.looks
        };
        assert_eq!(["0 of 2", "0 of 2", "0 of 2", "1 of 2", "1 of 2"].map(&mut noted), [1, 2, 3, 1, 2]);
    }
}
