//! Where an Application's objects may be. In: what it declares, what is remembered
//! here, and what the last sync from anywhere has noted with its Lease. Out: kinds
//! and namespaces, so that what has left Git altogether is found from any computer.

use std::collections::{BTreeSet, HashSet};

use gitops_cluster::{Cluster, ClusterError, Discovery, Kind, Live};
use gitops_core::desired::DesiredSet;
use gitops_core::names::LABEL_APPLICATION;
use gitops_core::object::Gvk;
use gitops_core::verdict::Policy;

use crate::ahead::{Wanted, by_manager};
use crate::error::EngineError;
use crate::lease::{Noted, noted};
use crate::load::Loaded;
use crate::memory::{Memory, Places};

/// Who may have synced an Application since this program last did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synced {
    /// Nobody has ever.
    Never,
    /// As far as is known, nobody else: a claim tells otherwise.
    Here,
    /// Somebody may have, from anywhere.
    Anywhere,
}

/// Where a commit declares objects.
pub(crate) fn declared(set: &DesiredSet) -> Wanted {
    let mut wanted = Wanted::new();
    for (key, object) in &set.objects {
        match wanted.get_mut(&object.gvk) {
            Some(namespaces) if namespaces.contains(&key.namespace) => {}
            Some(namespaces) => drop(namespaces.insert(key.namespace.clone())),
            None => drop(wanted.insert(object.gvk.clone(), [key.namespace.clone()].into())),
        }
    }
    wanted
}

/// Where else there may be objects.
fn beside(listed: &Wanted, places: &Places, discovery: &Discovery) -> Wanted {
    let none = BTreeSet::new();
    let mut more = Wanted::new();
    for gvk in &places.kinds {
        let Some(kind) = discovery.kind(gvk) else { continue };
        let listed = listed.get(gvk).unwrap_or(&none);
        let namespaces: BTreeSet<String> = if listed.contains("") {
            continue;
        } else if kind.namespaced {
            let others = places.namespaces.iter().filter(|name| !name.is_empty());
            others.filter(|name| !listed.contains(*name)).cloned().collect()
        } else {
            [String::new()].into()
        };
        if !namespaces.is_empty() {
            more.insert(gvk.clone(), namespaces);
        }
    }
    more
}

/// Adds what there is beside what is listed. What may not be listed is told.
pub(crate) async fn list_beside(
    (cluster, discovery): (&Cluster, &Discovery),
    listed: &Wanted,
    places: &Places,
    policy: &Policy,
    live: &mut Live,
) -> Result<(), EngineError> {
    let more = beside(listed, places, discovery);
    if !more.is_empty() {
        let recorded = |gvk: &Gvk| by_manager(policy, gvk);
        tell(&cluster.list_more(discovery, &more, recorded, live).await?);
    }
    Ok(())
}

fn tell(left_out: &[ClusterError]) {
    if let Some(error) = left_out.first() {
        let kinds = left_out.len();
        tracing::warn!(kinds, %error, "what has left Git is not found where it may not be listed");
    }
}

/// What is remembered of an Application, by whoever synced it: its Lease is read where
/// that may be more than what is known here. Where nothing is, but somebody has
/// synced, its mark is looked for on objects of all kinds.
pub(crate) async fn find(
    cluster: &Cluster,
    discovery: &Discovery,
    loaded: &Loaded,
    memory: &Memory,
    set: &DesiredSet,
    synced: Synced,
) -> Result<Places, EngineError> {
    match (synced, memory.known()) {
        (Synced::Never, before) => return Ok(before.unwrap_or_default()),
        (Synced::Here, Some(before)) => return Ok(before),
        (Synced::Here | Synced::Anywhere, _) => {}
    }
    let places = match (noted(cluster, &loaded.application).await?, memory.known()) {
        (Noted::Places(noted), before) => before.unwrap_or_default().joined(noted),
        (Noted::Unknown | Noted::Never, Some(before)) => before,
        (Noted::Never, None) => return Ok(Places::default()),
        (Noted::Unknown, None) => looked(cluster, discovery, loaded, set).await?,
    };
    memory.write(&places);
    Ok(places)
}

async fn looked(
    cluster: &Cluster,
    discovery: &Discovery,
    loaded: &Loaded,
    set: &DesiredSet,
) -> Result<Places, EngineError> {
    let mut namespaces: BTreeSet<String> = set.objects.keys().map(|key| key.namespace.clone()).collect();
    namespaces.insert(loaded.namespace.clone());
    namespaces.remove("");
    let label = (LABEL_APPLICATION, loaded.application.name.as_str());
    let (found, left_out) = cluster.list_marked(preferred(discovery), label, &namespaces).await?;
    tell(&left_out);
    let owner = loaded.application.to_string();
    let mut places = Places::default();
    for (kind, objects) in found {
        for (key, _) in objects.into_iter().filter(|(_, marks)| marks.owner.as_deref() == Some(&owner)) {
            places.kinds.insert(kind.gvk.clone());
            places.namespaces.insert(key.namespace);
        }
    }
    Ok(places)
}

/// Each kind once, in its preferred version.
fn preferred(discovery: &Discovery) -> impl Iterator<Item = &Kind> {
    let mut seen = HashSet::new();
    discovery.kinds().iter().filter(move |kind| seen.insert((&kind.gvk.group, &kind.gvk.kind)))
}
