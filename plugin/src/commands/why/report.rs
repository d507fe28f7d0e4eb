//! A verdict for people and programs.

use gitops_core::compare::Op;
use gitops_core::managers::{Writer, writer};
use gitops_core::names::OUTPUT_API_VERSION;
use gitops_core::object::Gvk;
use gitops_core::verdict::{Decision, Located, Operation, Verdict, advice};
use serde::Serialize;
use serde_json::Value;

use crate::output::ObjectId;
use crate::printer::{Ink, Printer};

/// Differences that are shown to people who do not ask for all.
pub(super) const SHOWN: usize = 10;
/// A value longer than this is cut.
const MAX_VALUE: usize = 200;

/// A verdict, as `-o json` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Explained {
    api_version: &'static str,
    kind: &'static str,
    pub(super) verdict: Decision,
    pub(super) rule: String,
    pub(super) object: ObjectId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) application: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    pub(super) differences: Vec<Shown>,
    omitted: usize,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) hint: String,
    /// What a webhook would know and nobody asked here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) not_asked: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) notes: Vec<String>,
    /// What was judged, in a word, for people.
    #[serde(skip)]
    pub(super) subject: Option<String>,
    /// File and line of the object.
    #[serde(skip)]
    origin: Option<String>,
}

/// A difference, and who wrote it.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    located: Located,
    #[serde(skip_serializing_if = "Option::is_none")]
    manager: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
}

impl Explained {
    /// A judged write.
    pub(super) fn of(gvk: &Gvk, verdict: Verdict) -> Self {
        let hint = if verdict.rule.is_empty() { String::new() } else { advice(&verdict) };
        let shown = |located| Shown { located, manager: None, time: None };
        Self {
            api_version: OUTPUT_API_VERSION,
            kind: "Verdict",
            verdict: verdict.decision,
            rule: verdict.rule.to_owned(),
            object: ObjectId::new(gvk, &verdict.key),
            application: verdict.application.map(|application| application.to_string()),
            revision: verdict.revision,
            differences: verdict.differences.into_iter().map(shown).collect(),
            omitted: verdict.omitted,
            message: verdict.message,
            hint,
            not_asked: Vec::new(),
            notes: Vec::new(),
            subject: None,
            origin: verdict.origin,
        }
    }

    /// Says for every difference who wrote it.
    pub(super) fn name_writers(&mut self, live: &Value) {
        for shown in &mut self.differences {
            let difference = &shown.located.difference;
            // What is gone has no owner any more.
            let Some(Writer { manager, time, .. }) =
                (difference.op != Op::Remove).then(|| writer(live, &difference.path)).flatten()
            else {
                continue;
            };
            shown.manager = Some(manager);
            shown.time = Some(time).filter(|time| !time.is_empty());
        }
    }
}

/// What was judged: `UPDATE`, `UPDATE of scale`.
pub(super) fn subject(operation: Operation, subresource: &str) -> String {
    let word = match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    };
    if subresource.is_empty() { word.into() } else { format!("{word} of {subresource}") }
}

/// What the webhook would have asked before this rule objects.
pub(super) fn not_asked(rule: &str) -> Vec<&'static str> {
    match rule {
        "" => Vec::new(),
        "own-kinds" => vec!["whether you have the verb `manage`", "whether an Override is in force"],
        "delete-declared" | "delete-namespace" | "delete-definition" => {
            vec!["whether the namespace is going away", "whether an Override is in force"]
        }
        "owners" | "child" | "child-replicas" | "scale-child" | "endpoints" | "orphan" => {
            vec!["what owns it in the cluster", "whether an Override is in force"]
        }
        _ => vec!["earlier commits that the object may still be at", "whether an Override is in force"],
    }
}

/// For people: what, which rule, each difference with its place, what to do.
pub(super) fn text(explained: &Explained, limit: usize, printer: &Printer) -> Vec<String> {
    let object = &explained.object;
    let place = if object.namespace.is_empty() { String::new() } else { format!("{}/", object.namespace) };
    let (ink, word) = match explained.verdict {
        Decision::Allow => (Ink::Git, "allowed"),
        Decision::Warn => (Ink::Change, "allowed with a warning"),
        Decision::Deny => (Ink::Live, "denied"),
    };
    let subject = explained.subject.as_deref().map(|subject| format!(" {subject}:")).unwrap_or_default();
    let rule = if explained.rule.is_empty() { String::new() } else { format!(" by rule {}", explained.rule) };
    let word = printer.ink(ink, word);
    let mut lines = vec![format!("{} {place}{}:{subject} {word}{rule}", object.kind, object.name)];
    if !explained.message.is_empty() {
        lines.push(format!("  {}", explained.message));
    }
    for shown in explained.differences.iter().take(limit) {
        difference(shown, printer, &mut lines);
    }
    let more = explained.differences.len().saturating_sub(limit) + explained.omitted;
    if more > 0 {
        lines.push(format!("  and {more} more; -o wide shows {}", explained.differences.len()));
    }
    source(explained, &mut lines);
    for note in &explained.notes {
        lines.push(format!("  note:   {note}"));
    }
    if !explained.not_asked.is_empty() {
        lines.push(format!(
            "  {}",
            printer.ink(Ink::Dim, &format!("not asked: {}", explained.not_asked.join("; ")))
        ));
    }
    if !explained.hint.is_empty() {
        lines.push(format!("  {}   {}", printer.ink(Ink::Bold, "hint:"), explained.hint));
    }
    lines
}

fn source(explained: &Explained, lines: &mut Vec<String>) {
    let commit = explained.revision.as_deref().map(|revision| {
        let short: String = revision.chars().take(12).collect();
        format!("commit {short}")
    });
    let application =
        explained.application.as_deref().map(|application| format!("application {application}"));
    let parts: Vec<String> = commit.into_iter().chain(explained.origin.clone()).chain(application).collect();
    if !parts.is_empty() {
        lines.push(format!("  source: {}", parts.join(", ")));
    }
}

fn difference(shown: &Shown, printer: &Printer, lines: &mut Vec<String>) {
    let Located { difference, file, line } = &shown.located;
    let place = line.map(|line| format!("  ({file}:{line})")).unwrap_or_default();
    let absent = if difference.op == Op::Add { "(not declared)" } else { "(absent)" };
    let by = shown.manager.as_deref().map(|manager| {
        let at = shown.time.as_deref().map(|time| format!(" at {time}")).unwrap_or_default();
        format!("  (written by {manager}{at})")
    });
    lines.push(format!("  field:  {}", printer.ink(Ink::Bold, &difference.path.to_string())));
    let git = value(difference.git.as_ref(), absent);
    lines.push(format!("    git:   {}{}", printer.ink(Ink::Git, &git), printer.ink(Ink::Dim, &place)));
    let tried = value(difference.tried.as_ref(), "(removed)");
    lines.push(format!(
        "    tried: {}{}",
        printer.ink(Ink::Live, &tried),
        printer.ink(Ink::Dim, by.as_deref().unwrap_or_default())
    ));
}

/// A value on one line, cut where it is long.
fn value(value: Option<&Value>, absent: &str) -> String {
    let Some(value) = value else { return absent.to_owned() };
    let text = match value {
        Value::String(text) if !text.is_empty() && !text.contains('\n') => text.clone(),
        other => other.to_string(),
    };
    if text.chars().count() <= MAX_VALUE {
        return text;
    }
    let cut: String = text.chars().take(MAX_VALUE).collect();
    format!("{cut}... ({} bytes)", text.len())
}
