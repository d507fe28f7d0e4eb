//! Our own kinds, so that an Application may declare others.

use serde_json::Value;

use super::fields::{at, of_condition, sentence, when};
use super::{Health, HealthReport};
use crate::names::GROUP;

pub(super) fn health(group: &str, kind: &str, object: &Value) -> Option<HealthReport> {
    if group != GROUP {
        return None;
    }
    Some(match kind {
        "Application" => application(object),
        "Rollout" => rollout(object),
        _ => return None,
    })
}

fn application(object: &Value) -> HealthReport {
    for kind in ["Rendered", "Healthy"] {
        if let Some(condition) = when(object, kind, "False") {
            return of_condition(Health::Degraded, condition);
        }
    }
    if object.pointer("/status/observedGeneration").is_none() {
        return HealthReport::progressing("NotObserved", "neither webhook nor controller has seen it yet");
    }
    match Health::named(at(object, "/status/health")) {
        None => HealthReport::healthy("it is rendered"),
        Some(Health::Healthy) => HealthReport::healthy("all of its objects are healthy"),
        Some(health) => {
            HealthReport::new(health, health.name(), format!("its objects are {}", health.name()))
        }
    }
}

fn rollout(object: &Value) -> HealthReport {
    let words = sentence(at(object, "/status/message"));
    let said = |otherwise: &str| if words.is_empty() { otherwise.to_owned() } else { words.clone() };
    match at(object, "/status/phase") {
        "Aborted" => HealthReport::degraded("Aborted", said("the new version was aborted")),
        "Aborting" => HealthReport::degraded("Aborting", said("the new version is being aborted")),
        "Paused" => HealthReport::suspended("Paused", said("it waits for its promotion")),
        "" | "Idle" => HealthReport::healthy(said("there is no new version")),
        phase => HealthReport::progressing(phase, said("a new version is on its way")),
    }
}
