//! Networking: Services and what routes to them. An Ingress is healthy once it
//! is there, as in kstatus: many controllers never write its status. Gateway
//! API tells for each parent whether a route is accepted.

use serde_json::Value;

use super::fields::{at, condition_in, list, number, of_condition, sentence, text, when};
use super::{Health, HealthReport};

pub(super) fn health(group: &str, kind: &str, object: &Value) -> Option<HealthReport> {
    Some(match (group, kind) {
        ("", "Service") => service(object),
        ("networking.k8s.io" | "extensions", "Ingress") => ingress(object),
        ("gateway.networking.k8s.io", "Gateway") => all_of(object, &["Accepted", "Programmed"]),
        ("gateway.networking.k8s.io", "GatewayClass") => all_of(object, &["Accepted"]),
        ("gateway.networking.k8s.io", kind) if kind.ends_with("Route") => route(object),
        ("networking.k8s.io", "ServiceCIDR") => all_of(object, &["Ready"]),
        _ => return None,
    })
}

fn addresses(object: &Value) -> Vec<&str> {
    list(object, "/status/loadBalancer/ingress")
        .iter()
        .map(
            |address| {
                if text(address, "ip").is_empty() { text(address, "hostname") } else { text(address, "ip") }
            },
        )
        .collect()
}

fn service(object: &Value) -> HealthReport {
    let kind = at(object, "/spec/type");
    if kind == "ExternalName" {
        return HealthReport::healthy(format!("it stands for {}", at(object, "/spec/externalName")));
    }
    let failed = list(object, "/status/loadBalancer/ingress")
        .iter()
        .flat_map(|address| list(address, "/ports"))
        .find(|port| !text(port, "error").is_empty());
    if let Some(port) = failed {
        let message = format!(
            "port {} of its load balancer: {}",
            number(port, "/port").unwrap_or(0),
            text(port, "error")
        );
        return HealthReport::degraded("LoadBalancerError", message);
    }
    match (kind, addresses(object).as_slice()) {
        ("LoadBalancer", []) => {
            HealthReport::progressing("NoAddress", "its load balancer has no address yet")
        }
        ("LoadBalancer", addresses) => {
            HealthReport::healthy(format!("it is reached at {}", addresses.join(", ")))
        }
        _ => match at(object, "/spec/clusterIP") {
            "" | "None" => HealthReport::healthy("it needs no address"),
            address => HealthReport::healthy(format!("it is reached at {address}")),
        },
    }
}

fn ingress(object: &Value) -> HealthReport {
    match addresses(object).as_slice() {
        [] => HealthReport::healthy("it is there; its controller tells no address"),
        addresses => HealthReport::healthy(format!("it is reached at {}", addresses.join(", "))),
    }
}

/// All of these conditions have to be true, as of the newest generation.
pub(super) fn all_of(object: &Value, kinds: &[&str]) -> HealthReport {
    let generation = number(object, "/metadata/generation");
    let conditions = list(object, "/status/conditions");
    judged(conditions, kinds, generation)
        .unwrap_or_else(|| HealthReport::healthy(format!("conditions {} are true", kinds.join(" and "))))
}

fn judged(conditions: &[Value], kinds: &[&str], generation: Option<i64>) -> Option<HealthReport> {
    for kind in kinds {
        let Some(condition) = condition_in(conditions, kind) else {
            return Some(HealthReport::progressing(
                "NotObserved",
                format!("condition {kind} is not known yet"),
            ));
        };
        if let (Some(seen), Some(now)) = (number(condition, "/observedGeneration"), generation)
            && seen < now
        {
            return Some(HealthReport::progressing(
                "NotObserved",
                "its controller has not seen the change yet",
            ));
        }
        match (text(condition, "status"), text(condition, "reason")) {
            ("True", _) => {}
            ("False", reason) if reason != "Pending" => {
                return Some(of_condition(Health::Degraded, condition));
            }
            _ => return Some(of_condition(Health::Progressing, condition)),
        }
    }
    None
}

fn route(object: &Value) -> HealthReport {
    let parents = list(object, "/status/parents");
    if parents.is_empty() {
        return HealthReport::progressing("NotObserved", "no gateway has taken it yet");
    }
    let generation = number(object, "/metadata/generation");
    let refused = parents.iter().find_map(|parent| {
        let report = judged(list(parent, "/conditions"), &["Accepted", "ResolvedRefs"], generation)?;
        let name = at(parent, "/parentRef/name");
        Some(HealthReport { message: format!("gateway {name}: {}", sentence(&report.message)), ..report })
    });
    refused.unwrap_or_else(|| {
        let names: Vec<&str> = parents.iter().map(|parent| at(parent, "/parentRef/name")).collect();
        HealthReport::healthy(format!("it is accepted by {}", names.join(", ")))
    })
}

/// Whether a condition is true, for kinds that are made in one step.
pub(super) fn becomes(object: &Value, kind: &str) -> HealthReport {
    match super::fields::condition(object, kind) {
        Some(condition) if when(object, kind, "True").is_none() => {
            of_condition(Health::Progressing, condition)
        }
        Some(_) => HealthReport::healthy(format!("condition {kind} is true")),
        None => HealthReport::progressing("NotObserved", format!("condition {kind} is not known yet")),
    }
}
