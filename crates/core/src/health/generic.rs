//! Any other kind, by the conditions that the field has agreed on (kstatus,
//! Flux, Crossplane, OpenShift), else by its phase. One without a status has
//! nothing to wait for.

use serde_json::Value;

use super::fields::{at, condition, flag, list, of_condition, sentence, text, when};
use super::{Health, HealthReport};

/// True means trouble.
const BAD: [&str; 3] = ["Stalled", "Failed", "Degraded"];
/// True means good; the first that there is decides, but none of them may be
/// false.
const GOOD: [&str; 6] = ["Ready", "Available", "Healthy", "Succeeded", "Established", "Synced"];
/// Reasons that begin or end so tell of something under way, not of a failure.
const UNDER_WAY: [&str; 17] = [
    "Progress",
    "Pending",
    "Creating",
    "Reconcil",
    "Provision",
    "Install",
    "Wait",
    "Init",
    "Start",
    "Deploy",
    "Issuing",
    "Updating",
    "Upgrading",
    "Scaling",
    "DoesNotExist",
    "NotReady",
    "Unknown",
];

pub(super) fn health(object: &Value) -> HealthReport {
    for path in ["/spec/suspend", "/spec/suspended", "/spec/paused"] {
        if flag(object, path) {
            let field = path[1..].replace('/', ".");
            return HealthReport::suspended("Suspended", format!("it is suspended ({field})"));
        }
    }
    if let Some(condition) = BAD.iter().find_map(|kind| when(object, kind, "True")) {
        return of_condition(Health::Degraded, condition);
    }
    if let Some(condition) = when(object, "Reconciling", "True") {
        return of_condition(Health::Progressing, condition);
    }
    if let Some(condition) = GOOD.iter().find_map(|kind| when(object, kind, "False")) {
        let reason = text(condition, "reason");
        let under_way = UNDER_WAY.iter().any(|word| reason.starts_with(word) || reason.ends_with(word));
        let state = if under_way { Health::Progressing } else { Health::Degraded };
        return of_condition(state, condition);
    }
    match GOOD.iter().find_map(|kind| condition(object, kind)) {
        Some(condition) if text(condition, "status") == "True" => {
            HealthReport::healthy(format!("condition {} is true", text(condition, "type")))
        }
        Some(condition) => of_condition(Health::Progressing, condition),
        None if list(object, "/status/conditions").is_empty() => by_phase(object),
        None => HealthReport::healthy("none of its conditions says otherwise"),
    }
}

fn by_phase(object: &Value) -> HealthReport {
    let phase =
        ["/status/phase", "/status/state"].iter().map(|path| at(object, path)).find(|p| !p.is_empty());
    let Some(phase) = phase else { return HealthReport::healthy("it is there") };
    let words =
        ["/status/message", "/status/reason"].iter().map(|path| at(object, path)).find(|w| !w.is_empty());
    let message = match words {
        Some(words) => format!("it is {phase}: {}", sentence(words)),
        None => format!("it is {phase}"),
    };
    match phase.to_lowercase().as_str() {
        "failed" | "failure" | "error" | "errored" | "lost" | "degraded" | "unhealthy" => {
            HealthReport::degraded(phase, message)
        }
        "pending" | "creating" | "provisioning" | "progressing" | "initializing" | "starting"
        | "updating" | "deleting" | "terminating" | "waiting" | "queued" | "installing" | "upgrading" => {
            HealthReport::progressing(phase, message)
        }
        _ => HealthReport::healthy(message),
    }
}
