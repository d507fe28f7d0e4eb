//! Cases of the rules about children, requests and deletes.

#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::{Value, json};

use super::tests::{Case, case, declared, scale, web, with};
use super::*;
use crate::children::{Owner, Reference, State, references};

fn template() -> Value {
    web("web:1", 2)["spec"]["template"].clone()
}

fn live_deployment() -> Value {
    let mut live = web("web:1", 2);
    live["metadata"]["uid"] = json!("d-1");
    live
}

/// A ReplicaSet as the deployment controller makes it.
pub(super) fn replica_set(image: &str, replicas: u32) -> Value {
    let mut template = template();
    template["metadata"]["labels"]["pod-template-hash"] = json!("abc");
    template["spec"]["containers"][0]["image"] = json!(image);
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": "web-abc", "namespace": "shop", "uid": "r-1", "labels": {"app": "web", "pod-template-hash": "abc"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d-1", "controller": true}]},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web", "pod-template-hash": "abc"}}, "template": template}})
}

/// A Pod as the replica set controller makes it.
fn pod(image: &str) -> Value {
    let set = replica_set(image, 2);
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-abc-x", "namespace": "shop", "labels": {"app": "web", "pod-template-hash": "abc"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-abc", "uid": "r-1", "controller": true}]},
        "spec": set["spec"]["template"]["spec"]})
}

/// The owners of an object, all of them there.
fn of(child: &Value, live: Option<Value>) -> Facts {
    let owner = |reference: Reference| Owner {
        reference,
        state: live.clone().map_or(State::Missing, State::Live),
        descends: live.is_some(),
    };
    let owners = references(Some(child)).into_iter().map(owner).collect();
    Facts {
        lineage: Some(Lineage {
            owners,
            suitors: Vec::new(),
            root: Some(declared(web("web:1", 2))),
            tracks: None,
        }),
        ..Facts::default()
    }
}

/// Nobody declares it itself.
fn undeclared() -> Vec<(&'static str, Option<Value>)> {
    vec![("c2", None)]
}

fn create(name: &'static str, expect: &'static str, new: Value, facts: Facts) -> Case {
    let (wants, operation) = (undeclared(), Operation::Create);
    Case { operation, old: None, new: Some(new), wants, facts, ..case(name, expect) }
}

fn update(name: &'static str, expect: &'static str, old: Value, new: Value, facts: Facts) -> Case {
    Case { old: Some(old), new: Some(new), wants: undeclared(), facts, ..case(name, expect) }
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = children();
    all.extend(untracked());
    all.extend(requests());
    all.extend(deletes());
    all
}

fn children() -> Vec<Case> {
    let set = || replica_set("web:1", 2);
    let by_deployment = || of(&set(), Some(live_deployment()));
    let by_set = || of(&pod("web:1"), Some(set()));
    let forged = || {
        let mut facts = by_set();
        facts.lineage.as_mut().unwrap().owners[0].state = State::Another("r-2".into());
        facts
    };
    let unread = || {
        let mut facts = by_set();
        facts.lineage.as_mut().unwrap().owners[0].state = State::Unknown("a timeout".into());
        facts
    };
    let free = |object: Value| with(object, "/metadata/ownerReferences", json!([]));
    let suited = |there: bool| {
        let mut facts = by_set();
        let lineage = facts.lineage.as_mut().unwrap();
        let suitors = std::mem::take(&mut lineage.owners);
        lineage.suitors = if there { suitors } else { Vec::new() };
        facts
    };
    let slice = |addresses: Value| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "web-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}}, "endpoints": [{"addresses": addresses}]})
    };
    let leads =
        || Facts { endpoints: Endpoints::Selected(["10.0.0.1".to_owned()].into()), ..Facts::default() };
    vec![
        create("a ReplicaSet of its Deployment's template", "", set(), by_deployment()),
        create("of another template", "child", replica_set("evil", 2), by_deployment()),
        create("of an owner that is not known", "owners", set(), Facts::default()),
        update("an edited ReplicaSet template", "child", set(), replica_set("evil", 2), by_deployment()),
        update(
            "an old ReplicaSet scaled down",
            "",
            replica_set("old", 2),
            replica_set("old", 1),
            by_deployment(),
        ),
        update(
            "an old one within the surge",
            "",
            replica_set("old", 0),
            replica_set("old", 2),
            by_deployment(),
        ),
        update(
            "and beyond it",
            "child-replicas",
            replica_set("old", 0),
            replica_set("old", 9),
            by_deployment(),
        ),
        update("an old one that becomes the new", "", replica_set("old", 2), set(), by_deployment()),
        update(
            "an unrelated label on a drifted ReplicaSet",
            "",
            replica_set("old", 2),
            with(replica_set("old", 2), "/metadata/labels/team", json!("blue")),
            by_deployment(),
        ),
        create("a Pod of its ReplicaSet's template", "", pod("web:1"), by_set()),
        create("a Pod with another image", "child", pod("evil"), by_set()),
        create("a Pod of a forged owner", "owners", pod("web:1"), forged()),
        create("a Pod of no owner that is there", "owners", pod("web:1"), of(&pod("web:1"), None)),
        update("a Pod whose owner cannot be read", "child", pod("web:1"), pod("evil"), unread()),
        update("set image on a Pod", "child", pod("web:1"), pod("evil"), by_set()),
        update(
            "a Pod that lost its node",
            "",
            pod("web:1"),
            with(pod("web:1"), "/status", json!({"phase": "Failed"})),
            Facts::default(),
        ),
        update("adopted as it should be", "", free(pod("web:1")), pod("web:1"), by_set()),
        update("adopted with another image", "child", free(pod("evil")), pod("evil"), by_set()),
        update("taken from its owner", "owners", pod("web:1"), free(pod("web:1")), by_set()),
        update(
            "let go because its owner is not there",
            "",
            pod("web:1"),
            free(pod("web:1")),
            of(&pod("web:1"), None),
        ),
        create("what nobody would adopt", "", free(pod("evil")), suited(false)),
        create("what would be adopted, and differs", "adoption", free(pod("evil")), suited(true)),
        create("what would be adopted, and does not", "", free(pod("web:1")), suited(true)),
        update(
            "relabelled to be adopted",
            "adoption",
            with(free(pod("evil")), "/metadata/labels", json!({})),
            free(pod("evil")),
            suited(true),
        ),
        create("traffic to a Pod that is selected", "", slice(json!(["10.0.0.1"])), leads()),
        create("traffic elsewhere", "endpoints", slice(json!(["10.6.6.6"])), leads()),
        update("fewer addresses", "", slice(json!(["10.6.6.6"])), slice(json!([])), leads()),
        create(
            "a Service without a selector",
            "",
            slice(json!(["10.6.6.6"])),
            Facts { endpoints: Endpoints::Unselected, ..Facts::default() },
        ),
    ]
}

fn untracked() -> Vec<Case> {
    let deny = || Policy { untracked: Untracked::Deny, ..Policy::default() };
    let denied = |case: Case| Case { policy: deny(), tracked: false, ..case };
    let named = |kind: &str, name: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "shop"}});
    let owned = |kind: &str, by: (&str, &str), controller: bool| {
        let owner =
            json!([{"apiVersion": by.0, "kind": by.1, "name": "x", "uid": "u", "controller": controller}]);
        with(named(kind, "x"), "/metadata/ownerReferences", owner)
    };
    let descends = |object: Value, descends: bool| {
        let mut facts = of(&object, Some(json!({})));
        facts.lineage.as_mut().unwrap().owners[0].descends = descends;
        (object, facts)
    };
    let child = |name, expect, (object, facts)| denied(create(name, expect, object, facts));
    let operator = ("db.example.com/v1", "Db");
    vec![
        denied(create(
            "a Pod made by hand",
            "untracked",
            with(pod("web:1"), "/metadata/ownerReferences", json!([])),
            Facts { lineage: Some(Lineage::default()), ..Facts::default() },
        )),
        child("an owner is no way around", "untracked", descends(owned("ConfigMap", operator, true), false)),
        child("an operator's own", "", descends(owned("ConfigMap", operator, true), true)),
        child("a Pod's claim", "", descends(owned("PersistentVolumeClaim", ("v1", "Pod"), true), true)),
        child(
            "what its owner does not make",
            "untracked",
            descends(owned("Secret", ("apps/v1", "ReplicaSet"), true), true),
        ),
        child(
            "what its owner does not control",
            "untracked",
            descends(owned("Pod", ("apps/v1", "ReplicaSet"), false), true),
        ),
        denied(create(
            "the default service account",
            "",
            named("ServiceAccount", "default"),
            Facts::default(),
        )),
        denied(create(
            "another service account",
            "untracked",
            named("ServiceAccount", "mine"),
            Facts::default(),
        )),
        denied(create("the root certificate", "", named("ConfigMap", "kube-root-ca.crt"), Facts::default())),
        denied(create(
            "a StatefulSet's claim",
            "",
            named("PersistentVolumeClaim", "data-db-0"),
            Facts { claimed: true, ..Facts::default() },
        )),
        denied(create(
            "another claim",
            "untracked",
            named("PersistentVolumeClaim", "mine"),
            Facts::default(),
        )),
    ]
}

fn requests() -> Vec<Case> {
    let exec = |expect, interactive| Case {
        operation: Operation::Connect,
        subresource: "exec",
        old: None,
        new: Some(pod("web:1")),
        wants: undeclared(),
        policy: Policy { interactive, ..Policy::default() },
        ..case("exec", expect)
    };
    let unread = || {
        let mut facts = of(&replica_set("web:1", 2), None);
        facts.lineage.as_mut().unwrap().owners[0].state = State::Unknown("a timeout".into());
        facts
    };
    let scaled = |name, expect, facts| Case {
        subresource: "scale",
        old: Some(scale(0)),
        new: Some(scale(1)),
        wants: undeclared(),
        facts,
        ..case(name, expect)
    };
    vec![
        exec("interactive", Interactive::Deny),
        exec("", Interactive::Allow),
        scaled("what a controller scales", "scale-child", Facts::default()),
        scaled("what cannot be looked up", "scale-child", unread()),
        scaled("what nobody scales", "", Facts { lineage: Some(Lineage::default()), ..Facts::default() }),
    ]
}

fn deletes() -> Vec<Case> {
    let delete = |name, expect, old: Value| Case {
        operation: Operation::Delete,
        old: Some(old),
        new: None,
        ..case(name, expect)
    };
    let child = |orphaning, facts: Facts| Case {
        wants: undeclared(),
        facts: Facts { orphaning, ..facts },
        ..delete(
            "a child's children stay behind",
            if orphaning { "orphan" } else { "" },
            replica_set("web:1", 2),
        )
    };
    let hook = |policy: &str| json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "shop", "annotations": {"argocd.argoproj.io/hook": "PreSync", "argocd.argoproj.io/hook-delete-policy": policy}}, "spec": {"template": {}}});
    let complete =
        |job: Value| with(job, "/status", json!({"conditions": [{"type": "Complete", "status": "True"}]}));
    let done = |name, expect, policy: &str, job: Value| Case {
        wants: vec![("c2", Some(hook(policy)))],
        ..delete(name, expect, job)
    };
    let own_pod = with(pod("web:1"), "/metadata/ownerReferences", json!([]));
    let lost = |node_lost| Case {
        wants: vec![("c2", Some(own_pod.clone()))],
        facts: Facts { node_lost, ..Facts::default() },
        ..delete("a declared Pod", if node_lost { "" } else { "delete-declared" }, own_pod.clone())
    };
    vec![
        child(true, of(&replica_set("web:1", 2), Some(live_deployment()))),
        child(true, Facts::default()),
        child(false, Facts::default()),
        Case {
            wants: undeclared(),
            facts: Facts { orphaning: true, ..Facts::default() },
            ..delete("what nobody declares", "", web("web:1", 2))
        },
        Case {
            facts: Facts { application_terminating: true, ..Facts::default() },
            ..delete("with its Application", "", web("web:1", 2))
        },
        Case {
            facts: Facts { application_terminating: true, orphaning: true, ..Facts::default() },
            ..delete("and leaving its Pods", "orphan", web("web:1", 2))
        },
        Case {
            old: Some(web("web:1", 2)),
            new: Some(with(web("web:1", 2), "/metadata/finalizers", json!(["orphan"]))),
            ..case("by the finalizer", "orphan")
        },
        done("a hook that succeeded", "", "HookSucceeded", complete(hook("HookSucceeded"))),
        done("a hook under way", "delete-declared", "HookSucceeded", hook("HookSucceeded")),
        done("a hook before the next", "", "BeforeHookCreation", hook("BeforeHookCreation")),
        lost(true),
        lost(false),
    ]
}
