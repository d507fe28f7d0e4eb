//! Rules for the health of kinds of one's own, in CEL. In: rules of an
//! Application (`spec.health`), an object as `self`. Out: a verdict: a name of a
//! health, or a map `{health, reason, message}`.
//!
//! A rule comes from a repository, so it is bounded: in length, in loops and in
//! time. One that took too long is not asked again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use cel::common::ast::{EntryExpr, Expr};
use cel::{Context, IdedExpr, Program, Value as Cel};
use gitops_api::application::HealthRule;
use gitops_core::health::{Health, HealthReport, health, unsettled};
use serde_json::Value;

use crate::error::EngineError;
use crate::load::Loaded;

/// Bytes of an expression, as the definition allows.
const MAX_LENGTH: usize = 4096;
/// Loops (`all`, `exists`, `filter`, `map`) in one expression, and inside of
/// each other.
const MAX_LOOPS: usize = 8;
const MAX_NESTED: u32 = 2;
/// Steps that loops over an object's longest list may take.
const MAX_STEPS: usize = 1_000_000;
/// Brackets inside of each other.
const MAX_BRACKETS: usize = 32;
const TIME: Duration = Duration::from_millis(250);
/// The parser goes down once for every sign of a chain such as `!!!!a`; memory
/// is only used as far as it really goes.
const STACK: usize = 256 << 20;

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
    program: Program,
    nested: u32,
    too_slow: AtomicBool,
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
            let (program, nested) = compile(&rule.cel).map_err(failed)?;
            compiled.push(Arc::new(Rule {
                place,
                group: rule.group.clone(),
                kind: rule.kind.clone(),
                program,
                nested,
                too_slow: AtomicBool::new(false),
            }));
        }
        Ok(Self { rules: compiled })
    }

    /// These, and where they know nothing, others.
    pub fn extend(&mut self, others: Self) {
        self.rules.extend(others.rules);
    }

    /// Judges an object by itself: by the first rule for its kind, else by the
    /// built-in ones.
    pub fn health(&self, object: &Value) -> HealthReport {
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

fn compile(source: &str) -> Result<(Program, u32), String> {
    if source.len() > MAX_LENGTH {
        return Err(format!("the expression has {} bytes, more than {MAX_LENGTH}", source.len()));
    }
    let program = parsed(source)?;
    let mut loops = Loops::default();
    loops.count(program.expression(), 0);
    if loops.all > MAX_LOOPS || loops.nested > MAX_NESTED {
        return Err(format!(
            "it has {} loops, {} inside of each other: at most {MAX_LOOPS} and {MAX_NESTED} are allowed",
            loops.all, loops.nested
        ));
    }
    if loops.adds {
        return Err("it adds inside of a loop: what could grow without end is not allowed there".into());
    }
    let names = program.references();
    if let Some(name) = names.variables().into_iter().find(|name| {
        *name != "self" && !name.starts_with('@') && !loops.names.iter().any(|known| known == name)
    }) {
        return Err(format!("there is no {name:?}; the object is `self`"));
    }
    Ok((program, loops.nested))
}

fn parsed(source: &str) -> Result<Program, String> {
    let (mut depth, mut deepest) = (0_usize, 0);
    for sign in source.chars() {
        match sign {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    if deepest > MAX_BRACKETS {
        return Err(format!("{deepest} brackets inside of each other: at most {MAX_BRACKETS} are allowed"));
    }
    let source = source.to_owned();
    let parse = move || {
        Program::compile(&source).map_err(|errors| {
            let first = errors.errors.first();
            first.map_or_else(
                || "it is no CEL expression".to_owned(),
                |error| format!("line {}, column {}: {}", error.pos.0, error.pos.1, error.msg),
            )
        })
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(parse).map_err(|e| e.to_string())?;
    thread.join().unwrap_or_else(|_| Err("it is no CEL expression".into()))
}

/// What an expression's loops look like.
#[derive(Default)]
struct Loops {
    all: usize,
    nested: u32,
    /// Something other than a loop's own result grows in a loop.
    adds: bool,
    names: Vec<String>,
}

impl Loops {
    fn count(&mut self, expression: &IdedExpr, depth: u32) {
        match &expression.expr {
            Expr::Call(call) => {
                let own =
                    |first: &IdedExpr| matches!(&first.expr, Expr::Ident(name) if name.starts_with('@'));
                self.adds |= depth > 0 && call.func_name == "_+_" && !call.args.first().is_some_and(own);
                call.target.iter().for_each(|target| self.count(target, depth));
                call.args.iter().for_each(|argument| self.count(argument, depth));
            }
            Expr::Comprehension(inner) => {
                self.all += 1;
                self.nested = self.nested.max(depth + 1);
                self.names.push(inner.iter_var.clone());
                self.names.extend(inner.iter_var2.clone());
                self.names.push(inner.accu_var.clone());
                [&inner.iter_range, &inner.accu_init].into_iter().for_each(|part| self.count(part, depth));
                [&inner.loop_cond, &inner.loop_step, &inner.result]
                    .into_iter()
                    .for_each(|part| self.count(part, depth + 1));
            }
            Expr::List(list) => list.elements.iter().for_each(|element| self.count(element, depth)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.entry(&entry.expr, depth)),
            Expr::Struct(fields) => fields.entries.iter().for_each(|entry| self.entry(&entry.expr, depth)),
            Expr::Select(select) => self.count(&select.operand, depth),
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
        }
    }

    fn entry(&mut self, entry: &EntryExpr, depth: u32) {
        match entry {
            EntryExpr::StructField(field) => self.count(&field.value, depth),
            EntryExpr::MapEntry(entry) => {
                self.count(&entry.key, depth);
                self.count(&entry.value, depth);
            }
        }
    }
}

/// A rule that fails says nothing about the object.
fn unknown(rule: &Rule, reason: impl std::fmt::Display) -> HealthReport {
    HealthReport::new(Health::Unknown, "RuleFailed", format!("{}: {reason}", rule.place))
}

fn judged(rule: &Arc<Rule>, object: &Value) -> HealthReport {
    let steps = longest(object).max(MAX_LENGTH / 2).saturating_pow(rule.nested);
    if steps > MAX_STEPS.max((MAX_LENGTH / 2).pow(rule.nested)) {
        return unknown(rule, "the object's lists are too long for its loops");
    }
    let too_slow = || unknown(rule, format!("no answer within {} ms", TIME.as_millis()));
    if rule.too_slow.load(Ordering::Relaxed) {
        return too_slow();
    }
    let (done, answer) = channel();
    let (work, value) = (rule.clone(), object.clone());
    // A thread of its own: an evaluation cannot be interrupted from inside.
    let evaluate = move || {
        let mut context = Context::default();
        context.add_variable_from_value("self", convert(&value));
        let result = work.program.execute(&context).map_err(|error| error.to_string());
        let _ = done.send(result.map_err(|error| shortened(&error)).and_then(|value| verdict(&value)));
    };
    if let Err(error) = std::thread::Builder::new().stack_size(STACK).spawn(evaluate) {
        return unknown(rule, error);
    }
    match answer.recv_timeout(TIME) {
        Ok(Ok(report)) => report,
        Ok(Err(reason)) => unknown(rule, reason),
        Err(_) => {
            rule.too_slow.store(true, Ordering::Relaxed);
            too_slow()
        }
    }
}

/// The crate's own words may hold a whole object.
fn shortened(error: &str) -> String {
    let line: String = error.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect();
    if line.starts_with("No such key") { format!("{line}; ask with has() first") } else { line }
}

fn longest(value: &Value) -> usize {
    match value {
        Value::Array(list) => list.iter().map(longest).max().unwrap_or(0).max(list.len()),
        Value::Object(map) => map.values().map(longest).max().unwrap_or(0).max(map.len()),
        _ => 0,
    }
}

/// Whole numbers are `int`, as in Kubernetes' own CEL.
fn convert(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(flag) => Cel::Bool(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Cel::Int(whole),
            (None, float) => Cel::Float(float.unwrap_or(f64::NAN)),
        },
        Value::String(text) => Cel::from(text.as_str()),
        Value::Array(list) => Cel::from(list.iter().map(convert).collect::<Vec<_>>()),
        Value::Object(map) => Cel::from(
            map.iter()
                .map(|(key, value)| (key.clone(), convert(value)))
                .collect::<std::collections::HashMap<String, Cel>>(),
        ),
    }
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
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let deep = format!("{}1{}", "(".repeat(500), ")".repeat(500));
        let cases = [
            ("self.status.", "gitops.yaml:1: spec.health[0].cel (Db): line 1, column"),
            ("object.status == 1", "there is no \"object\"; the object is `self`"),
            ("self.a.all(x, self.b.all(y, self.c.all(z, z)))", "3 inside of each other"),
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
    }
}
