//! Has a hook ended? In: its live object. Out: its state, with a reason.

use serde_json::Value;

use crate::health::{Health, health};

/// How far a hook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookState {
    Running(String),
    Succeeded,
    Failed(String),
}

/// A Job or Pod is over when it has ended, a workflow when its phase says so,
/// anything else when it is healthy.
pub fn hook_state(object: &Value) -> HookState {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let group = text("/apiVersion").split_once('/').map_or("", |(group, _)| group);
    let ends = matches!(
        (group, text("/kind")),
        ("", "Pod") | ("batch", "Job") | ("argoproj.io", "Workflow" | "AnalysisRun")
    );
    let report = health(object);
    let message = || {
        let said = [text("/status/message"), &report.message].into_iter().find(|said| !said.is_empty());
        said.unwrap_or("it has failed").to_owned()
    };
    let always = text("/kind") == "Pod" && matches!(text("/spec/restartPolicy"), "" | "Always");
    match (ends && !always, text("/status/phase"), report.health) {
        (true, "Succeeded" | "Successful", _) => HookState::Succeeded,
        (true, "Failed" | "Error", _) | (_, _, Health::Degraded) => HookState::Failed(message()),
        (true, "", Health::Healthy) if text("/kind") == "Job" => HookState::Succeeded,
        (false, _, Health::Healthy) => HookState::Succeeded,
        _ => HookState::Running(report.message),
    }
}
