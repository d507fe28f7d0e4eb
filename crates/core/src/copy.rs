//! What an Application declares, as records that may be kept elsewhere. In: a
//! part of the index. Out: a record for each object, in which the values of
//! Secrets are salted hashes, and so is every value that holds what Git keeps
//! encrypted; and from records a part that judges the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::compare::{holds, salted, salted_value};
use crate::desired::{AppRef, DesiredObject, Origin, Stored};
use crate::index::{Part, Precedence, Want};
use crate::names::GROUP;
use crate::object::{Gvk, IdentityError, ObjectKey};

/// One object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub object: Value,
    pub file: Arc<str>,
    pub line: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<Box<[u32]>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confidential: Vec<String>,
}

impl Record {
    /// An object, without the values that are nobody's business.
    pub fn of(declared: DesiredObject, salt: &str) -> Self {
        let DesiredObject { gvk, value, origin, .. } = declared;
        let mut value = value.into_value();
        let mut hiding = Hiding {
            gvk: &gvk,
            confidential: &origin.confidential,
            salt,
            before: origin.lines.as_deref().unwrap_or_default(),
            lines: Vec::new(),
        };
        hiding.visit(&mut value, &mut Vec::new());
        let lines = origin.lines.is_some().then(|| std::mem::take(&mut hiding.lines).into_boxed_slice());
        // The hashes begin with it: what they stand for stays masked.
        let confidential = if origin.confidential.is_empty() { Vec::new() } else { vec![salt.to_owned()] };
        Self { object: value, file: origin.file, line: origin.line, lines, confidential }
    }
}

/// Puts salted hashes for values.
struct Hiding<'a> {
    gvk: &'a Gvk,
    confidential: &'a [String],
    salt: &'a str,
    /// A line for every value that is still to come, and for those that went by.
    before: &'a [u32],
    lines: Vec<u32>,
}

impl Hiding<'_> {
    fn visit<'v>(&mut self, value: &'v mut Value, path: &mut Vec<&'v str>) {
        let line = self.before.split_off_first().copied().unwrap_or_default();
        self.lines.push(line);
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    path.push(name);
                    self.visit(value, path);
                    path.pop();
                }
            }
            Value::Array(items) => {
                path.push("*");
                items.iter_mut().for_each(|value| self.visit(value, path));
                path.pop();
            }
            leaf => {
                if let Some(hash) = self.hash(leaf, path) {
                    *leaf = hash;
                    // A hash is an object with a field.
                    self.lines.push(line);
                }
            }
        }
    }

    fn hash(&self, leaf: &Value, path: &[&str]) -> Option<Value> {
        let is_secret = self.gvk.is_secret();
        if is_secret && matches!(path, ["data", _]) {
            return Some(salted(leaf.as_str().unwrap_or_default(), self.salt));
        }
        let hidden = holds(leaf, self.confidential) && !is_name(self.gvk, path);
        hidden.then(|| salted_value(leaf, self.salt))
    }
}

/// What an object, a definition's kind or a Project is called: without it, nothing
/// is found. It is in the copy's own labels, in requests and in every list.
fn is_name(gvk: &Gvk, path: &[&str]) -> bool {
    match path {
        ["apiVersion" | "kind"] | ["metadata", "name" | "namespace"] => true,
        ["spec", "project"] => gvk.group == GROUP,
        ["spec", "group" | "scope"] | ["spec", "names", ..] | ["spec", "versions", "*", "name"] => {
            gvk.kind == "CustomResourceDefinition"
        }
        _ => false,
    }
}

/// Takes records one by one.
#[derive(Debug, Default)]
pub struct Reader {
    kinds: BTreeMap<Gvk, Arc<Gvk>>,
    objects: BTreeMap<ObjectKey, Want>,
}

impl Reader {
    /// One more.
    ///
    /// # Errors
    /// When it holds no object.
    pub fn add(&mut self, record: Record) -> Result<(), IdentityError> {
        let (key, gvk) = (ObjectKey::of(&record.object)?, Gvk::of(&record.object)?);
        let confidential = record.confidential.into();
        let origin = Origin { file: record.file, line: record.line, lines: record.lines, confidential };
        let object = DesiredObject { key: key.clone(), gvk, value: record.object.into(), origin };
        self.objects.insert(key, Want::store(object, &mut self.kinds));
        Ok(())
    }

    /// All of them, as one Application's part.
    pub fn finish(self, application: AppRef, revision: String, precedence: Precedence) -> Part {
        Part::new(application, revision, precedence, self.objects)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::compare::{CompareOptions, compare, mask};
    use crate::fixture;
    use crate::schema::Schemas;

    fn declared(value: Value) -> DesiredObject {
        let lines = Some([3, 3, 4, 5, 6, 7, 8, 9].into());
        DesiredObject { origin: Origin { lines, ..Origin::at("f", 3) }, ..fixture::declared(value) }
    }

    #[test]
    fn a_part_comes_back_and_knows_secrets_without_holding_them() {
        let secret = |value: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "shop"}, "data": {"password": value}});
        let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "shop"}, "data": {"a": "b"}});
        let mut reader = Reader::default();
        for object in [secret("aHVudGVyMg=="), config.clone()] {
            let text = serde_json::to_string(&Record::of(declared(object), "salt")).unwrap();
            assert!(!text.contains("aHVudGVyMg"), "{text}");
            reader.add(serde_json::from_str(&text).unwrap()).unwrap();
        }
        let application = AppRef { namespace: "shop".into(), name: "web".into() };
        let part = reader.finish(application, "c1".into(), ("1".into(), "u".into()));
        let key = |value: &Value| ObjectKey::of(value).unwrap();
        let same = |live: &Value| {
            let want = part.get(&key(live)).unwrap();
            compare(&Schemas::builtin(), &want.gvk, &want.value, live, &CompareOptions::of(&want.gvk))
                .is_empty()
        };
        assert!(same(&secret("aHVudGVyMg==")) && same(&config));
        assert!(!same(&secret("b3RoZXI=")));
        let mut more = secret("aHVudGVyMg==");
        more["data"]["extra"] = json!("eA==");
        assert!(!same(&more));
        assert_eq!(part.get(&key(&config)).unwrap().origin, declared(config).origin);
    }

    #[test]
    fn what_git_keeps_encrypted_is_masked_in_what_comes_back() {
        let config = |password: &str, more: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "shop"}, "data": {"host": "db", "url": format!("db:{password}"), "more": more}});
        let mut object = declared(config("hunter2", "a"));
        object.origin.confidential = ["hunter2".to_owned()].into();
        let text = serde_json::to_string(&Record::of(object, "salt")).unwrap();
        assert!(!text.contains("hunter2") && text.contains("db"), "{text}");
        let mut reader = Reader::default();
        reader.add(serde_json::from_str(&text).unwrap()).unwrap();
        let application = AppRef { namespace: "shop".into(), name: "web".into() };
        let part = reader.finish(application, "c1".into(), ("1".into(), "u".into()));
        let want = part.get(&ObjectKey::of(&config("", "")).unwrap()).unwrap();
        let told = |live: &Value| -> Vec<String> {
            let options = CompareOptions::of(&want.gvk);
            let found = compare(&Schemas::builtin(), &want.gvk, &want.value, live, &options).into_iter();
            let masked = found.map(|mut difference| {
                mask(&want.gvk, &mut difference, &want.origin.confidential);
                format!("{} {:?} {:?}", difference.path, difference.git, difference.tried)
            });
            masked.collect()
        };
        assert!(told(&config("hunter2", "a")).is_empty());
        let stars = r#"Some(String("***"))"#;
        assert_eq!(told(&config("other", "a")), [format!("data.url {stars} {stars}")]);
        assert_eq!(told(&config("hunter2", "b")), [r#"data.more Some(String("a")) Some(String("b"))"#]);
    }

    #[test]
    fn what_git_keeps_encrypted_is_held_in_no_kind() {
        let confidential = ["hunter2", "5432", "db.example"];
        let objects = [
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop", "annotations": {"note": "hunter2"}}, "spec": {
                "template": {"spec": {"containers": [{"name": "web", "args": ["--url=db:hunter2"], "ports": [{"containerPort": 5432}], "env": [{"name": "P", "value": "hunter2"}]}]}}}}),
            json!({"apiVersion": "ex.io/v1", "kind": "Db", "metadata": {"name": "hunter2", "namespace": "shop"}, "spec": {"deep": [{"password": "hunter2"}], "free": "text"}}),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "shop", "labels": {"a": "hunter2"}}, "data": {"p": "b3RoZXI="}}),
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "dbs.db.example"}, "spec": {
                "group": "db.example", "names": {"kind": "Db"}, "conversion": {"url": "https://db.example"}, "versions": [{"name": "v1"}]}}),
        ];
        for object in objects {
            let mut all = declared(object.clone());
            all.origin.confidential = confidential.map(str::to_owned).into();
            let record = Record::of(all, "salt");
            let text = serde_json::to_string(&record.object).unwrap();
            let names = text.matches("hunter2").count() + text.matches("db.example").count();
            let expected = match object["kind"].as_str().unwrap() {
                // Its name, its group.
                "Db" => 1,
                "CustomResourceDefinition" => 2,
                _ => 0,
            };
            assert_eq!(names, expected, "{text}");
            assert!(!text.contains("5432") && !text.contains("b3RoZXI="), "{text}");
            assert_eq!(record.confidential, ["salt"]);
            let mut reader = Reader::default();
            reader.add(record).unwrap();
            let application = AppRef { namespace: "shop".into(), name: "web".into() };
            let part = reader.finish(application, "c1".into(), ("1".into(), "u".into()));
            let want = part.get(&ObjectKey::of(&object).unwrap()).unwrap();
            let options = CompareOptions::of(&want.gvk);
            let found = compare(&Schemas::builtin(), &want.gvk, &want.value, &object, &options);
            assert_eq!(found, []);
        }
    }

    #[test]
    fn a_field_is_where_it_was_beside_a_hash() {
        let mut object = declared(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "hunter2", "b": "x"}}),
        );
        object.origin.lines = Some([1, 1, 2, 3, 4, 5, 6, 7].into());
        object.origin.confidential = ["hunter2".to_owned()].into();
        // The fields of an object are in the order of their names, or as written.
        let at = |object: &DesiredObject, path: &str| object.line_of(&path.parse().unwrap());
        let before = ["data.a", "data.b", "metadata.name", "kind"].map(|path| at(&object, path));
        let record = Record::of(object.clone(), "salt");
        let mut reader = Reader::default();
        reader.add(record).unwrap();
        let application = AppRef { namespace: "shop".into(), name: "web".into() };
        let part = reader.finish(application, "c1".into(), ("1".into(), "u".into()));
        let want = part.get(&object.key).unwrap();
        assert_eq!(["data.a", "data.b", "metadata.name", "kind"].map(|path| at(&want, path)), before);
    }
}
