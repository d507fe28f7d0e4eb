//! Follows Applications and their repositories. Each Application has a task of
//! its own, so that a repository that is away holds up nobody else. Out: the
//! [`World`], the webhook configurations, and each Application's status.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures::StreamExt;
use gitops_api::{Application, Project};
use gitops_cluster::{Cluster, Discovery};
use gitops_core::desired::AppRef;
use gitops_core::index::Part;
use gitops_core::object::Gvk;
use gitops_engine::desired::{commit, packed};
use gitops_engine::{EngineError, Environment, Loaded, load, revisions};
use gitops_source::Credentials;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, ResourceExt};
use tokio::sync::{Mutex, Notify, watch};

use crate::configurations;
use crate::metrics::{ApplicationLabels, Metrics, ResultLabels};
use crate::settings::Settings;
use crate::status;
use crate::tls;
use crate::world::{Held, World};

/// How long a denial waits for news from Git: the API server waits 3 s in all.
const BUDGET: Duration = Duration::from_millis(500);
/// Git is not asked more often than this before denials.
const MINIMUM: Duration = Duration::from_millis(500);
/// How long the cluster's version and kinds are taken to stay as they are.
const ENVIRONMENT: Duration = Duration::from_secs(10);
/// Older commits kept rendered for judging.
const OLDER: usize = 64;

/// The running state of the program.
pub struct Keeper {
    pub cluster: Cluster,
    pub settings: Settings,
    pub metrics: Metrics,
    world: ArcSwap<World>,
    held: Mutex<BTreeMap<AppRef, Held>>,
    followers: Mutex<HashMap<AppRef, Follower>>,
    older: Mutex<HashMap<(AppRef, String), Arc<Part>>>,
    surroundings: Mutex<Option<(Instant, Surroundings)>>,
    /// What was written last.
    configured: Mutex<Option<[serde_json::Value; 2]>>,
    ca_bundle: watch::Sender<String>,
    serving: watch::Sender<bool>,
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

/// How many looks at an Application have begun and ended.
#[derive(Clone, Copy, Debug, Default)]
struct Passes {
    begun: u64,
    ended: u64,
}

impl Keeper {
    pub fn new(cluster: Cluster, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            cluster,
            settings,
            metrics: Metrics::default(),
            world: ArcSwap::from_pointee(World::default()),
            held: Mutex::default(),
            followers: Mutex::default(),
            older: Mutex::default(),
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
        let client = self.cluster.client();
        let (applications, application_writer) = reflector::store();
        let (projects, project_writer) = reflector::store();
        let application_stream = watcher(Api::<Application>::all(client.clone()), watcher::Config::default())
            .default_backoff()
            .reflect(application_writer)
            .touched_objects();
        let project_stream = watcher(Api::<Project>::all(client), watcher::Config::default())
            .default_backoff()
            .reflect(project_writer)
            .touched_objects();
        let changes = futures::stream::select(
            application_stream.map(|event| event.map(drop)),
            project_stream.map(|event| event.map(drop)),
        );
        let mut changes = std::pin::pin!(changes);
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                event = changes.next() => match event {
                    Some(Ok(())) => {}
                    Some(Err(error)) => tracing::warn!(%error, "watching Applications and Projects"),
                    None => return,
                },
                _ = tick.tick() => self.configure().await,
            }
            let known = tokio::time::timeout(Duration::from_millis(10), async {
                applications.wait_until_ready().await.is_ok() && projects.wait_until_ready().await.is_ok()
            });
            if known.await == Ok(true) {
                self.follow(&applications.state(), &projects.state()).await;
            }
        }
    }

    /// Starts, restarts and ends followers.
    async fn follow(self: &Arc<Self>, applications: &[Arc<Application>], projects: &[Arc<Project>]) {
        let mut followers = self.followers.lock().await;
        let mut there = BTreeSet::new();
        for application in applications {
            let name = reference(application);
            there.insert(name.clone());
            let project =
                projects.iter().find(|project| project.name_any() == application.spec.project).cloned();
            let version = format!(
                "{} {:?} {:?}",
                application.uid().unwrap_or_default(),
                application.metadata.generation,
                project.as_ref().map(|p| (p.uid(), p.metadata.generation))
            );
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
            self.metrics.objects.remove(&ApplicationLabels { application: name.to_string() });
            self.held.lock().await.remove(&name);
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
            let mut last = status::Said::default();
            loop {
                count.send_modify(|passes| passes.begun += 1);
                let first = count.borrow().begun == 1;
                let pass = keeper.pass(&application, project.as_deref(), first).await;
                count.send_modify(|passes| passes.ended += 1);
                keeper.ready_after_all().await;
                status::write(&keeper.cluster.client(), &application, &pass, &mut last).await;
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

    /// Looks at one Application: fetches, renders, and holds the result. What
    /// cannot be rendered leaves the last good commit in force.
    async fn pass(&self, application: &Application, project: Option<&Project>, first: bool) -> status::Pass {
        let name = reference(application);
        let mut pass = match self.try_pass(application, project, first).await {
            Ok(pass) => pass,
            Err(error) => {
                let before = self.held.lock().await.get(&name).cloned();
                let held = match before {
                    Some(held) => Some(held),
                    None => self.last_good(application, project).await,
                };
                let revision = held.as_ref().map(|held| held.part.revision.clone());
                if let Some(held) = held {
                    self.hold(held).await;
                }
                tracing::warn!(application = %name, %error, enforced = revision.as_deref().unwrap_or("nothing"), "this commit is not enforced");
                status::Pass { error: Some(error.to_string()), revision, ..status::Pass::default() }
            }
        };
        let world = self.world();
        if let Some(held) = self.held.lock().await.get(&name) {
            pass.objects = held.part.len();
            pass.mistakes = held.part.delegated().mistakes.clone();
            pass.kinds = held.part.kinds().iter().map(ToString::to_string).collect();
        }
        let conflicts = world
            .index
            .conflicts()
            .iter()
            .filter(|conflict| conflict.owner == name || conflict.other == name);
        pass.conflicts = conflicts
            .map(|conflict| {
                format!(
                    "{} is declared by {} and {}: the older, {}, owns it",
                    conflict.key, conflict.owner, conflict.other, conflict.owner
                )
            })
            .collect();
        self.metrics.age.get_or_create(&ApplicationLabels { application: name.to_string() }).set(0);
        pass
    }

    /// The first look renders in any case: the Project may have changed.
    async fn try_pass(
        &self,
        application: &Application,
        project: Option<&Project>,
        first: bool,
    ) -> Result<status::Pass, EngineError> {
        let loaded = self.load(application, project).await?;
        let known = self.surroundings().await?;
        let commit = commit(&loaded, &known.environment, None).await?;
        let held = self.held.lock().await.get(&loaded.application).cloned();
        match held.filter(|held| !first && held.part.revision == commit.id) {
            None => {
                let held = self.render(application, project, loaded, &known, &commit.id).await?;
                self.remember(&held);
                self.hold(held).await;
            }
            // A kind that was not served yet may be by now.
            Some(held) if held.part.kinds().iter().any(|gvk| !self.world().knows(gvk)) => {
                self.surroundings.lock().await.take();
                self.publish().await;
            }
            Some(_) => {}
        }
        Ok(status::Pass { revision: Some(commit.id), ..status::Pass::default() })
    }

    /// An Application that its Project admits.
    async fn load(
        &self,
        application: &Application,
        project: Option<&Project>,
    ) -> Result<Loaded, EngineError> {
        let missing = || EngineError::Application {
            file: "cluster".into(),
            reason: format!("there is no Project {:?}", application.spec.project),
        };
        let project = project.ok_or_else(missing)?;
        let mut spec = application.spec.clone();
        if spec.destination.namespace.is_empty() {
            spec.destination.namespace = application.namespace().unwrap_or_default();
        }
        project.admits(&application.namespace().unwrap_or_default(), &spec)?;
        let access = load::access_of(&self.cluster, application).await?;
        let mut loaded = Loaded::from_resource(application, &access, &Credentials::Usual)?;
        loaded.project = Some(project.spec.clone());
        Ok(loaded)
    }

    /// What rendering depends on beside Git; asked for anew every so often.
    async fn surroundings(&self) -> Result<Surroundings, EngineError> {
        let mut kept = self.surroundings.lock().await;
        if let Some((since, known)) = kept.as_ref()
            && since.elapsed() < ENVIRONMENT
        {
            return Ok(known.clone());
        }
        let (discovery, version) = tokio::try_join!(self.cluster.discovery(), self.cluster.version())?;
        let environment = Environment {
            cache_dir: self.settings.cache_dir.clone(),
            tools: gitops_source::Tools::default(),
            git_timeout: Duration::from_secs(60),
            kube_version: version.trim_start_matches('v').to_owned(),
            api_versions: discovery.api_versions(),
            // Those of an Application are in the Secret that it names.
            keys: gitops_source::sops::Keys::default(),
        };
        let known = Surroundings { environment, discovery: Arc::new(discovery) };
        *kept = Some((Instant::now(), known.clone()));
        Ok(known)
    }

    async fn render(
        &self,
        application: &Application,
        project: Option<&Project>,
        loaded: Loaded,
        known: &Surroundings,
        revision: &str,
    ) -> Result<Held, EngineError> {
        let created = application.creation_timestamp().map(|time| time.0.to_string()).unwrap_or_default();
        let precedence = (created, application.uid().unwrap_or_default());
        let part = packed(&loaded, &known.environment, revision, &*known.discovery, precedence).await?;
        let project =
            project.ok_or_else(|| EngineError::Internal("a Project was there a moment ago".into()))?;
        for (key, gvk) in part.objects() {
            project.admits_object(&application.spec.destination.cluster, gvk, &key.namespace)?;
        }
        let policy = loaded.policy()?;
        Ok(Held { loaded, policy, part: Arc::new(part) })
    }

    /// The file in which an Application's last good commit is kept.
    fn memory(&self, application: &AppRef) -> PathBuf {
        self.settings
            .cache_dir
            .join("last-good")
            .join(format!("{}.{}", application.namespace, application.name))
    }

    fn remember(&self, held: &Held) {
        let path = self.memory(&held.loaded.application);
        let write = || {
            std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
            std::fs::write(&path, &held.part.revision)
        };
        if let Err(error) = write() {
            tracing::warn!(path = %path.display(), %error, "the last good commit could not be kept");
        }
    }

    /// After a restart without Git: the last good commit, from disk.
    async fn last_good(&self, application: &Application, project: Option<&Project>) -> Option<Held> {
        let loaded = self.load(application, project).await.ok()?;
        let revision = std::fs::read_to_string(self.memory(&loaded.application)).ok()?;
        let known = self.surroundings().await.ok()?;
        self.render(application, project, loaded, &known, revision.trim()).await.ok()
    }

    async fn hold(&self, held: Held) {
        let labels = ApplicationLabels { application: held.loaded.application.to_string() };
        self.metrics.objects.get_or_create(&labels).set(i64::try_from(held.part.len()).unwrap_or(i64::MAX));
        self.held.lock().await.insert(held.loaded.application.clone(), held);
        self.publish().await;
    }

    /// Makes the world anew.
    async fn publish(&self) {
        let held = self.held.lock().await;
        let kinds: BTreeSet<Gvk> = held.values().flat_map(|held| held.part.kinds()).cloned().collect();
        let before = self.world();
        let known = kinds.iter().all(|gvk| before.schemas.has(gvk));
        let schemas = if known { Ok(before.schemas.clone()) } else { self.cluster.schemas(&kinds).await };
        let known = self.surroundings().await.map(|known| (*known.discovery).clone());
        match (schemas.map_err(EngineError::from), known) {
            (Ok(schemas), Ok(discovery)) => self.world.store(Arc::new(World::new(&held, schemas, discovery))),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "the types of the declared kinds are not known; the index stays as it was")
            }
        }
        drop(held);
        self.configure().await;
    }

    /// Writes the configurations, if something about them has changed and this
    /// program answers.
    async fn configure(&self) {
        let ca_bundle = self.ca_bundle.borrow().clone();
        if ca_bundle.is_empty() || !self.is_ready() {
            return;
        }
        let world = self.world();
        let scope = world.scope();
        let discovery = if world.discovery.kinds().is_empty() {
            self.cluster.discovery().await
        } else {
            Ok(world.discovery.clone())
        };
        let Ok(discovery) = discovery else { return };
        let built = configurations::build(&self.settings, &ca_bundle, &discovery, &scope);
        let mut configured = self.configured.lock().await;
        if configured.as_ref() == Some(&built) {
            return;
        }
        match configurations::apply(&self.cluster, &discovery, &built).await {
            Ok(()) => {
                tracing::info!(kinds = scope.kinds.len(), namespaces = scope.namespaces.len(), "configured");
                *configured = Some(built);
            }
            Err(error) => {
                tracing::warn!(%error, "the webhook configurations could not be written; trying again")
            }
        }
    }

    /// Asks Git for news of an Application, before a denial: one at a time, in
    /// a budget of time, not too often. What is known then decides.
    pub async fn refresh(&self, application: &AppRef) {
        let asked = {
            let mut followers = self.followers.lock().await;
            followers.get_mut(application).map(|follower| {
                let due = follower.asked.elapsed() >= MINIMUM;
                if due {
                    follower.asked = Instant::now();
                    follower.wake.notify_one();
                }
                (due, follower.passes.clone())
            })
        };
        let Some((due, mut passes)) = asked else { return };
        // A look that is under way may have read Git before the commit came:
        // the one that begins after it has not.
        let begun = passes.borrow().begun;
        let news = tokio::time::timeout(BUDGET, passes.wait_for(|passes| passes.ended > begun)).await;
        let result = match (due, news) {
            (_, Ok(Ok(_))) => "fresh",
            (true, _) => "late",
            (false, _) => "recent",
        };
        self.metrics.refreshes.get_or_create(&ResultLabels { result: result.into() }).inc();
    }

    /// What an Application declared at another commit, if that commit lies
    /// between `from` and `to`.
    pub async fn between(
        &self,
        held: &Held,
        revision: &str,
        from: Option<&str>,
        to: &str,
    ) -> Option<Arc<Part>> {
        let from = from.unwrap_or(revision).to_owned();
        let (git, loaded) = (gitops_source::GitCache::open(&self.settings.cache_dir), held.loaded.clone());
        let (revision, to) = (revision.to_owned(), to.to_owned());
        let wanted = revision.clone();
        let inside = tokio::task::spawn_blocking(move || {
            revisions::is_before(&loaded, &git, &from, &wanted).unwrap_or(false)
                && revisions::is_before(&loaded, &git, &wanted, &to).unwrap_or(false)
        });
        if !inside.await.unwrap_or(false) {
            return None;
        }
        let key = (held.loaded.application.clone(), revision.clone());
        if let Some(part) = self.older.lock().await.get(&key) {
            return Some(part.clone());
        }
        let known = self.surroundings().await.ok()?;
        let precedence = held.part.precedence.clone();
        let part = packed(&held.loaded, &known.environment, &revision, &*known.discovery, precedence).await;
        let part = Arc::new(part.ok()?);
        let mut older = self.older.lock().await;
        if older.len() >= OLDER {
            older.clear();
        }
        older.insert(key, part.clone());
        Some(part)
    }
}

fn reference(application: &Application) -> AppRef {
    AppRef { namespace: application.namespace().unwrap_or_default(), name: application.name_any() }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keeper({} objects)", self.world().index.len())
    }
}
