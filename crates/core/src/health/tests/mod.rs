//! Verdicts over statuses as real controllers write them.

mod family;
mod kinds;
mod pods;
mod workloads;

use serde_json::{Value, json};

use super::*;

/// `Degraded Reason: message`, or `Healthy: message`.
fn told(report: &HealthReport) -> String {
    format!("{} {}", report.health.name(), report.reason).trim_end().to_owned() + ": " + &report.message
}

#[track_caller]
fn check(cases: &[(Value, &str)]) {
    for (object, expected) in cases {
        assert_eq!(told(&health(object)), *expected, "{object}");
    }
}

fn object(api_version: &str, kind: &str, spec: Value, status: Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "web", "namespace": "shop", "generation": 2}, "spec": spec, "status": status})
}

fn with(mut value: Value, pointer: &str, key: &str, more: Value) -> Value {
    if let Some(map) = value.pointer_mut(pointer).and_then(Value::as_object_mut) {
        map.insert(key.into(), more);
    }
    value
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

fn pod(status: Value) -> Value {
    let spec = json!({"nodeName": "n1", "restartPolicy": "Always", "containers": [{"name": "web", "image": "reg.example/web:2", "resources": {"limits": {"memory": "64Mi"}}}]});
    object("v1", "Pod", spec, status)
}

fn container(state: Value, last: Value, restarts: i64) -> Value {
    json!({"phase": "Running", "containerStatuses": [{"name": "web", "image": "reg.example/web:2", "ready": false, "restartCount": restarts, "state": state, "lastState": last}]})
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"waiting": {"reason": reason, "message": message}})
}
