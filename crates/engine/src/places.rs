//! Where an Application's objects may be. In: what it declares, what is remembered
//! here, and what the last sync from anywhere has noted with its Lease. Out: kinds
//! and namespaces, so that what has left Git altogether is found from any computer.

use std::collections::{BTreeSet, HashSet};

use gitops_cluster::{Cluster, ClusterError, Discovery, Form, Kind, Live};
use gitops_core::desired::DesiredSet;
use gitops_core::names::LABEL_APPLICATION;
use gitops_core::object::{Gvk, ObjectKey};

use crate::ahead::Wanted;
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

/// Where objects are.
pub(crate) fn of<'a>(objects: impl Iterator<Item = (&'a Gvk, &'a ObjectKey)>) -> Wanted {
    let mut wanted = Wanted::new();
    let mut last = None;
    for (gvk, key) in objects {
        // Most come one after the other.
        let place = Some((gvk, key.namespace.as_str()));
        if last != place {
            wanted.entry(gvk.clone()).or_default().insert(key.namespace.clone());
            last = place;
        }
    }
    wanted
}

/// Where else there may be objects.
fn beside(listed: &Wanted, places: &Places, namespaced: impl Fn(&Gvk) -> Option<bool>) -> Wanted {
    let mut more = Wanted::new();
    for gvk in &places.kinds {
        let Some(namespaced) = namespaced(gvk) else { continue };
        // An object is the same in every version of its kind.
        let same = listed.iter().filter(|(known, _)| known.group == gvk.group && known.kind == gvk.kind);
        let listed: BTreeSet<&String> = same.flat_map(|(_, namespaces)| namespaces).collect();
        let mut namespaces = places.namespaces_of(namespaced);
        namespaces.retain(|name| !listed.contains(name) && !listed.iter().any(|listed| listed.is_empty()));
        if !namespaces.is_empty() {
            more.insert(gvk.clone(), namespaces);
        }
    }
    more
}

/// Adds what there is beside what is listed. Out: where that may not be, which is told.
pub(crate) async fn list_beside(
    (cluster, discovery): (&Cluster, &Discovery),
    listed: &Wanted,
    places: &Places,
    form: impl Fn(&Gvk) -> Form,
    live: &mut Live,
) -> Result<Wanted, EngineError> {
    let mut more = beside(listed, places, |gvk| Some(discovery.kind(gvk)?.namespaced));
    if more.is_empty() {
        return Ok(more);
    }
    let left_out = cluster.list_more(discovery, &more, form, live).await?;
    tell(left_out.iter().map(|(_, error)| error));
    more.retain(|gvk, _| left_out.iter().any(|(kind, _)| kind == gvk));
    Ok(more)
}

fn tell<'a>(mut left_out: impl ExactSizeIterator<Item = &'a ClusterError>) {
    let kinds = left_out.len();
    if let Some(error) = left_out.next() {
        tracing::warn!(kinds, %error, "what has left Git is not found where it may not be listed");
    }
}

/// What is remembered of an Application, by whoever synced it: its Lease is read where
/// that may be more than what is known here. Where nothing is, but somebody has
/// synced, its mark is looked for on objects of all kinds.
pub(crate) async fn find(
    (cluster, discovery): (&Cluster, &Discovery),
    loaded: &Loaded,
    memory: &Memory,
    set: &DesiredSet,
    synced: Synced,
    early: Option<Noted>,
) -> Result<Places, EngineError> {
    match (synced, memory.known()) {
        (Synced::Never, before) => return Ok(before.unwrap_or_default()),
        (Synced::Here, Some(before)) => return Ok(before),
        (Synced::Here | Synced::Anywhere, _) => {}
    }
    let noted = match early {
        Some(noted) => noted,
        None => noted(cluster, &loaded.application).await?,
    };
    let places = match (noted, memory.known()) {
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
    tell(left_out.iter());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(of: &[(&str, &str, &[&str])]) -> Wanted {
        let one = |(version, kind, namespaces): &(&str, &str, &[&str])| {
            (Gvk::new(version, kind), namespaces.iter().map(|name| (*name).to_owned()).collect())
        };
        of.iter().map(one).collect()
    }

    #[test]
    fn what_is_listed_already_is_not_looked_at_twice() {
        let places = |namespaces: &[&str]| Places {
            kinds: wanted(&[("v1", "ConfigMap", &[]), ("v1", "Node", &[]), ("x.io/v1beta1", "Thing", &[])])
                .into_keys()
                .collect(),
            namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
            ..Places::default()
        };
        let namespaced =
            |gvk: &Gvk| (gvk.kind != "Thing" || gvk.group == "x.io").then_some(gvk.kind != "Node");
        let listed = wanted(&[("v1", "ConfigMap", &["a"]), ("x.io/v1", "Thing", &[""])]);
        assert_eq!(
            beside(&listed, &places(&["a", "b", ""]), namespaced),
            wanted(&[("v1", "ConfigMap", &["b"]), ("v1", "Node", &[""])]),
            "a kind is the same in all its versions"
        );
        let everywhere = beside(&listed, &places(&["*"]), namespaced);
        assert_eq!(everywhere, wanted(&[("v1", "ConfigMap", &[""]), ("v1", "Node", &[""])]));
        assert_eq!(beside(&listed, &places(&["b"]), |_| None), Wanted::new(), "kinds that are no more");
    }
}
