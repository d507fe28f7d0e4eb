//! Live objects as LISTs gave them. In: the text of each list. Out: objects by
//! key, parsed only when they are asked for: of most, a sync needs to know no
//! more than that they are what they were, and their text takes a fraction of
//! the room. A sealed one came in a form that only says whether it is: it is read
//! once it was asked for again.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use gitops_core::names::{ANNOTATION_OWNER, ANNOTATION_REVISION, LABEL_APPLICATION};
use gitops_core::object::{Gvk, ObjectKey};
use prost::bytes::Bytes;
use serde_json::{Map, Value};

use crate::items::{Head, Item, List};
use crate::sealed::{self, Seal};

/// Live objects by key.
#[derive(Clone, Debug, Default)]
pub struct Live {
    objects: HashMap<ObjectKey, Object>,
}

/// What a sync has written on an object, and whether it is going.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The Application's name.
    pub application: Option<Box<str>>,
    pub owner: Option<Box<str>>,
    pub revision: Option<Box<str>>,
    pub is_terminating: bool,
}

impl Marks {
    fn of(object: &Value) -> Self {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(Box::from);
        let mark = |field: &str, name: &str| text(&format!("/metadata/{field}/{}", name.replace('/', "~1")));
        Self {
            application: mark("labels", LABEL_APPLICATION),
            owner: mark("annotations", ANNOTATION_OWNER),
            revision: mark("annotations", ANNOTATION_REVISION),
            is_terminating: text("/metadata/deletionTimestamp").is_some(),
        }
    }
}

/// The answer to a LIST.
struct Listed {
    body: Vec<u8>,
    gvk: Gvk,
    /// Its objects keep the record of their field managers.
    recorded: bool,
}

/// Where an object is in a list.
#[derive(Clone)]
struct Text {
    list: Arc<Listed>,
    place: Range<usize>,
}

#[derive(Clone)]
struct Object {
    /// None of one that was read together with all others, or is sealed.
    text: Option<Text>,
    seal: Option<Seal>,
    marks: Marks,
    value: OnceLock<Value>,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({:?})", self.marks)
    }
}

impl Text {
    fn bytes(&self) -> &[u8] {
        &self.list.body[self.place.clone()]
    }

    /// Items of a list do not repeat its kind.
    fn parse(&self) -> Result<Value, serde_json::Error> {
        let mut item: Map<String, Value> = if self.list.recorded {
            serde_json::from_slice(self.bytes())?
        } else {
            serde_json::from_slice::<Item>(self.bytes())?.0
        };
        item.insert("apiVersion".into(), self.list.gvk.api_version().into());
        item.insert("kind".into(), self.list.gvk.kind.clone().into());
        Ok(item.into())
    }
}

impl Object {
    fn of_value(value: Value) -> Self {
        Self { text: None, seal: None, marks: Marks::of(&value), value: OnceLock::from(value) }
    }

    /// Nothing of it can be read.
    fn is_sealed(&self) -> bool {
        self.seal.is_some() && self.text.is_none() && self.value.get().is_none()
    }

    fn version(&self) -> Option<String> {
        if let Some(value) = self.value.get() {
            return value.pointer("/metadata/resourceVersion")?.as_str().map(str::to_owned);
        }
        let head: Head = serde_json::from_slice(self.text.as_ref()?.bytes()).ok()?;
        head.metadata.resource_version
    }

    fn read(&self) -> Result<(), serde_json::Error> {
        self.judged(|_| false).map(drop)
    }

    /// What `judge` says; where that is no, the object stays parsed.
    fn judged(&self, judge: impl FnOnce(&Value) -> bool) -> Result<bool, serde_json::Error> {
        if let Some(value) = self.value.get() {
            return Ok(judge(value));
        }
        debug_assert!(!self.is_sealed(), "nothing of a sealed object is read");
        let Some(text) = &self.text else { return Ok(false) };
        let value = text.parse()?;
        let word = judge(&value);
        if !word {
            self.value.get_or_init(|| value);
        }
        Ok(word)
    }

    fn value(&self) -> Option<&Value> {
        if let Err(error) = self.read() {
            tracing::error!(%error, "a live object cannot be read");
        }
        self.value.get()
    }
}

impl Live {
    /// The objects of an answer to a LIST; they keep the record of their field
    /// managers when it is `recorded`.
    ///
    /// # Errors
    /// When the answer is no list of objects.
    pub fn of_list(body: Vec<u8>, gvk: Gvk, recorded: bool) -> Result<Self, serde_json::Error> {
        let list = Arc::new(Listed { body, gvk, recorded });
        let items = serde_json::from_slice::<List<'_>>(&list.body)?.items.unwrap_or_default();
        let mut objects = HashMap::with_capacity(items.len());
        for item in items {
            let text = item.get();
            let Head { metadata } = serde_json::from_str(text)?;
            let Some(name) = metadata.name.filter(|name| !name.is_empty()) else { continue };
            let key = ObjectKey {
                group: list.gvk.group.clone(),
                kind: list.gvk.kind.clone(),
                namespace: metadata.namespace.unwrap_or_default(),
                name,
            };
            let annotations = metadata.annotations.unwrap_or_default();
            let marks = Marks {
                application: metadata.labels.and_then(|labels| labels.application),
                owner: annotations.owner,
                revision: annotations.revision,
                is_terminating: metadata.deletion_timestamp.is_some(),
            };
            // It is a part of the body.
            let start = text.as_ptr().addr() - list.body.as_ptr().addr();
            let text = Text { list: list.clone(), place: start..start + text.len() };
            objects.insert(key, Object { text: Some(text), seal: None, marks, value: OnceLock::new() });
        }
        Ok(Self { objects })
    }

    /// The objects of an answer to a LIST that asked for them sealed; none where it is
    /// no such answer.
    pub(crate) fn of_sealed(body: Vec<u8>, gvk: Gvk) -> Option<Self> {
        let object = |(key, marks, seal)| {
            (key, Object { text: None, seal: Some(seal), marks, value: OnceLock::new() })
        };
        Some(Self { objects: sealed::open(body, gvk)?.into_iter().map(object).collect() })
    }

    /// The sealed objects of which something is to be read, by their kinds.
    pub(crate) fn sealed(
        &self,
        is_read: impl Fn(&ObjectKey, &Marks) -> bool,
    ) -> BTreeMap<Gvk, Vec<ObjectKey>> {
        let mut found = BTreeMap::<Gvk, Vec<ObjectKey>>::new();
        for (key, object) in self.objects.iter().filter(|(_, object)| object.is_sealed()) {
            if let Some(seal) = object.seal.as_ref().filter(|_| is_read(key, &object.marks)) {
                found.entry((*seal.gvk).clone()).or_default().push(key.clone());
            }
        }
        found
    }

    /// Lets go of the text of all sealed objects.
    pub fn forget_seals(&mut self) {
        for seal in self.objects.values_mut().filter_map(|object| object.seal.as_mut()) {
            seal.bytes = Bytes::new();
        }
    }

    /// A sealed object as it was asked for again, if it is still there; whether it is
    /// what it was.
    pub(crate) fn unseal(&mut self, key: &ObjectKey, read: Option<Value>) -> bool {
        self.opened(key, read.map(Object::of_value))
    }

    /// The same of an object of a LIST.
    pub(crate) fn unseal_from(&mut self, key: &ObjectKey, listed: &mut Self) -> bool {
        let read = listed.objects.remove(key);
        self.opened(key, read)
    }

    fn opened(&mut self, key: &ObjectKey, read: Option<Object>) -> bool {
        let seal = self.objects.remove(key).and_then(|object| object.seal);
        let Some(read) = read else { return false };
        let version = read.version();
        self.objects.insert(key.clone(), read);
        seal.is_some_and(|seal| version.as_deref() == Some(&seal.version))
    }

    /// An object is another one now.
    pub fn put(&mut self, key: ObjectKey, object: Value) {
        self.objects.insert(key, Object::of_value(object));
    }

    /// Takes the objects of another one.
    pub fn extend(&mut self, other: Self) {
        self.objects.extend(other.objects);
    }

    /// Takes those of another one that are not here.
    pub(crate) fn fill(&mut self, other: Self) {
        for (key, object) in other.objects {
            self.objects.entry(key).or_insert(object);
        }
    }

    /// Parses an object and asks whether there is nothing to be done about it: then
    /// it is let go again, else it stays parsed. One that is not there is not judged.
    ///
    /// # Errors
    /// When its text is no object.
    pub fn judged(
        &self,
        key: &ObjectKey,
        judge: impl FnOnce(&Value) -> bool,
    ) -> Result<bool, serde_json::Error> {
        self.objects.get(key).map_or(Ok(false), |object| object.judged(judge))
    }

    /// Parses all objects and lets go of the text.
    pub(crate) fn read_all(mut self) -> Result<Self, serde_json::Error> {
        for object in self.objects.values_mut() {
            object.read()?;
            object.text = None;
        }
        Ok(self)
    }

    /// An object, if it is there and can be read.
    pub fn get(&self, key: &ObjectKey) -> Option<&Value> {
        self.objects.get(key)?.value()
    }

    /// An unread list's object as the API server wrote it; of a sealed one, what it says
    /// of the last write.
    pub fn text(&self, key: &ObjectKey) -> Option<&[u8]> {
        let object = self.objects.get(key)?;
        let sealed = object.seal.as_ref().map(|seal| &*seal.bytes).filter(|bytes| !bytes.is_empty());
        sealed.or_else(|| object.text.as_ref().map(Text::bytes))
    }

    /// All objects that can be read.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Value)> {
        self.objects.iter().filter_map(|(key, object)| Some((key, object.value()?)))
    }

    /// The keys of all objects.
    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.objects.keys()
    }

    /// What a sync has written on an object.
    pub fn marks_of(&self, key: &ObjectKey) -> Option<&Marks> {
        self.objects.get(key).map(|object| &object.marks)
    }

    /// The same of all objects.
    pub fn marks(&self) -> impl Iterator<Item = (&ObjectKey, &Marks)> {
        self.objects.iter().map(|(key, object)| (key, &object.marks))
    }
}

impl IntoIterator for Live {
    type Item = (ObjectKey, Value);
    type IntoIter = std::vec::IntoIter<(ObjectKey, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        let take = |(key, mut object): (ObjectKey, Object)| {
            object.value();
            Some((key, object.value.take()?))
        };
        self.objects.into_iter().filter_map(take).collect::<Vec<_>>().into_iter()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(items: &Value, recorded: bool) -> Result<Live, serde_json::Error> {
        let body = json!({"kind": "DeploymentList", "items": items}).to_string().into_bytes();
        Live::of_list(body, Gvk::new("apps/v1", "Deployment"), recorded)
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey {
            group: "apps".into(),
            kind: "Deployment".into(),
            namespace: "shop".into(),
            name: name.into(),
        }
    }

    #[test]
    fn objects_are_told_by_their_heads_and_parsed_when_asked_for() {
        let metadata = json!({"name": "we\"b", "namespace": "shop", "deletionTimestamp": "2026-01-01T00:00:00Z",
            "labels": {LABEL_APPLICATION: "web", "a": "b"}, "managedFields": [{"manager": "x"}],
            "annotations": {ANNOTATION_OWNER: "shop/web", ANNOTATION_REVISION: "abc", "c": "d"}});
        let bare = json!({"name": "bare", "namespace": "shop", "labels": null});
        let items =
            json!([{"metadata": metadata, "spec": {"replicas": 2}}, {"metadata": bare}, {"metadata": {}}]);
        let live = list(&items, false).unwrap();
        assert_eq!(live.keys().count(), 2);
        let web = key("we\"b");
        let marks = Marks {
            application: Some("web".into()),
            owner: Some("shop/web".into()),
            revision: Some("abc".into()),
            is_terminating: true,
        };
        assert_eq!(live.marks_of(&web), Some(&marks));
        assert_eq!(live.marks_of(&key("bare")), Some(&Marks::default()));
        let text = serde_json::from_slice::<Value>(live.text(&web).unwrap()).unwrap();
        assert_eq!(text, items[0]);
        let replicas = |value: &Value| value["spec"]["replicas"] == 2;
        assert!(live.judged(&web, replicas).unwrap());
        assert!(live.objects[&web].value.get().is_none(), "nothing is kept of it");
        assert!(!live.judged(&web, |value| !replicas(value)).unwrap());
        assert!(live.objects[&web].value.get().is_some());
        assert!(live.judged(&web, replicas).unwrap());
        let value = live.get(&web).unwrap();
        assert_eq!(value["apiVersion"], "apps/v1");
        assert_eq!(value["spec"]["replicas"], 2);
        assert!(value["metadata"].get("managedFields").is_none());
        let recorded = list(&items, true).unwrap();
        assert_eq!(recorded.get(&web).unwrap()["metadata"]["managedFields"][0]["manager"], "x");
        assert_eq!(Marks::of(value), marks);
        let mut live = live.clone();
        live.put(key("bare"), value.clone());
        assert_eq!((live.marks_of(&key("bare")), live.get(&key("bare"))), (Some(&marks), Some(value)));
        assert_eq!(live.into_iter().count(), 2);
    }

    #[test]
    fn what_cannot_be_read_is_an_error_before_it_is_asked_for() {
        let body =
            br#"{"items": [{"metadata": {"name": "a", "namespace": "shop"}, "spec": "\ud800"}]}"#.to_vec();
        let live = Live::of_list(body, Gvk::new("apps/v1", "Deployment"), false).unwrap();
        assert!(live.judged(&key("a"), |_| true).is_err());
        assert!(live.get(&key("a")).is_none());
        assert!(!live.judged(&key("b"), |_| true).unwrap(), "it is not there");
        assert!(live.read_all().is_err());
        assert!(Live::of_list(b"{".to_vec(), Gvk::new("v1", "Pod"), false).is_err());
    }
}
