//! AnalysisTemplates, as the driver will read them.

use std::collections::BTreeSet;

use gitops_api::AnalysisTemplate;
use gitops_api::analysis::Argument;
use gitops_api::rollout::{RolloutError, RolloutSpec};
use gitops_core::names::GROUP;
use gitops_core::object::ObjectKey;
use gitops_core::rollout::desired::Objects;

use crate::analysis::metrics::{self, Templates};

/// What is wrong with a template by itself, and a way out.
pub(super) fn mistakes(template: &AnalysisTemplate) -> Vec<(RolloutError, &'static str)> {
    let name = template.metadata.name.clone().unwrap_or_default();
    let (spec, mut found) = (&template.spec, Vec::new());
    let mut tell = |field: String, reason: String, hint| found.push((RolloutError { field, reason }, hint));
    if let Err(error) = spec.rules(&name) {
        tell(error.field, error.reason, "write 30s, 5m, 1h30m");
    }
    // Whatever its users give.
    let given = |argument: &Argument| Argument { value: Some(String::new()), ..argument.clone() };
    let given: Vec<Argument> = spec.args.iter().map(given).collect();
    if let Err(error) = spec.filled(&given, "", "") {
        tell("spec.metrics".into(), error.to_string(), "add it to spec.args, or mend its name");
    }
    let mut names = BTreeSet::new();
    for (at, metric) in spec.metrics.iter().enumerate() {
        let field = format!("spec.metrics[{at}]");
        if !names.insert(&metric.name) {
            tell(field.clone(), format!("two metrics are called {}", metric.name), "rename one");
        }
        for (inner, reason) in metrics::faults(metric) {
            let dot = if inner.is_empty() { "" } else { "." };
            let reason = format!("{}: {reason}", metric.name);
            tell(format!("{field}{dot}{inner}"), reason, "a condition is CEL, such as: result < 0.01");
        }
    }
    if spec.metrics.is_empty() {
        tell("spec.metrics".into(), "there is no metric".into(), "add one");
    }
    found
}

/// The templates that a Rollout names and that are declared beside it.
pub(super) fn named(spec: &RolloutSpec, namespace: &str, beside: &Objects) -> Templates {
    let mut found = Templates::new();
    for reference in spec.templates() {
        let key = ObjectKey {
            group: GROUP.into(),
            kind: "AnalysisTemplate".into(),
            namespace: namespace.to_owned(),
            name: reference.name.clone(),
        };
        if let Some(object) = beside.get(&key) {
            found.insert(reference.name.clone(), metrics::read(&reference.name, &object.value));
        }
    }
    found
}
