#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::{Value, json};

use super::tests::{Case, application, case, with};
use super::*;

/// An Application by which `by` asks for something.
fn asked(id: &str, by: &str) -> Value {
    let annotations = json!({"kubectl-gitops.dev/request": format!(r#"{{"id":"{id}","verb":"sync"}}"#), "kubectl-gitops.dev/requested-by": by});
    with(application("a"), "/metadata/annotations", annotations)
}

/// `ada`, who has the verb, asks for something.
fn asking(name: &'static str, expect: &'static str, old: Value, new: Value) -> Case {
    Case {
        old: Some(old),
        new: Some(new),
        wants: vec![("c2", Some(application("a")))],
        facts: Facts { asked: Asked::Permitted, writer: "ada".into(), ..Facts::default() },
        ..case(name, expect)
    }
}

/// Cases of requests.
pub(super) fn cases() -> Vec<Case> {
    let plain = || application("a");
    let unstamped = || with(plain(), "/metadata/annotations", json!({"kubectl-gitops.dev/request": "{}"}));
    let with_facts = |asked: Asked, case: Case| Case { facts: Facts { asked, ..case.facts }, ..case };
    let undeclared = |case: Case| Case { wants: vec![("c2", None)], tracked: false, ..case };
    let manager = |case: Case| Case { facts: Facts { may_manage: true, ..case.facts }, ..case };
    let rollout = |value: Value| with(value, "/kind", json!("Rollout"));
    vec![
        asking("who has the verb asks", "", plain(), asked("1", "ada")),
        undeclared(asking("of what Git does not declare, too", "", plain(), asked("1", "ada"))),
        Case {
            wants: vec![("c2", Some(rollout(plain())))],
            ..asking("of a Rollout, too", "", rollout(plain()), rollout(asked("1", "ada")))
        },
        with_facts(
            Asked::Forbidden("sync".into()),
            asking("who has it not does not", "request", plain(), asked("1", "ada")),
        ),
        with_facts(
            Asked::Unreadable("it is no request".into()),
            asking("nonsense is not asked for", "request", plain(), asked("1", "ada")),
        ),
        with_facts(
            Asked::Unknown,
            asking("not knowing opens nothing", "request", plain(), asked("1", "ada")),
        ),
        asking("a request without a stamp", "request", plain(), unstamped()),
        asking("nor in the name of another", "request", plain(), asked("1", "bob")),
        asking("nor under an older stamp", "request", asked("1", "bob"), asked("2", "bob")),
        asking("the next request is one's own", "", asked("1", "bob"), asked("2", "ada")),
        manager(undeclared(asking(
            "a stamp is not put on another's request",
            "request",
            asked("1", "bob"),
            asked("1", "ada"),
        ))),
        manager(undeclared(asking(
            "nor where nothing is asked",
            "request",
            plain(),
            with(plain(), "/metadata/annotations", json!({"kubectl-gitops.dev/requested-by": "ada"})),
        ))),
        asking("a request is withdrawn", "", asked("1", "bob"), plain()),
        with_facts(
            Asked::Forbidden("sync".into()),
            asking("but by those with its verb", "request", asked("1", "bob"), plain()),
        ),
        undeclared(asking(
            "nothing else changes by it",
            "own-kinds",
            plain(),
            with(asked("1", "ada"), "/spec/source", json!({"repo": "b"})),
        )),
        asking(
            "nor where Git declares it",
            "toward-git",
            plain(),
            with(asked("1", "ada"), "/spec/source", json!({"repo": "b"})),
        ),
        undeclared(Case {
            operation: Operation::Create,
            old: None,
            ..manager(asking("it comes with a stamp of its own", "request", plain(), asked("1", "bob")))
        }),
        undeclared(asking(
            "a Project carries none",
            "own-kinds",
            with(plain(), "/kind", json!("Project")),
            with(asked("1", "ada"), "/kind", json!("Project")),
        )),
    ]
}
