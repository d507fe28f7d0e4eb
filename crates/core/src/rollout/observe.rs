//! What the driver observed of a cluster and of Git, and whether that is what
//! the state asks for.

use super::analysis::Measured;
use super::program::{Whole, count, updated};
use super::spec::{Means, Spec};
use super::state::{Holds, State, Version};

/// One look at everything that matters to a Rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// What Git says now.
    pub tip: Version,
    /// The version at which the live target was last accepted; none: it does
    /// not exist yet.
    pub running: Option<Version>,
    /// Replicas of the workload as a whole: Git's, or what an autoscaler wants.
    pub whole: Whole,
    pub target: Workload,
    pub second: Option<Workload>,
    /// Services, routes and weight fields say what the state asks.
    pub traffic: bool,
    /// Taken since the last decision.
    pub measured: Vec<Measured>,
    pub request: Option<Asked>,
    /// The commit or branch that was pushed after a failure, or why not.
    pub pushed: Option<Result<String, String>>,
    /// What would be lacking for more Pods, in words.
    pub shortage: Option<String>,
    /// Why that is not known for sure, in words.
    pub unseen: Option<String>,
    /// An image is being pulled, or Pods have time left to end: slow, but not stuck.
    pub pulling: bool,
    /// Why Pods are not ready, in words.
    pub trouble: Option<String>,
}

/// One workload, once its controller has seen its newest generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// The hash of its template.
    pub hash: String,
    /// Its controller has seen this template and number of replicas.
    pub seen: bool,
    /// Pods of any version; where none may be left, those too that are about to end.
    pub total: i64,
    /// Pods of the newest version.
    pub updated: i64,
    pub ready: i64,
    /// What Kubernetes calls Pods of its newest version.
    pub pods: Option<String>,
    /// For kinds that count no Pods.
    pub healthy: bool,
}

/// A request of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub id: String,
    pub ask: Ask,
    pub by: String,
    pub reason: String,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Past the pause or analysis it is at.
    Promote,
    /// Past all of them.
    PromoteFull,
    Abort,
    Retry,
    Pause,
    Resume,
}

impl Ask {
    /// As people write it.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::PromoteFull => "promote --full",
            Self::Abort => "abort",
            Self::Retry => "retry",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

/// Pods that are ready in both workloads, and those of the new version once
/// more: where one takes the place of another, only these grow.
pub fn progress(state: &State, seen: &Observed) -> i64 {
    let new = state.new.as_ref().map(|new| &new.hash);
    let of = |workload: &Workload| {
        let is_new = workload.seen && new == Some(&workload.hash);
        workload.ready + if is_new { workload.updated } else { 0 }
    };
    of(&seen.target) + seen.second.as_ref().map_or(0, of)
}

/// Whether the cluster is as the state's setting asks.
pub fn settled(spec: &Spec, state: &State, seen: &Observed) -> bool {
    let setting = &state.setting;
    let hash = |holds: Holds| match holds {
        Holds::Stable => state.stable.as_ref(),
        Holds::New => state.new.as_ref(),
    };
    let holds = |workload: &Workload, which: Holds| {
        workload.seen && hash(which).is_none_or(|version| version.hash == workload.hash)
    };
    if !seen.traffic || !holds(&seen.target, setting.target) {
        return false;
    }
    let second = match (setting.second, &seen.second) {
        (None, None) => true,
        (Some(size), Some(second)) => {
            let want = count(seen.whole.replicas, size);
            holds(second, Holds::New) && full(second, want)
        }
        _ => false,
    };
    second
        && match spec.means() {
            Means::Field => seen.target.healthy,
            Means::Partition if setting.target == Holds::New => {
                let new = updated(seen.whole.replicas, setting.updated);
                seen.target.ready >= seen.whole.replicas && seen.target.updated >= new
            }
            _ => full(&seen.target, seen.whole.kept(setting.share)),
        }
}

fn full(workload: &Workload, want: i64) -> bool {
    workload.ready >= want && workload.updated >= want && workload.total == want
}
