//! Charts, rendered by the real helm. Twice: a chart that gives another result
//! the second time (`randAlphaNum`, `genCA`, `now`) cannot be held to Git, and
//! is refused with the path that differs.

use std::sync::Arc;

use gitops_core::desired::Rendered;
use serde_json::Value;

use super::kustomize::{inside, named};
use super::{RenderRequest, join, objects, tools};
use crate::error::SourceError;
use crate::git::Snapshot;
use crate::yaml;

/// Hooks that run at other times than a sync.
const OTHER_TIMES: [&str; 6] =
    ["test", "test-success", "test-failure", "pre-delete", "post-delete", "pre-rollback"];

pub(super) fn render(
    snapshot: &Snapshot,
    request: &RenderRequest,
    tools: &tools::Tools,
) -> Result<Vec<Rendered>, SourceError> {
    let folder = tempfile::tempdir().map_err(SourceError::io(std::env::temp_dir()))?;
    let root = folder.path().join("repository");
    let home = folder.path().join("home");
    for path in [&root, &home] {
        std::fs::create_dir_all(path).map_err(SourceError::io(path))?;
    }
    snapshot.checkout(&root)?;
    let values = folder.path().join("values.json");
    std::fs::write(&values, request.helm.values.to_string()).map_err(SourceError::io(&values))?;
    let chart = inside(&root, &request.path);
    let release =
        if request.helm.release_name.is_empty() { &request.name } else { &request.helm.release_name };
    let mut arguments: Vec<String> =
        ["template", release, ".", "--namespace", &request.namespace, "--include-crds"]
            .map(str::to_owned)
            .to_vec();
    if !request.kube_version.is_empty() {
        arguments.extend(["--kube-version".into(), request.kube_version.clone()]);
    }
    if !request.api_versions.is_empty() {
        arguments.extend(["--api-versions".into(), request.api_versions.join(",")]);
    }
    for file in &request.helm.value_files {
        let path = match file.strip_prefix('/') {
            Some(from_root) => root.join(from_root),
            None => chart.join(file),
        };
        let shown = join(&request.path, file);
        let real = path.canonicalize().map_err(|_| SourceError::NoSuchPath {
            repo: "values file".into(),
            revision: "this commit".into(),
            path: shown.clone(),
        })?;
        if !real.starts_with(root.canonicalize().map_err(SourceError::io(&root))?) {
            return Err(SourceError::Unsupported {
                path: shown,
                reason: "a values file has to lie in the repository".into(),
            });
        }
        arguments.extend(["--values".into(), real.display().to_string()]);
    }
    if request.helm.values.is_object() {
        arguments.extend(["--values".into(), values.display().to_string()]);
    }
    for (key, value) in &request.helm.set {
        arguments.extend(["--set-string".into(), format!("{key}={}", value.replace(',', "\\,"))]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let run = || {
        tools::run("helm", &tools.helm, &arguments, &chart, &home)
            .map_err(|error| named(error, &request.path))
    };
    let first = objects_of(request, &run()?)?;
    let again = objects_of(request, &run()?)?;
    same_twice(request, &first, &again)?;
    Ok(first)
}

fn objects_of(request: &RenderRequest, output: &str) -> Result<Vec<Rendered>, SourceError> {
    let mut rendered = Vec::new();
    for (source, text) in by_source(output) {
        let file: Arc<str> = source_path(request, source).into();
        for object in objects(&file, yaml::documents(&file, text)?, false)? {
            if !runs_at_other_times(&object.value) {
                rendered.push(object);
            }
        }
    }
    Ok(rendered)
}

/// helm's output, cut at its `# Source:` marks.
fn by_source(output: &str) -> impl Iterator<Item = (&str, &str)> {
    output.split("\n---\n").map(|text| text.strip_prefix("---\n").unwrap_or(text)).map(|text| {
        let source = text.lines().find_map(|line| line.strip_prefix("# Source: ")).unwrap_or("");
        (source, text)
    })
}

/// `chart/templates/x.yaml` is named after the chart, not after its folder.
fn source_path(request: &RenderRequest, source: &str) -> String {
    source
        .split_once('/')
        .map_or_else(|| join(&request.path, "Chart.yaml"), |(_, below)| join(&request.path, below))
}

fn runs_at_other_times(value: &Value) -> bool {
    let hooks = value.pointer("/metadata/annotations/helm.sh~1hook").and_then(Value::as_str);
    hooks.is_some_and(|hooks| {
        hooks.split(',').all(|hook| OTHER_TIMES.contains(&hook.trim()) || hook.trim() == "post-rollback")
    })
}

fn same_twice(request: &RenderRequest, first: &[Rendered], again: &[Rendered]) -> Result<(), SourceError> {
    let unsteady = |reason: String| SourceError::Render { tool: "helm", path: request.path.clone(), reason };
    if first.len() != again.len() {
        return Err(unsteady("it gives another number of objects when it is rendered again".into()));
    }
    for (a, b) in first.iter().zip(again) {
        if let Some(path) = first_difference(&a.value, &b.value, String::new()) {
            let name = a.value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("");
            let kind = a.value.get("kind").and_then(Value::as_str).unwrap_or("");
            return Err(unsteady(format!(
                "{}: {kind} {name}: {path} is another value when it is rendered again; set it in the values",
                a.file
            )));
        }
    }
    Ok(())
}

fn first_difference(a: &Value, b: &Value, path: String) -> Option<String> {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) if a.len() == b.len() => a.iter().find_map(|(key, value)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match b.get(key) {
                Some(other) => first_difference(value, other, path),
                None => Some(path),
            }
        }),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .enumerate()
            .find_map(|(index, (a, b))| first_difference(a, b, format!("{path}[{index}]"))),
        _ => (a != b).then_some(path),
    }
}
