//! Whether a webhook configuration is as it was written. In: what was written,
//! and what is live. Out: what somebody has changed of it, and the patch for
//! what a server-side apply cannot take away.

use gitops_core::names::FIELD_MANAGER_WEBHOOK;
use serde_json::{Value, json};

/// What differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Rules or selectors, written under our own name: perhaps by another
    /// replica, which knows of another commit.
    Scope,
    /// Anything that only somebody else writes.
    Shape,
}

const SHAPE: [&str; 7] = [
    "failurePolicy",
    "matchPolicy",
    "sideEffects",
    "timeoutSeconds",
    "clientConfig",
    "reinvocationPolicy",
    "admissionReviewVersions",
];
const SCOPE: [&str; 2] = ["rules", "namespaceSelector"];

fn entries(configuration: &Value) -> &[Value] {
    configuration["webhooks"].as_array().map_or(&[], Vec::as_slice)
}

fn is_bare(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// What somebody has changed.
pub fn fault(written: &Value, live: &Value) -> Option<Fault> {
    let (wanted, there) = (entries(written), entries(live));
    let differs = |fields: &[&str], want: &Value, live: &Value| {
        fields.iter().any(|field| {
            let (want, live) = (&want[*field], &live[*field]);
            want != live && !(is_bare(want) && is_bare(live))
        })
    };
    let found = |want: &Value| there.iter().find(|live| live["name"] == want["name"]);
    let bent = |want: &Value| {
        found(want).is_none_or(|live| {
            differs(&SHAPE, want, live)
                || !is_bare(&live["objectSelector"])
                || !is_bare(&live["matchConditions"])
        })
    };
    if wanted.len() != there.len() || wanted.iter().any(bent) {
        return Some(Fault::Shape);
    }
    let scope = wanted.iter().any(|want| found(want).is_some_and(|live| differs(&SCOPE, want, live)));
    scope.then(|| if is_by_others(written, live) { Fault::Shape } else { Fault::Scope })
}

/// Whether somebody else than us has written rules or selectors, or taken ours
/// away: the API server drops an empty list, and with it our mark on it.
fn is_by_others(written: &Value, live: &Value) -> bool {
    let managed = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    let (ours, others): (Vec<&Value>, Vec<&Value>) =
        managed.into_iter().flatten().partition(|entry| entry["manager"] == FIELD_MANAGER_WEBHOOK);
    let marks = |entry: &Value, name: &Value, field: &str| {
        entry["fieldsV1"]["f:webhooks"][format!("k:{{\"name\":{name}}}")].get(format!("f:{field}")).is_some()
    };
    let marked =
        |by: &[&Value], want: &Value, field: &str| by.iter().any(|entry| marks(entry, &want["name"], field));
    entries(written).iter().any(|want| {
        SCOPE.iter().any(|field| {
            let written =
                want.get(field).is_some_and(|value| value.as_array().is_none_or(|all| !all.is_empty()));
            marked(&others, want, field) || written && !marked(&ours, want, field)
        })
    })
}

/// Takes away what was added: entries and conditions that we never write.
pub fn leftovers(written: &Value, live: &Value) -> Vec<Value> {
    let ours = |entry: &Value| entries(written).iter().any(|want| want["name"] == entry["name"]);
    let mut patch = vec![
        json!({"op": "test", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]}),
    ];
    for (at, entry) in entries(live).iter().enumerate().rev() {
        if !ours(entry) {
            patch.push(json!({"op": "remove", "path": format!("/webhooks/{at}")}));
        } else if !is_bare(&entry["matchConditions"]) {
            patch.push(json!({"op": "remove", "path": format!("/webhooks/{at}/matchConditions")}));
        }
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Value {
        json!({"webhooks": [{"name": "a", "failurePolicy": "Fail", "objectSelector": {}, "rules": [{"resources": ["pods"]}]}]})
    }

    #[test]
    fn what_somebody_changed_is_seen() {
        let changed = |pointer: &str, value: Value| {
            let mut live = written();
            live["webhooks"][0]["matchConditions"] = json!([]);
            live["metadata"] = json!({"resourceVersion": "7"});
            if let Some((parent, field)) = pointer.rsplit_once('/') {
                live.pointer_mut(parent).unwrap_or(&mut Value::Null)[field] = value;
            }
            live
        };
        let by = |manager: &str| {
            let mut live = changed("/webhooks/0/rules", json!([]));
            live["metadata"]["managedFields"] = json!([{"manager": manager, "fieldsV1": {"f:webhooks": {"k:{\"name\":\"a\"}": {"f:rules": {}}}}}]);
            live
        };
        // As the API server leaves it when somebody has emptied the rules.
        let mut emptied = by("gitops-webhook");
        emptied["metadata"]["managedFields"][0]["fieldsV1"]["f:webhooks"]["k:{\"name\":\"a\"}"] =
            json!({"f:failurePolicy": {}});
        for (live, expect) in [
            (changed("", Value::Null), None),
            (changed("/webhooks/0/failurePolicy", json!("Ignore")), Some(Fault::Shape)),
            (changed("/webhooks/0/objectSelector", json!({"matchLabels": {"a": "b"}})), Some(Fault::Shape)),
            (
                changed("/webhooks/0/matchConditions", json!([{"name": "never", "expression": "false"}])),
                Some(Fault::Shape),
            ),
            (changed("/webhooks", json!([])), Some(Fault::Shape)),
            (by("gitops-webhook"), Some(Fault::Scope)),
            (by("kubectl-edit"), Some(Fault::Shape)),
            (emptied, Some(Fault::Shape)),
        ] {
            assert_eq!(fault(&written(), &live), expect, "{live}");
        }
    }

    #[test]
    fn what_was_added_is_taken_away() {
        let live = json!({"metadata": {"resourceVersion": "7"}, "webhooks": [{"name": "a", "matchConditions": [{"name": "x"}]}, {"name": "b"}]});
        let paths: Vec<String> =
            leftovers(&written(), &live).iter().map(|op| op["path"].to_string()).collect();
        assert_eq!(
            paths,
            ["\"/metadata/resourceVersion\"", "\"/webhooks/1\"", "\"/webhooks/0/matchConditions\""]
        );
    }
}
