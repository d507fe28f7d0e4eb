//! What Kubernetes itself knows of a version's Pods. In: the Pods, their
//! warning Events and the time. Out: how many restarts, Pods that are not
//! ready, and warnings there are.

use gitops_api::analysis::Signal;
use gitops_cluster::Cluster;
use gitops_core::compare::unix_seconds;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::error::AnalysisError;
use super::reading::Reading;

/// Seconds in which a new Pod may become ready.
const STARTING: i64 = 60;
/// What is told of at most.
const MAX_TOLD: usize = 3;

/// One measurement of the Pods that a label selector selects.
pub(super) async fn read(
    cluster: &Cluster,
    namespace: &str,
    selector: &str,
    signals: &[Signal],
    now: i64,
) -> Result<Reading, AnalysisError> {
    let escape = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let base = format!("/api/v1/namespaces/{}", escape(namespace));
    let pods = items(cluster, &format!("{base}/pods?labelSelector={}", escape(selector))).await?;
    let events = if signals.contains(&Signal::Events) {
        let fields = escape("type=Warning,involvedObject.kind=Pod");
        items(cluster, &format!("{base}/events?fieldSelector={fields}")).await?
    } else {
        Vec::new()
    };
    if pods.is_empty() {
        return Err(AnalysisError::NoData(format!("there are no Pods with {selector} in {namespace}")));
    }
    Ok(reading(&pods, &events, signals, now))
}

async fn items(cluster: &Cluster, path: &str) -> Result<Vec<Value>, AnalysisError> {
    let mut list = cluster.get_json(path).await?;
    match list.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => Ok(items),
        _ => Ok(Vec::new()),
    }
}

fn reading(pods: &[Value], events: &[Value], signals: &[Signal], now: i64) -> Reading {
    let mut result = json!({"pods": pods.len()});
    let (mut good, mut told) = (true, Vec::new());
    for signal in signals {
        let found: Vec<(i64, String)> = match signal {
            Signal::Restarts => pods.iter().flat_map(restarts).collect(),
            Signal::Readiness => pods.iter().filter_map(|pod| unready(pod, now)).collect(),
            Signal::Events => events.iter().filter_map(|event| warning(event, pods)).collect(),
        };
        let field = match signal {
            Signal::Restarts => "restarts",
            Signal::Readiness => "unready",
            Signal::Events => "warnings",
        };
        let count: i64 = found.iter().map(|(count, _)| count).sum();
        result[field] = count.into();
        good &= count == 0;
        told.extend(found.into_iter().map(|(_, words)| words));
    }
    let more = told.len().saturating_sub(MAX_TOLD);
    told.truncate(MAX_TOLD);
    if more > 0 {
        told.push(format!("{more} more"));
    }
    Reading::of_value(result, pods.len() as u64).plain(good).told(told.join("; "))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Containers that were started again.
fn restarts(pod: &Value) -> Vec<(i64, String)> {
    let of = |field: &str| pod.pointer(&format!("/status/{field}")).and_then(Value::as_array);
    let all = ["initContainerStatuses", "containerStatuses"].into_iter().filter_map(of).flatten();
    all.filter_map(|status| {
        let count = status.get("restartCount")?.as_i64().filter(|count| *count > 0)?;
        let reason = ["/state/waiting/reason", "/lastState/terminated/reason"];
        let reason = reason.into_iter().map(|at| text(status, at)).find(|reason| !reason.is_empty());
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let name = text(status, "/name");
        Some((count, format!("{} restarted {name} {count} times{reason}", text(pod, "/metadata/name"))))
    })
    .collect()
}

/// A Pod that was ready and no longer is, or does not become so.
fn unready(pod: &Value, now: i64) -> Option<(i64, String)> {
    let going = pod.pointer("/metadata/deletionTimestamp").is_some();
    let done = text(pod, "/status/phase") == "Succeeded";
    let ready = condition(pod);
    if going || done || ready.is_some_and(|ready| text(ready, "/status") == "True") {
        return None;
    }
    let begun = unix_seconds(text(pod, "/status/startTime"))
        .or_else(|| unix_seconds(text(pod, "/metadata/creationTimestamp")))
        .unwrap_or(now);
    let fell = ready.and_then(|ready| unix_seconds(text(ready, "/lastTransitionTime")));
    let was_ready = fell.is_some_and(|at| at > begun + 1);
    let late = now - begun > STARTING;
    (was_ready || late).then(|| (1, format!("{} is not ready", text(pod, "/metadata/name"))))
}

fn condition(pod: &Value) -> Option<&Value> {
    let conditions = pod.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| text(condition, "/type") == "Ready")
}

/// A warning about one of the Pods. While a Pod starts, its probes fail: what
/// comes before it was ready is no sign.
fn warning(event: &Value, pods: &[Value]) -> Option<(i64, String)> {
    let uid = text(event, "/involvedObject/uid");
    let pod = pods.iter().find(|pod| text(pod, "/metadata/uid") == uid)?;
    let last = ["/lastTimestamp", "/series/lastObservedTime", "/eventTime", "/metadata/creationTimestamp"];
    let last = last.into_iter().find_map(|at| unix_seconds(text(event, at)))?;
    let ready = condition(pod).filter(|ready| text(ready, "/status") == "True");
    let since = ready.and_then(|ready| unix_seconds(text(ready, "/lastTransitionTime")));
    if since.is_some_and(|since| last <= since)
        || since.is_none() && text(event, "/reason") == "FailedScheduling"
    {
        return None;
    }
    let message: String = text(event, "/message").chars().take(80).collect();
    Some((1, format!("{}: {}: {message}", text(pod, "/metadata/name"), text(event, "/reason"))))
}

#[cfg(test)]
mod tests {
    use gitops_core::rollout::analysis::Outcome;
    use gitops_core::rollout::spec::Rule;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn at(ago: i64) -> String {
        jiff::Timestamp::from_second(NOW - ago).unwrap_or_default().to_string()
    }

    /// A Pod that began and whose readiness last changed so many seconds ago.
    fn pod(begun: i64, ready: &str, changed: i64, restarts: i64) -> Value {
        json!({"metadata": {"name": "web-1", "uid": "u1", "creationTimestamp": at(begun)},
            "status": {"phase": "Running", "startTime": at(begun),
                "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": at(changed)}],
                "containerStatuses": [{"name": "web", "restartCount": restarts, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}})
    }

    fn event(uid: &str, ago: i64, reason: &str) -> Value {
        json!({"involvedObject": {"kind": "Pod", "uid": uid}, "lastTimestamp": at(ago), "reason": reason, "message": "no"})
    }

    fn told(pods: &[Value], events: &[Value]) -> String {
        let all = [Signal::Restarts, Signal::Readiness, Signal::Events];
        let rule = Rule {
            name: "t/m".into(),
            interval: 1,
            count: 1,
            failure_limit: 0,
            inconclusive_limit: 0,
            min_samples: 0,
        };
        let (outcome, words) = reading(pods, events, &all, NOW).judge(&rule, None);
        let good = outcome == Outcome::Success;
        words
            .split_once("}, ")
            .map_or_else(|| if good { "good".to_owned() } else { words.clone() }, |(_, told)| told.to_owned())
    }

    #[test]
    fn each_sign_is_told() {
        for (pods, events, expected) in [
            (pod(90, "True", 80, 0), vec![], "good"),
            (pod(90, "True", 80, 2), vec![], "web-1 restarted web 2 times: CrashLoopBackOff"),
            // It starts.
            (pod(20, "False", 20, 0), vec![], "good"),
            (pod(90, "False", 90, 0), vec![], "web-1 is not ready"),
            // It was ready.
            (pod(20, "False", 5, 0), vec![], "web-1 is not ready"),
            (pod(90, "True", 80, 0), vec![event("u1", 85, "Unhealthy")], "good"),
            (pod(90, "True", 80, 0), vec![event("u1", 10, "Unhealthy")], "web-1: Unhealthy: no"),
            (pod(90, "True", 80, 0), vec![event("another", 10, "Unhealthy")], "good"),
            (pod(20, "False", 20, 0), vec![event("u1", 10, "FailedScheduling")], "good"),
            (pod(20, "False", 20, 0), vec![event("u1", 10, "FailedMount")], "web-1: FailedMount: no"),
        ] {
            assert_eq!(told(&[pods], &events), expected);
        }
    }

    #[test]
    fn conditions_see_the_counts() {
        let reading = reading(&[pod(90, "True", 80, 2)], &[], &[Signal::Restarts], NOW);
        let rule = Rule {
            name: "t/m".into(),
            interval: 1,
            count: 1,
            failure_limit: 0,
            inconclusive_limit: 0,
            min_samples: 0,
        };
        let allowing =
            crate::expression::Expression::compile("result.restarts < 3", &super::super::reading::VARIABLES);
        assert_eq!(reading.judge(&rule, allowing.ok().as_ref()).0, Outcome::Success);
        assert_eq!(reading.judge(&rule, None).0, Outcome::Failure);
    }
}
