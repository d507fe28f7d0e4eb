//! Counting measurements. In: rules and outcomes. Out: what is to be measured
//! now, and whether the analysis passed. The conditions themselves are
//! evaluated by whoever measures.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::program::{Move, program};
use super::spec::{Rule, Spec};
use super::state::{Phase, State, Tally};

/// What one measurement said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Success,
    Failure,
    /// Too few samples, no answer, or no clear one.
    Inconclusive,
}

/// Which analysis a measurement is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// The move of this number.
    Move(usize),
    Background,
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The hash of the version that was measured.
    pub version: String,
    pub scope: Scope,
    pub rule: String,
    pub outcome: Outcome,
    /// Seconds since 1970, when it was begun.
    pub at: i64,
}

/// How an analysis stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    Running,
    Passed,
    /// The metric and why, in words.
    Failed(String),
    Inconclusive(String),
}

/// What a measurement of a condition says, if it rests on enough samples.
pub fn outcome(condition: Option<bool>, samples: u64, rule: &Rule) -> Outcome {
    match condition {
        _ if samples < rule.min_samples => Outcome::Inconclusive,
        None => Outcome::Inconclusive,
        Some(true) => Outcome::Success,
        Some(false) => Outcome::Failure,
    }
}

impl Tally {
    /// With one more measurement.
    pub fn count(&mut self, outcome: Outcome, at: i64) {
        let counted = match outcome {
            Outcome::Success => &mut self.succeeded,
            Outcome::Failure => &mut self.failed,
            Outcome::Inconclusive => &mut self.inconclusive,
        };
        *counted = counted.saturating_add(1);
        self.last = at;
    }

    /// How many there were.
    pub fn taken(&self) -> u32 {
        self.succeeded.saturating_add(self.failed).saturating_add(self.inconclusive)
    }
}

/// How the analysis of these rules stands. One in the background goes on until
/// it fails.
pub fn judge(rules: &[Rule], tallies: &BTreeMap<String, Tally>, background: bool) -> Judgement {
    let none = Tally::default();
    let of = |rule: &Rule| tallies.get(&rule.name).unwrap_or(&none);
    let over = |rule: &Rule, count: u32, what: &str, limit: u32| {
        let taken = of(rule).taken();
        format!("{}: {count} of {taken} measurements {what}, and {limit} may", rule.name)
    };
    if let Some(rule) = rules.iter().find(|rule| of(rule).failed > rule.failure_limit) {
        return Judgement::Failed(over(rule, of(rule).failed, "failed", rule.failure_limit));
    }
    if let Some(rule) = rules.iter().find(|rule| of(rule).inconclusive > rule.inconclusive_limit) {
        let told = over(rule, of(rule).inconclusive, "were inconclusive", rule.inconclusive_limit);
        return Judgement::Inconclusive(told);
    }
    if background || rules.iter().any(|rule| of(rule).taken() < rule.count) {
        return Judgement::Running;
    }
    match rules.iter().find(|rule| of(rule).succeeded == 0 && rule.count > 0) {
        Some(rule) => Judgement::Inconclusive(format!("{}: no measurement succeeded", rule.name)),
        None => Judgement::Passed,
    }
}

/// What is to be measured now.
pub fn due(spec: &Spec, state: &State, now: i64) -> Vec<(Scope, Rule)> {
    let ripe = |(scope, rule): &(Scope, Rule)| {
        let tallies = if *scope == Scope::Background { &state.background } else { &state.tallies };
        tallies.get(&rule.name).is_none_or(|tally| now >= tally.last.saturating_add(rule.interval))
    };
    measuring(spec, state).into_iter().filter(ripe).collect()
}

/// What is being measured, sooner or later. While it is held no move goes on, but
/// requests reach the new version all the same.
pub fn measuring(spec: &Spec, state: &State) -> Vec<(Scope, Rule)> {
    let running = state.is_under_way() && state.phase != Phase::Gated && state.back.is_none();
    if !running {
        return Vec::new();
    }
    let background = spec.analysis.iter();
    let mut due: Vec<_> = background.map(|rule| (Scope::Background, rule.clone())).collect();
    let act = program(spec).moves.into_iter().nth(state.at).map(|planned| planned.act);
    if let Some(Move::Analyse(rules)) = act.filter(|_| state.held.is_none()) {
        let wanting = rules
            .into_iter()
            .filter(|rule| state.tallies.get(&rule.name).map_or(0, Tally::taken) < rule.count);
        due.extend(wanting.map(|rule| (Scope::Move(state.at), rule)));
    }
    due
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn rule(failure_limit: u32, inconclusive_limit: u32) -> Rule {
        Rule {
            name: "t/m".into(),
            interval: 10,
            count: 3,
            failure_limit,
            inconclusive_limit,
            min_samples: 50,
        }
    }

    fn judged(rule: &Rule, outcomes: &str, background: bool) -> Judgement {
        let mut tally = Tally::default();
        for (at, letter) in outcomes.chars().enumerate() {
            let outcome = match letter {
                's' => Outcome::Success,
                'f' => Outcome::Failure,
                _ => Outcome::Inconclusive,
            };
            tally.count(outcome, at as i64);
        }
        judge(std::slice::from_ref(rule), &[(rule.name.clone(), tally)].into(), background)
    }

    #[test]
    fn limits_are_what_may_be_not_what_may_not() {
        for (failures, inconclusive, outcomes, expected) in [
            (0, 0, "", "Running"),
            (0, 0, "ss", "Running"),
            (0, 0, "sss", "Passed"),
            (0, 0, "f", "Failed"),
            (1, 0, "fs", "Running"),
            (1, 0, "fss", "Passed"),
            (1, 0, "ff", "Failed"),
            (0, 1, "is", "Running"),
            (0, 1, "ii", "Inconclusive"),
            // Failing weighs more than not knowing.
            (0, 0, "if", "Failed"),
            // Not knowing is no success.
            (0, 3, "iii", "Inconclusive"),
            (0, 3, "iis", "Passed"),
        ] {
            let told = format!("{:?}", judged(&rule(failures, inconclusive), outcomes, false));
            assert!(told.starts_with(expected), "{outcomes}: {told}");
        }
        assert_eq!(judged(&rule(0, 0), "ssssss", true), Judgement::Running);
        assert_eq!(
            judged(&rule(1, 0), "sff", true),
            Judgement::Failed("t/m: 2 of 3 measurements failed, and 1 may".into())
        );
        assert_eq!(judge(&[], &BTreeMap::new(), false), Judgement::Passed);
    }

    #[test]
    fn few_samples_say_nothing() {
        let rule = rule(0, 0);
        for (condition, samples, expected) in [
            (Some(true), 50, Outcome::Success),
            (Some(false), 50, Outcome::Failure),
            (Some(true), 49, Outcome::Inconclusive),
            (Some(false), 0, Outcome::Inconclusive),
            (None, 1000, Outcome::Inconclusive),
        ] {
            assert_eq!(outcome(condition, samples, &rule), expected, "{condition:?} {samples}");
        }
    }
}
