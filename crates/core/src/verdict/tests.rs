#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::delegation::{Bounds, Free};
use crate::desired::{LineTree, Rendered, Scopes, stamp};

static SCHEMAS: LazyLock<Schemas> = LazyLock::new(Schemas::builtin);

fn app() -> AppRef {
    AppRef { namespace: "shop".into(), name: "web".into() }
}

pub(super) fn declared(value: Value) -> DesiredObject {
    struct All;
    impl Scopes for All {
        fn namespaced(&self, gvk: &Gvk) -> Option<bool> {
            Some(!matches!(gvk.kind.as_str(), "Namespace" | "CustomResourceDefinition"))
        }
    }
    let lines = LineTree {
        line: 1,
        fields: [(
            "spec".to_owned(),
            LineTree {
                line: 6,
                fields: [("replicas".to_owned(), LineTree { line: 7, ..LineTree::default() })].into(),
                ..LineTree::default()
            },
        )]
        .into(),
        ..LineTree::default()
    };
    let rendered = Rendered {
        value,
        file: "apps/web.yaml".into(),
        line: 1,
        lines: Some(lines),
        confidential: Vec::new(),
    };
    let set = crate::desired::DesiredSet::build(app(), "c2".into(), "shop", &All, vec![rendered]).unwrap();
    set.objects.into_values().next().unwrap()
}

pub(super) fn web(image: &str, replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image, "args": ["a"]}]}}}})
}

/// A case: a write, and what Git says about its object.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) operation: Operation,
    pub(super) subresource: &'static str,
    pub(super) old: Option<Value>,
    pub(super) new: Option<Value>,
    /// Commit and object, the tip first.
    pub(super) wants: Vec<(&'static str, Option<Value>)>,
    pub(super) tracked: bool,
    pub(super) facts: Facts,
    pub(super) delegated: Vec<Free>,
    pub(super) policy: Policy,
    /// The rule that objects, or nothing.
    pub(super) expect: &'static str,
}

pub(super) fn case(name: &'static str, expect: &'static str) -> Case {
    Case {
        name,
        operation: Operation::Update,
        subresource: "",
        old: Some(web("web:1", 2)),
        new: Some(web("web:1", 2)),
        wants: vec![("c2", Some(web("web:1", 2)))],
        tracked: true,
        facts: Facts::default(),
        delegated: Vec::new(),
        policy: Policy::default(),
        expect,
    }
}

pub(super) fn with(mut value: Value, pointer: &str, to: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    match value.pointer_mut(parent).unwrap() {
        Value::Array(items) if field == "-" => items.push(to),
        Value::Array(items) => items[field.parse::<usize>().unwrap()] = to,
        parent => parent[field.replace("~1", "/")] = to,
    }
    value
}

fn marked(value: Value, revision: &str) -> Value {
    stamp(&declared(value), &app(), revision)
}

const NOW: i64 = 1_780_000_000;

fn verdict_of(case: &Case, rules: &[Rule]) -> Verdict {
    let any = case.new.as_ref().or(case.old.as_ref()).unwrap();
    let declared_at_tip =
        || case.wants.first().and_then(|(_, want)| want.clone()).unwrap_or_else(|| web("", 0));
    let parent = if case.subresource == "scale" { declared_at_tip() } else { any.clone() };
    let (gvk, key) = (Gvk::of(&parent).unwrap(), ObjectKey::of(&parent).unwrap());
    let objects: Vec<_> =
        case.wants.iter().map(|(revision, value)| (*revision, value.clone().map(declared))).collect();
    let candidates: Vec<_> =
        objects.iter().map(|(revision, object)| Candidate { revision, object: object.as_ref() }).collect();
    let review = Review {
        operation: case.operation,
        gvk: &gvk,
        key: &key,
        subresource: case.subresource,
        old: case.old.as_ref(),
        new: case.new.as_ref(),
        now: NOW,
    };
    let owner = app();
    let context = Context {
        schemas: &SCHEMAS,
        policy: &case.policy,
        application: case.tracked.then_some(&owner),
        candidates: &candidates,
        free: &case.policy.free(&key, &case.delegated),
        facts: &case.facts,
    };
    judge_by(rules, &review, &context)
}

fn namespace(labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": labels}})
}

pub(super) fn application(repo: &str) -> Value {
    json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": "web", "namespace": "shop"}, "spec": {"source": {"repo": repo}}})
}

fn override_at(by: &str, expires: i64) -> Value {
    let at = format!(
        "2026-05-28T{:02}:{:02}:{:02}Z",
        20 + (1600 + expires - NOW) / 3600,
        (1600 + expires - NOW) / 60 % 60,
        (1600 + expires - NOW) % 60
    );
    json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Override", "metadata": {"name": "inc", "annotations": {"kubectl-gitops.dev/requested-by": by}},
        "spec": {"namespaces": ["shop"], "reason": "INC-12", "expiresAt": at}})
}

/// An Override is made by one who may.
fn open_override(name: &'static str, expect: &'static str, new: Value) -> Case {
    Case {
        operation: Operation::Create,
        old: None,
        new: Some(new),
        wants: vec![("c2", None)],
        tracked: false,
        facts: Facts { may_override: true, writer: "ada".into(), ..Facts::default() },
        ..case(name, expect)
    }
}

pub(super) fn scale(replicas: u32) -> Value {
    json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web", "namespace": "shop"}, "spec": {"replicas": replicas}})
}

fn ingress(class: &str) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"ingressClassName": Some(class).filter(|class| !class.is_empty())}})
}

fn claim(volume: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "shop"},
        "spec": {"volumeName": Some(volume).filter(|volume| !volume.is_empty())}})
}

fn shard(size: u32) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Shard", "metadata": {"name": "web", "namespace": "shop"}, "spec": {"size": size}})
}

fn shard_scale(replicas: u32) -> Value {
    scale(replicas)
}

fn behind(case: Case) -> Case {
    Case { facts: Facts { behind: true, ..Facts::default() }, ..case }
}

/// Git leaves the replicas out.
fn unscaled() -> Vec<(&'static str, Option<Value>)> {
    let mut value = web("web:1", 2);
    value["spec"].as_object_mut().unwrap().remove("replicas");
    vec![("c2", Some(value))]
}

fn autoscaled() -> Vec<Free> {
    let bounds = Bounds { min: Some(1), max: Some(9), by: "HorizontalPodAutoscaler web".into() };
    vec![Free { path: crate::delegation::replicas(), bounds: Some(bounds) }]
}

fn cases() -> Vec<Case> {
    let mut all = own_cases();
    all.extend(children_tests::cases());
    all.extend(asking_tests::cases());
    all
}

fn own_cases() -> Vec<Case> {
    let git = || web("web:1", 2);
    let create = |name, expect, new| Case {
        operation: Operation::Create,
        old: None,
        new: Some(new),
        ..case(name, expect)
    };
    let update = |name, expect, old, new| Case { old: Some(old), new: Some(new), ..case(name, expect) };
    let delete = |name, expect, old| Case {
        operation: Operation::Delete,
        old: Some(old),
        new: None,
        ..case(name, expect)
    };
    let scaled = |name, expect, from, to| Case {
        subresource: "scale",
        old: Some(scale(from)),
        new: Some(scale(to)),
        ..case(name, expect)
    };
    let drifted = || with(git(), "/spec/template/spec/hostNetwork", json!(true));
    let moving = |name, expect, new| Case {
        old: Some(web("web:0", 1)),
        new: Some(new),
        wants: vec![
            ("c2", Some(with(web("web:1", 2), "/spec/template/spec/containers/0/args", json!(["b"])))),
            ("c1", Some(web("web:0", 1))),
        ],
        ..case(name, expect)
    };
    let role = |verb: &str| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r", "namespace": "shop"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}]});
    let bound = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "r", "namespace": "shop"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"}});
    let crd = || json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "dbs.example.com"}});
    let restart = |at: &str| {
        with(git(), "/spec/template/metadata/annotations", json!({"kubectl.kubernetes.io/restartedAt": at}))
    };
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "shop"}, "spec": {"ttlSecondsAfterFinished": 10, "template": {}},
        "status": {"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    vec![
        create("what Git says may be created", "", git()),
        create(
            "a sidecar may not",
            "toward-git",
            with(git(), "/spec/template/spec/containers/-", json!({"name": "x", "image": "x"})),
        ),
        update("nothing changes", "", git(), git()),
        update("a declared field may not change", "toward-git", git(), web("web:1", 5)),
        update("an undeclared field may not appear", "toward-git", git(), drifted()),
        update(
            "an unrelated annotation may",
            "",
            git(),
            with(git(), "/metadata/annotations", json!({"team": "blue"})),
        ),
        update(
            "an unrelated write on a drifted object may",
            "",
            drifted(),
            with(drifted(), "/metadata/annotations", json!({"team": "blue"})),
        ),
        update(
            "drift may not grow",
            "toward-git",
            drifted(),
            with(drifted(), "/spec/template/spec/hostPID", json!(true)),
        ),
        update("a repair may", "", drifted(), git()),
        update(
            "a repair of one of two fields may",
            "",
            with(drifted(), "/spec/replicas", json!(5)),
            with(git(), "/spec/replicas", json!(5)),
        ),
        update("other digits of the same cpu may", "", git(), git()),
        moving(
            "the whole way to the newer commit",
            "",
            with(web("web:1", 2), "/spec/template/spec/containers/0/args", json!(["b"])),
        ),
        moving(
            "the template first, replicas later",
            "",
            with(web("web:1", 1), "/spec/template/spec/containers/0/args", json!(["b"])),
        ),
        moving("half of the template", "mixed-commits", web("web:1", 1)),
        moving("back to where it was", "", web("web:0", 1)),
        Case {
            old: Some(role("get")),
            new: Some(role("*")),
            wants: vec![("c2", Some(role("get")))],
            ..case("a wider role", "toward-git")
        },
        Case {
            wants: vec![("c2", None)],
            new: Some(web("x", 9)),
            tracked: false,
            ..case("what Git does not declare is free", "")
        },
        Case {
            wants: vec![("c2", None)],
            new: Some(web("x", 9)),
            old: None,
            operation: Operation::Create,
            tracked: false,
            policy: Policy { untracked: Untracked::Deny, ..Policy::default() },
            ..case("unless the namespace is closed", "untracked")
        },
        delete("a declared object may not go", "delete-declared", git()),
        Case {
            facts: Facts { namespace_terminating: true, ..Facts::default() },
            ..delete("unless its namespace goes", "", git())
        },
        Case { wants: vec![("c2", None)], ..delete("or Git let it go", "", git()) },
        Case {
            wants: vec![("c2", Some(with(bound.clone(), "/roleRef/name", json!("b"))))],
            ..delete("or it must be made anew", "", bound)
        },
        Case {
            wants: vec![("c2", Some(with(job.clone(), "/status", Value::Null)))],
            ..delete("or it is a finished Job past its TTL", "", job)
        },
        Case {
            wants: vec![("c2", None)],
            facts: Facts { holds: 3, ..Facts::default() },
            ..delete(
                "a namespace that holds declared objects may not go",
                "delete-namespace",
                namespace(json!({})),
            )
        },
        Case { wants: vec![("c2", None)], ..delete("an empty one may", "", namespace(json!({}))) },
        Case {
            wants: vec![("c2", None)],
            facts: Facts { holds: 1, ..Facts::default() },
            ..delete("a definition with declared objects may not go", "delete-definition", crd())
        },
        Case {
            old: Some(namespace(json!({}))),
            new: Some(namespace(json!({"pod-security.kubernetes.io/enforce": "privileged"}))),
            wants: vec![("c2", None)],
            facts: Facts { holds: 1, ..Facts::default() },
            ..case("a namespace may not be opened", "namespace-labels")
        },
        Case {
            old: Some(namespace(json!({}))),
            new: Some(namespace(json!({"team": "blue"}))),
            wants: vec![("c2", None)],
            facts: Facts { holds: 1, ..Facts::default() },
            ..case("a plain label may", "")
        },
        Case {
            old: Some(application("https://git/a")),
            new: Some(application("https://evil/a")),
            wants: vec![("c2", None)],
            tracked: false,
            ..case("an Application may not be pointed elsewhere", "own-kinds")
        },
        Case {
            old: Some(application("https://git/a")),
            new: Some(application("https://git/b")),
            wants: vec![("c2", None)],
            tracked: false,
            facts: Facts { may_manage: true, ..Facts::default() },
            ..case("but by those with the verb", "")
        },
        Case {
            old: Some(application("a")),
            new: None,
            operation: Operation::Delete,
            wants: vec![("c2", None)],
            tracked: false,
            ..case("nor may it go", "own-kinds")
        },
        Case {
            old: Some(application("a")),
            new: Some(with(application("a"), "/metadata/finalizers", json!(["evil.example.com/stay"]))),
            wants: vec![("c2", None)],
            tracked: false,
            ..case("nor be kept from going", "own-kinds")
        },
        Case {
            old: Some(with(application("a"), "/metadata/finalizers", json!(["foregroundDeletion"]))),
            new: Some(application("a")),
            wants: vec![("c2", None)],
            tracked: false,
            ..case("Kubernetes' own finalizer goes", "")
        },
        Case {
            old: Some(application("a")),
            new: Some(with(
                application("a"),
                "/metadata/ownerReferences",
                json!([{"kind": "ConfigMap", "name": "x"}]),
            )),
            wants: vec![("c2", None)],
            tracked: false,
            ..case("nor be given an owner to go with", "own-kinds")
        },
        Case {
            old: Some(application("a")),
            new: Some(with(
                application("a"),
                "/metadata/labels",
                json!({"kubectl-gitops.dev/application": "x"}),
            )),
            wants: vec![("c2", None)],
            tracked: false,
            ..case("nor bear a mark of ours", "own-kinds")
        },
        Case {
            old: Some(application("a")),
            new: Some(with(application("a"), "/metadata/finalizers", json!(["evil.example.com/stay"]))),
            wants: vec![("c2", Some(application("a")))],
            ..case("nor be kept from going where Git declares it", "own-kinds")
        },
        Case {
            old: Some(application("a")),
            new: Some(with(application("a"), "/metadata/annotations", json!({"note": "fine"}))),
            wants: vec![("c2", Some(application("a")))],
            ..case("a note on it is free", "")
        },
        Case {
            old: Some(application("a")),
            new: Some(application("b")),
            wants: vec![("c2", Some(application("a")))],
            facts: Facts { may_manage: true, ..Facts::default() },
            ..case("a declared Application changes through Git alone", "toward-git")
        },
        Case {
            facts: Facts { may_manage: true, writer: "ada".into(), ..Facts::default() },
            ..open_override("an Override takes its own verb", "own-kinds", override_at("ada", NOW + 60))
        },
        Case {
            wants: vec![("c2", Some(override_at("ada", NOW + 60)))],
            facts: Facts { writer: "ada".into(), ..Facts::default() },
            ..open_override("and is never Git's", "own-kinds", override_at("ada", NOW + 60))
        },
        open_override("with it, it opens", "", override_at("ada", NOW + 60)),
        open_override("four hours at most", "override-window", override_at("ada", NOW + 5 * 3600)),
        open_override("and not in the past", "override-window", override_at("ada", NOW - 1)),
        open_override("and not as somebody else", "override-window", override_at("bob", NOW + 60)),
        Case {
            operation: Operation::Update,
            old: Some(override_at("ada", NOW + 60)),
            ..open_override("it may end earlier", "", override_at("ada", NOW))
        },
        Case {
            operation: Operation::Update,
            old: Some(override_at("ada", NOW + 60)),
            ..open_override("but never later", "override-window", override_at("ada", NOW + 61))
        },
        Case {
            operation: Operation::Update,
            old: Some(override_at("ada", NOW + 60)),
            ..open_override(
                "nor for somebody else",
                "override-window",
                with(override_at("ada", NOW + 60), "/spec/users", json!(["eve"])),
            )
        },
        Case {
            operation: Operation::Update,
            old: Some(override_at("ada", NOW + 60)),
            ..open_override("nor become somebody else's", "override-window", override_at("eve", NOW + 60))
        },
        scaled("scaling away from Git", "scale", 2, 5),
        scaled("scaling back to Git", "", 5, 2),
        Case { wants: unscaled(), ..scaled("replicas that Git leaves out", "", 2, 5) },
        Case {
            delegated: autoscaled(),
            wants: unscaled(),
            ..scaled("an autoscaler between its bounds", "", 2, 5)
        },
        Case { delegated: autoscaled(), wants: unscaled(), ..scaled("and outside of them", "scale", 5, 20) },
        Case { delegated: autoscaled(), wants: unscaled(), ..scaled("to zero", "scale", 5, 0) },
        Case {
            delegated: autoscaled(),
            wants: unscaled(),
            ..update("nor by the object itself", "toward-git", web("web:1", 5), web("web:1", 20))
        },
        Case {
            delegated: autoscaled(),
            wants: unscaled(),
            ..update("by the object itself", "", web("web:1", 5), web("web:1", 6))
        },
        Case {
            wants: vec![("c2", None)],
            ..update(
                "what nobody declares pretends to be somebody's",
                "pretender",
                git(),
                marked(git(), "c2"),
            )
        },
        Case {
            wants: vec![("c2", None)],
            ..update(
                "what it said before it may say",
                "",
                marked(git(), "c2"),
                with(marked(git(), "c2"), "/spec/replicas", json!(3)),
            )
        },
        behind(update(
            "a replica that is behind takes nothing back",
            "behind",
            marked(web("web:2", 2), "c3"),
            web("web:1", 2),
        )),
        behind(update("nor does it move on", "behind", marked(git(), "c3"), web("web:2", 2))),
        behind(update(
            "what Git says nothing about may change",
            "",
            marked(git(), "c3"),
            with(marked(git(), "c3"), "/metadata/labels/team", json!("blue")),
        )),
        Case {
            wants: vec![("c2", None)],
            ..behind(update(
                "a newer commit may declare what this replica does not know",
                "behind",
                marked(git(), "c3"),
                with(marked(git(), "c3"), "/spec/replicas", json!(5)),
            ))
        },
        Case { wants: vec![("c2", None)], ..behind(delete("nor may it go", "behind", marked(git(), "c3"))) },
        Case { wants: vec![("c2", None)], ..delete("once Git is known, it may", "", marked(git(), "c3")) },
        behind(scaled("scaling back to an old commit", "behind", 5, 2)),
        Case {
            wants: vec![("c2", Some(ingress("")))],
            ..update(
                "an Ingress is not given another class",
                "filled-once",
                ingress("internal"),
                ingress("public"),
            )
        },
        Case {
            wants: vec![("c2", Some(ingress("")))],
            ..update("nor one by hand", "filled-once", ingress(""), ingress("public"))
        },
        Case {
            wants: vec![("c2", Some(claim("")))],
            ..update("a claim is bound once", "", claim(""), claim("pv-1"))
        },
        Case {
            wants: vec![("c2", Some(claim("")))],
            ..update("and not to another volume", "filled-once", claim("pv-1"), claim("pv-2"))
        },
        Case {
            wants: vec![("c2", Some(web("web:2", 2))), ("c1", Some(web("web:1", 2)))],
            ..update(
                "what has arrived at the newest commit goes to no older one",
                "toward-git",
                web("web:2", 2),
                web("web:1", 2),
            )
        },
        Case {
            old: Some(shard_scale(3)),
            new: Some(shard_scale(9)),
            subresource: "scale",
            wants: vec![("c2", Some(shard(3)))],
            facts: Facts { scale_path: "spec.size".parse().ok(), ..Facts::default() },
            ..case("a custom kind's scale is the field that it sets", "scale")
        },
        update("marks as a sync sets them", "", git(), marked(git(), "c2")),
        update(
            "our label may not go",
            "held-marks",
            marked(git(), "c2"),
            with(marked(git(), "c2"), "/metadata/labels", json!({})),
        ),
        update(
            "nor may the owner change",
            "held-marks",
            marked(git(), "c2"),
            with(marked(git(), "c2"), "/metadata/annotations/kubectl-gitops.dev~1owner", json!("evil/app")),
        ),
        update("a commit that is unknown", "revision-forward", marked(git(), "c2"), marked(git(), "c0")),
        update(
            "a commit that it does not match",
            "revision-forward",
            with(drifted(), "/metadata/labels", json!({})),
            with(marked(git(), "c2"), "/spec/template/spec/hostNetwork", json!(true)),
        ),
        update("a restart of now", "", git(), restart("2026-05-28T20:26:40Z")),
        update("a restart of long ago", "toward-git", git(), restart("2020-01-01T00:00:00Z")),
    ]
}

#[test]
fn every_case_is_judged_as_named() {
    for case in cases() {
        let verdict = verdict_of(&case, RULES);
        assert_eq!(verdict.rule, case.expect, "{}: {:?}", case.name, verdict.differences);
        let decision = if case.expect.is_empty() { Decision::Allow } else { Decision::Deny };
        assert_eq!(verdict.decision, decision, "{}", case.name);
    }
}

/// A rule without which nothing changes is no rule.
#[test]
fn every_rule_has_teeth() {
    for rule in RULES {
        let others: Vec<Rule> = RULES.iter().filter(|other| other.id != rule.id).copied().collect();
        let bites = cases().iter().any(|case| verdict_of(case, &others).rule != case.expect);
        assert!(bites, "no case fails without {}", rule.id);
    }
}

#[test]
fn modes_soften_the_verdict() {
    for (mode, decision) in
        [(Mode::Enforce, Decision::Deny), (Mode::Warn, Decision::Warn), (Mode::Audit, Decision::Allow)]
    {
        let case =
            Case { new: Some(web("web:1", 5)), policy: Policy { mode, ..Policy::default() }, ..case("", "") };
        let verdict = verdict_of(&case, RULES);
        assert_eq!((verdict.decision, verdict.rule), (decision, "toward-git"));
    }
    let off = Case {
        new: Some(web("web:1", 5)),
        policy: Policy { mode: Mode::Off, ..Policy::default() },
        ..case("", "")
    };
    assert_eq!(verdict_of(&off, RULES).rule, "");
}

#[test]
fn our_own_kinds_are_closed_in_every_mode() {
    for mode in [Mode::Off, Mode::Audit, Mode::Warn] {
        let policy = Policy { mode, ..Policy::default() };
        for want in [None, Some(application("a"))] {
            let (old, new) = (Some(application("a")), Some(application("b")));
            let case = Case { old, new, wants: vec![("c2", want)], policy: policy.clone(), ..case("", "") };
            assert_eq!(verdict_of(&case, RULES).decision, Decision::Deny, "{mode:?}");
        }
    }
}

#[test]
fn denials_have_six_parts() {
    let text = |case: &Case| denial(&verdict_of(case, RULES));
    insta::assert_snapshot!(text(&Case { subresource: "scale", old: Some(scale(2)), new: Some(scale(5)), ..case("", "") }), @"
    Deployment shop/web is kept as Git says
      field:  spec.replicas
      git:    2
      tried:  5
      commit: c2 apps/web.yaml:7, application shop/web
      hint:   change apps/web.yaml:7, commit, push, then: kubectl gitops sync web
    ");
    insta::assert_snapshot!(text(&Case { operation: Operation::Delete, new: None, ..case("", "") }), @"
    Deployment shop/web is kept as Git says
      field:  (the whole object)
      git:    declared
      tried:  (deleted)
      commit: c2 apps/web.yaml:1, application shop/web
      hint:   remove it from apps/web.yaml:1, commit, push, then: kubectl gitops sync web --prune
    ");
    let sidecar =
        with(web("web:1", 2), "/spec/template/spec/containers/-", json!({"name": "x", "image": "x"}));
    insta::assert_snapshot!(text(&Case { new: Some(sidecar), ..case("", "") }), @r#"
    Deployment shop/web is kept as Git says
      field:  spec.template.spec.containers[name=x]
      git:    (not declared)
      tried:  {"image":"x","name":"x"}
      commit: c2 apps/web.yaml:6, application shop/web
      hint:   change apps/web.yaml:6, commit, push, then: kubectl gitops sync web
    "#);
}

#[test]
fn fifty_differences_fit_on_a_screen_and_secrets_stay_secret() {
    let secret = |value: &str| {
        let data: serde_json::Map<_, _> = (0..50).map(|i| (format!("k{i}"), value.into())).collect();
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "shop"}, "data": data})
    };
    let case = Case {
        old: Some(secret("aHVudGVy")),
        new: Some(secret("c3VwZXI=")),
        wants: vec![("c2", Some(secret("aHVudGVy")))],
        ..case("", "")
    };
    let text = denial(&verdict_of(&case, RULES));
    assert!(text.lines().count() <= 15, "{text}");
    assert!(text.contains("and 47 more"), "{text}");
    assert!(!text.contains("aHVudGVy") && !text.contains("c3VwZXI="), "{text}");
}

#[test]
fn an_override_covers_what_it_names_and_no_more() {
    let open = Override {
        name: "inc".into(),
        users: vec!["ada".into()],
        namespaces: vec!["shop".into()],
        expires_at: NOW + 60,
        ..Override::default()
    };
    let key = |group: &str, kind: &str, namespace: &str, name: &str| ObjectKey {
        group: group.into(),
        kind: kind.into(),
        namespace: namespace.into(),
        name: name.into(),
    };
    let web = key("apps", "Deployment", "shop", "web");
    let only = |kinds: &[&str], names: &[&str]| Override {
        kinds: kinds.iter().map(ToString::to_string).collect(),
        names: names.iter().map(ToString::to_string).collect(),
        ..open.clone()
    };
    for (by, key, user, now, covers) in [
        (&open, &web, "ada", NOW, true),
        (&open, &web, "eve", NOW, false),
        (&open, &web, "ada", NOW + 60, false),
        (&open, &key("", "Namespace", "", "shop"), "ada", NOW, true),
        (&open, &key("", "Namespace", "", "other"), "ada", NOW, false),
        (&open, &key("apps", "Deployment", "other", "web"), "ada", NOW, false),
        (&open, &key("rbac.authorization.k8s.io", "ClusterRole", "", "shop"), "ada", NOW, false),
        (&open, &key("kubectl-gitops.dev", "Application", "shop", "web"), "ada", NOW, false),
        (&Override { users: Vec::new(), ..open.clone() }, &web, "ada", NOW, false),
        (&Override { namespaces: Vec::new(), ..open.clone() }, &key("", "Node", "", "n"), "ada", NOW, true),
        (&only(&["Deployment"], &["web"]), &web, "ada", NOW, true),
        (&only(&["Deployment.apps"], &[]), &web, "ada", NOW, true),
        (&only(&["Deployment.example.com"], &[]), &web, "ada", NOW, false),
        (&only(&["ConfigMap"], &[]), &web, "ada", NOW, false),
        (&only(&[], &["api"]), &web, "ada", NOW, false),
    ] {
        assert_eq!(by.covers(key, user, now), covers, "{by:?} {key} {user}");
    }
}

proptest! {
    /// Rule 1, for any drift: what is added is refused, what is repaired is not.
    #[test]
    fn drift_may_shrink_and_never_grow(before in 0_u32..64, after in 0_u32..64) {
        let drift = |bits: u32| {
            let mut live = web("web:1", 2);
            for (bit, field) in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "automountServiceAccountToken", "setHostnameAsFQDN"].iter().enumerate() {
                if bits >> bit & 1 == 1 {
                    live["spec"]["template"]["spec"][*field] = json!(true);
                }
            }
            live
        };
        let case = Case { old: Some(drift(before)), new: Some(drift(after)), ..case("", "") };
        let grows = after & !before != 0;
        prop_assert_eq!(verdict_of(&case, RULES).decision == Decision::Deny, grows);
    }
}

/// Git says nothing of limits; the namespace's LimitRange does.
#[test]
fn a_declared_pod_may_have_what_its_surroundings_put() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"containers": [{"name": "web", "image": "web:1"}]}});
    let range = json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "100m"}}]}});
    let around = Surroundings { limit_ranges: vec![range], ..Default::default() };
    let limited = |cpu: &str| {
        with(
            pod.clone(),
            "/spec/containers/0/resources",
            json!({"limits": {"cpu": cpu}, "requests": {"cpu": "100m"}}),
        )
    };
    for (cpu, surroundings, rule) in
        [("1", Some(around.clone()), ""), ("2", Some(around), "toward-git"), ("1", None, "toward-git")]
    {
        let case = Case {
            operation: Operation::Create,
            old: None,
            new: Some(limited(cpu)),
            wants: vec![("c2", Some(pod.clone()))],
            facts: Facts { surroundings, ..Facts::default() },
            ..case("a Pod under a LimitRange", rule)
        };
        assert_eq!(verdict_of(&case, RULES).rule, rule, "{cpu}");
    }
}
