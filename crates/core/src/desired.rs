//! The desired set: the objects an Application renders at one commit. In:
//! rendered objects and where they came from. Out: the set, keyed and with
//! namespaces, or every mistake found in it at once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::delegation::Delegated;
use crate::names::{ANNOTATION_ORIGIN, ANNOTATION_OWNER, ANNOTATION_REVISION, LABEL_APPLICATION};
use crate::object::{Gvk, IdentityError, ObjectKey};
use crate::path::{Path, Segment, plain};
use crate::plan::{annotations, is_hook};

/// An Application by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AppRef {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for AppRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

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

/// An object as rendering gave it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rendered {
    pub value: Value,
    /// Path in the repository.
    pub file: Arc<str>,
    /// First line of its document; 0 where it is not known.
    pub line: u32,
    pub lines: Option<LineTree>,
    /// Texts in it that Git keeps encrypted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confidential: Vec<String>,
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

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { f.write_str(&self.file) } else { write!(f, "{}:{}", self.file, self.line) }
    }
}

/// An object that Git declares.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredObject {
    pub key: ObjectKey,
    pub gvk: Gvk,
    pub value: Value,
    pub origin: Origin,
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

/// What an Application renders at one commit.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredSet {
    pub application: AppRef,
    /// The commit, in full.
    pub revision: String,
    pub objects: BTreeMap<ObjectKey, DesiredObject>,
}

/// Which kinds live in a namespace.
pub trait Scopes {
    /// None for a kind that is not known.
    fn namespaced(&self, gvk: &Gvk) -> Option<bool>;
}

/// A mistake in what Git says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DesiredError {
    #[error("{origin}: {error}")]
    Identity { origin: String, error: IdentityError },
    #[error(
        "{origin}: {gvk} {name} has metadata.generateName: an object in Git that is no hook needs a name"
    )]
    GenerateName { origin: String, gvk: Gvk, name: String },
    #[error("{key} is declared twice: {first} and {second}")]
    Duplicate { key: ObjectKey, first: String, second: String },
    #[error("{origin}: {gvk} {name}: the cluster has no such kind")]
    UnknownKind { origin: String, gvk: Gvk, name: String },
    #[error("{origin}: {gvk} {name}: no namespace is given, neither in the object nor as the destination")]
    NoNamespace { origin: String, gvk: Gvk, name: String },
    #[error("{origin}: {gvk} {name}: {reason}")]
    Invalid { origin: String, gvk: Gvk, name: String, reason: String },
}

/// The kinds that CustomResourceDefinitions among the rendered objects bring,
/// and after them those of `known`.
struct WithDefinitions<'a> {
    known: &'a dyn Scopes,
    defined: Vec<(String, String, bool)>,
}

impl Scopes for WithDefinitions<'_> {
    fn namespaced(&self, gvk: &Gvk) -> Option<bool> {
        let defined = self.defined.iter().find(|(group, kind, _)| *group == gvk.group && *kind == gvk.kind);
        self.known.namespaced(gvk).or(defined.map(|(_, _, namespaced)| *namespaced))
    }
}

/// How a [`Builder`] keeps desired objects: as they are, or packed.
pub trait Stored {
    /// `kinds` lets objects of one kind share its name.
    fn store(object: DesiredObject, kinds: &mut BTreeMap<Gvk, Arc<Gvk>>) -> Self;
    fn origin(&self) -> &Origin;
}

impl Stored for DesiredObject {
    fn store(object: DesiredObject, _: &mut BTreeMap<Gvk, Arc<Gvk>>) -> Self {
        object
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// Takes rendered objects one by one, so that a large render is never in
/// memory as a whole, and gives each its identity and namespace.
pub struct Builder<'a, S> {
    default_namespace: &'a str,
    scopes: WithDefinitions<'a>,
    /// Kinds may be unknown until their turn comes.
    lenient: bool,
    kinds: BTreeMap<Gvk, Arc<Gvk>>,
    objects: BTreeMap<ObjectKey, S>,
    /// Of kinds whose definition may still come.
    waiting: Vec<Rendered>,
    errors: Vec<DesiredError>,
}

impl<S> fmt::Debug for Builder<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Builder({} objects)", self.objects.len())
    }
}

impl<'a, S: Stored> Builder<'a, S> {
    /// Nothing yet.
    pub fn new(default_namespace: &'a str, scopes: &'a dyn Scopes) -> Self {
        Self {
            default_namespace,
            scopes: WithDefinitions { known: scopes, defined: Vec::new() },
            lenient: false,
            kinds: BTreeMap::new(),
            objects: BTreeMap::new(),
            waiting: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Takes kinds that nobody knows yet for namespaced ones.
    #[must_use]
    pub fn lenient(self, lenient: bool) -> Self {
        Self { lenient, ..self }
    }

    /// One more; mistakes are told by [`Builder::finish`].
    pub fn add(&mut self, rendered: Rendered) {
        self.scopes.defined.extend(definition(&rendered.value));
        let unknown = Gvk::of(&rendered.value).is_ok_and(|gvk| self.scopes.namespaced(&gvk).is_none());
        if unknown {
            self.waiting.push(rendered);
        } else {
            self.place(rendered);
        }
    }

    fn place(&mut self, rendered: Rendered) {
        match desired(rendered, self.default_namespace, &self.scopes, self.lenient) {
            Ok(object) => {
                if let Some(first) = self.objects.get(&object.key) {
                    let (first, second) = (first.origin().to_string(), object.origin.to_string());
                    self.errors.push(DesiredError::Duplicate { key: object.key, first, second });
                } else {
                    let key = object.key.clone();
                    self.objects.insert(key, S::store(object, &mut self.kinds));
                }
            }
            Err(error) => self.errors.push(error),
        }
    }

    /// All objects by their keys.
    ///
    /// # Errors
    /// All mistakes found, so that they can be mended at once.
    pub fn finish(mut self) -> Result<BTreeMap<ObjectKey, S>, Vec<DesiredError>> {
        for rendered in std::mem::take(&mut self.waiting) {
            self.place(rendered);
        }
        if self.errors.is_empty() { Ok(self.objects) } else { Err(self.errors) }
    }
}

impl DesiredSet {
    /// Gives rendered objects their identity and namespace.
    ///
    /// # Errors
    /// All mistakes found, so that they can be mended at once.
    pub fn build(
        application: AppRef,
        revision: String,
        default_namespace: &str,
        scopes: &dyn Scopes,
        rendered: Vec<Rendered>,
    ) -> Result<Self, Vec<DesiredError>> {
        let mut builder = Builder::new(default_namespace, scopes);
        rendered.into_iter().for_each(|rendered| builder.add(rendered));
        Ok(Self { application, revision, objects: builder.finish()? })
    }

    /// What its objects leave to others.
    pub fn delegated(&self) -> Delegated {
        Delegated::collect(self.objects.values(), |key| self.objects.get(key).cloned())
    }
}

fn definition(value: &Value) -> Option<(String, String, bool)> {
    if value.get("kind")? != "CustomResourceDefinition" {
        return None;
    }
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    Some((text("/spec/group")?, text("/spec/names/kind")?, text("/spec/scope")? == "Namespaced"))
}

fn desired(
    rendered: Rendered,
    default_namespace: &str,
    scopes: &dyn Scopes,
    lenient: bool,
) -> Result<DesiredObject, DesiredError> {
    let Rendered { mut value, file, line, lines, confidential } = rendered;
    let origin = Origin { file, line, lines: None, confidential: confidential.into() };
    let at = origin.to_string();
    let gvk = Gvk::of(&value).map_err(|error| DesiredError::Identity { origin: at.clone(), error })?;
    if value.pointer("/metadata/name").is_none_or(Value::is_null)
        && let Some(name) = value.pointer("/metadata/generateName").and_then(Value::as_str)
    {
        if !is_hook(&value) {
            return Err(DesiredError::GenerateName { origin: at, gvk, name: name.to_owned() });
        }
        // Each run has a name of its own; no object can have this one.
        value["metadata"]["name"] = format!("{name}*").into();
    }
    let mut key =
        ObjectKey::of(&value).map_err(|error| DesiredError::Identity { origin: at.clone(), error })?;
    let name = key.name.clone();
    let scope = scopes.namespaced(&gvk).or_else(|| {
        // Whose definition comes later is taken for namespaced until then.
        let own = annotations::options(&value).ok().and_then(|options| options.skip_missing);
        own.unwrap_or(lenient).then_some(true)
    });
    match scope {
        None => return Err(DesiredError::UnknownKind { origin: at, gvk, name }),
        Some(true) if key.namespace.is_empty() && default_namespace.is_empty() => {
            return Err(DesiredError::NoNamespace { origin: at, gvk, name });
        }
        Some(true) if key.namespace.is_empty() => key.namespace = default_namespace.to_owned(),
        Some(true) => {}
        Some(false) => key.namespace.clear(),
    }
    drop_nulls(&mut value);
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        if key.namespace.is_empty() {
            metadata.remove("namespace");
        } else {
            metadata.insert("namespace".into(), key.namespace.clone().into());
        }
        for set_by_the_server in
            ["creationTimestamp", "resourceVersion", "uid", "generation", "managedFields", "selfLink"]
        {
            metadata.remove(set_by_the_server);
        }
    }
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
    }
    if gvk.group.is_empty() && gvk.kind == "Secret" {
        merge_string_data(&mut value);
    }
    if let Some(reason) = text_maps(&value) {
        return Err(DesiredError::Invalid { origin: at, gvk, name, reason });
    }
    let lines = lines.map(|tree| flatten(&value, &tree));
    Ok(DesiredObject { key, gvk, value, origin: Origin { lines, ..origin } })
}

/// The lines of every value, in the order of descent. A value that rendering
/// did not write has its parent's line.
fn flatten(value: &Value, tree: &LineTree) -> Box<[u32]> {
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

/// `null` says nothing. List elements keep their places.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// As the API server does when it reads a Secret: `stringData` wins.
fn merge_string_data(value: &mut Value) {
    let Some(object) = value.as_object_mut() else { return };
    let Some(Value::Object(strings)) = object.remove("stringData") else { return };
    let data = object.entry("data").or_insert_with(|| Map::new().into());
    if let Some(data) = data.as_object_mut() {
        for (key, text) in strings {
            data.insert(key, STANDARD.encode(plain(&text)).into());
        }
    }
}

/// Labels and annotations hold text; a bare `true` or `1` in YAML is none.
fn text_maps(value: &Value) -> Option<String> {
    for field in ["labels", "annotations"] {
        match value.pointer(&format!("/metadata/{field}")) {
            None => {}
            Some(Value::Object(map)) => {
                if let Some((key, value)) = map.iter().find(|(_, value)| !value.is_string()) {
                    return Some(format!(
                        "metadata.{field}[{key:?}] is {value}, which is not text: quote it"
                    ));
                }
            }
            Some(other) => return Some(format!("metadata.{field} is {other}, not a map")),
        }
    }
    None
}

/// The marks that every sync sets: the field of the metadata, and the key.
pub const MARKS: [(&str, &str); 4] = [
    ("labels", LABEL_APPLICATION),
    ("annotations", ANNOTATION_OWNER),
    ("annotations", ANNOTATION_REVISION),
    ("annotations", ANNOTATION_ORIGIN),
];

/// What a mark of [`MARKS`] says on an object.
pub(crate) fn mark(key: &str, object: &DesiredObject, application: &AppRef, revision: &str) -> String {
    match key {
        LABEL_APPLICATION => application.name.clone(),
        ANNOTATION_OWNER => application.to_string(),
        ANNOTATION_ORIGIN => object.origin.to_string(),
        _ => revision.to_owned(),
    }
}

/// A desired object with the marks that every sync sets: whose it is, at which
/// commit, and where it stands in Git.
pub fn stamp(object: &DesiredObject, application: &AppRef, revision: &str) -> Value {
    let mut value = object.value.clone();
    for (field, key) in MARKS {
        let text = mark(key, object, application, revision);
        let metadata = &mut value["metadata"];
        if !metadata[field].is_object() {
            metadata[field] = json!({});
        }
        metadata[field][key] = text.into();
    }
    value
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    struct Known;
    impl Scopes for Known {
        fn namespaced(&self, gvk: &Gvk) -> Option<bool> {
            match gvk.kind.as_str() {
                "Namespace" | "CustomResourceDefinition" => Some(false),
                "Deployment" | "Secret" | "ConfigMap" => Some(true),
                _ => None,
            }
        }
    }

    fn build(values: Vec<Value>) -> Result<DesiredSet, Vec<DesiredError>> {
        let app = AppRef { namespace: "a".into(), name: "shop".into() };
        let rendered = values.into_iter().enumerate().map(|(i, value)| Rendered {
            value,
            file: format!("{i}.yaml").into(),
            line: 1,
            lines: None,
            confidential: Vec::new(),
        });
        DesiredSet::build(app, "c".into(), "shop", &Known, rendered.collect())
    }

    #[test]
    fn namespaces_are_filled_and_dropped() {
        let set = build(vec![
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "b", "namespace": "x"}}),
        ])
        .unwrap();
        let keys: Vec<String> = set.objects.keys().map(ToString::to_string).collect();
        assert_eq!(keys, ["ConfigMap shop/a", "Namespace b"]);
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let errors = build(vec![
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "shop"}}),
            json!({"apiVersion": "example.com/v1", "kind": "Db", "metadata": {"name": "d"}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "a-"}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "l", "labels": {"a": 1}}}),
        ])
        .unwrap_err();
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(texts.join("\n"), @r#"
        ConfigMap shop/a is declared twice: 0.yaml:1 and 1.yaml:1
        3.yaml:1: v1 ConfigMap a- has metadata.generateName: an object in Git that is no hook needs a name
        4.yaml:1: v1 ConfigMap l: metadata.labels["a"] is 1, which is not text: quote it
        2.yaml:1: example.com/v1 Db d: the cluster has no such kind
        "#);
    }

    #[test]
    fn a_definition_in_the_set_makes_its_kind_known() {
        let set = build(vec![
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "dbs.example.com"},
                "spec": {"group": "example.com", "names": {"kind": "Db"}, "scope": "Namespaced"}}),
            json!({"apiVersion": "example.com/v1", "kind": "Db", "metadata": {"name": "d"}}),
        ]);
        assert_eq!(set.unwrap().objects.len(), 2);
    }

    #[test]
    fn a_kind_may_come_later_where_that_is_said() {
        let object = |annotations: Value| Rendered {
            value: json!({"apiVersion": "example.com/v1", "kind": "Db", "metadata": {"name": "d", "annotations": annotations}}),
            file: "f".into(),
            line: 1,
            lines: None,
            confidential: Vec::new(),
        };
        let late = json!({"argocd.argoproj.io/sync-options": "SkipDryRunOnMissingResource=true"});
        let known = |lenient: bool, annotations: Value| {
            let mut builder = Builder::<DesiredObject>::new("shop", &Known).lenient(lenient);
            builder.add(object(annotations));
            builder.finish().is_ok()
        };
        assert!(known(false, late) && known(true, json!({})) && !known(false, json!({})));
    }

    #[test]
    fn names_are_generated_for_hooks_only() {
        let hook = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "run-", "annotations": {"argocd.argoproj.io/hook": "PreSync"}}});
        let set = build(vec![hook]).unwrap();
        assert_eq!(set.objects.keys().next().unwrap().name, "run-*");
    }

    #[test]
    fn string_data_becomes_data() {
        let set = build(vec![json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "eA=="}, "stringData": {"b": "y"}})]).unwrap();
        assert_eq!(set.objects.values().next().unwrap().value["data"], json!({"a": "eA==", "b": "eQ=="}));
    }

    #[test]
    fn lines_are_found_by_path() {
        let tree = LineTree {
            line: 1,
            fields: [
                ("metadata".to_owned(), LineTree { line: 3, ..LineTree::default() }),
                (
                    "data".to_owned(),
                    LineTree {
                        line: 5,
                        fields: [("b".to_owned(), LineTree { line: 7, ..LineTree::default() })].into(),
                        ..LineTree::default()
                    },
                ),
            ]
            .into(),
            ..LineTree::default()
        };
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1", "b": "2"}});
        let app = AppRef { namespace: "a".into(), name: "shop".into() };
        let rendered =
            Rendered { value, file: "c.yaml".into(), line: 1, lines: Some(tree), confidential: Vec::new() };
        let set = DesiredSet::build(app, "c".into(), "shop", &Known, vec![rendered]).unwrap();
        let object = set.objects.values().next().unwrap();
        let line = |path: &str| object.line_of(&path.parse().unwrap());
        assert_eq!(
            (line("data.b"), line("data.a"), line("data.new"), line("metadata.name")),
            (Some(7), Some(5), Some(5), Some(3))
        );
    }

    #[test]
    fn marks_name_the_commit_and_the_file() {
        let set =
            build(vec![json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})]).unwrap();
        let stamped = stamp(set.objects.values().next().unwrap(), &set.application, &set.revision);
        assert_eq!(stamped["metadata"]["labels"][LABEL_APPLICATION], "shop");
        assert_eq!(stamped["metadata"]["annotations"][ANNOTATION_ORIGIN], "0.yaml:1");
        assert_eq!(stamped["metadata"]["annotations"][ANNOTATION_OWNER], "a/shop");
    }
}
