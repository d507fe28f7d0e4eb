//! Elements of a list by their keys. In: the keys with their defaults, and the
//! list. Out: where the element with the same keys is.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use crate::compare::{scalar, some};

fn key_of<'v>(key: &'v (String, Option<Value>), element: &'v Value) -> Option<&'v Value> {
    some(element.get(&key.0)).or(key.1.as_ref())
}

fn same_keys(keys: &[(String, Option<Value>)], a: &Value, b: &Value) -> bool {
    keys.iter().all(|key| match (key_of(key, a), key_of(key, b)) {
        (Some(a), Some(b)) => scalar::plain_equal(a, b),
        (None, None) => true,
        _ => false,
    })
}

/// Finds elements by their keys: short lists by looking at all, long ones by
/// hash, so that a list of many elements is no way to keep a judge busy.
pub(super) struct Finder<'v> {
    keys: &'v [(String, Option<Value>)],
    list: &'v [Value],
    /// Positions by hash, in their order.
    buckets: Option<HashMap<u64, Vec<usize>>>,
}

impl<'v> Finder<'v> {
    const SHORT: usize = 16;

    pub(super) fn new(keys: &'v [(String, Option<Value>)], list: &'v [Value]) -> Self {
        let buckets = (list.len() > Self::SHORT).then(|| {
            let mut buckets: HashMap<u64, Vec<usize>> = HashMap::with_capacity(list.len());
            for (at, element) in list.iter().enumerate() {
                buckets.entry(hash_of(keys, element)).or_default().push(at);
            }
            buckets
        });
        Self { keys, list, buckets }
    }

    /// The first element with the keys of this one.
    pub(super) fn find(&self, element: &Value) -> Option<usize> {
        let same = |at: &usize| same_keys(self.keys, element, &self.list[*at]);
        match &self.buckets {
            Some(buckets) => buckets.get(&hash_of(self.keys, element))?.iter().copied().find(same),
            None => (0..self.list.len()).find(same),
        }
    }
}

/// Equal for elements with the same keys: numbers count by their value.
fn hash_of(keys: &[(String, Option<Value>)], element: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    for key in keys {
        match key_of(key, element) {
            Some(Value::Number(number)) => (number.as_f64().unwrap_or(0.0) + 0.0).to_bits().hash(&mut hasher),
            value => value.hash(&mut hasher),
        }
    }
    hasher.finish()
}

/// Whether keys tell all elements of a list apart. Lists that Kubernetes lets
/// through with doubled keys are compared by position.
pub(super) fn is_keyed(keys: &[(String, Option<Value>)], list: &[Value]) -> bool {
    let finder = Finder::new(keys, list);
    list.iter().enumerate().all(|(index, element)| {
        element.is_object()
            && keys.iter().any(|key| key_of(key, element).is_some())
            && finder.find(element) == Some(index)
    })
}
