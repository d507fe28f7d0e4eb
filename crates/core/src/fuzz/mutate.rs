//! Bad input, made from good input. In: a corpus and numbers from proptest.
//! Out: texts and values that are a little or very wrong. The fuzz tests of
//! source and webhook include this file by `#[path]`: a crate that they import
//! comes without its tests.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// What a text is changed with: what parsers of JSON, YAML and quantities trip
/// over.
const TOKENS: &[&str] = &[
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "-0",
    "1e999",
    "-1e-999",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "0.1e-2147483649",
    "1E2147483647",
    "340282366920938463463374607431768211456n",
    "1Ei",
    "NaN",
    "\u{0}",
    "\u{fffd}",
    "é",
    "\u{1f600}",
    "\u{202e}",
    "<<: *a",
    "&a",
    "*a",
    "!!binary",
    "---\n",
    "- ",
    "? ",
    "|\n",
    "$ref",
    "#/components/schemas/",
    "metadata",
    "name",
    "spec",
    "uid",
    "request",
    "object",
    "kind",
    "9",
    "0",
];

/// One change of a text.
#[derive(Clone, Debug)]
enum Edit {
    Insert(prop::sample::Index, usize),
    Byte(prop::sample::Index, u8),
    Remove(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize, usize),
    Cut(prop::sample::Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        4 => (at(), 0..TOKENS.len()).prop_map(|(at, token)| Edit::Insert(at, token)),
        3 => (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Byte(at, byte)),
        3 => (at(), 1..40_usize).prop_map(|(at, length)| Edit::Remove(at, length)),
        2 => (at(), 1..80_usize, 1..60_usize).prop_map(|(at, length, times)| Edit::Repeat(at, length, times)),
        1 => at().prop_map(Edit::Cut),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: &Edit) {
    if bytes.is_empty() {
        bytes.extend(b"{}");
    }
    let end = |from: usize, length: usize| (from + length).min(bytes.len());
    match edit {
        Edit::Insert(at, token) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, TOKENS[*token].bytes());
        }
        Edit::Byte(at, byte) => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        Edit::Remove(at, length) => {
            let from = at.index(bytes.len());
            drop(bytes.drain(from..end(from, *length)));
        }
        Edit::Repeat(at, length, times) => {
            let from = at.index(bytes.len());
            let part = bytes[from..end(from, *length)].repeat(*times);
            bytes.splice(from..from, part);
        }
        Edit::Cut(at) => bytes.truncate(at.index(bytes.len())),
    }
}

/// One of these texts, changed in a few places.
pub fn text(corpus: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    (prop::sample::select(corpus), prop::collection::vec(edit(), 0..8)).prop_map(|(text, edits)| {
        let mut bytes = text.as_bytes().to_vec();
        edits.iter().for_each(|edit| apply(&mut bytes, edit));
        bytes
    })
}

/// Any JSON value, small but odd.
pub fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(TOKENS).prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    let name = prop_oneof![3 => prop::sample::select(NAMES).prop_map(str::to_owned), 1 => "\\PC{0,6}"];
    leaf.prop_recursive(4, 24, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..5)
                .prop_map(|fields| Value::from(fields.into_iter().collect::<Map<String, Value>>())),
        ]
    })
}

const NAMES: &[&str] = &[
    "name",
    "key",
    "spec",
    "metadata",
    "labels",
    "annotations",
    "ownerReferences",
    "containers",
    "template",
    "ports",
    "containerPort",
    "port",
    "protocol",
    "data",
    "stringData",
    "rules",
    "resources",
    "limits",
    "cpu",
    "env",
    "value",
    "image",
    "replicas",
    "volumes",
    "emptyDir",
    "finalizers",
    "type",
    "uid",
    "controller",
];

/// A change somewhere in a value: another value, a doubled element, a longer
/// list, a field less, a deep nest.
#[derive(Clone, Debug)]
pub enum Change {
    Put(prop::sample::Index, Value),
    Add(prop::sample::Index, String, Value),
    Double(prop::sample::Index, usize),
    Drop(prop::sample::Index),
    Nest(prop::sample::Index, usize),
}

pub fn changes() -> impl Strategy<Value = Vec<Change>> {
    let at = any::<prop::sample::Index>;
    let change = prop_oneof![
        4 => (at(), value()).prop_map(|(at, value)| Change::Put(at, value)),
        3 => (at(), prop::sample::select(NAMES), value()).prop_map(|(at, name, value)| Change::Add(at, name.into(), value)),
        2 => (at(), 1..30_usize).prop_map(|(at, times)| Change::Double(at, times)),
        2 => at().prop_map(Change::Drop),
        1 => (at(), 1..100_usize).prop_map(|(at, depth)| Change::Nest(at, depth)),
    ];
    prop::collection::vec(change, 0..6)
}

/// An object with changes in it.
pub fn changed(object: &Value, changes: &[Change]) -> Value {
    let mut object = object.clone();
    for change in changes {
        let mut pointers = vec![String::new()];
        list(&object, &mut String::new(), &mut pointers);
        let (Change::Put(at, _)
        | Change::Add(at, ..)
        | Change::Double(at, _)
        | Change::Drop(at)
        | Change::Nest(at, _)) = change;
        let Some(place) = object.pointer_mut(&pointers[at.index(pointers.len())]) else { continue };
        match (change, place) {
            (Change::Put(_, value), place) => *place = value.clone(),
            (Change::Add(_, name, value), Value::Object(map)) => {
                drop(map.insert(name.clone(), value.clone()))
            }
            (Change::Add(_, _, value), Value::Array(items)) => items.push(value.clone()),
            (Change::Double(_, times), Value::Array(items)) => {
                let all = std::iter::repeat_n(items.clone(), *times).flatten();
                // Doublings of doublings stay small.
                *items = all.take(2000).collect();
            }
            (Change::Drop(_), place) => *place = Value::Null,
            (Change::Nest(_, depth), place) => {
                let inner = place.take();
                *place = (0..*depth).fold(inner, |inner, index| {
                    if index % 2 == 0 { json!([inner]) } else { json!({"name": inner}) }
                });
            }
            _ => {}
        }
    }
    object
}

fn list(value: &Value, pointer: &mut String, out: &mut Vec<String>) {
    let mut child = |name: &str, value: &Value| {
        let length = pointer.len();
        pointer.push('/');
        pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
        out.push(pointer.clone());
        list(value, pointer, out);
        pointer.truncate(length);
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| child(name, value)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| child(&index.to_string(), value))
        }
        _ => {}
    }
}
