//! Fields of a resource, with their lines. Each is read once; what nobody has
//! read is told at the end, so that nothing goes unnoticed.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use gitops_core::desired::LineTree;
use gitops_core::path::plain;
use serde_json::Value;

/// What it means that something was not taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Something else is deployed, or somewhere else.
    What,
    /// The same is deployed, in another way.
    How,
}

/// Something that was not taken over, and what to do instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub weight: Weight,
    /// `file:line`
    pub place: String,
    /// Empty: the whole resource.
    pub field: String,
    /// Such as `Application argocd/web`.
    pub resource: String,
    pub words: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, field, resource, words, .. } = self;
        if field.is_empty() {
            write!(f, "{place}: {resource}: {words}")
        } else {
            write!(f, "{place}: {field} of {resource}: {words}")
        }
    }
}

/// What was found so far.
pub type Findings = RefCell<Vec<Finding>>;

/// What standard input is called.
pub const STDIN: &str = "stdin";

/// A document of a file.
#[derive(Clone, Debug)]
pub struct Resource {
    pub file: String,
    pub value: Value,
    pub lines: LineTree,
}

impl Resource {
    fn at(&self, pointer: &str) -> &str {
        self.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn group(&self) -> &str {
        self.at("/apiVersion").split_once('/').map_or("", |(group, _)| group)
    }

    pub fn kind(&self) -> &str {
        self.at("/kind")
    }

    pub fn name(&self) -> &str {
        self.at("/metadata/name")
    }

    pub fn namespace(&self) -> &str {
        self.at("/metadata/namespace")
    }

    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.lines.line.max(1))
    }

    /// Kind and name, as messages have it.
    pub fn shown(&self) -> String {
        let (kind, namespace, name) = (self.kind(), self.namespace(), self.name());
        if namespace.is_empty() { format!("{kind} {name}") } else { format!("{kind} {namespace}/{name}") }
    }

    /// Tells something of it as a whole.
    pub fn tell(&self, findings: &Findings, weight: Weight, words: impl Into<String>) {
        findings.borrow_mut().push(Finding {
            weight,
            place: self.place(),
            field: String::new(),
            resource: self.shown(),
            words: words.into(),
        });
    }

    /// Its top.
    pub fn top<'r>(&'r self, findings: &'r Findings) -> Map<'r> {
        Field {
            value: &self.value,
            lines: Some(&self.lines),
            line: 1,
            path: String::new(),
            of: self,
            findings,
        }
        .map()
    }
}

/// A value of a resource, and where it is.
#[derive(Clone, Debug)]
pub struct Field<'r> {
    pub value: &'r Value,
    lines: Option<&'r LineTree>,
    line: u32,
    path: String,
    of: &'r Resource,
    findings: &'r Findings,
}

impl<'r> Field<'r> {
    /// Tells that it is not taken over.
    pub fn tell(&self, weight: Weight, words: impl Into<String>) {
        let finding = Finding {
            weight,
            place: format!("{}:{}", self.of.file, self.line.max(1)),
            field: self.path.clone(),
            resource: self.of.shown(),
            words: words.into(),
        };
        self.findings.borrow_mut().push(finding);
    }

    fn below(&self, value: &'r Value, lines: Option<&'r LineTree>, path: String) -> Self {
        let line = lines.map_or(self.line, |lines| lines.line);
        Self { value, lines, line, path, of: self.of, findings: self.findings }
    }

    /// Whether it says anything: nothing, empty and false are what is there
    /// without it.
    pub fn is_said(&self) -> bool {
        match self.value {
            Value::Null | Value::Bool(false) => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            _ => true,
        }
    }

    /// As text; numbers and truth values as they are written.
    pub fn text(&self) -> Option<String> {
        match self.value {
            Value::Array(_) | Value::Object(_) => {
                self.tell(Weight::What, "a text is expected here: left out");
                None
            }
            other => Some(plain(other)).filter(|text| !text.is_empty()),
        }
    }

    pub fn items(&self) -> Vec<Self> {
        let Value::Array(items) = self.value else {
            self.tell(Weight::What, "a list is expected here: left out");
            return Vec::new();
        };
        let tree = |index: usize| self.lines.and_then(|lines| lines.items.get(index));
        let field = |(index, item)| self.below(item, tree(index), format!("{}[{index}]", self.path));
        items.iter().enumerate().map(field).collect()
    }

    pub fn map(self) -> Map<'r> {
        let unread = match self.value {
            Value::Object(fields) => fields.keys().map(String::as_str).collect(),
            _ => {
                self.tell(Weight::What, "fields are expected here: left out");
                BTreeSet::new()
            }
        };
        Map { field: self, unread }
    }
}

/// Fields with names, of which each is read once.
#[derive(Clone, Debug)]
pub struct Map<'r> {
    pub field: Field<'r>,
    unread: BTreeSet<&'r str>,
}

impl<'r> Map<'r> {
    /// A field that is there.
    pub fn take(&mut self, name: &str) -> Option<Field<'r>> {
        self.unread.remove(name);
        let value = self.field.value.get(name).filter(|value| !value.is_null())?;
        let lines = self.field.lines.and_then(|lines| lines.fields.get(name));
        let above = &self.field.path;
        let path = if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") };
        Some(self.field.below(value, lines, path))
    }

    pub fn text(&mut self, name: &str) -> Option<String> {
        self.take(name)?.text()
    }

    pub fn flag(&mut self, name: &str) -> Option<bool> {
        let field = self.take(name)?;
        let value = field.value.as_bool();
        if value.is_none() {
            field.tell(Weight::What, "true or false is expected here: left out");
        }
        value
    }

    pub fn is(&mut self, name: &str) -> bool {
        self.flag(name) == Some(true)
    }

    pub fn items(&mut self, name: &str) -> Vec<Field<'r>> {
        self.take(name).map(|field| field.items()).unwrap_or_default()
    }

    pub fn texts(&mut self, name: &str) -> Vec<String> {
        self.items(name).iter().filter_map(Field::text).collect()
    }

    pub fn map(&mut self, name: &str) -> Option<Map<'r>> {
        self.take(name).map(Field::map)
    }

    /// Tells those that are not taken over, each with what to do instead.
    pub fn leave(&mut self, weight: Weight, fields: &[(&str, &str)]) {
        for (name, words) in fields {
            if let Some(field) = self.take(name).filter(Field::is_said) {
                field.tell(weight, *words);
            }
        }
    }

    /// Passes over what means nothing to anybody else.
    pub fn pass(&mut self, names: &[&str]) {
        self.unread.retain(|name| !names.contains(name));
    }

    /// Tells what nobody has read.
    pub fn end(self) {
        self.rest(Weight::What, "it is not known here, and left out: see whether something depends on it");
    }

    /// The same, in other words.
    pub fn rest(mut self, weight: Weight, words: &str) {
        for name in std::mem::take(&mut self.unread) {
            if let Some(field) = self.take(name).filter(Field::is_said) {
                field.tell(weight, words);
            }
        }
    }
}
