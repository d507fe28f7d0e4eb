//! What a watch shows of a Rollout. In: its status and its Deployments, as they
//! change. Out: for each move, how long after it could begin it began.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// Seconds since 1970.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// A Rollout on its way.
#[derive(Debug, Default)]
pub struct Seen {
    /// Where it is, and since when that is seen.
    place: Option<(Place, f64)>,
    /// Whether each Deployment has all its Pods.
    deployments: HashMap<String, bool>,
    /// Since when both have.
    whole: f64,
    /// Seconds, and at which place it stood before.
    pub lags: Vec<(f64, String)>,
    /// At rest: how many versions have come to their end.
    pub ends: Option<usize>,
}

#[derive(Clone, Debug, PartialEq)]
struct Place {
    phase: String,
    at: i64,
    entered: f64,
}

impl Seen {
    /// A Rollout's status; a pause takes so many seconds.
    pub fn rollout(&mut self, status: &Value, pause: f64, now: f64) {
        let state = &status["state"];
        let (Some(phase), Some(at)) = (state["phase"].as_str(), state["at"].as_i64()) else { return };
        let here = Place { phase: phase.to_owned(), at, entered: state["entered"].as_f64().unwrap_or(0.0) };
        self.ends = (phase == "Idle").then(|| status["history"].as_array().map_or(0, Vec::len));
        let Some((before, since)) = self.place.clone() else {
            self.place = Some((here, now));
            return;
        };
        if (&before.phase, before.at) == (&here.phase, here.at) {
            return;
        }
        let could = match before.phase.as_str() {
            // Git is polled: when the version was seen counts.
            "Idle" => now,
            "Gated" => since,
            "Paused" => before.entered + pause,
            _ => since.max(self.whole),
        };
        if before.phase != "Idle" {
            self.lags.push((now - could, format!("{} {}", before.phase, before.at)));
        }
        self.place = Some((here, now));
    }

    /// One of its Deployments; none: it is gone.
    pub fn deployment(&mut self, name: &str, live: Option<&Value>, now: f64) {
        let was = self.is_whole();
        let is_gone = live.is_none();
        match live {
            Some(live) => self.deployments.insert(name.to_owned(), has_all(live)),
            None => self.deployments.remove(name),
        };
        if self.is_whole() && (!was || is_gone) {
            self.whole = now;
        }
    }

    fn is_whole(&self) -> bool {
        self.deployments.values().all(|has_all| *has_all)
    }
}

fn has_all(live: &Value) -> bool {
    let number = |pointer: &str| live.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let wanted = number("/spec/replicas");
    number("/status/observedGeneration") == number("/metadata/generation")
        && ["replicas", "updatedReplicas", "availableReplicas"]
            .iter()
            .all(|field| number(&format!("/status/{field}")) == wanted)
}
