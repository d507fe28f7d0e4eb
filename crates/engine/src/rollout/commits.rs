//! What earlier commits say, read once for all Rollouts of a look. In: commits.
//! Out: what each declares, and those before it, by the first who asked.

use std::collections::HashMap;
use std::sync::Arc;

use gitops_core::desired::DesiredSet;
use tokio::sync::Mutex;

use super::gate::Ground;
use crate::error::EngineError;

/// Commits that are searched for a version.
const SEARCHED: usize = 20;

/// Commits that were read.
#[derive(Debug, Default)]
pub(super) struct Commits {
    passed: Mutex<HashMap<String, Arc<Vec<String>>>>,
    /// None: it cannot be rendered, or does not count.
    sets: Mutex<HashMap<String, Option<Arc<DesiredSet>>>>,
}

impl Commits {
    /// The commits that changed the source, from one on backwards, newest first.
    pub(super) async fn passed(
        &self,
        ground: &Ground<'_>,
        from: &str,
    ) -> Result<Arc<Vec<String>>, EngineError> {
        let mut known = self.passed.lock().await;
        if let Some(passed) = known.get(from) {
            return Ok(passed.clone());
        }
        let passed = Arc::new(ground.passed(from, SEARCHED).await?);
        known.insert(from.to_owned(), passed.clone());
        Ok(passed)
    }

    /// What a commit declares, if it counts.
    pub(super) async fn at(&self, ground: &Ground<'_>, revision: &str, tip: &str) -> Option<Arc<DesiredSet>> {
        let mut sets = self.sets.lock().await;
        if let Some(known) = sets.get(revision) {
            return known.clone();
        }
        let set = ground.at(revision, tip).await.ok().map(Arc::new);
        sets.insert(revision.to_owned(), set.clone());
        set
    }
}
