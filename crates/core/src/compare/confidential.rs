//! What Git keeps encrypted is shown to nobody, in whatever kind it ends up.
//! In: a difference, and the texts that were encrypted. Out: the difference, its
//! values masked where they hold one of them.

use serde_json::Value;

use super::{Difference, MASK, Op, mask_secret};
use crate::object::Gvk;

/// Shorter texts count only as a whole value: parts of them are everywhere.
const SHORT: usize = 4;

/// Masks what a person may not read: a Secret's values, and those that hold one
/// of `confidential`. Where an object holds any, what is there beside is masked,
/// too: it may be what was encrypted before.
pub fn mask(gvk: &Gvk, difference: &mut Difference, confidential: &[String]) {
    mask_secret(gvk, difference);
    if confidential.is_empty() {
        return;
    }
    let shows = |value: &Option<Value>| value.as_ref().is_some_and(|value| holds(value, confidential));
    let stranger = difference.op == Op::Add && difference.path.head() != "metadata";
    if stranger || shows(&difference.git) || shows(&difference.tried) {
        for value in [&mut difference.git, &mut difference.tried].into_iter().flatten() {
            *value = Value::from(MASK);
        }
    }
}

/// Masks the values of an object that hold one of `confidential`.
pub fn mask_all(value: &mut Value, confidential: &[String]) {
    match value {
        Value::Object(map) => map.values_mut().for_each(|value| mask_all(value, confidential)),
        Value::Array(items) => items.iter_mut().for_each(|value| mask_all(value, confidential)),
        leaf if holds(leaf, confidential) => *leaf = Value::from(MASK),
        _ => {}
    }
}

/// Whether a value, or one in it, holds one of `confidential`.
pub fn holds(value: &Value, confidential: &[String]) -> bool {
    match value {
        Value::Object(map) => map.values().any(|value| holds(value, confidential)),
        Value::Array(items) => items.iter().any(|value| holds(value, confidential)),
        Value::String(text) => confidential
            .iter()
            .any(|hidden| text == hidden || hidden.len() >= SHORT && text.contains(hidden.as_str())),
        Value::Number(number) => {
            let text = number.to_string();
            confidential.contains(&text)
        }
        // Either may be guessed.
        Value::Bool(_) | Value::Null => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn masked(path: &str, op: Op, git: Option<Value>, tried: Option<Value>) -> String {
        let mut difference = Difference { path: path.parse().unwrap(), op, git, tried };
        mask(&Gvk::new("v1", "ConfigMap"), &mut difference, &["hunter2".into(), "12".into()]);
        let shown = |value: Option<Value>| value.map_or("-".into(), |value| value.to_string());
        format!("{} {}", shown(difference.git), shown(difference.tried))
    }

    #[test]
    fn what_was_encrypted_is_masked_wherever_it_ends_up() {
        let text = |text: &str| Some(json!(text));
        let cases = [
            (masked("data.a", Op::Change, text("url=hunter2"), text("url=other")), r#""***" "***""#),
            (masked("data.a", Op::Change, text("other"), text("hunter2")), r#""***" "***""#),
            (masked("data", Op::Remove, Some(json!({"a": ["hunter2"]})), None), r#""***" -"#),
            (masked("data.old", Op::Add, None, text("hunter1")), r#"- "***""#),
            (masked("data.port", Op::Change, Some(json!(12)), Some(json!(13))), r#""***" "***""#),
            (masked("data.b", Op::Change, text("2012"), text("2013")), r#""2012" "2013""#),
            (masked("metadata.labels.a", Op::Add, None, text("b")), r#"- "b""#),
        ];
        for (found, wanted) in cases {
            assert_eq!(found, wanted);
        }
        let mut object = json!({"data": {"a": "x", "b": "a hunter2"}});
        mask_all(&mut object, &["hunter2".into()]);
        assert_eq!(object, json!({"data": {"a": "x", "b": MASK}}));
    }
}
