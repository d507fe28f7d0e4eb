//! Where a Rollout is. In: its name, and the cluster that kubectl's flags mean.
//! Out: the Rollout, in that cluster, or in another one to which an Application
//! of it goes.

use std::collections::BTreeSet;

use gitops_api::Application;
use gitops_cluster::Cluster;
use gitops_engine::Loaded;

use crate::elsewhere;
use crate::error::{Failure, code};
use crate::listing;
use crate::place::Place;
use crate::rollouts::{self, Seen};
use crate::settings::Settings;

/// A Rollout, and where it is.
#[derive(Debug)]
pub struct Reached {
    /// Where its Application and the controller are.
    pub home: Cluster,
    /// Where it and its Pods are.
    pub cluster: Cluster,
    pub seen: Seen,
}

/// Finds a Rollout by its name, in the namespace that is meant.
pub async fn reach(settings: &Settings, name: &str) -> Result<Reached, Failure> {
    let home = settings.cluster().await?;
    let namespace = rollouts::namespace(settings, &home);
    let missing = match rollouts::find(&home, &namespace, name).await {
        Ok(seen) => return Ok(Reached { cluster: home.clone(), home, seen }),
        Err(failure) if failure.code == code::REFUSED => failure,
        Err(failure) => return Err(failure),
    };
    let mut found = Vec::new();
    for other in others(&home, &namespace).await {
        let cluster = elsewhere::connect(&home, &other, settings).await?;
        match rollouts::find(&cluster, &namespace, name).await {
            Ok(seen) => found.push((other, cluster, seen)),
            Err(failure) if failure.code == code::REFUSED => {}
            Err(failure) => return Err(failure),
        }
    }
    if found.len() > 1 {
        let names: Vec<&str> = found.iter().map(|(name, ..)| name.as_str()).collect();
        return Err(Failure::usage(format!(
            "Rollout {namespace}/{name} is in several clusters: {}",
            names.join(", ")
        ))
        .hint("say which: --context"));
    }
    let found = found.pop().map(|(_, cluster, seen)| Reached { home, cluster, seen });
    found.ok_or(missing)
}

/// The cluster that an Application of a place goes to.
pub async fn of(place: &Place, loaded: &Loaded) -> Result<Option<Cluster>, Failure> {
    match place.destination() {
        Some(destination) => Ok(Some(destination.of(loaded).await?.cluster.clone())),
        None => Ok(None),
    }
}

/// The clusters to which Applications go whose objects are in this namespace.
/// Who may not list Applications is told of none.
async fn others(home: &Cluster, namespace: &str) -> BTreeSet<String> {
    let all = listing::applications(home, None).await.unwrap_or_default();
    let applications = all.into_iter().filter_map(|item| serde_json::from_value::<Application>(item).ok());
    let goes_there = |application: &Application| {
        let destination = &application.spec.destination;
        let own = application.metadata.namespace.as_deref().unwrap_or_default();
        let within = if destination.namespace.is_empty() { own } else { &destination.namespace };
        !destination.is_here() && within == namespace
    };
    applications.filter(goes_there).map(|application| application.spec.destination.cluster).collect()
}
