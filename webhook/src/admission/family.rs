//! What the rules about children ask of the cluster. In: a review and the rule
//! that objects for lack of knowledge. Out: facts, each looked up once and only
//! when a rule asks for it. A GET without a version is consistent: a Pod's
//! review comes before any watch here could know its ReplicaSet.

use std::collections::BTreeSet;

use gitops_cluster::ClusterError;
use gitops_core::children::Surroundings;
use gitops_core::names::API_VERSION;
use gitops_core::verdict::{Facts, Operation};
use serde_json::Value;

use super::validate::Case;
use crate::world::World;

mod lineage;
mod measuring;
mod pods;
mod services;

/// What has been looked up for one review.
#[derive(Debug, Default)]
pub struct Learnt(BTreeSet<&'static str>);

impl Learnt {
    /// Whether this is asked for the first time.
    fn first(&mut self, what: &'static str) -> bool {
        self.0.insert(what)
    }

    /// It is to be asked for once more: something has changed.
    pub fn again(&mut self, what: &'static str) {
        self.0.remove(what);
    }
}

impl Case<'_> {
    /// Looks up what a rule wants to know. False: there is nothing more to
    /// know, so its objection stands.
    pub(super) async fn learn(
        &self,
        world: &World,
        rule: &str,
        facts: &mut Facts,
        learnt: &mut Learnt,
    ) -> bool {
        let by_owner = matches!(
            rule,
            "owners" | "child" | "adoption" | "child-replicas" | "scale-child" | "orphan" | "untracked"
        );
        // What was seen a moment ago may allow; only what is there now refuses.
        if by_owner && learnt.first("lineage") {
            facts.lineage = Some(self.lineage(world, true).await);
            return true;
        }
        if by_owner && learnt.first("lineage now") {
            facts.lineage = Some(self.lineage(world, false).await);
            return true;
        }
        match rule {
            "child" | "adoption" | "toward-git" | "revision-forward"
                if self.is_pod() && learnt.first("surroundings") =>
            {
                facts.surroundings = Some(self.surroundings().await);
            }
            "child" if self.is_measuring() && learnt.first("surroundings") => {
                facts.surroundings =
                    Some(Surroundings { jobs: self.measuring(world), ..Surroundings::default() });
            }
            "untracked" if self.key.kind == "PersistentVolumeClaim" && learnt.first("claim") => {
                facts.claimed = self.is_claimed(world);
            }
            "endpoints" | "untracked" if self.leads() && learnt.first("endpoints") => {
                facts.endpoints = self.endpoints(world, true).await;
            }
            // The API server's cache may not have the newest Pod yet.
            "endpoints" if learnt.first("endpoints now") => {
                facts.endpoints = self.endpoints(world, false).await;
            }
            "rollout-status" if learnt.first("promotion") => {
                let none = &Value::Null;
                let both = (self.before().unwrap_or(none), self.written().unwrap_or(none));
                facts.promotion = self.keeper.promotion(world, self.key, both).await;
            }
            "request" if learnt.first("asked") => facts.asked = self.asked().await,
            "delete-declared" if learnt.first("going") => {
                facts.application_terminating = self.is_application_going(world).await;
                facts.node_lost = self.is_pod() && self.is_node_lost().await;
            }
            _ => return false,
        }
        true
    }

    fn is_pod(&self) -> bool {
        self.key.group.is_empty() && self.key.kind == "Pod"
    }

    fn written(&self) -> Option<&Value> {
        self.request.object.as_ref().filter(|object| !object.is_null())
    }

    fn before(&self) -> Option<&Value> {
        self.request.old_object.as_ref().filter(|object| !object.is_null())
    }

    /// Whether a DELETE leaves behind what the object owns. Jobs and
    /// ReplicationControllers do where nothing is said
    /// (`DefaultGarbageCollectionPolicy` of their strategies).
    pub(super) fn is_orphaning(&self) -> bool {
        if self.operation != Operation::Delete {
            return false;
        }
        let option = |field: &str| self.request.options.as_ref().and_then(|options| options.get(field));
        match (option("propagationPolicy").and_then(Value::as_str), option("orphanDependents")) {
            (Some(policy), _) => policy == "Orphan",
            (None, Some(Value::Bool(orphan))) => *orphan,
            _ => matches!(
                (self.key.group.as_str(), self.key.kind.as_str()),
                ("batch", "Job") | ("", "ReplicationController")
            ),
        }
    }

    async fn one(&self, path: &str) -> Option<Value> {
        self.keeper.cluster.get_json(path).await.ok()
    }

    /// None where they cannot be read: what they would allow is not allowed.
    async fn items(&self, path: String) -> Vec<Value> {
        self.list(&path).await.unwrap_or_default()
    }

    async fn list(&self, path: &str) -> Result<Vec<Value>, ClusterError> {
        let mut list = self.keeper.cluster.get_json(path).await?;
        match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }

    async fn is_application_going(&self, world: &World) -> bool {
        let Some(held) = world.owner(self.key) else { return false };
        let application = &held.loaded.application;
        let path = format!(
            "/apis/{API_VERSION}/namespaces/{}/applications/{}",
            application.namespace, application.name
        );
        let live = self.one(&path).await.unwrap_or_default();
        live.pointer("/metadata/deletionTimestamp").is_some_and(Value::is_string)
    }
}

/// A name that may stand in a path as it is.
fn plain(name: &str) -> Option<&str> {
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    (!name.is_empty() && name.chars().all(ok) && !name.starts_with('.')).then_some(name)
}
