//! Namespaces and definitions that hold declared objects: they stay, and are
//! not opened.

use serde_json::json;

use super::*;

fn namespace(labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": labels}})
}

pub(super) fn cases() -> Vec<Case> {
    let crd = || json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "dbs.example.com"}});
    vec![
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
    ]
}
