//! A Rollout as programs read it. In: the Rollout, its live workloads and what
//! they own. Out: versions, stages, workloads with their Pods, measurements.

use gitops_cluster::{Discovery, Kind};
use gitops_core::health::{Health, HealthReport};
use gitops_core::image;
use gitops_core::names::OUTPUT_API_VERSION;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::rollout::outlook::{self, Stage};
use gitops_core::rollout::spec::Means;
use gitops_core::rollout::state::{Aftermath, Holds, Phase, Record};
use gitops_engine::{Kin, Rules};
use serde::Serialize;
use serde_json::Value;

use crate::error::{Failure, code};
use crate::output::ObjectId;
use crate::rollouts::Seen;

/// Everything there is to see.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Picture {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub namespace: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    pub strategy: &'static str,
    pub phase: String,
    /// Such as `2 of 5`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub step: String,
    /// Percent of the requests that go to the new version.
    pub weight: u8,
    /// What it waits for, or how it ended.
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// What would change something if it were asked now.
    pub requests: Vec<&'static str>,
    pub versions: Vec<VersionView>,
    pub stages: Vec<Stage>,
    pub workloads: Vec<WorkloadView>,
    pub measurements: Vec<MeasurementView>,
    /// What became of Git after a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git: Option<String>,
    /// The last request that was carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<Record>,
    #[serde(skip)]
    pub now: i64,
}

/// A version of the target.
#[derive(Clone, Debug, Serialize)]
pub struct VersionView {
    pub track: String,
    pub revision: String,
    pub hash: String,
    pub images: Vec<String>,
    pub pods: usize,
    pub ready: usize,
}

/// A workload: the target, or the one beside it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadView {
    pub object: ObjectId,
    pub health: Health,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    pub desired: i64,
    pub ready: i64,
    pub sets: Vec<SetView>,
}

/// Pods of one template: a ReplicaSet, or a revision of a StatefulSet.
#[derive(Clone, Debug, Serialize)]
pub struct SetView {
    /// Empty for a StatefulSet's own.
    pub name: String,
    pub track: String,
    pub pods: Vec<PodView>,
}

/// A Pod.
#[derive(Clone, Debug, Serialize)]
pub struct PodView {
    pub name: String,
    pub ready: bool,
    pub health: Health,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    pub restarts: i64,
    /// RFC 3339.
    pub created: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
}

/// The measurements of one metric, oldest first.
#[derive(Clone, Debug, Serialize)]
pub struct MeasurementView {
    pub metric: String,
    /// Of the last one.
    pub outcome: String,
    pub values: Vec<String>,
    /// How many of these failed.
    pub failed: usize,
    pub time: String,
}

/// The target's kind, as the cluster serves it.
pub fn kind(discovery: &Discovery, seen: &Seen) -> Result<Kind, Failure> {
    let target = &seen.rollout.spec.target;
    let gvk = Gvk::new(&target.api_version, &target.kind);
    discovery.kind(&gvk).cloned().ok_or_else(|| Failure {
        message: format!(
            "Rollout {}: the cluster has no kind {gvk}, which is its target's",
            seen.reference()
        ),
        hint: Some("install its definition, or mend spec.target in Git".into()),
        code: code::REFUSED,
    })
}

/// Puts everything together.
pub fn draw(seen: &Seen, (target, second): (Option<&Value>, Option<&Value>), kin: &Kin, now: i64) -> Picture {
    let (state, spec, reference) = (&seen.state, &seen.spec, seen.reference());
    let mut workloads = Vec::new();
    workloads.extend(target.and_then(|live| workload(seen, live, kin, true)));
    workloads.extend(second.and_then(|live| workload(seen, live, kin, false)));
    let stages = outlook::stages(spec, state, now);
    let message = if seen.is_driven {
        outlook::waits(spec, state, now)
    } else {
        "nobody has looked at it yet: a controller does, once it runs".into()
    };
    let measured = seen.rollout.status.as_ref().map(|status| status.measurements.as_slice());
    Picture {
        api_version: OUTPUT_API_VERSION,
        kind: "Rollout",
        namespace: reference.namespace,
        name: reference.name,
        application: seen.application().map(|application| application.to_string()),
        strategy: seen.strategy(),
        phase: if seen.is_driven { format!("{:?}", state.phase) } else { "Unknown".into() },
        step: seen.progress(&stages),
        weight: state.setting.weight,
        message,
        next: outlook::next(spec, state, now),
        requests: outlook::requests(state),
        versions: versions(seen, &workloads, (target, second)),
        stages,
        workloads,
        measurements: measurements(measured.unwrap_or_default()),
        git: state.aftermath.as_ref().map(|aftermath| match aftermath {
            Aftermath::Wanted(why) => format!("to be changed: {why}"),
            Aftermath::Done(commit) => format!("changed by {commit}"),
        }),
        asked: state.record.clone(),
        now,
    }
}

/// The name of the new version's track, beside `stable`.
fn new_track(seen: &Seen) -> &'static str {
    if seen.spec.has_second() { seen.spec.track() } else { "new" }
}

fn workload(seen: &Seen, live: &Value, kin: &Kin, is_target: bool) -> Option<WorkloadView> {
    let (key, gvk) = (ObjectKey::of(live).ok()?, Gvk::of(live).ok()?);
    let holds_new = !is_target || seen.state.setting.target == Holds::New;
    let newest = if holds_new { new_track(seen) } else { "stable" };
    let older = if holds_new { "stable" } else { "old" };
    let report: HealthReport = kin.health(live, &Rules::default());
    let number = |pointer: &str| live.pointer(pointer).and_then(Value::as_i64);
    let sets = if key.kind == "Deployment" {
        replica_sets(live, kin, newest, older)
    } else {
        revisions(seen, live, kin, newest)
    };
    Some(WorkloadView {
        object: ObjectId::new(&gvk, &key),
        health: report.health,
        message: if report.health == Health::Healthy { String::new() } else { report.message },
        desired: number("/spec/replicas").unwrap_or(1),
        ready: number("/status/readyReplicas").unwrap_or(0),
        sets,
    })
}

/// The ReplicaSets of a Deployment that have Pods, or are to have some.
fn replica_sets(live: &Value, kin: &Kin, newest: &str, older: &str) -> Vec<SetView> {
    let mut sets: Vec<(i64, &Value)> = (kin.children(live).iter())
        .filter(|child| text(child, "/kind") == "ReplicaSet")
        .map(|set| (generation(set), set))
        .collect();
    sets.sort_by_key(|(generation, _)| -generation);
    let last = sets.first().map_or(0, |(generation, _)| *generation);
    let view = |(generation, set): (i64, &Value)| {
        let pods: Vec<PodView> = kin.children(set).iter().filter_map(|pod| self::pod(pod, kin)).collect();
        let wanted = set.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
        let track = if generation == last { newest } else { older };
        let shown = !pods.is_empty() || wanted > 0;
        shown.then(|| SetView { name: text(set, "/metadata/name").into(), track: track.into(), pods })
    };
    sets.into_iter().filter_map(view).collect()
}

/// A ReplicaSet's number, as its Deployment gave it.
fn generation(set: &Value) -> i64 {
    let annotations = set.pointer("/metadata/annotations");
    let number = annotations.and_then(|all| all.get("deployment.kubernetes.io/revision")?.as_str());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The Pods of another workload, by its own revisions where it has some.
fn revisions(seen: &Seen, live: &Value, kin: &Kin, newest: &str) -> Vec<SetView> {
    let updated = text(live, "/status/updateRevision");
    let split = seen.spec.means() == Means::Partition && newest != "stable";
    let (mut new, mut old) = (Vec::new(), Vec::new());
    for pod in kin.children(live) {
        let Some(view) = self::pod(pod, kin) else { continue };
        let revision =
            pod.pointer("/metadata/labels").and_then(|all| all.get("controller-revision-hash")?.as_str());
        if split && revision != Some(updated) { old.push(view) } else { new.push(view) }
    }
    let set = |track: &str, pods: Vec<PodView>| SetView { name: String::new(), track: track.into(), pods };
    [set(newest, new), set("stable", old)].into_iter().filter(|set| !set.pods.is_empty()).collect()
}

fn pod(pod: &Value, kin: &Kin) -> Option<PodView> {
    if text(pod, "/kind") != "Pod" {
        return None;
    }
    let report = kin.own_health(pod, &Rules::default());
    let list = |pointer: &str| pod.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let ready = list("/status/conditions")
        .any(|condition| text(condition, "/type") == "Ready" && text(condition, "/status") == "True");
    let restarts = list("/status/containerStatuses");
    Some(PodView {
        name: text(pod, "/metadata/name").into(),
        ready,
        health: report.health,
        message: if ready { String::new() } else { report.message },
        restarts: restarts.filter_map(|status| status.get("restartCount")?.as_i64()).sum(),
        created: text(pod, "/metadata/creationTimestamp").into(),
        node: text(pod, "/spec/nodeName").into(),
    })
}

fn versions(
    seen: &Seen,
    workloads: &[WorkloadView],
    (target, second): (Option<&Value>, Option<&Value>),
) -> Vec<VersionView> {
    let state = &seen.state;
    let images = |live: Option<&Value>| -> Vec<String> {
        live.map(image::containers).unwrap_or_default().into_iter().map(|container| container.image).collect()
    };
    let (stable_at, new_at) = match state.setting.target {
        Holds::Stable => (target, second),
        Holds::New => (None, target),
    };
    let gone = matches!(state.phase, Phase::Idle);
    let all = [
        ("stable", state.stable.as_ref(), stable_at),
        (new_track(seen), state.new.as_ref().filter(|_| !gone), new_at),
    ];
    let view = |(track, version, live): (&str, Option<&_>, Option<&Value>)| {
        let version: &gitops_core::rollout::state::Version = version?;
        let pods =
            || workloads.iter().flat_map(|w| &w.sets).filter(|set| set.track == track).flat_map(|s| &s.pods);
        Some(VersionView {
            track: track.to_owned(),
            revision: version.revision.clone(),
            hash: version.hash.clone(),
            images: images(live),
            pods: pods().count(),
            ready: pods().filter(|pod| pod.ready).count(),
        })
    };
    all.into_iter().filter_map(view).collect()
}

fn measurements(all: &[gitops_api::rollout::Measurement]) -> Vec<MeasurementView> {
    let mut found: Vec<MeasurementView> = Vec::new();
    for one in all {
        let failed = usize::from(one.outcome == "Failure");
        match found.iter_mut().find(|known| known.metric == one.metric) {
            Some(known) => {
                known.values.push(one.value.clone());
                known.failed += failed;
                known.outcome.clone_from(&one.outcome);
                known.time.clone_from(&one.time);
            }
            None => found.push(MeasurementView {
                metric: one.metric.clone(),
                outcome: one.outcome.clone(),
                values: vec![one.value.clone()],
                failed,
                time: one.time.clone(),
            }),
        }
    }
    found
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
