//! A part of a sync: by kind, name, label, or only what differs. In: what was
//! asked for. Out: whether an object is meant.

use serde_json::Value;

use super::Action;
use crate::object::{Gvk, ObjectKey};

/// Which objects are meant; the default means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Select {
    /// Such as `Deployment` or `Deployment.apps`, in any case; empty: all.
    pub kinds: Vec<String>,
    /// `name` or `namespace/name`; empty: all.
    pub names: Vec<String>,
    pub labels: Labels,
    pub out_of_sync: bool,
}

impl Select {
    /// Whether everything is meant.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an object is meant; `object` is its version in Git or, for what
    /// goes, the live one.
    pub fn takes(&self, key: &ObjectKey, gvk: &Gvk, action: Action, object: Option<&Value>) -> bool {
        let kind = |wanted: &String| {
            let (kind, group) = wanted.split_once('.').map_or((wanted.as_str(), None), |(k, g)| (k, Some(g)));
            kind.eq_ignore_ascii_case(&gvk.kind) && group.is_none_or(|group| group == gvk.group)
        };
        let name = |wanted: &String| match wanted.split_once('/') {
            Some((namespace, name)) => namespace == key.namespace && name == key.name,
            None => *wanted == key.name,
        };
        (self.kinds.is_empty() || self.kinds.iter().any(kind))
            && (self.names.is_empty() || self.names.iter().any(name))
            && !(self.out_of_sync && action == Action::Unchanged)
            && self.labels.take(object)
    }
}

/// A label selector, as kubectl writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// A selector that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no label selector")]
pub struct SelectorError(pub String);

impl std::str::FromStr for Labels {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let (mut parts, mut depth, mut start) = (Vec::new(), 0_u32, 0);
        for (at, c) in text.char_indices() {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                ',' if depth == 0 => {
                    parts.push(&text[start..at]);
                    start = at + 1;
                }
                _ => {}
            }
        }
        parts.push(&text[start..]);
        let bad = || SelectorError(text.to_owned());
        parts.into_iter().map(|part| requirement(part).ok_or_else(bad)).collect::<Result<_, _>>().map(Self)
    }
}

fn requirement(part: &str) -> Option<Requirement> {
    let part = part.trim();
    let word = |text: &str| {
        let text = text.trim();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        text.chars().all(plain).then(|| text.to_owned())
    };
    let key = |text: &str| word(text).filter(|key| !key.is_empty());
    if let Some((name, values)) = part.split_once(" in ").or_else(|| part.split_once(" notin ")) {
        let list = values.trim().strip_prefix('(')?.strip_suffix(')')?;
        let values = list.split(',').map(word).collect::<Option<Vec<_>>>()?;
        let not = part.contains(" notin ");
        return Some(if not {
            Requirement::NotIn(key(name)?, values)
        } else {
            Requirement::In(key(name)?, values)
        });
    }
    if let Some((name, value)) = part.split_once("!=") {
        return Some(Requirement::NotIn(key(name)?, vec![word(value)?]));
    }
    if let Some((name, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(Requirement::In(key(name)?, vec![word(value)?]));
    }
    match part.strip_prefix('!') {
        Some(name) => Some(Requirement::Absent(key(name)?)),
        None => Some(Requirement::Exists(key(part)?)),
    }
}

impl Labels {
    fn take(&self, object: Option<&Value>) -> bool {
        let label =
            |key: &str| object.and_then(|object| object.get("metadata")?.get("labels")?.get(key)?.as_str());
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => {
                label(key).is_some_and(|label| values.iter().any(|value| value == label))
            }
            Requirement::NotIn(key, values) => {
                label(key).is_none_or(|label| values.iter().all(|value| value != label))
            }
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Absent(key) => label(key).is_none(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn takes(select: &Select) -> bool {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web", "tier": "front"}}});
        let key = ObjectKey::of(&object).unwrap();
        select.takes(&key, &Gvk::of(&object).unwrap(), Action::Unchanged, Some(&object))
    }

    #[test]
    fn labels_are_read_as_kubectl_reads_them() {
        let cases = [
            ("app=web", true),
            ("app==web,tier!=back", true),
            ("app in (api, web)", true),
            ("app notin (api,web)", false),
            ("tier", true),
            ("!tier", false),
            ("gone!=x", true),
            ("gone=x", false),
        ];
        for (text, expected) in cases {
            let select = Select { labels: text.parse().unwrap(), ..Select::default() };
            assert_eq!(takes(&select), expected, "{text}");
        }
        for text in ["", "=x", "a in b", "a=b=c", "a,,b"] {
            assert_eq!(
                text.parse::<Labels>().unwrap_err().to_string(),
                format!("{text:?} is no label selector")
            );
        }
    }

    #[test]
    fn kinds_and_names_may_be_qualified() {
        let kinds = |kind: &str| takes(&Select { kinds: vec![kind.into()], ..Select::default() });
        assert!(
            kinds("deployment")
                && kinds("Deployment.apps")
                && !kinds("Deployment.extensions")
                && !kinds("Job")
        );
        let names = |name: &str| takes(&Select { names: vec![name.into()], ..Select::default() });
        assert!(names("web") && names("shop/web") && !names("other/web"));
        assert!(!takes(&Select { out_of_sync: true, ..Select::default() }));
        assert!(takes(&Select::default()) && Select::default().is_all());
    }
}
