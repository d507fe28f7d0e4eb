//! Paths to fields, written `spec.template.spec.containers[name=app].image`.
//! JSON pointers are read too, and what begins as jq's paths do.

mod jq;

use std::fmt;

use serde_json::Value;

/// One step into a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// A field or map key.
    Field(String),
    /// An element of a map-list, by its keys, e.g. `[name=app]` or
    /// `[containerPort=80,protocol=TCP]`. Values are written as plain text.
    Key(Vec<(String, String)>),
    /// An element of an atomic list.
    Index(usize),
    /// An element of a set, by its value, e.g. `[="finalizer"]`.
    Item(String),
}

/// A path from an object's root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(pub Vec<Segment>);

/// Why a path could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("path {text:?}: {reason} at byte {at}")]
pub struct PathError {
    pub text: String,
    pub at: usize,
    pub reason: &'static str,
}

impl Path {
    /// The path of an object itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// This path, one field deeper.
    pub fn field(&self, name: &str) -> Self {
        self.child(Segment::Field(name.to_owned()))
    }

    /// This path, one step deeper.
    pub fn child(&self, segment: Segment) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment);
        Self(segments)
    }

    /// Whether this path is `other` or lies beneath it.
    pub fn starts_with(&self, other: &Path) -> bool {
        self.0.starts_with(&other.0)
    }

    /// The first field's name, or an empty string.
    pub fn head(&self) -> &str {
        match self.0.first() {
            Some(Segment::Field(name)) => name,
            _ => "",
        }
    }

    /// Whether this path lies at or beneath `pattern`, in which a field or an
    /// item named `*` stands for any one segment.
    pub fn is_within(&self, pattern: &Path) -> bool {
        self.0.len() >= pattern.0.len()
            && self.0.iter().zip(&pattern.0).all(|(segment, pattern)| matches(segment, pattern))
    }

    /// The value at this path, if there is one.
    pub fn find<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(value, |value, segment| step(value, segment))
    }
}

fn matches(segment: &Segment, pattern: &Segment) -> bool {
    match (segment, pattern) {
        (_, Segment::Field(any)) if any == "*" => true,
        (_, Segment::Item(any)) if any == "*" => true,
        // A pattern names the keys that matter; the element may have more.
        (Segment::Key(keys), Segment::Key(wanted)) => wanted.iter().all(|want| keys.contains(want)),
        (Segment::Field(name), Segment::Index(index)) => name.parse() == Ok(*index),
        (segment, pattern) => segment == pattern,
    }
}

fn step<'a>(value: &'a Value, segment: &Segment) -> Option<&'a Value> {
    match (value, segment) {
        (Value::Array(items), segment) => {
            items.iter().enumerate().find_map(|(index, item)| segment.is_at(index, item).then_some(item))
        }
        (value, Segment::Field(name)) => value.get(name),
        _ => None,
    }
}

impl Segment {
    /// Whether it means this element of a list.
    pub(crate) fn is_at(&self, index: usize, item: &Value) -> bool {
        match self {
            Self::Field(name) => name.parse() == Ok(index),
            Self::Index(wanted) => *wanted == index,
            Self::Key(keys) => has_keys(item, keys),
            Self::Item(text) => plain(item) == *text,
        }
    }
}

/// Whether a map-list's element has these keys; one that Git leaves out may be
/// a default, so absence agrees.
fn has_keys(item: &Value, keys: &[(String, String)]) -> bool {
    keys.iter().all(|(name, text)| item.get(name).is_none_or(|value| plain(value) == *text))
        && keys.iter().any(|(name, _)| item.get(name).is_some())
}

/// A scalar as it stands in a path: strings without quotes.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(".");
        }
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Field(name) if is_bare(name) => {
                    if position > 0 {
                        f.write_str(".")?;
                    }
                    f.write_str(name)?;
                }
                Segment::Field(name) => write!(f, "[{}]", Value::from(name.as_str()))?,
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Item(item) => write!(f, "[={}]", Value::from(item.as_str()))?,
                Segment::Key(keys) => {
                    f.write_str("[")?;
                    for (index, (name, value)) in keys.iter().enumerate() {
                        if index > 0 {
                            f.write_str(",")?;
                        }
                        if is_key_text(value) {
                            write!(f, "{name}={value}")?;
                        } else {
                            write!(f, "{name}={}", Value::from(value.as_str()))?;
                        }
                    }
                    f.write_str("]")?;
                }
            }
        }
        Ok(())
    }
}

impl serde::Serialize for Path {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn is_bare(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$' | '*'))
}

fn is_key_text(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| matches!(c, ',' | ']' | '"' | '\\') || c.is_control())
}

impl std::str::FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.starts_with('/') {
            return Ok(pointer(text));
        }
        if text == "." {
            return Ok(Self::root());
        }
        if text.starts_with('.') {
            let failed = |(at, reason)| PathError { text: text.to_owned(), at, reason };
            return jq::read(text).map(Self).map_err(failed);
        }
        Reader { text, at: 0 }.path()
    }
}

/// A JSON pointer (RFC 6901). Numbers stay fields: [`Path::find`] and
/// [`Path::is_within`] read them as an index where the value is a list.
fn pointer(text: &str) -> Path {
    let fields = text.split('/').skip(1).filter(|part| !part.is_empty());
    Path(fields.map(|part| Segment::Field(part.replace("~1", "/").replace("~0", "~"))).collect())
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn path(mut self) -> Result<Path, PathError> {
        let mut segments = Vec::new();
        while self.at < self.text.len() {
            match self.rest().as_bytes().first() {
                Some(b'[') => segments.push(self.bracket()?),
                Some(b'.') if !segments.is_empty() => {
                    self.at += 1;
                    segments.push(self.name()?);
                }
                Some(_) if segments.is_empty() => segments.push(self.name()?),
                _ => return Err(self.error("expected . or [")),
            }
        }
        Ok(Path(segments))
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn error(&self, reason: &'static str) -> PathError {
        PathError { text: self.text.to_owned(), at: self.at, reason }
    }

    fn name(&mut self) -> Result<Segment, PathError> {
        let end = self.rest().find(['.', '[']).unwrap_or(self.rest().len());
        let name = self.rest()[..end].to_owned();
        if name.is_empty() {
            return Err(self.error("a field's name is missing"));
        }
        self.at += end;
        Ok(Segment::Field(name))
    }

    fn bracket(&mut self) -> Result<Segment, PathError> {
        self.at += 1;
        let segment = match self.rest().as_bytes().first() {
            Some(b'"') => Segment::Field(self.quoted()?),
            Some(b'=') => {
                self.at += 1;
                Segment::Item(self.quoted()?)
            }
            Some(b'*') => {
                self.at += 1;
                Segment::Item("*".into())
            }
            Some(c) if c.is_ascii_digit() => {
                let end = self.rest().find(']').ok_or_else(|| self.error("] is missing"))?;
                let index = self.rest()[..end].parse().map_err(|_| self.error("not an index"))?;
                self.at += end;
                Segment::Index(index)
            }
            Some(_) => Segment::Key(self.keys()?),
            None => return Err(self.error("] is missing")),
        };
        if !self.rest().starts_with(']') {
            return Err(self.error("] is missing"));
        }
        self.at += 1;
        Ok(segment)
    }

    fn keys(&mut self) -> Result<Vec<(String, String)>, PathError> {
        let mut keys = Vec::new();
        loop {
            let end = self.rest().find('=').ok_or_else(|| self.error("= is missing"))?;
            let name = self.rest()[..end].to_owned();
            self.at += end + 1;
            let value = if self.rest().starts_with('"') {
                self.quoted()?
            } else {
                let end = self.rest().find([',', ']']).ok_or_else(|| self.error("] is missing"))?;
                let value = self.rest()[..end].to_owned();
                self.at += end;
                value
            };
            keys.push((name, value));
            if !self.rest().starts_with(',') {
                return Ok(keys);
            }
            self.at += 1;
        }
    }

    /// A JSON string at the current place.
    fn quoted(&mut self) -> Result<String, PathError> {
        let mut stream = serde_json::Deserializer::from_str(self.rest()).into_iter::<String>();
        let text = stream.next().and_then(Result::ok).ok_or_else(|| self.error("not a quoted string"))?;
        self.at += stream.byte_offset();
        Ok(text)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_read_as_they_are_written() {
        for text in [
            "spec.template.spec.containers[name=app].image",
            "metadata.annotations[\"kubectl-gitops.dev/revision\"]",
            "spec.ports[port=80,protocol=TCP].targetPort",
            "metadata.finalizers[=\"a/b\"]",
            "rules[0].verbs[1]",
            ".",
        ] {
            assert_eq!(text.parse::<Path>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn pointers_find_list_elements() {
        let value = json!({"a/b": [{"c": 7}]});
        assert_eq!("/a~1b/0/c".parse::<Path>().unwrap().find(&value), Some(&json!(7)));
    }

    #[test]
    fn broken_paths_say_where() {
        for (text, at) in [("spec..a", 5), ("a[name=x", 7), ("a]b", 1), ("a[\"x]", 2)] {
            let error = text.parse::<Path>();
            assert!(error.is_ok() || error.as_ref().unwrap_err().at == at, "{text}: {error:?}");
        }
        assert!("spec..a".parse::<Path>().is_err());
    }

    #[test]
    fn patterns_hold_what_is_beneath() {
        let path: Path = "spec.containers[name=istio-proxy].image".parse().unwrap();
        assert!(path.is_within(&"spec.containers[name=istio-proxy]".parse().unwrap()));
        assert!(path.is_within(&"spec.containers[*].image".parse().unwrap()));
        assert!(!path.is_within(&"spec.containers[name=app]".parse().unwrap()));
    }

    fn segment() -> impl Strategy<Value = Segment> {
        prop_oneof![
            "[a-zA-Z0-9./\"\\\\-]{1,12}".prop_map(Segment::Field),
            proptest::collection::vec(("[a-z]{1,5}", "[ -~]{1,8}"), 1..3).prop_map(Segment::Key),
            any::<u16>().prop_map(|index| Segment::Index(index.into())),
            "[ -~]{0,8}".prop_filter("`*` is a pattern", |s| s != "*").prop_map(Segment::Item),
        ]
    }

    proptest! {
        #[test]
        fn every_path_survives_writing_and_reading(segments in proptest::collection::vec(segment(), 1..6)) {
            let path = Path(segments);
            prop_assert_eq!(path.to_string().parse::<Path>().unwrap(), path);
        }
    }
}
