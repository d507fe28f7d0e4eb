//! Rollouts: their status, and the second workload.

use serde_json::json;

use super::*;
use crate::rollout::bounds::Grounds;
use crate::rollout::simulation::spec;
use crate::rollout::spec::Strategy;

pub(super) fn cases() -> Vec<Case> {
    let rollout = |state: Value| {
        json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "web", "namespace": "shop"}, "spec": {}, "status": {"state": state}})
    };
    let version = |revision: &str| json!({"revision": revision, "hash": revision});
    let held = ["a", "b"].map(|revision| (revision.to_owned(), revision.to_owned()));
    let grounds = Some((spec(Strategy::Canary(Vec::new())), Grounds::default()));
    let promotion = Promotion { held: held.into(), rollout: grounds, ..Promotion::default() };
    let status = |name: &'static str, expect: &'static str, new: Value| Case {
        subresource: "status",
        old: Some(rollout(json!({"stable": version("a")}))),
        new: Some(rollout(new)),
        wants: vec![("c2", Some(rollout(Value::Null)))],
        facts: Facts { promotion: Some(promotion.clone()), ..Facts::default() },
        ..case(name, expect)
    };
    vec![
        status("a status may bring a version in", "", json!({"stable": version("a"), "new": version("b")})),
        status("and promote none past the gate", "rollout-status", json!({"stable": version("b")})),
        Case {
            operation: Operation::Create,
            old: None,
            new: Some(web("web:2", 1)),
            wants: vec![],
            tracked: false,
            facts: Facts { second_of: Some("shop/web".into()), ..Facts::default() },
            ..case("nobody makes a second workload", "second")
        },
    ]
}
