//! How an Application is brought to the cluster: by whom, when, how often, and
//! how much may be deleted.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::yes;

/// How an Application is brought to the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SyncPolicy {
    #[serde(default)]
    pub mode: SyncMode,
    /// Delete what an earlier commit declared and the newest does not.
    #[serde(default)]
    pub prune: bool,
    #[serde(default = "yes")]
    pub self_heal: bool,
    #[serde(default)]
    pub prune_budget: PruneBudget,
    #[serde(default)]
    pub retry: Retry,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub windows: Vec<Window>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub options: Vec<String>,
}

impl Default for SyncPolicy {
    fn default() -> Self {
        Self {
            mode: SyncMode::Manual,
            prune: false,
            self_heal: true,
            prune_budget: PruneBudget::default(),
            retry: Retry::default(),
            windows: Vec::new(),
            options: Vec::new(),
        }
    }
}

/// Who starts a sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SyncMode {
    #[default]
    Manual,
    Automatic,
}

/// How much one sync may delete before a person has to confirm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PruneBudget {
    #[serde(default = "twenty")]
    #[schemars(range(min = 0))]
    pub count: i32,
    #[serde(default = "thirty")]
    #[schemars(range(min = 0, max = 100))]
    pub percent: i32,
}

impl Default for PruneBudget {
    fn default() -> Self {
        Self { count: twenty(), percent: thirty() }
    }
}

fn twenty() -> i32 {
    20
}

fn thirty() -> i32 {
    30
}

/// How often and how fast a failed sync is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retry {
    /// How many more times for the same commit.
    #[serde(default = "five")]
    #[schemars(range(min = 0, max = 1000))]
    pub limit: i32,
    /// The first pause, such as 5s; each one is twice as long as the one before.
    #[serde(default = "five_seconds")]
    #[schemars(length(max = 32))]
    pub backoff: String,
    /// The longest pause, such as 3m.
    #[serde(default = "three_minutes")]
    #[schemars(length(max = 32))]
    pub max: String,
}

impl Default for Retry {
    fn default() -> Self {
        Self { limit: five(), backoff: five_seconds(), max: three_minutes() }
    }
}

fn five() -> i32 {
    5
}

fn five_seconds() -> String {
    "5s".into()
}

fn three_minutes() -> String {
    "3m".into()
}

/// When automatic syncs may run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Window {
    pub kind: WindowKind,
    /// Cron expression of its beginning: minute, hour, day of month, month, day of week.
    #[schemars(length(min = 1, max = 128))]
    pub schedule: String,
    /// How long it is open, such as 8h or 1h30m.
    #[schemars(length(min = 1, max = 32))]
    pub duration: String,
    /// In which the schedule is meant, such as Europe/Berlin; absent: UTC.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub time_zone: String,
}

/// Whether a window lets syncs through or keeps them out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WindowKind {
    #[default]
    Allow,
    Deny,
}
