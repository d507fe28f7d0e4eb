//! Mirrors that go. In: an Application that is deleted here, or no longer goes to
//! that cluster. Out: its mirror there on its way out, which lets its objects go
//! and its hooks run, and then gone.

use gitops_cluster::{Cluster, ClusterError, DeleteOptions, ErrorKind, Kind};
use gitops_core::desired::AppRef;
use gitops_core::names::{FINALIZER_PRUNE, GROUP};
use gitops_core::object::ObjectKey;
use serde_json::{Value, json};

use super::member::Surroundings;
use super::mirror::{TRIES, hub_of, key, options, uid_of};
use crate::controller::Controller;

/// Deletes an Application's mirror, which stays until it is released: that
/// cluster's webhook goes on judging by it, and lets go what it declares.
///
/// # Errors
/// When it cannot be deleted.
pub async fn leave(
    controller: &Controller,
    known: &Surroundings,
    application: &AppRef,
) -> Result<(), ClusterError> {
    let Some(kind) = known.discovery.preferred(GROUP, "Application") else { return Ok(()) };
    let (cluster, key) = (known.cluster(), key(application));
    for attempt in 1.. {
        let Some(mut live) = own(controller, known, kind, &key).await? else { return Ok(()) };
        if is_going(&live) {
            return Ok(());
        }
        let mut finalizers = finalizers(&live);
        if !finalizers.iter().any(|known| known == FINALIZER_PRUNE) {
            finalizers.push(FINALIZER_PRUNE.into());
            live["metadata"]["finalizers"] = json!(finalizers);
            match cluster.replace(kind, &key, &live, &options()).await {
                Err(error) if error.kind() == ErrorKind::Conflict && attempt < TRIES => continue,
                other => other.map(drop)?,
            }
        }
        return delete(cluster, kind, &key, &live).await;
    }
    Ok(())
}

/// Takes an Application's mirror away; what it has declared stays.
///
/// # Errors
/// When it cannot be taken away.
pub async fn release(
    controller: &Controller,
    known: &Surroundings,
    application: &AppRef,
) -> Result<(), ClusterError> {
    let Some(kind) = known.discovery.preferred(GROUP, "Application") else { return Ok(()) };
    let (cluster, key) = (known.cluster(), key(application));
    for attempt in 1.. {
        let Some(live) = own(controller, known, kind, &key).await? else { return Ok(()) };
        if !is_going(&live) {
            delete(cluster, kind, &key, &live).await?;
        }
        match let_go(cluster, kind, &key, live).await {
            // It has changed meanwhile, as by being deleted.
            Err(error) if error.kind() == ErrorKind::Conflict && attempt < TRIES => {}
            other => return other,
        }
    }
    Ok(())
}

/// The mirror, if it is this hub's.
async fn own(
    controller: &Controller,
    known: &Surroundings,
    kind: &Kind,
    key: &ObjectKey,
) -> Result<Option<Value>, ClusterError> {
    let ours = controller.clusters.uid().unwrap_or_default();
    let live = known.cluster().get(kind, key).await?;
    Ok(live.filter(|live| {
        let is_rivals = known.member.is_rivals(key, uid_of(live)) && uid_of(live) != ours;
        hub_of(live) == Some(&controller.settings.hub) && !is_rivals
    }))
}

pub(super) fn is_going(live: &Value) -> bool {
    live.pointer("/metadata/deletionTimestamp").is_some_and(Value::is_string)
}

pub(super) fn finalizers(live: &Value) -> Vec<Value> {
    live.pointer("/metadata/finalizers").and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Whether it is deleted and waits for its hub.
pub(super) fn is_leaving(live: &Value) -> bool {
    is_going(live) && finalizers(live).iter().any(|known| known == FINALIZER_PRUNE)
}

/// Takes off what a mirror waits for; one that is not there is fine.
pub(super) async fn let_go(
    cluster: &Cluster,
    kind: &Kind,
    key: &ObjectKey,
    mut live: Value,
) -> Result<(), ClusterError> {
    let (before, mut finalizers) = (finalizers(&live).len(), finalizers(&live));
    finalizers.retain(|known| known != FINALIZER_PRUNE);
    if finalizers.len() == before {
        return Ok(());
    }
    live["metadata"]["finalizers"] = json!(finalizers);
    match cluster.replace(kind, key, &live, &options()).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map(drop),
    }
}

async fn delete(cluster: &Cluster, kind: &Kind, key: &ObjectKey, live: &Value) -> Result<(), ClusterError> {
    let uid = live.pointer("/metadata/uid").and_then(Value::as_str).map(str::to_owned);
    match cluster.delete(kind, key, &DeleteOptions { uid, ..DeleteOptions::default() }).await {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
