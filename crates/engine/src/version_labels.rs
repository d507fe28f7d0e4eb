//! Labels of Pods that run already. In: a survey. Out: their labels as admission
//! would have given them. Pods that were there before the webhook, or were made
//! while it was away, get those that they lack; and a StatefulSet's Pods change
//! their track when their version is promoted. Nothing restarts.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::StreamExt;
use gitops_cluster::{ApplyOptions, Cluster, ClusterError, ErrorKind, Live};
use gitops_core::children::{Tracks, Whose, controller, maker, version_labels};
use gitops_core::desired::{AppRef, DesiredObject};
use gitops_core::names::{ANNOTATION_OWNER, LABEL_APPLICATION, LABEL_TRACK};
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::rollout::room::has_ended;
use gitops_core::rollout::spec::Means;
use serde_json::{Value, json};

use crate::survey::Survey;

/// Patches under way at once.
const PARALLEL: usize = 16;
/// Owners above a Pod: a Job, its CronJob.
const GENERATIONS: usize = 3;

/// Labels that a Pod is to get.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    pub pod: ObjectKey,
    pub uid: String,
    pub labels: BTreeMap<&'static str, String>,
}

/// Whether a Deployment was made that nobody has seen yet: it has no Pods.
pub fn is_early(survey: &Survey) -> bool {
    let deployments =
        survey.desired.objects.keys().filter(|key| key.group == "apps" && key.kind == "Deployment");
    deployments.filter_map(|key| survey.live.get(key)).any(|live| {
        live.pointer("/metadata/generation").and_then(Value::as_i64) == Some(1)
            && live.pointer("/status/observedGeneration").is_none()
    })
}

/// Gives an Application's Pods their labels; how many got any.
///
/// # Errors
/// When Pods cannot be listed or patched.
pub async fn label_pods(
    cluster: &Cluster,
    survey: &Survey,
    application: &AppRef,
) -> Result<usize, ClusterError> {
    let wanted = wanted(survey);
    if wanted.is_empty() {
        return Ok(0);
    }
    let live = cluster.list(&survey.discovery, &wanted).await?;
    let Some(kind) = survey.discovery.kind(&Gvk::new("v1", "Pod")) else { return Ok(0) };
    let patches = lacking(survey, application, &live).into_iter().map(|labelled| async move {
        let label = |(name, value): (&&str, &String)| {
            json!({"op": "add", "path": format!("/metadata/labels/{}", name.replace('/', "~1")), "value": value})
        };
        let mut patch = vec![json!({"op": "test", "path": "/metadata/uid", "value": labelled.uid})];
        patch.extend(labelled.labels.iter().map(label));
        cluster.patch(kind, &labelled.pod, &patch.into(), &ApplyOptions::default()).await
    });
    let mut done = 0;
    let mut answers = futures::stream::iter(patches).buffer_unordered(PARALLEL);
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(_) => done += 1,
            // It has gone, or is another one by now.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::Invalid) => {
            }
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// What is to be listed: Pods, and what stands between them and what Git
/// declares.
fn wanted(survey: &Survey) -> BTreeMap<Gvk, BTreeSet<String>> {
    let mut wanted: BTreeMap<Gvk, BTreeSet<String>> = BTreeMap::new();
    for key in survey.desired.objects.keys() {
        let between = match (key.group.as_str(), key.kind.as_str()) {
            ("apps", "Deployment") => Some(("apps/v1", "ReplicaSet")),
            ("apps", "StatefulSet" | "DaemonSet") => Some(("apps/v1", "ControllerRevision")),
            ("batch", "CronJob") => Some(("batch/v1", "Job")),
            ("apps", "ReplicaSet") | ("batch", "Job") => None,
            _ => continue,
        };
        for (api_version, kind) in between.into_iter().chain([("v1", "Pod")]) {
            wanted.entry(Gvk::new(api_version, kind)).or_default().insert(key.namespace.clone());
        }
    }
    wanted
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Pods whose labels are not there yet, or that changed their track.
fn lacking(survey: &Survey, application: &AppRef, live: &Live) -> Vec<Labelled> {
    let uid = |object: &Value| text(object, "/metadata/uid").to_owned();
    let by_uid: HashMap<String, &Value> = live.iter().map(|(_, object)| (uid(object), object)).collect();
    let known = |key: &ObjectKey| Some((survey.live.get(key)?, survey.desired.objects.get(key)?));
    // Another Application may declare it, too.
    let is_ours = |(live, _): &(&Value, &DesiredObject)| {
        let owner = live.pointer("/metadata/annotations").and_then(|all| all.get(ANNOTATION_OWNER)?.as_str());
        owner.is_none_or(|owner| owner == application.to_string())
    };
    let roots = survey.desired.objects.keys().filter_map(known).filter(is_ours);
    let roots: HashMap<String, (&Value, &DesiredObject)> =
        roots.map(|(live, declared)| (uid(live), (live, declared))).collect();
    let revisions: Vec<Value> = live
        .iter()
        .filter(|(key, _)| key.kind == "ControllerRevision")
        .map(|(_, object)| object.clone())
        .collect();
    let pods = live.iter().filter(|(key, _)| key.kind == "Pod");
    let mut found = Vec::new();
    for (key, pod) in pods {
        if has_ended(pod) || pod.pointer("/metadata/deletionTimestamp").is_some() {
            continue;
        }
        let Some((owner, root)) = above(pod, &by_uid, &roots) else { continue };
        let tracks = tracks(survey, &root.key);
        let whose = Whose {
            application: &application.name,
            revision: &survey.desired.revision,
            tracks: tracks.as_ref(),
        };
        let right = version_labels(&survey.schemas, root, pod, maker(pod, owner, &revisions), whose);
        let there = pod.pointer("/metadata/labels");
        let declared = owner.pointer("/spec/template/metadata/labels");
        let labels: BTreeMap<&'static str, String> = right
            .into_iter()
            .filter(|(name, value)| {
                let of = |labels: Option<&Value>| {
                    labels.and_then(|labels| labels.get(*name)?.as_str()).map(str::to_owned)
                };
                let changes = matches!(*name, LABEL_TRACK | LABEL_APPLICATION);
                let lacks = of(there).is_none_or(|there| changes && there != *value);
                lacks && of(declared).is_none()
            })
            .collect();
        if !labels.is_empty() && there.is_some() {
            found.push(Labelled { pod: key.clone(), uid: uid(pod), labels });
        }
    }
    found.sort_by(|a, b| a.pod.cmp(&b.pod));
    found
}

/// A Pod's controller, and what Git declares above it.
fn above<'a>(
    pod: &Value,
    by_uid: &HashMap<String, &'a Value>,
    roots: &HashMap<String, (&'a Value, &'a DesiredObject)>,
) -> Option<(&'a Value, &'a DesiredObject)> {
    let (mut first, mut next) = (None, controller(Some(pod))?.uid);
    for _ in 0..GENERATIONS {
        if let Some((live, declared)) = roots.get(&next) {
            return Some((first.unwrap_or(live), declared));
        }
        let live = *by_uid.get(&next)?;
        first.get_or_insert(live);
        next = controller(Some(live))?.uid;
    }
    None
}

fn tracks(survey: &Survey, workload: &ObjectKey) -> Option<Tracks> {
    let rolling = survey.rollouts.iter().find(|rolling| rolling.spec.target == *workload)?;
    let both = rolling.spec.means() == Means::Partition && rolling.state.is_under_way();
    let (stable, new) = (rolling.state.stable_pods.clone(), rolling.state.new_pods.clone());
    both.then_some(Tracks { stable, new })
}
