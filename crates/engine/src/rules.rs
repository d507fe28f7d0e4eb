//! Rules for the health of kinds of one's own, in CEL. In: rules of an
//! Application (`spec.health`), an object as `self`. Out: a verdict: a name of a
//! health, or a map `{health, reason, message}`.
//!
//! Their bounds are those of [`crate::expression`].

use std::sync::Arc;

use cel::Value as Cel;
use gitops_api::application::HealthRule;
use gitops_core::health::{Health, HealthReport, health, unsettled};
use gitops_core::plan::annotations::ignores_health;
use serde_json::Value;

use crate::error::EngineError;
use crate::expression::Expression;
use crate::load::Loaded;

/// Compiled rules; kinds without one are judged by the built-in ones.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Vec<Arc<Rule>>,
}

struct Rule {
    /// Such as `spec.health[0].cel`.
    place: String,
    group: String,
    kind: String,
    expression: Arc<Expression>,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} {}", self.place, self.group, self.kind)
    }
}

impl Rules {
    /// Those of an Application.
    ///
    /// # Errors
    /// The first that cannot be compiled, with its place.
    pub fn of(loaded: &Loaded) -> Result<Self, EngineError> {
        Self::compile(&format!("Application {}", loaded.application), "spec.health", &loaded.spec.health)
    }

    /// `file` and `place` are for messages.
    ///
    /// # Errors
    /// The first that cannot be compiled, with its place.
    pub fn compile(file: &str, place: &str, rules: &[HealthRule]) -> Result<Self, EngineError> {
        let mut compiled = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            let place = format!("{place}[{index}].cel");
            let failed = |reason: String| EngineError::Application {
                file: file.to_owned(),
                reason: format!("{place} ({}): {reason}", rule.kind),
            };
            let expression = Expression::compile(&rule.cel, &["self"]).map_err(failed)?;
            compiled.push(Arc::new(Rule {
                place,
                group: rule.group.clone(),
                kind: rule.kind.clone(),
                expression,
            }));
        }
        Ok(Self { rules: compiled })
    }

    /// These, and where they know nothing, others.
    pub fn extend(&mut self, others: Self) {
        self.rules.extend(others.rules);
    }

    /// Judges an object by itself, unless its health counts for nothing: by the
    /// first rule for its kind, else by the built-in ones.
    pub fn health(&self, object: &Value) -> HealthReport {
        if ignores_health(object) {
            return HealthReport::new(Health::Healthy, "", "Git says its health does not count");
        }
        self.state(object)
    }

    /// The same, whatever Git says of its health.
    pub fn state(&self, object: &Value) -> HealthReport {
        let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
        let group = text("apiVersion").split_once('/').map_or("", |(group, _)| group);
        let rule = self.rules.iter().find(|rule| rule.kind == text("kind") && rule.group == group);
        match (rule, unsettled(object)) {
            (None, _) => health(object),
            (Some(_), Some(report)) => report,
            (Some(rule), None) => judged(rule, object),
        }
    }
}

/// A rule that fails says nothing about the object.
fn unknown(rule: &Rule, reason: impl std::fmt::Display) -> HealthReport {
    HealthReport::new(Health::Unknown, "RuleFailed", format!("{}: {reason}", rule.place))
}

fn judged(rule: &Rule, object: &Value) -> HealthReport {
    let said = rule.expression.evaluate(&[("self", object.clone())]);
    said.and_then(|value| verdict(&value)).unwrap_or_else(|reason| unknown(rule, reason))
}

fn verdict(value: &Cel) -> Result<HealthReport, String> {
    let names = || Health::ALL.map(Health::name).join(", ");
    let named = |name: &str| {
        Health::named(name).ok_or_else(|| format!("it gives {name:?}, which is none of {}", names()))
    };
    let map = match value {
        Cel::String(name) => {
            let health = named(name)?;
            let reason = if health == Health::Healthy { "" } else { health.name() };
            return Ok(HealthReport::new(health, reason, format!("its rule says {}", health.name())));
        }
        Cel::Map(map) => map,
        _ => return Err("it gives neither a health nor a map {health, reason, message}".into()),
    };
    let field = |name: &str| match map.get(&cel::objects::Key::from(name)) {
        Some(Cel::String(text)) => Ok(text.chars().take(1000).collect::<String>()),
        None | Some(Cel::Null) => Ok(String::new()),
        Some(_) => Err(format!("its {name} is no string")),
    };
    let health = named(&field("health")?)?;
    let (reason, message) = (field("reason")?, field("message")?);
    let message = if message.is_empty() { format!("its rule says {}", health.name()) } else { message };
    let reason = if reason.is_empty() && health != Health::Healthy { health.name().into() } else { reason };
    Ok(HealthReport { health, reason, message })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn rules(cel: &str) -> Result<Rules, EngineError> {
        let rule = HealthRule { group: "ex.io".into(), kind: "Db".into(), cel: cel.into() };
        Rules::compile("gitops.yaml:1", "spec.health", &[rule])
    }

    fn db(status: Value) -> Value {
        json!({"apiVersion": "ex.io/v1", "kind": "Db", "metadata": {"name": "a", "generation": 1}, "spec": {"size": 2}, "status": status})
    }

    #[test]
    fn a_rule_gives_a_name_or_a_map() {
        let cases = [
            ("'Healthy'", json!({}), "Healthy  its rule says Healthy"),
            (
                "self.status.ready == self.spec.size ? 'Healthy' : 'Progressing'",
                json!({"ready": 1}),
                "Progressing Progressing its rule says Progressing",
            ),
            (
                "has(self.status.error) ? {'health': 'Degraded', 'reason': 'Broken', 'message': 'it says ' + self.status.error} : {'health': 'Healthy'}",
                json!({"error": "no disk"}),
                "Degraded Broken it says no disk",
            ),
            (
                "self.status.nodes.all(n, n.up) ? 'Healthy' : 'Degraded'",
                json!({"nodes": [{"up": true}, {"up": false}]}),
                "Degraded Degraded its rule says Degraded",
            ),
            (
                "self.status.nodes.filter(n, !n.up).map(n, n.name).size() > 0 ? 'Degraded' : 'Healthy'",
                json!({"nodes": [{"up": false, "name": "x"}]}),
                "Degraded Degraded its rule says Degraded",
            ),
            (
                "self.status.phase.matches('^(Up|Ready)$') ? 'Healthy' : 'Unknown'",
                json!({"phase": "Up"}),
                "Healthy  its rule says Healthy",
            ),
            (
                "'Fine'",
                json!({}),
                "Unknown RuleFailed spec.health[0].cel: it gives \"Fine\", which is none of Healthy, Suspended, Unknown, Progressing, Missing, Degraded",
            ),
            (
                "self.status.gone",
                json!({}),
                "Unknown RuleFailed spec.health[0].cel: No such key: gone; ask with has() first",
            ),
            ("{'health': 1}", json!({}), "Unknown RuleFailed spec.health[0].cel: its health is no string"),
            (
                "1",
                json!({}),
                "Unknown RuleFailed spec.health[0].cel: it gives neither a health nor a map {health, reason, message}",
            ),
        ];
        for (cel, status, expected) in cases {
            let report = rules(cel).unwrap().health(&db(status));
            assert_eq!(
                format!("{} {} {}", report.health.name(), report.reason, report.message),
                expected,
                "{cel}"
            );
        }
    }

    #[test]
    fn what_it_does_not_know_is_judged_as_ever() {
        let rules = rules("'Degraded'").unwrap();
        assert_eq!(rules.health(&json!({"apiVersion": "v1", "kind": "ConfigMap"})).health, Health::Healthy);
        assert_eq!(rules.health(&db(json!({"observedGeneration": 0}))).reason, "NotObserved");
        let mut going = db(json!({}));
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(rules.health(&going).reason, "Terminating");
        let mut ignored = db(json!({"observedGeneration": 0}));
        ignored["metadata"]["annotations"] = json!({"argocd.argoproj.io/ignore-healthcheck": "true"});
        assert_eq!(
            (rules.health(&ignored).health, rules.state(&ignored).reason.as_str()),
            (Health::Healthy, "NotObserved")
        );
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let deep = format!("{}1{}", "(".repeat(500), ")".repeat(500));
        let cases = [
            ("self.status.", "gitops.yaml:1: spec.health[0].cel (Db): line 1, column"),
            ("object.status == 1", "there is no \"object\"; the object is `self`"),
            ("self.a.all(x, self.b.all(y, self.c.all(z, z)))", "3 inside of each other"),
            ("self.a.all(x, self.b.all(y, y in self.c))", "3 inside of each other"),
            ("[self.a].map(x, x + x)", "it adds inside of a loop"),
            (deep.as_str(), "500 brackets inside of each other"),
            ("", "line 1"),
        ];
        for (cel, expected) in cases {
            let error = rules(cel).unwrap_err().to_string();
            assert!(error.contains(expected), "{cel}: {error}");
        }
        let many = format!("{}true", "!".repeat(4000));
        assert!(rules(&many).is_ok(), "a long chain does not break the parser");
        let long = format!("'{}'", "x".repeat(5000));
        assert!(rules(&long).unwrap_err().to_string().contains("5002 bytes"));
    }

    #[test]
    fn a_rule_is_bounded() {
        let list: Vec<u32> = (0..20_000).collect();
        let start = std::time::Instant::now();
        let slow =
            rules("self.status.l.all(x, self.status.l.all(y, x >= 0 || y >= 0)) ? 'Healthy' : 'Degraded'")
                .unwrap();
        let report = slow.health(&db(json!({"l": list})));
        assert_eq!((report.health, report.reason.as_str()), (Health::Unknown, "RuleFailed"));
        assert!(start.elapsed() < Duration::from_secs(5));
        // To look for something in a list is a loop, too.
        let health = |cel: &str, list: &[u32]| {
            rules(&format!("{cel} ? 'Healthy' : 'Degraded'")).unwrap().health(&db(json!({"l": list})))
        };
        let report = health("self.status.l.all(x, x in self.status.l)", &list);
        assert!(report.health == Health::Unknown && report.message.contains("too long"), "{report:?}");
        assert_eq!(health("self.status.l.all(x, x in self.status.l)", &list[..9]).health, Health::Healthy);
        assert_eq!(health("self.status.l.all(x, !(x in ['a', 'b']))", &list[..9]).health, Health::Healthy);
    }
}
