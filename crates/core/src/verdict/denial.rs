//! The words of a denial. In: a verdict. Out: at most 15 lines as kubectl
//! prints them, in six parts: object, field path, Git's value, the value that
//! was tried, commit with file and line, and how to do it through Git.

use std::fmt::Write;

use serde_json::Value;

use super::{Located, Verdict};
use crate::compare::Op;

/// Differences that are shown in full.
const SHOWN: usize = 3;
/// A value longer than this is cut.
const MAX_VALUE: usize = 120;
/// A path longer than this is cut: keys of maps may be long.
const MAX_PATH: usize = 400;

/// The text of a denial or warning. Never holds a Secret's value.
pub fn denial(verdict: &Verdict) -> String {
    let stands = if verdict.rule == "own-spec" { "cannot be read" } else { "is kept as Git says" };
    let mut text = format!("{} {stands}", verdict.key);
    if !verdict.message.is_empty() {
        let _ = write!(text, ": {}", verdict.message);
    }
    for located in verdict.differences.iter().take(SHOWN) {
        let difference = &located.difference;
        let absent = if difference.op == Op::Add { "(not declared)" } else { "(absent)" };
        let _ = write!(text, "\n  field:  {}", cut(difference.path.to_string(), MAX_PATH));
        let _ = write!(text, "\n  git:    {}", value(difference.git.as_ref(), absent));
        let _ = write!(text, "\n  tried:  {}", value(difference.tried.as_ref(), "(removed)"));
    }
    if verdict.rule == "delete-declared" {
        text.push_str("\n  field:  (the whole object)\n  git:    declared\n  tried:  (deleted)");
    }
    match (verdict.differences.len() + verdict.omitted).saturating_sub(SHOWN) {
        0 => {}
        1 => text.push_str("\n  and 1 more difference"),
        more => {
            let _ = write!(text, "\n  and {more} more differences");
        }
    }
    if let Some(revision) = &verdict.revision {
        let short: String = revision.chars().take(12).collect();
        let place = match verdict.differences.first() {
            Some(located) => place(located),
            None => verdict.origin.as_ref().map(|origin| format!(" {origin}")).unwrap_or_default(),
        };
        let _ = write!(text, "\n  commit: {short}{place}");
        if let Some(application) = &verdict.application {
            let _ = write!(text, ", application {application}");
        }
    }
    let _ = write!(text, "\n  hint:   {}", advice(verdict));
    text
}

fn place(located: &Located) -> String {
    match located.line {
        Some(line) => format!(" {}:{line}", located.file),
        None if located.file.is_empty() => String::new(),
        None => format!(" {}", located.file),
    }
}

/// What to do about a verdict: the rule's hint, with the commands that end it.
pub fn advice(verdict: &Verdict) -> String {
    match &verdict.application {
        Some(application)
            if verdict.hint.starts_with("change ") || verdict.hint.starts_with("remove it from ") =>
        {
            let prune = if verdict.hint.starts_with("remove") { " --prune" } else { "" };
            format!("{}, commit, push, then: kubectl gitops sync {}{prune}", verdict.hint, application.name)
        }
        _ => verdict.hint.clone(),
    }
}

/// A value on one line, cut where it is long.
fn value(value: Option<&Value>, absent: &str) -> String {
    let Some(value) = value else { return absent.to_owned() };
    let text = match value {
        Value::String(text) if !text.is_empty() && !text.contains('\n') => text.clone(),
        other => other.to_string(),
    };
    cut(text, MAX_VALUE)
}

fn cut(text: String, most: usize) -> String {
    if text.chars().count() <= most {
        return text;
    }
    let cut: String = text.chars().take(most).collect();
    format!("{cut}... ({} bytes)", text.len())
}
