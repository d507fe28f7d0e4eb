//! A difference for people: what is there, what Git says, and where it says
//! so. Text of several lines is shown as a diff of its own.

use gitops_core::compare::Op;
use gitops_core::plan::Action;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use crate::output::{Located, ObjectReport};
use crate::printer::{Ink, Printer};

/// The lines of one object.
pub fn object(report: &ObjectReport, origin: &str, printer: &Printer) -> Vec<String> {
    let (sign, ink, note) = match report.action {
        Action::Create => ("+", Ink::Git, "is not in the cluster"),
        Action::Update => ("~", Ink::Change, ""),
        Action::Prune => ("-", Ink::Live, "is no longer in Git"),
        Action::Unchanged => return Vec::new(),
    };
    let place = if report.object.namespace.is_empty() {
        String::new()
    } else {
        format!("{}/", report.object.namespace)
    };
    let name = format!("{sign} {} {place}{}", report.object.kind, report.object.name);
    let mut heading = printer.ink(ink, &name);
    for part in [note, origin].into_iter().filter(|part| !part.is_empty()) {
        heading.push_str("  ");
        heading.push_str(&printer.ink(Ink::Dim, part));
    }
    let mut lines = vec![heading];
    for located in &report.differences {
        field(located, printer, &mut lines);
    }
    lines
}

fn field(located: &Located, printer: &Printer, lines: &mut Vec<String>) {
    let difference = &located.difference;
    let place = located.line.map(|line| format!("{}:{line}", located.file)).unwrap_or_default();
    if let (Some(Value::String(git)), Some(Value::String(tried))) = (&difference.git, &difference.tried)
        && (git.contains('\n') || tried.contains('\n'))
    {
        lines.push(format!("    {}  {}", difference.path, printer.ink(Ink::Dim, &place)));
        lines.extend(text(tried, git, printer));
        return;
    }
    if let Some(tried) = &difference.tried {
        let note = if difference.op == Op::Add { "  (Git does not declare it)" } else { "" };
        lines.push(format!(
            "  {}{}",
            printer.ink(Ink::Live, &format!("- {}: {}", difference.path, value(tried))),
            printer.ink(Ink::Dim, note)
        ));
    }
    if let Some(git) = &difference.git {
        lines.push(
            format!(
                "  {}  {}",
                printer.ink(Ink::Git, &format!("+ {}: {}", difference.path, value(git))),
                printer.ink(Ink::Dim, &place)
            )
            .trim_end()
            .to_owned(),
        );
    }
}

/// A value on one line.
pub fn value(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() && !text.contains('\n') => text.clone(),
        other => other.to_string(),
    }
}

fn text(live: &str, git: &str, printer: &Printer) -> Vec<String> {
    let diff = TextDiff::from_lines(live, git);
    let mut lines = Vec::new();
    for (index, group) in diff.grouped_ops(2).iter().enumerate() {
        if index > 0 {
            lines.push("      ...".to_owned());
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let line = change.value().trim_end_matches('\n');
            lines.push(match change.tag() {
                ChangeTag::Delete => format!("    {}", printer.ink(Ink::Live, &format!("- {line}"))),
                ChangeTag::Insert => format!("    {}", printer.ink(Ink::Git, &format!("+ {line}"))),
                ChangeTag::Equal => format!("      {line}"),
            });
        }
    }
    lines
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use gitops_core::compare::Difference;
    use gitops_core::object::{Gvk, ObjectKey};
    use serde_json::json;

    use super::*;
    use crate::cli::ColorChoice;
    use crate::output::ObjectId;

    fn shown(action: Action, differences: &[(&str, Op, Option<Value>, Option<Value>)]) -> String {
        let key = ObjectKey {
            group: "apps".into(),
            kind: "Deployment".into(),
            namespace: "shop".into(),
            name: "web".into(),
        };
        let located = |(path, op, git, tried): &(&str, Op, Option<Value>, Option<Value>)| Located {
            difference: Difference {
                path: path.parse().unwrap(),
                op: *op,
                git: git.clone(),
                tried: tried.clone(),
            },
            file: "apps/web.yaml".into(),
            line: Some(9),
        };
        let report = ObjectReport {
            object: ObjectId::new(&Gvk::new("apps/v1", "Deployment"), &key),
            action,
            differences: differences.iter().map(located).collect(),
            outcome: None,
            error: None,
            health: None,
            hook: None,
            note: String::new(),
        };
        object(&report, "apps/web.yaml:1", &Printer::new(ColorChoice::Never)).join("\n")
    }

    #[test]
    fn fields_show_both_sides_and_the_line() {
        insta::assert_snapshot!(
            shown(Action::Update, &[
                ("spec.replicas", Op::Change, Some(json!(2)), Some(json!(5))),
                ("spec.template.spec.hostNetwork", Op::Add, None, Some(json!(true))),
                ("metadata.labels.app", Op::Remove, Some(json!("web")), None),
                ("data.motd", Op::Change, Some(json!("a\nb\nc\n")), Some(json!("a\nx\nc\n"))),
            ]),
            @"
        ~ Deployment shop/web  apps/web.yaml:1
          - spec.replicas: 5
          + spec.replicas: 2  apps/web.yaml:9
          - spec.template.spec.hostNetwork: true  (Git does not declare it)
          + metadata.labels.app: web  apps/web.yaml:9
            data.motd  apps/web.yaml:9
              a
            - x
            + b
              c
        "
        );
        insta::assert_snapshot!(shown(Action::Create, &[]), @"+ Deployment shop/web  is not in the cluster  apps/web.yaml:1");
    }
}
