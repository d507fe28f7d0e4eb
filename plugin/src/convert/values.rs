//! Values of charts. In: texts of YAML, and keys as helm's `--set` takes them.
//! Out: one value.

use gitops_source::yaml;
use serde_json::{Map, Value};

/// The one mapping that a text of YAML holds; empty text holds an empty one.
///
/// # Errors
/// What is wrong with it.
pub fn read(text: &str) -> Result<Value, String> {
    let mut documents = yaml::documents("values", text).map_err(|error| error.to_string())?;
    match documents.len() {
        0 => Ok(Value::Object(Map::new())),
        1 if documents[0].value.is_object() => Ok(documents.remove(0).value),
        _ => Err("values have to be one mapping".into()),
    }
}

/// Puts values over others, as helm does: mappings are merged, anything else is
/// replaced.
pub fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

/// A value at a key such as `image.tag` or `a\.b.c`; none where it leads into a
/// list, which only helm can change in place.
pub fn nested(key: &str, value: Value) -> Option<Value> {
    if key.contains(['[', '{', ',']) {
        return None;
    }
    let (mut names, mut name, mut letters) = (Vec::new(), String::new(), key.chars());
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => name.extend(letters.next()),
            '.' => names.push(std::mem::take(&mut name)),
            letter => name.push(letter),
        }
    }
    names.push(name);
    let wrap = |value, name| Value::Object([(name, value)].into_iter().collect());
    (!names.iter().any(String::is_empty)).then(|| names.into_iter().rev().fold(value, wrap))
}

/// What helm's `--set` makes of a text: numbers, truth values and null are none.
pub fn typed(text: &str) -> Value {
    match text.to_lowercase().as_str() {
        "true" => true.into(),
        "false" => false.into(),
        "null" => Value::Null,
        "0" => 0.into(),
        _ if text.starts_with('0') => text.into(),
        _ => text.parse::<i64>().map_or_else(|_| text.into(), Value::from),
    }
}

/// A text without the backslashes that keep helm from reading its letters; a
/// list in braces stays as it is.
pub fn unescaped(text: &str) -> String {
    if text.starts_with('{') && text.ends_with('}') {
        return text.to_owned();
    }
    let (mut plain, mut letters) = (String::new(), text.chars());
    while let Some(letter) = letters.next() {
        plain.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    plain
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_read_as_helm_reads_them() {
        assert_eq!(nested("a.b", json!(1)), Some(json!({"a": {"b": 1}})));
        assert_eq!(nested(r"a\.b.c", json!("x")), Some(json!({"a.b": {"c": "x"}})));
        for key in ["a[0]", "", "a..b", "a.{b}"] {
            assert_eq!(nested(key, json!(1)), None, "{key}");
        }
    }

    #[test]
    fn texts_are_typed_as_helm_types_them() {
        for (text, value) in [
            ("true", json!(true)),
            ("12", json!(12)),
            ("0", json!(0)),
            ("012", json!("012")),
            ("1.5", json!("1.5")),
            ("null", json!(null)),
            ("web", json!("web")),
        ] {
            assert_eq!(typed(text), value, "{text}");
        }
        assert_eq!(unescaped(r"a\,b\\c"), r"a,b\c");
        assert_eq!(unescaped(r"{a\,b,c}"), r"{a\,b,c}");
    }

    #[test]
    fn values_are_merged_and_read() {
        let mut under = read("a: {b: 1, c: [1]}\n").unwrap();
        merge(&mut under, json!({"a": {"c": [2], "d": 3}}));
        assert_eq!(under, json!({"a": {"b": 1, "c": [2], "d": 3}}));
        assert_eq!(read("").unwrap(), json!({}));
        assert!(read("- a\n").is_err() && read("a: [").is_err());
    }
}
