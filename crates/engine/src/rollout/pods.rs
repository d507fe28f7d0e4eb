//! The Pods of a Rollout while a version is on its way in. In: LISTs of its
//! namespace. Out: what Kubernetes calls the versions, whether images are being
//! pulled, why Pods are not ready, and whether Services reach who they are to.

use std::collections::BTreeSet;
use std::sync::Arc;

use gitops_core::health::Health;
use gitops_core::object::ObjectKey;
use gitops_core::rollout::room::has_ended;
use gitops_core::rollout::spec::Means;
use jiff::Timestamp;
use serde_json::Value;

use super::observe::Sight;
use super::shared::Near;
use crate::error::EngineError;

/// A number of an object.
pub(super) fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer)?.as_i64()
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// What was seen of Pods.
#[derive(Clone, Debug, Default)]
pub(super) struct Pods {
    pub pulling: bool,
    pub trouble: Option<String>,
    /// Of a target of which none may be left: Pods that are there all the same.
    pub left: i64,
    near: Arc<Near>,
}

impl Pods {
    pub(super) async fn look(sight: &Sight<'_>) -> Result<Self, EngineError> {
        let mut pods = Self::default();
        let spec = sight.spec;
        let divided = matches!(spec.means(), Means::Routes | Means::Partition)
            && (spec.stable_service().is_some() || spec.new_service().is_some());
        if divided {
            pods.near = sight.shared.near(sight.ground, &spec.target.namespace).await?;
        }
        pods.ask_why(sight).await;
        if spec.means() == Means::Alone && sight.state.setting.share == 0 {
            pods.wait_for_the_last(sight).await;
        }
        Ok(pods)
    }

    /// A Deployment does not count Pods that are about to end, and they have its
    /// volumes and devices until they are gone.
    async fn wait_for_the_last(&mut self, sight: &Sight<'_>) {
        let Some(live) = sight.survey.live.get(&sight.spec.target) else { return };
        let kin = sight.shared.kin(sight.ground, &sight.spec.target.namespace).await;
        let there: Vec<&Value> = kin.pods(live).filter(|pod| !has_ended(pod)).collect();
        self.left = there.len() as i64;
        self.pulling |= there.iter().any(|pod| is_in_time(pod, sight.now));
        if self.left > 0 {
            self.trouble = Some(format!("it waits for the end of {} Pods", self.left));
        }
    }

    /// Why the workloads are not healthy, as the health of a family says it.
    async fn ask_why(&mut self, sight: &Sight<'_>) {
        let rules = &sight.shared.rules;
        let keys = [sight.spec.second(), sight.spec.target.clone()];
        let unwell: Vec<&Value> = keys
            .iter()
            .filter_map(|key| sight.survey.live.get(key))
            .filter(|live| !matches!(rules.state(live).health, Health::Healthy | Health::Suspended))
            .collect();
        if unwell.is_empty() {
            return;
        }
        let kin = sight.shared.kin(sight.ground, &sight.spec.target.namespace).await;
        let told = unwell.iter().map(|live| kin.health(live, rules).message);
        self.trouble = told.into_iter().find(|message| !message.is_empty());
        self.pulling = unwell.iter().any(|live| kin.is_pulling(live));
    }

    /// What Kubernetes calls Pods of a workload's newest version.
    pub(super) fn name_of(&self, key: &ObjectKey, live: &Value) -> Option<String> {
        let own = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
        if key.kind == "StatefulSet" {
            return own(text(live, "/status/updateRevision"));
        }
        const REVISION: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";
        let uid = text(live, "/metadata/uid");
        let newest = self.near.replica_sets.iter().find(|set| {
            let owners = set.pointer("/metadata/ownerReferences").and_then(Value::as_array);
            owners.into_iter().flatten().any(|owner| text(owner, "/uid") == uid)
                && text(set, REVISION) == text(live, REVISION)
        });
        own(text(newest?, "/metadata/labels/pod-template-hash"))
    }

    /// Whether the endpoints of the Rollout's Services are Pods that these
    /// select by now, and some where there are ready ones.
    pub(super) fn are_followed(&self, sight: &Sight<'_>) -> bool {
        let names = [sight.spec.stable_service(), sight.spec.new_service()];
        names.into_iter().flatten().all(|name| self.is_followed(sight, name))
    }

    fn is_followed(&self, sight: &Sight<'_>, name: &str) -> bool {
        let key = sight.spec.beside("", "Service", name);
        let selector =
            sight.survey.live.get(&key).and_then(|live| live.pointer("/spec/selector")?.as_object());
        let (Some(selector), false) = (selector, self.near.pods.is_empty()) else { return true };
        let selected = |pod: &Value| {
            let labels = pod.pointer("/metadata/labels");
            selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
        };
        let ready: BTreeSet<&str> = self
            .near
            .pods
            .iter()
            .filter(|(_, pod)| selected(pod) && is_ready(pod))
            .map(|(name, _)| name.as_str())
            .collect();
        let slices = self
            .near
            .slices
            .iter()
            .filter(|slice| text(slice, "/metadata/labels/kubernetes.io~1service-name") == name);
        let endpoints = slices.filter_map(|slice| slice.get("endpoints")?.as_array()).flatten();
        let serving = endpoints.filter(|end| end.pointer("/conditions/ready") != Some(&Value::Bool(false)));
        let reached: BTreeSet<&str> = serving.map(|end| text(end, "/targetRef/name")).collect();
        // Pods that are gone from the list are about to go from the slice.
        reached.iter().all(|pod| self.near.pods.get(*pod).is_some_and(selected)) && ready.is_subset(&reached)
    }
}

/// Whether a Pod has been told to end, and has time left for it.
fn is_in_time(pod: &Value, now: Timestamp) -> bool {
    text(pod, "/metadata/deletionTimestamp").parse::<Timestamp>().is_ok_and(|until| now <= until)
}

pub(super) fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    pod.pointer("/metadata/deletionTimestamp").is_none()
        && conditions
            .into_iter()
            .flatten()
            .any(|condition| text(condition, "/type") == "Ready" && text(condition, "/status") == "True")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_has_its_grace_period_to_end() {
        let now = "2026-11-24T10:00:00Z".parse().unwrap();
        let until = |time: Value| json!({"metadata": {"deletionTimestamp": time}});
        assert!(is_in_time(&until("2026-11-24T10:00:30Z".into()), now));
        assert!(!is_in_time(&until("2026-11-24T09:59:30Z".into()), now), "it hangs");
        assert!(!is_in_time(&until(Value::Null), now), "nobody has told it to");
    }
}
