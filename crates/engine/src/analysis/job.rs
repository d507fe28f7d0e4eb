//! Measuring by a Job. In: its template, and which measurement it is. Out: its
//! result once it has ended: whether it succeeded and, where its container
//! leaves one, its termination message as JSON or text.

use std::collections::BTreeSet;

use futures::StreamExt;
use gitops_cluster::{ApplyOptions, Cluster, DeleteOptions, ErrorKind, Kind};
use gitops_core::children::controller;
use gitops_core::compare::unix_seconds;
use gitops_core::names::LABEL_ROLLOUT;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::rollout::job::{content, job};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::Subject;
use super::error::AnalysisError;
use super::reading::Reading;

/// Deletions under way at once.
const PARALLEL: usize = 8;

fn kind() -> Kind {
    Kind::known(Gvk::new("batch/v1", "Job"), "jobs", true)
}

fn key(subject: &Subject, name: &str) -> ObjectKey {
    ObjectKey {
        group: "batch".into(),
        kind: "Job".into(),
        namespace: subject.namespace.clone(),
        name: name.to_owned(),
    }
}

/// The result and when the Job began; none while it runs. One that is not there
/// is made.
pub(super) async fn read(
    cluster: &Cluster,
    subject: &Subject,
    name: &str,
    rule: &str,
    template: &Value,
) -> Result<Option<(Reading, i64)>, AnalysisError> {
    let Some(live) = cluster.get(&kind(), &key(subject, name)).await? else {
        let content = content(template, rule, &subject.uid);
        let made = job(&content, name, &subject.namespace, &subject.rollout, &subject.uid);
        let options = ApplyOptions {
            field_manager: gitops_core::names::FIELD_MANAGER_ROLLOUT,
            ..ApplyOptions::default()
        };
        return match cluster.create(&kind(), &key(subject, name), &made, &options).await {
            Ok(_) => Ok(None),
            // Made a moment ago, by the request that was cut.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(None),
            Err(error) => Err(error.into()),
        };
    };
    if !is_controlled(&live, &subject.uid) {
        let reason = format!("Job {}/{name} is there already, and not this Rollout's", subject.namespace);
        return Err(AnalysisError::NoData(reason));
    }
    let Some(ended) = ended(&live) else { return Ok(None) };
    let begun = text(&live, "/metadata/creationTimestamp");
    let begun = unix_seconds(begun).unwrap_or_default();
    let message = message(cluster, subject, name, text(&live, "/metadata/uid")).await?;
    Ok(Some((reading(name, &ended, message), begun)))
}

/// How a Job ended: nothing said against it, or why it failed.
#[derive(Debug, PartialEq)]
struct Ended {
    failed: Option<String>,
}

fn ended(job: &Value) -> Option<Ended> {
    let conditions = job.pointer("/status/conditions").and_then(Value::as_array)?;
    let is = |condition: &&Value, kind: &str| {
        text(condition, "/type") == kind && text(condition, "/status") == "True"
    };
    if let Some(failed) = conditions.iter().find(|condition| is(condition, "Failed")) {
        let (reason, message) = (text(failed, "/reason"), text(failed, "/message"));
        return Some(Ended { failed: Some(format!("{reason}: {message}")) });
    }
    conditions.iter().any(|condition| is(&condition, "Complete")).then_some(Ended { failed: None })
}

fn reading(name: &str, ended: &Ended, message: Option<String>) -> Reading {
    let said = message.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)));
    match (&ended.failed, said) {
        (Some(why), said) => {
            let said = said.unwrap_or(json!(false));
            Reading::of_value(said, 1).failed().told(format!("Job {name}: {why}"))
        }
        (None, said) => Reading::of_value(said.unwrap_or(json!(true)), 1).plain(true),
    }
}

/// Whether the object of this uid is its owner: unlike a label, the webhook judges
/// that.
fn is_controlled(object: &Value, uid: &str) -> bool {
    controller(Some(object)).is_some_and(|owner| owner.uid == uid)
}

/// What the first container of a Job's newest Pod said at its end.
async fn message(
    cluster: &Cluster,
    subject: &Subject,
    name: &str,
    uid: &str,
) -> Result<Option<String>, AnalysisError> {
    let selector = escape(&format!("batch.kubernetes.io/job-name={name}"));
    let path = format!("/api/v1/namespaces/{}/pods?labelSelector={selector}", escape(&subject.namespace));
    Ok(said(&cluster.get_json(&path).await?, uid))
}

/// The Job's own Pods: anybody may give others its label.
fn said(pods: &Value, uid: &str) -> Option<String> {
    let pods = pods.get("items").and_then(Value::as_array).into_iter().flatten();
    let pods = pods.filter(|pod| is_controlled(pod, uid));
    let newest = pods.max_by_key(|pod| text(pod, "/metadata/creationTimestamp").to_owned())?;
    let said = newest.pointer("/status/containerStatuses/0/state/terminated/message")?.as_str()?.trim();
    (!said.is_empty()).then(|| said.to_owned())
}

/// Deletes those Jobs of a Rollout that nothing waits for.
pub(super) async fn tidy(
    cluster: &Cluster,
    subject: &Subject,
    wanted: &BTreeSet<String>,
) -> Result<(), AnalysisError> {
    let selector = escape(&format!("{LABEL_ROLLOUT}={}", subject.uid));
    let path = format!("{}?labelSelector={selector}", kind().path(&subject.namespace, ""));
    let list = cluster.get_json(&path).await?;
    let left = list.get("items").and_then(Value::as_array).into_iter().flatten().filter(|job| {
        !wanted.contains(text(job, "/metadata/name")) && job.pointer("/metadata/deletionTimestamp").is_none()
    });
    let deletions = left.map(|job| async move {
        let options =
            DeleteOptions { uid: Some(text(job, "/metadata/uid").to_owned()), ..DeleteOptions::default() };
        cluster.delete(&kind(), &key(subject, text(job, "/metadata/name")), &options).await
    });
    let done: Vec<_> = futures::stream::iter(deletions).buffer_unordered(PARALLEL).collect().await;
    done.into_iter().collect::<Result<(), _>>().map_err(AnalysisError::from)
}

fn escape(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::panic, reason = "tests")]
mod tests {
    use gitops_core::rollout::analysis::Outcome;
    use gitops_core::rollout::spec::Rule;

    use super::super::reading::VARIABLES;
    use super::*;
    use crate::expression::Expression;

    fn ended_with(kind: &str) -> Option<Ended> {
        ended(
            &json!({"status": {"conditions": [{"type": kind, "status": "True", "reason": "R", "message": "m"}]}}),
        )
    }

    #[test]
    fn only_the_jobs_own_pods_speak_for_it() {
        let pod = |uid: &str, time: &str, message: &str| {
            json!({"metadata": {"creationTimestamp": time, "ownerReferences": [{"uid": uid, "controller": true}]},
                "status": {"containerStatuses": [{"state": {"terminated": {"message": message}}}]}})
        };
        let pods = json!({"items": [pod("j", "2026-01-01T00:00:00Z", "1"), pod("j", "2026-01-02T00:00:00Z", " 2 "),
            pod("x", "2026-01-03T00:00:00Z", "0"),
            {"metadata": {"creationTimestamp": "2026-01-04T00:00:00Z"},
                "status": {"containerStatuses": [{"state": {"terminated": {"message": "0"}}}]}}]});
        assert_eq!(said(&pods, "j").as_deref(), Some("2"));
        assert_eq!(said(&pods, "k"), None);
    }

    #[test]
    fn a_result_is_success_or_what_the_message_says() {
        assert_eq!(ended_with("FailureTarget"), None);
        assert_eq!(ended(&json!({"status": {"active": 1}})), None);
        let rule = Rule {
            name: "t/m".into(),
            interval: 1,
            count: 1,
            failure_limit: 0,
            inconclusive_limit: 0,
            min_samples: 0,
        };
        for (kind, message, success, outcome, told) in [
            ("Complete", None, None, Outcome::Success, "true"),
            (
                "Complete",
                Some("{\"errors\": 3}"),
                Some("result.errors < 2"),
                Outcome::Failure,
                "{\"errors\":3}",
            ),
            ("Complete", Some("0.5"), Some("result < 1"), Outcome::Success, "0.5"),
            (
                "Complete",
                Some("all is well"),
                Some("result.startsWith('all')"),
                Outcome::Success,
                "all is well",
            ),
            ("Failed", None, Some("true"), Outcome::Failure, "false, Job j: R: m"),
            ("Failed", Some("lost 2"), None, Outcome::Failure, "lost 2, Job j: R: m"),
        ] {
            let Some(ended) = ended_with(kind) else { panic!("{kind}") };
            let condition = success.and_then(|text| Expression::compile(text, &VARIABLES).ok());
            let found = reading("j", &ended, message.map(str::to_owned)).judge(&rule, condition.as_ref());
            assert_eq!(found, (outcome, told.to_owned()));
        }
    }
}
