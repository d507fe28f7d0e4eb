//! Samples of every built-in kind, and what is done to them. In: the files of
//! `tests/data/roundtrip`. Out: objects, their leaves, and small changes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use gitops_core::object::Gvk;
use gitops_core::path::{Path, Segment, plain};
use serde_json::{Map, Value};

/// An object to apply; names and `UNIQUE`, `HIGH`, `OCTET`, `NAMESPACE` in it are
/// replaced when it is used.
#[derive(Clone, Debug)]
pub struct Sample {
    /// `GROUP/KIND NAME`, for messages.
    pub label: String,
    pub gvk: Gvk,
    pub value: Value,
}

impl Sample {
    /// Whether only required fields are set.
    pub fn is_minimal(&self) -> bool {
        self.label.contains(" minimal")
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/roundtrip")
}

/// All samples, by file.
pub fn samples() -> Vec<Sample> {
    let read = |file: &PathBuf| {
        let text = std::fs::read_to_string(file).unwrap();
        let documents = gitops_source::yaml::documents(&file.display().to_string(), &text).unwrap();
        documents.into_iter().map(|document| document.value)
    };
    let snippets: BTreeMap<String, Value> = read(&folder().join("snippets.yaml"))
        .map(|mut snippet| (snippet["snippet"].as_str().unwrap().to_owned(), snippet["value"].take()))
        .collect();
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder()).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "yaml") && !file.ends_with("snippets.yaml"));
    files.sort();
    let mut samples = Vec::new();
    for mut value in files.iter().flat_map(read) {
        insert(&mut value, &snippets);
        let gvk = Gvk::of(&value).unwrap();
        // Kinds with named shapes carry their role in an annotation instead.
        let name = value["metadata"]["name"].as_str().unwrap();
        let first = !samples.iter().any(|sample: &Sample| sample.gvk == gvk);
        let role = if name.starts_with("minimal") || first { "minimal" } else { "rich" };
        let label = format!("{} {}: {role} {name}", gvk.api_version(), gvk.kind);
        samples.push(Sample { label, gvk, value });
    }
    samples
}

/// Puts snippets in the place of `$use`.
fn insert(value: &mut Value, snippets: &BTreeMap<String, Value>) {
    if let Value::Object(map) = value
        && let Some(name) = map.remove("$use")
    {
        let mut whole = snippets[name.as_str().unwrap()].clone();
        for (field, over) in std::mem::take(map) {
            whole[field] = over;
        }
        *value = whole;
    }
    match value {
        Value::Object(map) => map.values_mut().for_each(|value| insert(value, snippets)),
        Value::Array(items) => items.iter_mut().for_each(|value| insert(value, snippets)),
        _ => {}
    }
}

/// Lines `KEY: reason` of a file beside the samples.
pub fn reasons(file: &str) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(folder().join(file)).unwrap();
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (key, reason) = line.split_once(": ").unwrap();
            (key.to_owned(), reason.to_owned())
        })
        .collect()
}

/// Where a value lies in another: field names and indices.
pub type Place = Vec<String>;

/// What is declared in an object and held by a comparison: all of its scalars
/// and empty containers, but its identity.
pub fn leaves(object: &Value) -> Vec<Place> {
    let mut places = Vec::new();
    visit(object, &mut Vec::new(), &mut |place, value| {
        let empty =
            value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty);
        let scalar = !value.is_object() && !value.is_array() && !value.is_null();
        if (empty || scalar) && is_held(place) {
            places.push(place.to_vec());
        }
    });
    places
}

/// Every field, leaf or not, that may be left out.
pub fn fields(object: &Value) -> Vec<Place> {
    let mut places = Vec::new();
    visit(object, &mut Vec::new(), &mut |place, _| {
        let is_index = place.last().is_some_and(|token| token.bytes().all(|b| b.is_ascii_digit()));
        if is_held(place) && !is_index {
            places.push(place.to_vec());
        }
    });
    places
}

fn is_held(place: &[String]) -> bool {
    match place.first().map(String::as_str) {
        None | Some("apiVersion" | "kind" | "status") => false,
        Some("metadata") => {
            place
                .get(1)
                .is_some_and(|field| matches!(field.as_str(), "labels" | "annotations" | "finalizers"))
                && place.len() > 2
        }
        _ => true,
    }
}

fn visit(value: &Value, place: &mut Place, see: &mut impl FnMut(&[String], &Value)) {
    see(place, value);
    let mut child = |token: String, value: &Value| {
        place.push(token);
        visit(value, place, see);
        place.pop();
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| child(name.clone(), value)),
        Value::Array(items) => items.iter().enumerate().for_each(|(i, value)| child(i.to_string(), value)),
        _ => {}
    }
}

/// The value at a place.
pub fn at<'a>(object: &'a Value, place: &[String]) -> Option<&'a Value> {
    place.iter().try_fold(object, |value, token| match value {
        Value::Array(items) => items.get(token.parse::<usize>().ok()?),
        value => value.get(token),
    })
}

/// The value at a place, to be changed.
pub fn at_mut<'a>(object: &'a mut Value, place: &[String]) -> Option<&'a mut Value> {
    place.iter().try_fold(object, |value, token| match value {
        Value::Array(items) => items.get_mut(token.parse::<usize>().ok()?),
        value => value.get_mut(token),
    })
}

/// The object without what is at a place.
pub fn without(object: &Value, place: &[String]) -> Value {
    let mut object = object.clone();
    let Some((last, parent)) = place.split_last() else { return object };
    match at_mut(&mut object, parent) {
        Some(Value::Object(map)) => drop(map.remove(last)),
        Some(Value::Array(items)) => drop(items.remove(last.parse().unwrap())),
        _ => {}
    }
    object
}

/// Another value of the same type and of another meaning.
pub fn other(value: &Value) -> Value {
    match value {
        Value::Bool(flag) => (!flag).into(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => (number + 1).into(),
            None => (number.as_f64().unwrap() + 1.0).into(),
        },
        Value::String(text) => doubled(text).unwrap_or_else(|| format!("{text}x")).into(),
        Value::Object(map) if map.is_empty() => Value::from("x"),
        Value::Array(items) if items.is_empty() => Value::from(vec!["x"]),
        _ => Value::Null,
    }
}

/// A quantity twice as large; none for what is no quantity.
fn doubled(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let known = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let number: f64 = number.parse().ok()?;
    known.contains(&suffix).then(|| format!("{}{suffix}", if number == 0.0 { 1.0 } else { number * 2.0 }))
}

/// Whether a value may mean the same as leaving it out.
pub fn may_be_absence(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(may_be_absence),
        Value::Object(map) => map.values().all(may_be_absence),
    }
}

/// Whether a difference is at a place or beneath it, or reports a whole list
/// element or struct in which the place lies, in one of these objects.
pub fn is_at(path: &Path, place: &[String], objects: [&Value; 2]) -> bool {
    path.0.iter().zip(place).enumerate().all(|(depth, (segment, token))| match segment {
        Segment::Field(name) => name == token,
        Segment::Index(index) => token.parse() == Ok(*index),
        Segment::Item(text) => {
            objects.iter().any(|object| at(object, &place[..=depth]).is_some_and(|item| plain(item) == *text))
        }
        Segment::Key(_) => objects.iter().any(|object| {
            at(object, &place[..=depth]).is_some_and(|item| {
                Path(vec![segment.clone()]).find(&Value::from(vec![item.clone()])).is_some()
            })
        }),
    })
}

/// The object with its placeholders filled, and a name of its own.
pub fn instance(sample: &Value, token: &str, count: u32, namespace: &str) -> Value {
    let mut value = sample.clone();
    let name = sample["metadata"]["name"].as_str().unwrap();
    if !name.contains("UNIQUE") && !name.contains("OCTET") {
        value["metadata"]["name"] = format!("{name}-{token}").into();
    }
    fill(&mut value, &|text| {
        text.replace("UNIQUE", token)
            .replace("NAMESPACE", namespace)
            .replace("OCTET", &(count % 250 + 1).to_string())
            .replace("HIGH", &(count / 250 % 250 + 1).to_string())
    });
    value
}

fn fill(value: &mut Value, with: &impl Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = with(text),
        Value::Object(map) => map.values_mut().for_each(|value| fill(value, with)),
        Value::Array(items) => items.iter_mut().for_each(|value| fill(value, with)),
        _ => {}
    }
}

/// Numbers from a seed (splitmix64): the same ones in every run.
#[derive(Clone, Debug)]
pub struct Numbers(pub u64);

impl Numbers {
    /// The next one, below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end as u64).unwrap()
    }
}
