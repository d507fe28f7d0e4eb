//! The answer to a LIST, read without what is not kept: `managedFields`, which
//! are often more than the objects themselves. At no time are they all there.

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

/// A list's objects; null where a kind's own server says so for none.
#[derive(serde::Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub(crate) struct List<T> {
    #[serde(default = "Option::default")]
    pub items: Option<Vec<T>>,
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
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_but_managed_fields_is_kept() {
        let list = json!({"kind": "PodList", "metadata": {"managedFields": 1}, "items": [
            {"metadata": {"name": "a", "managedFields": [{"manager": "x", "fieldsV1": {"f:spec": {}}}]},
                "spec": {"managedFields": "mine", "metadata": {"managedFields": [1]}}},
            {"metadata": {"name": "b"}}]});
        let list: List<Item> = serde_json::from_value(list).unwrap();
        let items: Vec<Value> = list.items.unwrap().into_iter().map(|item| Value::Object(item.0)).collect();
        let spec = json!({"managedFields": "mine", "metadata": {"managedFields": [1]}});
        assert_eq!(
            items,
            [json!({"metadata": {"name": "a"}, "spec": spec}), json!({"metadata": {"name": "b"}})]
        );
        for none in [json!({}), json!({"items": null})] {
            assert!(serde_json::from_value::<List<Item>>(none).unwrap().items.is_none());
        }
    }
}
