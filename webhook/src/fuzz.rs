//! Bad reviews: whatever the body, the answer is well-formed and has the
//! request's uid, and what could not be judged is not allowed.
//! `PROPTEST_CASES` sets for how long (`make soak`).
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../crates/core/src/fuzz/mutate.rs"]
mod mutate;

use std::sync::LazyLock;

use axum::http::StatusCode;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::admission::salvage;
use crate::server::reviews;
use crate::server::tests::{ask, keeper};

const REVIEWS: &[&str] = &[
    include_str!("../../tests/fuzz/corpus/reviews/application.json"),
    include_str!("../../tests/fuzz/corpus/reviews/create.json"),
    include_str!("../../tests/fuzz/corpus/reviews/delete.json"),
    include_str!("../../tests/fuzz/corpus/reviews/exec.json"),
    include_str!("../../tests/fuzz/corpus/reviews/namespace.json"),
    include_str!("../../tests/fuzz/corpus/reviews/pod.json"),
    include_str!("../../tests/fuzz/corpus/reviews/scale.json"),
    include_str!("../../tests/fuzz/corpus/reviews/update.json"),
];

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// An answer that the API server takes (admission/v1, AdmissionResponse), or a
/// refusal to read what names no request.
fn answered(path: &str, body: &[u8]) -> Result<(), TestCaseError> {
    let (status, text) = RUNTIME.block_on(async { ask(reviews(keeper()), path, body.to_vec()).await });
    let Some(uid) = salvage::uid(body) else {
        prop_assert!(status == StatusCode::BAD_REQUEST || status == StatusCode::OK, "{status}: {text}");
        return Ok(());
    };
    prop_assert_eq!(status, StatusCode::OK, "{}", text);
    let answer: Value = serde_json::from_str(&text).unwrap();
    prop_assert_eq!(&answer["apiVersion"], "admission.k8s.io/v1");
    prop_assert_eq!(&answer["kind"], "AdmissionReview");
    let response = &answer["response"];
    prop_assert_eq!(&response["uid"], &json!(uid));
    let allowed = response["allowed"].as_bool();
    prop_assert!(allowed.is_some());
    if allowed == Some(false) {
        let message = response["status"]["message"].as_str().unwrap_or_default();
        prop_assert!(!message.is_empty() && !message.contains("could not judge"), "{}", text);
    }
    // What cannot be read is refused where it counts.
    if path == "/validate" && serde_json::from_slice::<crate::admission::AdmissionReview>(body).is_err() {
        prop_assert_eq!(allowed, Some(false));
    }
    prop_assert!(text.len() < 8 * body.len() + 8192, "{} bytes for {}", text.len(), body.len());
    Ok(())
}

proptest! {
    #[test]
    fn reviews_of_broken_text_are_answered(body in mutate::text(REVIEWS)) {
        answered("/validate", &body)?;
        answered("/mutate", &body)?;
    }

    #[test]
    fn reviews_of_odd_values_are_answered(text in prop::sample::select(REVIEWS), changes in mutate::changes()) {
        let good: Value = serde_json::from_str(text).unwrap();
        let body = mutate::changed(&good, &changes).to_string();
        answered("/validate", body.as_bytes())?;
        answered("/mutate", body.as_bytes())?;
    }
}

#[test]
fn bombs_are_answered() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    for object in [
        nested(100),
        nested(127),
        nested(200_000),
        "1e999".into(),
        "\"\\ud800\"".into(),
        format!("{{{}\"a\":1}}", "\"a\":1,".repeat(50_000)),
    ] {
        let body = format!(
            r#"{{"request": {{"uid": "u-1", "kind": {{"version": "v1", "kind": "ConfigMap"}}, "resource": {{"resource": "configmaps"}}, "operation": "CREATE", "object": {object}}}}}"#
        );
        for path in ["/validate", "/mutate"] {
            answered(path, body.as_bytes()).unwrap();
        }
    }
}
