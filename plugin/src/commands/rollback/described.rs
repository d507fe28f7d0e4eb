//! What the file that describes an Application said of it at another commit. In:
//! the file at two commits. Out: what differs, and the file as it is now with
//! this Application as it was then; or why that does not go back.

use std::path::{Path, PathBuf};

use gitops_core::compare::{CompareOptions, World, compare};
use gitops_core::schema::Schemas;
use gitops_engine::load::{self, Place};
use gitops_engine::{Environment, Loaded};
use gitops_source::git::enclosing;
use gitops_source::{Change, yaml};
use serde_json::Value;

use crate::asking;
use crate::drafting::is_same;
use crate::error::Failure;
use crate::settings::Settings;

/// Paths that are told one by one.
const SHOWN: usize = 5;

/// The file that describes an Application, in the repository of its files.
#[derive(Debug)]
pub(super) struct Description {
    /// From the repository's root.
    pub file: String,
    root: PathBuf,
    /// What it says at the base.
    now: String,
}

/// An Application that was described otherwise.
#[derive(Debug)]
pub(super) struct Otherwise {
    /// What differs, in words.
    pub told: String,
    /// As it was; none where the file said nothing of it, or nothing that can be
    /// read today.
    pub before: Option<Before>,
}

/// An Application as it was described.
#[derive(Debug)]
pub(super) struct Before {
    pub loaded: Loaded,
    /// The file as it is now, with this Application as it was.
    pub text: String,
}

impl Description {
    /// None where a file describes no Application, or lies elsewhere.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub(super) fn find(
        file: &Path,
        home: &Place,
        environment: &Environment,
        base: &str,
    ) -> Result<Option<Self>, Failure> {
        let Ok(file) = file.canonicalize() else { return Ok(None) };
        let Some((root, _)) = file.parent().and_then(enclosing) else { return Ok(None) };
        let Ok(path) = file.strip_prefix(&root) else { return Ok(None) };
        let path = path.display().to_string();
        if !is_same(&home.repo, &root) {
            return Ok(None);
        }
        let now = text(environment, home, base, &path)?;
        Ok(now.map(|now| Self { file: path, root, now }))
    }

    /// What it said at another commit, if that was something else.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub(super) fn otherwise(
        &self,
        loaded: &Loaded,
        home: &Place,
        environment: &Environment,
        settings: &Settings,
        commit: &str,
    ) -> Result<Option<Otherwise>, Failure> {
        let (file, name) = (&self.file, &loaded.application.name);
        let then = text(environment, home, commit, file)?.unwrap_or_default();
        let Some(is) = find(&self.now, name) else { return Ok(None) };
        let Some(was) = find(&then, name) else {
            let told = format!("{file} did not describe {name} then");
            return Ok(Some(Otherwise { told, before: None }));
        };
        let paths = differ(&was.value, &is.value);
        if paths.is_empty() {
            return Ok(None);
        }
        let mut told = format!("{file} described {name} otherwise then: {}", listed(&paths));
        let shown = format!("{file} at {}", &commit[..12]);
        let namespace = &loaded.application.namespace;
        let all = load::read_text(&shown, was.text, Some(&self.root), namespace, &settings.credentials);
        let all = all.unwrap_or_else(|error| {
            told = format!("{told}; what it said cannot be read: {error}");
            Vec::new()
        });
        let before = all.into_iter().next_back().map(|mut before| {
            before.project.clone_from(&loaded.project);
            Before { loaded: before, text: replaced(&self.now, &is, was.text) }
        });
        Ok(Some(Otherwise { told, before }))
    }

    /// The change that leaves the file as it is, where one of these would not.
    pub(super) fn kept(&self, changes: &[Change]) -> Option<Change> {
        let is_below = |above: &str| {
            above.is_empty()
                || self.file.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        changes.iter().any(|change| is_below(change.path())).then(|| self.with(self.now.clone()))
    }

    /// The change that gives the file this text.
    pub(super) fn with(&self, text: String) -> Change {
        Change::File { path: self.file.clone(), data: text.into_bytes() }
    }
}

/// A file at a commit; none where it was not there.
fn text(
    environment: &Environment,
    home: &Place,
    commit: &str,
    path: &str,
) -> Result<Option<String>, Failure> {
    let read = environment.git().snapshot(&home.repo, commit)?.read(path).ok();
    Ok(read.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// A document of a file.
struct Found<'t> {
    /// Its first byte.
    start: usize,
    text: &'t str,
    value: Value,
}

/// The description of an Application of this name.
fn find<'t>(text: &'t str, name: &str) -> Option<Found<'t>> {
    pieces(text).into_iter().find_map(|(start, text)| {
        let mut documents = yaml::documents("", text).ok()?.into_iter();
        let (Some(only), None) = (documents.next(), documents.next()) else { return None };
        let is_it = only.value.pointer("/metadata/name").and_then(Value::as_str) == Some(name);
        is_it.then_some(Found { start, text, value: only.value })
    })
}

/// The texts between lines that begin with `---`, which begin a document wherever
/// they stand, and where they begin.
fn pieces(text: &str) -> Vec<(usize, &str)> {
    let (mut pieces, mut start, mut at) = (Vec::new(), 0, 0);
    for line in text.split_inclusive('\n') {
        let rest = line.strip_prefix("---");
        if rest.is_some_and(|rest| rest.trim_end().is_empty() || rest.starts_with([' ', '\t'])) {
            pieces.push((start, &text[start..at]));
            // What stands on the marker's own line belongs to its document.
            start = if rest.is_some_and(|rest| rest.trim().is_empty()) { at + line.len() } else { at };
        }
        at += line.len();
    }
    pieces.push((start, &text[start..]));
    pieces
}

/// The file with one of its documents as it was.
fn replaced(now: &str, is: &Found<'_>, was: &str) -> String {
    const MARKER: &str = "---";
    let (before, after) = (&now[..is.start], &now[is.start + is.text.len()..]);
    // A document may bring its marker along, or end without a new line.
    let marker = if is.text.starts_with(MARKER) { "---\n" } else { "" };
    let was = was.strip_prefix(MARKER).map_or(was, str::trim_start);
    let end = if after.is_empty() || was.ends_with('\n') { "" } else { "\n" };
    format!("{before}{marker}{was}{end}{after}")
}

/// The fields that two descriptions have otherwise, and what they say.
fn differ(was: &Value, is: &Value) -> Vec<String> {
    let options = CompareOptions { world: World::Closed, free: &[] };
    let value = |value: Option<Value>| value.map_or("nothing".into(), |value| value.to_string());
    compare(&Schemas::builtin(), &asking::kind().gvk, was, is, &options)
        .into_iter()
        .map(|found| format!("{} was {}, is {}", found.path, value(found.git), value(found.tried)))
        .collect()
}

fn listed(paths: &[String]) -> String {
    let more = paths.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", paths[..paths.len().min(SHOWN)].join("; "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use gitops_core::names::GROUP;

    use super::*;

    fn described(name: &str, path: &str) -> String {
        format!(
            "# about {name}\napiVersion: {GROUP}/v1alpha1\nkind: Application\nmetadata: {{name: {name}}}\nspec: {{source: {{path: {path}}}}}\n"
        )
    }

    #[test]
    fn one_document_goes_back_and_the_others_stay() {
        let (web, db) = (described("web", "app"), described("db", "db"));
        let old = described("web", "old");
        for (now, then, wanted) in [
            (format!("{web}---\n{db}"), old.clone(), format!("{old}---\n{db}")),
            (format!("---\n{db}---\n{web}"), format!("{old}---\n{db}"), format!("---\n{db}---\n{old}")),
            (format!("{web}---\n{db}"), old.trim_end().to_owned(), format!("{old}---\n{db}")),
            (web.clone(), format!("--- # first\n{old}"), format!("# first\n{old}")),
            (format!("--- # first\n{web}"), old.clone(), format!("---\n{old}")),
        ] {
            let (is, was) = (find(&now, "web").unwrap(), find(&then, "web").unwrap());
            assert_eq!(replaced(&now, &is, was.text), wanted);
            assert_eq!(differ(&was.value, &is.value), [r#"spec.source.path was "old", is "app""#]);
        }
        assert!(find(&db, "web").is_none() && find("a: [", "web").is_none() && find("", "web").is_none());
    }

    #[test]
    fn many_fields_are_counted() {
        let all: Vec<String> = (0..7).map(|at| at.to_string()).collect();
        assert_eq!(listed(&all), "0; 1; 2; 3; 4 and 2 more");
        assert_eq!(listed(&all[..1]), "0");
    }
}
