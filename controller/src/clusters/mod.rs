//! The clusters that Applications go to. In: Secrets that describe them. Out:
//! for each a client, what it knows, and whether it answers. A cluster that is
//! dead, slow or takes no credentials costs the others nothing: each has its
//! own connections, its own workers, and somebody who asks whether it is back.

mod events;
mod leaving;
mod member;
mod mirror;
mod probe;
mod registry;
mod secrets;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use gitops_api::Application;
use gitops_cluster::Cluster;
use gitops_core::desired::AppRef;
use gitops_core::names::IN_CLUSTER;

pub use leaving::{leave, release};
pub use member::{Member, Surroundings};
pub use mirror::{Far, is_mirror};
pub use registry::run;

use crate::error::Error;

/// Between two looks at whether a cluster is still there.
const LOOK: Duration = Duration::from_secs(1);
/// What is under way in one that is not gets so long to end by itself.
const GRACE: Duration = Duration::from_secs(3);

/// All clusters that are known.
#[derive(Debug)]
pub struct Clusters {
    /// The one that this program is in.
    here: Arc<Member>,
    far: Mutex<Known>,
    /// uid of this cluster's namespace kube-system: what tells this hub from one
    /// that was there before it.
    uid: OnceLock<String>,
}

#[derive(Debug, Default)]
struct Known {
    /// By name; why one cannot be used; none: it is about to be connected.
    members: BTreeMap<String, Option<Result<Arc<Member>, String>>>,
    /// Whether all Secrets have been read, and what stood in the way.
    read: Option<Result<(), String>>,
}

impl Clusters {
    /// With the cluster itself.
    pub fn new(here: Cluster) -> Self {
        let here = Arc::new(Member::here(here));
        Self { here, far: Mutex::default(), uid: OnceLock::new() }
    }

    fn far(&self) -> MutexGuard<'_, Known> {
        self.far.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cluster that an Application goes to; none: that is not known yet, and
    /// the Application is woken when it is.
    ///
    /// # Errors
    /// When there is none of that name, it does not answer, or it is not for this
    /// Application.
    pub fn of(&self, application: &Application) -> Result<Option<Arc<Member>>, Error> {
        if application.is_here() {
            return Ok(Some(self.here.clone()));
        }
        let name = &application.spec.destination.cluster;
        let away = |reason, message: String| Error::Destination { cluster: name.clone(), reason, message };
        let known = self.far();
        let member = match (known.members.get(name), &known.read) {
            (Some(Some(Ok(member))), _) => member.clone(),
            (Some(Some(Err(why))), _) => return Err(away("ClusterUnknown", why.clone())),
            (Some(None), _) | (None, None) => return Ok(None),
            (None, Some(Ok(()))) => {
                let why = "it is not registered here: kubectl gitops cluster add";
                return Err(away("ClusterUnknown", why.into()));
            }
            (None, Some(Err(why))) => {
                let why = format!("the Secrets that describe clusters cannot be read: {why}");
                return Err(away("ClusterUnknown", why));
            }
        };
        drop(known);
        member.takes(application).map_err(|why| away("NotAdmitted", why))?;
        member.is_there()
    }

    /// An Application has nothing in any cluster but this one.
    pub fn unwatch(&self, name: &AppRef, but: Option<&Arc<Member>>) {
        let far: Vec<Arc<Member>> = self
            .far()
            .members
            .values()
            .flatten()
            .filter_map(|member| member.as_ref().ok().cloned())
            .collect();
        for member in far.iter().chain([&self.here]) {
            if but.is_none_or(|but| !Arc::ptr_eq(but, member)) {
                member.drift.forget(name);
            }
        }
    }

    /// Waits until the cluster an Application goes to has not answered for a
    /// while; why not. Whatever is under way there by then may hang for long.
    pub async fn away(&self, application: &Application) -> Error {
        if application.is_here() {
            return std::future::pending().await;
        }
        let mut since = None;
        loop {
            tokio::time::sleep(LOOK).await;
            match self.of(application) {
                Err(error) if since.get_or_insert_with(Instant::now).elapsed() > GRACE => return error,
                Err(_) => {}
                Ok(_) => since = None,
            }
        }
    }

    /// uid of this cluster, once it is known.
    pub fn uid(&self) -> Option<&str> {
        self.uid.get().map(String::as_str)
    }
}

/// The name of the cluster an Application goes to.
pub fn name_of(application: &Application) -> &str {
    if application.is_here() { IN_CLUSTER } else { &application.spec.destination.cluster }
}
