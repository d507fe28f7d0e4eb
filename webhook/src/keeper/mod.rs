//! Follows Applications and their repositories. Each Application has a task of
//! its own, so that a repository that is away holds up nobody else. Out: the
//! [`World`], the webhook configurations, and each Application's status.

mod configure;
mod gates;
mod pass;
mod promotion;
mod record;
mod time;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures::StreamExt;
use gitops_api::{Application, Project};
use gitops_cluster::{Cluster, Discovery};
use gitops_core::contention::{Contention, Contentions};
use gitops_core::desired::AppRef;
use gitops_core::index::Part;
use gitops_core::names::ANNOTATION_OWNER;
use gitops_core::object::Gvk;
use gitops_core::verdict::{Mode, Policy};
use gitops_engine::Environment;
use gitops_engine::follow::{follow, reference};
use kube::ResourceExt;
use serde_json::Value;
use tokio::sync::{Mutex, Notify, watch};

use crate::events::Events;
use crate::history::History;
use crate::metrics::Metrics;
use crate::overrides::Overrides;
use crate::recent::Recent;
use crate::settings::Settings;
use crate::status;
use crate::tls;
use crate::world::{Held, World};

/// How long a denial waits for news from Git: the API server waits 3 s in all.
const BUDGET: Duration = Duration::from_millis(500);
/// Git is not asked more often than this before denials.
const MINIMUM: Duration = Duration::from_millis(200);
/// How long the cluster's version and kinds are taken to stay as they are.
const ENVIRONMENT: Duration = Duration::from_secs(10);
/// Older commits kept rendered for judging.
const OLDER: usize = 64;
/// Changes of Applications that come together are taken together.
const TOGETHER: usize = 1000;

/// Application, how it and its Project were by then, revision.
type OlderKey = (AppRef, Arc<str>, String);

/// What was declared at an older commit, once it was read.
type Older = Arc<Mutex<Option<Arc<Part>>>>;

/// The running state of the program.
pub struct Keeper {
    pub cluster: Cluster,
    pub settings: Settings,
    pub metrics: Metrics,
    pub recent: Recent,
    pub overrides: Overrides,
    pub events: Events,
    contentions: std::sync::Mutex<Contentions>,
    world: ArcSwap<World>,
    held: Mutex<BTreeMap<AppRef, Held>>,
    /// Applications that were enforced before and are not held here yet: what
    /// they declare is not known, but for kinds and namespace.
    waiting: std::sync::Mutex<BTreeMap<AppRef, Unseen>>,
    followers: Mutex<HashMap<AppRef, Follower>>,
    /// An Application's Rollouts are worked in one time after the other, so that
    /// it never goes back to what was seen before.
    gating: std::sync::Mutex<HashMap<AppRef, Arc<Mutex<Option<Instant>>>>>,
    older: Mutex<HashMap<OlderKey, Older>>,
    history: History,
    surroundings: Mutex<Option<(Instant, Surroundings)>>,
    /// What was written last.
    configured: Mutex<Option<[Value; 2]>>,
    ca_bundle: watch::Sender<String>,
    serving: watch::Sender<bool>,
}

/// What is known of an Application before it is rendered.
struct Unseen {
    kinds: BTreeSet<Gvk>,
    namespace: String,
    policy: Policy,
}

/// The task that follows one Application.
struct Follower {
    task: tokio::task::JoinHandle<()>,
    wake: Arc<Notify>,
    passes: watch::Receiver<Passes>,
    asked: Instant,
    /// What it was started for.
    version: String,
}

/// The cluster, as far as rendering depends on it.
#[derive(Clone)]
struct Surroundings {
    environment: Environment,
    discovery: Arc<Discovery>,
}

/// A task that ends with its owner.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How many looks at an Application have begun and ended, and which was the
/// last to hear from Git.
#[derive(Clone, Copy, Debug, Default)]
struct Passes {
    begun: u64,
    ended: u64,
    heard: u64,
}

/// Where a recorded commit stands to the one in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// On the way to it, or of a history that was left aside.
    Known,
    /// Never seen here.
    Unknown,
    /// Newer than the one in force.
    Ahead,
}

/// What became of asking Git for news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// What is known now is what Git says.
    Fresh,
    /// Git has not answered, or not in time.
    Late,
}

impl Keeper {
    pub fn new(cluster: Cluster, settings: Settings) -> Arc<Self> {
        let history = History::new(&settings.cache_dir);
        let events = Events::new(cluster.client());
        Arc::new(Self {
            cluster,
            settings,
            metrics: Metrics::default(),
            recent: Recent::default(),
            overrides: Overrides::default(),
            events,
            contentions: std::sync::Mutex::default(),
            world: ArcSwap::from_pointee(World::default()),
            held: Mutex::default(),
            waiting: std::sync::Mutex::default(),
            followers: Mutex::default(),
            gating: std::sync::Mutex::default(),
            older: Mutex::default(),
            history,
            surroundings: Mutex::default(),
            configured: Mutex::default(),
            ca_bundle: watch::Sender::new(String::new()),
            serving: watch::Sender::new(false),
        })
    }

    /// What is known now.
    pub fn world(&self) -> Arc<World> {
        self.world.load_full()
    }

    /// Whether it answers and every Application has been looked at once.
    pub fn is_ready(&self) -> bool {
        *self.serving.borrow()
    }

    /// Writes go elsewhere from now on.
    pub fn drain(&self) {
        self.serving.send_replace(false);
    }

    /// A new certificate is in use.
    pub async fn vouch(&self, certificate: &tls::Certificate) {
        self.ca_bundle.send_replace(certificate.ca_bundle());
        if let Some(expiry) = certificate.expiry() {
            self.metrics.expiry.set(expiry - jiff::Timestamp::now().as_second());
        }
        self.configure().await;
    }

    /// Watches Applications and Projects until the program ends.
    pub async fn run(self: Arc<Self>) {
        let (stores, changes) = follow(self.cluster.client(), None);
        let mut changes = std::pin::pin!(changes.ready_chunks(TOGETHER));
        let rollouts = tokio::spawn(self.clone().follow_rollouts());
        let _ended = AbortOnDrop(rollouts);
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                events = changes.next() => match events {
                    Some(events) => events.into_iter().filter_map(Result::err).for_each(|error| {
                        tracing::warn!(%error, "watching Applications and Projects");
                    }),
                    None => return,
                },
                _ = tick.tick() => self.configure().await,
            }
            if stores.are_known().await {
                self.follow(&stores.applications.state(), &stores.projects.state()).await;
            }
        }
    }

    /// Starts, restarts and ends followers.
    async fn follow(self: &Arc<Self>, applications: &[Arc<Application>], projects: &[Arc<Project>]) {
        let mut followers = self.followers.lock().await;
        let mut there = BTreeSet::new();
        for application in applications {
            let name = reference(application);
            if !application.is_here() {
                // The webhook of the cluster that it goes to holds it, there.
                status::withdraw(&self.cluster.client(), application).await;
                continue;
            }
            there.insert(name.clone());
            let project =
                projects.iter().find(|project| project.name_any() == application.spec.project).cloned();
            self.wait_for(application, project.as_deref()).await;
            let version = pass::version(application, project.as_deref());
            if followers.get(&name).is_some_and(|follower| follower.version == version) {
                continue;
            }
            if let Some(old) = followers.remove(&name) {
                old.task.abort();
            }
            followers.insert(name, self.start(application.clone(), project, version));
        }
        let gone: Vec<AppRef> = followers.keys().filter(|name| !there.contains(*name)).cloned().collect();
        for name in gone {
            if let Some(old) = followers.remove(&name) {
                old.task.abort();
            }
            self.metrics.forget(&name);
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
            self.held.lock().await.remove(&name);
            self.gating.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
            self.history.forget(&name);
            self.older.lock().await.retain(|(application, ..), _| *application != name);
            if let Err(error) = self.copies().forget(&name).await {
                tracing::warn!(application = %name, %error, "its copy in the cluster stays behind");
            }
            self.publish().await;
        }
        if followers.is_empty() {
            self.serve();
        }
    }

    fn serve(&self) {
        if !self.ca_bundle.borrow().is_empty() {
            self.serving.send_replace(true);
        }
    }

    fn start(
        self: &Arc<Self>,
        application: Arc<Application>,
        project: Option<Arc<Project>>,
        version: String,
    ) -> Follower {
        let wake = Arc::new(Notify::new());
        let (count, passes) = watch::channel(Passes::default());
        let (keeper, woken) = (self.clone(), wake.clone());
        let task = tokio::spawn(async move {
            let (mut last, mut copied) = (status::Said::default(), None);
            let before = application.status.as_ref().and_then(|status| status.revision.as_deref());
            let mut record = before.map(record::Record::new);
            loop {
                count.send_modify(|passes| passes.begun += 1);
                let first = count.borrow().begun == 1;
                let mut pass = keeper.pass(&application, project.as_deref(), first).await;
                if let Some(tip) = &pass.revision {
                    let named = keeper.recorded(&reference(&application), &mut record, tip).await;
                    pass.revision = Some(named);
                }
                count.send_modify(|passes| {
                    passes.ended += 1;
                    if pass.heard {
                        passes.heard = passes.ended;
                    }
                });
                keeper.ready_after_all().await;
                status::write(&keeper.cluster.client(), &application, &pass, &mut last).await;
                if pass.error.is_none() && copied != pass.revision {
                    keeper.copy(&reference(&application)).await;
                    copied.clone_from(&pass.revision);
                }
                let _ = tokio::time::timeout(keeper.settings.poll_interval, woken.notified()).await;
            }
        });
        Follower {
            task,
            wake,
            passes,
            asked: Instant::now().checked_sub(MINIMUM).unwrap_or_else(Instant::now),
            version,
        }
    }

    /// Notes an Application that was enforced before, by another replica or this
    /// one's forerunner, until it is held here.
    async fn wait_for(&self, application: &Application, project: Option<&Project>) {
        let name = reference(application);
        let enforced = application.status.as_ref().filter(|status| status.revision.is_some());
        // Locked until it is noted: it may be held in the next moment.
        let held = self.held.lock().await;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if held.contains_key(&name) {
            waiting.remove(&name);
        } else if let Some(status) = enforced {
            let kinds = status.kinds.iter().filter_map(|kind| kind.split_once(' '));
            let kinds = kinds.map(|(version, kind)| Gvk::new(version, kind)).collect();
            let destination = application.spec.destination.namespace.clone();
            let namespace = if destination.is_empty() { name.namespace.clone() } else { destination };
            let (floor, injectors) = project
                .map(|project| (project.spec.enforcement.clone(), &*project.spec.injectors))
                .unwrap_or_default();
            let policy = application.spec.policy(&floor, injectors).unwrap_or_default();
            waiting.insert(name, Unseen { kinds, namespace, policy });
        }
    }

    /// Whether an object says that it belongs to an Application that enforces,
    /// and of which it is not known here what it declares.
    pub fn waits_for(&self, object: Option<&Value>) -> bool {
        let owner = object.and_then(|object| {
            object.get("metadata")?.get("annotations")?.get(ANNOTATION_OWNER)?.as_str()?.split_once('/')
        });
        let Some((namespace, name)) = owner else { return false };
        let owner = AppRef { namespace: namespace.to_owned(), name: name.to_owned() };
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.get(&owner).is_some_and(|unseen| unseen.policy.mode == Mode::Enforce)
    }

    /// Ready once every Application has been looked at.
    async fn ready_after_all(&self) {
        if *self.serving.borrow() {
            return;
        }
        let followers = self.followers.lock().await;
        if followers.values().all(|follower| follower.passes.borrow().ended > 0) {
            self.serve();
            drop(followers);
            self.configure().await;
        }
    }

    /// Notes a refusal. Who fights over a field is named: in an Event, and in
    /// the Application's status.
    pub async fn refused(&self, by: &Contention) {
        let begins = self
            .contentions
            .lock()
            .is_ok_and(|mut known| known.refused(by, jiff::Timestamp::now().as_second()));
        if !begins {
            return;
        }
        if let Some(uid) = self.world().uid_of(&by.application) {
            self.events.contended(by, uid);
        }
        if let Some(follower) = self.followers.lock().await.get(&by.application) {
            follower.wake.notify_one();
        }
    }

    fn contended(&self, application: &AppRef) -> Vec<String> {
        let now = jiff::Timestamp::now().as_second();
        self.contentions
            .lock()
            .map(|known| known.of(application, now).iter().map(ToString::to_string).collect())
            .unwrap_or_default()
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keeper({} objects)", self.world().index.len())
    }
}
