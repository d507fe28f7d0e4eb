//! What Git keeps encrypted is shown to nobody, in whatever kind it ends up.
//! In: a difference or a message, and the texts that were encrypted. Out: the
//! same, masked where it holds one of them.

use serde_json::{Map, Value};

use super::scalar::bytes;
use super::{Difference, MASK, Op, mask_secret};
use crate::desired::DesiredObject;
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

/// A message about an object, without what nobody may read of it: others quote
/// what they refuse.
pub fn mask_message(message: &str, object: &DesiredObject) -> String {
    let mut confidential = object.origin.confidential.to_vec();
    if object.gvk.is_secret() {
        let data =
            ["data", "stringData"].into_iter().filter_map(|field| object.value.get(field)?.as_object());
        for value in data.flat_map(Map::values) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            confidential.extend(bytes(&text).and_then(|bytes| String::from_utf8(bytes).ok()));
            confidential.push(text);
        }
    }
    mask_text(message, &confidential)
}

/// A text with every one of `confidential` in it masked.
pub fn mask_text(text: &str, confidential: &[String]) -> String {
    let long = confidential.iter().filter(|hidden| hidden.len() >= SHORT);
    // Others quote what they refuse.
    let mut hidden: Vec<String> = long.flat_map(|text| [text.clone(), quoted(text)]).collect();
    // One may be a part of another.
    hidden.sort_by_key(|hidden| std::cmp::Reverse(hidden.len()));
    hidden.into_iter().fold(text.to_owned(), |text, hidden| text.replace(&hidden, MASK))
}

/// A text as it stands between the quotes of JSON.
pub fn quoted(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
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
        let hidden = ["hunter".to_owned(), "hunter2".to_owned(), "12".to_owned()];
        assert_eq!(mask_text("12: \"hunter2\" and hunter", &hidden), "12: \"***\" and ***");
        let mut object = json!({"data": {"a": "x", "b": "a hunter2"}});
        mask_all(&mut object, &["hunter2".into()]);
        assert_eq!(object, json!({"data": {"a": "x", "b": MASK}}));
    }

    #[test]
    fn a_message_quotes_no_secret() {
        let value = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "aHVudGVyMg==", "b": 123_456}});
        let object = crate::fixture::declared(value);
        let told = mask_message("a: aHVudGVyMg== is hunter2, b: 123456", &object);
        assert_eq!(told, "a: *** is ***, b: ***");
        // As servers quote it.
        let told = mask_text("invalid value: \"one\\ntwo \\\"x\\\"\"", &["one\ntwo \"x\"".to_owned()]);
        assert_eq!(told, "invalid value: \"***\"");
    }
}
