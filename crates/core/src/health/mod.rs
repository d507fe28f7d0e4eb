//! Is an object healthy? In: a live object, and what it owns and what was told
//! about it where that is known. Out: a state and a sentence that says why, by
//! the rules of kstatus and of each built-in kind.

mod cluster;
mod family;
mod fields;
mod generic;
mod network;
mod ours;
mod pod;
mod policy;
mod storage;
#[cfg(test)]
mod tests;
mod workload;

use serde::Serialize;
use serde_json::Value;

pub use family::{Family, event_time, family_health};

use fields::{at, list, number, sentence, text};

/// The state of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Health {
    Healthy,
    Progressing,
    Degraded,
    Suspended,
    Missing,
    Unknown,
}

impl Health {
    /// All states, the best first.
    pub const ALL: [Self; 6] =
        [Self::Healthy, Self::Suspended, Self::Unknown, Self::Progressing, Self::Missing, Self::Degraded];

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|health| health.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Progressing => "Progressing",
            Self::Degraded => "Degraded",
            Self::Suspended => "Suspended",
            Self::Missing => "Missing",
            Self::Unknown => "Unknown",
        }
    }

    /// How bad it is: what a whole is, is the worst of its parts.
    pub fn rank(self) -> usize {
        Self::ALL.iter().position(|health| *health == self).unwrap_or(0)
    }
}

/// A state and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthReport {
    pub health: Health,
    /// CamelCase, for programs; empty when healthy.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl HealthReport {
    /// A verdict of one's own.
    pub fn new(health: Health, reason: &str, message: impl Into<String>) -> Self {
        Self { health, reason: reason.into(), message: message.into() }
    }

    fn healthy(message: impl Into<String>) -> Self {
        Self::new(Health::Healthy, "", message)
    }

    fn progressing(reason: &str, message: impl Into<String>) -> Self {
        Self::new(Health::Progressing, reason, message)
    }

    fn degraded(reason: &str, message: impl Into<String>) -> Self {
        Self::new(Health::Degraded, reason, message)
    }

    fn suspended(reason: &str, message: impl Into<String>) -> Self {
        Self::new(Health::Suspended, reason, message)
    }

    /// Of an object that no controller has looked at.
    fn unseen() -> Self {
        Self::progressing("NotObserved", "its controller has not seen it yet")
    }

    /// Of an object that is not there.
    pub fn missing() -> Self {
        Self::new(Health::Missing, "NotFound", "it is not in the cluster")
    }

    /// Of a Job that has run and is gone, as its time to live says.
    pub fn expired() -> Self {
        Self::new(Health::Healthy, "Expired", "it has run, and its time to live is over")
    }
}

/// What no rule for its kind has to judge: it is going, or its status is that of
/// an earlier generation.
pub fn unsettled(object: &Value) -> Option<HealthReport> {
    if object.pointer("/metadata/deletionTimestamp").is_some_and(Value::is_string) {
        return Some(terminating(object));
    }
    if let (Some(generation), Some(observed)) =
        (number(object, "/metadata/generation"), number(object, "/status/observedGeneration"))
        && observed < generation
    {
        let message = "its controller has not seen the change yet";
        return Some(HealthReport::progressing("NotObserved", message));
    }
    None
}

/// Judges one object by itself.
pub fn health(object: &Value) -> HealthReport {
    if let Some(report) = unsettled(object) {
        return report;
    }
    let group = text(object, "apiVersion").split_once('/').map_or("", |(group, _)| group);
    let kind = text(object, "kind");
    workload::health(group, kind, object)
        .or_else(|| storage::health(group, kind, object))
        .or_else(|| network::health(group, kind, object))
        .or_else(|| policy::health(group, kind, object))
        .or_else(|| cluster::health(group, kind, object))
        .or_else(|| ours::health(group, kind, object))
        .unwrap_or_else(|| generic::health(object))
}

/// What goes, and what it waits for.
fn terminating(object: &Value) -> HealthReport {
    // A namespace says what is left in it.
    let left = list(object, "/status/conditions")
        .iter()
        .filter(|condition| text(condition, "type").starts_with("Namespace"))
        .find(|condition| text(condition, "status") == "True")
        .map(|condition| sentence(text(condition, "message")));
    let finalizers: Vec<&str> =
        list(object, "/metadata/finalizers").iter().filter_map(Value::as_str).collect();
    let message = match (left, finalizers.as_slice()) {
        (Some(left), _) => format!("it is being deleted: {left}"),
        (None, []) => "it is being deleted".to_owned(),
        (None, names) => format!("it is being deleted and waits for {}", names.join(", ")),
    };
    let since = at(object, "/metadata/deletionTimestamp");
    HealthReport::progressing("Terminating", format!("{message} (since {since})"))
}
