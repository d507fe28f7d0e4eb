//! Bad YAML: read or refused with its place, and never larger than allowed.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../core/src/fuzz/mutate.rs"]
#[allow(dead_code, reason = "the values are other crates' part")]
mod mutate;

use proptest::prelude::*;

use crate::yaml::documents;

const FILES: &[&str] = &[
    include_str!("../../../tests/fuzz/corpus/yaml/anchors.yaml"),
    include_str!("../../../tests/fuzz/corpus/yaml/deployment.yaml"),
];

proptest! {
    #[test]
    fn yaml_of_any_shape_is_read_or_refused(text in mutate::text(FILES)) {
        let text = String::from_utf8_lossy(&text);
        match documents("a.yaml", &text) {
            Ok(documents) => {
                for document in &documents {
                    // What was read is JSON, and reads as the same again.
                    let json = document.value.to_string();
                    prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok() || json.len() > 1 << 20);
                }
            }
            Err(error) => prop_assert!(error.to_string().contains("a.yaml"), "{error}"),
        }
    }
}
