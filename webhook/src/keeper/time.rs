//! What other commits say. In: a recorded or claimed commit. Out: where it
//! stands to the one in force, what it declared, and news from Git.

use std::sync::Arc;
use std::time::Instant;

use gitops_api::Application;
use gitops_core::desired::AppRef;
use gitops_core::index::Part;
use gitops_engine::{EngineError, Environment, Loaded, revisions};
use tokio::sync::watch;

use super::{BUDGET, Keeper, MINIMUM, News, OLDER, Passes, Standing};
use crate::history::part_at;
use crate::metrics::ResultLabels;
use crate::world::Held;

impl Keeper {
    /// A branch that went back to where it was before the commit in force is not
    /// followed: time moves forward, and a mirror with old references looks the
    /// same. One that left that commit aside has a new history, and is. Of
    /// several sources none may go back, whatever the others do.
    pub(super) async fn moves_forward(
        &self,
        loaded: &Loaded,
        environment: &Environment,
        held: Option<&Held>,
        application: &Application,
        tip: &str,
    ) -> Result<(), EngineError> {
        let known = held.map(|held| held.part.revision.clone());
        let known = known.or_else(|| std::fs::read_to_string(self.memory(&loaded.application)).ok());
        let known = known.or_else(|| application.status.as_ref()?.revision.clone());
        let Some(known) = known.map(|known| known.trim().to_owned()) else { return Ok(()) };
        let (loaded, environment, tip) = (loaded.clone(), environment.clone(), tip.to_owned());
        let moves = tokio::task::spawn_blocking(move || {
            revisions::moves_forward(&loaded, &environment, &known, &tip)
        });
        moves.await.map_err(|error| EngineError::Internal(error.to_string()))?
    }

    /// Whether one revision comes before another in every source, as far as
    /// both are known.
    async fn is_ancestor(&self, loaded: &Loaded, ancestor: &str, descendant: &str) -> bool {
        let count = loaded.sources.len();
        let (Some(ancestor), Some(descendant)) =
            (revisions::split(ancestor, count), revisions::split(descendant, count))
        else {
            return false;
        };
        for ((place, ancestor), descendant) in loaded.sources.iter().zip(&ancestor).zip(&descendant) {
            if self.history.is_ancestor(&place.repo, ancestor, descendant).await != Some(true) {
                return false;
            }
        }
        true
    }

    /// Whether the commit at which an object was last accepted is known here and
    /// no newer than the one in force: with several sources, in none of them.
    pub async fn standing(&self, held: &Held, recorded: &str) -> Standing {
        if recorded == held.part.revision {
            return Standing::Known;
        }
        let (loaded, count) = (&held.loaded, held.loaded.sources.len());
        let split = |revision: &str| revisions::split(revision, count);
        // Of other sources than those that there are now.
        let Some((ours, recorded)) = split(&held.part.revision).zip(split(recorded)) else {
            return Standing::Unknown;
        };
        let mut standing = Standing::Known;
        for ((place, ours), recorded) in loaded.sources.iter().zip(&ours).zip(&recorded) {
            match self.history.is_ancestor(&place.repo, ours, recorded).await {
                Some(true) if ours != recorded => return Standing::Ahead,
                Some(_) => {}
                // Nothing is taken for older that may be newer.
                None if self.history.is_shallow(&place.repo).await => return Standing::Ahead,
                None if self.history.contains(&place.repo, recorded).await => {}
                None => standing = Standing::Unknown,
            }
        }
        standing
    }

    /// What the commits between `from` and the tip declared of what the tip
    /// declares otherwise: those that nobody names, looked at before a denial.
    pub async fn passed(&self, held: &Held, from: &str) -> Vec<Arc<Part>> {
        let Ok(known) = self.surroundings().await else { return Vec::new() };
        let look = self.history.passed(held, from, known.environment, known.discovery);
        match tokio::time::timeout(BUDGET, look).await {
            Ok(parts) => parts,
            Err(_) => {
                tracing::info!(application = %held.part.application, "the commits before the tip take longer to render");
                Vec::new()
            }
        }
    }

    /// Asks Git for news of an Application, before a denial: one at a time, in
    /// a budget of time, not too often. What is known then decides.
    pub async fn refresh(&self, application: &AppRef) -> News {
        let Some((mut due, mut passes)) = self.ask(application).await else { return News::Late };
        if !due {
            // Asked a moment ago, perhaps before the commit came.
            tokio::time::sleep(MINIMUM).await;
            due = self.ask(application).await.is_some_and(|(due, _)| due);
        }
        // A look that is under way may have read Git before the commit came:
        // the one that begins after it has not.
        let begun = passes.borrow().begun;
        let news = tokio::time::timeout(BUDGET, passes.wait_for(|passes| passes.ended > begun)).await;
        let heard = matches!(&news, Ok(Ok(passes)) if passes.heard > begun);
        let result = match (due, news) {
            (_, Ok(Ok(_))) if heard => "fresh",
            (_, Ok(Ok(_))) => "failed",
            (true, _) => "late",
            (false, _) => "recent",
        };
        self.metrics.refreshes.get_or_create(&ResultLabels { result: result.into() }).inc();
        if heard { News::Fresh } else { News::Late }
    }

    /// Wakes an Application's follower, unless that was done a moment ago.
    async fn ask(&self, application: &AppRef) -> Option<(bool, watch::Receiver<Passes>)> {
        let mut followers = self.followers.lock().await;
        followers.get_mut(application).map(|follower| {
            let due = follower.asked.elapsed() >= MINIMUM;
            if due {
                follower.asked = Instant::now();
                follower.wake.notify_one();
            }
            (due, follower.passes.clone())
        })
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
        if !(self.is_ancestor(&held.loaded, &from, revision).await
            && self.is_ancestor(&held.loaded, revision, to).await)
        {
            return None;
        }
        // Another path or other signers make something else of the same commit.
        let key = (held.loaded.application.clone(), held.version.clone(), revision.to_owned());
        let one = {
            let mut older = self.older.lock().await;
            if older.len() >= OLDER && !older.contains_key(&key) {
                older.clear();
            }
            older.entry(key).or_default().clone()
        };
        // Many Rollouts of one commit ask for the same at once: one of them reads it.
        // What cannot be read now is read by who asks next.
        let mut one = one.lock().await;
        if one.is_none() {
            let known = self.surroundings().await.ok()?;
            let part = part_at(held, &known.environment, revision, &known.discovery).await;
            *one = part.map(Arc::new);
        }
        one.clone()
    }
}
