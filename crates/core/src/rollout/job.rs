//! Jobs that measure a version. In: a Job template of an AnalysisTemplate, and
//! which measurement of which Rollout it is for. Out: the Job. The same
//! measurement always has the same name, so that a crash does not run it twice;
//! and what such a Job may say is in Git, so that the webhook can judge it.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::analysis::Scope;
use super::state::State;
use crate::names::{ANNOTATION_METRIC, API_VERSION, LABEL_ROLLOUT};

/// Seconds that a Job may run, where its template says nothing.
const DEADLINE: i64 = 600;
/// Seconds after which a finished one goes by itself.
const KEPT: i64 = 1800;
/// Of the Rollout's name in the Job's; a Pod's name gets a suffix.
const MAX_PREFIX: usize = 40;

/// What the Job of a metric says, beside its name and owner. One try: a
/// measurement is repeated as its metric says.
pub fn content(template: &Value, rule: &str, uid: &str) -> Value {
    let mut spec = template.get("spec").cloned().unwrap_or_default();
    let fields = object(&mut spec);
    fields.entry("backoffLimit").or_insert(0.into());
    fields.entry("activeDeadlineSeconds").or_insert(DEADLINE.into());
    fields.entry("ttlSecondsAfterFinished").or_insert(KEPT.into());
    let pod =
        object(object(fields.entry("template").or_insert(json!({}))).entry("spec").or_insert(json!({})));
    pod.entry("restartPolicy").or_insert("Never".into());
    let mut metadata = json!({"labels": {}, "annotations": {}});
    for field in ["labels", "annotations"] {
        if let Some(own) = template.pointer(&format!("/metadata/{field}")).filter(|own| own.is_object()) {
            metadata[field] = own.clone();
        }
    }
    metadata["labels"][LABEL_ROLLOUT] = uid.into();
    metadata["annotations"][ANNOTATION_METRIC] = rule.into();
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec})
}

/// The Job of one measurement, owned by its Rollout.
pub fn job(content: &Value, name: &str, namespace: &str, rollout: &str, uid: &str) -> Value {
    let mut job = content.clone();
    job["metadata"]["name"] = name.into();
    job["metadata"]["namespace"] = namespace.into();
    job["metadata"]["ownerReferences"] = json!([{
        "apiVersion": API_VERSION, "kind": "Rollout", "name": rollout, "uid": uid, "controller": true}]);
    job
}

/// The name of the measurement that comes next under a rule.
pub fn name(rollout: &str, uid: &str, scope: Scope, rule: &str, state: &State) -> String {
    let tallies = if scope == Scope::Background { &state.background } else { &state.tallies };
    let taken = tallies.get(rule).map_or(0, super::state::Tally::taken);
    let version = state.new.as_ref().map(|new| &new.hash);
    let told = json!([uid, version, state.started, scope, rule, taken]).to_string();
    let digest = hex::encode(Sha256::digest(told));
    let prefix: String = rollout.chars().take(MAX_PREFIX).collect();
    format!("{}-{}", prefix.trim_end_matches(['-', '.']), &digest[..10])
}

fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::Version;
    use super::*;

    #[test]
    fn a_template_is_completed_and_never_changed() {
        let bare = json!({"spec": {"template": {"spec": {"containers": [{"name": "a"}]}}}});
        let made = content(&bare, "smoke/test", "u1");
        assert_eq!(
            made["spec"],
            json!({"backoffLimit": 0, "activeDeadlineSeconds": 600, "ttlSecondsAfterFinished": 1800,
                "template": {"spec": {"containers": [{"name": "a"}], "restartPolicy": "Never"}}})
        );
        let own = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"backoffLimit": 3, "template": {"spec": {"restartPolicy": "OnFailure"}}}});
        let made = content(&own, "smoke/test", "u1");
        assert_eq!(
            (&made["spec"]["backoffLimit"], &made["metadata"]["labels"]["app"]),
            (&json!(3), &json!("x"))
        );
        assert_eq!(made["spec"]["template"]["spec"]["restartPolicy"], "OnFailure");
        assert_eq!(made["metadata"]["labels"][LABEL_ROLLOUT], "u1");
        assert_eq!(job(&made, "n", "shop", "web", "u1")["metadata"]["ownerReferences"][0]["name"], "web");
    }

    #[test]
    fn one_name_for_one_measurement() {
        let new = Some(Version { revision: "c".into(), hash: "h".into() });
        let mut state = State { new, started: 100, ..State::default() };
        let first = name("web", "u1", Scope::Move(2), "smoke/test", &state);
        assert_eq!(name("web", "u1", Scope::Move(2), "smoke/test", &state), first);
        assert_ne!(name("web", "u1", Scope::Background, "smoke/test", &state), first);
        assert_ne!(name("web", "u2", Scope::Move(2), "smoke/test", &state), first);
        state
            .tallies
            .entry("smoke/test".into())
            .or_default()
            .count(super::super::analysis::Outcome::Success, 1);
        assert_ne!(name("web", "u1", Scope::Move(2), "smoke/test", &state), first);
        let long = name(&"a".repeat(100), "u1", Scope::Move(2), "smoke/test", &state);
        assert!(long.len() <= 52 && first.starts_with("web-"), "{first}");
    }
}
