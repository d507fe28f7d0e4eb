//! The cluster beside Git. In: an Application that its Project admits, and a
//! revision. Out: a survey, and whether a sync on it may prune.

use std::sync::Arc;
use std::time::Instant;

use gitops_api::{Application, Project};
use gitops_core::desired::DesiredSet;
use gitops_core::names::IN_CLUSTER;
use gitops_core::plan::{Action, Doubt, Select};
use gitops_engine::desired::desired;
use gitops_engine::{EngineError, Loaded, Looking, Reads, Survey, Synced, admit, owners, survey};

use crate::clusters::Surroundings;
use crate::controller::Controller;
use crate::error::Error;
use crate::request::Prune;

/// The cluster beside Git, for one Application.
pub struct Sight<'a> {
    pub controller: &'a Arc<Controller>,
    pub application: &'a Application,
    pub project: Option<&'a Project>,
    /// Of the cluster that the Application goes to, where that is another one
    /// that knows Projects.
    pub far: Option<&'a Project>,
    pub loaded: &'a Loaded,
    /// Who may have synced it.
    pub synced: Synced,
}

impl Sight<'_> {
    /// Renders, checks with the Project, and compares. Kinds that are not known
    /// are asked for once more: they may just have been defined.
    ///
    /// # Errors
    /// What is wrong with the files, or why the Project does not admit them.
    pub async fn survey(&self, known: Surroundings, revision: &str) -> Result<(Surroundings, Survey), Error> {
        let (known, set) = self.rendered(known, revision).await?;
        let cluster = &self.application.spec.destination.cluster;
        for (key, object) in &set.objects {
            let project = self.project.ok_or_else(|| EngineError::Internal("a Project is gone".into()))?;
            admit::object(project, cluster, (key, &object.gvk), || (*object.value).clone())?;
            known.member.takes_object(key, &object.gvk)?;
            if let Some(far) = self.far {
                admit::object(far, IN_CLUSTER, (key, &object.gvk), || (*object.value).clone())?;
            }
        }
        self.beside(known, set).await
    }

    /// The same without asking the Project: for what takes away only.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub async fn compared(
        &self,
        known: Surroundings,
        revision: &str,
    ) -> Result<(Surroundings, Survey), Error> {
        let (known, set) = self.rendered(known, revision).await?;
        self.beside(known, set).await
    }

    async fn rendered(
        &self,
        mut known: Surroundings,
        revision: &str,
    ) -> Result<(Surroundings, DesiredSet), Error> {
        let begun = Instant::now();
        let set = match desired(self.loaded, &known.environment, revision, &*known.discovery).await {
            Err(EngineError::Desired(_)) => {
                known = known.member.surroundings(&self.controller.settings.cache_dir, true).await?;
                desired(self.loaded, &known.environment, revision, &*known.discovery).await?
            }
            other => other?,
        };
        self.controller.metrics.phase("render", begun.elapsed());
        Ok((known, set))
    }

    async fn beside(&self, known: Surroundings, set: DesiredSet) -> Result<(Surroundings, Survey), Error> {
        let (begun, metrics) = (Instant::now(), &self.controller.metrics);
        let (cluster, discovery) = (known.cluster(), &known.discovery);
        let (loaded, environment) = (self.loaded, &known.environment);
        let lists = (self.synced == Synced::Never).then(|| known.member.lists.clone());
        let looking = Looking { ahead: None, synced: self.synced, reads: Reads::All, lists };
        let mut survey = survey(cluster, discovery, loaded, environment, set, looking).await?;
        owners::settle(cluster, self.loaded, &known.environment, &mut survey, &[]).await?;
        metrics.phase("survey", begun.elapsed());
        Ok((known, survey))
    }
}

fn doubt(loaded: &Loaded, survey: &Survey, asked: Prune) -> Option<Doubt> {
    let doubt = survey.doubt(loaded.spec.prune_budget(), &Select::default(), asked.allow_empty);
    doubt.filter(|doubt| matches!(doubt, Doubt::Empty { .. }) || !asked.confirmed)
}

/// Whether a sync prunes: not more than its budget without a person.
pub fn prunes(loaded: &Loaded, survey: &Survey, asked: Prune) -> bool {
    (loaded.spec.sync.prune || asked.wanted) && doubt(loaded, survey, asked).is_none()
}

/// Why objects stay out of sync after all else is done.
pub fn left(loaded: &Loaded, survey: &Survey, count: usize) -> String {
    match doubt(loaded, survey, Prune::default()).filter(|_| loaded.spec.sync.prune) {
        Some(doubt) => format!("{doubt}: kubectl gitops sync {} --confirm-prune", loaded.application.name),
        None if survey.plan.count(Action::Prune) > 0 => {
            let words = counted(count, "object differs", "objects differ");
            format!("{words} from Git; what Git no longer declares is not pruned (spec.sync.prune)")
        }
        None => format!("{} from Git", counted(count, "object differs", "objects differ")),
    }
}

/// `1 object is`, `2 objects are`.
pub fn counted(count: usize, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}
