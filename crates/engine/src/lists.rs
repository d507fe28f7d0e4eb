//! Lists that many Applications share, which are looked at for the first time one
//! after the other: with a thousand in one namespace, each would list what all
//! others have there. In: kinds and namespaces. Out: what is there, as of half a
//! second ago at most, as far behind as the API server's own cache may be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use gitops_cluster::{Cluster, ClusterError, Discovery, Form, Live, NAMESPACES};
use gitops_core::object::Gvk;

use crate::ahead::Wanted;

/// What was listed longer ago is listed anew.
const FRESH: Duration = Duration::from_millis(500);

type Listing = Shared<BoxFuture<'static, Result<Arc<Live>, ClusterError>>>;
/// A kind and a namespace; empty: everywhere.
type Place = (Gvk, String);

/// Lists of one cluster.
#[derive(Default)]
pub struct Lists(Mutex<HashMap<Place, (Instant, Listing)>>);

impl fmt::Debug for Lists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lists")
    }
}

impl Lists {
    /// What is there of these kinds.
    ///
    /// # Errors
    /// As of [`Cluster::list`].
    pub(crate) async fn list(
        &self,
        cluster: &Cluster,
        discovery: &Discovery,
        wanted: &Wanted,
    ) -> Result<Live, ClusterError> {
        let listings = places(discovery, wanted).into_iter().map(|place| self.of(cluster, discovery, place));
        let listings: Vec<Listing> = listings.collect();
        let mut live = Live::default();
        for listed in futures::future::try_join_all(listings).await? {
            live.extend((*listed).clone());
        }
        Ok(live)
    }

    /// A list that is on its way, or there for a moment only.
    fn of(&self, cluster: &Cluster, discovery: &Discovery, place: Place) -> Listing {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lists.retain(|_, (since, _)| since.elapsed() < FRESH);
        let list = || {
            let (cluster, discovery, (gvk, namespace)) = (cluster.clone(), discovery.clone(), place.clone());
            let list = async move {
                let wanted = BTreeMap::from([(gvk, BTreeSet::from([namespace]))]);
                cluster.list_unread(&discovery, &wanted, |_| Form::Plain).await.map(Arc::new)
            };
            (Instant::now(), list.boxed().shared())
        };
        lists.entry(place.clone()).or_insert_with(list).1.clone()
    }
}

/// Where is listed: many namespaces at once.
fn places(discovery: &Discovery, wanted: &Wanted) -> Vec<Place> {
    let mut places = Vec::new();
    for (gvk, namespaces) in wanted {
        let is_narrow = discovery.kind(gvk).is_some_and(|kind| kind.namespaced);
        if is_narrow && namespaces.len() <= NAMESPACES {
            places.extend(namespaces.iter().map(|namespace| (gvk.clone(), namespace.clone())));
        } else {
            places.push((gvk.clone(), String::new()));
        }
    }
    places
}
