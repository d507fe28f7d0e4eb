//! What an Application's objects own, and what was told about all of them. In:
//! the cluster, and namespaces to look in. Out: families, for reasons, trees,
//! logs and events.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use gitops_cluster::{Cluster, ClusterError, Discovery, LogOptions};
use gitops_core::health::{Family, Health, HealthReport, family_health};
use gitops_core::object::{Gvk, ObjectKey};
use serde_json::Value;

use crate::rules::Rules;

/// What children may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// What a workload's reason may come from: ReplicaSets, Jobs, Pods, claims.
    Workloads,
    /// Every kind that can be listed.
    All,
}

/// An owner that is owned again, and so on, at most so deep: owner references
/// may form a circle.
const DEPTH: usize = 8;
/// Crashing containers whose last line is asked for.
const LAST_WORDS: usize = 10;

/// Objects by their owner, events by whom they are about.
#[derive(Clone, Debug, Default)]
pub struct Kin {
    by_owner: HashMap<String, Vec<Value>>,
    /// Claims by namespace and name: Pods name them, but do not own them.
    claims: HashMap<(String, String), Value>,
    events: HashMap<String, Vec<Value>>,
    last_words: HashMap<String, String>,
    /// What may not be listed.
    pub left_out: Vec<ClusterError>,
}

impl Kin {
    /// Looks in these namespaces. What may not be listed is left out.
    pub async fn look(
        cluster: &Cluster,
        discovery: &Discovery,
        namespaces: &BTreeSet<String>,
        reach: Reach,
    ) -> Self {
        let mut kin = Self::default();
        if namespaces.is_empty() {
            return kin;
        }
        let wanted: BTreeMap<Gvk, BTreeSet<String>> =
            kinds(discovery, reach).into_iter().map(|gvk| (gvk, namespaces.clone())).collect();
        let (live, left_out) = cluster.list_allowed(discovery, &wanted).await;
        kin.left_out = left_out;
        let mut all: Vec<(ObjectKey, Value)> =
            live.into_iter().filter(|(key, _)| namespaces.contains(&key.namespace)).collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (key, object) in all {
            if key.kind == "Event" {
                let about = text(&object, "/involvedObject/uid").to_owned();
                kin.events.entry(about).or_default().push(object);
                continue;
            }
            if key.kind == "PersistentVolumeClaim" && key.group.is_empty() {
                kin.claims.insert((key.namespace, key.name), object.clone());
            }
            for owner in owners(&object) {
                kin.by_owner.entry(owner).or_default().push(object.clone());
            }
        }
        kin.listen(cluster).await;
        kin
    }

    /// The last line of containers that crash again and again.
    async fn listen(&mut self, cluster: &Cluster) {
        let crashing: Vec<(String, String, String, String)> = (self.by_owner.values().flatten())
            .filter(|object| text(object, "/kind") == "Pod")
            .filter_map(|pod| {
                let name = crashing(pod)?;
                let at = |pointer: &str| text(pod, pointer).to_owned();
                Some((at("/metadata/uid"), at("/metadata/namespace"), at("/metadata/name"), name))
            })
            .take(LAST_WORDS)
            .collect();
        let asked = crashing.into_iter().map(|(uid, namespace, pod, container)| async move {
            let options = LogOptions { container, previous: true, tail: Some(1), ..LogOptions::default() };
            let mut last = String::new();
            let read =
                cluster.log(&namespace, &pod, &options, |line| line.trim().clone_into(&mut last)).await;
            (read.is_ok() && !last.is_empty()).then_some((uid, last))
        });
        self.last_words = futures::future::join_all(asked).await.into_iter().flatten().collect();
    }

    /// What an object owns, by kind and name.
    pub fn children(&self, object: &Value) -> &[Value] {
        self.by_owner.get(text(object, "/metadata/uid")).map_or(&[], Vec::as_slice)
    }

    /// Events about an object, in any order.
    pub fn events(&self, object: &Value) -> &[Value] {
        self.events.get(text(object, "/metadata/uid")).map_or(&[], Vec::as_slice)
    }

    /// An object, what it owns, and what that owns, itself first.
    pub fn descendants<'a>(&'a self, object: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![object];
        let mut seen = BTreeSet::from([text(object, "/metadata/uid")]);
        let mut next = 0;
        while let Some(object) = found.get(next).copied() {
            next += 1;
            found.extend(
                self.children(object).iter().filter(|child| seen.insert(text(child, "/metadata/uid"))),
            );
        }
        found
    }

    /// The Pods below an object.
    pub fn pods<'a>(&'a self, object: &'a Value) -> impl Iterator<Item = &'a Value> {
        self.descendants(object).into_iter().filter(|object| text(object, "/kind") == "Pod")
    }

    /// An object's family, for its reason.
    pub fn family<'a>(&'a self, object: &'a Value) -> Family<'a> {
        self.family_to(object, DEPTH)
    }

    fn family_to<'a>(&'a self, object: &'a Value, depth: usize) -> Family<'a> {
        let mut children: Vec<Family<'a>> = Vec::new();
        if depth > 0 {
            children.extend(self.children(object).iter().map(|child| self.family_to(child, depth - 1)));
            children.extend(self.claims_of(object).map(|claim| self.family_to(claim, 0)));
        }
        Family {
            object,
            children,
            events: self.events(object).iter().collect(),
            last_words: self.last_words.get(text(object, "/metadata/uid")).map(String::as_str),
        }
    }

    /// Claims that a Pod waits for.
    fn claims_of<'a>(&'a self, object: &'a Value) -> impl Iterator<Item = &'a Value> {
        let waits = text(object, "/kind") == "Pod" && text(object, "/status/phase") == "Pending";
        let volumes = object.pointer("/spec/volumes").and_then(Value::as_array).filter(|_| waits);
        volumes.into_iter().flatten().filter_map(|volume| {
            let name = text(volume, "/persistentVolumeClaim/claimName");
            self.claims.get(&(text(object, "/metadata/namespace").to_owned(), name.to_owned()))
        })
    }

    /// Whether an image of a Pod below an object is being pulled: what was told last
    /// of it.
    pub fn is_pulling(&self, object: &Value) -> bool {
        self.pods(object).any(|pod| {
            let told = self.events(pod).iter().filter(|event| {
                matches!(text(event, "/reason"), "Pulling" | "Pulled" | "Failed" | "BackOff")
            });
            let last =
                told.max_by_key(|event| (text(event, "/lastTimestamp"), text(event, "/reason") != "Pulling"));
            last.is_some_and(|event| text(event, "/reason") == "Pulling")
        })
    }

    /// An object's verdict, with the reason of whoever is at fault.
    pub fn health(&self, object: &Value, rules: &Rules) -> HealthReport {
        family_health(&self.family(object), &|object| rules.health(object))
    }

    /// An object's verdict by itself, with what events tell of it.
    pub fn own_health(&self, object: &Value, rules: &Rules) -> HealthReport {
        let family = Family { children: Vec::new(), ..self.family_to(object, 0) };
        family_health(&family, &|object| rules.health(object))
    }
}

/// Judges objects; where one is not healthy, those near it are asked why. An
/// object that is not there is missing.
pub async fn healths<'a>(
    cluster: &Cluster,
    discovery: &Discovery,
    rules: &Rules,
    objects: impl Iterator<Item = (&'a ObjectKey, Option<&'a Value>)>,
) -> BTreeMap<ObjectKey, HealthReport> {
    let mut judged = BTreeMap::new();
    let mut unclear: Vec<(&ObjectKey, &Value)> = Vec::new();
    for (key, live) in objects {
        let report = live.map_or_else(HealthReport::missing, |object| rules.health(object));
        // What its controller has not seen yet, nothing that it owns explains.
        if let Some(object) = live
            && matches!(report.health, Health::Progressing | Health::Degraded)
            && report.reason != "NotObserved"
            && !key.namespace.is_empty()
        {
            unclear.push((key, object));
        }
        judged.insert(key.clone(), report);
    }
    let namespaces = unclear.iter().map(|(key, _)| key.namespace.clone()).collect();
    let kin = Kin::look(cluster, discovery, &namespaces, Reach::Workloads).await;
    for (key, object) in unclear {
        judged.insert(key.clone(), kin.health(object, rules));
    }
    judged
}

fn kinds(discovery: &Discovery, reach: Reach) -> BTreeSet<Gvk> {
    let known = [
        ("apps/v1", "ReplicaSet"),
        ("batch/v1", "Job"),
        ("v1", "Pod"),
        ("v1", "PersistentVolumeClaim"),
        ("v1", "Event"),
    ];
    let mut kinds: BTreeSet<Gvk> = known.iter().map(|(version, kind)| Gvk::new(version, kind)).collect();
    if reach == Reach::All {
        for kind in discovery.kinds().iter().filter(|kind| kind.namespaced) {
            let first = discovery.preferred(&kind.gvk.group, &kind.gvk.kind).map(|first| &first.gvk);
            // Metrics are no objects, and the newer Events are the same ones.
            let skipped = matches!(kind.gvk.group.as_str(), "metrics.k8s.io" | "events.k8s.io");
            if first == Some(&kind.gvk)
                && !skipped
                && !kinds.iter().any(|known| known.group == kind.gvk.group && known.kind == kind.gvk.kind)
            {
                kinds.insert(kind.gvk.clone());
            }
        }
    }
    kinds
}

fn owners(object: &Value) -> Vec<String> {
    let references = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    references.into_iter().flatten().map(|owner| text(owner, "/uid").to_owned()).collect()
}

/// The container that crashes.
fn crashing(pod: &Value) -> Option<String> {
    let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"];
    statuses
        .iter()
        .filter_map(|pointer| pod.pointer(pointer)?.as_array())
        .flatten()
        .find(|status| text(status, "/state/waiting/reason") == "CrashLoopBackOff")
        .map(|status| text(status, "/name").to_owned())
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: &str, uid: &str, owner: &str) -> Value {
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": uid, "namespace": "n", "uid": uid, "ownerReferences": [{"uid": owner}]}})
    }

    #[test]
    fn a_circle_of_owners_ends() {
        let (a, b) = (object("A", "a", "b"), object("B", "b", "a"));
        let mut kin = Kin::default();
        kin.by_owner.insert("a".into(), vec![b]);
        kin.by_owner.insert("b".into(), vec![a.clone()]);
        assert_eq!(kin.descendants(&a).len(), 2);
        assert_eq!(kin.health(&a, &Rules::default()).health, Health::Healthy);
    }

    #[test]
    fn what_was_told_last_of_an_image_says_whether_it_is_pulled() {
        let set = object("ReplicaSet", "s", "d");
        let event = |reason: &str, time: &str| json!({"reason": reason, "lastTimestamp": time});
        let pulls = |told: &[(&str, &str)]| {
            let mut kin = Kin::default();
            kin.by_owner.insert("d".into(), vec![set.clone()]);
            kin.by_owner.insert("s".into(), vec![object("Pod", "p", "s")]);
            let events = told.iter().map(|(reason, time)| event(reason, time)).collect();
            kin.events.insert("p".into(), events);
            kin.is_pulling(&object("Deployment", "d", ""))
        };
        assert!(!pulls(&[]));
        assert!(pulls(&[("Scheduled", "10:00:03Z"), ("Pulling", "10:00:01Z")]));
        assert!(!pulls(&[("Pulling", "10:00:01Z"), ("Pulled", "10:00:02Z")]));
        // Another container's, and one that is tried again.
        assert!(pulls(&[("Pulled", "10:00:02Z"), ("Pulling", "10:00:03Z")]));
        assert!(!pulls(&[("Pulling", "10:00:01Z"), ("Failed", "10:00:01Z")]));
    }

    #[test]
    fn a_pods_reason_may_be_its_claim() {
        let mut pod = object("Pod", "p", "s");
        pod["spec"] = json!({"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]});
        pod["status"] = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."}]});
        let mut claim = object("PersistentVolumeClaim", "data", "");
        claim["spec"] = json!({"storageClassName": "slow", "resources": {"requests": {"storage": "1Gi"}}});
        claim["status"] = json!({"phase": "Pending"});
        let mut kin = Kin::default();
        kin.claims.insert(("n".into(), "data".into()), claim);
        let report = kin.health(&pod, &Rules::default());
        assert_eq!(
            report.message,
            "no node takes it (of 1): pod has unbound immediate PersistentVolumeClaims: PersistentVolumeClaim data: it has no volume of 1Gi yet (storage class slow)"
        );
    }
}
