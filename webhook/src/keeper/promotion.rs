//! What a Rollout's status may say. In: the status as it is and as it would be.
//! Out: what Git holds of the versions, settings and numbers that it names, and
//! what the live target has of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gitops_core::delegation::replicas;
use gitops_core::desired::DesiredObject;
use gitops_core::object::ObjectKey;
use gitops_core::rollout::bounds::{Grounds, new_names};
use gitops_core::rollout::desired::{Declares, version};
use gitops_core::rollout::program::next;
use gitops_core::rollout::spec::Spec;
use gitops_core::rollout::state::State;
use gitops_core::verdict::{Promotion, revision_of};
use gitops_engine::EngineError;
use gitops_engine::rollout::Ground;
use serde::Deserialize;
use serde_json::Value;

use super::Keeper;
use crate::world::{Gate, Held, World};

/// Looking all of it up may take so long, both versions' renders with it: the API
/// server waits 3 s in all, and a denial is looked at once more.
const TIME: Duration = Duration::from_millis(1600);

/// A status that is written.
struct Case<'a> {
    held: &'a Held,
    gate: &'a Gate,
    ground: &'a Ground<'a>,
    before: &'a State,
    after: &'a State,
}

impl Keeper {
    /// What is known of the versions that a Rollout's status names; none: it could
    /// not be looked up in time. `both`: the Rollout as it is, and as it would be.
    pub async fn promotion(
        &self,
        world: &World,
        rollout: &ObjectKey,
        both: (&Value, &Value),
    ) -> Option<Promotion> {
        let looked_up = self.look_up(world, rollout, both);
        tokio::time::timeout(TIME, looked_up).await.ok().flatten()
    }

    async fn look_up(
        &self,
        world: &World,
        rollout: &ObjectKey,
        (before, object): (&Value, &Value),
    ) -> Option<Promotion> {
        let held = world.owner(rollout)?;
        let gate = held.gates.as_ref()?.rollouts.get(rollout)?;
        let state =
            |object: &Value| object.pointer("/status/state").and_then(|state| State::deserialize(state).ok());
        let (before, after) = (state(before).unwrap_or_default(), state(object)?);
        let known = self.surroundings().await.ok()?;
        let (environment, discovery) = (&known.environment, &known.discovery);
        let ground = Ground { cluster: &self.cluster, discovery, loaded: &held.loaded, environment };
        let case = Case { held, gate, ground: &ground, before: &before, after: &after };
        let targets = self.targets(&case).await?;
        let hash = |target: &DesiredObject| version(&gate.spec, &target.value);
        let found = targets.iter().filter_map(|(revision, target)| Some((revision.clone(), hash(target)?)));
        let running = gate.state.stable.clone().or_else(|| gate.running.clone()).or_else(|| gate.tip.clone());
        let live = case.live().await.ok()?;
        Some(Promotion {
            running,
            held: found.collect(),
            older: self.older_than_runs(&case, live.as_ref()).await.ok()?,
            settings: next(&gate.spec, &before.setting),
            rollout: Some((gate.spec.clone(), case.grounds(live.as_ref(), &targets).await.ok()?)),
        })
    }

    /// The target at each commit that the status names anew; where it brings in
    /// names of Pods, at all that it names.
    async fn targets(&self, case: &Case<'_>) -> Option<BTreeMap<String, DesiredObject>> {
        let (held, spec) = (case.held, &case.gate.spec);
        let tip = &held.part.revision;
        let mut found = BTreeMap::new();
        let all = !new_names(case.before, case.after).is_empty();
        let pairs = [(&case.before.stable, &case.after.stable), (&case.before.new, &case.after.new)];
        let named = pairs.into_iter().filter(|(was, is)| all || was != is).filter_map(|(_, is)| is.as_ref());
        for named in named {
            let target = if named.revision == *tip {
                held.part.gated([]).declared(&spec.target)
            } else {
                let part = self.between(held, &named.revision, None, tip).await;
                part.and_then(|part| part.get(&spec.target))
            };
            found.extend(target.map(|target| (named.revision.clone(), target)));
        }
        Some(found)
    }

    /// The commits that the status names anew and that lie before what runs, or
    /// before what the target was written as last.
    async fn older_than_runs(
        &self,
        case: &Case<'_>,
        live: Option<&Value>,
    ) -> Result<BTreeSet<String>, EngineError> {
        let Case { held, gate, before, after, .. } = case;
        let tip = &held.part.revision;
        let promoted = before.stable.as_ref().or(gate.state.stable.as_ref()).or(gate.running.as_ref());
        let brought = promoted.or(gate.tip.as_ref()).map(|version| version.revision.as_str());
        let promoted = promoted.map(|version| version.revision.as_str());
        let mut older = BTreeSet::new();
        for (named, was, known) in [
            (&after.new, &before.new, [brought, revision_of(live)]),
            (&after.stable, &before.stable, [promoted, None]),
        ] {
            let named = named.as_ref().filter(|named| was.as_ref() != Some(named) && named.revision != *tip);
            let Some(named) = named.map(|named| &named.revision) else { continue };
            for known in known.into_iter().flatten().filter(|known| known != named) {
                if case.ground.is_before(named, known).await? {
                    older.insert(named.clone());
                }
            }
        }
        Ok(older)
    }
}

impl Case<'_> {
    fn spec(&self) -> &Spec {
        &self.gate.spec
    }

    /// Git's, of the newest commit.
    fn declared(&self) -> Option<DesiredObject> {
        self.held.part.gated([]).declared(&self.spec().target)
    }

    /// The target as it is, where that matters.
    async fn live(&self) -> Result<Option<Value>, EngineError> {
        let (before, after) = (self.before, self.after);
        let named = after.new.is_some() && before.new != after.new;
        let scaled = before.replicas != after.replicas;
        if !named && !scaled && new_names(before, after).is_empty() {
            return Ok(None);
        }
        let kind = self.declared().and_then(|target| self.ground.discovery.kind(&target.gvk));
        let Some(kind) = kind else { return Ok(None) };
        Ok(self.ground.cluster.get(kind, &self.spec().target).await?)
    }

    /// What its numbers and names may be.
    async fn grounds(
        &self,
        live: Option<&Value>,
        targets: &BTreeMap<String, DesiredObject>,
    ) -> Result<Grounds, EngineError> {
        let spec = self.spec();
        let count = |object: &Value| object.pointer("/spec/replicas")?.as_i64();
        let free = self.held.policy.free(&spec.target, self.held.part.delegated().of(&spec.target));
        let scaled = free.into_iter().filter(|free| free.path == replicas());
        let names = new_names(self.before, self.after);
        let by_hash =
            targets.values().filter_map(|target| Some((version(spec, &target.value)?, target.clone())));
        let pods = match live.filter(|_| !names.is_empty()) {
            Some(live) => self.ground.named(spec, live, &names, &by_hash.collect()).await?,
            None => BTreeMap::new(),
        };
        Ok(Grounds {
            declared: self.declared().as_ref().and_then(|target| count(&target.value)),
            live: live.and_then(count),
            bounds: scaled.filter_map(|free| free.bounds).next(),
            pods,
        })
    }
}
