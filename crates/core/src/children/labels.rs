//! Labels by which people and queries tell a Pod's version. In: a Pod, what it
//! was made from, and what Git declares above it. Out: what its labels are to
//! say. They are set at admission and on Pods that run already, and change no
//! template.

use std::collections::BTreeMap;

use serde_json::Value;

use super::template_of;
use crate::compare::{CompareOptions, Difference, Op, compare, told};
use crate::desired::DesiredObject;
use crate::names::{ANNOTATION_REVISION, LABEL_APPLICATION, LABEL_REVISION, LABEL_ROLLOUT_HASH, LABEL_TRACK};
use crate::path::{Path, Segment};
use crate::rollout_hash::rollout_hash;
use crate::schema::Schemas;

/// All of them.
pub const LABELS: [&str; 4] = [LABEL_APPLICATION, LABEL_TRACK, LABEL_REVISION, LABEL_ROLLOUT_HASH];

/// What Kubernetes' controllers add to the template of what they make.
const GENERATED: [&str; 5] = [
    "pod-template-hash",
    "controller-uid",
    "job-name",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
];

const STABLE: &str = "stable";
const CANARY: &str = "canary";

/// What Kubernetes calls the versions of one StatefulSet, while a Rollout lets
/// a new one in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracks {
    pub stable: Option<String>,
    pub new: Option<String>,
}

/// Whose Pods they are.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    pub application: &'a str,
    /// The newest commit.
    pub revision: &'a str,
    /// Where one workload has both versions.
    pub tracks: Option<&'a Tracks>,
}

/// What a Pod was made from, of its controller and the controller's revisions:
/// a ReplicaSet or Job itself, else the ControllerRevision that the Pod names.
pub fn maker<'a>(pod: &Value, controller: &'a Value, revisions: &'a [Value]) -> Option<&'a Value> {
    let kind = controller.get("kind").and_then(Value::as_str).unwrap_or_default();
    if !matches!(kind, "StatefulSet" | "DaemonSet") {
        return Some(controller);
    }
    let hash = label(pod, "controller-revision-hash")?;
    let uid = controller.pointer("/metadata/uid");
    revisions.iter().find(|revision| {
        let named = revision.pointer("/metadata/name").and_then(Value::as_str) == Some(hash);
        let owner = super::controller(Some(revision)).map(|owner| Value::from(owner.uid));
        (named || label(revision, "controller-revision-hash") == Some(hash)) && owner.as_ref() == uid
    })
}

/// What a Pod's labels are to say. Where its maker is not known, or of another
/// commit, so is the hash.
pub fn version_labels(
    schemas: &Schemas,
    root: &DesiredObject,
    pod: &Value,
    maker: Option<&Value>,
    whose: Whose<'_>,
) -> BTreeMap<&'static str, String> {
    let recorded =
        maker.and_then(|maker| maker.pointer("/metadata/annotations")?.get(ANNOTATION_REVISION)?.as_str());
    let template = maker.and_then(|maker| same(schemas, root, maker));
    let mut labels = BTreeMap::from([
        (LABEL_APPLICATION, whose.application.to_owned()),
        (LABEL_TRACK, track(root, pod, whose.tracks)),
    ]);
    if let Some(revision) = recorded.or(template.as_ref().map(|_| whose.revision)) {
        labels.insert(LABEL_REVISION, revision.chars().take(12).collect());
    }
    if let Some(template) = template {
        labels.insert(LABEL_ROLLOUT_HASH, rollout_hash(&template));
    }
    labels
}

fn label<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.pointer("/metadata/labels")?.get(name)?.as_str()
}

/// Where a workload has its Pods' template.
fn place(root: &DesiredObject) -> &'static str {
    if root.key.kind == "CronJob" { "/spec/jobTemplate/spec/template" } else { "/spec/template" }
}

fn track(root: &DesiredObject, pod: &Value, tracks: Option<&Tracks>) -> String {
    let declared = root.value.pointer(place(root)).and_then(|template| label(template, LABEL_TRACK));
    let hash = label(pod, "controller-revision-hash");
    let is_new = |tracks: &Tracks| {
        tracks.new.as_deref() == hash || tracks.stable.is_some() && tracks.stable.as_deref() != hash
    };
    let means = if tracks.is_some_and(is_new) { CANARY } else { STABLE };
    declared.unwrap_or(means).to_owned()
}

/// The template that a ReplicaSet, Job or ControllerRevision holds.
fn made_by(maker: &Value) -> Value {
    if maker.get("data").is_some() {
        return template_of(maker);
    }
    let mut template = maker.pointer("/spec/template").cloned().unwrap_or_default();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.retain(|name, _| !GENERATED.contains(&name.as_str()));
    }
    template
}

/// The template that Git declares, where its own is the same.
fn same(schemas: &Schemas, root: &DesiredObject, maker: &Value) -> Option<Value> {
    let mut made = root.value.clone();
    *made.pointer_mut(place(root))? = made_by(maker);
    let differences = compare(schemas, &root.gvk, &root.value, &made, &CompareOptions::of(&root.gvk));
    // What is known by its hash alone is in a Pod's hash as it is in clear.
    differences.is_empty().then(|| told(&root.value, &made).pointer(place(root)).cloned()).flatten()
}

/// What of a Pod's labels is not as it is to be: one may be left out or left as
/// it was, and only said rightly. At creation a commit is believed, and so is a
/// hash that is not known here: another replica may know newer ones.
pub fn wrong_labels(
    right: &BTreeMap<&'static str, String>,
    declared: &Value,
    old: Option<&Value>,
    new: &Value,
    both_tracks: bool,
) -> Vec<Difference> {
    let mut found = Vec::new();
    for name in LABELS {
        let (before, tried) = (old.and_then(|old| label(old, name)), label(new, name));
        // What its template says is judged with the template.
        if tried == before || label(declared, name).is_some() {
            continue;
        }
        let wanted = right.get(name).map(String::as_str);
        let fits = tried.is_some_and(|tried| {
            let either = name == LABEL_TRACK && both_tracks && matches!(tried, STABLE | CANARY);
            let believed = match name {
                LABEL_REVISION => is_hex(tried, 12),
                LABEL_ROLLOUT_HASH => wanted.is_none() && is_hex(tried, 10),
                _ => false,
            };
            wanted == Some(tried) || either || old.is_none() && believed
        });
        if !fits {
            let op = match (before.or(wanted), tried) {
                (_, None) => Op::Remove,
                (None, _) => Op::Add,
                _ => Op::Change,
            };
            found.push(Difference {
                path: Path::root().field("metadata").field("labels").child(Segment::Field(name.to_owned())),
                op,
                git: wanted.or(before).map(Value::from),
                tried: tried.map(Value::from),
            });
        }
    }
    found
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::desired::Origin;
    use crate::object::{Gvk, ObjectKey};

    fn root(kind: &str, image: &str, labels: Value) -> DesiredObject {
        let template =
            json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}});
        let spec = match kind {
            "CronJob" => json!({"jobTemplate": {"spec": {"template": template}}}),
            _ => json!({"template": template}),
        };
        let (version, group) = if kind == "CronJob" { ("batch/v1", "batch") } else { ("apps/v1", "apps") };
        DesiredObject {
            key: ObjectKey {
                group: group.into(),
                kind: kind.into(),
                namespace: "shop".into(),
                name: "web".into(),
            },
            gvk: Gvk::new(version, kind),
            value: json!({"apiVersion": version, "kind": kind, "metadata": {"name": "web", "namespace": "shop"}, "spec": spec}).into(),
            origin: Origin { file: "a.yaml".into(), line: 1, lines: None, confidential: [].into() },
        }
    }

    /// As the API server keeps it: with defaults and what the controller adds.
    fn replica_set(image: &str) -> Value {
        json!({"kind": "ReplicaSet", "metadata": {"annotations": {"kubectl-gitops.dev/revision": "0123456789abcdef"}},
            "spec": {"template": {"metadata": {"labels": {"app": "web", "pod-template-hash": "x"}},
                "spec": {"restartPolicy": "Always", "containers": [{"name": "c", "image": image, "terminationMessagePath": "/dev/termination-log"}]}}}})
    }

    fn whose(tracks: Option<&Tracks>) -> Whose<'_> {
        Whose { application: "shop", revision: "fedcba9876543210", tracks }
    }

    fn told(root: &DesiredObject, pod: &Value, maker: Option<&Value>, tracks: Option<&Tracks>) -> String {
        let labels = version_labels(&Schemas::builtin(), root, pod, maker, whose(tracks));
        let of = |name: &str| labels.get(name).cloned().unwrap_or("none".into());
        format!(
            "{} {} {} {}",
            of(LABEL_APPLICATION),
            of(LABEL_TRACK),
            of(LABEL_REVISION),
            of(LABEL_ROLLOUT_HASH)
        )
    }

    #[test]
    fn a_pod_says_of_which_version_it_is() {
        let web = root("Deployment", "web:1", json!({"app": "web"}));
        let hash = rollout_hash(web.value.pointer("/spec/template").unwrap());
        let pod = json!({});
        for (maker, expected) in [
            (Some(replica_set("web:1")), format!("shop stable 0123456789ab {hash}")),
            // Of a commit before: its hash is not that of the newest template.
            (Some(replica_set("web:0")), "shop stable 0123456789ab none".to_owned()),
            (None, "shop stable none none".to_owned()),
        ] {
            assert_eq!(told(&web, &pod, maker.as_ref(), None), expected);
        }
        let mut second = root("Deployment", "web:1", json!({"app": "web", LABEL_TRACK: "canary"}));
        second.key.name = "web-canary".into();
        let mut set = replica_set("web:1");
        set["spec"]["template"]["metadata"]["labels"][LABEL_TRACK] = json!("canary");
        assert_eq!(told(&second, &pod, Some(&set), None), format!("shop canary 0123456789ab {hash}"));
        let cron = root("CronJob", "web:1", json!({"app": "web"}));
        let mut job = replica_set("web:1");
        job["kind"] = json!("Job");
        assert_eq!(told(&cron, &pod, Some(&job), None), format!("shop stable 0123456789ab {hash}"));
    }

    #[test]
    fn one_stateful_set_has_both_tracks() {
        let db = root("StatefulSet", "db:2", json!({"app": "db"}));
        let tracks = Tracks { stable: Some("db-1".into()), new: Some("db-2".into()) };
        let unknown = Tracks { stable: Some("db-1".into()), new: None };
        let pod = |hash: &str| json!({"metadata": {"labels": {"controller-revision-hash": hash}}});
        for (hash, tracks, expected) in [
            ("db-1", Some(&tracks), "stable"),
            ("db-2", Some(&tracks), "canary"),
            ("db-2", Some(&unknown), "canary"),
            ("db-2", None, "stable"),
        ] {
            assert_eq!(told(&db, &pod(hash), None, tracks).split(' ').nth(1), Some(expected), "{hash}");
        }
        let set = json!({"kind": "StatefulSet", "metadata": {"uid": "u"}});
        let revision = |name: &str, uid: &str| {
            json!({"kind": "ControllerRevision", "metadata": {"name": name, "ownerReferences": [{"uid": uid, "controller": true}]},
                "data": {"spec": {"template": {"$patch": "replace", "metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "db:2"}]}}}}})
        };
        let all = [revision("db-1", "u"), revision("db-2", "other"), revision("db-2", "u")];
        assert_eq!(maker(&pod("db-2"), &set, &all), Some(&all[2]));
        assert_eq!(maker(&pod("db-3"), &set, &all), None);
        assert!(!told(&db, &pod("db-2"), Some(&all[2]), None).ends_with("none"));
    }

    #[test]
    fn only_the_right_labels_are_written() {
        let right = BTreeMap::from([
            (LABEL_APPLICATION, "shop".to_owned()),
            (LABEL_TRACK, "stable".to_owned()),
            (LABEL_REVISION, "0123456789ab".to_owned()),
        ]);
        let pod = |labels: Value| json!({"metadata": {"labels": labels}});
        let none = || pod(json!({}));
        for (old, new, both, wrong) in [
            (None, none(), false, vec![]),
            (None, pod(json!({LABEL_TRACK: "stable", LABEL_APPLICATION: "shop"})), false, vec![]),
            (None, pod(json!({LABEL_TRACK: "canary"})), false, vec![LABEL_TRACK]),
            (None, pod(json!({LABEL_TRACK: "canary"})), true, vec![]),
            (
                None,
                pod(json!({LABEL_APPLICATION: "other", LABEL_REVISION: "0"})),
                false,
                vec![LABEL_APPLICATION, LABEL_REVISION],
            ),
            // The hash is not known here.
            (None, pod(json!({LABEL_ROLLOUT_HASH: "0123456789"})), false, vec![]),
            (None, pod(json!({LABEL_ROLLOUT_HASH: "evil"})), false, vec![LABEL_ROLLOUT_HASH]),
            (Some(none()), pod(json!({LABEL_ROLLOUT_HASH: "0123456789"})), false, vec![LABEL_ROLLOUT_HASH]),
            (Some(none()), pod(json!({LABEL_REVISION: "0123456789ab"})), false, vec![]),
            (Some(pod(json!({LABEL_TRACK: "canary"}))), pod(json!({LABEL_TRACK: "canary"})), false, vec![]),
            (Some(pod(json!({LABEL_TRACK: "canary"}))), pod(json!({LABEL_TRACK: "stable"})), false, vec![]),
            (
                Some(pod(json!({LABEL_TRACK: "stable"}))),
                pod(json!({LABEL_TRACK: "canary"})),
                false,
                vec![LABEL_TRACK],
            ),
            (Some(pod(json!({LABEL_TRACK: "stable"}))), none(), false, vec![LABEL_TRACK]),
        ] {
            let found = wrong_labels(&right, &json!({}), old.as_ref(), &new, both);
            let names: Vec<String> = found.iter().map(|difference| difference.path.to_string()).collect();
            let expected: Vec<String> = wrong.iter().map(|name| format!("metadata.labels[{name}]")).collect();
            assert_eq!(names.len(), expected.len(), "{new}: {names:?}");
            assert!(names.iter().zip(&wrong).all(|(found, name)| found.contains(name)), "{names:?}");
        }
    }
}
