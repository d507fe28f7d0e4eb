//! Where an object and each of its fields stand in Git. In: a value and the
//! lines of its document. Out: the line of a path.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::DesiredObject;
use crate::path::{Path, Segment, plain};

/// The lines of a document, as its loader saw them: parallel to the value. Written
/// as a number, or as a number and what is below: `[1, {"spec": 2}]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineTree {
    /// Counted from 1.
    pub line: u32,
    pub fields: BTreeMap<String, LineTree>,
    pub items: Vec<LineTree>,
}

impl Serialize for LineTree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.fields.is_empty() {
            (self.line, &self.fields).serialize(serializer)
        } else if !self.items.is_empty() {
            (self.line, &self.items).serialize(serializer)
        } else {
            self.line.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for LineTree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

/// Reads a line, or a line and what is below.
struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = LineTree;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a line, or a line and those below")
    }

    fn visit_u64<E: de::Error>(self, line: u64) -> Result<LineTree, E> {
        let line = u32::try_from(line).map_err(E::custom)?;
        Ok(LineTree { line, ..LineTree::default() })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<LineTree, A::Error> {
        let line = parts.next_element()?.unwrap_or_default();
        let Below(fields, items) = parts.next_element()?.unwrap_or_default();
        Ok(LineTree { line, fields, items })
    }
}

/// What is below a line: fields, or items.
#[derive(Default)]
struct Below(BTreeMap<String, LineTree>, Vec<LineTree>);

impl<'de> Deserialize<'de> for Below {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BelowVisitor)
    }
}

struct BelowVisitor;

impl<'de> Visitor<'de> for BelowVisitor {
    type Value = Below;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("lines of fields or of items")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Below, A::Error> {
        Ok(Below(BTreeMap::deserialize(MapAccessDeserializer::new(map))?, Vec::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Below, A::Error> {
        Ok(Below(BTreeMap::new(), Vec::deserialize(SeqAccessDeserializer::new(items))?))
    }
}

impl LineTree {
    /// The line of a field of the value that this tree is parallel to, or of the
    /// nearest one above it that is written.
    pub fn line_of(&self, value: &Value, path: &Path) -> u32 {
        let (mut tree, mut value) = (self, value);
        for segment in &path.0 {
            let next = match (segment, value) {
                (Segment::Field(name), Value::Object(map)) => tree.fields.get(name).zip(map.get(name)),
                (segment, Value::Array(items)) => {
                    let mut there = items.iter().zip(&tree.items).enumerate();
                    there
                        .find(|(index, (item, _))| segment.is_at(*index, item))
                        .map(|(_, (item, tree))| (tree, item))
                }
                _ => None,
            };
            let Some((below, inner)) = next else { break };
            (tree, value) = (below, inner);
        }
        tree.line
    }
}

/// Where an object comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Path in the repository.
    pub file: Arc<str>,
    /// First line of its document; 0 where it is not known.
    pub line: u32,
    /// A line for every value of the object, in the order in which they are
    /// met when descending; absent where only the file is known.
    pub(crate) lines: Option<Box<[u32]>>,
    /// Texts in the object that Git keeps encrypted.
    pub confidential: Box<[String]>,
}

impl Origin {
    /// A document of a file; nothing is known of its fields.
    pub fn at(file: &str, line: u32) -> Self {
        Self { file: file.into(), line, lines: None, confidential: Box::default() }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { f.write_str(&self.file) } else { write!(f, "{}:{}", self.file, self.line) }
    }
}

impl DesiredObject {
    /// The line of a field, or of the nearest one above it that Git declares;
    /// none where only the file is known.
    pub fn line_of(&self, path: &Path) -> Option<u32> {
        let lines = self.origin.lines.as_deref()?;
        let (mut value, mut at) = (&self.value, 0);
        for segment in &path.0 {
            let Some((next, offset)) = descend(value, segment) else { break };
            value = next;
            at += offset;
        }
        lines.get(at).copied().filter(|line| *line > 0)
    }
}

/// The child at `segment` and how many values lie before it.
fn descend<'a>(value: &'a Value, segment: &Segment) -> Option<(&'a Value, usize)> {
    let mut offset = 1;
    match (value, segment) {
        (Value::Object(map), Segment::Field(name)) => {
            for (key, child) in map {
                if key == name {
                    return Some((child, offset));
                }
                offset += size(child);
            }
        }
        (Value::Array(items), segment) => {
            for (index, child) in items.iter().enumerate() {
                let here = match segment {
                    Segment::Index(wanted) => index == *wanted,
                    Segment::Item(text) => plain(child) == *text,
                    Segment::Key(_) => {
                        Path(vec![segment.clone()]).find(&Value::Array(vec![child.clone()])).is_some()
                    }
                    Segment::Field(name) => name.parse() == Ok(index),
                };
                if here {
                    return Some((child, offset));
                }
                offset += size(child);
            }
        }
        _ => {}
    }
    None
}

fn size(value: &Value) -> usize {
    1 + match value {
        Value::Object(map) => map.values().map(size).sum(),
        Value::Array(items) => items.iter().map(size).sum(),
        _ => 0,
    }
}

/// The lines of every value, in the order of descent. A value that rendering
/// did not write has its parent's line.
pub(super) fn flatten(value: &Value, tree: &LineTree) -> Box<[u32]> {
    fn visit(value: &Value, tree: Option<&LineTree>, line: u32, out: &mut Vec<u32>) {
        let line = tree.map_or(line, |tree| tree.line);
        out.push(line);
        match value {
            Value::Object(map) => {
                map.iter().for_each(|(k, v)| visit(v, tree.and_then(|t| t.fields.get(k)), line, out))
            }
            Value::Array(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(i, v)| visit(v, tree.and_then(|t| t.items.get(i)), line, out));
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    visit(value, Some(tree), tree.line, &mut out);
    out.into_boxed_slice()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_short_and_read_again() {
        let leaf = |line| LineTree { line, ..LineTree::default() };
        let items = LineTree { items: vec![leaf(3), leaf(4)], ..leaf(2) };
        let tree = LineTree { fields: [("a".into(), items), ("b".into(), leaf(5))].into(), ..leaf(1) };
        let text = serde_json::to_string(&tree).unwrap();
        assert_eq!(text, r#"[1,{"a":[2,[3,4]],"b":5}]"#);
        assert_eq!(serde_json::from_str::<LineTree>(&text).unwrap(), tree);
        for broken in ["{}", "[1,2]", "-1", "\"a\"", "[1,{},3]", "99999999999"] {
            assert!(serde_json::from_str::<LineTree>(broken).is_err(), "{broken}");
        }
    }
}
