//! Differences that do not count: Argo CD's `ignoreDifferences`, Flux's
//! `driftDetection.ignore` and `driftIgnoreRules`. Out: our `spec.ignore`.

use gitops_core::path::Path;
use serde_json::{Value, json};

use super::field::{Field, Map, Weight};

/// Argo CD's rules.
pub fn differences(spec: &mut Map<'_>) -> Vec<Value> {
    let mut rules = Vec::new();
    for rule in spec.items("ignoreDifferences") {
        let mut rule = rule.map();
        let mut of = json!({
            "group": rule.text("group").unwrap_or_default(),
            "kind": rule.text("kind").unwrap_or_else(|| "*".into()),
        });
        if let Some(name) = rule.text("name") {
            of["name"] = name.into();
        }
        if let Some(namespace) = rule.take("namespace").filter(Field::is_said) {
            let words = "a rule of ours holds in every namespace of the Application; name the object beside it, where that is too much";
            namespace.tell(Weight::How, words);
        }
        for field in ["jsonPointers", "jqPathExpressions"] {
            let paths = rule.items(field);
            rules.extend(paths.iter().filter_map(|path| with_path(&of, path)));
        }
        for manager in rule.texts("managedFieldsManagers") {
            let mut rule = of.clone();
            rule["manager"] = manager.into();
            rules.push(rule);
        }
        rule.end();
    }
    rules
}

fn with_path(of: &Value, path: &Field<'_>) -> Option<Value> {
    let text = path.text()?;
    if let Err(error) = text.parse::<Path>() {
        path.tell(
            Weight::What,
            format!("left out, so that a sync puts what it names back to what Git says: {error}; write the path as docs/sync.md has it"),
        );
        return None;
    }
    let mut rule = of.clone();
    rule["path"] = text.into();
    Some(rule)
}

/// Flux's rules.
pub fn drift(rules: &[Field<'_>]) -> Vec<Value> {
    let mut all = Vec::new();
    for rule in rules {
        let mut rule = rule.clone().map();
        let paths = rule.items("paths");
        let mut of = json!({"group": "*", "kind": "*"});
        if let Some(mut target) = rule.map("target") {
            for name in ["group", "kind"] {
                if let Some(text) = target.text(name) {
                    of[name] = text.into();
                }
            }
            target.pass(&["version"]);
            match target.take("name").and_then(|name| Some((name.text()?, name))) {
                Some((name, field)) if name.contains(|letter| !is_plain(letter)) => {
                    field.tell(Weight::How, "a pattern of names is none here: the rule holds for all names");
                }
                Some((name, _)) => of["name"] = name.into(),
                None => {}
            }
            target.leave(
                Weight::How,
                &[
                    ("namespace", "a rule of ours holds in every namespace of the Application"),
                    (
                        "labelSelector",
                        "labels choose nothing here: the rule holds for all objects of the kind",
                    ),
                    (
                        "annotationSelector",
                        "annotations choose nothing here: the rule holds for all objects of the kind",
                    ),
                ],
            );
            target.end();
        }
        rule.end();
        all.extend(paths.iter().filter_map(|path| with_path(&of, path)));
    }
    all
}

/// Whether a letter stands for itself in a pattern.
fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.')
}
