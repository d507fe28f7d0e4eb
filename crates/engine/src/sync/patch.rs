//! One JSON patch (RFC 6902) that takes a live object to Git in one step: all
//! differences, the marks of the commit, and a test of the version it was made
//! for.

use gitops_core::compare::{Difference, OWN_MARKS, Op};
use gitops_core::path::{Path, Segment, plain};
use serde_json::{Value, json};

/// The patch from `live` to what `wanted` says, by its differences.
pub(super) fn to_git(live: &Value, wanted: &Value, differences: &[Difference]) -> Value {
    let mut after = live.clone();
    // Last first, so that removing from a list moves nothing that is still to
    // be found by position.
    for difference in differences.iter().rev() {
        if let Some((list, git)) = atomic(difference, wanted) {
            set(&mut after, list, git.clone());
            continue;
        }
        match difference.op {
            Op::Add => remove(&mut after, &difference.path.0),
            Op::Remove | Op::Change => {
                if let Some(git) = difference.path.find(wanted) {
                    set(&mut after, &difference.path.0, git.clone());
                }
            }
        }
    }
    // Its parameters belong to the strategy that goes.
    for difference in differences.iter().filter(|difference| changes_strategy(difference)) {
        let strategy = &difference.path.0[..2];
        let parameters = Path([strategy, &[Segment::Field("rollingUpdate".into())]].concat());
        if parameters.find(wanted).is_none() {
            remove(&mut after, &parameters.0);
        }
    }
    for field in ["labels", "annotations"] {
        for mark in OWN_MARKS {
            if let Some(value) = wanted.get("metadata").and_then(|metadata| metadata.get(field)?.get(*mark)) {
                let path = Path::root().field("metadata").field(field).field(mark);
                set(&mut after, &path.0, value.clone());
            }
        }
    }
    let mut operations = Vec::new();
    if let Some(version) = live.pointer("/metadata/resourceVersion") {
        operations.push(json!({"op": "test", "path": "/metadata/resourceVersion", "value": version}));
    }
    changes(live, &after, String::new(), &mut operations);
    operations.into()
}

/// The list that is one whole in which a difference lies, and what Git says of
/// it. Merged by position, one element would keep what another one said: the
/// headers that a route's rule matches.
fn atomic<'a>(difference: &'a Difference, wanted: &'a Value) -> Option<(&'a [Segment], &'a Value)> {
    let segments = &difference.path.0;
    let at = segments.iter().position(|segment| matches!(segment, Segment::Index(_)))?;
    let list = Path(segments[..at].to_vec()).find(wanted)?;
    Some((&segments[..at], list))
}

/// Whether a workload changes from one way of rolling out to another: the API
/// server refuses the new one beside the old one's parameters.
pub(super) fn changes_strategy(difference: &Difference) -> bool {
    matches!(difference.path.to_string().as_str(), "spec.strategy.type" | "spec.updateStrategy.type")
}

fn position(list: &[Value], segment: &Segment) -> Option<usize> {
    match segment {
        Segment::Index(index) => Some(*index),
        Segment::Item(text) => list.iter().position(|item| plain(item) == *text),
        Segment::Key(_) => list
            .iter()
            .position(|item| Path(vec![segment.clone()]).find(&Value::Array(vec![item.clone()])).is_some()),
        Segment::Field(name) => name.parse().ok(),
    }
}

fn remove(value: &mut Value, path: &[Segment]) {
    let Some((first, rest)) = path.split_first() else { return };
    match value {
        Value::Object(map) => {
            let Segment::Field(name) = first else { return };
            if rest.is_empty() {
                map.remove(name);
            } else if let Some(child) = map.get_mut(name) {
                remove(child, rest);
            }
        }
        Value::Array(list) => {
            let Some(at) = position(list, first).filter(|at| *at < list.len()) else { return };
            if rest.is_empty() {
                list.remove(at);
            } else {
                remove(&mut list[at], rest);
            }
        }
        _ => {}
    }
}

fn set(value: &mut Value, path: &[Segment], to: Value) {
    let Some((first, rest)) = path.split_first() else {
        *value = to;
        return;
    };
    match first {
        Segment::Field(name) if !value.is_array() => {
            if !value.is_object() {
                *value = json!({});
            }
            if let Some(map) = value.as_object_mut() {
                set(map.entry(name.clone()).or_insert(Value::Null), rest, to);
            }
        }
        segment => {
            if !value.is_array() {
                *value = json!([]);
            }
            if let Some(list) = value.as_array_mut() {
                match position(list, segment).filter(|at| *at < list.len()) {
                    Some(at) => set(&mut list[at], rest, to),
                    None => {
                        let mut fresh = Value::Null;
                        set(&mut fresh, rest, to);
                        list.push(fresh);
                    }
                }
            }
        }
    }
}

/// The operations between two values; lists are replaced as a whole.
fn changes(before: &Value, after: &Value, path: String, out: &mut Vec<Value>) {
    match (before, after) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                let path = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
                match b.get(key) {
                    None => out.push(json!({"op": "remove", "path": path})),
                    Some(after) => changes(value, after, path, out),
                }
            }
            for (key, value) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
                let path = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
                out.push(json!({"op": "add", "path": path, "value": value}));
            }
        }
        _ if before == after => {}
        _ => out.push(json!({"op": "replace", "path": path, "value": after})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_containers_and_left_defaults_go_in_one_patch() {
        let live = json!({"metadata": {"resourceVersion": "7"}, "spec": {"template": {"spec": {"containers": [
            {"name": "evil", "image": "x"}, {"name": "web", "image": "web", "imagePullPolicy": "Always"}]}}}});
        let wanted = json!({"metadata": {}, "spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:1"}]}}}});
        let difference = |path: &str, op, git: Option<&str>| Difference {
            path: path.parse().unwrap_or_default(),
            op,
            git: git.map(Value::from),
            tried: None,
        };
        let differences = [
            difference("spec.template.spec.containers[name=evil]", Op::Add, None),
            difference("spec.template.spec.containers[name=web].image", Op::Change, Some("web:1")),
            difference("spec.template.spec.containers[name=web].imagePullPolicy", Op::Add, None),
        ];
        assert_eq!(
            to_git(&live, &wanted, &differences),
            json!([
                {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
                {"op": "replace", "path": "/spec/template/spec/containers", "value": [{"name": "web", "image": "web:1"}]},
            ])
        );
    }

    #[test]
    fn a_list_that_is_one_whole_is_put_as_one() {
        let live = json!({"metadata": {"resourceVersion": "1"}, "spec": {"rules": [
            {"matches": [{"headers": ["x"]}], "backendRefs": [{"name": "new"}]},
            {"matches": [{"path": "/"}], "backendRefs": [{"name": "old"}, {"name": "new"}]}]}});
        let wanted = json!({"spec": {"rules": [{"backendRefs": [{"name": "new"}]}]}});
        let differences = [Difference {
            path: Path::root().field("spec").field("rules").child(Segment::Index(1)),
            op: Op::Add,
            git: None,
            tried: Some(live["spec"]["rules"][1].clone()),
        }];
        let patch = to_git(&live, &wanted, &differences);
        assert_eq!(
            patch[1],
            json!({"op": "replace", "path": "/spec/rules", "value": wanted["spec"]["rules"]})
        );
    }
}
