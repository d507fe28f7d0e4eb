//! The marks of a sync: who may set them, and to what.

use serde_json::json;

use super::*;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case {
            wants: vec![("c2", None)],
            ..update(
                "what nobody declares pretends to be somebody's",
                "pretender",
                git(),
                marked(git(), "c2"),
            )
        },
        Case {
            wants: vec![("c2", None)],
            ..update(
                "what it said before it may say",
                "",
                marked(git(), "c2"),
                with(marked(git(), "c2"), "/spec/replicas", json!(3)),
            )
        },
        update("marks as a sync sets them", "", git(), marked(git(), "c2")),
        update(
            "our label may not go",
            "held-marks",
            marked(git(), "c2"),
            with(marked(git(), "c2"), "/metadata/labels", json!({})),
        ),
        update(
            "nor may the owner change",
            "held-marks",
            marked(git(), "c2"),
            with(marked(git(), "c2"), "/metadata/annotations/kubectl-gitops.dev~1owner", json!("evil/app")),
        ),
        update("a commit that is unknown", "revision-forward", marked(git(), "c2"), marked(git(), "c0")),
        update(
            "a commit that it does not match",
            "revision-forward",
            with(drifted(), "/metadata/labels", json!({})),
            with(marked(git(), "c2"), "/spec/template/spec/hostNetwork", json!(true)),
        ),
    ]
}
