//! The gate. In: what Git declares at the newest commit, and the Rollouts as the
//! cluster has them. Out: each Rollout with its state, and the objects that are
//! to be instead of those of the newest commit.
//!
//! A status says which version is promoted, never what it holds: that comes from
//! the commit that it names, which has to lie on the branch, be signed as the
//! Project asks, and hold the version of that hash.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt};
use gitops_api::Request;
use gitops_api::rollout::{RolloutSpec, RolloutStatus};
use gitops_cluster::{Cluster, Discovery};
use gitops_core::desired::{DesiredObject, DesiredSet};
use gitops_core::names::{ANNOTATION_REQUEST, GROUP};
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::rollout::desired::{Declares, Objects, concerned, overlay, version};
use gitops_core::rollout::spec::Spec;
use gitops_core::rollout::state::{Phase, State, Version};
use gitops_source::SourceError;
use serde::Deserialize;
use serde_json::Value;

use super::commits::Commits;
use super::running;
use super::status::status_of;
use crate::desired::{Environment, blocking, desired};
use crate::error::EngineError;
use crate::load::Loaded;
use crate::revisions;
use crate::trust::signed;

/// So many Rollouts are asked for one by one.
const FEW: usize = 8;
/// Targets that are looked at side by side.
const PARALLEL: usize = 16;

/// A Rollout that Git declares, as it stands.
#[derive(Clone, Debug)]
pub struct Rolling {
    pub key: ObjectKey,
    pub resource: RolloutSpec,
    /// Without its analysis.
    pub spec: Spec,
    /// As the cluster has it.
    pub live: Option<Value>,
    /// As its status says; where that says nothing, as the target runs.
    pub state: State,
    /// The version that Git says; none: the target is not declared.
    pub tip: Option<Version>,
    /// The target as the versions have it, by hash: the newest, and those that
    /// the state names.
    pub versions: BTreeMap<String, DesiredObject>,
    /// The promoted version, where the status does not say it and Git has to be
    /// searched for it.
    pub running: Option<Version>,
}

/// Where Rollouts are worked in.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    pub cluster: &'a Cluster,
    pub discovery: &'a Discovery,
    pub loaded: &'a Loaded,
    pub environment: &'a Environment,
}

/// The Rollouts that a commit declares.
pub fn resources<'a>(objects: impl Iterator<Item = (&'a ObjectKey, &'a Gvk)>) -> Vec<ObjectKey> {
    let rollouts = objects.filter(|(key, _)| key.group == GROUP && key.kind == "Rollout");
    let mut keys: Vec<ObjectKey> = rollouts.map(|(key, _)| key.clone()).collect();
    keys.sort();
    keys
}

/// A Rollout's spec as a commit declares it.
///
/// # Errors
/// When something in it cannot be read.
pub fn declared(commit: &dyn Declares, key: &ObjectKey) -> Result<Option<(RolloutSpec, Spec)>, EngineError> {
    let Some(object) = commit.declared(key) else { return Ok(None) };
    let wrong = |reason: String| EngineError::Rollout { rollout: key.clone(), reason };
    let place = |reason: String| wrong(format!("{}: {reason}", object.origin));
    let spec = object.value.get("spec").unwrap_or(&Value::Null);
    let resource: RolloutSpec = serde_path_to_error::deserialize(spec)
        .map_err(|error| place(format!("spec.{}: {}", error.path(), error.inner())))?;
    let outline = resource.outline(&key.namespace).map_err(|error| place(error.to_string()))?;
    Ok(Some((resource, outline)))
}

/// The state that a Rollout's status holds.
fn state_of(live: Option<&Value>) -> Result<Option<State>, serde_json::Error> {
    let Some(status) = live.and_then(|live| live.get("status")) else { return Ok(None) };
    RolloutStatus::deserialize(status)?.state()
}

impl Ground<'_> {
    /// The Rollouts of a commit, as they stand. `keys` are sorted, as
    /// [`resources`] gives them.
    ///
    /// # Errors
    /// When one cannot be read, or what its status names cannot be found in Git:
    /// whoever asked keeps to what was last known.
    pub async fn rollouts(
        &self,
        tip: &(dyn Declares + Sync),
        keys: &[ObjectKey],
        revision: &str,
    ) -> Result<Vec<Rolling>, EngineError> {
        let live = self.live(keys).await?;
        let mut rollouts = Vec::new();
        for key in keys {
            let Some((resource, spec)) = declared(tip, key)? else { continue };
            let live = live.get(key).cloned();
            let wrong = |reason: String| EngineError::Rollout { rollout: key.clone(), reason };
            let known =
                state_of(live.as_ref()).map_err(|error| wrong(format!("its status is no state: {error}")))?;
            let target = tip.declared(&spec.target);
            let tip = target.as_ref().and_then(|target| {
                Some(Version { revision: revision.to_owned(), hash: version(&spec, &target.value)? })
            });
            let mut rolling = Rolling {
                key: key.clone(),
                resource,
                spec,
                live,
                state: State::default(),
                versions: tip.iter().zip(&target).map(|(tip, at)| (tip.hash.clone(), at.clone())).collect(),
                tip,
                running: None,
            };
            rolling.state = known.unwrap_or_default();
            rollouts.push(rolling);
        }
        self.find_running(&mut rollouts).await?;
        Ok(rollouts)
    }

    /// A state that does not say what is promoted would hold nothing back: then
    /// what runs counts.
    async fn find_running(&self, rollouts: &mut [Rolling]) -> Result<(), EngineError> {
        let commits = Commits::default();
        let unknown = rollouts.iter_mut().filter(|rolling| rolling.state.stable.is_none());
        // Made before they are awaited: a closure in between would not be `Send`.
        let looks: Vec<_> = unknown.map(|rolling| self.find_one(rolling, &commits)).collect();
        let looks = futures::stream::iter(looks).buffer_unordered(PARALLEL);
        looks.try_collect::<Vec<()>>().await.map(drop)
    }

    async fn find_one(&self, rolling: &mut Rolling, commits: &Commits) -> Result<(), EngineError> {
        rolling.running = running::version(self, rolling, commits).await?;
        rolling.state.stable.clone_from(&rolling.running);
        Ok(())
    }

    /// The Rollouts as the cluster has them now; where there are many, by one LIST
    /// a namespace. What a cache has, a moment behind, would be decided once more,
    /// and what follows from the newest state would be refused.
    async fn live(&self, keys: &[ObjectKey]) -> Result<BTreeMap<ObjectKey, Value>, EngineError> {
        let Some(kind) = self.discovery.preferred(GROUP, "Rollout") else { return Ok(BTreeMap::new()) };
        if keys.len() <= FEW {
            let live = keys.iter().map(|key| self.cluster.get(kind, key)).collect::<Vec<_>>();
            let live = futures::future::try_join_all(live).await?;
            let there = keys.iter().cloned().zip(live);
            return Ok(there.filter_map(|(key, live)| Some((key, live?))).collect());
        }
        let namespaces: BTreeSet<String> = keys.iter().map(|key| key.namespace.clone()).collect();
        let wanted = BTreeMap::from([(kind.gvk.clone(), namespaces)]);
        let live = self.cluster.list_now(self.discovery, &wanted).await?;
        // They are sorted.
        Ok(live.into_iter().filter(|(key, _)| keys.binary_search(key).is_ok()).collect())
    }

    /// What is to be instead of what the newest commit says, or beside it. The
    /// targets of the versions are noted in the Rollouts.
    ///
    /// # Errors
    /// As of [`Self::rollouts`].
    pub async fn overlay(
        &self,
        tip: &(dyn Declares + Sync),
        rollouts: &mut [Rolling],
        revision: &str,
    ) -> Result<Objects, EngineError> {
        let mut commits: BTreeMap<String, DesiredSet> = BTreeMap::new();
        let mut all = Objects::new();
        for rolling in rollouts {
            for version in rolling.others() {
                if !commits.contains_key(&version.revision) {
                    let set = self.at(&version.revision, revision).await?;
                    commits.insert(version.revision.clone(), set);
                }
                if let Some(object) = commits[&version.revision].declared(&rolling.spec.target) {
                    rolling.versions.insert(version.hash.clone(), object);
                }
            }
            let objects = overlay(&rolling.spec, &rolling.state, tip, &|revision| {
                commits.get(revision).map(|set| concerned(&rolling.spec, set))
            });
            all.extend(objects.map_err(|error| EngineError::Rollout {
                rollout: rolling.key.clone(),
                reason: error.to_string(),
            })?);
        }
        Ok(all)
    }

    /// What a commit declares that comes before the newest one.
    ///
    /// # Errors
    /// When it does not, or is not signed as the Project asks.
    pub async fn at(&self, revision: &str, tip: &str) -> Result<DesiredSet, EngineError> {
        if !self.is_before(revision, tip).await? {
            return Err(EngineError::NotOnBranch { revision: revision.to_owned(), tip: tip.to_owned() });
        }
        signed(self.loaded, self.environment, revision).await?;
        desired(self.loaded, self.environment, revision, self.discovery).await
    }

    /// The commits that changed the source, from one on backwards, at most
    /// `count`; none where there are several sources.
    pub(super) async fn passed(&self, from: &str, count: usize) -> Result<Vec<String>, EngineError> {
        let [place] = self.loaded.sources.as_slice() else { return Ok(Vec::new()) };
        let (environment, place, from) = (self.environment.clone(), place.clone(), from.to_owned());
        blocking(move || {
            let found = environment.deeply(&place, |git| match git.is_shallow(&place.repo) {
                true => Err(SourceError::Shallow { repo: place.repo.to_string() }),
                false => git.passed(&place.repo, &from, &place.source.path, count),
            });
            Ok(found.unwrap_or_default())
        })
        .await
    }

    /// Whether a commit comes before another one, or is it.
    ///
    /// # Errors
    /// When Git cannot be read.
    pub async fn is_before(&self, revision: &str, tip: &str) -> Result<bool, EngineError> {
        let (environment, loaded) = (self.environment.clone(), self.loaded.clone());
        let (revision, tip) = (revision.to_owned(), tip.to_owned());
        // What is not here comes before nothing.
        let is_before = move || revisions::is_before(&loaded, &environment, &revision, &tip).unwrap_or(false);
        blocking(move || Ok(is_before())).await
    }
}

impl Rolling {
    /// The versions that the state names and that Git no longer says.
    fn others(&self) -> Vec<Version> {
        let named = [&self.state.stable, &self.state.new];
        let tip = self.tip.as_ref().map(|tip| tip.hash.as_str());
        let others = named.into_iter().flatten().filter(|version| Some(version.hash.as_str()) != tip);
        others.filter(|_| tip.is_some()).cloned().collect()
    }

    /// Whether Git says a version that is not promoted.
    pub fn is_behind(&self) -> bool {
        let stable = self.state.stable.as_ref().map(|stable| &stable.hash);
        self.tip.as_ref().is_some_and(|tip| stable.is_some_and(|stable| *stable != tip.hash))
    }

    /// Whether Git says a version that could begin now.
    pub fn is_waiting(&self) -> bool {
        let refused = self.tip.as_ref().is_some_and(|tip| self.state.refused.as_ref() == Some(&tip.hash));
        !self.state.is_under_way() && self.is_behind() && !refused
    }

    /// Whether it is there, and its status says nothing yet.
    pub fn is_new(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.pointer("/status/state").is_none())
    }

    /// Whether its status says that it cannot go on.
    fn is_stalled(&self) -> bool {
        self.live.as_ref().is_some_and(|live| status_of(live).is_stalled())
    }

    /// Whether there is nothing to decide.
    pub fn is_quiet(&self) -> bool {
        self.live.is_some()
            && !self.is_new()
            && self.state.phase == Phase::Idle
            && !self.is_behind()
            && self
                .requested()
                .is_none_or(|id| self.state.record.as_ref().is_some_and(|record| record.id == id))
            && !self.is_stalled()
    }

    /// The id of the request that it carries.
    fn requested(&self) -> Option<String> {
        let annotations = self.live.as_ref()?.get("metadata")?.get("annotations")?;
        Some(Request::parse(annotations.get(ANNOTATION_REQUEST)?.as_str()?).ok()?.id)
    }
}
