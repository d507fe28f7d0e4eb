//! What the parts of the program share: the cluster, what is known of
//! Applications and Projects, the queue, and what is remembered between two
//! looks at an Application.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use gitops_api::application::ApplicationStatus;
use gitops_api::{Application, Project};
use gitops_cluster::{Cluster, Discovery};
use gitops_core::desired::AppRef;
use gitops_engine::analysis::Analyser;
use gitops_engine::follow::{Stores, reference};
use gitops_engine::rollout::Pushes;
use gitops_engine::{EngineError, Environment};
use gitops_source::GitCache;
use kube::ResourceExt;

use crate::drift::Drift;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::poll::Poller;
use crate::queue::Queue;
use crate::schedule::Attempts;
use crate::settings::Settings;
use crate::shares::Shares;

/// How long the cluster's kinds and version are taken as they were.
const SURROUNDINGS: Duration = Duration::from_secs(30);
/// Of a fetch that no poll has made.
const GIT_TIMEOUT: Duration = Duration::from_secs(60);

/// The cluster, as far as rendering depends on it.
#[derive(Clone, Debug)]
pub struct Surroundings {
    pub environment: Environment,
    pub discovery: Arc<Discovery>,
}

/// What is remembered of an Application between two looks at it.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub uid: String,
    pub attempts: Attempts,
    /// The status as it was written last: what is watched may lag behind.
    pub status: Option<(ApplicationStatus, Instant)>,
    /// The request that was seen last, and when.
    pub request: Option<(String, Instant)>,
    /// When the last look began.
    pub looked: Option<Instant>,
    /// Failed looks, one after the other.
    pub failed: u32,
    pub still: Still,
    /// A Rollout is under way.
    pub rolls: bool,
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
    pub drift: Drift,
    pub shares: Shares,
    /// Filled once the watches have begun.
    pub stores: OnceLock<Stores>,
    memories: Mutex<HashMap<AppRef, Memory>>,
    surroundings: tokio::sync::Mutex<Option<(Instant, Surroundings)>>,
    analyser: OnceLock<Analyser>,
    holder: String,
    /// Ends every sync between two objects.
    stopping: AtomicBool,
}

impl Controller {
    pub fn new(cluster: Cluster, settings: Settings) -> Arc<Self> {
        let (queue, metrics) = (Arc::<Queue>::default(), Arc::<Metrics>::default());
        let git = GitCache::open(&settings.cache_dir);
        let poller = Poller::new(git, settings.poll_interval, queue.clone(), metrics.clone());
        let events = Events::new(cluster.client());
        let shares = match &settings.application_namespace {
            Some(_) => Shares::alone(),
            None => Shares::among(&settings.namespace, &settings.replica.clone().unwrap_or_else(host)),
        };
        Arc::new(Self {
            cluster,
            settings,
            metrics,
            events,
            queue,
            poller,
            drift: Drift::default(),
            shares,
            stores: OnceLock::new(),
            memories: Mutex::default(),
            surroundings: tokio::sync::Mutex::default(),
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
        all.iter().for_each(|application| self.queue.push(&reference(application), Duration::ZERO));
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

    /// What measures new versions.
    ///
    /// # Errors
    /// When there can be no HTTP client.
    pub fn analyser(&self) -> Result<&Analyser, EngineError> {
        if let Some(known) = self.analyser.get() {
            return Ok(known);
        }
        let made =
            Analyser::new(self.cluster.clone()).map_err(|error| EngineError::Internal(error.to_string()))?;
        Ok(self.analyser.get_or_init(|| made))
    }

    /// An Application is gone.
    pub fn forget(&self, name: &AppRef) {
        self.memories().remove(name);
        self.poller.forget(name);
        self.queue.forget(name);
    }

    /// What rendering depends on beside Git; asked for anew every so often, and
    /// at once when `anew`.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn surroundings(&self, anew: bool) -> Result<Surroundings, EngineError> {
        let mut kept = self.surroundings.lock().await;
        if let Some((since, known)) = kept.as_ref().filter(|_| !anew)
            && since.elapsed() < SURROUNDINGS
        {
            return Ok(known.clone());
        }
        let (discovery, version) = tokio::try_join!(self.cluster.discovery(), self.cluster.version())?;
        let environment = Environment {
            cache_dir: self.settings.cache_dir.clone(),
            tools: gitops_source::Tools::default(),
            git_timeout: GIT_TIMEOUT,
            looks: gitops_engine::Looks::Always,
            kube_version: version.trim_start_matches('v').to_owned(),
            api_versions: discovery.api_versions(),
            // Those of an Application are in the Secret that it names.
            keys: gitops_source::sops::Keys::default(),
        };
        let known = Surroundings { environment, discovery: Arc::new(discovery) };
        *kept = Some((Instant::now(), known.clone()));
        Ok(known)
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
