//! What is to be seen of a Rollout. In: a survey, and the Pods and ReplicaSets
//! of its target while a version is on its way in. Out: core's observation.

use gitops_api::{Request, Verb};
use gitops_core::health::Health;
use gitops_core::names::{ANNOTATION_REQUEST, ANNOTATION_REQUESTED_BY};
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::rollout::observe::{Ask, Asked, Observed, Workload};
use gitops_core::rollout::program::Whole;
use gitops_core::rollout::spec::{Means, Spec};
use gitops_core::rollout::state::State;
use jiff::Timestamp;
use serde_json::Value;

use super::gate::{Ground, Rolling};
use super::pods::{Pods, number};
use super::running::same_version;
use super::shared::Shared;
use crate::error::EngineError;
use crate::survey::Survey;

/// What is not seen in the cluster.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// A webhook names who asks, so a request of nobody does not count.
    pub is_judged: bool,
    /// What became of the commit that a failure asks for.
    pub pushed: Option<Result<String, String>>,
}

/// A survey with what else there is to see.
pub(super) struct Sight<'a> {
    pub ground: &'a Ground<'a>,
    pub survey: &'a Survey,
    pub rolling: &'a Rolling,
    pub spec: &'a Spec,
    pub state: &'a State,
    pub shared: &'a Shared,
    pub now: Timestamp,
}

impl Sight<'_> {
    /// Looks; none: Git declares no target.
    pub(super) async fn observe(&self, beside: Beside) -> Result<Option<Observed>, EngineError> {
        let Some(tip) = self.rolling.tip.clone() else { return Ok(None) };
        let pods = if self.state.is_under_way() { Pods::look(self).await? } else { Pods::default() };
        let target = self.workload(&self.spec.target, &pods);
        let second = self.spec.has_second().then(|| self.spec.second());
        let second = second.and_then(|key| self.workload(&key, &pods));
        let live = self.survey.live.get(&self.spec.target);
        Ok(Some(Observed {
            tip,
            running: self.rolling.running.clone(),
            whole: self.whole(live),
            target: target.unwrap_or_default(),
            second,
            traffic: self.is_divided() && pods.are_followed(self),
            measured: Vec::new(),
            request: asked(self.rolling.live.as_ref(), beside.is_judged),
            pushed: beside.pushed,
            shortage: None,
            unseen: None,
            pulling: pods.pulling,
            trouble: pods.trouble,
        }))
    }

    /// Git's, or what an autoscaler wants.
    fn whole(&self, live: Option<&Value>) -> Whole {
        let tip = self.rolling.tip.as_ref().and_then(|tip| self.rolling.versions.get(&tip.hash));
        let declared = tip.and_then(|target| target.value.pointer("/spec/replicas")?.as_i64());
        let scaled = || self.state.scaled(live.and_then(|live| number(live, "/spec/replicas")));
        Whole { replicas: declared.or_else(scaled).unwrap_or(1), declared: declared.is_some() }
    }

    /// Whether Services, routes and weight fields are as they are to be.
    fn is_divided(&self) -> bool {
        let is_traffic = |key: &ObjectKey| {
            matches!(key.kind.as_str(), "Service" | "HTTPRoute" | "GRPCRoute")
                || self.spec.means() == Means::Field && *key == self.spec.target
        };
        let keys = gitops_core::rollout::desired::changes(self.spec);
        keys.iter().filter(|key| is_traffic(key)).all(|key| self.shared.is_same(key))
    }

    fn workload(&self, key: &ObjectKey, pods: &Pods) -> Option<Workload> {
        let live = self.survey.live.get(key)?;
        let count = |pointer: &str| number(live, pointer).unwrap_or(0);
        let observed = number(live, "/status/observedGeneration");
        let newest = observed.is_some_and(|observed| observed >= count("/metadata/generation"));
        let seen = newest && self.shared.is_same(key);
        let healthy = self.spec.means() == Means::Field && {
            matches!(self.shared.rules.state(live).health, Health::Healthy)
        };
        Some(Workload {
            hash: self.hash(key, live),
            seen: seen || self.spec.means() == Means::Field && self.shared.is_same(key),
            total: count("/status/replicas").max(if *key == self.spec.target { pods.left } else { 0 }),
            updated: count("/status/updatedReplicas"),
            // What is available has been ready for minReadySeconds.
            ready: count("/status/availableReplicas"),
            pods: pods.name_of(key, live),
            healthy,
        })
    }

    /// The hash of the version that a workload has; empty: none that is known.
    fn hash(&self, key: &ObjectKey, live: &Value) -> String {
        let second = *key != self.spec.target;
        for (hash, want) in &self.rolling.versions {
            let mut want = want.clone();
            if second {
                let labelled = self.survey.desired.objects.get(key);
                let template =
                    labelled.and_then(|object| object.value.pointer("/spec/template/metadata")).cloned();
                let Some(template) = template else { continue };
                want.key = key.clone();
                want.value["metadata"]["name"] = key.name.clone().into();
                want.value["spec"]["template"]["metadata"] = template;
            }
            if same_version(&self.survey.schemas, &self.shared.policy, self.spec, &want, live) {
                return hash.clone();
            }
        }
        String::new()
    }
}

/// The request that a Rollout carries.
pub(super) fn asked(live: Option<&Value>, is_judged: bool) -> Option<Asked> {
    let annotations = live?.get("metadata")?.get("annotations")?;
    let text = |key: &str| annotations.get(key).and_then(Value::as_str);
    let request = Request::parse(text(ANNOTATION_REQUEST)?).ok()?;
    let by = text(ANNOTATION_REQUESTED_BY).unwrap_or_default();
    if by.is_empty() && is_judged {
        return None;
    }
    let full = request.arguments.get("full").is_some_and(|value| value == "true");
    let ask = match request.verb {
        Verb::Promote if full => Ask::PromoteFull,
        Verb::Promote => Ask::Promote,
        Verb::Abort => Ask::Abort,
        Verb::Retry => Ask::Retry,
        Verb::Pause => Ask::Pause,
        Verb::Resume => Ask::Resume,
        Verb::Sync | Verb::Rollback | Verb::Suspend | Verb::Restart => return None,
    };
    let by = if by.is_empty() { "somebody" } else { by };
    Some(Asked { id: request.id, ask, by: by.to_owned(), reason: request.reason })
}

/// A built-in kind of a workload's family.
pub(super) fn family(kind: &str) -> Gvk {
    Gvk::new(if kind == "Pod" { "v1" } else { "apps/v1" }, kind)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_counts_when_somebody_answers_for_it() {
        let rollout = |by: &str, verb: &str| {
            let request = json!({"id": "r1", "verb": verb, "arguments": {"full": "true"}, "reason": "INC-1"});
            json!({"metadata": {"annotations": {ANNOTATION_REQUEST: request.to_string(), ANNOTATION_REQUESTED_BY: by}}})
        };
        let ask = |by: &str, verb: &str, judged: bool| {
            asked(Some(&rollout(by, verb)), judged).map(|asked| asked.ask)
        };
        assert_eq!(ask("ada", "promote", true), Some(Ask::PromoteFull));
        assert_eq!(ask("ada", "abort", true), Some(Ask::Abort));
        assert_eq!(ask("", "abort", true), None);
        assert_eq!(ask("", "abort", false), Some(Ask::Abort));
        assert_eq!(ask("ada", "sync", true), None);
    }
}
