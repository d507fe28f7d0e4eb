//! Values that are known by a salted hash alone. In: a value that nobody may
//! read, or an object that holds hashes and a live one. Out: the hash; or the
//! object with the values that the live one shows. A live value with the hash of
//! another is the other, wherever it stands: so all that follows from a value is
//! judged as if it were known.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Difference;
use super::scalar::bytes;

const HASHED: &str = "saltedSha256";

/// Stands for a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Hash<'a> {
    salt: &'a str,
    hex: &'a str,
}

impl<'a> Hash<'a> {
    /// None for a value that stands for itself.
    pub(super) fn of(value: &'a Value) -> Option<Self> {
        let map = value.as_object().filter(|map| map.len() == 1)?;
        let (salt, hex) = map.get(HASHED)?.as_str()?.split_once(':')?;
        Some(Self { salt, hex })
    }

    pub(super) fn is_of_bytes(&self, bytes: &[u8]) -> bool {
        digest(self.salt, bytes) == self.hex
    }

    pub(super) fn is_of(&self, live: &Value) -> bool {
        text(live).is_some_and(|text| self.is_of_bytes(text.as_bytes()))
    }
}

fn digest(salt: &str, bytes: &[u8]) -> String {
    hex::encode(Sha256::new().chain_update(salt).chain_update(bytes).finalize())
}

/// What is hashed of a value: a number is not its text.
fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(text.into()),
        Value::Number(number) => Some(format!("\0{number}").into()),
        _ => None,
    }
}

/// Base64 text as the salted hash of its bytes: what a Secret holds can be
/// judged without being known. The salt has no colon.
pub fn salted(text: &str, salt: &str) -> Value {
    let bytes = bytes(text).unwrap_or_else(|| text.as_bytes().to_vec());
    hash(&bytes, salt)
}

/// The same of a text or a number. Others may be guessed, and stay as they are.
pub fn salted_value(value: &Value, salt: &str) -> Value {
    text(value).map_or_else(|| value.clone(), |text| hash(text.as_bytes(), salt))
}

fn hash(bytes: &[u8], salt: &str) -> Value {
    serde_json::json!({HASHED: format!("{salt}:{}", digest(salt, bytes))})
}

/// An object with the values for its hashes that a live one shows.
pub fn told<'v>(want: &'v Value, live: &Value) -> Cow<'v, Value> {
    Told::of(want, live).map_or(Cow::Borrowed(want), |told| Cow::Owned(told.want))
}

/// An object of which hashes have been found out.
pub(super) struct Told {
    pub(super) want: Value,
    /// The hashes of the values that are in it now, by what is hashed of them.
    hashes: HashMap<String, Value>,
}

impl Told {
    /// None where there are no hashes, or the live object shows nothing of them.
    pub(super) fn of(want: &Value, live: &Value) -> Option<Self> {
        let mut hashes = HashSet::new();
        collect(want, &mut hashes);
        if hashes.is_empty() {
            return None;
        }
        let salts: HashSet<&str> = hashes.iter().map(|hash| hash.salt).collect();
        let mut values: HashMap<(String, String), &Value> = HashMap::new();
        each_leaf(live, &mut |leaf| {
            let Some(text) = text(leaf) else { return };
            for salt in &salts {
                values.insert(((*salt).to_owned(), digest(salt, text.as_bytes())), leaf);
            }
        });
        let mut told = Self { want: want.clone(), hashes: HashMap::new() };
        put(&mut told.want, &values, &mut told.hashes);
        (!told.hashes.is_empty()).then_some(told)
    }

    /// What was found out is nobody's business.
    pub(super) fn hide(&self, difference: &mut Difference) {
        for value in [&mut difference.git, &mut difference.tried].into_iter().flatten() {
            self.hide_in(value);
        }
    }

    fn hide_in(&self, value: &mut Value) {
        match value {
            Value::Object(map) => map.values_mut().for_each(|value| self.hide_in(value)),
            Value::Array(items) => items.iter_mut().for_each(|value| self.hide_in(value)),
            leaf => {
                if let Some(hash) = text(leaf).and_then(|text| self.hashes.get(&*text)) {
                    *leaf = hash.clone();
                }
            }
        }
    }
}

fn collect<'v>(value: &'v Value, into: &mut HashSet<Hash<'v>>) {
    match (Hash::of(value), value) {
        (Some(hash), _) => {
            into.insert(hash);
        }
        (None, Value::Object(map)) => map.values().for_each(|value| collect(value, into)),
        (None, Value::Array(items)) => items.iter().for_each(|value| collect(value, into)),
        _ => {}
    }
}

fn each_leaf<'v>(value: &'v Value, take: &mut impl FnMut(&'v Value)) {
    match value {
        Value::Object(map) => map.values().for_each(|value| each_leaf(value, take)),
        Value::Array(items) => items.iter().for_each(|value| each_leaf(value, take)),
        leaf => take(leaf),
    }
}

fn put(value: &mut Value, values: &HashMap<(String, String), &Value>, hashes: &mut HashMap<String, Value>) {
    let known = Hash::of(value).map(|hash| values.get(&(hash.salt.to_owned(), hash.hex.to_owned())).copied());
    match (known, value) {
        (Some(Some(known)), value) => {
            let hash = std::mem::replace(value, known.clone());
            hashes.extend(text(known).map(|text| (text.into_owned(), hash)));
        }
        (Some(None), _) => {}
        (None, Value::Object(map)) => map.values_mut().for_each(|value| put(value, values, hashes)),
        (None, Value::Array(items)) => items.iter_mut().for_each(|value| put(value, values, hashes)),
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::compare::{CompareOptions, MASK, World, compare, mask};
    use crate::object::Gvk;
    use crate::schema::Schemas;

    const SALT: &str = "a-salt";

    fn hidden(text: &str) -> Value {
        salted_value(&json!(text), SALT)
    }

    #[test]
    fn a_hash_is_of_one_value_alone() {
        let of = |value: &Value, live: Value| Hash::of(value).unwrap().is_of(&live);
        assert!(of(&hidden("5432"), json!("5432")) && !of(&hidden("5432"), json!(5432)));
        let number = salted_value(&json!(5432), SALT);
        assert!(of(&number, json!(5432)) && !of(&number, json!("5432")));
        assert_ne!(hidden("a"), salted_value(&json!("a"), "s2"));
        assert_eq!(salted_value(&json!(true), SALT), json!(true));
        assert_eq!(Hash::of(&json!({HASHED: "s:a", "more": 1})), None);
    }

    #[test]
    fn what_follows_from_a_value_is_judged_without_knowing_it() {
        let (schemas, gvk) = (Schemas::builtin(), Gvk::new("apps/v1", "Deployment"));
        let web = |image: Value, password: Value, memory: Value, key: Value| {
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"a": password}}, "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{
                    "name": "web", "image": image, "args": ["--fast", password], "env": [{"name": key, "value": password}],
                    "resources": {"limits": {"memory": memory}}}]}}}})
        };
        let want = web(hidden("web:latest"), hidden("hunter2"), hidden("512Mi"), hidden("PASSWORD"));
        let mut live = web(json!("web:latest"), json!("hunter2"), json!("512Mi"), json!("PASSWORD"));
        // A default that follows from the image.
        live["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
        let found = |live: &Value| {
            let found = compare(&schemas, &gvk, &want, live, &CompareOptions::of(&gvk));
            let shown = found.into_iter().map(|mut difference| {
                mask(&gvk, &mut difference, &[SALT.to_owned()]);
                let shown = format!("{} {:?} {:?}", difference.path, difference.git, difference.tried);
                assert!(!shown.contains("hunter2") && !shown.contains(HASHED), "{shown}");
                shown
            });
            shown.collect::<Vec<_>>()
        };
        assert_eq!(found(&live), [""; 0]);
        let mut other = live.clone();
        other["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = json!("guessed");
        let masked = format!("Some(String({MASK:?}))");
        assert_eq!(
            found(&other),
            [format!("spec.template.spec.containers[name=web].env[name=PASSWORD].value {masked} {masked}")]
        );
        let mut gone = live.clone();
        gone["spec"]["template"]["spec"]["containers"] = json!([]);
        assert_eq!(found(&gone).len(), 1);
    }

    #[test]
    fn who_writes_the_hash_itself_has_not_written_the_value() {
        let gvk = Gvk::new("ex.io/v1", "Db");
        let db = |password: Value| json!({"apiVersion": "ex.io/v1", "kind": "Db", "metadata": {"name": "a"}, "spec": {"password": password, "port": 5432}});
        let mut want = db(hidden("hunter2"));
        want["spec"]["port"] = salted_value(&json!(5432), SALT);
        for world in [World::Closed, World::Declared] {
            let differ = |live: Value| {
                let options = CompareOptions { world, free: &[] };
                !compare(&Schemas::builtin(), &gvk, &want, &live, &options).is_empty()
            };
            assert!(!differ(db(json!("hunter2"))));
            assert!(differ(db(hidden("hunter2"))) && differ(db(json!("hunter3"))) && differ(db(json!(null))));
        }
    }
}
