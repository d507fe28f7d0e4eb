//! A look at a cluster that begins while Git is still rendered. In: where an
//! Application has had objects so far. Out: their lists, for the survey that
//! follows: the API server works meanwhile.

use std::time::{Duration, Instant};

use gitops_cluster::{Cluster, ClusterError, Discovery, Live};
use gitops_core::object::Gvk;
use gitops_core::verdict::Policy;
use tokio::task::JoinHandle;

use crate::desired::Environment;
use crate::load::Loaded;
use crate::memory::Memory;
use crate::places::Wanted;
use crate::survey::policy;

/// What was listed longer ago is listed anew.
const FRESH: Duration = Duration::from_secs(5);

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
        let places = memory.read();
        let wanted: Wanted =
            places.kinds.iter().map(|gvk| (gvk.clone(), places.namespaces.clone())).collect();
        let policy = policy(loaded).ok().filter(|_| !wanted.is_empty())?;
        let (cluster, discovery, kinds) = (cluster.clone(), discovery.clone(), wanted.clone());
        let lists =
            async move { cluster.list_unread(&discovery, &kinds, |gvk| by_manager(&policy, gvk)).await };
        Some(Self { since: Instant::now(), wanted, lists: tokio::spawn(lists) })
    }

    /// Its lists, unless they are old by now, or something remembered may not be
    /// listed: it need not be among what is wanted.
    async fn take(mut self) -> Option<(Wanted, Live)> {
        if self.since.elapsed() > FRESH {
            return None;
        }
        let live = (&mut self.lists).await.ok()?.ok()?;
        Some((std::mem::take(&mut self.wanted), live))
    }
}

/// Whether who holds a kind's fields decides whether they differ.
fn by_manager(policy: &Policy, gvk: &Gvk) -> bool {
    policy.grants.iter().any(|grant| grant.free.manager.is_some() && grant.is_of(&gvk.group, &gvk.kind))
}

/// What is there of what is wanted; only what is not on its way is asked for.
pub(crate) async fn list(
    (cluster, discovery): (&Cluster, &Discovery),
    wanted: &Wanted,
    policy: &Policy,
    ahead: Option<Ahead>,
) -> Result<Live, ClusterError> {
    let taken = match ahead {
        Some(ahead) => ahead.take().await,
        None => None,
    };
    let (listed, mut live) = taken.unwrap_or_default();
    let mut wanted = wanted.clone();
    wanted.retain(|gvk, namespaces| {
        let Some(listed) = listed.get(gvk) else { return true };
        namespaces.retain(|namespace| !listed.contains(namespace));
        !namespaces.is_empty()
    });
    if !wanted.is_empty() {
        live.extend(cluster.list_unread(discovery, &wanted, |gvk| by_manager(policy, gvk)).await?);
    }
    Ok(live)
}
