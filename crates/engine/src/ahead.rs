//! A look at a cluster that begins while Git is still rendered. In: where an
//! Application has had objects so far. Out: their lists, for the survey that
//! follows: the API server works meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use gitops_cluster::{Cluster, ClusterError, Discovery, Live, NAMESPACES};
use gitops_core::object::Gvk;
use gitops_core::verdict::Policy;
use tokio::task::JoinHandle;

use crate::desired::Environment;
use crate::load::Loaded;
use crate::memory::{Memory, Places};
use crate::survey::policy;

/// What was listed longer ago is listed anew.
const FRESH: Duration = Duration::from_secs(5);

/// Kinds, and the namespaces to look for them in.
pub(crate) type Wanted = BTreeMap<Gvk, BTreeSet<String>>;

/// Lists on their way.
#[derive(Debug)]
pub struct Ahead {
    since: Instant,
    wanted: Wanted,
    lists: JoinHandle<Result<Live, ClusterError>>,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.lists.abort();
    }
}

impl Ahead {
    /// Begins to list what is remembered of an Application; none where nothing is.
    pub fn begin(
        cluster: &Cluster,
        discovery: &Discovery,
        loaded: &Loaded,
        environment: &Environment,
    ) -> Option<Self> {
        let memory = Memory::of(&environment.cache_dir, &cluster.remembered_as(), &loaded.application);
        let wanted = remembered(&memory.read(), discovery);
        let policy = policy(loaded).ok().filter(|_| !wanted.is_empty())?;
        let (cluster, discovery, kinds) = (cluster.clone(), discovery.clone(), wanted.clone());
        let lists =
            async move { cluster.list_unread(&discovery, &kinds, |gvk| by_manager(&policy, gvk)).await };
        Some(Self { since: Instant::now(), wanted, lists: tokio::spawn(lists) })
    }

    /// Its lists, unless they are old by now, or something of them may not be listed:
    /// not all that is remembered is declared.
    async fn take(mut self) -> Option<(Wanted, Live)> {
        if self.since.elapsed() > FRESH {
            return None;
        }
        let Ok(Ok(live)) = (&mut self.lists).await else { return None };
        Some((std::mem::take(&mut self.wanted), live))
    }
}

/// Where what is remembered was.
fn remembered(places: &Places, discovery: &Discovery) -> Wanted {
    let of = |gvk: &Gvk| {
        let namespaced = discovery.kind(gvk)?.namespaced;
        let namespaces = places.namespaces.iter().filter(|name| name.is_empty() != namespaced);
        Some((gvk.clone(), namespaces.cloned().collect()))
    };
    places.kinds.iter().filter_map(of).collect()
}

/// Whether who holds a kind's fields decides whether they differ.
pub(crate) fn by_manager(policy: &Policy, gvk: &Gvk) -> bool {
    policy.grants.iter().any(|grant| grant.free.manager.is_some() && grant.is_of(&gvk.group, &gvk.kind))
}

/// What is there of what is wanted; only what is not on its way is asked for. And
/// where has been looked: with no name among the namespaces, everywhere.
pub(crate) async fn list(
    (cluster, discovery): (&Cluster, &Discovery),
    mut wanted: Wanted,
    policy: &Policy,
    ahead: Option<Ahead>,
) -> Result<(Live, Wanted), ClusterError> {
    let taken = match ahead {
        Some(ahead) => ahead.take().await,
        None => None,
    };
    let (mut listed, mut live) = taken.unwrap_or_default();
    wanted.retain(|gvk, namespaces| {
        let Some(listed) = listed.get(gvk) else { return true };
        namespaces.retain(|namespace| !listed.contains(namespace));
        !namespaces.is_empty()
    });
    mark_whole(&mut listed);
    if !wanted.is_empty() {
        live.extend(cluster.list_unread(discovery, &wanted, |gvk| by_manager(policy, gvk)).await?);
    }
    mark_whole(&mut wanted);
    for (gvk, namespaces) in wanted {
        listed.entry(gvk).or_default().extend(namespaces);
    }
    Ok((live, listed))
}

/// More namespaces than a few are listed at once, with all others.
fn mark_whole(listed: &mut Wanted) {
    for namespaces in listed.values_mut().filter(|namespaces| namespaces.len() > NAMESPACES) {
        namespaces.insert(String::new());
    }
}
