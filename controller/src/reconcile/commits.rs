//! The commit of a look. In: what Git says. Out: the newest commit beside the
//! cluster; where it cannot be had or does not count, the last good one, from
//! which Rollouts that are under way go on.

use std::time::Instant;

use gitops_api::Project;
use gitops_engine::desired::desired;
use gitops_engine::rollout::resources;
use gitops_engine::trust::trust;
use gitops_engine::{Loaded, Survey};

use super::Look;
use super::rollouts::{Driven, MOVED};
use crate::clusters::{Far, Surroundings};
use crate::drift::Drift;
use crate::error::Error;
use crate::request::Prune;
use crate::schedule::Decision;
use crate::sight::Sight;
use crate::status;

/// A commit beside the cluster.
pub(super) struct Ready {
    pub loaded: Loaded,
    pub far: Option<Far>,
    pub known: Surroundings,
    pub survey: Survey,
    pub revision: String,
}

impl<'a> Look<'a> {
    /// The newest commit beside the cluster; none: Git has not been asked yet.
    pub(super) async fn newest(
        &mut self,
        project: Option<&Project>,
        loaded: &Loaded,
        known: &Surroundings,
        since: Option<Instant>,
    ) -> Result<Option<Ready>, Error> {
        let (controller, begun) = (self.controller, Instant::now());
        let Some(commit) = controller.poller.commit(loaded, &known.environment, since).await? else {
            return Ok(None);
        };
        trust(loaded, &known.environment, &commit.id).await?;
        self.moves_forward(loaded, known, &commit.id).await?;
        controller.metrics.phase("commit", begun.elapsed());
        tracing::Span::current().record("revision", &commit.id);
        self.found.revision = self.news(loaded, known, &commit.id).await;
        self.read(loaded, known, &commit.id).await;
        let ready = self.surveyed(project, loaded, known, commit.id).await?;
        self.found.far = status::far(&ready.known, ready.far.as_ref());
        self.memory.good = Some(ready.revision.clone());
        Ok(Some(ready))
    }

    /// A commit beside the cluster that the Application goes to.
    async fn surveyed(
        &self,
        project: Option<&Project>,
        loaded: &Loaded,
        known: &Surroundings,
        revision: String,
    ) -> Result<Ready, Error> {
        let far = Far::bring(self.controller, self.application, known, loaded, &revision).await?;
        let loaded = far.as_ref().map_or_else(|| loaded.clone(), |far| far.loaded.clone());
        let sight = self.sight(project, far.as_ref(), &loaded);
        let (known, survey) = sight.survey(known.clone(), &revision).await?;
        Ok(Ready { loaded, far, known, survey, revision })
    }

    pub(super) fn sight<'s>(
        &self,
        project: Option<&'s Project>,
        far: Option<&'s Far>,
        loaded: &'s Loaded,
    ) -> Sight<'s>
    where
        'a: 's,
    {
        let (controller, application) = (self.controller, self.application);
        Sight {
            controller,
            application,
            project,
            far: far.map(|far| &far.project),
            loaded,
            synced: self.synced(),
        }
    }

    /// While the newest commit cannot be had or does not count, Rollouts that are
    /// under way go on from the last one that did, which the webhook goes by as
    /// well: a version that fails is not left where it is. Nothing begins
    /// meanwhile, and Git is written to when it can be read again.
    pub(super) async fn go_on(
        &mut self,
        project: Option<&Project>,
        loaded: &Loaded,
        known: &Surroundings,
        why: &Error,
    ) {
        let good = self.memory.good.clone().or_else(|| self.before.revision.clone());
        let Some(good) = good.filter(|_| !why.is_of_the_way()) else { return };
        // What a person asks for is told to have failed.
        (self.prune, self.may_begin) = (Prune::default(), false);
        let asked = self.asked.take();
        if let Err(error) = self.go_on_from(good, (project, loaded, known), why).await {
            tracing::warn!(application = %self.name, %error, "its Rollouts stand still");
        }
        self.asked = asked;
    }

    async fn go_on_from(
        &mut self,
        good: String,
        (project, loaded, known): (Option<&Project>, &Loaded, &Surroundings),
        why: &Error,
    ) -> Result<(), Error> {
        trust(loaded, &known.environment, &good).await?;
        let declared = desired(loaded, &known.environment, &good, &*known.discovery).await?;
        if resources(declared.objects.values().map(|object| (&object.key, &object.gvk))).is_empty() {
            return Ok(());
        }
        self.read(loaded, known, &good).await;
        let ready = self.surveyed(project, loaded, known, good).await?;
        let Ready { loaded, far, mut known, mut survey, revision } = ready;
        Drift::track(self.controller, &known, &self.name, &survey);
        let sight = self.sight(project, far.as_ref(), &loaded);
        if let Driven::Moved(failed) = self.drive(&sight, &known, &survey).await? {
            for one in &failed {
                if self.memory.pushes.wait(one, &why.to_string()) {
                    self.again = self.again.min(MOVED);
                }
            }
            (known, survey) = sight.survey(known, &revision).await?;
        }
        self.memory.phases = survey.rollouts.iter().map(|rolling| rolling.state.phase).collect();
        let rolls = self.rolls || survey.rollouts.iter().any(|rolling| rolling.state.is_under_way());
        let decision = self.decide(&loaded, &known, &survey)?;
        if rolls && decision == Decision::Sync {
            let (_, survey, failure) = self.brought(&sight, known, survey, &revision).await?;
            self.settle(&decision, &survey, failure.as_ref());
        }
        Ok(())
    }
}
