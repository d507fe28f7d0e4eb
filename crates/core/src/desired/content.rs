//! What an object says. In: a value, or its JSON text. Out: the value, which a text
//! is read into when somebody asks for it: of most objects nobody does.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;

use serde_json::Value;

/// A JSON object, read or not.
pub struct Content {
    text: Option<Text>,
    value: OnceLock<Value>,
}

#[derive(Clone)]
struct Text {
    json: Box<str>,
    /// What the object says about its sync: as much of it as [`Content::notes`] gives.
    notes: Value,
}

impl Content {
    /// From the text of a value, as serde_json writes it, and its notes.
    pub(super) fn unread(json: Box<str>, notes: Value) -> Self {
        Self { text: Some(Text { json, notes }), value: OnceLock::new() }
    }

    /// As it is written.
    pub fn json(&self) -> Cow<'_, str> {
        match &self.text {
            Some(text) => Cow::Borrowed(&text.json),
            None => Cow::Owned(self.to_string()),
        }
    }

    /// The object with all annotations that say how it is synced; of the rest nothing
    /// needs to be there.
    pub fn notes(&self) -> &Value {
        match &self.text {
            Some(text) => &text.notes,
            None => self,
        }
    }

    /// Its text, to be kept.
    pub fn into_json(self) -> Box<str> {
        match self.text {
            Some(text) => text.json,
            None => self.to_string().into(),
        }
    }

    /// The value, to be kept.
    pub fn into_value(self) -> Value {
        self.read();
        self.value.into_inner().unwrap_or_default()
    }

    fn read(&self) -> &Value {
        // Whoever made the text wrote it from a value.
        let read = || self.text.as_ref().and_then(|text| serde_json::from_str(&text.json).ok());
        self.value.get_or_init(|| read().unwrap_or_default())
    }
}

impl From<Value> for Content {
    fn from(value: Value) -> Self {
        Self { text: None, value: value.into() }
    }
}

impl Deref for Content {
    type Target = Value;

    fn deref(&self) -> &Value {
        self.read()
    }
}

impl DerefMut for Content {
    fn deref_mut(&mut self) -> &mut Value {
        self.read();
        // It says something else from now on.
        self.text = None;
        self.value.get_mut().expect("it was read just now")
    }
}

/// A copy is read anew when it is asked for.
impl Clone for Content {
    fn clone(&self) -> Self {
        match &self.text {
            Some(text) => Self { text: Some(text.clone()), value: OnceLock::new() },
            None => self.read().clone().into(),
        }
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.read() == other.read()
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_read_when_it_is_asked_for_and_changes_alone() {
        let value = json!({"a": {"b": 1}});
        let mut content = Content::unread(value.to_string().into(), Value::Null);
        assert!(content.notes().is_null() && content.value.get().is_none(), "not read yet");
        let copy = content.clone();
        content["a"]["b"] = json!(2);
        assert_eq!((&*content, content.json().as_ref()), (&json!({"a": {"b": 2}}), r#"{"a":{"b":2}}"#));
        assert_eq!((&*copy, copy.json().as_ref()), (&value, r#"{"a":{"b":1}}"#));
        assert_eq!(copy, Content::from(value.clone()));
        assert_eq!(copy.into_value(), value);
    }
}
