//! What commands print with `-o`: shapes that programs rely on.

use std::io::Read;
use std::path::Path;

use clap::ValueEnum;
use gitops_core::compare::{Difference, mask};
use gitops_core::desired::DesiredSet;
use gitops_core::health::HealthReport;
use gitops_core::names::OUTPUT_API_VERSION;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::plan::{Action, Phase};
use serde::Serialize;
use serde_json::Value;

use crate::error::Failure;
use crate::printer::Printer;

/// How a command prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// For people, with more columns
    Wide,
    /// One name a line
    Name,
    Json,
    Yaml,
    /// One object a line
    Jsonl,
}

impl Format {
    /// Whether people are told on the way.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Wide)
    }
}

/// An object by its identity.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectId {
    pub api_version: String,
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    pub name: String,
}

impl ObjectId {
    /// As kubectl names it with `-o name`.
    pub fn short(&self) -> String {
        format!("{}/{}", self.kind.to_lowercase(), self.name)
    }

    pub fn new(gvk: &Gvk, key: &ObjectKey) -> Self {
        Self {
            api_version: gvk.api_version(),
            kind: key.kind.clone(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
        }
    }
}

/// A difference, and where Git says otherwise.
#[derive(Clone, Debug, Serialize)]
pub struct Located {
    #[serde(flatten)]
    pub difference: Difference,
    pub file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// Differences with their places; what is secret masked.
pub fn located(set: &DesiredSet, gvk: &Gvk, key: &ObjectKey, differences: &[Difference]) -> Vec<Located> {
    let declared = set.objects.get(key);
    let confidential = declared.map(|object| &*object.origin.confidential).unwrap_or_default();
    let locate = |difference: &Difference| {
        let mut difference = difference.clone();
        mask(gvk, &mut difference, confidential);
        let line = declared.and_then(|object| object.line_of(&difference.path));
        Located {
            file: declared.map(|object| object.origin.file.to_string()).unwrap_or_default(),
            line,
            difference,
        }
    };
    differences.iter().map(locate).collect()
}

/// An object in a report.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectReport {
    pub object: ObjectId,
    pub action: Action,
    pub differences: Vec<Located>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthReport>,
    /// Of a hook: its phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<Phase>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// How many objects there are of each action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub create: usize,
    pub update: usize,
    pub prune: usize,
    pub unchanged: usize,
    /// Hooks that were run and ended well.
    #[serde(skip_serializing_if = "is_zero")]
    pub hooks: usize,
    #[serde(skip_serializing_if = "is_zero")]
    pub failed: usize,
    #[serde(skip_serializing_if = "is_zero")]
    pub skipped: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Counts {
    pub fn add(&mut self, action: Action) {
        match action {
            Action::Create => self.create += 1,
            Action::Update => self.update += 1,
            Action::Prune => self.prune += 1,
            Action::Unchanged => self.unchanged += 1,
        }
    }
}

/// A `Diff`, `Sync` or `Status` of one Application.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub application: String,
    pub revision: String,
    pub objects: Vec<ObjectReport>,
    pub counts: Counts,
    /// Rollouts that let a version in, or have taken one back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rollouts: Vec<RolloutNote>,
    /// Why the controller leaves it as it is, or cannot do better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller: Option<String>,
    /// Why the webhook does not hold it to Git, or not to the newest commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
}

/// A Rollout that is not at rest.
#[derive(Clone, Debug, Serialize)]
pub struct RolloutNote {
    pub name: String,
    pub phase: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub step: String,
    /// In a sentence.
    pub message: String,
    /// What gets it on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Report {
    pub fn new(kind: &'static str, application: String, revision: String) -> Self {
        Self {
            api_version: OUTPUT_API_VERSION,
            kind,
            application,
            revision,
            objects: Vec::new(),
            counts: Counts::default(),
            rollouts: Vec::new(),
            controller: None,
            webhook: None,
        }
    }
}

/// Prints objects, one name a line.
pub fn names<'a>(objects: impl IntoIterator<Item = &'a ObjectReport>, printer: &Printer) {
    objects.into_iter().for_each(|object| printer.line(&object.object.short()));
}

/// Prints documents for programs: one as itself, several as a list or, in
/// JSON lines, each on its line.
pub fn print<T: Serialize>(documents: &[T], format: Format, printer: &Printer) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::other(error.to_string());
    match format {
        Format::Jsonl => {
            for document in documents {
                printer.line(&serde_json::to_string(document).map_err(|error| failed(&error))?);
            }
        }
        Format::Yaml => {
            for (index, document) in documents.iter().enumerate() {
                if index > 0 {
                    printer.line("---");
                }
                printer.line(yaml(document)?.trim_end());
            }
        }
        _ => {
            let text = match documents {
                [one] => serde_json::to_string_pretty(one),
                many => serde_json::to_string_pretty(many),
            };
            printer.line(&text.map_err(|error| failed(&error))?);
        }
    }
    Ok(())
}

/// A document as YAML.
pub fn yaml<T: Serialize>(document: &T) -> Result<String, Failure> {
    let value: Value = serde_json::to_value(document).map_err(|error| Failure::other(error.to_string()))?;
    serde_saphyr::to_string(&value).map_err(|error| Failure::other(error.to_string()))
}

/// A file that a command reads, - for stdin: how it is called, and its text.
pub fn read(file: &Path) -> Result<(String, String), Failure> {
    let shown = file.display().to_string();
    let text = if shown == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let shown = if shown == "-" { "stdin".into() } else { shown };
    let text = text
        .map_err(|error| Failure::usage(format!("{shown}: {error}")).hint("name a file, or - for stdin"))?;
    Ok((shown, text))
}
