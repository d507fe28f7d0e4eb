//! What is drift. In: what Git and the spec say now, and what they said when the
//! cluster was as they say. Out: whether what differs has arisen in the cluster;
//! it is counted when it arises, and once more when it is healed.

use gitops_engine::desired::reading;
use gitops_engine::sync::unmarked;
use gitops_engine::{Loaded, Survey, SyncOptions};
use sha2::{Digest, Sha256};

use super::{Failure, Look};
use crate::clusters::Surroundings;
use crate::schedule::Decision;

impl Look<'_> {
    /// Notes what Git and the spec say at a commit.
    pub(super) async fn read(&mut self, loaded: &Loaded, known: &Surroundings, tip: &str) {
        let of = (tip.to_owned(), self.application.metadata.generation.unwrap_or(0));
        if self.memory.said.as_ref().is_none_or(|(known, _)| *known != of) {
            let read = reading(loaded, &known.environment, tip).await.ok().flatten();
            let read = read.unwrap_or_else(|| tip.to_owned());
            self.memory.said = Some((of, said(loaded, &read)));
        }
    }

    /// Whether there is something to be marked that the last sync has not tried to.
    pub(super) fn adopts(&self, survey: &Survey) -> bool {
        unmarked(survey, &SyncOptions::default()).any(|key| !self.memory.unmarked.contains(key))
    }

    /// Whether what differs has arisen in the cluster: Git and the spec say what
    /// they said when it was as they say.
    pub(super) fn is_drift(&self) -> bool {
        let said = self.memory.said.as_ref().map(|(_, said)| said);
        said.is_some() && self.before.settled.as_ref() == said
    }

    /// Counts drift that has just arisen.
    pub(super) fn count_drift(&mut self, differs: bool) {
        let drifts = differs && self.is_drift();
        if drifts && !self.memory.drifts {
            self.controller.metrics.drift("found");
        }
        self.memory.drifts = drifts;
    }

    /// Before a sync: should it end half-way and Git go back, what then differs
    /// is no drift. Only who leaves drift alone needs to know.
    pub(super) fn unsettle(&mut self) -> bool {
        let may_hold = !self.application.spec.sync.self_heal && self.before.settled.is_some();
        let matters = may_hold && !self.is_drift();
        if matters {
            self.found.settled = Some(String::new());
        }
        matters
    }

    /// After everything: whether the cluster is as Git says.
    pub(super) fn settle(&mut self, decision: &Decision, survey: &Survey, failure: Option<&Failure>) {
        if *decision == Decision::Sync && failure.is_none() {
            self.memory.unmarked = unmarked(survey, &SyncOptions::default()).cloned().collect();
        }
        self.found.settled = match (decision, failure) {
            (Decision::Leave { .. }, _) | (_, Some(("Locked", _))) => return,
            (Decision::Sync, Some(_)) if self.is_drift() => return,
            (Decision::Sync, Some(_)) => Some(String::new()),
            _ => self.memory.said.as_ref().map(|(_, said)| said.clone()),
        };
        if failure.is_none() && std::mem::take(&mut self.memory.drifts) {
            self.controller.metrics.drift("healed");
        }
    }
}

/// What an Application says of its objects, and what it reads of Git, as one hash.
fn said(loaded: &Loaded, read: &str) -> String {
    let spec = &loaded.spec;
    let said = serde_json::json!([read, spec.all_sources(), spec.destination, spec.ignore]);
    hex::encode(Sha256::digest(said.to_string()))
}
