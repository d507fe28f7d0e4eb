//! Deletes of what Git declares.

use serde_json::{Value, json};

use super::*;

pub(super) fn cases() -> Vec<Case> {
    let bound = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "r", "namespace": "shop"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"}});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "shop"}, "spec": {"ttlSecondsAfterFinished": 10, "template": {}},
        "status": {"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    vec![
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
    ]
}
