//! Where a Rollout stands: what its status holds, and all that is needed to go
//! on after a crash.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::spec::{Header, Size};

/// The phases a person sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// The version of Git runs.
    #[default]
    Idle,
    /// A new version is held back.
    Gated,
    Progressing,
    Paused,
    Promoting,
    /// The new version is on its way out.
    Aborting,
    /// The old version runs, and Git still says the new one.
    Aborted,
}

/// A version of the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The commit, in full.
    pub revision: String,
    pub hash: String,
}

/// Which version a workload has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holds {
    /// The promoted one.
    #[default]
    Stable,
    New,
}

/// How many of the Pods and requests each version has. All objects follow from
/// it and from Git.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Setting {
    pub target: Holds,
    /// Percent of all replicas that the target has.
    pub share: u8,
    /// Replicas of the second workload; none: it is not there.
    pub second: Option<Size>,
    /// Percent of a partitioned target's Pods that have the new version.
    pub updated: u8,
    /// Percent of the requests that go to the new version.
    pub weight: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<Header>,
    /// Percent of the requests that are sent to both.
    #[serde(default)]
    pub mirror: u8,
}

impl Setting {
    /// The promoted version alone, as Git says it.
    pub const REST: Self = Self {
        target: Holds::Stable,
        share: 100,
        second: None,
        updated: 0,
        weight: 0,
        header: None,
        mirror: 0,
    };
}

impl Default for Setting {
    fn default() -> Self {
        Self::REST
    }
}

/// Counted measurements of one metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub succeeded: u32,
    pub failed: u32,
    pub inconclusive: u32,
    /// When it was last measured, in seconds since 1970.
    pub last: i64,
}

/// Why a rollout goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Back {
    /// The new version failed, or someone aborted it.
    Failed,
    /// Git or the Rollout says something else by now: begin again.
    Changed,
    /// Git says the running version again.
    Returned,
}

/// Why a rollout waits, beside its own pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Held {
    Asked,
    Inconclusive,
}

/// What became of Git after a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Aftermath {
    /// To be done; the reason it has not been yet.
    Wanted(String),
    /// The commit or branch that was pushed.
    Done(String),
}

/// A request that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub id: String,
    pub verb: String,
    pub by: String,
    pub reason: String,
    /// Seconds since 1970.
    pub at: i64,
}

/// Where a Rollout stands. Times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    pub phase: Phase,
    /// The last promoted version; none before the first look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<Version>,
    /// The version on its way in, or that was aborted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Version>,
    pub setting: Setting,
    /// Which move of the program it is at.
    pub at: usize,
    /// Since when it is at that move.
    pub entered: i64,
    pub started: i64,
    /// The most Pods seen ready and of the newest version for this setting, both
    /// counted, and when they grew.
    pub ready: i64,
    pub progressed: i64,
    /// Replicas of the workload as a whole, where Git leaves them out; else as Git
    /// said last.
    pub replicas: i64,
    /// The target was scaled to zero, and is not seen to be back yet: where Git
    /// leaves its replicas out, nobody else scales it from there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub from_zero: bool,
    /// What Kubernetes calls the old version's Pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_pods: Option<String>,
    /// What Kubernetes calls the new version's Pods, in one StatefulSet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_pods: Option<String>,
    /// Of the analysis at this move.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tallies: BTreeMap<String, Tally>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub background: BTreeMap<String, Tally>,
    /// The hash of the version that is not tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back: Option<Back>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// Nothing is waited for but the Pods.
    pub full: bool,
    /// The digest of the Rollout under which it began.
    pub digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aftermath: Option<Aftermath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Record>,
    pub message: String,
}

impl State {
    /// Whether the Rollout sets the replicas of its target, even where Git leaves
    /// them out.
    pub fn is_rolled(&self) -> bool {
        self.setting.share == 0 || self.from_zero
    }

    /// Replicas of the workload as a whole that Git leaves out, by those that the
    /// target has: a zero of the Rollout's own says nothing.
    pub fn scaled(&self, live: Option<i64>) -> Option<i64> {
        let own = self.setting.share == 0 || self.from_zero && live == Some(0);
        let known = (self.is_under_way() || self.from_zero).then_some(self.replicas);
        live.filter(|_| !own).or(known)
    }

    /// Whether both versions may be running.
    pub fn is_under_way(&self) -> bool {
        !matches!(self.phase, Phase::Idle | Phase::Aborted)
    }
}
