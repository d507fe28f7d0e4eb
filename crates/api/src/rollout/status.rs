//! Where a Rollout stands, as its `status` says it. The controller goes on from
//! `state`; the other fields say the same to people.

use gitops_core::rollout::program::program;
use gitops_core::rollout::spec::Spec;
use gitops_core::rollout::state::{Aftermath, Phase, State, Tally};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Values of a metric that are shown.
const SHOWN: usize = 10;

/// Where a rollout stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Idle, Gated, Progressing, Paused, Promoting, Aborting or Aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_revision: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_hash: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measurements: Vec<Measurement>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// All that is needed to go on. What may be in the cluster follows from it and
    /// from Git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub state: Option<Value>,
}

/// One result of an analysis.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    pub metric: String,
    pub value: String,
    /// RFC 3339.
    pub time: String,
    pub outcome: String,
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

impl RolloutStatus {
    /// Where it stands; none before the first look.
    ///
    /// # Errors
    /// When somebody has written there what is no state. Nothing new may get out
    /// because of that.
    pub fn state(&self) -> Result<Option<State>, serde_json::Error> {
        self.state.as_ref().map(State::deserialize).transpose()
    }

    /// The status that says a state.
    pub fn of(state: &State, spec: &Spec, generation: Option<i64>) -> Self {
        let moves = program(spec).moves;
        let step = moves.get(state.at).or(moves.last()).map(|planned| planned.step);
        let under_way = state.is_under_way() && state.phase != Phase::Aborting;
        Self {
            observed_generation: generation,
            phase: Some(format!("{:?}", state.phase)),
            step: step.filter(|_| under_way).and_then(|step| i32::try_from(step).ok()),
            weight: Some(i32::from(state.setting.weight)),
            promoted_revision: state.stable.as_ref().map(|version| version.revision.clone()),
            stable_hash: state.stable.as_ref().map(|version| version.hash.clone()),
            new_hash: state.new.as_ref().map(|version| version.hash.clone()),
            measurements: measurements(state),
            message: Some(told(state)).filter(|message| !message.is_empty()),
            conditions: Vec::new(),
            state: Some(json!(state)),
        }
    }
}

impl RolloutStatus {
    /// With the values of this look beside those of the looks before, oldest
    /// first. A metric that is measured anew begins anew.
    pub fn measured(mut self, before: &[Measurement], taken: &[Measurement], state: &State) -> Self {
        let mut all = Vec::new();
        for counted in std::mem::take(&mut self.measurements) {
            let of_it = |one: &&Measurement| one.metric == counted.metric && !is_count(one);
            let values: Vec<&Measurement> = before.iter().chain(taken).filter(of_it).collect();
            let tallies = [&state.tallies, &state.background];
            let tally = tallies.into_iter().find_map(|tallies| tallies.get(&counted.metric));
            let most = tally.map_or(0, |tally| tally.taken() as usize).min(SHOWN);
            if values.is_empty() {
                all.push(counted);
            } else {
                all.extend(values[values.len().saturating_sub(most)..].iter().map(|one| (*one).clone()));
            }
        }
        self.measurements = all;
        self
    }
}

/// A count of measurements, where their values are not known.
fn is_count(one: &Measurement) -> bool {
    one.value.ends_with(" inconclusive")
}

/// What happens, and what became of Git after a failure.
fn told(state: &State) -> String {
    match &state.aftermath {
        Some(Aftermath::Wanted(why)) => format!("{}; Git is to go back: {why}", state.message),
        Some(Aftermath::Done(commit)) => format!("{}; Git goes back by {commit}", state.message),
        None => state.message.clone(),
    }
}

/// What has been measured of the version on its way in, in the background and
/// at this move.
fn measurements(state: &State) -> Vec<Measurement> {
    let all = state.background.iter().chain(&state.tallies);
    all.map(|(metric, tally)| Measurement {
        metric: metric.clone(),
        value: counted(tally),
        time: Timestamp::from_second(tally.last).unwrap_or_default().to_string(),
        outcome: outcome(tally).to_owned(),
    })
    .collect()
}

fn counted(tally: &Tally) -> String {
    let Tally { succeeded, failed, inconclusive, .. } = tally;
    format!("{succeeded} succeeded, {failed} failed, {inconclusive} inconclusive")
}

fn outcome(tally: &Tally) -> &'static str {
    match tally {
        Tally { failed: 1.., .. } => "Failure",
        Tally { inconclusive: 1.., .. } => "Inconclusive",
        _ => "Success",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use gitops_core::rollout::state::Version;

    use super::*;
    use crate::RolloutSpec;

    fn spec() -> Spec {
        let spec: RolloutSpec = serde_json::from_value(json!({
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "strategy": {"canary": {"steps": [{"setWeight": 20}, {"pause": {}}, {"setWeight": 50}]}}}))
        .unwrap();
        spec.outline("shop").unwrap()
    }

    #[test]
    fn a_state_survives_its_status() {
        let version =
            |revision: &str| Some(Version { revision: revision.into(), hash: format!("h-{revision}") });
        let mut state = State { stable: version("a"), new: version("b"), at: 2, ..State::default() };
        state.phase = Phase::Paused;
        state.setting.weight = 20;
        state.background.insert("errors/rate".into(), Tally { failed: 1, ..Tally::default() });
        let status = RolloutStatus::of(&state, &spec(), Some(3));
        assert_eq!(
            (status.phase.as_deref(), status.step, status.weight),
            (Some("Paused"), Some(1), Some(20))
        );
        assert_eq!(status.measurements[0].outcome, "Failure");
        let read: RolloutStatus = serde_json::from_value(json!(status)).unwrap();
        assert_eq!(read.state().unwrap(), Some(state));
    }

    #[test]
    fn what_is_no_state_is_an_error() {
        assert_eq!(RolloutStatus::default().state().unwrap(), None);
        let forged = RolloutStatus { state: Some(json!({"phase": "Open"})), ..RolloutStatus::default() };
        assert!(forged.state().is_err());
    }

    #[test]
    fn values_are_kept_as_long_as_they_count() {
        let one =
            |value: &str| Measurement { metric: "t/m".into(), value: value.into(), ..Measurement::default() };
        let counted = Measurement { value: "2 succeeded, 0 failed, 0 inconclusive".into(), ..one("") };
        let status = |count: u32| {
            let mut state = State::default();
            state.tallies.insert("t/m".into(), Tally { succeeded: count, ..Tally::default() });
            let status = RolloutStatus { measurements: vec![counted.clone()], ..RolloutStatus::default() };
            (status, state)
        };
        let values = |count: u32, before: &[Measurement], taken: &[Measurement]| {
            let (status, state) = status(count);
            let all = status.measured(before, taken, &state).measurements;
            all.into_iter().map(|one| one.value).collect::<Vec<_>>()
        };
        assert_eq!(values(2, &[one("1")], &[one("2")]), ["1", "2"]);
        // Measured anew.
        assert_eq!(values(1, &[one("1"), one("2")], &[one("3")]), ["3"]);
        assert_eq!(values(2, &[], &[]), [counted.value.as_str()]);
        assert_eq!(values(2, &[counted.clone()], &[one("2")]), ["2"]);
        let many: Vec<Measurement> = (0..30).map(|n| one(&n.to_string())).collect();
        assert_eq!(values(30, &many, &[]).len(), SHOWN);
    }
}
