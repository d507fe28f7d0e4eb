//! Where an object and each of its fields stand in Git. In: a value and the
//! lines of its document. Out: the line of a path.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::DesiredObject;
use crate::path::{Path, Segment, plain};

/// The lines of a document, as its loader saw them: parallel to the value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineTree {
    /// Counted from 1.
    pub line: u32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, LineTree>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<LineTree>,
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
        Self::of(file.into(), line)
    }

    pub(super) fn of(file: Arc<str>, line: u32) -> Self {
        Self { file, line, lines: None, confidential: Box::default() }
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
        lines.get(index_of(&self.value, path)).copied().filter(|line| *line > 0)
    }
}

/// How many values are met before a field, or the nearest one above it that is there,
/// when descending.
pub(super) fn index_of(value: &Value, path: &Path) -> usize {
    let (mut value, mut at) = (value, 0);
    for segment in &path.0 {
        let Some((next, offset)) = descend(value, segment) else { break };
        value = next;
        at += offset;
    }
    at
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
