//! From what was read to what it means. In: values of the new version, perhaps
//! samples of both, and a condition in CEL. Out: success, failure or neither,
//! and the value in words.

use std::sync::Arc;

use cel::Value as Cel;
use gitops_core::rollout::analysis::{Outcome, outcome};
use gitops_core::rollout::spec::Rule;
use gitops_core::rollout::statistics::is_greater;
use serde_json::{Value, json};

use crate::expression::Expression;

/// What a condition may use.
pub(super) const VARIABLES: [&str; 3] = ["result", "baseline", "worse"];
/// How sure the test has to be that the new version is worse.
const CONFIDENCE: f64 = 0.95;
/// Characters of a value that is shown.
const MAX_SHOWN: usize = 120;

/// Samples of the new and the old version.
#[derive(Clone, Debug)]
pub(super) struct Samples {
    pub(super) new: Vec<f64>,
    pub(super) old: Vec<f64>,
    /// Lower ones are worse.
    pub(super) lower: bool,
}

/// One measurement, before it is judged.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// What a condition sees as `result`.
    result: Value,
    /// The old version's, and whether the test says that the new one is worse:
    /// none when there are too few samples to say.
    compared: Option<(Value, Option<bool>)>,
    samples: u64,
    /// What it means where there is no condition.
    plain: Option<bool>,
    /// Failed whatever the condition says.
    failed: bool,
    /// Further words for people.
    told: String,
}

impl Reading {
    /// A value that a condition judges.
    pub(super) fn of_value(result: Value, samples: u64) -> Self {
        Self { result, compared: None, samples, plain: None, failed: false, told: String::new() }
    }

    /// One number, or a list of several.
    pub(super) fn of_values(values: Vec<f64>) -> Self {
        let samples = values.len() as u64;
        let result = match values.as_slice() {
            [one] => json!(one),
            all => json!(all),
        };
        Self::of_value(result, samples)
    }

    /// Samples of both versions; a condition sees their medians.
    pub(super) fn of_samples(samples: Samples) -> Self {
        let Samples { new, old, lower } = samples;
        let worse =
            if lower { is_greater(&old, &new, CONFIDENCE) } else { is_greater(&new, &old, CONFIDENCE) };
        let (result, baseline) = (median(&new), median(&old));
        let told = match (&worse, result.is_null() || baseline.is_null()) {
            (_, true) => "no samples".to_owned(),
            (None, false) => format!("{} and {} samples: too few to compare", new.len(), old.len()),
            (Some(worse), false) => {
                let word = if *worse { "worse" } else { "not worse" };
                format!("{word} than {} of the old version", shown(&baseline))
            }
        };
        let samples = new.len().min(old.len()) as u64;
        Self { compared: Some((baseline, worse)), told, ..Self::of_value(result, samples) }
    }

    /// One that says by itself what it means.
    pub(super) fn plain(self, means: bool) -> Self {
        Self { plain: Some(means), ..self }
    }

    /// One that no condition makes a success.
    pub(super) fn failed(self) -> Self {
        Self { failed: true, plain: Some(false), ..self }
    }

    pub(super) fn told(self, told: String) -> Self {
        Self { told, ..self }
    }

    /// What it means, the value, and why.
    pub(super) fn judge(&self, rule: &Rule, condition: Option<&Arc<Expression>>) -> (Outcome, String) {
        let value = shown(&self.result);
        let words = |more: &str| match (self.told.as_str(), more) {
            ("", "") => value.clone(),
            (told, "") => format!("{value}, {told}"),
            ("", more) => format!("{value}, {more}"),
            (told, more) => format!("{value}, {told}, {more}"),
        };
        if self.failed {
            return (Outcome::Failure, words(""));
        }
        let met = match self.is_met(condition) {
            Ok(met) => met,
            Err(reason) => return (Outcome::Inconclusive, words(&reason)),
        };
        let few = if self.samples < rule.min_samples {
            format!("{} samples of at least {}", self.samples, rule.min_samples)
        } else {
            String::new()
        };
        (outcome(met, self.samples, rule), words(&few))
    }

    /// With samples the test counts beside the condition, unless that speaks of
    /// the test itself.
    fn is_met(&self, condition: Option<&Arc<Expression>>) -> Result<Option<bool>, String> {
        let Some((baseline, worse)) = &self.compared else {
            let Some(condition) = condition else { return Ok(self.plain) };
            return evaluate(condition, &[("result", self.result.clone())]).map(Some);
        };
        let (Some(worse), false) = (worse, self.result.is_null() || baseline.is_null()) else {
            return Ok(None);
        };
        let Some(condition) = condition else { return Ok(Some(!worse)) };
        let values =
            [("result", self.result.clone()), ("baseline", baseline.clone()), ("worse", json!(worse))];
        let met = evaluate(condition, &values)?;
        Ok(Some(met && (condition.uses("worse") || !worse)))
    }
}

fn evaluate(condition: &Arc<Expression>, values: &[(&str, Value)]) -> Result<bool, String> {
    match condition.evaluate(values) {
        Ok(Cel::Bool(met)) => Ok(met),
        Ok(other) => Err(format!("success: it gives {}, which is neither true nor false", other.type_of())),
        Err(reason) => Err(format!("success: {reason}")),
    }
}

fn median(samples: &[f64]) -> Value {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => Value::Null,
        even if even % 2 == 0 => json!((sorted[middle - 1] + sorted[middle]) / 2.0),
        _ => json!(sorted[middle]),
    }
}

/// A value in few signs.
pub(super) fn shown(value: &Value) -> String {
    let number = |value: &Value| {
        value.as_f64().map(|number| {
            if number == number.trunc() && number.abs() < 1e15 {
                format!("{number:.0}")
            } else {
                rounded(number)
            }
        })
    };
    let text = match value {
        Value::Number(_) => number(value).unwrap_or_default(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_number) => {
            format!("[{}]", items.iter().filter_map(number).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    };
    if text.chars().count() <= MAX_SHOWN {
        return text;
    }
    format!("{}…", text.chars().take(MAX_SHOWN - 1).collect::<String>())
}

/// To four significant digits.
fn rounded(number: f64) -> String {
    let digits = 3 - (number.abs().log10().floor() as i32);
    let text = format!("{number:.*}", usize::try_from(digits.clamp(0, 12)).unwrap_or(0));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn rule(min_samples: u64) -> Rule {
        Rule {
            name: "t/m".into(),
            interval: 1,
            count: 1,
            failure_limit: 0,
            inconclusive_limit: 0,
            min_samples,
        }
    }

    fn judged(reading: &Reading, min_samples: u64, success: Option<&str>) -> (Outcome, String) {
        let condition = success.map(|text| Expression::compile(text, &VARIABLES).unwrap());
        reading.judge(&rule(min_samples), condition.as_ref())
    }

    #[test]
    fn conditions_judge_values() {
        use Outcome::{Failure, Inconclusive, Success};
        for (values, success, outcome, told) in [
            (vec![0.004], "result < 0.01", Success, "0.004"),
            (vec![0.5], "result < 0.01", Failure, "0.5"),
            (vec![0.0], "result == 0", Success, "0"),
            (vec![1.0, 2.0], "result.all(x, x < 3)", Success, "[1, 2]"),
            (vec![1.0, 2.0], "result < 3", Inconclusive, "[1, 2], success:"),
            (
                vec![1.0],
                "result",
                Inconclusive,
                "1, success: it gives float, which is neither true nor false",
            ),
        ] {
            let (found, words) = judged(&Reading::of_values(values), 0, Some(success));
            assert!(found == outcome && words.starts_with(told), "{success}: {found:?} {words}");
        }
    }

    #[test]
    fn samples_are_compared() {
        use Outcome::{Failure, Inconclusive, Success};
        let low: Vec<f64> = (0..10).map(f64::from).collect();
        let high: Vec<f64> = low.iter().map(|value| value + 100.0).collect();
        let reading = |new: &[f64], old: &[f64], lower| {
            Reading::of_samples(Samples { new: new.to_vec(), old: old.to_vec(), lower })
        };
        for (reading, samples, success, outcome, told) in [
            (reading(&high, &low, false), 0, None, Failure, "104.5, worse than 4.5 of the old version"),
            (reading(&low, &high, false), 0, None, Success, "4.5, not worse than 104.5 of the old version"),
            (reading(&low, &high, true), 0, None, Failure, "4.5, worse than 104.5"),
            (reading(&low, &low, false), 0, Some("result < 1.0"), Failure, "4.5, not worse"),
            (reading(&high, &low, false), 0, Some("result < 1000"), Failure, "104.5, worse"),
            // The condition allows for a difference.
            (
                reading(&high, &low, false),
                0,
                Some("!worse || result < 50.0 * baseline"),
                Success,
                "104.5, worse",
            ),
            (
                reading(&high, &low, false),
                50,
                None,
                Inconclusive,
                "104.5, worse than 4.5 of the old version, 10 samples of at least 50",
            ),
            (reading(&high[..2], &low[..2], false), 0, None, Inconclusive, "100.5, 2 and 2 samples: too few"),
            (reading(&[], &low, false), 0, None, Inconclusive, "null, no samples"),
        ] {
            let (found, words) = judged(&reading, samples, success);
            assert!(found == outcome && words.starts_with(told), "{success:?}: {found:?} {words}");
        }
    }

    #[test]
    fn what_failed_stays_so() {
        let failed = Reading::of_value(json!(false), 1).failed();
        assert_eq!(judged(&failed, 0, Some("true")).0, Outcome::Failure);
        assert_eq!(judged(&Reading::of_value(json!(1), 1).plain(true), 0, None).0, Outcome::Success);
        assert_eq!(judged(&Reading::of_value(json!(1), 1), 0, None).0, Outcome::Inconclusive);
    }

    #[test]
    fn values_are_short() {
        for (value, expected) in [
            (json!(0.00123456), "0.001235"),
            (json!(123456.789), "123457"),
            (json!(0.1), "0.1"),
            (json!(3.0), "3"),
            (json!({"a": 1}), "{\"a\":1}"),
        ] {
            assert_eq!(shown(&value), expected);
        }
        assert_eq!(shown(&json!("x".repeat(500))).chars().count(), MAX_SHOWN);
    }
}
