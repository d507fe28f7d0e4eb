//! What will not work in Rollouts and AnalysisTemplates. In: their files, and
//! perhaps all that their Application declares. Out: findings with file and
//! line. No cluster and no metric is asked.

mod template;

use std::collections::BTreeMap;

use gitops_api::rollout::{RolloutError, RolloutSpec, TemplateRef};
use gitops_api::{AnalysisTemplate, Rollout};
use gitops_core::desired::{DesiredObject, LineTree, Origin};
use gitops_core::names::{GROUP, VERSION};
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::path::Path;
use gitops_core::rollout::desired::Objects;
use gitops_core::rollout::lint::{lint, lint_alone};
use gitops_source::yaml::Document;
use serde::Serialize;
use serde_json::Value;

use crate::analysis::metrics::{Metrics, Templates};

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
        Self { file: object.origin.file.to_string(), value: (*object.value).clone(), lines }
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

/// The Rollouts among these whose failure is a commit on the Application's branch,
/// each with this doubt about it.
pub fn not_trusted(objects: &Objects, doubt: &str) -> Vec<Found> {
    const FIELD: &str = "spec.onFailure";
    let reverts = |object: &&DesiredObject| {
        let on_failure = object.value.pointer("/spec/onFailure").and_then(Value::as_str);
        object.gvk.group == GROUP
            && object.gvk.kind == "Rollout"
            && on_failure.is_none_or(|is| is == "Revert")
    };
    let found = objects.values().filter(reverts).map(|object| {
        let written = Written::declared(object);
        Found {
            file: written.file.clone(),
            line: written.line(FIELD),
            object: format!("Rollout {}", object.key.name),
            field: FIELD.into(),
            severity: "warning",
            message: doubt.to_owned(),
            hint: "see docs/security.md, Signed restores".into(),
        }
    });
    found.collect()
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
        let rollout: Rollout = match serde_path_to_error::deserialize(&one.value) {
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
        let name = rollout.metadata.name.clone().unwrap_or_default();
        let templates = template::named(&rollout.spec, &namespace, beside);
        let metrics = Metrics::new(&rollout.spec, &namespace, &name, &templates);
        // What is not declared may be in the cluster.
        let resolve = |reference: &TemplateRef| match templates.contains_key(&reference.name) {
            true => metrics.rules(reference),
            false => Ok(Vec::new()),
        };
        let spec = match rollout.spec.to_core(&namespace, &resolve) {
            Ok(spec) => spec,
            Err(error) => return self.wrong(one, &error),
        };
        if known {
            self.strangers(one, &rollout.spec, &templates);
        }
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

    /// Templates that somebody else has to bring.
    fn strangers(&mut self, one: &Written, spec: &RolloutSpec, templates: &Templates) {
        let mut names: Vec<&str> = spec.templates().into_iter().map(|named| named.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names.into_iter().filter(|name| !templates.contains_key(*name)) {
            let message = format!("AnalysisTemplate {name} is not declared beside the Rollout");
            let hint = "declare it, or see that it is in the cluster, in its namespace or in gitops-system";
            self.tell(one, "spec", false, &message, hint);
        }
    }

    fn unreadable(&mut self, one: &Written, error: &serde_path_to_error::Error<serde_json::Error>) {
        let field = error.path().to_string();
        self.tell(one, &field, true, &error.inner().to_string(), "mend the field, or leave it out");
    }

    fn template(&mut self, one: &Written) {
        self.linted.read += 1;
        let template: AnalysisTemplate = match serde_path_to_error::deserialize(&one.value) {
            Ok(template) => template,
            Err(error) => return self.unreadable(one, &error),
        };
        for (error, hint) in template::mistakes(&template) {
            self.tell(one, &error.field, true, &error.reason, hint);
        }
    }
}

fn object(one: &Written, namespace: &str) -> Option<(ObjectKey, DesiredObject)> {
    let value = one.value.clone();
    let (mut key, gvk) = (ObjectKey::of(&value).ok()?, Gvk::of(&value).ok()?);
    if key.namespace.is_empty() {
        namespace.clone_into(&mut key.namespace);
    }
    let origin = Origin::at(&one.file, one.line(""));
    Some((key.clone(), DesiredObject { key, gvk, value: value.into(), origin }))
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
            (
                "setWeight: 20",
                "setWaight: 20",
                "r.yaml:9 error spec.strategy.canary.steps[0].setWaight: unknown field `setWaight`",
            ),
            ("apiVersion: apps/v1, ", "", "r.yaml:5 error spec.target: missing field `apiVersion`"),
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
                "r.yaml:11 error spec.strategy.canary.steps[2].analysis.templates[name=errors]: argument \"service\" has no value",
            ),
            ("name: service, value", "name: servis, value", "it has no argument \"servis\""),
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
                "t.yaml:7 error spec.metrics[0]: rate: a condition is needed: success",
            ),
            (
                "args: [{name: service}]",
                "args: []",
                "t.yaml:6 error spec.metrics: it has no argument \"service\"",
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
    fn a_template_that_is_not_declared_is_a_warning() {
        let files = [("web.yaml", WEB.into()), ("r.yaml", ROLLOUT.into())];
        let told = linted(&files, true);
        assert_eq!(
            told,
            ["r.yaml:4 warning spec: AnalysisTemplate errors is not declared beside the Rollout"]
        );
        assert_eq!(linted(&files, false), Vec::<String>::new());
    }

    #[test]
    fn alone_it_is_not_blamed_for_what_lies_elsewhere() {
        let gone = ROLLOUT.replace("name: web}\n  strategy", "name: other}\n  strategy");
        assert_eq!(linted(&[("r.yaml", gone)], false), Vec::<String>::new());
    }
}
