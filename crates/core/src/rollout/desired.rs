//! The gate: what Git says with a Rollout worked in. In: the objects of the
//! newest commit, a Rollout and its state, the objects of the promoted commit
//! and of the one on its way in. Out: the objects that may be in the cluster.
//! The target's template is always that of a commit, never a live one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::program::{Whole, count, updated};
use super::references::references;
use super::spec::{Means, Spec, versioned};
use super::state::{Holds, Setting, State, Version};
use super::traffic;
use crate::desired::{DesiredObject, DesiredSet};
use crate::index::Part;
use crate::names::LABEL_TRACK;
use crate::object::ObjectKey;
use crate::path::{Path, Segment};

/// A partition that lets nothing of the new version out, however far the
/// StatefulSet is scaled up.
pub const GATED: i64 = 2_147_483_647;

/// The objects of one commit.
pub type Objects = BTreeMap<ObjectKey, DesiredObject>;

/// What one commit declares.
pub trait Declares {
    /// The object of this key, if it is declared.
    fn declared(&self, key: &ObjectKey) -> Option<DesiredObject>;
}

impl Declares for Objects {
    fn declared(&self, key: &ObjectKey) -> Option<DesiredObject> {
        self.get(key).cloned()
    }
}

impl Declares for DesiredSet {
    fn declared(&self, key: &ObjectKey) -> Option<DesiredObject> {
        self.objects.declared(key)
    }
}

impl Declares for Part {
    fn declared(&self, key: &ObjectKey) -> Option<DesiredObject> {
        self.get(key)
    }
}

/// The objects that a Rollout may change: its target, the second workload, its
/// Services and routes.
pub fn changes(spec: &Spec) -> BTreeSet<ObjectKey> {
    let services = [spec.stable_service(), spec.new_service()];
    let services = services.into_iter().flatten().map(|name| spec.beside("", "Service", name));
    let routes = &spec.traffic.routes;
    let routes = routes.iter().map(|route| spec.beside(traffic::GATEWAY, &route.kind, &route.name));
    let second = spec.has_second().then(|| spec.second());
    [spec.target.clone()].into_iter().chain(second).chain(services).chain(routes).collect()
}

/// What a commit declares of the objects that a Rollout may change, and of those
/// without which its target's Pods do not start.
pub fn concerned(spec: &Spec, commit: &dyn Declares) -> Objects {
    let mut keys = changes(spec);
    let target = commit.declared(&spec.target);
    if let Some(part) = target.as_ref().and_then(|target| target.value.pointer(versioned(spec.means()))) {
        keys.extend(references(part, &spec.target.namespace));
    }
    let found = keys.into_iter().filter_map(|key| commit.declared(&key));
    found.map(|object| (object.key.clone(), object)).collect()
}

/// What the newest commit says otherwise, or not at all, while a Rollout has
/// this state. `commits` are those that the state names, as far as they are
/// known.
///
/// # Errors
/// As of [`gate`].
pub fn overlay(
    spec: &Spec,
    state: &State,
    tip: &dyn Declares,
    commits: &dyn Fn(&str) -> Option<Objects>,
) -> Result<Objects, GateError> {
    let before = concerned(spec, tip);
    let mut objects = before.clone();
    let of = |version: &Option<Version>| version.as_ref().and_then(|version| commits(&version.revision));
    let (stable, new) = (of(&state.stable), of(&state.new));
    gate(&mut objects, spec, state, Versions { stable: stable.as_ref(), new: new.as_ref() })?;
    objects.retain(|key, object| before.get(key) != Some(object));
    Ok(objects)
}

/// Why the gate cannot be worked in. Whoever asked must keep to what was last
/// known, and let nothing new in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    #[error("{target} is not declared at {revision}, the version that its Rollout holds")]
    NoVersion { target: ObjectKey, revision: String },
    #[error("{target} has the hash {found} at {revision}, and its Rollout's status says {told}")]
    OtherVersion { target: ObjectKey, revision: String, found: String, told: String },
}

/// The objects of the commits that a state names; none: those of the newest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Versions<'a> {
    pub stable: Option<&'a Objects>,
    pub new: Option<&'a Objects>,
}

/// The hash of a target's version; none where it has no such part.
pub fn version(spec: &Spec, target: &Value) -> Option<String> {
    let mut part = target.pointer(versioned(spec.means()))?.clone();
    if let (Means::Field, Some(path)) = (spec.means(), &spec.traffic.weight_path)
        && path.head() == "spec"
    {
        take(&mut part, &path.0[1..]);
    }
    Some(super::hash(&part))
}

/// Works a Rollout into the objects of the newest commit.
///
/// # Errors
/// When a commit that the state names does not hold the version it names.
pub fn gate(
    objects: &mut Objects,
    spec: &Spec,
    state: &State,
    versions: Versions<'_>,
) -> Result<(), GateError> {
    let (Some(tip), Some(stable)) = (objects.get(&spec.target).cloned(), &state.stable) else {
        return Ok(());
    };
    let newest = version(spec, &tip.value).unwrap_or_default();
    let whole = whole(&tip.value, state);
    let returns = state.from_zero && !whole.declared;
    if stable.hash == newest && state.setting == Setting::REST && !returns {
        return Ok(());
    }
    let old = held(spec, stable, versions.stable, &tip, &newest)?;
    let new = match &state.new {
        Some(new) if new_is_needed(&state.setting) => Some(held(spec, new, versions.new, &tip, &newest)?),
        _ => None,
    };
    let shown = match (state.setting.target, &new) {
        (Holds::New, Some(new)) => new,
        _ => &old,
    };
    let mut target = tip.clone();
    target.origin.lines = None;
    if let Some(part) = shown.value.pointer(versioned(spec.means())) {
        put(&mut target.value, versioned(spec.means()), part.clone());
    }
    size(&mut target.value, spec, state, whole);
    objects.insert(spec.target.clone(), target);
    if let (Some(new), Some(size)) = (&new, state.setting.second.filter(|_| spec.has_second())) {
        let second = second(spec, new, count(whole.replicas, size));
        objects.insert(second.key.clone(), second);
    }
    for (version, from) in [(Some(&old), versions.stable), (new.as_ref(), versions.new)] {
        if let (Some(version), Some(from)) = (version, from) {
            keep(objects, spec, version, from);
        }
    }
    traffic::divide(objects, spec, state, whole.replicas);
    Ok(())
}

fn new_is_needed(setting: &Setting) -> bool {
    setting.target == Holds::New || setting.second.is_some()
}

/// The target as a version has it.
fn held(
    spec: &Spec,
    wanted: &Version,
    objects: Option<&Objects>,
    tip: &DesiredObject,
    newest: &str,
) -> Result<DesiredObject, GateError> {
    if wanted.hash == newest {
        return Ok(tip.clone());
    }
    let target = spec.target.clone();
    let found = objects.and_then(|objects| objects.get(&spec.target));
    let found =
        found.ok_or(GateError::NoVersion { target: target.clone(), revision: wanted.revision.clone() })?;
    let hash = version(spec, &found.value).unwrap_or_default();
    if hash != wanted.hash {
        let (revision, told) = (wanted.revision.clone(), wanted.hash.clone());
        return Err(GateError::OtherVersion { target, revision, found: hash, told });
    }
    Ok(found.clone())
}

/// As the newest commit says, so that a share never is one of another number than
/// the object beside it has; what Git leaves out was seen last.
fn whole(tip: &Value, state: &State) -> Whole {
    let declared = tip.pointer("/spec/replicas").and_then(Value::as_i64);
    Whole { replicas: declared.unwrap_or(state.replicas), declared: declared.is_some() }
}

/// Replicas, partition or weight of the target.
fn size(target: &mut Value, spec: &Spec, state: &State, whole: Whole) {
    let setting = &state.setting;
    match spec.means() {
        // On the way back to the last Pod, whatever Git says of updates.
        Means::Partition if setting.target == Holds::New || setting.updated > 0 => {
            let updated = updated(whole.replicas, setting.updated);
            let partition = match (setting.target, updated) {
                (Holds::Stable, _) => 0,
                (Holds::New, 0) => GATED,
                (Holds::New, updated) => (whole.replicas - updated).max(0),
            };
            target["spec"]["updateStrategy"]["type"] = "RollingUpdate".into();
            target["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = partition.into();
        }
        Means::Field if setting.target == Holds::New => {
            if let Some(path) = &spec.traffic.weight_path {
                weigh(target, path, setting.weight);
            }
        }
        // An autoscaler goes on setting what Git leaves out, save from zero.
        Means::Replicas | Means::Routes | Means::Alone
            if setting.share == 0 || if whole.declared { setting.share < 100 } else { state.from_zero } =>
        {
            target["spec"]["replicas"] = whole.kept(setting.share).into();
        }
        _ => {}
    }
}

/// The workload beside the target. Its Pods have a label of their own, so that
/// neither takes the other's for its own.
fn second(spec: &Spec, new: &DesiredObject, replicas: i64) -> DesiredObject {
    let mut second = new.clone();
    second.key = spec.second();
    second.origin.lines = None;
    let value = &mut second.value;
    value["metadata"]["name"] = second.key.name.clone().into();
    value["spec"]["replicas"] = replicas.into();
    for labels in ["/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
        put(value, &format!("{labels}/{}", LABEL_TRACK.replace('/', "~1")), spec.track().into());
    }
    second
}

/// What a version refers to and the newest commit no longer declares.
fn keep(objects: &mut Objects, spec: &Spec, version: &DesiredObject, from: &Objects) {
    let Some(part) = version.value.pointer(versioned(spec.means())) else { return };
    for key in references(part, &spec.target.namespace) {
        if let Some(object) = from.get(&key) {
            objects.entry(key).or_insert_with(|| object.clone());
        }
    }
}

/// Sets the value at a JSON pointer, with the maps on the way to it.
pub(super) fn put(value: &mut Value, pointer: &str, new: Value) {
    let mut at = value;
    for part in pointer.split('/').skip(1) {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[part.replace("~1", "/").replace("~0", "~").as_str()];
    }
    *at = new;
}

/// Sets a weight; where it stands in a list of two, the other gets the rest.
fn weigh(target: &mut Value, path: &Path, weight: u8) {
    let Some((field, list)) = path.0.split_last() else { return };
    if let (Segment::Field(field), Some((element, list))) = (field, list.split_last())
        && let Some(items) = find(target, list).and_then(Value::as_array_mut)
    {
        let pair = items.len() == 2;
        for (index, item) in items.iter_mut().enumerate() {
            match element.is_at(index, item) {
                true => item[field.as_str()] = weight.into(),
                false if pair => item[field.as_str()] = (100 - weight.min(100)).into(),
                false => {}
            }
        }
        return;
    }
    if let (Segment::Field(field), Some(parent)) = (field, find(target, list))
        && parent.is_object()
    {
        parent[field.as_str()] = weight.into();
    }
}

fn take(value: &mut Value, path: &[Segment]) {
    if let Some((Segment::Field(field), parent)) = path.split_last() {
        if let Some((element, list)) = parent.split_last()
            && let Some(items) = find(value, list).and_then(Value::as_array_mut)
        {
            let pair = items.len() == 2;
            for (index, item) in items.iter_mut().enumerate() {
                if let (true, Some(map)) = (pair || element.is_at(index, item), item.as_object_mut()) {
                    map.remove(field);
                }
            }
        } else if let Some(map) = find(value, parent).and_then(Value::as_object_mut) {
            map.remove(field);
        }
    }
}

fn find<'a>(value: &'a mut Value, path: &[Segment]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, segment| match (segment, value) {
        (Segment::Field(name), Value::Object(map)) => map.get_mut(name),
        (segment, Value::Array(items)) => {
            items.iter_mut().enumerate().find_map(|(index, item)| segment.is_at(index, item).then_some(item))
        }
        _ => None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::simulation::{self, commit};
    use super::super::spec::{Size, Step, Strategy};
    use super::super::state::Phase;
    use super::*;

    /// The commit of this image, whose target reads `shared`, too.
    fn reading(image: &str, spec: &Spec) -> Objects {
        let mut objects = commit("Deployment", image);
        let target = objects.get_mut(&spec.target).unwrap();
        let reads = json!([{"configMapRef": {"name": format!("config-{image}")}}, {"configMapRef": {"name": "shared"}}]);
        target.value["spec"]["template"]["spec"]["containers"][0]["envFrom"] = reads;
        let mut shared = objects[&spec.beside("", "ConfigMap", &format!("config-{image}"))].clone();
        shared.key = spec.beside("", "ConfigMap", "shared");
        shared.value["metadata"]["name"] = "shared".into();
        shared.value["data"] = json!({"of": image});
        objects.insert(shared.key.clone(), shared);
        objects
    }

    #[test]
    fn what_only_the_old_version_reads_stays_and_what_both_read_follows_git() {
        let spec = simulation::spec(Strategy::Canary(vec![Step::SetWeight(20)]));
        let (old, new) = (reading("v1", &spec), reading("v2", &spec));
        let of = |objects: &Objects, revision: &str| Version {
            revision: revision.into(),
            hash: version(&spec, &objects[&spec.target].value).unwrap(),
        };
        let state = State {
            phase: Phase::Progressing,
            stable: Some(of(&old, "v1")),
            new: Some(of(&new, "v2")),
            replicas: 5,
            setting: Setting { second: Some(Size::Count(1)), ..Setting::REST },
            ..State::default()
        };
        let mut objects = new.clone();
        gate(&mut objects, &spec, &state, Versions { stable: Some(&old), new: Some(&new) }).unwrap();
        let config = |name: &str| &objects[&spec.beside("", "ConfigMap", name)];
        assert_eq!(config("config-v1").value, old[&config("config-v1").key].value);
        assert_eq!(config("shared").value["data"], json!({"of": "v2"}));
    }
}
