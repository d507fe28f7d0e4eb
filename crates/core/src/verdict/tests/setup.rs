//! What the cases are made of: objects, a case with its usual values, and its
//! verdict.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::delegation::Free;
use crate::desired::{LineTree, Rendered, Scopes, stamp};
use crate::verdict::*;

static SCHEMAS: LazyLock<Schemas> = LazyLock::new(Schemas::builtin);

fn app() -> AppRef {
    AppRef { namespace: "shop".into(), name: "web".into() }
}

pub(crate) fn declared(value: Value) -> DesiredObject {
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

pub(crate) fn web(image: &str, replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image, "args": ["a"]}]}}}})
}

/// A case: a write, and what Git says about its object.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) operation: Operation,
    pub(crate) subresource: &'static str,
    pub(crate) old: Option<Value>,
    pub(crate) new: Option<Value>,
    /// Commit and object, the tip first.
    pub(crate) wants: Vec<(&'static str, Option<Value>)>,
    pub(crate) tracked: bool,
    pub(crate) facts: Facts,
    pub(crate) delegated: Vec<Free>,
    pub(crate) policy: Policy,
    /// The rule that objects, or nothing.
    pub(crate) expect: &'static str,
}

pub(crate) fn case(name: &'static str, expect: &'static str) -> Case {
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

/// What Git declares in a case that says nothing else.
pub(super) fn git() -> Value {
    web("web:1", 2)
}

/// With a field that Git does not declare.
pub(super) fn drifted() -> Value {
    with(git(), "/spec/template/spec/hostNetwork", json!(true))
}

pub(super) fn create(name: &'static str, expect: &'static str, new: Value) -> Case {
    Case { operation: Operation::Create, old: None, new: Some(new), ..case(name, expect) }
}

pub(super) fn update(name: &'static str, expect: &'static str, old: Value, new: Value) -> Case {
    Case { old: Some(old), new: Some(new), ..case(name, expect) }
}

pub(super) fn delete(name: &'static str, expect: &'static str, old: Value) -> Case {
    Case { operation: Operation::Delete, old: Some(old), new: None, ..case(name, expect) }
}

pub(super) fn scaled(name: &'static str, expect: &'static str, from: u32, to: u32) -> Case {
    Case { subresource: "scale", old: Some(scale(from)), new: Some(scale(to)), ..case(name, expect) }
}

pub(crate) fn with(mut value: Value, pointer: &str, to: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    match value.pointer_mut(parent).unwrap() {
        Value::Array(items) if field == "-" => items.push(to),
        Value::Array(items) => items[field.parse::<usize>().unwrap()] = to,
        parent => parent[field.replace("~1", "/")] = to,
    }
    value
}

pub(super) fn marked(value: Value, revision: &str) -> Value {
    stamp(&declared(value), &app(), revision)
}

pub(super) const NOW: i64 = 1_780_000_000;

pub(super) fn verdict_of(case: &Case, rules: &[Rule]) -> Verdict {
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

pub(crate) fn application(repo: &str) -> Value {
    json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": "web", "namespace": "shop"}, "spec": {"source": {"repo": repo}}})
}

pub(crate) fn scale(replicas: u32) -> Value {
    json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web", "namespace": "shop"}, "spec": {"replicas": replicas}})
}
