//! The answer to a LIST, read in parts. In: its text. Out: where its items are,
//! what tells one from another, and an item without what is not kept:
//! `managedFields`, which are often more than the object itself.

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// A list's objects; null where a kind's own server says so for none.
#[derive(serde::Deserialize)]
pub(crate) struct List<'a> {
    #[serde(borrow, default)]
    pub items: Option<Vec<&'a RawValue>>,
}

/// What an object is called, and what a sync has written on it.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Head {
    #[serde(default)]
    pub metadata: Metadata,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Metadata {
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub deletion_timestamp: Option<String>,
    pub resource_version: Option<String>,
    pub labels: Option<Labels>,
    pub annotations: Option<Annotations>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Labels {
    #[serde(rename = "kubectl-gitops.dev/application")]
    pub application: Option<Box<str>>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Annotations {
    #[serde(rename = "kubectl-gitops.dev/owner")]
    pub owner: Option<Box<str>>,
    #[serde(rename = "kubectl-gitops.dev/revision")]
    pub revision: Option<Box<str>>,
}

/// An object without its `managedFields`.
pub(crate) struct Item(pub Map<String, Value>);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Part::Object.deserialize(deserializer).map(Self)
    }
}

/// What is being read.
#[derive(Clone, Copy)]
enum Part {
    Object,
    Metadata,
}

impl<'de> DeserializeSeed<'de> for Part {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Part {
    type Value = Map<String, Value>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Object => "an object",
            Self::Metadata => "an object's metadata",
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = match (self, name.as_str()) {
                (Self::Metadata, "managedFields") => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                (Self::Object, "metadata") => Value::Object(map.next_value_seed(Self::Metadata)?),
                _ => map.next_value()?,
            };
            fields.insert(name, value);
        }
        Ok(fields)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_but_managed_fields_is_kept() {
        let list = json!({"kind": "PodList", "metadata": {"managedFields": 1}, "items": [
            {"metadata": {"name": "a", "managedFields": [{"manager": "x", "fieldsV1": {"f:spec": {}}}]},
                "spec": {"managedFields": "mine", "metadata": {"managedFields": [1]}}},
            {"metadata": {"name": "b"}}]})
        .to_string();
        let list: List<'_> = serde_json::from_str(&list).unwrap();
        let item = |text: &&RawValue| Value::Object(serde_json::from_str::<Item>(text.get()).unwrap().0);
        let items: Vec<Value> = list.items.unwrap().iter().map(item).collect();
        let spec = json!({"managedFields": "mine", "metadata": {"managedFields": [1]}});
        assert_eq!(
            items,
            [json!({"metadata": {"name": "a"}, "spec": spec}), json!({"metadata": {"name": "b"}})]
        );
        for none in ["{}", r#"{"items": null}"#] {
            assert!(serde_json::from_str::<List<'_>>(none).unwrap().items.is_none());
        }
    }
}
