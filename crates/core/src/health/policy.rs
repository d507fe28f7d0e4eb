//! Autoscaling and policy: what steers others. That a quota is used up is no
//! fault of the quota; it is told where something could not be made.

use serde_json::Value;

use super::fields::{at, count, counted, list, number, of_condition, sentence, text, when};
use super::{Health, HealthReport};

pub(super) fn health(group: &str, kind: &str, object: &Value) -> Option<HealthReport> {
    Some(match (group, kind) {
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler(object),
        ("policy", "PodDisruptionBudget") => budget(object),
        ("", "ResourceQuota") => quota(object),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => flow(object),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy") => {
            admission(object)
        }
        ("certificates.k8s.io", "CertificateSigningRequest") => signing(object),
        ("certificates.k8s.io", "PodCertificateRequest") => pod_certificate(object),
        _ => return None,
    })
}

fn autoscaler(object: &Value) -> HealthReport {
    // autoscaling/v1 keeps the conditions in an annotation.
    let kept: Vec<Value> = serde_json::from_str(
        object
            .pointer("/metadata/annotations/autoscaling.alpha.kubernetes.io~1conditions")
            .and_then(Value::as_str)
            .unwrap_or("[]"),
    )
    .unwrap_or_default();
    let all = [list(object, "/status/conditions"), kept.as_slice()].concat();
    if all.is_empty() {
        return HealthReport::unseen();
    }
    for kind in ["AbleToScale", "ScalingActive"] {
        let Some(condition) = super::fields::condition_in(&all, kind) else { continue };
        match (text(condition, "status"), text(condition, "reason")) {
            ("False", "ScalingDisabled") => {
                return HealthReport::suspended("ScalingDisabled", sentence(text(condition, "message")));
            }
            ("False", _) => return of_condition(Health::Degraded, condition),
            _ => {}
        }
    }
    let (now, want) = (count(object, "/status/currentReplicas"), count(object, "/status/desiredReplicas"));
    let most = count(object, "/spec/maxReplicas");
    HealthReport::healthy(format!("{now} replicas, {want} wanted, {most} at most"))
}

fn budget(object: &Value) -> HealthReport {
    if let Some(condition) =
        when(object, "DisruptionAllowed", "False").filter(|c| text(c, "reason") == "SyncFailed")
    {
        return of_condition(Health::Degraded, condition);
    }
    if number(object, "/status/observedGeneration").is_none() {
        return HealthReport::unseen();
    }
    let (now, want) = (count(object, "/status/currentHealthy"), count(object, "/status/desiredHealthy"));
    let expected = count(object, "/status/expectedPods");
    if expected > 0 && now < want {
        let message = format!("{now} of the {} that it needs are healthy", counted(want, "Pod"));
        return HealthReport::progressing("InsufficientPods", message);
    }
    let allowed = count(object, "/status/disruptionsAllowed");
    HealthReport::healthy(format!("{now} Pods are healthy, {want} needed, {allowed} may be disrupted"))
}

fn quota(object: &Value) -> HealthReport {
    // Numbers may be written in several ways (1, 1000m); the names suffice.
    let names = |pointer: &str| -> Vec<String> {
        let map = object.pointer(pointer).and_then(Value::as_object);
        map.into_iter().flatten().map(|(name, _)| name.clone()).collect()
    };
    if names("/spec/hard") != names("/status/hard") {
        return HealthReport::unseen();
    }
    let used: Vec<String> = object
        .pointer("/status/hard")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, hard)| {
            let used = object.pointer("/status/used")?.get(name)?.as_str()?;
            Some(format!("{name} {used} of {}", hard.as_str()?))
        })
        .collect();
    HealthReport::healthy(if used.is_empty() { "nothing is limited".into() } else { used.join(", ") })
}

fn flow(object: &Value) -> HealthReport {
    when(object, "Dangling", "True").map_or_else(
        || HealthReport::healthy("its priority level is there"),
        |condition| of_condition(Health::Degraded, condition),
    )
}

fn admission(object: &Value) -> HealthReport {
    match list(object, "/status/typeChecking/expressionWarnings") {
        [] => HealthReport::healthy("its expressions are in order"),
        [warning, ..] => HealthReport::degraded(
            "TypeCheck",
            format!("{}: {}", text(warning, "fieldRef"), sentence(text(warning, "warning"))),
        ),
    }
}

fn signing(object: &Value) -> HealthReport {
    if let Some(condition) = ["Denied", "Failed"].iter().find_map(|kind| when(object, kind, "True")) {
        return of_condition(Health::Degraded, condition);
    }
    match (when(object, "Approved", "True"), at(object, "/status/certificate")) {
        (None, _) => HealthReport::progressing("Pending", "nobody has approved it yet"),
        (Some(_), "") => HealthReport::progressing("Approved", "it is approved, but not signed yet"),
        (Some(_), _) => HealthReport::healthy("it is signed"),
    }
}

fn pod_certificate(object: &Value) -> HealthReport {
    if let Some(condition) = ["Denied", "Failed"].iter().find_map(|kind| when(object, kind, "True")) {
        return of_condition(Health::Degraded, condition);
    }
    match when(object, "Issued", "True") {
        Some(_) => HealthReport::healthy("its certificate is issued"),
        None => HealthReport::progressing("Pending", "its signer has not issued a certificate yet"),
    }
}
