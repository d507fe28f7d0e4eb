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
use gitops_cluster::{Cluster, ClusterError, Discovery, Form, Live};
use gitops_core::object::Gvk;

use crate::ahead::Wanted;

/// What was listed longer ago is listed anew.
const FRESH: Duration = Duration::from_millis(500);

type Listing = Shared<BoxFuture<'static, Result<Arc<Live>, ClusterError>>>;
/// A kind, and the namespaces to look for it in.
type Place = (Gvk, BTreeSet<String>);

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
        let places = wanted.iter().map(|(gvk, namespaces)| (gvk.clone(), namespaces.clone()));
        let listings: Vec<Listing> = places.map(|place| self.of(cluster, discovery, place)).collect();
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
            let (cluster, discovery) = (cluster.clone(), discovery.clone());
            let wanted = BTreeMap::from([place.clone()]);
            let list =
                async move { cluster.list_unread(&discovery, &wanted, |_| Form::Plain).await.map(Arc::new) };
            (Instant::now(), list.boxed().shared())
        };
        lists.entry(place.clone()).or_insert_with(list).1.clone()
    }
}
