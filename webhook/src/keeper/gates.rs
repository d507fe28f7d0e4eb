//! Rollouts at the webhook. In: what an Application declares, and its Rollouts'
//! statuses, watched. Out: the part with those worked in, anew whenever a status
//! changes.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use gitops_core::desired::AppRef;
use gitops_core::index::Part;
use gitops_core::names::{GROUP, VERSION};
use gitops_core::object::ObjectKey;
use gitops_core::rollout::desired::changes;
use gitops_core::rollout::state::State;
use gitops_engine::rollout::{Ground, Rolling, resources};
use gitops_engine::{EngineError, Loaded};
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use serde::Deserialize;
use tokio::sync::OwnedMutexGuard;

use super::{Keeper, Surroundings};
use crate::world::{Gate, Gates, Held};

/// A denial waits this long for the newest status: the API server waits 3 s in
/// all.
const BUDGET: Duration = Duration::from_millis(800);
/// Rollouts that are followed at once.
const PARALLEL: usize = 16;
/// Rollouts that are in memory as a whole at once.
const AT_ONCE: u16 = 100;

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
        let events = watcher(api, watcher::Config::default().page_size(AT_ONCE.into())).default_backoff();
        // What changes together is worked in together.
        let mut events = std::pin::pin!(events.ready_chunks(usize::from(AT_ONCE)));
        while let Some(events) = events.next().await {
            let world = self.world();
            let mut concerned: BTreeMap<AppRef, Vec<(ObjectKey, Option<State>)>> = BTreeMap::new();
            for event in events {
                // Of one that is gone no state is held.
                let is_there = !matches!(event, Ok(watcher::Event::Delete(_)));
                match event {
                    Ok(watcher::Event::Init | watcher::Event::InitDone) => {}
                    Ok(
                        watcher::Event::Apply(object)
                        | watcher::Event::InitApply(object)
                        | watcher::Event::Delete(object),
                    ) => {
                        let (key, state) = (key_of(&object), state_of(&object).filter(|_| is_there));
                        for application in world.applications_of(&key) {
                            concerned.entry(application).or_default().push((key.clone(), state.clone()));
                        }
                    }
                    Err(error) => tracing::warn!(%error, "watching Rollouts"),
                }
            }
            let keeper = &self;
            let regated = futures::stream::iter(concerned);
            let regate = |(application, seen): (AppRef, Vec<_>)| async move {
                keeper.regate_unless(&application, &seen).await;
            };
            regated.for_each_concurrent(PARALLEL, regate).await;
        }
    }

    /// Whoever works an Application's Rollouts in waits for its turn; another
    /// Application, however long it takes to render, holds up nobody.
    /// With it comes when they were looked at last.
    pub(super) async fn turn(&self, application: &AppRef) -> OwnedMutexGuard<Option<Instant>> {
        let turn = {
            let mut all = self.gating.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(application.clone()).or_default().clone()
        };
        turn.lock_owned().await
    }

    /// Works an Application's Rollouts in anew; whether that changed anything.
    /// What cannot be read leaves in force what was held before. Of many who ask
    /// at once one looks: it has seen what was written when the others asked.
    pub async fn regate(&self, application: &AppRef) -> bool {
        self.regate_unless(application, &[]).await
    }

    /// The same, unless these states, which were seen, are those that are held
    /// already: a count of ready Pods or a message changes nothing here.
    async fn regate_unless(&self, application: &AppRef, seen: &[(ObjectKey, Option<State>)]) -> bool {
        let (asked, first) = (Instant::now(), self.gates_of(application).await);
        let mut looked = self.turn(application).await;
        let held = self.held.lock().await.get(application).cloned();
        let Some((held, before)) = held.and_then(|held| held.gates.clone().map(|gates| (held, gates))) else {
            return false;
        };
        if before.rollouts.is_empty() {
            return false;
        }
        let is_held = |(key, state): &(ObjectKey, Option<State>)| {
            let gate = before.rollouts.get(key).zip(state.as_ref());
            gate.is_some_and(|(gate, state)| told(key, &gate.state) == told(key, state))
        };
        if !seen.is_empty() && seen.iter().all(is_held) {
            return false;
        }
        if looked.is_some_and(|at| at >= asked) {
            return first.is_none_or(|first| first.told != before.told);
        }
        let begun = Instant::now();
        let Ok(known) = self.surroundings().await else { return false };
        match self.gated(&held.loaded, &known, held.part.gated([])).await {
            Ok((_, gates)) if gates.told == before.told => {
                *looked = Some(begun);
                first.is_none_or(|first| first.told != before.told)
            }
            Ok((part, gates)) => {
                tracing::debug!(%application, gates = gates.told, "Rollouts moved on");
                let rests = gates.rollouts.values().all(|gate| !gate.state.is_under_way());
                self.hold(Held { part: Arc::new(part), gates: Some(Arc::new(gates)), ..held }).await;
                *looked = Some(begun);
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

    async fn gates_of(&self, application: &AppRef) -> Option<Arc<Gates>> {
        self.held.lock().await.get(application)?.gates.clone()
    }

    /// The same before a denial, in a budget of time.
    pub async fn regate_soon(&self, application: &AppRef) -> bool {
        tokio::time::timeout(BUDGET, self.regate(application)).await.unwrap_or(false)
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

/// What a status holds; none: nothing that can be read.
fn state_of(rollout: &DynamicObject) -> Option<State> {
    State::deserialize(rollout.data.get("status")?.get("state")?).ok()
}

/// What objects follow from.
fn told(key: &ObjectKey, state: &State) -> String {
    format!(
        "{key} {:?} {:?} {:?} {} {} {:?} {:?}; ",
        state.stable,
        state.new,
        state.setting,
        state.replicas,
        state.from_zero,
        state.stable_pods,
        state.new_pods
    )
}

fn gates(rollouts: Vec<Rolling>) -> Gates {
    let mut gates = Gates::default();
    for rolling in rollouts {
        let Rolling { key, spec, state, running, tip, .. } = rolling;
        gates.changes.extend(changes(&spec));
        gates.told.push_str(&told(&key, &state));
        gates.rollouts.insert(key, Gate { spec, state, running, tip });
    }
    gates
}
