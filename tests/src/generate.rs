//! Objects that nobody wrote: samples with fields that the API's own schema
//! names, other values, other notations, other orders. In: a sample, OpenAPI
//! v3 definitions, numbers from a seed. Out: a variation, which may be invalid.

use serde_json::{Map, Value, json};

use crate::roundtrip::{Numbers, Place, at, at_mut, fields, leaves, without};

/// What a generated object was given.
#[derive(Clone, Debug)]
pub struct Variation {
    pub value: Value,
    /// Fields that the sample does not have: the API server may drop them
    /// where their feature is off.
    pub added: Vec<Place>,
}

/// All definitions of an API server.
#[derive(Clone, Debug, Default)]
pub struct Definitions(pub Map<String, Value>);

/// Deeper values are not made up.
const MAX_DEPTH: usize = 6;

impl Definitions {
    /// The definition of a kind.
    fn of(&self, object: &Value) -> Option<&Value> {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let (group, version) = text("apiVersion").rsplit_once('/').unwrap_or(("", text("apiVersion")));
        let wanted = json!({"group": group, "version": version, "kind": text("kind")});
        let is = |definition: &&Value| {
            let kinds = definition.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
            kinds.is_some_and(|kinds| kinds.contains(&wanted))
        };
        self.0.values().find(is)
    }

    fn resolved<'a>(&'a self, schema: &'a Value) -> (&'a str, &'a Value) {
        let target = schema.get("$ref").or_else(|| schema.pointer("/allOf/0/$ref")).and_then(Value::as_str);
        match target.and_then(|target| target.rsplit('/').next()) {
            Some(name) => (name, self.0.get(name).unwrap_or(&Value::Null)),
            None => ("", schema),
        }
    }

    /// The schema of what is at a place.
    fn at<'a>(&'a self, object: &Value, place: &[String]) -> Option<&'a Value> {
        place.iter().try_fold(self.of(object)?, |schema, token| {
            let schema = self.resolved(schema).1;
            schema
                .get("properties")
                .and_then(|properties| properties.get(token))
                .or_else(|| schema.get("additionalProperties").filter(|value| value.is_object()))
                .or_else(|| schema.get("items"))
        })
    }

    /// A value of this schema.
    fn make(&self, schema: &Value, numbers: &mut Numbers, depth: usize) -> Value {
        let (name, schema) = self.resolved(schema);
        if name.ends_with(".Quantity") {
            return quantity(numbers);
        }
        if name.ends_with(".IntOrString") {
            return [json!(0), json!(1), json!("25%"), json!("100%"), json!(8080)][numbers.below(5)].clone();
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            return values[numbers.below(values.len())].clone();
        }
        let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
        match schema.get("type").and_then(Value::as_str) {
            Some("boolean") => json!(numbers.below(2) == 1),
            Some("integer") => integer(format, numbers),
            Some("number") => [json!(0), json!(1.5), json!(1e3)][numbers.below(3)].clone(),
            Some("string") => text(format, numbers),
            Some("array") if depth < MAX_DEPTH => {
                let items = &schema["items"];
                (0..numbers.below(3)).map(|_| self.make(items, numbers, depth + 1)).collect()
            }
            Some("object") | None if depth < MAX_DEPTH => self.object(schema, numbers, depth),
            _ => Value::Null,
        }
    }

    fn object(&self, schema: &Value, numbers: &mut Numbers, depth: usize) -> Value {
        let mut map = Map::new();
        let required = schema.get("required").and_then(Value::as_array);
        for (name, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let needed = required.is_some_and(|names| names.iter().any(|other| other == name));
            if needed || numbers.below(4) == 0 {
                map.insert(name.clone(), self.make(schema, numbers, depth + 1));
            }
        }
        if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
            for _ in 0..numbers.below(3) {
                map.insert(format!("k{}", numbers.below(9)), self.make(values, numbers, depth + 1));
            }
        }
        Value::Object(map)
    }

    /// A sample with one to four changes. `keep` says which places stay.
    pub fn vary(&self, sample: &Value, keep: &dyn Fn(&[String]) -> bool, numbers: &mut Numbers) -> Variation {
        let mut variation = Variation { value: sample.clone(), added: Vec::new() };
        for _ in 0..=numbers.below(4) {
            match numbers.below(8) {
                0 | 1 => drop_field(&mut variation.value, keep, numbers),
                2 => change(&mut variation.value, numbers, |value, numbers| Some(self_other(value, numbers))),
                3 | 4 => change(&mut variation.value, numbers, |value, _| respelled(value)),
                5 => reorder(&mut variation.value, numbers),
                6 => empty(&mut variation.value, numbers),
                _ => self.grow(&mut variation, numbers),
            }
        }
        variation
    }

    /// One more field of some object in the sample.
    fn grow(&self, variation: &mut Variation, numbers: &mut Numbers) {
        let places: Vec<Place> = fields(&variation.value)
            .into_iter()
            .filter(|place| {
                place[0] != "metadata" && at(&variation.value, place).is_some_and(Value::is_object)
            })
            .collect();
        if places.is_empty() {
            return;
        }
        let place = &places[numbers.below(places.len())];
        let Some(schema) = self.at(&variation.value, place) else { return };
        let properties = self.resolved(schema).1.get("properties").and_then(Value::as_object);
        let there = at(&variation.value, place);
        let absent: Vec<(&String, &Value)> = properties
            .into_iter()
            .flatten()
            .filter(|(name, _)| there.is_some_and(|there| there.get(name.as_str()).is_none()))
            .collect();
        if absent.is_empty() {
            return;
        }
        let (name, schema) = absent[numbers.below(absent.len())];
        let made = self.make(schema, numbers, 0);
        if let Some(Value::Object(map)) = at_mut(&mut variation.value, place) {
            map.insert(name.clone(), made);
            let mut added = place.clone();
            added.push(name.clone());
            variation.added.push(added);
        }
    }
}

fn pick<T: Clone>(of: &[T], numbers: &mut Numbers) -> T {
    of[numbers.below(of.len())].clone()
}

fn integer(format: &str, numbers: &mut Numbers) -> Value {
    let small = [0_i64, 1, 2, 10, 80, 443, 420, 3600, -1];
    let large = if format == "int64" { i64::MAX } else { i64::from(i32::MAX) };
    if numbers.below(6) == 0 { json!(large) } else { json!(pick(&small, numbers)) }
}

fn text(format: &str, numbers: &mut Numbers) -> Value {
    match format {
        "byte" => json!(pick(&["", "eA==", "eHk="], numbers)),
        "date-time" => json!(pick(
            &["2030-01-02T03:04:05Z", "2030-01-02T03:04:05.678901Z", "2030-01-02T05:04:05+02:00"],
            numbers
        )),
        _ => json!(pick(
            &[
                "",
                "a",
                "x-1",
                "a.b",
                "Always",
                "1",
                "true",
                "é\u{1f600}",
                " a b ",
                "/x",
                "10s",
                "1m30s",
                "a/b",
                "a\nb\n",
                "80"
            ],
            numbers
        )),
    }
}

fn quantity(numbers: &mut Numbers) -> Value {
    let texts = [
        "1",
        "0.5",
        "500m",
        "1Gi",
        "1024Mi",
        "1e3",
        "1.5Gi",
        "100u",
        "0",
        "0.1e1",
        "1000000k",
        "1E2",
        "12345678901",
    ];
    if numbers.below(5) == 0 { json!(numbers.below(5)) } else { json!(pick(&texts, numbers)) }
}

fn drop_field(value: &mut Value, keep: &dyn Fn(&[String]) -> bool, numbers: &mut Numbers) {
    let mut places = fields(value);
    places.retain(|place| !keep(place));
    if !places.is_empty() {
        *value = without(value, &pick(&places, numbers));
    }
}

fn change(object: &mut Value, numbers: &mut Numbers, to: impl Fn(&Value, &mut Numbers) -> Option<Value>) {
    let places = leaves(object);
    if places.is_empty() {
        return;
    }
    // Most leaves have one spelling only.
    for _ in 0..8 {
        let place = pick(&places, numbers);
        let changed = at(object, &place).and_then(|value| to(value, numbers));
        if let (Some(changed), Some(there)) = (changed, at_mut(object, &place)) {
            *there = changed;
            return;
        }
    }
}

/// Another value of the same type.
fn self_other(value: &Value, numbers: &mut Numbers) -> Value {
    match value {
        Value::Bool(flag) => json!(!flag),
        Value::Number(_) => integer("int32", numbers),
        Value::String(text) if text.bytes().any(|byte| byte.is_ascii_digit()) && numbers.below(2) == 0 => {
            quantity(numbers)
        }
        Value::String(_) => text("", numbers),
        other => other.clone(),
    }
}

/// A quantity, duration or time in another notation of the same meaning.
fn respelled(value: &Value) -> Option<Value> {
    let text = value.as_str()?;
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let number: u64 = number.parse().ok()?;
    Some(match suffix {
        "Gi" => format!("{}Mi", number * 1024).into(),
        "Mi" => format!("{}Ki", number * 1024).into(),
        "Ki" => format!("{}", number * 1024).into(),
        "k" => format!("{number}e3").into(),
        "M" => format!("{number}000k").into(),
        "G" => format!("{number}E9").into(),
        "m" => format!("{}.{:03}", number / 1000, number % 1000).into(),
        "s" if number > 0 => format!("{}ms", number * 1000).into(),
        "h" => format!("{}m", number * 60).into(),
        "" if number < 1000 => format!("{number}.0").into(),
        _ => return None,
    })
}

/// A list in another order.
fn reorder(object: &mut Value, numbers: &mut Numbers) {
    let mut places = fields(object);
    places.retain(|place| at(object, place).and_then(Value::as_array).is_some_and(|items| items.len() > 1));
    if !places.is_empty()
        && let Some(Value::Array(items)) = at_mut(object, &pick(&places, numbers))
    {
        let by = 1 + numbers.below(items.len() - 1);
        items.rotate_left(by);
    }
}

/// A field that says nothing: null, an empty list, map or text.
fn empty(object: &mut Value, numbers: &mut Numbers) {
    let places = fields(object);
    if !places.is_empty()
        && let Some(there) = at_mut(object, &pick(&places, numbers))
    {
        *there = match there {
            _ if numbers.below(3) == 0 => Value::Null,
            Value::Array(_) => json!([]),
            Value::Object(_) => json!({}),
            Value::String(_) => json!(""),
            Value::Number(_) => json!(0),
            _ => Value::Null,
        };
    }
}
