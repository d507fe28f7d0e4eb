//! A replica that does not know the newest commit.

use serde_json::json;

use super::*;

fn behind(case: Case) -> Case {
    Case { facts: Facts { behind: true, ..Facts::default() }, ..case }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        behind(update(
            "a replica that is behind takes nothing back",
            "behind",
            marked(web("web:2", 2), "c3"),
            web("web:1", 2),
        )),
        behind(update("nor does it move on", "behind", marked(git(), "c3"), web("web:2", 2))),
        behind(update(
            "what Git says nothing about may change",
            "",
            marked(git(), "c3"),
            with(marked(git(), "c3"), "/metadata/labels/team", json!("blue")),
        )),
        Case {
            wants: vec![("c2", None)],
            ..behind(update(
                "a newer commit may declare what this replica does not know",
                "behind",
                marked(git(), "c3"),
                with(marked(git(), "c3"), "/spec/replicas", json!(5)),
            ))
        },
        Case { wants: vec![("c2", None)], ..behind(delete("nor may it go", "behind", marked(git(), "c3"))) },
        Case { wants: vec![("c2", None)], ..delete("once Git is known, it may", "", marked(git(), "c3")) },
        behind(scaled("scaling back to an old commit", "behind", 5, 2)),
    ]
}
