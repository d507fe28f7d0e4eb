//! The mutating side: says where tracked objects come from, and gives Pods
//! their rollout labels. Fails open: no rule needs it to have run.

use gitops_core::children;
use gitops_core::compare::{CompareOptions, OWN_MARKS, carries_requests, compare};
use gitops_core::desired::{DesiredObject, stamp};
use gitops_core::names::{
    ANNOTATION_REQUESTED_BY, GROUP, LABEL_APPLICATION, LABEL_REVISION, LABEL_ROLLOUT_HASH, LABEL_TRACK,
};
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::rollout_hash::rollout_hash;
use gitops_core::verdict::request_of;
use serde_json::{Value, json};

use super::{Answer, Request};
use crate::keeper::Keeper;
use crate::world::World;

/// Answers a review: always allowed, perhaps with a patch.
pub async fn mutate(keeper: &Keeper, request: &Request) -> Answer {
    let world = keeper.world();
    let Some(object) =
        request.object.as_ref().filter(|object| object.is_object() && request.sub_resource.is_empty())
    else {
        return Answer::allow();
    };
    let mut changed = object.clone();
    mark(&world, request, &mut changed);
    name_who_asks(request, &mut changed);
    if request.kind.kind == "Pod" && request.kind.group.is_empty() && request.operation == "CREATE" {
        label_pod(keeper, &world, request, &mut changed).await;
    }
    if changed == *object {
        return Answer::allow();
    }
    let patch = json_patch::diff(object, &changed);
    Answer { patch: serde_json::to_value(patch).ok(), ..Answer::allow() }
}

/// Who opens an Override, or asks the controller for something, as the API
/// server knows them.
fn name_who_asks(request: &Request, object: &mut Value) {
    let (group, kind) = (request.kind.group.as_str(), request.kind.kind.as_str());
    let opened = kind == "Override" && group == GROUP && request.operation == "CREATE";
    let asked = request_of(Some(object));
    let changed = carries_requests(group, kind) && asked != request_of(request.old_object.as_ref());
    let user = request.user_info.username.as_str();
    if opened || changed && asked.is_some() {
        set(object, "annotations", ANNOTATION_REQUESTED_BY, user.into());
    } else if changed
        && let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
    {
        annotations.remove(ANNOTATION_REQUESTED_BY);
    }
}

/// The marks of a sync, where another client writes just what Git says and
/// something else changes.
fn mark(world: &World, request: &Request, object: &mut Value) {
    let Some((gvk, key)) = request.identity(world) else { return };
    let Some(held) = world.owner(&key) else { return };
    let Some(want) = held.part.get(&key) else { return };
    let unmarked = |object: &Value| {
        let mut object = object.clone();
        for field in ["labels", "annotations"] {
            if let Some(map) =
                object.pointer_mut(&format!("/metadata/{field}")).and_then(Value::as_object_mut)
            {
                map.retain(|key, _| !OWN_MARKS.contains(&key.as_str()));
            }
        }
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        object
    };
    if request.old_object.as_ref().is_some_and(|old| unmarked(old) == unmarked(object)) {
        return;
    }
    let free = held.policy.free(&key, held.part.delegated().of(&key));
    let options = CompareOptions { world: held.policy.world(&gvk), free: &free };
    if !compare(&world.schemas, &gvk, &want.value, object, &options).is_empty() {
        return;
    }
    let stamped = stamp(&want, &held.loaded.application, &held.part.revision);
    for field in ["labels", "annotations"] {
        for name in OWN_MARKS {
            if let Some(value) = stamped.get("metadata").and_then(|metadata| metadata.get(field)?.get(*name))
            {
                set(object, field, name, value.clone());
            }
        }
    }
}

fn set(object: &mut Value, field: &str, name: &str, value: Value) {
    let metadata = &mut object["metadata"];
    if !metadata[field].is_object() {
        metadata[field] = json!({});
    }
    metadata[field][name] = value;
}

/// Pods get, at admission, what tells their version, so that no template
/// changes for it.
async fn label_pod(keeper: &Keeper, world: &World, request: &Request, pod: &mut Value) {
    let Some(owner) = controller(pod) else { return };
    let namespace = request.namespace.as_str();
    let owner = match owner {
        (kind, name) if kind == "ReplicaSet" => {
            let Some(replica_set) = replica_set(keeper, namespace, pod).await else { return };
            controller(&replica_set).unwrap_or((kind, name))
        }
        other => other,
    };
    let group = if matches!(owner.0.as_str(), "Job" | "CronJob") { "batch" } else { "apps" };
    let key =
        ObjectKey { group: group.into(), kind: owner.0, namespace: namespace.to_owned(), name: owner.1 };
    let Some(held) = world.owner(&key) else { return };
    let Some(want) = held.part.get(&key) else { return };
    let Some(template) = template(&want) else { return };
    let revision: String = held.part.revision.chars().take(12).collect();
    let labels = [
        (LABEL_APPLICATION, held.loaded.application.name.clone()),
        (LABEL_TRACK, "stable".to_owned()),
        (LABEL_REVISION, revision),
        (LABEL_ROLLOUT_HASH, rollout_hash(template)),
    ];
    for (name, value) in labels {
        // That of a second workload is in its template and selector.
        if name == LABEL_TRACK && pod.pointer("/metadata/labels").is_some_and(|all| all.get(name).is_some()) {
            continue;
        }
        set(pod, "labels", name, value.into());
    }
}

/// The ReplicaSet that controls a Pod. It is kept for the validating side,
/// which asks for it next.
async fn replica_set(keeper: &Keeper, namespace: &str, pod: &Value) -> Option<Value> {
    let owner = children::controller(Some(pod))?;
    let key = ObjectKey {
        group: owner.gvk.group.clone(),
        kind: owner.gvk.kind.clone(),
        namespace: namespace.to_owned(),
        name: owner.name,
    };
    let _turn = match keeper.recent.get_or_turn(&key, &owner.uid).await {
        Ok(seen) => return Some(seen),
        Err(turn) => turn,
    };
    let kind = keeper.world().discovery.kind(&owner.gvk).cloned()?;
    let live = keeper.cluster.get(&kind, &key).await.ok()??;
    if live.pointer("/metadata/uid").and_then(Value::as_str) == Some(&owner.uid) {
        keeper.recent.put(&key, &owner.uid, &live);
    }
    Some(live)
}

fn template(want: &DesiredObject) -> Option<&Value> {
    want.value.pointer("/spec/template").or_else(|| want.value.pointer("/spec/jobTemplate/spec/template"))
}

/// Kind and name of the controlling owner.
fn controller(object: &Value) -> Option<(String, String)> {
    let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
    let owner = owners.iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true)))?;
    let gvk = Gvk::of(owner).ok()?;
    matches!(gvk.group.as_str(), "apps" | "batch")
        .then(|| owner.get("name")?.as_str().map(|name| (gvk.kind, name.to_owned())))?
}
