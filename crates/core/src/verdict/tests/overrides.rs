//! Overrides: who opens one, for how long, and what it covers.

use serde_json::{Value, json};

use super::*;

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

pub(super) fn cases() -> Vec<Case> {
    vec![
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
    ]
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
