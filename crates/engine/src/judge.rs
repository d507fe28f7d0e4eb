//! Judging a write against what an Application declares. In: a review and a
//! desired set. Out: core's verdict, with delegations worked in and with what
//! is known of the cluster.

use gitops_core::delegation::Delegated;
use gitops_core::desired::{DesiredObject, DesiredSet};
use gitops_core::schema::Schemas;
use gitops_core::verdict::{Candidate, Context, Facts, Policy, Review, Verdict, judge};
use serde_json::Value;

/// What Git says, and how it is held.
#[derive(Clone, Debug)]
pub struct Ground {
    set: DesiredSet,
    delegated: Delegated,
    policy: Policy,
}

impl Ground {
    /// One Application's word.
    pub fn new(set: DesiredSet, policy: Policy) -> Self {
        let delegated = set.delegated();
        Self { set, delegated, policy }
    }

    /// The set itself.
    pub fn set(&self) -> &DesiredSet {
        &self.set
    }

    /// How it is held.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What Git both declares and leaves to others, in words.
    pub fn mistakes(&self) -> &[String] {
        &self.delegated.mistakes
    }

    /// Whether it declares anything in a namespace.
    pub fn is_in(&self, namespace: &str) -> bool {
        self.set.objects.keys().any(|key| key.namespace == namespace)
    }

    /// Judges a write against this commit alone. What `facts` leave out is
    /// taken at its strictest.
    pub fn judge(&self, schemas: &Schemas, review: &Review<'_>, facts: &Facts) -> Verdict {
        let object = self.set.objects.get(review.key);
        let candidates = [Candidate { revision: &self.set.revision, object }];
        let facts = Facts { holds: self.holds(review), ..facts.clone() };
        let context = Context {
            schemas,
            policy: &self.policy,
            application: object.map(|_| &self.set.application),
            candidates: if object.is_some() { &candidates } else { &[] },
            free: &self.policy.free(review.key, self.delegated.of(review.key)),
            facts: &facts,
        };
        judge(review, &context)
    }

    /// Declared objects that go along with a Namespace or a definition.
    fn holds(&self, review: &Review<'_>) -> usize {
        let keys = self.set.objects.keys();
        match (review.key.group.as_str(), review.key.kind.as_str()) {
            ("", "Namespace") => keys.filter(|key| key.namespace == review.key.name).count(),
            ("apiextensions.k8s.io", "CustomResourceDefinition") => {
                let object = review.old.or(review.new);
                let text = |pointer: &str| {
                    object.and_then(|object| object.pointer(pointer)?.as_str()).unwrap_or_default()
                };
                let (group, kind) = (text("/spec/group"), text("/spec/names/kind"));
                keys.filter(|key| key.group == group && key.kind == kind).count()
            }
            _ => 0,
        }
    }
}

/// The object as it would be if nobody had changed what Git says, with the
/// live object's own marks: what of `live` differs from it was somebody's
/// write.
pub fn untouched(want: &DesiredObject, live: &Value) -> Value {
    let mut value = (*want.value).clone();
    for (field, key) in gitops_core::desired::MARKS {
        let Some(mark) = live.get("metadata").and_then(|metadata| metadata.get(field)?.get(key)) else {
            continue;
        };
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            let map = metadata.entry(field).or_insert_with(|| Value::Object(serde_json::Map::new()));
            if let Some(map) = map.as_object_mut() {
                map.insert(key.to_owned(), mark.clone());
            }
        }
    }
    value
}

/// A manifest laid over a live object, as applying it would: lists whose
/// elements all have names are joined by them, others are replaced.
pub fn merged(live: &Value, manifest: &Value) -> Value {
    match (live, manifest) {
        (Value::Object(live), Value::Object(manifest)) => {
            let mut map = live.clone();
            for (key, value) in manifest {
                let there = map.get(key).cloned().unwrap_or(Value::Null);
                if value.is_null() {
                    map.remove(key);
                } else {
                    map.insert(key.clone(), merged(&there, value));
                }
            }
            Value::Object(map)
        }
        (Value::Array(live), Value::Array(manifest)) => {
            let name = |item: &Value| item.get("name").and_then(Value::as_str).map(str::to_owned);
            let join = |item: &Value| {
                let there = name(item)
                    .and_then(|wanted| live.iter().find(|other| name(other).as_ref() == Some(&wanted)));
                there.map_or_else(|| item.clone(), |there| merged(there, item))
            };
            Value::Array(manifest.iter().map(join).collect())
        }
        (_, manifest) => manifest.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_manifest_keeps_what_it_does_not_say() {
        let live =
            json!({"a": 1, "list": [{"name": "x", "port": 1}, {"name": "y"}], "args": [1, 2], "gone": 1});
        let manifest = json!({"b": 2, "list": [{"name": "x", "image": "i"}], "args": [3], "gone": null});
        let wanted = json!({"a": 1, "b": 2, "list": [{"name": "x", "port": 1, "image": "i"}], "args": [3]});
        assert_eq!(merged(&live, &manifest), wanted);
    }
}
