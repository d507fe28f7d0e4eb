//! The mutating side: says where tracked objects come from, and gives Pods
//! their rollout labels. Fails open: no rule needs it to have run.

use gitops_core::children::{self, Whose};
use gitops_core::compare::{CompareOptions, OWN_MARKS, carries_requests, compare};
use gitops_core::desired::stamp;
use gitops_core::names::{ANNOTATION_REQUESTED_BY, GROUP};
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::verdict::request_of;
use serde_json::{Value, json};

use super::{Answer, Request};
use crate::keeper::Keeper;
use crate::world::World;

/// Owners above a Pod: a Job, its CronJob.
const GENERATIONS: usize = 3;

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
    let namespace = request.namespace.as_str();
    let mut owners = Vec::new();
    let mut above = pod.clone();
    for _ in 0..GENERATIONS {
        let Some((key, live)) = owner(keeper, world, namespace, &above).await else { return };
        owners.push(live);
        if let Some(held) = world.owner(&key) {
            let Some(root) = held.part.get(&key) else { return };
            let revisions = revision(keeper, namespace, pod, &owners[0]).await;
            let tracks = world.tracks(&key);
            let whose = Whose {
                application: &held.loaded.application.name,
                revision: &held.part.revision,
                tracks: tracks.as_ref(),
            };
            let maker = children::maker(pod, &owners[0], &revisions);
            let labels = children::version_labels(&world.schemas, &root, pod, maker, whose);
            // That of a second workload is in its template and selector.
            let declared = owners[0].pointer("/spec/template/metadata/labels").cloned().unwrap_or_default();
            for (name, value) in labels.into_iter().filter(|(name, _)| declared.get(name).is_none()) {
                set(pod, "labels", name, value.into());
            }
            return;
        }
        above.clone_from(&owners[owners.len() - 1]);
    }
}

/// The controller of an object of this namespace, as it is live. It is kept for
/// the validating side, which asks for it next.
async fn owner(
    keeper: &Keeper,
    world: &World,
    namespace: &str,
    object: &Value,
) -> Option<(ObjectKey, Value)> {
    let owner = children::controller(Some(object)).filter(|owner| children::is_built_in(&owner.gvk))?;
    let key = ObjectKey {
        group: owner.gvk.group.clone(),
        kind: owner.gvk.kind.clone(),
        namespace: namespace.to_owned(),
        name: owner.name,
    };
    let _turn = match keeper.recent.get_or_turn(&key, &owner.uid).await {
        Ok(seen) => return Some((key, seen)),
        Err(turn) => turn,
    };
    let kind = world.discovery.kind(&owner.gvk)?;
    let live = keeper.cluster.get(kind, &key).await.ok()??;
    if live.pointer("/metadata/uid").and_then(Value::as_str) != Some(&owner.uid) {
        return None;
    }
    keeper.recent.put(&key, &owner.uid, &live);
    Some((key, live))
}

/// The ControllerRevision that a Pod of a set names.
async fn revision(keeper: &Keeper, namespace: &str, pod: &Value, set: &Value) -> Vec<Value> {
    let text =
        |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let hash = text(pod, "/metadata/labels/controller-revision-hash");
    // A StatefulSet's Pods carry the revision's name, a DaemonSet's its hash.
    let name = match (text(set, "/kind").as_deref(), hash) {
        (Some("StatefulSet"), Some(hash)) => hash,
        (Some("DaemonSet"), Some(hash)) => {
            format!("{}-{hash}", text(set, "/metadata/name").unwrap_or_default())
        }
        _ => return Vec::new(),
    };
    let gvk = Gvk::new("apps/v1", "ControllerRevision");
    let key =
        ObjectKey { group: gvk.group.clone(), kind: gvk.kind.clone(), namespace: namespace.to_owned(), name };
    let Some(kind) = keeper.world().discovery.kind(&gvk).cloned() else { return Vec::new() };
    keeper.cluster.get(&kind, &key).await.ok().flatten().into_iter().collect()
}
