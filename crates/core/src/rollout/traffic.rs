//! Who gets which requests. In: the objects of a commit, a Rollout and its
//! state. Out: the same objects with the selectors of its Services and the
//! weights, header matches and mirrors of its routes as the state asks.

use serde_json::{Value, json};

use super::desired::{Objects, put};
use super::program::updated;
use super::spec::{Header, Means, Spec, Strategy};
use super::state::{Holds, State};
use crate::names::LABEL_TRACK;
use crate::object::ObjectKey;

pub(super) const GATEWAY: &str = "gateway.networking.k8s.io";

/// Divides requests between the versions while both run. `replicas`: of the
/// workload as a whole.
pub(super) fn divide(objects: &mut Objects, spec: &Spec, state: &State, replicas: i64) {
    let setting = &state.setting;
    let both = match spec.means() {
        Means::Routes => setting.second.is_some(),
        Means::Partition => setting.target == Holds::New || setting.updated > 0,
        Means::Replicas | Means::Field | Means::Alone => false,
    };
    if !both {
        return;
    }
    if matches!(spec.strategy, Strategy::BlueGreen { .. }) {
        services(objects, spec, state, setting.weight > 0);
        return;
    }
    services(objects, spec, state, false);
    for route in &spec.traffic.routes {
        let key = spec.beside(GATEWAY, &route.kind, &route.name);
        edit(objects, &key, |value| divide_route(value, spec, state, replicas));
    }
}

/// The selectors; `switched` says that the active Service of a blue-green
/// rollout reaches the new version.
fn services(objects: &mut Objects, spec: &Spec, state: &State, switched: bool) {
    let setting = &state.setting;
    let partition = spec.means() == Means::Partition;
    let label = if partition || !spec.has_second() { spec.version_label() } else { LABEL_TRACK };
    let new = if partition { state.new_pods.as_deref() } else { Some(spec.track()) };
    // Once the target itself is rolled, all of its Pods may be reached.
    let old = state.stable_pods.as_deref().filter(|_| partition || setting.target == Holds::Stable);
    let all_new = partition && setting.updated >= 100;
    if let Some(service) = spec.stable_service() {
        match (switched, old) {
            (true, _) => select(objects, spec, service, label, new),
            (false, old) => {
                let old = old.filter(|_| !all_new);
                select(objects, spec, service, spec.version_label(), old);
            }
        }
    }
    if let Some(service) = spec.new_service() {
        select(objects, spec, service, label, new);
    }
}

fn select(objects: &mut Objects, spec: &Spec, service: &str, label: &str, value: Option<&str>) {
    let Some(value) = value else { return };
    edit(objects, &spec.beside("", "Service", service), |service| {
        put(service, &format!("/spec/selector/{}", label.replace('/', "~1")), value.into());
    });
}

fn edit(objects: &mut Objects, key: &ObjectKey, change: impl FnOnce(&mut Value)) {
    if let Some(object) = objects.get_mut(key) {
        object.origin.lines = None;
        change(&mut object.value);
    }
}

fn divide_route(route: &mut Value, spec: &Spec, state: &State, replicas: i64) {
    let (Some(stable), Some(new)) = (&spec.traffic.stable_service, &spec.traffic.canary_service) else {
        return;
    };
    let Some(rules) = route.pointer_mut("/spec/rules").and_then(Value::as_array_mut) else { return };
    // One Pod alone is of one version: there is no other one to reach.
    let running = spec.means() != Means::Partition || updated(replicas, state.setting.updated) > 0;
    let weight = if running { i64::from(state.setting.weight.min(100)) } else { 0 };
    let mut matched = Vec::new();
    for rule in rules.iter_mut() {
        let Some(own) = backend(rule, stable).cloned() else { continue };
        if let Some(header) = state.setting.header.as_ref().filter(|_| running) {
            matched.push(for_header(rule, header, &to(&own, new)));
        }
        if running && state.setting.mirror > 0 {
            mirror(rule, &to(&own, new), state.setting.mirror);
        }
        weigh(rule, stable, &to(&own, new), weight);
    }
    // Whoever sends the header is asked first; of equal matches the first wins.
    matched.append(rules);
    *rules = matched;
}

fn backend<'a>(rule: &'a Value, service: &str) -> Option<&'a Value> {
    rule.get("backendRefs")?.as_array()?.iter().find(|reference| is(reference, service))
}

/// A reference to a Service; kind and group may be left out.
fn is(reference: &Value, service: &str) -> bool {
    reference.get("name").and_then(Value::as_str) == Some(service)
        && reference.get("kind").is_none_or(|kind| kind == "Service")
        && reference.get("namespace").is_none()
}

/// The reference, to another Service at the same port, without its weight.
fn to(reference: &Value, service: &str) -> Value {
    let mut reference = reference.clone();
    if let Some(map) = reference.as_object_mut() {
        map.insert("name".into(), service.into());
        map.remove("weight");
        map.remove("filters");
    }
    reference
}

/// Divides the weight that the old version's Service has in a rule; others keep
/// their part. Weights go up to 1,000,000 (gateway.networking.k8s.io/v1).
fn weigh(rule: &mut Value, stable: &str, new: &Value, percent: i64) {
    let Some(references) = rule.get_mut("backendRefs").and_then(Value::as_array_mut) else { return };
    let name = new["name"].as_str().unwrap_or_default().to_owned();
    references.retain(|reference| !is(reference, &name));
    let alone = references.len() == 1;
    let mut share = 1;
    for reference in references.iter_mut() {
        let weight = reference.get("weight").and_then(Value::as_i64).unwrap_or(1).clamp(0, 10_000);
        if is(reference, stable) {
            share = if alone { 1 } else { weight };
            reference["weight"] = (share * (100 - percent)).into();
        } else {
            reference["weight"] = (weight * 100).into();
        }
    }
    let mut new = new.clone();
    new["weight"] = (share * percent).into();
    references.push(new);
}

fn for_header(rule: &Value, header: &Header, new: &Value) -> Value {
    let mut rule = rule.clone();
    let wanted = json!({"type": "Exact", "name": header.name, "value": header.value});
    if let Some(map) = rule.as_object_mut() {
        // Names are unique in a route.
        map.remove("name");
        map.insert("backendRefs".into(), json!([new]));
    }
    match rule.get_mut("matches").and_then(Value::as_array_mut).filter(|matches| !matches.is_empty()) {
        Some(matches) => {
            for one in matches.iter_mut() {
                match one.get_mut("headers").and_then(Value::as_array_mut) {
                    Some(headers) => headers.push(wanted.clone()),
                    None => one["headers"] = json!([wanted]),
                }
            }
        }
        None => rule["matches"] = json!([{"headers": [wanted]}]),
    }
    rule
}

fn mirror(rule: &mut Value, new: &Value, percent: u8) {
    let filter =
        json!({"type": "RequestMirror", "requestMirror": {"backendRef": new, "percent": percent.min(100)}});
    match rule.get_mut("filters").and_then(Value::as_array_mut) {
        Some(filters) => filters.push(filter),
        None => rule["filters"] = json!([filter]),
    }
}
