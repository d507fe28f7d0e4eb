//! One cluster. In: its client, and what asking it has come to. Out: what
//! rendering needs to know of it, or why it cannot be used now.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gitops_api::Application;
use gitops_cluster::{Cluster, Discovery, ErrorKind, Registered};
use gitops_core::names::IN_CLUSTER;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_engine::{EngineError, Environment, Lists};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::drift::Drift;
use crate::error::Error;

/// How long a cluster's kinds and version are taken as they were.
const SURROUNDINGS: Duration = Duration::from_secs(30);
/// Of a fetch that no poll has made.
const GIT_TIMEOUT: Duration = Duration::from_secs(60);

/// A cluster, as far as rendering depends on it.
#[derive(Clone, Debug)]
pub struct Surroundings {
    pub member: Arc<Member>,
    pub environment: Environment,
    pub discovery: Arc<Discovery>,
}

impl Surroundings {
    /// The client of the cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.member.cluster
    }
}

/// What asking a cluster has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// It has not been asked yet.
    #[default]
    Unknown,
    There,
    /// A reason in CamelCase, and in words.
    Away(&'static str, String),
}

/// A cluster that Applications go to.
pub struct Member {
    pub name: String,
    pub cluster: Cluster,
    /// None: the cluster that this program is in.
    pub registered: Option<Registered>,
    pub drift: Drift,
    /// Of Applications that nobody has synced yet.
    pub lists: Arc<Lists>,
    /// Somebody doubts that it answers.
    pub doubted: Notify,
    /// It takes these credentials no longer.
    pub refused: Notify,
    /// Mirrors that were another hub's of the same name and were taken over from
    /// it, with its uid.
    taken_over: Mutex<HashSet<(ObjectKey, String)>>,
    reach: Mutex<Reach>,
    surroundings: tokio::sync::Mutex<Option<(Instant, Environment, Arc<Discovery>)>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Member {
    /// The cluster that this program is in: it is there, or nothing is.
    pub fn here(cluster: Cluster) -> Self {
        Self { reach: Mutex::new(Reach::There), ..Self::new(IN_CLUSTER.into(), cluster, None) }
    }

    /// A cluster that a Secret describes.
    pub fn far(cluster: Cluster, registered: Registered) -> Self {
        Self::new(registered.name.clone(), cluster, Some(registered))
    }

    fn new(name: String, cluster: Cluster, registered: Option<Registered>) -> Self {
        Self {
            name,
            cluster,
            registered,
            drift: Drift::default(),
            lists: Arc::default(),
            doubted: Notify::new(),
            refused: Notify::new(),
            taken_over: Mutex::default(),
            reach: Mutex::default(),
            surroundings: tokio::sync::Mutex::default(),
            tasks: Mutex::default(),
        }
    }

    pub fn is_here(&self) -> bool {
        self.registered.is_none()
    }

    /// Whether its Secret lets it be used for an Application.
    ///
    /// # Errors
    /// Why not.
    pub fn takes(&self, application: &Application) -> Result<(), String> {
        let Some(registered) = &self.registered else { return Ok(()) };
        if !registered.project.is_empty() && registered.project != application.spec.project {
            let (only, named) = (&registered.project, &application.spec.project);
            return Err(format!("it is for Applications of Project {only}, not of {named}"));
        }
        Ok(())
    }

    /// Whether its Secret lets an object be there.
    ///
    /// # Errors
    /// Why not.
    pub fn takes_object(&self, key: &ObjectKey, gvk: &Gvk) -> Result<(), Error> {
        let Some(registered) = &self.registered else { return Ok(()) };
        if registered.takes(&key.namespace) {
            return Ok(());
        }
        let only = registered.namespaces.join(", ");
        let message = format!("{} {key} does not belong there: it is for the namespaces {only}", gvk.kind);
        Err(Error::Destination { cluster: self.name.clone(), reason: "NotAdmitted", message })
    }

    /// Notes that a mirror was taken over from the hub of that uid.
    pub fn take_over(&self, mirror: &ObjectKey, theirs: &str) {
        held(&self.taken_over).insert((mirror.clone(), theirs.to_owned()));
    }

    /// Whether a mirror is that of another hub which is there: it has taken it back
    /// after it was taken over once, for a hub that is gone.
    pub fn is_rivals(&self, mirror: &ObjectKey, theirs: &str) -> bool {
        held(&self.taken_over).contains(&(mirror.clone(), theirs.to_owned()))
    }

    /// Itself, while it answers; none before it has been asked.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn is_there(self: Arc<Self>) -> Result<Option<Arc<Self>>, Error> {
        let reach = held(&self.reach).clone();
        match reach {
            Reach::Unknown => Ok(None),
            Reach::There => Ok(Some(self)),
            Reach::Away(reason, message) => {
                Err(Error::Destination { cluster: self.name.clone(), reason, message })
            }
        }
    }

    /// What asking it has come to; what was known before.
    pub fn note(&self, reach: Reach) -> Reach {
        std::mem::replace(&mut *held(&self.reach), reach)
    }

    /// An error that may mean that the cluster is away, with its name; it is
    /// asked at once.
    pub fn doubt(&self, error: Error) -> Error {
        let kind = match &error {
            Error::Cluster(error) | Error::Engine(EngineError::Cluster(error)) => error.kind(),
            _ => return error,
        };
        if self.is_here() {
            return error;
        }
        let reason = match kind {
            ErrorKind::Unreachable | ErrorKind::Timeout => "ClusterUnreachable",
            ErrorKind::Unauthorized | ErrorKind::Configuration => "ClusterUnauthorized",
            _ => "Failed",
        };
        if reason != "Failed" {
            self.doubted.notify_one();
        }
        Error::Destination { cluster: self.name.clone(), reason, message: error.to_string() }
    }

    /// What rendering depends on beside Git; asked for anew every so often, and
    /// at once when `anew`.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn surroundings(
        self: &Arc<Self>,
        cache_dir: &Path,
        anew: bool,
    ) -> Result<Surroundings, EngineError> {
        let mut kept = self.surroundings.lock().await;
        let known = kept.as_ref().filter(|(since, ..)| !anew && since.elapsed() < SURROUNDINGS);
        if let Some((_, environment, discovery)) = known {
            let (environment, discovery) = (environment.clone(), discovery.clone());
            return Ok(Surroundings { member: self.clone(), environment, discovery });
        }
        let (discovery, version) = tokio::try_join!(self.cluster.discovery(), self.cluster.version())?;
        let environment = Environment {
            cache_dir: cache_dir.to_owned(),
            tools: gitops_source::Tools::default(),
            git_timeout: GIT_TIMEOUT,
            looks: gitops_engine::Looks::Always,
            kube_version: version.trim_start_matches('v').to_owned(),
            api_versions: discovery.api_versions(),
            // Those of an Application are in the Secret that it names.
            keys: gitops_source::sops::Keys::default(),
        };
        let discovery = Arc::new(discovery);
        *kept = Some((Instant::now(), environment.clone(), discovery.clone()));
        Ok(Surroundings { member: self.clone(), environment, discovery })
    }

    /// Lives as long as the cluster is known under this Secret.
    pub fn keep(&self, task: JoinHandle<()>) {
        held(&self.tasks).push(task);
    }

    /// Another Secret describes it, or none.
    pub fn end(&self) {
        held(&self.tasks).drain(..).for_each(|task| task.abort());
        self.drift.end();
    }
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Member({} {:?})", self.name, self.cluster)
    }
}
