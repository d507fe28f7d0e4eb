//! Changes of YAML in place: everything else in the file, comments and quotes
//! among it, stays byte for byte. In: a file's text, and where a value stands.
//! Out: the text with another one.

use std::fmt;

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};
use serde_json::Value;

/// One step into a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Field(String),
    Index(usize),
}

/// The steps of a JSON pointer; numbers are indices.
pub fn steps(pointer: &str) -> Vec<Step> {
    let step = |part: &str| match part.parse() {
        Ok(index) => Step::Index(index),
        Err(_) => Step::Field(part.replace("~1", "/").replace("~0", "~")),
    };
    pointer.split('/').skip(1).map(step).collect()
}

/// Why a value is not changed in place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    #[error("{0} is not there")]
    Missing(Place),
    #[error("{0} is written by an alias or anchor, which others share")]
    Shared(Place),
    #[error("{0} is no single text")]
    NoText(Place),
    #[error("{0} shares its line with something else")]
    Line(Place),
}

/// Where something stands, as people write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(pub Vec<Step>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) => write!(f, "{}{name}", if index > 0 { "." } else { "" })?,
                Step::Index(at) => write!(f, "[{at}]")?,
            }
        }
        Ok(())
    }
}

/// A file that is changed. Documents count from 1, empty ones too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Editor {
    text: String,
}

/// A node of a document, and where it stands in the text.
#[derive(Clone, Debug)]
struct Node {
    path: Vec<Step>,
    document: usize,
    kind: Kind,
    /// Of a scalar all of it; of a collection its beginning.
    start: usize,
    end: usize,
    column: usize,
    shared: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Scalar(ScalarStyle),
    Block,
    Flow,
    Alias,
}

impl Editor {
    /// For a text that is valid YAML.
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned() }
    }

    /// As it is by now.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Gives a single value another text, in the quotes that it has.
    ///
    /// # Errors
    /// When nothing or no single text stands there, or others share it.
    pub fn set(&mut self, document: usize, path: &[Step], value: &str) -> Result<(), EditError> {
        let node = self.find(document, path)?;
        let Kind::Scalar(style) = node.kind else {
            let place = Place(path.to_vec());
            return Err(if node.kind == Kind::Alias {
                EditError::Shared(place)
            } else {
                EditError::NoText(place)
            });
        };
        if node.shared {
            return Err(EditError::Shared(Place(path.to_vec())));
        }
        let written = match style {
            ScalarStyle::SingleQuoted => format!("'{}'", value.replace('\'', "''")),
            ScalarStyle::DoubleQuoted => quoted(value),
            ScalarStyle::Plain => scalar(value),
            _ => return Err(EditError::NoText(Place(path.to_vec()))),
        };
        if node.start < node.end {
            self.text.replace_range(node.start..node.end, &written);
            return Ok(());
        }
        // An empty value has no place of its own: it comes behind the colon.
        let colon = self.text[node.start..self.line_end(node.start)].find(':');
        let colon = colon.ok_or_else(|| EditError::NoText(Place(path.to_vec())))?;
        self.text.insert_str(node.start + colon + 1, &format!(" {written}"));
        Ok(())
    }

    /// Puts another field beside one that holds a single text.
    ///
    /// # Errors
    /// When nothing or no single text stands there.
    pub fn beside(
        &mut self,
        document: usize,
        path: &[Step],
        name: &str,
        value: &str,
    ) -> Result<(), EditError> {
        let place = || Place(path.to_vec());
        let node = self.find(document, path)?;
        let (Kind::Scalar(_), Some((_, above))) = (node.kind, path.split_last()) else {
            return Err(EditError::NoText(place()));
        };
        let parent = self.find(document, above)?;
        let written = scalar(value);
        if parent.kind == Kind::Flow {
            self.text.insert_str(node.end, &format!(", {name}: {written}"));
        } else {
            let end = self.line_end(node.end);
            let indent = " ".repeat(parent.column);
            self.text.insert_str(end, &format!("\n{indent}{name}: {written}"));
        }
        Ok(())
    }

    /// Takes a field away that has a line of its own.
    ///
    /// # Errors
    /// When it is not there, or something else is on its line.
    pub fn remove(&mut self, document: usize, path: &[Step]) -> Result<(), EditError> {
        let node = self.find(document, path)?;
        let place = || Place(path.to_vec());
        let Some((Step::Field(name), _)) = path.split_last() else { return Err(EditError::NoText(place())) };
        let start = self.text[..node.start].rfind('\n').map_or(0, |at| at + 1);
        let before = self.text[start..node.start].trim();
        let alone = before.strip_suffix(':').is_some_and(|key| key.trim_matches(['"', '\'']) == name);
        let end = self.line_end(node.end);
        let after = self.text[node.end..end].trim();
        if !matches!(node.kind, Kind::Scalar(_)) || !alone || !(after.is_empty() || after.starts_with('#')) {
            return Err(EditError::Line(place()));
        }
        self.text.replace_range(start..(end + 1).min(self.text.len()), "");
        Ok(())
    }

    /// Puts a mapping of texts into the list of this name at a document's top,
    /// before its first element; the list is made where there is none.
    ///
    /// # Errors
    /// When something else has that name, or the list is written in one line.
    pub fn push(&mut self, document: usize, list: &str, fields: &[(&str, &str)]) -> Result<(), EditError> {
        let path = [Step::Field(list.to_owned())];
        let item = |indent: usize| {
            let indent = " ".repeat(indent);
            let lines = fields.iter().enumerate().map(|(index, (name, value))| {
                format!("{indent}{} {name}: {}\n", if index == 0 { "-" } else { " " }, scalar(value))
            });
            lines.collect::<String>()
        };
        let Ok(node) = self.find(document, &path) else {
            let end = self.end_of(document);
            let newline = if end == 0 || self.text[..end].ends_with('\n') { "" } else { "\n" };
            self.text.insert_str(end, &format!("{newline}{list}:\n{}", item(0)));
            return Ok(());
        };
        if node.kind != Kind::Block {
            return Err(EditError::Line(Place(path.to_vec())));
        }
        let start = self.text[..node.start].rfind('\n').map_or(0, |at| at + 1);
        self.text.insert_str(start, &item(node.column));
        Ok(())
    }

    fn find(&self, document: usize, path: &[Step]) -> Result<Node, EditError> {
        let found = nodes(&self.text).into_iter().find(|node| node.document == document && node.path == path);
        found.ok_or_else(|| EditError::Missing(Place(path.to_vec())))
    }

    fn line_end(&self, from: usize) -> usize {
        self.text[from..].find('\n').map_or(self.text.len(), |at| from + at)
    }

    /// Where a document ends: before the next one begins.
    fn end_of(&self, document: usize) -> usize {
        let mut starts = Vec::new();
        for (event, span) in Parser::new_from_str(&self.text).map_while(Result::ok) {
            if matches!(event, Event::DocumentStart(..)) {
                starts.push(byte(&span.start, &self.text));
            }
        }
        starts.get(document).copied().unwrap_or(self.text.len())
    }
}

/// All nodes but keys, with where they stand.
fn nodes(text: &str) -> Vec<Node> {
    let mut walk = Walk { text, nodes: Vec::new(), open: Vec::new(), document: 0 };
    for (event, span) in Parser::new_from_str(text).map_while(Result::ok) {
        walk.take(&event, &span);
    }
    walk.nodes
}

/// A collection that is being read.
struct Open {
    path: Vec<Step>,
    /// Of a sequence: how many elements there were.
    index: Option<usize>,
    /// Of a mapping: the key whose value comes next.
    key: Option<String>,
    shared: bool,
}

struct Walk<'t> {
    text: &'t str,
    nodes: Vec<Node>,
    open: Vec<Open>,
    document: usize,
}

impl Walk<'_> {
    fn take(&mut self, event: &Event<'_>, span: &Span) {
        match event {
            Event::DocumentStart(..) => {
                self.document += 1;
                self.open.clear();
            }
            Event::Scalar(key, _, 0, _) if self.is_key() => {
                if let Some(open) = self.open.last_mut() {
                    open.key = Some(key.to_string());
                }
            }
            Event::Scalar(_, style, anchor, _) => {
                self.node(Kind::Scalar(*style), *anchor, span);
            }
            Event::Alias(_) => {
                self.node(Kind::Alias, 0, span);
            }
            Event::SequenceStart(style, anchor, _) => self.enter(*style, *anchor, span, Some(0)),
            Event::MappingStart(style, anchor, _) => self.enter(*style, *anchor, span, None),
            Event::SequenceEnd | Event::MappingEnd => {
                self.open.pop();
            }
            _ => {}
        }
    }

    fn is_key(&self) -> bool {
        self.open.last().is_some_and(|open| open.index.is_none() && open.key.is_none())
    }

    fn enter(&mut self, style: StructureStyle, anchor: usize, span: &Span, index: Option<usize>) {
        let kind = if style == StructureStyle::Flow { Kind::Flow } else { Kind::Block };
        let (path, shared) = self.node(kind, anchor, span);
        self.open.push(Open { path, index, key: None, shared });
    }

    /// Notes a node; returns its path, and whether others share it.
    fn node(&mut self, kind: Kind, anchor: usize, span: &Span) -> (Vec<Step>, bool) {
        let (mut path, mut shared) = (Vec::new(), anchor > 0);
        if let Some(open) = self.open.last_mut() {
            path.clone_from(&open.path);
            shared |= open.shared;
            match (&mut open.index, open.key.take()) {
                (Some(index), _) => {
                    path.push(Step::Index(*index));
                    *index += 1;
                }
                (None, Some(key)) => path.push(Step::Field(key)),
                (None, None) => {}
            }
        }
        self.nodes.push(Node {
            path: path.clone(),
            document: self.document,
            kind,
            start: byte(&span.start, self.text),
            end: byte(&span.end, self.text),
            column: span.start.col(),
            shared,
        });
        (path, shared)
    }
}

fn byte(marker: &granit_parser::Marker, text: &str) -> usize {
    let counted = || text.char_indices().nth(marker.index()).map_or(text.len(), |(at, _)| at);
    marker.byte_offset().unwrap_or_else(counted).min(text.len())
}

/// A text that YAML reads as that very text.
fn scalar(value: &str) -> String {
    let plain = !value.is_empty()
        && value.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-/:@+".contains(letter))
        && value.starts_with(|letter: char| letter.is_ascii_alphanumeric())
        && !value.ends_with(':')
        && super::plain(value).as_str() == Some(value);
    if plain { value.to_owned() } else { quoted(value) }
}

/// JSON's strings are YAML's, too.
fn quoted(value: &str) -> String {
    Value::from(value).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
