//! What an Application declares, as records that may be kept elsewhere. In: a
//! part of the index. Out: a record for each object, in which the values of
//! Secrets are salted hashes, and those of ConfigMaps that Git keeps encrypted;
//! and from records a part that judges the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::compare::{holds, salted, salted_text};
use crate::desired::{AppRef, DesiredObject, Origin, Stored};
use crate::index::{Part, Precedence, Want};
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
    /// An object, without the values that are nobody's business. Other kinds
    /// keep theirs: what is derived from them cannot be derived from a hash.
    pub fn of(declared: DesiredObject, salt: &str) -> Self {
        let DesiredObject { gvk, mut value, mut origin, .. } = declared;
        let mut confidential = origin.confidential.into_vec();
        if hide(&gvk, &mut value, &confidential, salt) {
            // Lines are told by counting values.
            origin.lines = None;
            let known = !confidential.is_empty();
            confidential.retain(|text| holds(&value, std::slice::from_ref(text)));
            // The hashes begin with it: what they stand for stays masked.
            confidential.extend(known.then(|| salt.to_owned()));
        }
        Self { object: value, file: origin.file, line: origin.line, lines: origin.lines, confidential }
    }
}

/// Puts salted hashes for values; whether there were any.
fn hide(gvk: &Gvk, value: &mut Value, confidential: &[String], salt: &str) -> bool {
    let hash = match (gvk.group.as_str(), gvk.kind.as_str()) {
        ("", "Secret") => salted,
        ("", "ConfigMap") => salted_text,
        _ => return false,
    };
    let Some(data) = value.get_mut("data").and_then(Value::as_object_mut) else { return false };
    let mut hidden = false;
    for value in data.values_mut().filter(|value| gvk.kind == "Secret" || holds(value, confidential)) {
        *value = hash(value.as_str().unwrap_or_default(), salt);
        hidden = true;
    }
    hidden
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
        let object = DesiredObject { key: key.clone(), gvk, value: record.object, origin };
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
    use crate::schema::Schemas;

    fn declared(value: Value) -> DesiredObject {
        let (key, gvk) = (ObjectKey::of(&value).unwrap(), Gvk::of(&value).unwrap());
        DesiredObject {
            key,
            gvk,
            value,
            origin: Origin {
                file: "f".into(),
                line: 3,
                lines: Some([3, 4, 5, 6, 7, 8].into()),
                confidential: Box::default(),
            },
        }
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
    fn what_git_keeps_encrypted_is_not_held_in_config_maps_either() {
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
}
