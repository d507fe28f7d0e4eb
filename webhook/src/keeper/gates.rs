//! Rollouts at the webhook. In: what an Application declares, and its Rollouts'
//! statuses, watched. Out: the part with those worked in, anew whenever a status
//! changes; and what a status may say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use gitops_core::desired::AppRef;
use gitops_core::index::Part;
use gitops_core::names::{GROUP, VERSION};
use gitops_core::object::ObjectKey;
use gitops_core::rollout::desired::{Declares, changes, version};
use gitops_core::rollout::program::next;
use gitops_core::rollout::spec::Spec;
use gitops_core::rollout::state::State;
use gitops_core::verdict::{Promotion, revision_of};
use gitops_engine::rollout::{Ground, Rolling, resources};
use gitops_engine::{EngineError, Loaded};
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;

use super::{Keeper, Surroundings};
use crate::world::{Gate, Gates, Held, World};

/// A denial waits this long for the newest status: the API server waits 3 s in
/// all.
const BUDGET: Duration = Duration::from_millis(800);
/// Rollouts that are followed at once.
const PARALLEL: usize = 16;

impl Keeper {
    /// What an Application declares with its Rollouts worked in.
    ///
    /// # Errors
    /// When a status names what Git does not hold: then what was held before
    /// stays in force.
    pub(super) async fn gated(
        &self,
        loaded: &Loaded,
        known: &Surroundings,
        part: Part,
    ) -> Result<(Part, Gates), EngineError> {
        let keys = resources(part.objects());
        if keys.is_empty() {
            return Ok((part, Gates::default()));
        }
        let Surroundings { environment, discovery } = known;
        let ground = Ground { cluster: &self.cluster, discovery, loaded, environment };
        let revision = part.revision.clone();
        let mut rollouts = ground.rollouts(&part, &keys, &revision).await?;
        let overlay = ground.overlay(&part, &mut rollouts, &revision).await?;
        Ok((part.gated(overlay.into_values()), gates(rollouts)))
    }

    /// Follows the Rollouts' statuses until the program ends.
    pub(super) async fn follow_rollouts(self: Arc<Self>) {
        let resource = ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(GROUP, VERSION, "Rollout"));
        let api: Api<DynamicObject> = Api::all_with(self.cluster.client(), &resource);
        let events = watcher(api, watcher::Config::default()).default_backoff();
        // What changes together is worked in together.
        let mut events = std::pin::pin!(events.ready_chunks(1000));
        while let Some(events) = events.next().await {
            let world = self.world();
            let mut concerned = BTreeSet::new();
            for event in events {
                match event {
                    Ok(watcher::Event::Init | watcher::Event::InitDone) => {}
                    Ok(
                        watcher::Event::Apply(object)
                        | watcher::Event::InitApply(object)
                        | watcher::Event::Delete(object),
                    ) => concerned.extend(world.applications_of(&key_of(&object))),
                    Err(error) => tracing::warn!(%error, "watching Rollouts"),
                }
            }
            let keeper = &self;
            let regated = futures::stream::iter(concerned);
            let regate = |application| async move {
                keeper.regate(&application).await;
            };
            regated.for_each_concurrent(PARALLEL, regate).await;
        }
    }

    /// Whoever works an Application's Rollouts in waits for its turn; another
    /// Application, however long it takes to render, holds up nobody.
    pub(super) async fn turn(&self, application: &AppRef) -> OwnedMutexGuard<()> {
        let turn = {
            let mut all = self.gating.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(application.clone()).or_default().clone()
        };
        turn.lock_owned().await
    }

    /// Works an Application's Rollouts in anew; whether that changed anything.
    /// What cannot be read leaves in force what was held before.
    pub async fn regate(&self, application: &AppRef) -> bool {
        let _turn = self.turn(application).await;
        let held = self.held.lock().await.get(application).cloned();
        let Some((held, before)) = held.and_then(|held| held.gates.clone().map(|gates| (held, gates))) else {
            return false;
        };
        if before.rollouts.is_empty() {
            return false;
        }
        let Ok(known) = self.surroundings().await else { return false };
        match self.gated(&held.loaded, &known, held.part.gated([])).await {
            Ok((_, gates)) if gates.told == before.told => false,
            Ok((part, gates)) => {
                tracing::debug!(%application, gates = gates.told, "Rollouts moved on");
                let rests = gates.rollouts.values().all(|gate| !gate.state.is_under_way());
                self.hold(Held { part: Arc::new(part), gates: Some(Arc::new(gates)), ..held }).await;
                if rests {
                    self.copy(application).await;
                }
                true
            }
            Err(error) => {
                tracing::warn!(%application, %error, "what its Rollouts say is not followed");
                false
            }
        }
    }

    /// The same before a denial, in a budget of time.
    pub async fn regate_soon(&self, application: &AppRef) -> bool {
        tokio::time::timeout(BUDGET, self.regate(application)).await.unwrap_or(false)
    }

    /// What is known of the versions that a Rollout's status names.
    /// `before`: the Rollout as it is; `object`: as it would be.
    pub async fn promotion(
        &self,
        world: &World,
        rollout: &ObjectKey,
        (before, object): (&Value, &Value),
    ) -> Option<Promotion> {
        let held = world.owner(rollout)?;
        let gate = held.gates.as_ref()?.rollouts.get(rollout)?;
        let state =
            |object: &Value| object.pointer("/status/state").and_then(|state| State::deserialize(state).ok());
        let (before, state) = (state(before).unwrap_or_default(), state(object)?);
        let known = self.surroundings().await.ok()?;
        let (environment, discovery) = (&known.environment, &known.discovery);
        let ground = Ground { cluster: &self.cluster, discovery, loaded: &held.loaded, environment };
        let tip = &held.part.revision;
        let mut found = BTreeMap::new();
        for named in [&state.stable, &state.new].into_iter().flatten() {
            let target = if named.revision == *tip {
                held.part.gated([]).declared(&gate.spec.target)
            } else {
                let at = self.between(held, &named.revision, None, tip);
                let part = tokio::time::timeout(2 * BUDGET, at).await.ok()?;
                part.and_then(|part| part.get(&gate.spec.target))
            };
            if let Some(hash) = target.and_then(|target| version(&gate.spec, &target.value)) {
                found.insert(named.revision.clone(), hash);
            }
        }
        let running = gate.state.stable.clone().or_else(|| gate.running.clone()).or_else(|| gate.tip.clone());
        let mut older = BTreeSet::new();
        if let Some(new) = state.new.filter(|new| before.new.as_ref() != Some(new) && new.revision != *tip) {
            let promoted = before.stable.as_ref().or(running.as_ref()).map(|stable| stable.revision.clone());
            for known in promoted.into_iter().chain(self.last_write(held, &known, &gate.spec).await.ok()?) {
                if known != new.revision && ground.is_before(&new.revision, &known).await.ok()? {
                    older.insert(new.revision.clone());
                }
            }
        }
        let settings = next(&gate.spec, &before.setting);
        Some(Promotion { running, held: found, older, settings })
    }

    /// The commit at which a Rollout's target was last written.
    async fn last_write(
        &self,
        held: &Held,
        known: &Surroundings,
        spec: &Spec,
    ) -> Result<Option<String>, EngineError> {
        let target = held.part.gated([]).declared(&spec.target);
        let kind = target.and_then(|target| known.discovery.kind(&target.gvk).cloned());
        let Some(kind) = kind else { return Ok(None) };
        let live = self.cluster.get(&kind, &spec.target).await?;
        Ok(revision_of(live.as_ref()).map(str::to_owned))
    }
}

fn key_of(rollout: &DynamicObject) -> ObjectKey {
    ObjectKey {
        group: GROUP.into(),
        kind: "Rollout".into(),
        namespace: rollout.namespace().unwrap_or_default(),
        name: rollout.name_any(),
    }
}

fn gates(rollouts: Vec<Rolling>) -> Gates {
    let mut gates = Gates::default();
    for rolling in rollouts {
        let Rolling { key, spec, state, running, tip, .. } = rolling;
        gates.changes.extend(changes(&spec));
        gates.told.push_str(&format!(
            "{key} {:?} {:?} {:?} {} {:?} {:?}; ",
            state.stable, state.new, state.setting, state.replicas, state.stable_pods, state.new_pods
        ));
        gates.rollouts.insert(key, Gate { spec, state, running, tip });
    }
    gates
}
