//! What the API server refuses in a Rollout's spec, told without one.

use super::{RolloutError, RolloutSpec, Step, Strategy};

fn mistake(field: impl Into<String>, reason: &str) -> RolloutError {
    RolloutError { field: field.into(), reason: reason.into() }
}

impl RolloutSpec {
    /// What its definition's rules say against it.
    pub fn mistakes(&self) -> Vec<RolloutError> {
        let mut found = Vec::new();
        if ways(&self.strategy) != 1 {
            found.push(mistake("spec.strategy", "exactly one strategy is needed"));
        }
        let steps = self.strategy.canary.iter().flat_map(|canary| canary.steps.iter().enumerate());
        for (at, _) in steps.filter(|(_, step)| things(step) != 1) {
            let field = format!("spec.strategy.canary.steps[{at}]");
            found.push(mistake(field, "a step does exactly one thing"));
        }
        if self.strategy.canary.as_ref().is_some_and(|canary| canary.steps.is_empty()) {
            found.push(mistake("spec.strategy.canary.steps", "there is no step"));
        }
        if let Some(rolling) = &self.strategy.rolling {
            let field = "spec.strategy.rolling.batches";
            if rolling.batches.is_empty() {
                found.push(mistake(field, "there is no batch"));
            }
            if rolling.batches.iter().any(|batch| !(1..=100).contains(batch)) {
                found.push(mistake(field, "batches are percentages, from 1 to 100"));
            }
        }
        let both = |traffic: &super::Traffic| traffic.weight_path.is_some() && !traffic.routes.is_empty();
        if self.traffic.as_ref().is_some_and(both) {
            found.push(mistake("spec.traffic", "weightPath and routes exclude each other"));
        }
        found
    }
}

fn ways(strategy: &Strategy) -> usize {
    let Strategy { canary, rolling, recreate, blue_green } = strategy;
    let set = [canary.is_some(), rolling.is_some(), recreate.is_some(), blue_green.is_some()];
    set.into_iter().filter(|set| *set).count()
}

fn things(step: &Step) -> usize {
    let Step { set_weight, set_scale, set_header, set_mirror, analysis, pause } = step;
    let set = [
        set_weight.is_some(),
        set_scale.is_some(),
        set_header.is_some(),
        set_mirror.is_some(),
        analysis.is_some(),
        pause.is_some(),
    ];
    set.into_iter().filter(|set| *set).count()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(strategy: Value, traffic: Value) -> Vec<String> {
        let spec: RolloutSpec = serde_json::from_value(json!({
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "strategy": strategy, "traffic": traffic}))
        .unwrap();
        spec.mistakes().into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn what_the_definition_refuses_is_told_without_it() {
        let routes = json!({"weightPath": "spec.x", "routes": [{"kind": "HTTPRoute", "name": "web"}]});
        let canary = |steps: Value| json!({"canary": {"steps": steps}});
        for (strategy, traffic, expected) in [
            (canary(json!([{"setWeight": 5}])), Value::Null, vec![]),
            (json!({}), Value::Null, vec!["spec.strategy"]),
            (json!({"recreate": {}, "rolling": {"batches": [5]}}), Value::Null, vec!["spec.strategy"]),
            (canary(json!([])), Value::Null, vec!["spec.strategy.canary.steps"]),
            (
                canary(json!([{"setWeight": 5, "pause": {}}])),
                Value::Null,
                vec!["spec.strategy.canary.steps[0]"],
            ),
            (json!({"rolling": {"batches": []}}), Value::Null, vec!["spec.strategy.rolling.batches"]),
            (json!({"rolling": {"batches": [0]}}), Value::Null, vec!["spec.strategy.rolling.batches"]),
            (json!({"recreate": {}}), routes, vec!["spec.traffic"]),
        ] {
            assert_eq!(told(strategy, traffic), expected);
        }
    }
}
