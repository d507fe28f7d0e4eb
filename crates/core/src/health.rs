//! Is an object healthy? In: a live object. Out: a state and a sentence that
//! says why, by the rules of kstatus and of each built-in kind.

use serde::Serialize;
use serde_json::Value;

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

/// A state and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthReport {
    pub health: Health,
    /// CamelCase, for programs; empty when healthy.
    pub reason: String,
    /// For people; empty when healthy.
    pub message: String,
}

impl HealthReport {
    fn new(health: Health, reason: &str, message: impl Into<String>) -> Self {
        Self { health, reason: reason.into(), message: message.into() }
    }

    fn healthy() -> Self {
        Self::new(Health::Healthy, "", "")
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

/// Judges one object by itself.
pub fn health(object: &Value) -> HealthReport {
    if object.pointer("/metadata/deletionTimestamp").is_some_and(Value::is_string) {
        return HealthReport::new(Health::Progressing, "Terminating", "it is being deleted");
    }
    if let (Some(generation), Some(observed)) =
        (number(object, "/metadata/generation"), number(object, "/status/observedGeneration"))
        && observed < generation
    {
        return HealthReport::new(
            Health::Progressing,
            "NotObserved",
            "its controller has not seen the newest version yet",
        );
    }
    let group = object
        .get("apiVersion")
        .and_then(Value::as_str)
        .and_then(|v| v.split_once('/'))
        .map_or("", |(group, _)| group);
    match (group, object.get("kind").and_then(Value::as_str).unwrap_or("")) {
        ("apps", "Deployment") => deployment(object),
        ("apps", "StatefulSet") => stateful_set(object),
        ("apps", "DaemonSet") => daemon_set(object),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => replicas(object),
        ("", "Pod") => pod(object),
        ("batch", "Job") => job(object),
        ("batch", "CronJob") if object.pointer("/spec/suspend") == Some(&Value::Bool(true)) => {
            HealthReport::new(Health::Suspended, "Suspended", "it is suspended")
        }
        ("", "PersistentVolumeClaim") => claim(object),
        ("", "Service") => service(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        ("apiregistration.k8s.io", "APIService") => condition_is(object, "Available"),
        ("autoscaling", "HorizontalPodAutoscaler") => failing(object, &["ScalingActive", "AbleToScale"]),
        _ => generic(object),
    }
}

fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

fn count(object: &Value, pointer: &str) -> i64 {
    number(object, pointer).unwrap_or(0)
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object
        .pointer("/status/conditions")?
        .as_array()?
        .iter()
        .find(|condition| condition.get("type").is_some_and(|t| t == kind))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or("")
}

fn of_condition(health: Health, condition: &Value) -> HealthReport {
    let kind = text(condition, "type");
    let reason = if text(condition, "reason").is_empty() { kind } else { text(condition, "reason") };
    let message = if text(condition, "message").is_empty() {
        format!("{kind} is {}", text(condition, "status"))
    } else {
        text(condition, "message").to_owned()
    };
    HealthReport::new(health, reason, message)
}

fn deployment(object: &Value) -> HealthReport {
    if object.pointer("/spec/paused") == Some(&Value::Bool(true)) {
        return HealthReport::new(Health::Suspended, "Paused", "it is paused");
    }
    if let Some(condition) =
        condition(object, "Progressing").filter(|c| text(c, "reason") == "ProgressDeadlineExceeded")
    {
        return of_condition(Health::Degraded, condition);
    }
    let want = number(object, "/spec/replicas").unwrap_or(1);
    let (updated, total, available) = (
        count(object, "/status/updatedReplicas"),
        count(object, "/status/replicas"),
        count(object, "/status/availableReplicas"),
    );
    if number(object, "/status/observedGeneration").is_none() {
        return HealthReport::new(Health::Progressing, "NotObserved", "its controller has not seen it yet");
    }
    if updated < want {
        return HealthReport::new(
            Health::Progressing,
            "RollingOut",
            format!("{updated} of {want} replicas are of the newest version"),
        );
    }
    if total > updated {
        return HealthReport::new(
            Health::Progressing,
            "RollingOut",
            format!("{} old replicas are still to go", total - updated),
        );
    }
    if available < want {
        return HealthReport::new(
            Health::Progressing,
            "Unavailable",
            format!("{available} of {want} replicas are available"),
        );
    }
    HealthReport::healthy()
}

fn stateful_set(object: &Value) -> HealthReport {
    let want = number(object, "/spec/replicas").unwrap_or(1);
    let ready = count(object, "/status/readyReplicas");
    if number(object, "/status/observedGeneration").is_none() {
        return HealthReport::new(Health::Progressing, "NotObserved", "its controller has not seen it yet");
    }
    if ready < want {
        return HealthReport::new(
            Health::Progressing,
            "NotReady",
            format!("{ready} of {want} replicas are ready"),
        );
    }
    let rolling = object.pointer("/spec/updateStrategy/type").is_none_or(|t| t == "RollingUpdate");
    let partition = number(object, "/spec/updateStrategy/rollingUpdate/partition").unwrap_or(0);
    let (updated, revision, newest) = (
        count(object, "/status/updatedReplicas"),
        object.pointer("/status/currentRevision"),
        object.pointer("/status/updateRevision"),
    );
    if rolling && revision != newest && updated < want - partition {
        return HealthReport::new(
            Health::Progressing,
            "RollingOut",
            format!("{updated} of {} replicas are of the newest version", want - partition),
        );
    }
    HealthReport::healthy()
}

fn daemon_set(object: &Value) -> HealthReport {
    let want = count(object, "/status/desiredNumberScheduled");
    let (updated, available) =
        (count(object, "/status/updatedNumberScheduled"), count(object, "/status/numberAvailable"));
    if number(object, "/status/observedGeneration").is_none() {
        return HealthReport::new(Health::Progressing, "NotObserved", "its controller has not seen it yet");
    }
    if updated < want && object.pointer("/spec/updateStrategy/type").is_none_or(|t| t == "RollingUpdate") {
        return HealthReport::new(
            Health::Progressing,
            "RollingOut",
            format!("{updated} of {want} pods are of the newest version"),
        );
    }
    if available < want {
        return HealthReport::new(
            Health::Progressing,
            "Unavailable",
            format!("{available} of {want} pods are available"),
        );
    }
    HealthReport::healthy()
}

fn replicas(object: &Value) -> HealthReport {
    let want = number(object, "/spec/replicas").unwrap_or(1);
    let ready = count(object, "/status/readyReplicas");
    if let Some(condition) = condition(object, "ReplicaFailure").filter(|c| text(c, "status") == "True") {
        return of_condition(Health::Degraded, condition);
    }
    if ready < want {
        HealthReport::new(Health::Progressing, "NotReady", format!("{ready} of {want} replicas are ready"))
    } else {
        HealthReport::healthy()
    }
}

/// Why a container waits for good.
const HOPELESS: [&str; 6] = [
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
];

fn pod(object: &Value) -> HealthReport {
    let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"];
    for container in statuses.iter().filter_map(|pointer| object.pointer(pointer)?.as_array()).flatten() {
        let waiting = container.pointer("/state/waiting");
        if let Some(waiting) = waiting.filter(|waiting| HOPELESS.contains(&text(waiting, "reason"))) {
            let message = format!("container {}: {}", text(container, "name"), text(waiting, "message"));
            return HealthReport::new(Health::Degraded, text(waiting, "reason"), message);
        }
    }
    match object.pointer("/status/phase").and_then(Value::as_str).unwrap_or("") {
        "Succeeded" => HealthReport::healthy(),
        "Failed" => HealthReport::new(
            Health::Degraded,
            "Failed",
            object.pointer("/status/message").and_then(Value::as_str).unwrap_or("it has failed"),
        ),
        "Running" if condition(object, "Ready").is_some_and(|c| text(c, "status") == "True") => {
            HealthReport::healthy()
        }
        "Running" => {
            HealthReport::new(Health::Progressing, "NotReady", "not all of its containers are ready")
        }
        _ => match condition(object, "PodScheduled").filter(|c| text(c, "status") == "False") {
            Some(condition) => of_condition(Health::Progressing, condition),
            None => HealthReport::new(Health::Progressing, "Pending", "its containers are being made"),
        },
    }
}

fn job(object: &Value) -> HealthReport {
    for (kind, health) in [("Failed", Health::Degraded), ("Suspended", Health::Suspended)] {
        if let Some(condition) = condition(object, kind).filter(|c| text(c, "status") == "True") {
            return of_condition(health, condition);
        }
    }
    if condition(object, "Complete").is_some_and(|c| text(c, "status") == "True") {
        return HealthReport::healthy();
    }
    HealthReport::new(
        Health::Progressing,
        "Running",
        format!("{} pods are active", count(object, "/status/active")),
    )
}

fn claim(object: &Value) -> HealthReport {
    match object.pointer("/status/phase").and_then(Value::as_str) {
        Some("Bound") => HealthReport::healthy(),
        Some("Lost") => HealthReport::new(Health::Degraded, "Lost", "its volume is gone"),
        _ => HealthReport::new(Health::Progressing, "Pending", "it has no volume yet"),
    }
}

fn service(object: &Value) -> HealthReport {
    let balanced = object.pointer("/spec/type").is_some_and(|t| t == "LoadBalancer");
    let served = object
        .pointer("/status/loadBalancer/ingress")
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty());
    if balanced && !served {
        HealthReport::new(Health::Progressing, "NoAddress", "its load balancer has no address yet")
    } else {
        HealthReport::healthy()
    }
}

fn definition(object: &Value) -> HealthReport {
    if let Some(condition) = condition(object, "NamesAccepted").filter(|c| text(c, "status") == "False") {
        return of_condition(Health::Degraded, condition);
    }
    condition_is(object, "Established")
}

fn condition_is(object: &Value, kind: &str) -> HealthReport {
    match condition(object, kind) {
        Some(condition) if text(condition, "status") == "True" => HealthReport::healthy(),
        Some(condition) => of_condition(Health::Progressing, condition),
        None => HealthReport::new(Health::Progressing, "NotObserved", format!("{kind} is not known yet")),
    }
}

fn failing(object: &Value, kinds: &[&str]) -> HealthReport {
    let failing =
        kinds.iter().find_map(|kind| condition(object, kind).filter(|c| text(c, "status") == "False"));
    failing.map_or_else(HealthReport::healthy, |condition| of_condition(Health::Degraded, condition))
}

/// Any kind with the conditions that the field has agreed on.
fn generic(object: &Value) -> HealthReport {
    if let Some(condition) = condition(object, "Stalled").filter(|c| text(c, "status") == "True") {
        return of_condition(Health::Degraded, condition);
    }
    if let Some(condition) = condition(object, "Reconciling").filter(|c| text(c, "status") == "True") {
        return of_condition(Health::Progressing, condition);
    }
    match ["Ready", "Available"].iter().find_map(|kind| condition(object, kind)) {
        Some(condition) if text(condition, "status") == "False" => of_condition(Health::Degraded, condition),
        Some(condition) if text(condition, "status") != "True" => {
            of_condition(Health::Progressing, condition)
        }
        _ => HealthReport::healthy(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn states_of_the_kinds_of_kubernetes() {
        let ready = |status: &str| json!([{"type": "Ready", "status": status, "reason": "Because", "message": "so it is"}]);
        let deployment = |status: Value| json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": status});
        let cases = [
            (
                deployment(
                    json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}),
                ),
                Health::Healthy,
                "",
            ),
            (
                deployment(
                    json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}),
                ),
                Health::Progressing,
                "NotObserved",
            ),
            (
                deployment(
                    json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 2}),
                ),
                Health::Progressing,
                "RollingOut",
            ),
            (
                deployment(
                    json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}),
                ),
                Health::Progressing,
                "Unavailable",
            ),
            (
                deployment(
                    json!({"observedGeneration": 2, "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "late"}]}),
                ),
                Health::Degraded,
                "ProgressDeadlineExceeded",
            ),
            (json!({"apiVersion": "v1", "kind": "ConfigMap"}), Health::Healthy, ""),
            (
                json!({"apiVersion": "v1", "kind": "Pod", "status": {"phase": "Running", "conditions": ready("True")}}),
                Health::Healthy,
                "",
            ),
            (
                json!({"apiVersion": "v1", "kind": "Pod", "status": {"phase": "Pending", "containerStatuses": [{"name": "a", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]}}),
                Health::Degraded,
                "ImagePullBackOff",
            ),
            (
                json!({"apiVersion": "batch/v1", "kind": "Job", "status": {"active": 1}}),
                Health::Progressing,
                "Running",
            ),
            (
                json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "status": {"phase": "Pending"}}),
                Health::Progressing,
                "Pending",
            ),
            (
                json!({"apiVersion": "example.com/v1", "kind": "Db", "status": {"conditions": ready("False")}}),
                Health::Degraded,
                "Because",
            ),
            (
                json!({"apiVersion": "example.com/v1", "kind": "Db", "status": {"conditions": ready("Unknown")}}),
                Health::Progressing,
                "Because",
            ),
            (
                json!({"apiVersion": "v1", "kind": "Service", "spec": {"type": "LoadBalancer"}}),
                Health::Progressing,
                "NoAddress",
            ),
        ];
        for (object, state, reason) in cases {
            let report = health(&object);
            assert_eq!((report.health, report.reason.as_str()), (state, reason), "{object}");
            assert_eq!(report.message.is_empty(), state == Health::Healthy, "{object}");
        }
    }
}
