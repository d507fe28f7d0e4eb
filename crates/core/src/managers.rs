//! Who wrote a field. In: a live object and a path. Out: the field manager
//! that owns it by the API server's own record (`metadata.managedFields`,
//! FieldsV1 of structured-merge-diff), and since when.

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
}
