//! What the API server asks about. In: everything that is held. Out: the world
//! that answers are made from, and the webhook configurations, put right when
//! somebody else changes them.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use gitops_cluster::ApplyOptions;
use gitops_core::children::KINDS;
use gitops_core::names::FIELD_MANAGER_WEBHOOK;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::verdict::Mode;
use gitops_engine::EngineError;

use super::{BUDGET, Keeper, MINIMUM, Surroundings};
use crate::configurations;
use crate::events;
use crate::tampered::{self, Fault};
use crate::world::{Defined, World, defined};

impl Keeper {
    /// Makes the world anew.
    pub(super) async fn publish(&self) {
        let held = self.held.lock().await;
        let declared = held.values().flat_map(|held| held.part.kinds()).cloned();
        let children = KINDS.iter().map(|(version, kind)| Gvk::new(version, kind));
        let kinds: BTreeSet<Gvk> = declared.chain(children).collect();
        let before = self.world();
        let known = kinds.iter().all(|gvk| before.schemas.has(gvk));
        let schemas = if known { Ok(before.schemas.clone()) } else { self.cluster.schemas(&kinds).await };
        let known = self.surroundings().await.map(|known| (*known.discovery).clone());
        match (schemas.map_err(EngineError::from), known) {
            (Ok(mut schemas), Ok(discovery)) => {
                for Defined { kind, document } in held.values().flat_map(|held| defined(&held.part)) {
                    if !schemas.has(&kind.gvk)
                        && let Err(error) = schemas.add_document(&document, std::slice::from_ref(&kind.gvk))
                    {
                        tracing::warn!(kind = %kind.gvk, %error, "its definition in Git has no types");
                    }
                }
                self.world.store(Arc::new(World::new(&held, schemas, discovery)));
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "the types of the declared kinds are not known; the index stays as it was")
            }
        }
        drop(held);
        self.configure().await;
    }

    /// Writes the configurations, if something about them has changed and this
    /// program answers.
    pub(super) async fn configure(&self) {
        let ca_bundle = self.ca_bundle.borrow().clone();
        if ca_bundle.is_empty() || !self.is_ready() {
            return;
        }
        let world = self.world();
        let mut scope = world.scope();
        // What is not known here yet is asked about all the same.
        for unseen in self.waiting.lock().unwrap_or_else(PoisonError::into_inner).values() {
            if unseen.policy.mode != Mode::Off {
                scope.kinds.extend(unseen.kinds.iter().cloned());
                scope.namespaces.insert(unseen.namespace.clone());
                scope.beside.widen(&unseen.policy);
            }
        }
        // Asked anew every so often: new kinds are new ways to make what nobody
        // declares.
        let Ok(Surroundings { discovery, .. }) = self.surroundings().await else { return };
        let built = configurations::build(&self.settings, &ca_bundle, &discovery, &scope);
        let mut configured = self.configured.lock().await;
        if configured.as_ref() == Some(&built) {
            return;
        }
        match configurations::apply(&self.cluster, &discovery, &built).await {
            Ok(()) => {
                tracing::info!(kinds = scope.kinds.len(), namespaces = scope.namespaces.len(), "configured");
                *configured = Some(built);
            }
            Err(error) => {
                tracing::warn!(%error, "the webhook configurations could not be written; trying again")
            }
        }
    }

    /// Asks the cluster anew for kinds and their types: one that was defined a
    /// moment ago may be served by now.
    pub async fn learn(&self) {
        let due = {
            let mut kept = self.surroundings.lock().await;
            let due = kept.as_ref().is_none_or(|(since, _)| since.elapsed() >= MINIMUM);
            if due {
                kept.take();
            }
            due
        };
        if due && tokio::time::timeout(BUDGET, self.publish()).await.is_err() {
            tracing::warn!("the cluster's kinds could not be asked for in time");
        }
    }

    /// Puts a configuration right that somebody else has changed. Where it may
    /// have been another replica, true: then look `again` after a while.
    pub async fn put_right(&self, kind: &str, again: bool) -> bool {
        let mut configured = self.configured.lock().await;
        let written = configured.as_ref().and_then(|all| all.iter().find(|one| one["kind"] == kind).cloned());
        let Some(written) = written else { return false };
        let Ok(discovery) = self.cluster.discovery().await else { return true };
        let (Ok(gvk), Ok(key)) = (Gvk::of(&written), ObjectKey::of(&written)) else { return false };
        let Some(resource) = discovery.kind(&gvk) else { return true };
        let live = match self.cluster.get(resource, &key).await {
            Ok(live) => live,
            Err(error) => {
                tracing::warn!(%error, "whether a webhook configuration was changed is not known; asking again");
                return true;
            }
        };
        let fault = live.as_ref().map_or(Some(Fault::Shape), |live| tampered::fault(&written, live));
        match fault {
            None => return false,
            Some(Fault::Scope) if !again => return true,
            Some(Fault::Scope) => {}
            Some(Fault::Shape) => {
                tracing::error!(%key, "somebody else has changed what the API server asks this program; it is put right");
                let note = format!("somebody else has changed {key}; it is put right");
                self.events.warn(events::object(Some(&gvk), &key), None, ("Tampered", "PutRight"), &note);
            }
        }
        let patch = live.map(|live| tampered::leftovers(&written, &live)).filter(|patch| patch.len() > 1);
        if let Some(patch) = patch {
            let options = ApplyOptions { field_manager: FIELD_MANAGER_WEBHOOK, ..ApplyOptions::default() };
            if let Err(error) = self.cluster.patch(resource, &key, &patch.into(), &options).await {
                tracing::warn!(%error, "a webhook configuration could not be put right; trying again");
                return true;
            }
        }
        *configured = None;
        drop(configured);
        self.configure().await;
        false
    }
}
