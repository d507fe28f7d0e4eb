//! From rendered objects to desired ones, and the mistakes that are told.

#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::json;

use super::*;
use crate::names::{ANNOTATION_ORIGIN, ANNOTATION_OWNER, LABEL_APPLICATION};

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
