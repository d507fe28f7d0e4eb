//! Reading a live object's status: what is absent counts as nothing.

use serde_json::Value;

use super::{Health, HealthReport};

pub(super) fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

pub(super) fn count(object: &Value, pointer: &str) -> i64 {
    number(object, pointer).unwrap_or(0)
}

pub(super) fn flag(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer) == Some(&Value::Bool(true))
}

/// A text, or nothing where it is absent.
pub(super) fn at<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or("")
}

pub(super) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// `Deployment web`; the namespace is the reader's own.
pub(super) fn named(object: &Value) -> String {
    format!("{} {}", text(object, "kind"), at(object, "/metadata/name"))
}

pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    condition_in(list(object, "/status/conditions"), kind)
}

pub(super) fn condition_in<'a>(conditions: &'a [Value], kind: &str) -> Option<&'a Value> {
    conditions.iter().find(|condition| text(condition, "type") == kind)
}

/// The condition, if it has this status.
pub(super) fn when<'a>(object: &'a Value, kind: &str, status: &str) -> Option<&'a Value> {
    condition(object, kind).filter(|condition| text(condition, "status") == status)
}

/// A verdict in a condition's own words.
pub(super) fn of_condition(health: Health, condition: &Value) -> HealthReport {
    let kind = text(condition, "type");
    let reason = if text(condition, "reason").is_empty() { kind } else { text(condition, "reason") };
    let message = if text(condition, "message").is_empty() {
        format!("condition {kind} is {}", text(condition, "status"))
    } else {
        sentence(text(condition, "message"))
    };
    HealthReport::new(health, reason, message)
}

/// Others' words on one line, without the full stop, and not without end.
pub(super) fn sentence(text: &str) -> String {
    const LONGEST: usize = 400;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = line.trim_end_matches('.');
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    }
}

/// `1 Pod`, `2 Pods`.
pub(super) fn counted(number: i64, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}
