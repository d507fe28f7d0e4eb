//! What an Application's status says of its sync and health. In: what a pass
//! has found, and what the status said before. Out: a patch by server-side
//! apply, or nothing where it would say the same.
//!
//! The webhook says what is rendered and enforced, and at which revision; only
//! where none is installed, the revision is said here.

use gitops_api::Application;
use gitops_api::application::{ApplicationStatus, HistoryEntry, OperationStatus};
use gitops_api::request::{ELSEWHERE, is_judged};
use gitops_core::names::API_VERSION;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::clusters::{Far, Surroundings};

mod write;

pub use write::{Before, now, write};

/// Syncs that are remembered.
const HISTORY: usize = 20;
/// The API server takes messages of up to 32 KiB; a person reads less.
const MESSAGE: usize = 2000;
/// Conditions that are written here.
const OURS: [&str; 4] = ["Synced", "Healthy", "Suspended", "Deleting"];
/// And those that are copied from the cluster that the Application goes to.
const FAR: [&str; 2] = ["Rendered", "Enforced"];

/// A condition: status, reason, message.
pub type Said = (&'static str, &'static str, String);

/// What a pass has found. What is none stays as it was.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub revision: Option<String>,
    pub sync: Option<&'static str>,
    pub synced: Option<Said>,
    pub health: Option<&'static str>,
    pub healthy: Option<Said>,
    /// Objects out of sync, and unhealthy ones.
    pub counts: Option<(usize, usize)>,
    pub suspended: Option<Suspended>,
    /// What another cluster's webhook says, where the Application goes there.
    pub far: Option<FarSaid>,
    /// How far its deletion is.
    pub deleting: Option<Said>,
    /// Syncs that are worth remembering, the last one first.
    pub entries: Vec<HistoryEntry>,
    pub operation: Option<OperationStatus>,
    /// What Git and the spec say, where the cluster is so; empty: no longer.
    pub settled: Option<String>,
}

/// What is said of an Application in the cluster that it goes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FarSaid {
    pub rendered: Option<(String, String, String)>,
    pub enforced: Option<(String, String)>,
    /// How many objects are held there.
    pub total: Option<i32>,
}

/// What is said there, where that is another cluster.
pub fn far(known: &Surroundings, far: Option<&Far>) -> Option<FarSaid> {
    if known.member.is_here() {
        return None;
    }
    let name = &known.member.name;
    let Some(far) = far else {
        let message = format!("cluster {name} knows no Applications: nothing is held there");
        return Some(FarSaid { enforced: Some(("False".into(), message)), ..FarSaid::default() });
    };
    let status = far.mirror.status.clone().unwrap_or_default();
    let condition = |kind: &str| status.conditions.iter().find(|known| known.type_ == kind);
    let elsewhere = |known: &Condition| format!("cluster {name}: {}", known.message);
    Some(FarSaid {
        rendered: condition("Rendered")
            .map(|known| (known.status.clone(), known.reason.clone(), elsewhere(known))),
        enforced: Some(match condition("Enforced") {
            Some(known) => (known.status.clone(), elsewhere(known)),
            None => ("Unknown".into(), format!("cluster {name}: no webhook has spoken of it yet")),
        }),
        total: status.objects.map(|counts| counts.total),
    })
}

/// Whether a person has suspended the Application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Suspended {
    By(String),
    No,
}

/// Why a person has suspended it, if one has.
pub fn suspension(status: Option<&ApplicationStatus>) -> Option<&str> {
    let conditions = status.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let known = conditions.iter().find(|known| known.type_ == "Suspended" && known.status == "True")?;
    Some(&known.message)
}

/// The status after a pass, as far as it is written here.
pub fn after(application: &Application, before: &ApplicationStatus, found: &Found, now: &str) -> Value {
    let mut status = json!({"observedGeneration": application.metadata.generation});
    let mut conditions = Vec::new();
    for (kind, said) in [("Synced", &found.synced), ("Healthy", &found.healthy)] {
        let known = before.conditions.iter().find(|known| known.type_ == kind);
        conditions.extend(match said {
            Some(said) => Some(condition(application, kind, said, known, now)),
            None => known.map(|known| json!(known)),
        });
    }
    let suspended = before.conditions.iter().find(|known| known.type_ == "Suspended");
    conditions.extend(match &found.suspended {
        Some(Suspended::By(why)) => {
            Some(condition(application, "Suspended", &("True", "Asked", why.clone()), suspended, now))
        }
        Some(Suspended::No) => None,
        None => suspended.map(|known| json!(known)),
    });
    conditions.extend(said_far(application, before, found.far.as_ref(), now));
    // How long it takes is told from where it is, which the reason says.
    conditions.extend(found.deleting.iter().map(|said| {
        let deleting = before.conditions.iter();
        let mut same = deleting.filter(|known| known.type_ == "Deleting" && known.reason == said.1);
        condition(application, "Deleting", said, same.next(), now)
    }));
    status["conditions"] = conditions.into();
    let text =
        |new: Option<&'static str>, old: &Option<String>| new.map(str::to_owned).or_else(|| old.clone());
    if let Some(sync) = text(found.sync, &before.sync) {
        status["sync"] = sync.into();
    }
    if let Some(health) = text(found.health, &before.health) {
        status["health"] = health.into();
    }
    let known = before.objects.unwrap_or_default();
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let (out_of_sync, unhealthy) = match found.counts {
        Some((out_of_sync, unhealthy)) => (Some(count(out_of_sync)), Some(count(unhealthy))),
        None => (known.out_of_sync, known.unhealthy),
    };
    if let (Some(out_of_sync), Some(unhealthy)) = (out_of_sync, unhealthy) {
        status["objects"] = json!({"outOfSync": out_of_sync, "unhealthy": unhealthy});
        if !application.is_here() {
            let total = found.far.as_ref().and_then(|far| far.total).unwrap_or(known.total);
            status["objects"]["total"] = total.into();
        }
    }
    // Whoever wrote them may not have been answered.
    let entries = found.entries.iter().filter(|entry| !before.history.contains(entry));
    let history: Vec<HistoryEntry> = entries.chain(&before.history).take(HISTORY).cloned().collect();
    if !history.is_empty() {
        status["history"] = json!(history);
    }
    if let Some(operation) = found.operation.as_ref().or(before.operation.as_ref()) {
        status["operation"] = json!(operation);
    }
    let settled = found.settled.as_ref().or(before.settled.as_ref());
    if let Some(settled) = settled.filter(|settled| !settled.is_empty()) {
        status["settled"] = settled.as_str().into();
    }
    let revision = found.revision.as_ref().or(before.revision.as_ref());
    if let Some(revision) = revision.filter(|_| !is_judged(Some(before))) {
        status["revision"] = revision.as_str().into();
    }
    status
}

/// What another cluster's webhook says; as it was, where it was not asked.
fn said_far(
    application: &Application,
    before: &ApplicationStatus,
    far: Option<&FarSaid>,
    now: &str,
) -> Vec<Value> {
    if application.is_here() {
        return Vec::new();
    }
    let known = |kind: &str| before.conditions.iter().find(|known| known.type_ == kind);
    let Some(far) = far else {
        return FAR.iter().filter_map(|kind| known(kind)).map(|known| json!(known)).collect();
    };
    let enforced = far.enforced.clone().map(|(status, message)| (status, ELSEWHERE.to_owned(), message));
    [("Rendered", far.rendered.clone()), ("Enforced", enforced)]
        .into_iter()
        .filter_map(|(kind, said)| {
            let (status, reason, message) = said?;
            Some(condition(application, kind, &(&status, &reason, message), known(kind), now))
        })
        .collect()
}

fn condition(
    application: &Application,
    kind: &str,
    (status, reason, message): &(&str, &str, String),
    before: Option<&Condition>,
    now: &str,
) -> Value {
    let before = before.filter(|before| before.status == *status);
    let since = before.map_or_else(
        || now.to_owned(),
        |before| before.last_transition_time.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    );
    let message: String = message.chars().take(MESSAGE).collect();
    json!({"type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since, "observedGeneration": application.metadata.generation})
}

/// Whether a status says already what is to be written.
pub fn says(status: &ApplicationStatus, wanted: &Value) -> bool {
    let live = json!(status);
    if live["settled"] != wanted["settled"] {
        return false;
    }
    let written = wanted["conditions"].as_array().into_iter().flatten();
    let written: Vec<&Value> = written.map(|condition| &condition["type"]).collect();
    let ours = |conditions: &Value| -> Vec<Value> {
        let all = conditions.as_array().into_iter().flatten();
        let is_ours = |known: &Value| {
            let kind = &known["type"];
            written.contains(&kind) || OURS.iter().any(|ours| kind == ours) || known["reason"] == ELSEWHERE
        };
        let mut ours: Vec<Value> = all.filter(|known| is_ours(known)).cloned().collect();
        ours.sort_by_key(|known| known["type"].as_str().unwrap_or_default().to_owned());
        ours
    };
    wanted.as_object().into_iter().flatten().all(|(field, value)| match field.as_str() {
        "conditions" => ours(&live["conditions"]) == ours(value),
        "objects" => {
            value.as_object().into_iter().flatten().all(|(key, value)| live["objects"][key] == *value)
        }
        _ => live[field] == *value,
    })
}

/// The patch that writes a status.
fn patch(application: &Application, status: &Value) -> Value {
    json!({"apiVersion": API_VERSION, "kind": "Application",
        "metadata": {"name": application.name_any()}, "status": status})
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-24T10:00:00Z";

    fn application() -> Application {
        let mut application = Application::new("a", gitops_api::ApplicationSpec::default());
        application.metadata.generation = Some(2);
        application
    }

    fn found() -> Found {
        Found {
            revision: Some("c1".into()),
            sync: Some("Synced"),
            synced: Some(("True", "Synced", "as Git says".into())),
            health: Some("Healthy"),
            healthy: Some(("True", "Healthy", String::new())),
            counts: Some((0, 0)),
            entries: vec![HistoryEntry { revision: "c1".into(), time: NOW.into(), message: String::new() }],
            ..Found::default()
        }
    }

    fn live(wanted: &Value) -> ApplicationStatus {
        serde_json::from_value(wanted.clone()).unwrap()
    }

    #[test]
    fn the_same_is_not_said_twice() {
        let (application, mut found) = (application(), found());
        let wanted = after(&application, &ApplicationStatus::default(), &found, NOW);
        let status = live(&wanted);
        assert!(!says(&ApplicationStatus::default(), &wanted) && says(&status, &wanted));
        let again = after(&application, &status, &found, NOW);
        assert!(says(&status, &again), "an entry that arrived without an answer: {again}");
        found.entries.clear();
        let again = after(&application, &status, &found, "2026-11-24T11:00:00Z");
        assert!(says(&status, &again), "{again}");
        found.synced = Some(("False", "Failed", "no".into()));
        let other = after(&application, &status, &found, "2026-11-24T11:00:00Z");
        assert!(!says(&status, &other));
        assert_eq!(other["conditions"][0]["lastTransitionTime"], "2026-11-24T11:00:00Z");
    }

    #[test]
    fn what_the_webhook_says_is_left_to_it() {
        let (application, mut before) = (application(), ApplicationStatus::default());
        let wanted = after(&application, &before, &found(), NOW);
        assert_eq!(wanted["revision"], "c1");
        before.conditions = vec![
            serde_json::from_value(json!({"type": "Enforced", "status": "True", "reason": "Enforced",
            "message": "", "lastTransitionTime": NOW}))
            .unwrap(),
        ];
        let wanted = after(&application, &before, &found(), NOW);
        assert_eq!((&wanted["revision"], &wanted["objects"]["total"]), (&Value::Null, &Value::Null));
        assert!(wanted["conditions"].as_array().unwrap().iter().all(|known| known["type"] != "Enforced"));
    }

    #[test]
    fn how_long_it_is_deleted_is_told_from_where_it_is() {
        let (application, later) = (application(), "2026-11-24T11:00:00Z");
        let said = |before: &ApplicationStatus, reason: &'static str, now: &str| {
            let found = Found { deleting: Some(("True", reason, String::new())), ..Found::default() };
            after(&application, before, &found, now)
        };
        let hooks = live(&said(&ApplicationStatus::default(), "Hooks", NOW));
        let since = |status: &Value| status["conditions"][0]["lastTransitionTime"].clone();
        assert_eq!(since(&said(&hooks, "Hooks", later)), NOW);
        assert_eq!(since(&said(&hooks, "Objects", later)), later);
    }

    #[test]
    fn a_cluster_that_is_no_longer_as_git_says_is_not_settled() {
        let application = application();
        let with = |settled: &str| Found { settled: Some(settled.into()), ..Found::default() };
        let before = live(&after(&application, &ApplicationStatus::default(), &with("a"), NOW));
        assert_eq!(before.settled.as_deref(), Some("a"));
        let kept = after(&application, &before, &Found::default(), NOW);
        assert!(says(&before, &kept) && kept["settled"] == "a");
        let cleared = after(&application, &before, &with(""), NOW);
        assert!(!says(&before, &cleared) && cleared["settled"] == Value::Null);
    }

    #[test]
    fn an_error_leaves_the_rest_as_it_was() {
        let application = application();
        let before = live(&after(&application, &ApplicationStatus::default(), &found(), NOW));
        let failed = Found {
            sync: Some("Unknown"),
            synced: Some(("Unknown", "Failed", "no way to the host".into())),
            ..Found::default()
        };
        let wanted = after(&application, &before, &failed, NOW);
        assert_eq!((&wanted["sync"], &wanted["health"]), (&json!("Unknown"), &json!("Healthy")));
        assert_eq!(wanted["history"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn twenty_syncs_are_remembered() {
        let (application, mut status) = (application(), ApplicationStatus::default());
        for number in 0..30 {
            let entry = HistoryEntry { revision: format!("c{number}"), ..HistoryEntry::default() };
            let found = Found { entries: vec![entry], ..Found::default() };
            status = live(&after(&application, &status, &found, NOW));
        }
        assert_eq!((status.history.len(), status.history[0].revision.as_str()), (20, "c29"));
    }
}
