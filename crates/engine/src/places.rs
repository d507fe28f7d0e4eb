//! Where an Application's objects may be. In: what it declares, what is remembered
//! here, and what the last sync from anywhere has noted with its Lease. Out: kinds
//! and namespaces, so that what has left Git altogether is found from any computer.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use gitops_cluster::{Cluster, Discovery, Kind, Live, NAMESPACES};
use gitops_core::desired::DesiredSet;
use gitops_core::names::LABEL_APPLICATION;
use gitops_core::object::Gvk;

use crate::error::EngineError;
use crate::lease::{Noted, noted};
use crate::load::Loaded;
use crate::memory::{Memory, Places};

/// Kinds, and the namespaces in which they are looked for.
pub(crate) type Wanted = BTreeMap<Gvk, BTreeSet<String>>;

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
fn beside(declared: &Wanted, places: &Places, discovery: &Discovery) -> Wanted {
    let none = BTreeSet::new();
    let mut more = Wanted::new();
    for gvk in &places.kinds {
        let Some(kind) = discovery.kind(gvk) else { continue };
        let listed = declared.get(gvk);
        let namespaces: BTreeSet<String> = if kind.namespaced {
            let listed = listed.unwrap_or(&none);
            // More than so many are listed at once, wherever they are.
            let is_whole = listed.len() > NAMESPACES;
            let others = places.namespaces.iter().filter(|name| !name.is_empty() && !is_whole);
            others.filter(|name| !listed.contains(*name)).cloned().collect()
        } else {
            [String::new()].into_iter().filter(|_| listed.is_none()).collect()
        };
        if !namespaces.is_empty() {
            more.insert(gvk.clone(), namespaces);
        }
    }
    more
}

/// Adds what there is beside what is declared. What may not be listed is told.
pub(crate) async fn list_beside(
    cluster: &Cluster,
    discovery: &Discovery,
    declared: &Wanted,
    places: &Places,
    live: &mut Live,
) -> Result<(), EngineError> {
    let more = beside(declared, places, discovery);
    if !more.is_empty() {
        let left_out = cluster.list_more(discovery, &more, live).await?;
        if let Some(error) = left_out.first() {
            tracing::warn!(kinds = left_out.len(), %error, "what has left Git is not found where it may not be listed");
        }
    }
    Ok(())
}

/// What is remembered of an Application, by whoever synced it. Where nothing is,
/// but somebody has synced, its mark is looked for on objects of all kinds.
pub(crate) async fn find(
    cluster: &Cluster,
    discovery: &Discovery,
    loaded: &Loaded,
    memory: &Memory,
    set: &DesiredSet,
) -> Result<Places, EngineError> {
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
    if let Some(error) = left_out.first() {
        tracing::warn!(kinds = left_out.len(), %error, "what has left Git is not found where it may not be listed");
    }
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
