//! What the audit log keeps of a verdict. In: a verdict. Out: the audit
//! annotations, bounded, without any value of the object.

use std::collections::BTreeMap;

use super::{Decision, Verdict};

/// The API server writes an event's annotations as they are, and backends drop
/// events over 100 KiB (`--audit-log-truncate-max-event-size`).
const MAX_PATHS: usize = 4096;
/// A path longer than this is cut: keys of maps may be long.
const MAX_PATH: usize = 512;

/// `verdict`, `rule`, `revision` and `paths`; those that say nothing are left
/// out.
pub fn audit(verdict: &Verdict) -> BTreeMap<&'static str, String> {
    let all = [
        ("verdict", word(verdict.decision).to_owned()),
        ("rule", verdict.rule.to_owned()),
        ("revision", verdict.revision.clone().unwrap_or_default()),
        ("paths", paths(verdict)),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// A decision as metrics, logs and audit annotations name it.
pub fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "allow",
        Decision::Warn => "warn",
        Decision::Deny => "deny",
    }
}

/// The paths of the differences, the most important first, and how many more
/// there are.
pub fn paths(verdict: &Verdict) -> String {
    let mut text = String::new();
    let mut left = verdict.differences.len() + verdict.omitted;
    for located in &verdict.differences {
        let mut path = located.difference.path.to_string();
        if path.len() > MAX_PATH {
            path.truncate(path.floor_char_boundary(MAX_PATH));
            path.push_str("...");
        }
        if text.len() + path.len() > MAX_PATHS {
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&path);
        left -= 1;
    }
    if left > 0 {
        text.push_str(&format!(" and {left} more"));
    }
    text.trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::compare::{Difference, Op};
    use crate::object::ObjectKey;
    use crate::path::Path;
    use crate::verdict::Located;

    fn verdict(differences: usize, name: &str) -> Verdict {
        let key = ObjectKey {
            group: String::new(),
            kind: "Secret".into(),
            namespace: "shop".into(),
            name: "s".into(),
        };
        let located = |index: usize| Located {
            difference: Difference {
                path: Path::root().field("data").field(&format!("{name}{index}")),
                op: Op::Add,
                git: None,
                tried: Some(json!("secret")),
            },
            file: String::new(),
            line: None,
        };
        Verdict {
            decision: Decision::Deny,
            rule: "toward-git",
            key,
            application: None,
            revision: None,
            origin: None,
            differences: (0..differences).map(located).collect(),
            omitted: 7,
            message: String::new(),
            hint: String::new(),
            overridden: None,
            may_be_overridden: false,
        }
    }

    #[test]
    fn paths_are_kept_and_values_are_not() {
        let audit = audit(&verdict(2, "k"));
        assert_eq!(audit["paths"], "data.k0 data.k1 and 7 more");
        assert_eq!((audit["verdict"].as_str(), audit.get("revision")), ("deny", None));
        assert!(!audit.values().any(|value| value.contains("secret")));
    }

    #[test]
    fn many_and_long_paths_are_cut_and_counted() {
        for (count, name) in [(100, "k".repeat(200)), (100, "k".repeat(5000)), (1, "ä".repeat(5000))] {
            let text = paths(&verdict(count, &name));
            assert!(text.len() < MAX_PATHS + 64, "{} bytes", text.len());
            assert!(text.ends_with(" more"), "{text}");
        }
        assert_eq!(paths(&Verdict { omitted: 0, ..verdict(0, "") }), "");
    }
}
