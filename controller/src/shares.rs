//! Which Applications are this replica's. In: the Leases by which replicas show
//! that they live. Out: one replica for each Application, chosen by rendezvous
//! hashing (Thaler and Ravishankar, 1996), so that one that is lost leaves the
//! others' shares as they are. It divides the work alone: that no Application is
//! synced twice at once is its own Lease's doing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gitops_cluster::{ApplyOptions, Cluster, ClusterError, ErrorKind, Kind};
use gitops_core::names::FIELD_MANAGER;
use gitops_core::object::{Gvk, ObjectKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::controller::Controller;

/// How the Leases are called; the replica's name follows.
const PREFIX: &str = "gitops-controller-";
/// A replica that has not renewed its Lease for so long is lost.
const DURATION: Duration = Duration::from_secs(10);
/// How often the Lease is renewed, and the others' are read.
const RENEW: Duration = Duration::from_secs(2);

/// Who shares Applications with this replica.
#[derive(Debug)]
pub struct Shares {
    /// None: all of them are this replica's.
    place: Option<Place>,
    members: Mutex<BTreeSet<String>>,
}

#[derive(Debug)]
struct Place {
    namespace: String,
    replica: String,
}

impl Shares {
    /// Of the replicas whose Leases are in `namespace`.
    pub fn among(namespace: &str, replica: &str) -> Self {
        let place = Place { namespace: namespace.to_owned(), replica: replica.to_owned() };
        Self { place: Some(place), members: Mutex::default() }
    }

    /// Everything is this replica's, and it speaks for no other.
    pub fn alone() -> Self {
        Self { place: None, members: Mutex::default() }
    }

    fn members(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the Application of this uid is this replica's; nothing is until
    /// its first Lease is written.
    pub fn is_ours(&self, uid: &str) -> bool {
        let Some(place) = &self.place else { return true };
        owner(&self.members(), uid) == Some(place.replica.as_str())
    }
}

/// The replica of an Application.
fn owner<'a>(members: &'a BTreeSet<String>, uid: &str) -> Option<&'a str> {
    let weight =
        |member: &&String| Sha256::new().chain_update(member).chain_update([0]).chain_update(uid).finalize();
    members.iter().max_by_key(weight).map(String::as_str)
}

/// When each Lease was seen to be renewed, by this computer's own clock.
#[derive(Debug, Default)]
struct Seen(BTreeMap<String, (String, Instant)>);

impl Seen {
    /// The replicas that live.
    fn living(&mut self, leases: &Value, now: Instant) -> BTreeSet<String> {
        let items = leases.get("items").and_then(Value::as_array).into_iter().flatten();
        let mut there = BTreeMap::new();
        for lease in items {
            let text = |pointer: &str| lease.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let (holder, renewed) = (text("/spec/holderIdentity"), text("/spec/renewTime"));
            if !text("/metadata/name").starts_with(PREFIX) || holder.is_empty() {
                continue;
            }
            let before = self.0.get(holder).filter(|(before, _)| before == renewed);
            let since = before.map_or(now, |(_, since)| *since);
            there.insert(holder.to_owned(), (renewed.to_owned(), since));
        }
        self.0 = there;
        let lives = |since: &Instant| now.saturating_duration_since(*since) < DURATION;
        self.0.iter().filter(|(_, (_, since))| lives(since)).map(|(holder, _)| holder.clone()).collect()
    }
}

/// Shows that this replica lives, and takes over what falls to it, until the
/// program ends.
pub async fn run(controller: Arc<Controller>) {
    let Some(place) = &controller.shares.place else { return std::future::pending().await };
    let (mut seen, mut renewed) = (Seen::default(), Instant::now());
    loop {
        let looked = async {
            place.renew(&controller.cluster, &place.replica).await?;
            place.all(&controller.cluster).await
        };
        match tokio::time::timeout(DURATION / 2, looked).await {
            Ok(Ok(leases)) => {
                renewed = Instant::now();
                become_of(&controller, seen.living(&leases, renewed));
            }
            // Without Leases nobody can be told apart: better twice than never.
            Ok(Err(error)) if error.kind() == ErrorKind::Forbidden => {
                tracing::warn!(%error, "Applications are not shared with other replicas");
                become_of(&controller, BTreeSet::from([place.replica.clone()]));
            }
            Ok(Err(error)) => tracing::warn!(%error, "the Lease of this replica could not be renewed"),
            Err(_) => tracing::warn!("the Lease of this replica could not be renewed in time"),
        }
        if renewed.elapsed() > DURATION {
            // Others take this replica for lost.
            become_of(&controller, BTreeSet::new());
        }
        tokio::time::sleep(RENEW).await;
    }
}

/// Every Application is looked at again when the members change.
fn become_of(controller: &Controller, members: BTreeSet<String>) {
    let changed = {
        let mut known = controller.shares.members();
        let changed = *known != members;
        known.clone_from(&members);
        changed
    };
    if changed {
        tracing::info!(replicas = ?members, "Applications are shared");
        controller.look_at_all();
    }
}

/// Gives this replica's Lease back, so that others need not wait for it to run
/// out.
pub async fn leave(controller: &Controller) {
    let Some(place) = &controller.shares.place else { return };
    match tokio::time::timeout(DURATION / 2, place.renew(&controller.cluster, "")).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the Lease of this replica runs out"),
        Err(_) => tracing::warn!("the Lease of this replica could not be given back in time; it runs out"),
    }
}

impl Place {
    async fn renew(&self, cluster: &Cluster, holder: &str) -> Result<(), ClusterError> {
        let gvk = Gvk::new("coordination.k8s.io/v1", "Lease");
        let key = ObjectKey {
            group: gvk.group.clone(),
            kind: gvk.kind.clone(),
            namespace: self.namespace.clone(),
            name: format!("{PREFIX}{}", self.replica),
        };
        let kind = Kind::known(gvk, "leases", true);
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": key.name, "namespace": key.namespace},
            "spec": {
                "holderIdentity": holder, "leaseDurationSeconds": DURATION.as_secs(),
                "renewTime": format!("{:.6}", jiff::Timestamp::now()),
            },
        });
        let options = ApplyOptions { field_manager: FIELD_MANAGER, force: true, ..ApplyOptions::default() };
        cluster.apply(&kind, &key, &lease, &options).await.map(drop)
    }

    async fn all(&self, cluster: &Cluster) -> Result<Value, ClusterError> {
        cluster.get_json(&format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.namespace)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_lost_replicas_share_alone_moves() {
        let (three, two) = (members(&["a", "b", "c"]), members(&["a", "b"]));
        let mut counts = BTreeMap::<_, usize>::new();
        for uid in (0..3000).map(|number| format!("uid-{number}")) {
            let before = owner(&three, &uid).map(str::to_owned);
            *counts.entry(before.clone()).or_default() += 1;
            let after = owner(&two, &uid).map(str::to_owned);
            assert!(before.as_deref() == Some("c") || before == after, "{uid}: {before:?}, {after:?}");
        }
        assert!(counts.values().all(|count| (800..1200).contains(count)), "{counts:?}");
        assert_eq!(owner(&members(&[]), "uid"), None);
    }

    #[test]
    fn a_lease_that_is_not_renewed_or_given_back_is_nobodys() {
        let lease = |holder: &str, renewed: &str| json!({"metadata": {"name": format!("{PREFIX}x")}, "spec": {"holderIdentity": holder, "renewTime": renewed}});
        let other = json!({"metadata": {"name": "gitops-sync-web"}, "spec": {"holderIdentity": "z", "renewTime": "1"}});
        let (mut seen, start) = (Seen::default(), Instant::now());
        let leases = |a: &str| json!({"items": [lease("a", a), lease("b", "1"), lease("", "1"), other]});
        assert_eq!(seen.living(&leases("1"), start), members(&["a", "b"]));
        let later = start + DURATION;
        assert_eq!(seen.living(&leases("2"), later), members(&["a"]), "b is lost");
    }
}
