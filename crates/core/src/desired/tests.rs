//! From rendered objects to desired ones, and the mistakes that are told.

#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::names::{ANNOTATION_ORIGIN, ANNOTATION_OWNER, LABEL_APPLICATION};
use crate::plan::annotations;

struct Known;
impl Scopes for Known {
    fn namespaced(&self, gvk: &Gvk) -> Option<bool> {
        match gvk.kind.as_str() {
            "Namespace" | "CustomResourceDefinition" => Some(false),
            "Deployment" | "Secret" | "ConfigMap" => Some(true),
            _ => None,
        }
    }
}

fn build(values: Vec<Value>) -> Result<DesiredSet, Vec<DesiredError>> {
    let app = AppRef { namespace: "a".into(), name: "shop".into() };
    let rendered = values.into_iter().enumerate().map(|(i, value)| Rendered {
        value,
        file: format!("{i}.yaml").into(),
        line: 1,
        lines: None,
        confidential: Vec::new(),
    });
    DesiredSet::build(app, "c".into(), "shop", &Known, rendered.collect())
}

#[test]
fn namespaces_are_filled_and_dropped() {
    let set = build(vec![
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "b", "namespace": "x"}}),
    ])
    .unwrap();
    let keys: Vec<String> = set.objects.keys().map(ToString::to_string).collect();
    assert_eq!(keys, ["ConfigMap shop/a", "Namespace b"]);
}

#[test]
fn every_mistake_is_told_at_once() {
    let errors = build(vec![
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "shop"}}),
        json!({"apiVersion": "example.com/v1", "kind": "Db", "metadata": {"name": "d"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "a-"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "l", "labels": {"a": 1}}}),
    ])
    .unwrap_err();
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(texts.join("\n"), @r#"
    ConfigMap shop/a is declared twice: 0.yaml:1 and 1.yaml:1
    3.yaml:1: v1 ConfigMap a- has metadata.generateName: an object in Git that is no hook needs a name
    4.yaml:1: v1 ConfigMap l: metadata.labels["a"] is 1, which is not text: quote it
    2.yaml:1: example.com/v1 Db d: the cluster has no such kind
    "#);
}

#[test]
fn a_definition_in_the_set_makes_its_kind_known() {
    let set = build(vec![
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "dbs.example.com"},
            "spec": {"group": "example.com", "names": {"kind": "Db"}, "scope": "Namespaced"}}),
        json!({"apiVersion": "example.com/v1", "kind": "Db", "metadata": {"name": "d"}}),
    ]);
    assert_eq!(set.unwrap().objects.len(), 2);
}

#[test]
fn a_kind_may_come_later_where_that_is_said() {
    let object = |annotations: Value| Rendered {
        value: json!({"apiVersion": "example.com/v1", "kind": "Db", "metadata": {"name": "d", "annotations": annotations}}),
        file: "f".into(),
        line: 1,
        lines: None,
        confidential: Vec::new(),
    };
    let late = json!({"argocd.argoproj.io/sync-options": "SkipDryRunOnMissingResource=true"});
    let known = |lenient: bool, annotations: Value| {
        let mut builder = Builder::<DesiredObject>::new("shop", &Known).lenient(lenient);
        builder.add(object(annotations));
        builder.finish().is_ok()
    };
    assert!(known(false, late) && known(true, json!({})) && !known(false, json!({})));
}

#[test]
fn names_are_generated_for_hooks_only() {
    let hook = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "run-", "annotations": {"argocd.argoproj.io/hook": "PreSync"}}});
    let set = build(vec![hook]).unwrap();
    assert_eq!(set.objects.keys().next().unwrap().name, "run-*");
}

#[test]
fn string_data_becomes_data() {
    let set = build(vec![json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "eA=="}, "stringData": {"b": "y"}})]).unwrap();
    assert_eq!(set.objects.values().next().unwrap().value["data"], json!({"a": "eA==", "b": "eQ=="}));
}

#[test]
fn lines_are_found_by_path() {
    let tree = LineTree {
        line: 1,
        fields: [
            ("metadata".to_owned(), LineTree { line: 3, ..LineTree::default() }),
            (
                "data".to_owned(),
                LineTree {
                    line: 5,
                    fields: [("b".to_owned(), LineTree { line: 7, ..LineTree::default() })].into(),
                    ..LineTree::default()
                },
            ),
        ]
        .into(),
        ..LineTree::default()
    };
    let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1", "b": "2"}});
    let app = AppRef { namespace: "a".into(), name: "shop".into() };
    let rendered =
        Rendered { value, file: "c.yaml".into(), line: 1, lines: Some(tree), confidential: Vec::new() };
    let set = DesiredSet::build(app, "c".into(), "shop", &Known, vec![rendered]).unwrap();
    let object = set.objects.values().next().unwrap();
    let line = |path: &str| object.line_of(&path.parse().unwrap());
    assert_eq!(
        (line("data.b"), line("data.a"), line("data.new"), line("metadata.name")),
        (Some(7), Some(5), Some(5), Some(3))
    );
}

#[test]
fn marks_name_the_commit_and_the_file() {
    let set =
        build(vec![json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})]).unwrap();
    let stamped = stamp(set.objects.values().next().unwrap(), &set.application, &set.revision);
    assert_eq!(stamped["metadata"]["labels"][LABEL_APPLICATION], "shop");
    assert_eq!(stamped["metadata"]["annotations"][ANNOTATION_ORIGIN], "0.yaml:1");
    assert_eq!(stamped["metadata"]["annotations"][ANNOTATION_OWNER], "a/shop");
}

/// Some words, among them such as stand in an object's text.
fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a",
        "namespace",
        "metadata",
        "name",
        ",\"namespace\":",
        "\t",
        "\n",
        "é\u{0}",
        "",
        "argocd.argoproj.io/sync-wave",
        "helm.sh/resource-policy",
        "status",
    ])
    .prop_map(str::to_owned)
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), word().prop_map(Value::from)];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(word(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A tree of lines for a value, as a loader makes one: not all of it is written.
fn tree(value: &Value, line: &mut u32) -> LineTree {
    *line += 1;
    let here = *line;
    let (mut fields, mut items) = (BTreeMap::new(), Vec::new());
    match value {
        Value::Object(map) => fields.extend(map.iter().map(|(key, value)| (key.clone(), tree(value, line)))),
        Value::Array(list) => items.extend(list.iter().map(|value| tree(value, line))),
        _ => {}
    }
    LineTree { line: here, fields, items }
}

proptest! {
    /// The cluster sees no difference between an object that was kept and one that was
    /// read from Git just now.
    #[test]
    fn what_was_kept_is_what_was_read(
        kind in prop::sample::select(vec!["ConfigMap", "Namespace", "Secret", "Other", "CustomResourceDefinition"]),
        namespace in prop::option::of(word()),
        mut metadata in prop::collection::btree_map(word(), anything(), 0..3),
        annotations in prop::collection::btree_map(word(), word(), 0..3),
        rest in prop::collection::btree_map(word(), anything(), 0..4),
        named in prop::sample::select(vec!["name", "generateName", "aaa"]),
    ) {
        metadata.insert(named.to_owned(), "a".into());
        metadata.insert("annotations".to_owned(), json!(annotations));
        if let Some(namespace) = namespace {
            metadata.insert("namespace".to_owned(), namespace.into());
        }
        let mut value = json!(rest);
        value["apiVersion"] = "v1".into();
        value["kind"] = kind.into();
        value["metadata"] = json!(metadata);
        let lines = Some(tree(&value, &mut 0));
        let rendered =
            Rendered { value, file: "f".into(), line: 1, lines, confidential: Vec::new() };
        let built = |given: Given| {
            let mut builder = Builder::<DesiredObject>::new("shop", &Known);
            builder.add(given);
            builder.finish()
        };
        let given = Given::ready(rendered.clone());
        prop_assert!(!(matches!(given, Given::Ready(_)) && kind == "Secret"));
        let kept = Given::of_line(&given.to_line().unwrap()).unwrap();
        let (read, kept) = (built(rendered.into()), built(kept));
        prop_assert_eq!(&read, &kept);
        for (read, kept) in read.iter().flatten().zip(kept.iter().flatten()) {
            prop_assert_eq!(read.1.value.json(), kept.1.value.json());
            prop_assert_eq!(annotations::role(read.1.value.notes()), annotations::role(kept.1.value.notes()));
            prop_assert_eq!(annotations::wave(read.1.value.notes()), annotations::wave(kept.1.value.notes()));
            prop_assert_eq!(
                annotations::options(read.1.value.notes()),
                annotations::options(kept.1.value.notes())
            );
        }
    }
}

#[test]
fn most_objects_are_made_ready_and_stay_unread() {
    let value =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "b"}});
    let rendered = Rendered { value, file: "f".into(), line: 1, lines: None, confidential: Vec::new() };
    let secret = Rendered { confidential: vec!["b".into()], ..rendered.clone() };
    assert!(matches!(Given::ready(rendered), Given::Ready(_)));
    assert!(
        matches!(Given::ready(secret), Given::Rendered(_)),
        "its texts are not known to whoever keeps it"
    );
}
