//! One look at an Application. In: the resource and its Project. Out: what it
//! declares at the newest commit, or the last good one, held from then on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gitops_api::{Application, Project};
use gitops_core::desired::AppRef;
use gitops_core::index::Part;
use gitops_engine::desired::{commit, packed};
use gitops_engine::trust::trust;
use gitops_engine::{EngineError, Environment, Loaded, admit};
use kube::ResourceExt;

use super::{ENVIRONMENT, Keeper, Surroundings, reference};
use crate::copy::Copies;
use crate::metrics::ApplicationLabels;
use crate::status;
use crate::world::Held;

/// Tells an Application and its Project from those of another time.
pub(super) fn version(application: &Application, project: Option<&Project>) -> String {
    let project = project.map(|project| (project.uid(), project.metadata.generation));
    format!("{} {:?} {project:?}", application.uid().unwrap_or_default(), application.metadata.generation,)
}

impl Keeper {
    /// Looks at one Application: fetches, renders, and holds the result. What
    /// cannot be rendered leaves the last good commit in force.
    pub(super) async fn pass(
        &self,
        application: &Application,
        project: Option<&Project>,
        first: bool,
    ) -> status::Pass {
        let name = reference(application);
        let mut heard = false;
        let mut pass = match self.try_pass(application, project, first, &mut heard).await {
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
                let reason = match error {
                    EngineError::Rewound { .. } => "Rewound",
                    _ => "Failed",
                };
                status::Pass { error: Some((reason, error.to_string())), revision, ..status::Pass::default() }
            }
        };
        self.wait_for(application, project).await;
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
        pass.heard = heard;
        if heard {
            self.metrics.heard(&name);
        }
        pass.contended = self.contended(&name);
        pass
    }

    /// The first look renders in any case: the Project may have changed.
    pub(super) async fn try_pass(
        &self,
        application: &Application,
        project: Option<&Project>,
        first: bool,
        heard: &mut bool,
    ) -> Result<status::Pass, EngineError> {
        let loaded = self.load(application, project).await?;
        let known = self.surroundings().await?;
        let commit = commit(&loaded, &known.environment, None).await?;
        *heard = true;
        trust(&loaded, &known.environment, &commit.id).await?;
        let held = self.held.lock().await.get(&loaded.application).cloned();
        self.moves_forward(&loaded, &known.environment, held.as_ref(), application, &commit.id).await?;
        let sources = loaded.sources.clone();
        let is_known = |held: &Held| held.part.revision == commit.id && held.gates.is_some();
        match held.filter(|held| !first && is_known(held)) {
            None => {
                let _turn = self.turn(&loaded.application).await;
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
        // What a denial may need to know of the past comes behind what is in force.
        let git = known.environment.git();
        tokio::task::spawn_blocking(move || {
            sources.iter().for_each(|place| git.deepen_behind(&place.repo, &place.credentials));
        });
        Ok(status::Pass { revision: Some(commit.id), ..status::Pass::default() })
    }

    /// An Application that its Project admits.
    pub(super) async fn load(
        &self,
        application: &Application,
        project: Option<&Project>,
    ) -> Result<Loaded, EngineError> {
        admit::under_project(&self.cluster, application, project).await
    }

    /// What rendering depends on beside Git; asked for anew every so often.
    pub(super) async fn surroundings(&self) -> Result<Surroundings, EngineError> {
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

    pub(super) async fn render(
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
        let (part, gates) = self.gated(&loaded, known, part).await?;
        Ok(Held { gates: Some(Arc::new(gates)), ..self.admit(application, project, loaded, part)? })
    }

    /// What an Application declares, if its Project admits all of it.
    pub(super) fn admit(
        &self,
        application: &Application,
        project: &Project,
        loaded: Loaded,
        part: Part,
    ) -> Result<Held, EngineError> {
        for (key, gvk) in part.objects() {
            let value = || part.get(key).map(|object| object.value.into_value()).unwrap_or_default();
            admit::object(project, &application.spec.destination.cluster, (key, gvk), value)?;
        }
        let policy = loaded.policy()?;
        let version = version(application, Some(project)).into();
        Ok(Held { loaded, version, policy, part: Arc::new(part), gates: None })
    }

    /// The file in which an Application's last good commit is kept.
    pub(super) fn memory(&self, application: &AppRef) -> PathBuf {
        self.settings
            .cache_dir
            .join("last-good")
            .join(format!("{}.{}", application.namespace, application.name))
    }

    pub(super) fn remember(&self, held: &Held) {
        let path = self.memory(&held.loaded.application);
        let write = || {
            std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
            std::fs::write(&path, &held.part.revision)
        };
        if let Err(error) = write() {
            tracing::warn!(path = %path.display(), %error, "the last good commit could not be kept");
        }
    }

    /// After a restart without Git: the last good commit, from disk, else from
    /// the copy in the cluster.
    pub(super) async fn last_good(
        &self,
        application: &Application,
        project: Option<&Project>,
    ) -> Option<Held> {
        let loaded = self.load(application, project).await.ok()?;
        if let Ok(revision) = std::fs::read_to_string(self.memory(&loaded.application))
            && let Ok(known) = self.surroundings().await
            && let Ok(held) = self.render(application, project, loaded.clone(), &known, revision.trim()).await
        {
            return Some(held);
        }
        let copied = self.copies().read(&loaded.application, &application.uid().unwrap_or_default()).await;
        let part = match copied {
            Ok(part) => part?,
            Err(error) => {
                tracing::warn!(application = %loaded.application, %error, "no copy in the cluster");
                return None;
            }
        };
        tracing::info!(application = %loaded.application, revision = part.revision, "from the copy in the cluster");
        self.admit(application, project?, loaded, part).ok()
    }

    pub(super) fn copies(&self) -> Copies {
        Copies::new(self.cluster.client(), &self.settings.namespace)
    }

    /// Keeps a copy of what is in force in the cluster.
    pub(super) async fn copy(&self, application: &AppRef) {
        let held = self.held.lock().await.get(application).cloned();
        let Some(held) = held else { return };
        let rollouts = held.gates.as_ref().map(|gates| gates.told.as_str()).unwrap_or_default();
        if let Err(error) = self.copies().keep(&held.part, rollouts).await {
            tracing::warn!(%application, %error, "no copy is kept in the cluster");
        }
    }

    pub(super) async fn hold(&self, held: Held) {
        let labels = ApplicationLabels { application: held.loaded.application.to_string() };
        self.metrics.objects.get_or_create(&labels).set(i64::try_from(held.part.len()).unwrap_or(i64::MAX));
        self.held.lock().await.insert(held.loaded.application.clone(), held);
        self.publish().await;
    }
}
