//! The fields of two objects together. In: both maps. Out: every name once,
//! with its values.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::sync::LazyLock;

use serde_json::{Map, Value};

/// Whether this build's maps are sorted: another crate in it can make
/// serde_json keep the order of insertion.
static SORTED: LazyLock<bool> = LazyLock::new(|| {
    let map: Map<String, Value> = ["b", "a"].map(|key| (key.to_owned(), Value::Null)).into_iter().collect();
    map.keys().is_sorted()
});

/// The fields of both, each once, with their values.
pub(super) fn union<'a>(a: &'a Map<String, Value>, b: &'a Map<String, Value>) -> Union<'a> {
    if *SORTED {
        Union::Merge { a: a.iter().peekable(), b: b.iter().peekable() }
    } else {
        Union::Lookup { a, b, first: a.iter(), then: b.iter() }
    }
}

type Fields<'a> = serde_json::map::Iter<'a>;

pub(super) enum Union<'a> {
    Merge { a: Peekable<Fields<'a>>, b: Peekable<Fields<'a>> },
    Lookup { a: &'a Map<String, Value>, b: &'a Map<String, Value>, first: Fields<'a>, then: Fields<'a> },
}

impl<'a> Iterator for Union<'a> {
    type Item = (&'a str, Option<&'a Value>, Option<&'a Value>);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Merge { a, b } => {
                let order = match (a.peek(), b.peek()) {
                    (Some((left, _)), Some((right, _))) => left.cmp(right),
                    (Some(_), None) => Ordering::Less,
                    (None, _) => Ordering::Greater,
                };
                let left = if order.is_le() { a.next() } else { None };
                let right = if order.is_ge() { b.next() } else { None };
                let name = left.or(right)?.0;
                Some((name, left.map(|(_, value)| value), right.map(|(_, value)| value)))
            }
            Self::Lookup { a, b, first, then } => {
                first.next().map(|(name, value)| (name.as_str(), Some(value), b.get(name))).or_else(|| {
                    let (name, value) = then.find(|(name, _)| !a.contains_key(*name))?;
                    Some((name.as_str(), None, Some(value)))
                })
            }
        }
    }
}
