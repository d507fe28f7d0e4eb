//! What makes up the cluster: namespaces, nodes, definitions, API services, stored
//! versions.

use serde_json::Value;

use super::fields::{at, condition, flag, list, of_condition, sentence, text, when};
use super::network::becomes;
use super::{Health, HealthReport};

pub(super) fn health(group: &str, kind: &str, object: &Value) -> Option<HealthReport> {
    Some(match (group, kind) {
        ("", "Namespace") => namespace(object),
        ("", "Node") => node(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        ("apiregistration.k8s.io", "APIService") => api_service(object),
        ("storagemigration.k8s.io", "StorageVersionMigration") => migration(object),
        _ => return None,
    })
}

fn namespace(object: &Value) -> HealthReport {
    match at(object, "/status/phase") {
        "Terminating" => HealthReport::progressing("Terminating", "it is being deleted"),
        _ => HealthReport::healthy("it is active"),
    }
}

fn node(object: &Value) -> HealthReport {
    let Some(ready) = condition(object, "Ready") else { return HealthReport::unseen() };
    if text(ready, "status") != "True" {
        return of_condition(Health::Degraded, ready);
    }
    let pressed = list(object, "/status/conditions").iter().find(|condition| {
        let kind = text(condition, "type");
        (kind.ends_with("Pressure") || kind.ends_with("Unavailable")) && text(condition, "status") == "True"
    });
    if let Some(condition) = pressed {
        return of_condition(Health::Degraded, condition);
    }
    if flag(object, "/spec/unschedulable") {
        return HealthReport::suspended("Cordoned", "it takes no new Pods (spec.unschedulable)");
    }
    HealthReport::healthy("it is ready")
}

fn definition(object: &Value) -> HealthReport {
    for kind in ["NamesAccepted", "KubernetesAPIApprovalPolicyConformant"] {
        if let Some(condition) = when(object, kind, "False") {
            return of_condition(Health::Degraded, condition);
        }
    }
    let report = becomes(object, "Established");
    if report.health != Health::Healthy {
        return report;
    }
    // It is served all the same, but without defaults and pruning.
    if let Some(condition) = when(object, "NonStructuralSchema", "True") {
        let message = format!("its schema is not structural: {}", sentence(text(condition, "message")));
        return HealthReport::degraded("NonStructuralSchema", message);
    }
    HealthReport::healthy("its kind is served")
}

fn api_service(object: &Value) -> HealthReport {
    match when(object, "Available", "False") {
        // Its Pods may be on their way.
        Some(condition)
            if matches!(
                text(condition, "reason"),
                "ServiceNotFound" | "MissingEndpoints" | "EndpointsNotFound"
            ) =>
        {
            of_condition(Health::Progressing, condition)
        }
        Some(condition) => of_condition(Health::Degraded, condition),
        None => becomes(object, "Available"),
    }
}

fn migration(object: &Value) -> HealthReport {
    if let Some(condition) = when(object, "Failed", "True") {
        return of_condition(Health::Degraded, condition);
    }
    match (when(object, "Succeeded", "True"), when(object, "Running", "True")) {
        (Some(_), _) => HealthReport::healthy("all objects are stored in the newest version"),
        (None, Some(condition)) => of_condition(Health::Progressing, condition),
        (None, None) => HealthReport::progressing("Pending", "it has not begun yet"),
    }
}
