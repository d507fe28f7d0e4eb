//! What an object says: toward Git, to one commit of several, or not at all.

use serde_json::json;

use super::*;

pub(super) fn cases() -> Vec<Case> {
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
    const ARGUMENTS: &str = "/spec/template/spec/containers/0/args";
    let at = |object: Value, at: &str| {
        with(object, "/spec/template/metadata/annotations", json!({"kubectl.kubernetes.io/restartedAt": at}))
    };
    let restart = |time: &str| at(git(), time);
    let restarted = |object: Value| at(object, "2020-01-01T00:00:00Z");
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
        Case {
            wants: vec![("c2", Some(web("web:2", 2))), ("c1", Some(web("web:1", 2)))],
            ..update(
                "what has arrived at the newest commit goes to no older one",
                "toward-git",
                web("web:2", 2),
                web("web:1", 2),
            )
        },
        update("a restart of now", "", git(), restart("2026-05-28T20:26:40Z")),
        update("a restart of long ago", "toward-git", git(), restart("2020-01-01T00:00:00Z")),
        // One that was restarted once goes on to newer commits all the same.
        Case {
            wants: vec![("c2", Some(web("web:2", 2))), ("c1", Some(git()))],
            ..update(
                "the next version of what was restarted",
                "",
                marked(restarted(git()), "c1"),
                marked(restarted(web("web:2", 2)), "c2"),
            )
        },
        Case {
            wants: vec![("c2", Some(with(web("web:2", 2), ARGUMENTS, json!(["b"])))), ("c1", Some(git()))],
            ..update(
                "half of it",
                "mixed-commits",
                marked(restarted(git()), "c1"),
                marked(restarted(web("web:2", 2)), "c1"),
            )
        },
    ]
}
