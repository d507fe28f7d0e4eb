//! Our own kinds: who may change an Application, and what.

use serde_json::{Value, json};

use super::*;

/// An Application that is being deleted, with these finalizers.
fn going(finalizers: Value) -> Value {
    let going = with(application("a"), "/metadata/deletionTimestamp", json!("2026-11-24T10:00:00Z"));
    with(going, "/metadata/finalizers", finalizers)
}

fn mistake() -> Option<String> {
    Some("spec.sync.windows[0].schedule: \"never\" is no cron schedule".into())
}

pub(super) fn cases() -> Vec<Case> {
    vec![
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
            old: Some(going(json!(["kubectl-gitops.dev/prune"]))),
            new: Some(going(json!([]))),
            wants: vec![("c2", None)],
            tracked: false,
            ..case("ours goes from one that is being deleted", "")
        },
        Case {
            old: Some(going(json!(["evil.example.com/stay"]))),
            new: Some(going(json!([]))),
            wants: vec![("c2", None)],
            tracked: false,
            ..case("another's does not", "own-kinds")
        },
        Case {
            old: Some(with(application("a"), "/metadata/finalizers", json!(["kubectl-gitops.dev/prune"]))),
            new: Some(application("a")),
            wants: vec![("c2", None)],
            tracked: false,
            ..case("nor does ours before", "own-kinds")
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
            operation: Operation::Create,
            old: None,
            new: Some(application("a")),
            wants: vec![("c2", None)],
            tracked: false,
            facts: Facts { may_manage: true, mistake: mistake(), ..Facts::default() },
            ..case("what cannot be read is told at once", "own-spec")
        },
        Case {
            operation: Operation::Create,
            old: None,
            new: Some(application("a")),
            wants: vec![("c2", Some(application("a")))],
            facts: Facts { mistake: mistake(), ..Facts::default() },
            ..case("of what Git declares, too", "own-spec")
        },
    ]
}
