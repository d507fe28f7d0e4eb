//! Where a Rollout stands, as its `status` says it. The controller goes on from
//! `state`; the other fields say the same to people.

use gitops_core::rollout::program::program;
use gitops_core::rollout::spec::Spec;
use gitops_core::rollout::state::{Aftermath, Phase, State, Tally};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Values of a metric that are shown, and of all metrics.
const SHOWN: usize = 10;
const MEASUREMENTS: usize = 1000;
/// Versions whose end is remembered.
const ENDS: usize = 10;
/// Letters of a message that is remembered, and of a measured value.
const WORDS: usize = 300;
/// Letters of a message: what tools and servers say may be long.
const MESSAGE: usize = 2000;
/// The condition of a Rollout that cannot go on (as kstatus has it).
const STALLED: &str = "Stalled";
/// The condition that tells whether the commit of a Revert would count.
const REVERTIBLE: &str = "Revertible";

/// Where a rollout stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Idle, Gated, Progressing, Paused, Promoting, Aborting or Aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub phase: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub step: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub weight: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2000))]
    pub promoted_revision: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub stable_hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub new_hash: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub measurements: Vec<Measurement>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2000))]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// What became of the versions before, the last first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub history: Vec<End>,
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
    #[schemars(length(max = 600))]
    pub metric: String,
    #[schemars(length(max = 300))]
    pub value: String,
    /// RFC 3339.
    #[schemars(length(max = 40))]
    pub time: String,
    #[schemars(length(max = 20))]
    pub outcome: String,
}

/// What became of a version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// The commit that brought it in.
    #[schemars(length(max = 2000))]
    pub revision: String,
    #[schemars(length(max = 64))]
    pub hash: String,
    /// Promoted or Aborted.
    #[schemars(length(max = 20))]
    pub outcome: String,
    /// RFC 3339.
    #[schemars(length(max = 40))]
    pub time: String,
    /// Why it was aborted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 300))]
    pub message: String,
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
            message: Some(told(state)).filter(|message| !message.is_empty()).map(|told| cut(&told, MESSAGE)),
            conditions: Vec::new(),
            history: Vec::new(),
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
            let short = |one: &Measurement| Measurement { value: cut(&one.value, WORDS), ..one.clone() };
            let values: Vec<Measurement> = before.iter().chain(taken).filter(of_it).map(short).collect();
            let tallies = [&state.tallies, &state.background];
            let tally = tallies.into_iter().find_map(|tallies| tallies.get(&counted.metric));
            let most = tally.map_or(0, |tally| tally.taken() as usize).min(SHOWN);
            if values.is_empty() {
                all.push(counted);
            } else {
                all.extend_from_slice(&values[values.len().saturating_sub(most)..]);
            }
        }
        // The newest of the last metrics, should there be more than fit.
        all.drain(..all.len().saturating_sub(MEASUREMENTS));
        self.measurements = all;
        self
    }
}

impl RolloutStatus {
    /// With what became of the versions before, and of the one that ends now.
    pub fn remembering(mut self, last: &[End], was: &State, is: &State, now: i64) -> Self {
        let ended = end(was, is, now);
        let before = last.iter().cloned();
        self.history = ended.into_iter().chain(before).take(ENDS).collect();
        self
    }

    /// The same while it cannot go on, and why.
    pub fn stalled(mut self, reason: &str, message: &str, now: i64) -> Self {
        self.message = Some(cut(message, MESSAGE));
        self.put(STALLED, "True", reason, &cut(message, MESSAGE), now);
        self
    }

    /// Whether it says that it cannot go on.
    pub fn is_stalled(&self) -> bool {
        self.conditions.iter().any(|condition| condition.type_ == STALLED && condition.status == "True")
    }

    /// With whether the commit of a Revert would count; none: it is not asked for.
    pub fn revertible(mut self, last: &[Condition], doubt: Option<&str>, now: i64) -> Self {
        self.conditions.extend(last.iter().filter(|condition| condition.type_ == REVERTIBLE).cloned());
        match doubt {
            Some(why) => self.put(REVERTIBLE, "False", "NotTrusted", why, now),
            None => self.conditions.retain(|condition| condition.type_ != REVERTIBLE),
        }
        self
    }

    /// Sets a condition; its time is that of the change.
    fn put(&mut self, kind: &str, status: &str, reason: &str, message: &str, now: i64) {
        let same = |known: &&Condition| known.type_ == kind && known.status == status;
        let since = self.conditions.iter().find(same).map(|known| known.last_transition_time.clone());
        self.conditions.retain(|known| known.type_ != kind);
        self.conditions.push(Condition {
            type_: kind.into(),
            status: status.into(),
            reason: reason.into(),
            message: message.into(),
            observed_generation: self.observed_generation,
            last_transition_time: since
                .unwrap_or_else(|| Time(Timestamp::from_second(now).unwrap_or_default())),
        });
    }
}

/// What became of a version by a decision; none: it goes on, or there was none.
fn end(was: &State, is: &State, now: i64) -> Option<End> {
    let new = was.new.as_ref()?;
    let stable = |state: &State| state.stable.as_ref().map(|stable| stable.hash.clone());
    let (outcome, message) = match is.phase {
        Phase::Aborted if was.phase != Phase::Aborted => ("Aborted", is.message.as_str()),
        Phase::Idle if stable(is).as_ref() == Some(&new.hash) && stable(was) != stable(is) => {
            ("Promoted", "")
        }
        _ => return None,
    };
    Some(End {
        revision: new.revision.clone(),
        hash: new.hash.clone(),
        outcome: outcome.into(),
        time: Timestamp::from_second(now).unwrap_or_default().to_string(),
        message: cut(message, WORDS),
    })
}

/// So many letters of a text.
fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
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
    fn what_is_told_is_bounded() {
        let state = State { phase: Phase::Aborting, message: "é".repeat(9000), ..State::default() };
        let letters = |status: RolloutStatus| status.message.unwrap().chars().count();
        assert_eq!(letters(RolloutStatus::of(&state, &spec(), None)), MESSAGE);
        assert_eq!(letters(RolloutStatus::default().stalled("Analysis", &state.message, 60)), MESSAGE);
        let mut state = State::default();
        state.tallies.insert("t/m".into(), Tally { succeeded: 1, ..Tally::default() });
        let long = Measurement { metric: "t/m".into(), value: "9".repeat(9000), ..Measurement::default() };
        let status = RolloutStatus::of(&state, &spec(), None).measured(&[], &[long], &state);
        assert_eq!(status.measurements[0].value.len(), WORDS);
    }

    #[test]
    fn what_became_of_versions_is_remembered() {
        let version = |hash: &str| Some(Version { revision: format!("c-{hash}"), hash: hash.into() });
        let state = |phase: Phase, stable: &str, new: Option<&str>| State {
            phase,
            stable: version(stable),
            new: new.and_then(version),
            message: "errors/rate failed".repeat(30),
            ..State::default()
        };
        let (moving, aborting) =
            (state(Phase::Promoting, "a", Some("b")), state(Phase::Aborting, "a", Some("b")));
        let told = |last: &[End], was: &State, is: &State| {
            RolloutStatus::of(is, &spec(), None).remembering(last, was, is, 60).history
        };
        let words =
            |all: &[End]| all.iter().map(|end| format!("{} {}", end.outcome, end.hash)).collect::<Vec<_>>();
        let aborted = told(&[], &aborting, &state(Phase::Aborted, "a", Some("b")));
        assert_eq!((words(&aborted), aborted[0].message.len()), (vec!["Aborted b".to_owned()], WORDS));
        assert_eq!(aborted[0].time, "1970-01-01T00:01:00Z");
        let promoted = told(&aborted, &moving, &state(Phase::Idle, "b", None));
        assert_eq!(words(&promoted), ["Promoted b", "Aborted b"]);
        // What goes on, or back without a failure, is no end.
        assert_eq!(told(&aborted, &moving, &aborting), aborted);
        assert_eq!(told(&[], &aborting, &state(Phase::Idle, "a", None)), []);
        assert_eq!(
            told(&[], &state(Phase::Aborted, "a", Some("b")), &state(Phase::Aborted, "a", Some("b"))),
            []
        );
        let many = (0..30).fold(Vec::new(), |last, _| told(&last, &moving, &state(Phase::Idle, "b", None)));
        assert_eq!(many.len(), ENDS);
    }

    #[test]
    fn why_it_cannot_go_on_is_a_condition() {
        let status = RolloutStatus::of(&State::default(), &spec(), Some(2));
        let stalled = status.clone().stalled("Analysis", "there is no AnalysisTemplate errors", 60);
        assert!(stalled.is_stalled() && !status.is_stalled());
        let later = stalled.clone().stalled("Analysis", "another reason", 120);
        assert_eq!(later.conditions[0].last_transition_time, stalled.conditions[0].last_transition_time);
        assert_eq!(later.message.as_deref(), Some("another reason"));
        let doubt = status.clone().revertible(&[], Some("no key signs it"), 60);
        assert_eq!(
            (doubt.conditions[0].type_.as_str(), doubt.conditions[0].status.as_str()),
            ("Revertible", "False")
        );
        assert_eq!(status.revertible(&doubt.conditions, None, 60).conditions, []);
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
        assert_eq!(values(2, std::slice::from_ref(&counted), &[one("2")]), ["2"]);
        let many: Vec<Measurement> = (0..30).map(|n| one(&n.to_string())).collect();
        assert_eq!(values(30, &many, &[]).len(), SHOWN);
    }
}
