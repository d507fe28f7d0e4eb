//! Workloads: what runs Pods. Sentences count them; why a Pod does not run is
//! its own affair and comes through [`super::family_health`].

use serde_json::Value;

use super::fields::{at, condition, count, counted, flag, list, number, of_condition, sentence, text, when};
use super::{Health, HealthReport};

pub(super) fn health(group: &str, kind: &str, object: &Value) -> Option<HealthReport> {
    Some(match (group, kind) {
        ("apps", "Deployment") => deployment(object),
        ("apps", "StatefulSet") => stateful_set(object),
        ("apps", "DaemonSet") => daemon_set(object),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => replicas(object),
        ("", "Pod") => super::pod::health(object),
        ("batch", "Job") => job(object),
        ("batch", "CronJob") => cron_job(object),
        _ => return None,
    })
}

/// Pods that may not be made. A quota's refusal is told without the API
/// server's preamble.
pub(super) fn not_created(reason: &str, message: &str) -> HealthReport {
    if let Some((_, quota)) = message.split_once("exceeded quota: ") {
        let (name, rest) = quota.split_once(", ").unwrap_or((quota, ""));
        return HealthReport::degraded(
            "QuotaExceeded",
            sentence(&format!("quota {name} is used up: {rest}")),
        );
    }
    let refused = message.strip_prefix("Error creating: ").unwrap_or(message);
    HealthReport::degraded(reason, format!("no Pod can be made: {}", sentence(refused)))
}

fn failure(object: &Value) -> Option<HealthReport> {
    let condition = when(object, "ReplicaFailure", "True")?;
    Some(not_created(text(condition, "reason"), text(condition, "message")))
}

fn short(what: &str, there: i64, want: i64, reason: &str) -> Option<HealthReport> {
    (there < want).then(|| HealthReport::progressing(reason, format!("{there} of {want} replicas {what}")))
}

fn deployment(object: &Value) -> HealthReport {
    if flag(object, "/spec/paused") {
        return HealthReport::suspended("Paused", "it is paused: a new template is not rolled out");
    }
    if let Some(condition) =
        condition(object, "Progressing").filter(|c| text(c, "reason") == "ProgressDeadlineExceeded")
    {
        return failure(object).unwrap_or_else(|| of_condition(Health::Degraded, condition));
    }
    if number(object, "/status/observedGeneration").is_none() {
        return HealthReport::unseen();
    }
    let want = number(object, "/spec/replicas").unwrap_or(1);
    let (updated, total, available) = (
        count(object, "/status/updatedReplicas"),
        count(object, "/status/replicas"),
        count(object, "/status/availableReplicas"),
    );
    if (updated < want || available < want)
        && let Some(failure) = failure(object)
    {
        return failure;
    }
    if let Some(report) = short("are of the newest version", updated, want, "RollingOut") {
        return report;
    }
    if total > updated {
        let message = format!("{} still to go", counted(total - updated, "old replica"));
        return HealthReport::progressing("RollingOut", message);
    }
    short("are available", available, want, "Unavailable")
        .unwrap_or_else(|| HealthReport::healthy(format!("{available} of {want} replicas are available")))
}

fn stateful_set(object: &Value) -> HealthReport {
    if number(object, "/status/observedGeneration").is_none() {
        return HealthReport::unseen();
    }
    let want = number(object, "/spec/replicas").unwrap_or(1);
    let (ready, total) = (count(object, "/status/readyReplicas"), count(object, "/status/replicas"));
    if let Some(report) = short("are ready", ready, want, "NotReady") {
        return report;
    }
    if total > want {
        let message = format!("{} still to go", counted(total - want, "replica"));
        return HealthReport::progressing("ScalingDown", message);
    }
    // On clusters that count availability, it needs minReadySeconds.
    if count(object, "/spec/minReadySeconds") > 0 {
        let available = count(object, "/status/availableReplicas");
        if let Some(report) = short("are available", available, want, "Unavailable") {
            return report;
        }
    }
    let strategy = at(object, "/spec/updateStrategy/type");
    let partition = count(object, "/spec/updateStrategy/rollingUpdate/partition");
    let updated = count(object, "/status/updatedReplicas");
    let settled = object.pointer("/status/currentRevision") == object.pointer("/status/updateRevision");
    if !settled && strategy != "OnDelete" {
        let share = (want - partition).max(0);
        if let Some(report) = short("are of the newest version", updated, share, "RollingOut") {
            return report;
        }
        if partition > 0 {
            return HealthReport::healthy(format!(
                "{ready} of {want} replicas are ready, {updated} of them of the newest version (partition {partition})"
            ));
        }
    }
    HealthReport::healthy(format!("{ready} of {want} replicas are ready"))
}

fn daemon_set(object: &Value) -> HealthReport {
    if number(object, "/status/observedGeneration").is_none() {
        return HealthReport::unseen();
    }
    let want = count(object, "/status/desiredNumberScheduled");
    let (updated, available) =
        (count(object, "/status/updatedNumberScheduled"), count(object, "/status/numberAvailable"));
    let of = |there: i64, what: &str| format!("{there} of {want} Pods {what}");
    if updated < want && at(object, "/spec/updateStrategy/type") != "OnDelete" {
        return HealthReport::progressing("RollingOut", of(updated, "are of the newest version"));
    }
    if available < want {
        return HealthReport::progressing("Unavailable", of(available, "are available"));
    }
    match want {
        0 => HealthReport::healthy("no node is meant to run it"),
        _ => HealthReport::healthy(of(available, "are available")),
    }
}

fn replicas(object: &Value) -> HealthReport {
    let want = number(object, "/spec/replicas").unwrap_or(1);
    let (ready, total) = (count(object, "/status/readyReplicas"), count(object, "/status/replicas"));
    if let Some(failure) = failure(object) {
        return failure;
    }
    if want > 0 && number(object, "/status/observedGeneration").is_none() {
        return HealthReport::unseen();
    }
    if let Some(report) = short("are ready", ready, want, "NotReady") {
        return report;
    }
    if total > want {
        let message = format!("{} still to go", counted(total - want, "replica"));
        return HealthReport::progressing("ScalingDown", message);
    }
    HealthReport::healthy(format!("{ready} of {want} replicas are ready"))
}

fn job(object: &Value) -> HealthReport {
    let failed = count(object, "/status/failed");
    for kind in ["Failed", "FailureTarget"] {
        if let Some(condition) = when(object, kind, "True") {
            let report = of_condition(Health::Degraded, condition);
            let message = format!("it has failed: {} ({} failed)", report.message, counted(failed, "Pod"));
            return HealthReport { message, ..report };
        }
    }
    if when(object, "Complete", "True").or(when(object, "SuccessCriteriaMet", "True")).is_some() {
        return HealthReport::healthy("it is complete");
    }
    if when(object, "Suspended", "True").is_some() || flag(object, "/spec/suspend") {
        return HealthReport::suspended("Suspended", "it is suspended (spec.suspend)");
    }
    if at(object, "/status/startTime").is_empty() {
        return HealthReport::unseen();
    }
    let (want, done) = (number(object, "/spec/completions").unwrap_or(1), count(object, "/status/succeeded"));
    let retried = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    let active = count(object, "/status/active");
    let message = format!("{done} of {want} Pods are done, {active} active{retried}");
    HealthReport::progressing("Running", message)
}

fn cron_job(object: &Value) -> HealthReport {
    if flag(object, "/spec/suspend") {
        return HealthReport::suspended("Suspended", "it is suspended (spec.suspend)");
    }
    let (last, success) = (at(object, "/status/lastScheduleTime"), at(object, "/status/lastSuccessfulTime"));
    if !list(object, "/status/active").is_empty() {
        return HealthReport::healthy("it is running now");
    }
    // Both are times in UTC of one form, so their text is in their order.
    match (last, success) {
        ("", _) => HealthReport::healthy("it has not been due yet"),
        (last, success) if success < last => HealthReport::degraded(
            "LastRunFailed",
            format!("its run of {last} did not succeed{}", last_success(success)),
        ),
        (last, _) => HealthReport::healthy(format!("its run of {last} succeeded")),
    }
}

fn last_success(time: &str) -> String {
    if time.is_empty() { "; none has yet".into() } else { format!("; the last that did ended at {time}") }
}
