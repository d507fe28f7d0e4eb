//! An object made ready as far as that goes without knowing the cluster. In: a
//! rendered one. Out: its identity, and its text, from which it becomes a desired
//! one without being read; and lines of text that a cache keeps.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::content::Content;
use super::normal::{Tidy, scope, tidy};
use super::origin::{flatten, index_of};
use super::{DesiredError, DesiredObject, LineTree, Origin, Rendered, Scopes};
use crate::object::{Gvk, ObjectKey};
use crate::path::Path;
use crate::plan::annotations;

/// What rendering has given.
#[derive(Clone, Debug)]
pub enum Given {
    Rendered(Rendered),
    Ready(Box<Ready>),
}

/// An object whose text is ready. It holds no secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ready {
    gvk: Gvk,
    /// With the namespace that it names itself, if any.
    key: ObjectKey,
    notes: Value,
    file: Arc<str>,
    line: u32,
    lines: Option<Box<[u32]>>,
    /// Where the namespace stands, named or empty: its first byte in the text, and its
    /// place among the lines.
    at: (usize, usize),
    #[serde(skip)]
    json: String,
}

/// Between what is known of an object and its text.
const BETWEEN: char = '\t';

impl From<Rendered> for Given {
    fn from(rendered: Rendered) -> Self {
        Self::Rendered(rendered)
    }
}

impl Given {
    /// Makes an object ready, unless it holds a secret or a mistake, which is told where
    /// it is to become a desired one.
    pub fn ready(rendered: Rendered) -> Self {
        match Ready::of(&rendered) {
            Some(ready) => Self::Ready(Box::new(ready)),
            None => Self::Rendered(rendered),
        }
    }

    /// Whether it is the core group's Secret.
    pub fn is_secret(&self) -> bool {
        matches!(self, Self::Rendered(rendered) if rendered.value.get("kind").is_some_and(|kind| kind == "Secret"))
    }

    /// One line, to be kept.
    ///
    /// # Errors
    /// None that is known.
    pub fn to_line(&self) -> serde_json::Result<String> {
        match self {
            Self::Rendered(rendered) => serde_json::to_string(rendered),
            Self::Ready(ready) => {
                let mut line = serde_json::to_string(ready)?;
                line.push(BETWEEN);
                line.push_str(&ready.json);
                Ok(line)
            }
        }
    }

    /// From a line that is what [`Given::to_line`] gave, to the last byte.
    ///
    /// # Errors
    /// When it is another one.
    pub fn of_line(line: &str) -> serde_json::Result<Self> {
        match line.split_once(BETWEEN) {
            None => Ok(Self::Rendered(serde_json::from_str(line)?)),
            Some((head, json)) => {
                // With room for a namespace.
                let mut text = String::with_capacity(json.len() + 64);
                text.push_str(json);
                let ready = Ready { json: text, ..serde_json::from_str(head)? };
                Ok(Self::Ready(Box::new(ready)))
            }
        }
    }

    /// Path in the repository.
    pub fn file(&self) -> &Arc<str> {
        match self {
            Self::Rendered(rendered) => &rendered.file,
            Self::Ready(ready) => &ready.file,
        }
    }

    /// Puts another file for that.
    pub fn set_file(&mut self, file: Arc<str>) {
        match self {
            Self::Rendered(rendered) => rendered.file = file,
            Self::Ready(ready) => ready.file = file,
        }
    }

    /// Its kind; none where it is no object.
    pub(super) fn gvk(&self) -> Option<Gvk> {
        match self {
            Self::Rendered(rendered) => Gvk::of(&rendered.value).ok(),
            Self::Ready(ready) => Some(ready.gvk.clone()),
        }
    }

    /// The object, as it is written so far.
    pub fn into_rendered(self) -> Rendered {
        match self {
            Self::Rendered(rendered) => rendered,
            Self::Ready(ready) => ready.into_rendered(),
        }
    }
}

impl Ready {
    fn of(rendered: &Rendered) -> Option<Self> {
        if !rendered.confidential.is_empty() {
            return None;
        }
        let Tidy { gvk, key, mut value, origin, lines } = tidy(rendered.clone()).ok()?;
        if gvk.is_secret() {
            return None;
        }
        let notes = annotations::notes(&value);
        value["metadata"]["namespace"] = key.namespace.clone().into();
        let (json, byte) = written(value.as_object()?)?;
        let namespace = Path::root().field("metadata").field("namespace");
        let place = index_of(&value, &namespace);
        let lines = lines.map(|tree: LineTree| flatten(&value, &tree));
        Some(Self { gvk, key, notes, file: origin.file, line: origin.line, lines, at: (byte, place), json })
    }

    /// Gives it its namespace.
    pub(super) fn desired(
        self,
        default_namespace: &str,
        scopes: &dyn Scopes,
        lenient: bool,
    ) -> Result<DesiredObject, DesiredError> {
        let Self { gvk, mut key, notes, file, line, mut lines, at: (byte, place), mut json } = self;
        let origin = Origin::of(file, line);
        let own = quoted(&key.namespace);
        scope((&gvk, &mut key), &notes, &origin, default_namespace, scopes, lenient)?;
        if key.namespace.is_empty() {
            json.replace_range(byte - NAMESPACE.len()..byte + own.len(), "");
            lines = lines.map(|lines| {
                let others = lines.iter().enumerate().filter(|(at, _)| *at != place);
                others.map(|(_, line)| *line).collect()
            });
        } else {
            json.replace_range(byte..byte + own.len(), &quoted(&key.namespace));
        }
        let value = Content::unread(json.into(), notes);
        Ok(DesiredObject { key, gvk, value, origin: Origin { lines, ..origin } })
    }

    fn into_rendered(self) -> Rendered {
        let mut value: Value = serde_json::from_str(&self.json).unwrap_or_default();
        if self.key.namespace.is_empty()
            && let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut)
        {
            metadata.remove("namespace");
        }
        Rendered { value, file: self.file, line: self.line, lines: None, confidential: Vec::new() }
    }

    /// Of a definition of kinds: what it says.
    pub(super) fn definition(&self) -> Option<Value> {
        (self.gvk.kind == "CustomResourceDefinition").then(|| serde_json::from_str(&self.json).ok())?
    }
}

/// What stands before a namespace: one that is the first field has nothing before it
/// that could go with it.
const NAMESPACE: &str = ",\"namespace\":";

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// An object's text, and the first byte in it of its namespace; none where that is not
/// one field of its metadata behind another one.
fn written(object: &Map<String, Value>) -> Option<(String, usize)> {
    let (mut out, mut at) = (String::with_capacity(512), None);
    members(&mut out, object, |out, key, value| match value {
        Value::Object(metadata) if key == "metadata" => members(out, metadata, |out, key, value| {
            if key == "namespace" && out.ends_with(NAMESPACE) {
                at = Some(out.len());
            }
            out.push_str(&value.to_string());
        }),
        other => out.push_str(&other.to_string()),
    });
    Some((out, at?))
}

/// Writes an object as serde_json does, its values as `write` does.
fn members(out: &mut String, object: &Map<String, Value>, mut write: impl FnMut(&mut String, &str, &Value)) {
    out.push('{');
    for (number, (key, value)) in object.iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        out.push_str(&quoted(key));
        out.push(':');
        write(out, key, value);
    }
    out.push('}');
}
