//! What Kubernetes' controllers and an autoscaler make of the objects: Pods.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use serde_json::Value;

use super::{MODEL, World};
use crate::names::LABEL_TRACK;
use crate::object::ObjectKey;

/// A Pod and when it is ready.
#[derive(Clone, Debug)]
pub struct Pod {
    pub(super) workload: String,
    pub ordinal: i64,
    /// The image tells the version.
    pub image: String,
    pub(super) labels: BTreeMap<String, String>,
    age: u32,
    broken: bool,
}

impl Pod {
    pub fn is_just_made(&self) -> bool {
        self.age == 0
    }

    pub(super) fn ready(&self) -> bool {
        self.age > 0 && !self.broken
    }
}

impl World {
    pub(super) fn controllers(&mut self) {
        self.autoscaler();
        for pod in &mut self.pods {
            pod.age += 1;
        }
        let runs = |key: &ObjectKey| key.group == "apps" || key.kind == MODEL;
        let live: Vec<_> = self.live.iter().filter(|(key, _)| runs(key)).collect();
        let names: Vec<&str> = live.iter().map(|(key, _)| key.name.as_str()).collect();
        self.pods.retain(|pod| names.contains(&pod.workload.as_str()));
        for (key, object) in live {
            let want = object["spec"]["replicas"].as_i64().unwrap();
            let new = pod(key, object, &self.broken);
            match key.kind.as_str() {
                "Deployment" => roll(&mut self.pods, &new, want),
                MODEL => serve(&mut self.pods, &new, want, object["spec"]["canaryTrafficPercent"].as_i64()),
                _ => {
                    let partition = object.pointer("/spec/updateStrategy/rollingUpdate/partition");
                    let by_hand = object["spec"]["updateStrategy"]["type"] == "OnDelete";
                    let partition = partition.and_then(Value::as_i64).filter(|_| !by_hand);
                    let none = if by_hand { i64::MAX } else { 0 };
                    partitioned(&mut self.pods, &new, want, partition.unwrap_or(none));
                }
            }
        }
    }

    /// It does nothing where nothing is to run (pkg/controller/podautoscaler).
    fn autoscaler(&mut self) {
        let target = self.live.get_mut(&self.spec.target).filter(|target| target["spec"]["replicas"] != 0);
        if let (Some(wanted), Some(target)) = (self.scaled, target) {
            target["spec"]["replicas"] = wanted.into();
        }
    }
}

pub(super) fn image(object: &Value) -> &str {
    object.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str).unwrap()
}

fn pod(key: &ObjectKey, object: &Value, broken: &[String]) -> Pod {
    let image = image(object).to_owned();
    let labels = object.pointer("/spec/template/metadata/labels").and_then(Value::as_object).unwrap();
    let mut labels: BTreeMap<String, String> =
        labels.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
    let label = if key.kind == "StatefulSet" { "controller-revision-hash" } else { "pod-template-hash" };
    labels.insert(label.into(), format!("{}-{image}", key.name));
    labels.entry(LABEL_TRACK.into()).or_insert_with(|| "stable".into());
    Pod { workload: key.name.clone(), ordinal: 0, broken: broken.contains(&image), image, labels, age: 0 }
}

/// A Deployment with maxSurge 1 and maxUnavailable 0.
fn roll(pods: &mut Vec<Pod>, new: &Pod, want: i64) {
    let own = |pod: &Pod| pod.workload == new.workload;
    let count = |pods: &[Pod], chosen: &dyn Fn(&Pod) -> bool| {
        pods.iter().filter(|pod| own(pod) && chosen(pod)).count() as i64
    };
    let remove = |pods: &mut Vec<Pod>, chosen: &dyn Fn(&Pod) -> bool| {
        if let Some(at) = pods.iter().position(|pod| own(pod) && chosen(pod)) {
            pods.remove(at);
        }
    };
    while count(pods, &|_| true) > want && count(pods, &|pod| pod.image != new.image && !pod.ready()) > 0 {
        remove(pods, &|pod| pod.image != new.image && !pod.ready());
    }
    while count(pods, &Pod::ready) > want && count(pods, &|pod| pod.image != new.image) > 0 {
        remove(pods, &|pod| pod.image != new.image);
    }
    // Those first that are not ready.
    while count(pods, &|pod| pod.image == new.image) > want {
        let all_ready = count(pods, &|pod| pod.image == new.image && !pod.ready()) == 0;
        remove(pods, &|pod| pod.image == new.image && pod.ready() == all_ready);
    }
    while want == 0 && count(pods, &|_| true) > 0 {
        remove(pods, &|_| true);
    }
    let surge = i64::from(want > 0 && count(pods, &|pod| pod.image != new.image) > 0);
    while count(pods, &|pod| pod.image == new.image) < want && count(pods, &|_| true) < want + surge {
        pods.push(new.clone());
    }
}

/// As KServe does it: the version before stays as long as it gets requests, and
/// until the new one is ready.
fn serve(pods: &mut Vec<Pod>, new: &Pod, want: i64, weight: Option<i64>) {
    let count = |pods: &[Pod], ready: bool| {
        pods.iter().filter(|pod| pod.image == new.image && (pod.ready() || !ready)).count() as i64
    };
    while count(pods, false) < want {
        pods.push(new.clone());
    }
    if weight.is_none_or(|weight| weight == 100) && count(pods, true) >= want {
        pods.retain(|pod| pod.image == new.image);
    }
}

/// A StatefulSet: one Pod at a time, and a broken one is waited for.
fn partitioned(pods: &mut Vec<Pod>, new: &Pod, want: i64, partition: i64) {
    pods.retain(|pod| pod.workload != new.workload || pod.ordinal < want);
    let current = pods.iter().find(|pod| pod.workload == new.workload && pod.image != new.image).cloned();
    for ordinal in 0..want {
        if pods.iter().any(|pod| pod.workload == new.workload && pod.ordinal == ordinal) {
            continue;
        }
        let made = current.as_ref().filter(|_| ordinal < partition).unwrap_or(new);
        pods.push(Pod { ordinal, age: 0, ..made.clone() });
    }
    if pods.iter().any(|pod| pod.workload == new.workload && !pod.ready()) {
        return;
    }
    let stale =
        |pod: &&mut Pod| pod.workload == new.workload && pod.image != new.image && pod.ordinal >= partition;
    if let Some(pod) = pods.iter_mut().filter(stale).max_by_key(|pod| pod.ordinal) {
        *pod = Pod { ordinal: pod.ordinal, ..new.clone() };
    }
}
