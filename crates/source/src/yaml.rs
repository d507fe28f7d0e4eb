//! YAML with lines. In: a file's text. Out: its documents as JSON values, each
//! with the line of every field, read as kubectl reads them (YAML 1.1: `yes`
//! is true, `0644` is octal), or an error with file, line and document.

pub mod edit;

use std::collections::HashMap;

use gitops_core::desired::LineTree;
use granit_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Number, Value};

use crate::error::SourceError;

/// Values and bytes of text that one file may stand for once its aliases are
/// resolved: a bomb is larger.
const MAX_NODES: usize = 1_000_000;
const MAX_BYTES: usize = 128 << 20;
/// Deeper nesting than any object's.
const MAX_DEPTH: usize = 200;

/// One document of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub value: Value,
    /// Its place in the file, empty documents counted, from 1.
    pub number: usize,
    /// The line on which it begins.
    pub line: u32,
    pub lines: LineTree,
}

/// Reads all documents of a file; empty ones are left out. JSON is YAML, too.
///
/// # Errors
/// The first mistake, with its place.
pub fn documents(file: &str, text: &str) -> Result<Vec<Document>, SourceError> {
    let mut reader = Reader {
        file,
        document: 0,
        anchors: HashMap::new(),
        size: Size::default(),
        events: Parser::new_from_str(text),
    };
    let mut documents = Vec::new();
    while let Some((event, _)) = reader.next()? {
        match event {
            Event::DocumentStart(..) => {
                reader.document += 1;
                reader.anchors.clear();
                let (event, span) = reader.need()?;
                let (value, lines) = reader.node(event, span, 0)?;
                if !value.is_null() {
                    documents.push(Document { value, number: reader.document, line: lines.line, lines });
                }
            }
            Event::StreamEnd => break,
            _ => {}
        }
    }
    Ok(documents)
}

struct Reader<'a> {
    file: &'a str,
    document: usize,
    anchors: HashMap<usize, (Value, LineTree, Size)>,
    size: Size,
    events: Parser<'a, granit_parser::StrInput<'a>>,
}

type Node = (Value, LineTree);

/// What was read so far, or what an anchor holds.
#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, SourceError> {
        loop {
            match self.events.next() {
                None => return Ok(None),
                Some(Ok((Event::Comment(..) | Event::Anchor(..), _))) => {}
                Some(Ok(event)) => return Ok(Some(event)),
                Some(Err(error)) => {
                    let marker = error.marker();
                    return Err(self.error(marker.line(), marker.col(), &error.info()));
                }
            }
        }
    }

    fn need(&mut self) -> Result<(Event<'a>, Span), SourceError> {
        self.next()?.ok_or_else(|| self.error(0, 0, "the file ends in the middle of a document"))
    }

    fn error(&self, line: usize, column: usize, reason: &str) -> SourceError {
        SourceError::BadYaml {
            file: self.file.to_owned(),
            line,
            column: column + 1,
            document: self.document.max(1),
            reason: reason.to_owned(),
        }
    }

    fn at(&self, span: &Span, reason: &str) -> SourceError {
        self.error(span.start.line(), span.start.col(), reason)
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, SourceError> {
        let before = self.size;
        self.size.nodes += 1;
        if depth > MAX_DEPTH {
            return Err(self.at(&span, "it is nested too deeply"));
        }
        let (anchor, node) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.size.bytes += text.len();
                let tag = tag.map(|tag| tag.suffix().to_string());
                let value = self.scalar(&text, style, tag.as_deref(), &span)?;
                (anchor, (value, LineTree { line: line(&span), ..LineTree::default() }))
            }
            Event::SequenceStart(_, anchor, _) => (anchor, self.sequence(&span, depth)?),
            Event::MappingStart(_, anchor, _) => (anchor, self.mapping(&span, depth)?),
            Event::Alias(id) => {
                let Some((.., size)) = self.anchors.get(&id) else {
                    return Err(self.at(&span, "this alias stands for nothing before it"));
                };
                self.size.nodes += size.nodes;
                self.size.bytes += size.bytes;
                self.bounded(&span)?;
                let (value, lines, _) = self.anchors[&id].clone();
                return Ok((value, lines));
            }
            _ => return Err(self.at(&span, "a value is missing")),
        };
        self.bounded(&span)?;
        if anchor > 0 {
            let size = Size { nodes: self.size.nodes - before.nodes, bytes: self.size.bytes - before.bytes };
            // The anchor itself holds a copy.
            self.size.bytes += size.bytes;
            self.anchors.insert(anchor, (node.0.clone(), node.1.clone(), size));
        }
        Ok(node)
    }

    fn bounded(&self, span: &Span) -> Result<(), SourceError> {
        if self.size.nodes > MAX_NODES || self.size.bytes > MAX_BYTES {
            return Err(self.at(span, "its aliases stand for too many values"));
        }
        Ok(())
    }

    fn sequence(&mut self, span: &Span, depth: usize) -> Result<Node, SourceError> {
        let (mut items, mut lines) = (Vec::new(), Vec::new());
        loop {
            let (event, span) = self.need()?;
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            let (value, tree) = self.node(event, span, depth + 1)?;
            items.push(value);
            lines.push(tree);
        }
        Ok((items.into(), LineTree { line: line(span), items: lines, ..LineTree::default() }))
    }

    fn mapping(&mut self, span: &Span, depth: usize) -> Result<Node, SourceError> {
        let mut map = Map::new();
        let mut tree = LineTree { line: line(span), ..LineTree::default() };
        let mut merged: Vec<Node> = Vec::new();
        loop {
            let (event, key_span) = self.need()?;
            let Event::Scalar(key, style, ..) = event else {
                if matches!(event, Event::MappingEnd) {
                    break;
                }
                return Err(self.at(&key_span, "a key has to be text"));
            };
            self.size.bytes += key.len();
            let (event, value_span) = self.need()?;
            let (value, mut lines) = self.node(event, value_span, depth + 1)?;
            if key == "<<" && style == ScalarStyle::Plain {
                merged.push((value, lines));
                continue;
            }
            // A field's line is its key's: that is where one looks for it.
            lines.line = line(&key_span);
            if map.insert(key.to_string(), value).is_some() {
                return Err(self.at(&key_span, &format!("the key {key:?} is there twice")));
            }
            tree.fields.insert(key.into_owned(), lines);
        }
        for (value, lines) in merged {
            self.merge(span, value, lines, &mut map, &mut tree)?;
        }
        Ok((map.into(), tree))
    }

    /// `<<`: what the mapping does not say itself.
    fn merge(
        &self,
        span: &Span,
        value: Value,
        lines: LineTree,
        map: &mut Map<String, Value>,
        tree: &mut LineTree,
    ) -> Result<(), SourceError> {
        match value {
            Value::Object(other) => {
                let mut fields = lines.fields;
                for (key, value) in other {
                    if !map.contains_key(&key) {
                        tree.fields.insert(key.clone(), fields.remove(&key).unwrap_or_default());
                        map.insert(key, value);
                    }
                }
                Ok(())
            }
            Value::Array(items) => {
                for (item, lines) in items.into_iter().zip(lines.items) {
                    self.merge(span, item, lines, map, tree)?;
                }
                Ok(())
            }
            _ => Err(self.at(span, "<< merges mappings only")),
        }
    }

    fn scalar(
        &self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&str>,
        span: &Span,
    ) -> Result<Value, SourceError> {
        match tag {
            Some("str") => return Ok(text.into()),
            Some("binary") => return Ok(text.split_whitespace().collect::<String>().into()),
            Some("int" | "float" | "bool" | "null") | None => {}
            Some(other) => {
                return Err(self.at(span, &format!("the tag !{other} means nothing to Kubernetes")));
            }
        }
        if style != ScalarStyle::Plain && tag.is_none() {
            return Ok(text.into());
        }
        Ok(plain(text))
    }
}

fn line(span: &Span) -> u32 {
    u32::try_from(span.start.line()).unwrap_or(u32::MAX)
}

/// A plain scalar by YAML 1.1, as sigs.k8s.io/yaml resolves it.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return true.into();
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return false.into();
        }
        _ => {}
    }
    number(text).map_or_else(|| text.into(), Value::Number)
}

fn number(text: &str) -> Option<Number> {
    let first = text.as_bytes()[0];
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
        return None;
    }
    let digits = text.replace('_', "");
    let (negative, unsigned) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let radix = |prefix: &str, radix| {
        unsigned.strip_prefix(prefix).and_then(|rest| i64::from_str_radix(rest, radix).ok())
    };
    let octal = || {
        (unsigned.len() > 1 && unsigned.starts_with('0') && unsigned.bytes().all(|b| b.is_ascii_digit()))
            .then(|| i64::from_str_radix(unsigned, 8).ok())?
    };
    if let Some(value) = radix("0x", 16).or_else(|| radix("0o", 8)).or_else(|| radix("0b", 2)).or_else(octal)
    {
        return Some((if negative { -value } else { value }).into());
    }
    if unsigned.bytes().all(|b| b.is_ascii_digit()) && !unsigned.is_empty() {
        let signed = if negative {
            digits.parse::<i64>().ok().map(Number::from)
        } else {
            unsigned.parse::<u64>().ok().map(Number::from)
        };
        return signed.or_else(|| Number::from_f64(digits.parse().ok()?));
    }
    let is_float =
        unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
            && unsigned.bytes().any(|b| b.is_ascii_digit())
            && unsigned.bytes().next().is_some_and(|b| b.is_ascii_digit() || b == b'.');
    if is_float { Number::from_f64(digits.parse().ok()?) } else { None }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(text: &str) -> Value {
        documents("f.yaml", text).unwrap().remove(0).value
    }

    #[test]
    fn scalars_are_read_as_kubectl_reads_them() {
        let value = one(
            "a: yes\nb: \"yes\"\nc: 0644\nd: 1.5\ne: ~\nf: 1_000\ng: 0x1F\nh: 1.2.3\ni: 500m\nj: -7\nk: 2024-01-01\nl: .5\nm: '1'\nn: !!str 1\no: 1e3\n",
        );
        assert_eq!(
            value,
            json!({"a": true, "b": "yes", "c": 420, "d": 1.5, "e": null, "f": 1000, "g": 31, "h": "1.2.3", "i": "500m", "j": -7, "k": "2024-01-01", "l": 0.5, "m": "1", "n": "1", "o": 1000.0})
        );
    }

    #[test]
    fn documents_know_their_lines() {
        let documents =
            documents("f.yaml", "# a comment\n---\na:\n  b: 1\n---\n---\nc:\n- x\n- y: 2\n").unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0].lines.fields["a"].fields["b"].line, 4);
        assert_eq!(documents[1].line, 7);
        assert_eq!((documents[0].number, documents[1].number), (1, 3));
        assert_eq!(documents[1].lines.fields["c"].items[1].fields["y"].line, 9);
    }

    #[test]
    fn mistakes_name_their_place() {
        for (text, place) in [
            ("a: 1\nb: [1, 2\n", "f.yaml:"),
            ("a: 1\na: 2\n", "f.yaml:2:1: document 1: the key \"a\" is there twice"),
            ("a: 1\n---\nb: *x\n", "f.yaml:3:4: document 2"),
            ("a: 1\n---\nb:\n\t- c\n", "f.yaml:4"),
            ("a: !Ref x\n", "f.yaml:1:9: document 1: the tag"),
        ] {
            let error = documents("f.yaml", text).unwrap_err().to_string();
            assert!(error.starts_with(place), "{error}");
        }
    }

    #[test]
    fn aliases_and_merges_are_resolved() {
        let value = one("base: &b {x: 1, y: 2}\nc:\n  <<: *b\n  y: 3\nd: *b\n");
        assert_eq!(value["c"], json!({"x": 1, "y": 3}));
        assert_eq!(value["d"], json!({"x": 1, "y": 2}));
    }

    #[test]
    fn a_bomb_does_not_go_off() {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..12 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(",");
            text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        let error = documents("f.yaml", &text).unwrap_err().to_string();
        assert!(error.contains("too many values"), "{error}");
        let aliases = vec!["*a"; 1000].join(",");
        let long = format!("a: &a {}\nb: [{aliases}]\n", "x".repeat(1 << 20));
        let error = documents("f.yaml", &long).unwrap_err().to_string();
        assert!(error.contains("too many values"), "{error}");
        let deep = "[".repeat(500);
        assert!(documents("f.yaml", &deep).is_err());
    }

    #[test]
    fn json_and_line_ends_of_windows_are_read() {
        assert_eq!(one("{\"a\": {\"b\": [1, \"x\"]}}"), json!({"a": {"b": [1, "x"]}}));
        assert_eq!(one("a: 1\r\nb: x\r\n"), json!({"a": 1, "b": "x"}));
        assert_eq!(one("\u{feff}a: 1\n"), json!({"a": 1}));
    }
}
