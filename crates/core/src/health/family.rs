//! Why an object is not healthy is often known only to what it owns: a
//! Deployment counts, its Pod knows the image that does not come. In: an object,
//! its children, the events about each. Out: the object's own verdict with the
//! reason of the deepest one at fault.

use serde_json::Value;

use super::fields::{at, count, named, number, sentence, text};
use super::workload::not_created;
use super::{Health, HealthReport};

/// An object with those it owns.
#[derive(Clone, Debug)]
pub struct Family<'a> {
    pub object: &'a Value,
    pub children: Vec<Family<'a>>,
    /// Events about the object, in any order.
    pub events: Vec<&'a Value>,
    /// The last line that a crashing container logged, where it was asked for.
    pub last_words: Option<&'a str>,
}

impl<'a> Family<'a> {
    /// An object by itself.
    pub fn alone(object: &'a Value) -> Self {
        Self { object, children: Vec::new(), events: Vec::new(), last_words: None }
    }
}

/// Judges an object by itself and by its children. `judge` is [`super::health`],
/// or knows more kinds.
pub fn family_health(family: &Family<'_>, judge: &dyn Fn(&Value) -> HealthReport) -> HealthReport {
    let own = with_events(family, judge(family.object));
    // What is fine, suspended or gone needs nobody's explanation.
    if !matches!(own.health, Health::Progressing | Health::Degraded | Health::Unknown)
        || own.reason == "Terminating"
    {
        return own;
    }
    let fault = family
        .children
        .iter()
        .filter(|child| is_newest(family.object, child.object))
        .map(|child| (child.object, family_health(child, judge)))
        .filter(|(_, report)| report.reason != "Terminating" && report.reason != "NotObserved")
        .filter(|(_, report)| matches!(report.health, Health::Progressing | Health::Degraded))
        // The first of the worst, so that the answer is the same each time.
        .min_by(|(a, left), (b, right)| {
            right.health.rank().cmp(&left.health.rank()).then_with(|| name(a).cmp(name(b)))
        });
    let Some((child, report)) = fault else { return own };
    let worst = if report.health.rank() > own.health.rank() { report.health } else { own.health };
    // A child that passes on what one of its own said already names it.
    let passed_on = matches!(text(child, "kind"), "ReplicaSet" | "Job") && report.message.contains(": Pod ");
    let why = match report.message.split_once(": Pod ") {
        Some((_, why)) if passed_on => format!("Pod {why}"),
        _ if text(child, "kind") == "ReplicaSet" => report.message.clone(),
        _ => format!("{}: {}", named(child), report.message),
    };
    // Failing to progress is what is seen; the child's reason is the cause.
    HealthReport::new(worst, &report.reason, format!("{}: {why}", own.message))
}

fn name(object: &Value) -> &str {
    at(object, "/metadata/name")
}

/// A Deployment's older ReplicaSets, and a StatefulSet's older Pods, say nothing
/// about the version that is awaited.
fn is_newest(parent: &Value, child: &Value) -> bool {
    const REVISION: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";
    match (text(parent, "kind"), text(child, "kind")) {
        ("Deployment", "ReplicaSet") => {
            count(child, "/spec/replicas") > 0
                && (at(parent, REVISION).is_empty() || at(parent, REVISION) == at(child, REVISION))
        }
        // A finished or failed try is followed by another.
        ("Job", "Pod") => at(child, "/status/phase") != "Failed" || is_over(parent),
        _ => true,
    }
}

fn is_over(job: &Value) -> bool {
    ["Failed", "FailureTarget"].iter().any(|kind| super::fields::when(job, kind, "True").is_some())
}

/// What only events tell: probes, volumes, Pods and claims that cannot be made.
fn with_events(family: &Family<'_>, own: HealthReport) -> HealthReport {
    if own.health == Health::Healthy {
        return own;
    }
    let newest = |reasons: &[&str]| {
        family
            .events
            .iter()
            .filter(|event| reasons.contains(&text(event, "reason")))
            .max_by_key(|event| event_time(event))
            .map(|event| (text(event, "reason"), words(event)))
    };
    match (text(family.object, "kind"), own.reason.as_str()) {
        ("Pod", "ReadinessProbe" | "StartupProbe" | "NotReady") => match newest(&["Unhealthy"]) {
            Some((_, words)) => {
                HealthReport { message: format!("{}: {}", own.message, sentence(words)), ..own }
            }
            None => own,
        },
        ("Pod", "CrashLoopBackOff") => {
            let liveness = newest(&["Unhealthy"]).filter(|(_, words)| words.starts_with("Liveness"));
            let said = family.last_words.map(|line| format!("its last line: {}", sentence(line)));
            let more: Vec<String> =
                liveness.map(|(_, words)| sentence(words)).into_iter().chain(said).collect();
            if more.is_empty()
                || more.iter().all(|more| own.message.contains(more.trim_start_matches("its last line: ")))
            {
                return own;
            }
            HealthReport { message: format!("{}; {}", own.message, more.join("; ")), ..own }
        }
        ("Pod", "Pending" | "ContainerCreating" | "PodInitializing") => {
            let reasons = [
                "FailedMount",
                "FailedAttachVolume",
                "FailedCreatePodSandBox",
                "NetworkNotReady",
                "FailedMapVolume",
            ];
            match newest(&reasons) {
                Some((reason, words)) => HealthReport::progressing(reason, sentence(words)),
                None => own,
            }
        }
        ("PersistentVolumeClaim", "Pending") => match newest(&[
            "ProvisioningFailed",
            "WaitForFirstConsumer",
            "FailedBinding",
            "ExternalProvisioning",
        ]) {
            Some(("WaitForFirstConsumer", _)) => HealthReport::progressing(
                "WaitForFirstConsumer",
                "its storage class makes a volume once a Pod uses it, and none does yet",
            ),
            Some((reason, words)) => {
                HealthReport::progressing(reason, format!("{}: {}", own.message, sentence(words)))
            }
            None => own,
        },
        ("StatefulSet" | "DaemonSet" | "Job" | "ReplicaSet" | "ReplicationController", reason)
            if !matches!(reason, "QuotaExceeded" | "FailedCreate") =>
        {
            match newest(&["FailedCreate", "SuccessfulCreate"]) {
                Some(("FailedCreate", words)) => {
                    let cause = not_created("FailedCreate", words);
                    HealthReport { message: format!("{}: {}", own.message, cause.message), ..cause }
                }
                _ => own,
            }
        }
        ("Service", "NoAddress") => match newest(&["SyncLoadBalancerFailed", "AllocationFailed"]) {
            Some((reason, words)) => HealthReport::degraded(reason, sentence(words)),
            None => own,
        },
        _ => own,
    }
}

/// events.k8s.io/v1 calls a message a note.
fn words(event: &Value) -> &str {
    if text(event, "message").is_empty() { text(event, "note") } else { text(event, "message") }
}

/// When it was last seen, and how often: times are text in their order.
pub fn event_time(event: &Value) -> (&str, i64) {
    let times = [
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/deprecatedLastTimestamp",
        "/eventTime",
        "/metadata/creationTimestamp",
    ];
    let time = times.iter().map(|path| at(event, path)).find(|time| !time.is_empty()).unwrap_or_default();
    (time, number(event, "/count").unwrap_or(0))
}
