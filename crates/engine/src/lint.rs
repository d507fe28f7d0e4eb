//! What will not work in Rollouts and AnalysisTemplates. In: their files, and
//! perhaps all that their Application declares. Out: findings with file and
//! line. No cluster and no metric is asked.

use std::collections::{BTreeMap, BTreeSet};

use gitops_api::analysis::{AnalysisTemplateSpec, Metric};
use gitops_api::rollout::{RolloutError, TemplateRef};
use gitops_api::{AnalysisTemplate, Rollout};
use gitops_core::desired::{DesiredObject, LineTree, Origin};
use gitops_core::names::{GROUP, VERSION};
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::path::Path;
use gitops_core::rollout::desired::Objects;
use gitops_core::rollout::lint::{lint, lint_alone};
use gitops_core::rollout::spec::Rule;
use gitops_source::yaml::Document;
use serde::Serialize;
use serde_json::Value;

/// An object, and where it is written.
#[derive(Clone, Debug)]
pub struct Written {
    file: String,
    value: Value,
    lines: Lines,
}

#[derive(Clone, Debug)]
enum Lines {
    Document(LineTree),
    Declared(Box<DesiredObject>),
}

impl Written {
    /// A document of a file.
    pub fn document(file: &str, document: Document) -> Self {
        Self { file: file.to_owned(), value: document.value, lines: Lines::Document(document.lines) }
    }

    /// An object that an Application declares.
    pub fn declared(object: &DesiredObject) -> Self {
        let lines = Lines::Declared(Box::new(object.clone()));
        Self { file: object.origin.file.to_string(), value: object.value.clone(), lines }
    }

    /// The line of a field, or of the nearest one above it that is written.
    fn line(&self, field: &str) -> u32 {
        let path = field.parse::<Path>().unwrap_or_else(|_| Path::root());
        match &self.lines {
            Lines::Document(lines) => lines.line_of(&self.value, &path),
            Lines::Declared(object) => object.line_of(&path).unwrap_or(object.origin.line),
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    pub file: String,
    pub line: u32,
    /// `Rollout web`.
    pub object: String,
    pub field: String,
    /// `error`: it cannot work so; `warning`: it may surprise.
    pub severity: &'static str,
    pub message: String,
    pub hint: String,
}

/// What was found, and how many Rollouts and templates were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Linted {
    pub read: usize,
    pub found: Vec<Found>,
}

/// Reads all Rollouts and templates among the objects. `declared` is what their
/// Application declares beside them; where it is not known, what is missing is
/// not told.
pub fn lint_all(written: &[Written], declared: Option<&Objects>, namespace: &str) -> Linted {
    let mut beside = declared.cloned().unwrap_or_default();
    beside.extend(written.iter().filter_map(|one| object(one, namespace)));
    let mut work = Work { beside: &beside, known: declared.is_some(), namespace, linted: Linted::default() };
    let ours = |one: &&Written, kind: &str| {
        Gvk::of(&one.value)
            .is_ok_and(|gvk| (&*gvk.group, &*gvk.version, &*gvk.kind) == (GROUP, VERSION, kind))
    };
    for one in written.iter().filter(|one| ours(one, "AnalysisTemplate")) {
        work.template(one);
    }
    let mut targets: BTreeMap<ObjectKey, String> = BTreeMap::new();
    for one in written.iter().filter(|one| ours(one, "Rollout")) {
        work.rollout(one, &mut targets);
    }
    work.linted.found.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    work.linted
}

struct Work<'a> {
    beside: &'a Objects,
    known: bool,
    namespace: &'a str,
    linted: Linted,
}

impl Work<'_> {
    fn tell(&mut self, one: &Written, field: &str, error: bool, message: &str, hint: &str) {
        let text = |pointer: &str| one.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        self.linted.found.push(Found {
            file: one.file.clone(),
            line: one.line(field),
            object: format!("{} {}", text("/kind"), text("/metadata/name")),
            field: field.to_owned(),
            severity: if error { "error" } else { "warning" },
            message: message.to_owned(),
            hint: hint.to_owned(),
        });
    }

    fn wrong(&mut self, one: &Written, error: &RolloutError) {
        self.tell(one, &error.field, true, &error.reason, "mend the field; docs/strategies.md has examples");
    }

    fn rollout(&mut self, one: &Written, targets: &mut BTreeMap<ObjectKey, String>) {
        self.linted.read += 1;
        let rollout: Rollout = match serde_json::from_value(one.value.clone()) {
            Ok(rollout) => rollout,
            Err(error) => return self.unreadable(one, &error),
        };
        let namespace = rollout.metadata.namespace.clone().unwrap_or_else(|| self.namespace.to_owned());
        let several = rollout.spec.mistakes();
        several.iter().for_each(|error| self.wrong(one, error));
        if !several.is_empty() {
            return;
        }
        let (beside, known) = (self.beside, self.known);
        let resolve = |template: &TemplateRef| rules(template, beside, &namespace, known);
        let spec = match rollout.spec.to_core(&namespace, &resolve) {
            Ok(spec) => spec,
            Err(error) => return self.wrong(one, &error),
        };
        let name = rollout.metadata.name.clone().unwrap_or_default();
        if let Some(other) = targets.insert(spec.target.clone(), name) {
            let message = format!("Rollout {other} has the same target, {}", spec.target);
            self.tell(one, "spec.target", true, &message, "keep one of the two");
        }
        let findings = match beside.contains_key(&spec.target) || known {
            true => lint(&spec, beside),
            false => lint_alone(&spec),
        };
        for finding in findings {
            self.tell(one, finding.field, finding.error, &finding.message, &finding.hint);
        }
    }

    fn unreadable(&mut self, one: &Written, error: &serde_json::Error) {
        self.tell(one, "spec", true, &error.to_string(), "mend the field, or leave it out");
    }

    fn template(&mut self, one: &Written) {
        self.linted.read += 1;
        let template: AnalysisTemplate = match serde_json::from_value(one.value.clone()) {
            Ok(template) => template,
            Err(error) => return self.unreadable(one, &error),
        };
        let name = template.metadata.name.clone().unwrap_or_default();
        if let Err(error) = template.spec.rules(&name) {
            self.wrong(one, &error);
        }
        let mut names = BTreeSet::new();
        for (at, metric) in template.spec.metrics.iter().enumerate() {
            let field = format!("spec.metrics[{at}]");
            if !names.insert(&metric.name) {
                self.tell(
                    one,
                    &field,
                    true,
                    &format!("two metrics are called {}", metric.name),
                    "rename one",
                );
            }
            self.metric(one, &field, metric, &template.spec);
        }
        if template.spec.metrics.is_empty() {
            self.tell(one, "spec.metrics", true, "there is no metric", "add one");
        }
    }

    fn metric(&mut self, one: &Written, field: &str, metric: &Metric, spec: &AnalysisTemplateSpec) {
        let ways = [
            metric.prometheus.is_some(),
            metric.http.is_some(),
            metric.job.is_some(),
            metric.kubernetes.is_some(),
        ];
        if ways.iter().filter(|set| **set).count() != 1 {
            let message =
                format!("{}: exactly one of prometheus, http, job and kubernetes is needed", metric.name);
            self.tell(one, field, true, &message, "give it one");
        }
        let compared = metric.prometheus.as_ref().is_some_and(|query| query.baseline_query.is_some());
        let measures = metric.prometheus.is_some() || metric.http.is_some();
        match &metric.success {
            Some(cel) => {
                if let Err(error) = cel::Program::compile(cel) {
                    let message = format!("{}: {error}", metric.name);
                    self.tell(
                        one,
                        &format!("{field}.success"),
                        true,
                        &message,
                        "it is CEL, such as: result < 0.01",
                    );
                }
            }
            None if measures && !compared => {
                let message = format!("{}: nothing says what a good result is", metric.name);
                self.tell(one, field, true, &message, "add success, such as: result < 0.01");
            }
            None => {}
        }
        let text = serde_json::to_string(metric).unwrap_or_default();
        for name in used(&text) {
            if !spec.args.iter().any(|argument| argument.name == name) {
                let message =
                    format!("{}: it uses the argument {name}, which is not in spec.args", metric.name);
                self.tell(one, field, true, &message, "add it to spec.args");
            }
        }
    }
}

/// The arguments that a text refers to as `{{args.name}}`.
fn used(text: &str) -> BTreeSet<&str> {
    let parts = text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}"));
    parts.filter_map(|(inner, _)| inner.trim().strip_prefix("args.")).collect()
}

/// The rules of a template that lies beside the Rollout. Those of the system's
/// namespace are not known here.
fn rules(
    template: &TemplateRef,
    beside: &Objects,
    namespace: &str,
    known: bool,
) -> Result<Vec<Rule>, String> {
    let key = ObjectKey {
        group: GROUP.into(),
        kind: "AnalysisTemplate".into(),
        namespace: namespace.to_owned(),
        name: template.name.clone(),
    };
    let Some(object) = beside.get(&key) else { return Ok(Vec::new()) };
    let found: AnalysisTemplate =
        serde_json::from_value(object.value.clone()).map_err(|error| error.to_string())?;
    let given = |name: &str| template.args.iter().any(|argument| argument.name == name);
    if let Some(argument) =
        found.spec.args.iter().find(|argument| argument.value.is_none() && !given(&argument.name))
    {
        return Err(format!("it needs the argument {}", argument.name));
    }
    if let Some(more) =
        template.args.iter().find(|more| !found.spec.args.iter().any(|one| one.name == more.name))
        && known
    {
        return Err(format!("it has no argument {}", more.name));
    }
    found.spec.rules(&template.name).map_err(|error| error.to_string())
}

fn object(one: &Written, namespace: &str) -> Option<(ObjectKey, DesiredObject)> {
    let value = one.value.clone();
    let (mut key, gvk) = (ObjectKey::of(&value).ok()?, Gvk::of(&value).ok()?);
    if key.namespace.is_empty() {
        namespace.clone_into(&mut key.namespace);
    }
    let origin = Origin::at(&one.file, one.line(""));
    Some((key.clone(), DesiredObject { key, gvk, value, origin }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use gitops_source::yaml::documents;

    use super::*;

    const WEB: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 4\n  template:\n    metadata: {labels: {app: web}}\n    spec: {containers: [{name: web, image: \"web:1\"}]}\n";
    const ROLLOUT: &str = "apiVersion: kubectl-gitops.dev/v1alpha1\nkind: Rollout\nmetadata: {name: web}\nspec:\n  target: {apiVersion: apps/v1, kind: Deployment, name: web}\n  strategy:\n    canary:\n      steps:\n      - setWeight: 20\n      - pause: {duration: 1m}\n      - analysis: {templates: [{name: errors, args: [{name: service, value: web}]}]}\n";
    const TEMPLATE: &str = "apiVersion: kubectl-gitops.dev/v1alpha1\nkind: AnalysisTemplate\nmetadata: {name: errors}\nspec:\n  args: [{name: service}]\n  metrics:\n  - name: rate\n    success: result < 0.01\n    prometheus: {address: \"http://prometheus\", query: \"rate(errors{app='{{args.service}}'}[1m])\"}\n";

    fn linted(files: &[(&str, String)], whole: bool) -> Vec<String> {
        let mut written = Vec::new();
        for (file, text) in files {
            let documents = documents(file, text).unwrap().into_iter();
            written.extend(documents.map(|document| Written::document(file, document)));
        }
        let declared: Objects = written.iter().filter_map(|one| object(one, "shop")).collect();
        let linted = lint_all(&written, whole.then_some(&declared), "shop");
        let told = linted.found.iter();
        told.map(|found| {
            format!("{}:{} {} {}: {}", found.file, found.line, found.severity, found.field, found.message)
        })
        .collect()
    }

    #[test]
    fn good_ones_pass() {
        let files =
            [("web.yaml", WEB.into()), ("rollout.yaml", ROLLOUT.into()), ("errors.yaml", TEMPLATE.into())];
        assert_eq!(linted(&files, true), Vec::<String>::new());
        assert_eq!(linted(&files[1..], false), Vec::<String>::new());
    }

    #[test]
    fn each_mistake_is_told_with_its_line() {
        let rollout = |from: &str, to: &str| {
            let text = ROLLOUT.replace(from, to);
            assert_ne!(text, ROLLOUT);
            linted(&[("web.yaml", WEB.into()), ("r.yaml", text), ("t.yaml", TEMPLATE.into())], true)
        };
        for (from, to, expected) in [
            (
                "name: web}\n  strategy",
                "name: other}\n  strategy",
                "r.yaml:5 error spec.target: Deployment shop/other is not declared",
            ),
            (
                "duration: 1m",
                "duration: soon",
                "r.yaml:10 error spec.strategy.canary.steps[1].pause.duration: ",
            ),
            ("setWeight: 20", "setWeight: 120", "r.yaml:9 error spec.strategy.canary.steps[0].setWeight: "),
            ("setWeight: 20", "setWaight: 20", "r.yaml:4 error spec: unknown field `setWaight`"),
            (
                "- setWeight: 20",
                "- {setWeight: 20, setMirror: 5}",
                "r.yaml:9 error spec.strategy.canary.steps[0]: a step does exactly one thing",
            ),
            (
                "    canary:",
                "    recreate: {}\n    canary:",
                "r.yaml:6 error spec.strategy: exactly one strategy is needed",
            ),
            (
                "setWeight: 20",
                "setMirror: 20",
                "r.yaml:6 error spec.strategy: headers and mirrors need a route",
            ),
            (
                ", args: [{name: service, value: web}]",
                "",
                "r.yaml:11 error spec.strategy.canary.steps[2].analysis.templates[name=errors]: it needs the argument service",
            ),
            ("name: service, value", "name: servis, value", "it needs the argument service"),
        ] {
            let told = rollout(from, to);
            assert!(told.len() == 1 && told[0].contains(expected), "{expected}: {told:?}");
        }
        let twice =
            format!("{ROLLOUT}---\n{}", ROLLOUT.replace("metadata: {name: web}", "metadata: {name: b}"));
        let told = linted(&[("web.yaml", WEB.into()), ("r.yaml", twice), ("t.yaml", TEMPLATE.into())], true);
        assert_eq!(
            told,
            ["r.yaml:17 error spec.target: Rollout web has the same target, Deployment shop/web"]
        );
    }

    #[test]
    fn templates_are_read_too() {
        for (from, to, expected) in [
            (
                "success: result < 0.01",
                "success: \"result <\"",
                "t.yaml:8 error spec.metrics[0].success: rate: ",
            ),
            (
                "    success: result < 0.01\n",
                "",
                "t.yaml:7 error spec.metrics[0]: rate: nothing says what a good result is",
            ),
            (
                "args: [{name: service}]",
                "args: []",
                "rate: it uses the argument service, which is not in spec.args",
            ),
            ("name: rate\n", "name: rate\n    kubernetes: {signals: [Restarts]}\n", "rate: exactly one of"),
            (
                "name: rate\n",
                "name: rate\n    interval: often\n",
                "t.yaml:8 error spec.metrics[name=rate].interval: ",
            ),
        ] {
            let text = TEMPLATE.replace(from, to);
            assert_ne!(text, TEMPLATE);
            let told = linted(&[("t.yaml", text)], false);
            assert!(told.len() == 1 && told[0].contains(expected), "{expected}: {told:?}");
        }
    }

    #[test]
    fn alone_it_is_not_blamed_for_what_lies_elsewhere() {
        let gone = ROLLOUT.replace("name: web}\n  strategy", "name: other}\n  strategy");
        assert_eq!(linted(&[("r.yaml", gone)], false), Vec::<String>::new());
    }
}
