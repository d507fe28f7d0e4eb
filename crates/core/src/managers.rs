//! Who wrote a field. In: a live object and a path, or a field manager. Out: the
//! manager that owns it by the API server's own record (`metadata.managedFields`,
//! FieldsV1 of structured-merge-diff), and since when; or what it owns.

use serde_json::{Map, Value};

use crate::path::{Path, Segment, plain};

/// The one that wrote a field last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// RFC 3339; empty where the API server kept none.
    pub time: String,
}

/// Who wrote what is at a path; of several, the latest.
pub fn writer(live: &Value, path: &Path) -> Option<Writer> {
    let entries = live.get("metadata")?.get("managedFields")?.as_array()?;
    let text =
        |entry: &Value, field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    entries
        .iter()
        .filter(|entry| entry.get("fieldsV1").is_some_and(|fields| owns(fields, &path.0)))
        .map(|entry| Writer {
            manager: text(entry, "manager"),
            operation: text(entry, "operation"),
            time: text(entry, "time"),
        })
        .max_by(|a, b| a.time.cmp(&b.time))
}

/// Whether a set of fields holds a path, or an atomic value around it.
fn owns(fields: &Value, path: &[Segment]) -> bool {
    let mut fields = fields;
    for (depth, segment) in path.iter().enumerate() {
        let Some(map) = fields.as_object() else { return false };
        // A leaf of the set is owned as a whole.
        if depth > 0 && map.keys().all(|key| key == ".") {
            return true;
        }
        match child(map, segment) {
            Some(next) => fields = next,
            None => return false,
        }
    }
    true
}

fn child<'a>(map: &'a Map<String, Value>, segment: &Segment) -> Option<&'a Value> {
    match segment {
        Segment::Field(name) => map.get(&format!("f:{name}")),
        Segment::Index(index) => map.get(&format!("i:{index}")),
        Segment::Item(text) => map.iter().find_map(|(key, fields)| {
            let value: Value = serde_json::from_str(key.strip_prefix("v:")?).ok()?;
            (plain(&value) == *text).then_some(fields)
        }),
        Segment::Key(keys) => map.iter().find_map(|(key, fields)| {
            let element: Value = serde_json::from_str(key.strip_prefix("k:")?).ok()?;
            let same = |(name, text): &(String, String)| {
                element.get(name).is_some_and(|value| plain(value) == *text)
            };
            keys.iter().all(same).then_some(fields)
        }),
    }
}

/// The fields that a manager owns.
fn sets<'v>(live: &'v Value, manager: &str) -> impl Iterator<Item = &'v Value> {
    let entries = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    let of_it = move |entry: &&Value| entry.get("manager").and_then(Value::as_str) == Some(manager);
    let sets = entries.into_iter().flatten().filter(of_it).filter_map(|entry| entry.get("fieldsV1"));
    sets.filter(|fields| !is_whole(fields))
}

/// Whether all that is at a path is a manager's.
pub fn is_by(live: &Value, path: &Path, manager: &str) -> bool {
    let Some(value) = path.find(live) else { return false };
    sets(live, manager).any(|fields| {
        let mut fields = fields;
        for segment in &path.0 {
            if is_whole(fields) {
                return true;
            }
            match fields.as_object().and_then(|map| child(map, segment)) {
                Some(next) => fields = next,
                None => return false,
            }
        }
        holds(fields, value)
    })
}

/// Whether a set of fields has no parts: then it is owned as a whole. `.` is the
/// place alone.
fn is_whole(fields: &Value) -> bool {
    fields.as_object().is_none_or(Map::is_empty)
}

/// Whether a set holds every part of a value.
fn holds(fields: &Value, value: &Value) -> bool {
    if is_whole(fields) {
        return true;
    }
    let Some(map) = fields.as_object() else { return true };
    match value {
        Value::Object(parts) => {
            parts.iter().all(|(name, part)| map.get(&format!("f:{name}")).is_some_and(|set| holds(set, part)))
        }
        Value::Array(items) => items.iter().enumerate().all(|(index, item)| {
            map.iter()
                .any(|(key, set)| segment(key).is_some_and(|at| at.is_at(index, item)) && holds(set, item))
        }),
        _ => false,
    }
}

/// The fields that a manager owns, each by its path.
pub fn owned(live: &Value, manager: &str) -> Vec<Path> {
    let mut paths = Vec::new();
    sets(live, manager).for_each(|fields| leaves(fields, &Path::root(), &mut paths));
    paths
}

fn leaves(fields: &Value, path: &Path, into: &mut Vec<Path>) {
    if is_whole(fields) {
        into.push(path.clone());
        return;
    }
    for (key, set) in fields.as_object().into_iter().flatten() {
        if let Some(segment) = segment(key) {
            leaves(set, &path.child(segment), into);
        }
    }
}

/// What a key of a set means; none for the value itself.
fn segment(key: &str) -> Option<Segment> {
    let (sort, text) = key.split_once(':')?;
    Some(match sort {
        "f" => Segment::Field(text.to_owned()),
        "i" => Segment::Index(text.parse().ok()?),
        "v" => Segment::Item(plain(&serde_json::from_str(text).ok()?)),
        "k" => {
            let keys: Map<String, Value> = serde_json::from_str(text).ok()?;
            Segment::Key(keys.into_iter().map(|(name, value)| (name, plain(&value))).collect())
        }
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_latest_owner_of_a_field_wrote_it() {
        let live = json!({"metadata": {"managedFields": [
            {"manager": "kubectl-gitops", "operation": "Apply", "time": "2026-01-01T00:00:00Z", "fieldsV1": {
                "f:data": {"f:a": {}}, "f:metadata": {"f:labels": {"f:app": {}}, "f:finalizers": {"v:\"a/b\"": {}}},
                "f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:image": {}, "f:args": {}}}}}}}},
            {"manager": "kubectl-scale", "operation": "Update", "time": "2026-01-02T00:00:00Z", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        ]}});
        let of = |path: &str| writer(&live, &path.parse().unwrap()).map(|writer| writer.manager);
        for (path, manager) in [
            ("spec.replicas", Some("kubectl-scale")),
            ("spec.template.spec.containers[name=web].image", Some("kubectl-gitops")),
            ("spec.template.spec.containers[name=web]", Some("kubectl-gitops")),
            // An atomic list is owned as a whole.
            ("spec.template.spec.containers[name=web].args[1]", Some("kubectl-gitops")),
            ("spec.template.spec.containers[name=evil]", None),
            ("metadata.finalizers[=\"a/b\"]", Some("kubectl-gitops")),
            ("data.b", None),
            ("status", None),
        ] {
            assert_eq!(of(path).as_deref(), manager, "{path}");
        }
        assert_eq!(writer(&json!({}), &"spec".parse().unwrap()), None);
    }

    #[test]
    fn a_manager_owns_what_all_of_its_parts_are() {
        let live = json!({
            "metadata": {"managedFields": [
                {"manager": "other", "fieldsV1": {"f:data": {"f:b": {}}}},
                {"manager": "keel", "fieldsV1": {}},
                {"manager": "keel", "fieldsV1": {"f:data": {".": {}, "f:a": {}}, "f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {"f:image": {}}, "k:{\"name\":\"log\"}": {".": {}, "f:name": {}, "f:image": {}}}}}},
                {"manager": "keel", "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
            ]},
            "data": {"a": "1", "b": "2"},
            "spec": {"replicas": 3, "containers": [{"name": "web", "image": "w:1"}, {"name": "log", "image": "l:1"}]},
        });
        for (path, is) in [
            ("spec.replicas", true),
            ("spec.containers[name=web].image", true),
            ("spec.containers[name=log]", true),
            // Its name is somebody else's, and so is the rest of these.
            ("spec.containers[name=web]", false),
            ("spec.containers", false),
            ("spec", false),
            ("data.a", true),
            ("data.b", false),
            ("data", false),
            ("data.c", false),
        ] {
            assert_eq!(is_by(&live, &path.parse().unwrap(), "keel"), is, "{path}");
        }
        assert!(!is_by(&live, &"data.a".parse().unwrap(), "kee"));
        let mut paths: Vec<String> = owned(&live, "keel").iter().map(ToString::to_string).collect();
        paths.sort();
        assert_eq!(
            paths,
            [
                "data.a",
                "spec.containers[name=log].image",
                "spec.containers[name=log].name",
                "spec.containers[name=web].image",
                "spec.replicas"
            ]
        );
        assert!(owned(&json!({}), "keel").is_empty());
    }
}
