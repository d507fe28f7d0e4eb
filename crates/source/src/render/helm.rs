//! Charts, rendered by the real helm. One that may give another result another
//! time (`randAlphaNum`, `genCA`, `now`) is rendered twice, the second time at
//! another day: what differs then cannot be held to Git, and is refused with
//! its path.

use std::sync::Arc;

use gitops_core::desired::Rendered;
use serde_json::Value;

use super::checkout::Checkout;
use super::closure::{Closure, resolve};
use super::confine::Reach;
use super::kustomize::named;
use super::steady::{is_steady, shows_address};
use super::{RenderRequest, clock, join, objects, tools};
use crate::error::SourceError;
use crate::git::Snapshot;
use crate::sops::Report;
use crate::yaml;

/// Hooks that run at other times than a sync or a deletion.
const OTHER_TIMES: [&str; 5] = ["test", "test-success", "test-failure", "pre-rollback", "post-rollback"];

/// `known_steady`: this very render has been found to be the same twice.
pub(super) fn render(
    snapshot: &Snapshot,
    request: &RenderRequest,
    closure: &Closure,
    tools: &tools::Tools,
    known_steady: bool,
) -> Result<(Vec<Rendered>, Report), SourceError> {
    let mut checkout = Checkout::new(snapshot, closure, &request.keys)?;
    let arguments = arguments(&mut checkout, request)?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let chart = checkout.inside(&request.path);
    if !chart.join("Chart.yaml").is_file() {
        return Err(SourceError::NoSuchPath {
            repo: "the repository".into(),
            revision: "this commit".into(),
            path: join(&request.path, "Chart.yaml"),
        });
    }
    let reach = Reach { read: &[checkout.folder()], write: checkout.home(), run: &[] };
    let run = || {
        let output = tools::run("helm", &tools.helm, &arguments, &chart, &reach);
        objects_of(request, &output.map_err(|error| named(error, &request.path))?)
    };
    let first = match run() {
        Ok(first) => first,
        Err(error) => return Err(checkout.sops.explain(error)),
    };
    let typed = request.helm.set.iter().flat_map(|(key, value)| [key.as_str(), value.as_str()]);
    let steady = || !closure.is_whole() && is_steady(checkout.folder(), typed) && !shows_address(&first);
    if !known_steady && !steady() {
        clock::shift(&chart)?;
        let again = run().map_err(|error| checkout.sops.explain(error))?;
        same_twice("helm", &request.path, &first, &again)?;
    }
    Ok((first, checkout.sops))
}

fn arguments(checkout: &mut Checkout, request: &RenderRequest) -> Result<Vec<String>, SourceError> {
    let helm = &request.helm;
    let release = if helm.release_name.is_empty() { &request.name } else { &helm.release_name };
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
    for file in &helm.value_files {
        arguments.extend(["--values".into(), values_file(checkout, request, file)?]);
    }
    if helm.values.is_object() {
        let values = checkout.put("values.json", helm.values.to_string())?;
        arguments.extend(["--values".into(), values.display().to_string()]);
    }
    for (key, value) in &helm.set {
        // As helm's own --set: `true` and `3` are no text. A comma would begin
        // another key, except in a list.
        let list = value.starts_with('{') && value.ends_with('}');
        let value = if list { value.clone() } else { value.replace('\\', "\\\\").replace(',', "\\,") };
        arguments.extend(["--set".into(), format!("{key}={value}")]);
    }
    Ok(arguments)
}

/// The source and the path that a values file such as `$base/values.yaml`
/// means; none for one of the chart's own repository.
pub(super) fn elsewhere<'r>(
    request: &'r RenderRequest,
    file: &str,
) -> Result<Option<(&'r Snapshot, String)>, SourceError> {
    let Some(rest) = file.strip_prefix('$') else { return Ok(None) };
    let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
    let unsupported = |reason: String| SourceError::Unsupported { path: file.to_owned(), reason };
    let snapshot = request.others.get(name).ok_or_else(|| {
        let known: Vec<&str> = request.others.keys().map(String::as_str).collect();
        unsupported(if known.is_empty() {
            format!("no source has the ref {name:?}: give one of sources `ref: {name}`")
        } else {
            format!("no source has the ref {name:?}; there are: {}", known.join(", "))
        })
    })?;
    let path = resolve("", path)
        .filter(|path| !path.is_empty())
        .ok_or_else(|| unsupported("a values file is written $name/path".into()))?;
    Ok(Some((snapshot, path)))
}

fn values_file(checkout: &mut Checkout, request: &RenderRequest, file: &str) -> Result<String, SourceError> {
    if let Some((snapshot, path)) = elsewhere(request, file)? {
        let data = checkout.sops.decrypted(&path, snapshot.read(&path)?, &request.keys);
        // A name of its own: two sources may hold the same path.
        let place = format!("sources/{}", file.trim_start_matches('$'));
        return Ok(checkout.put(&resolve("", &place).unwrap_or(place), data)?.display().to_string());
    }
    let shown = match file.strip_prefix('/') {
        Some(from_root) => from_root.to_owned(),
        None => join(&request.path, file),
    };
    let real = checkout.inside(&shown).canonicalize().map_err(|_| SourceError::Unsupported {
        path: shown.clone(),
        reason: "there is no such values file at this commit".into(),
    })?;
    let root = checkout.root().canonicalize().map_err(SourceError::io(checkout.root()))?;
    if !real.starts_with(root) {
        return Err(SourceError::Unsupported {
            path: shown,
            reason: "a values file has to lie in the repository".into(),
        });
    }
    Ok(real.display().to_string())
}

fn objects_of(request: &RenderRequest, output: &str) -> Result<Vec<Rendered>, SourceError> {
    let mut rendered = Vec::new();
    let mut source = "";
    for text in output.split("\n---\n").map(|text| text.strip_prefix("---\n").unwrap_or(text)) {
        // A file of several documents bears helm's mark once.
        source = text.lines().find_map(|line| line.strip_prefix("# Source: ")).unwrap_or(source);
        let file: Arc<str> = source_path(request, source).into();
        for object in objects(&file, yaml::documents(&file, text)?, false)? {
            if !runs_at_other_times(&object.value) {
                rendered.push(object);
            }
        }
    }
    Ok(rendered)
}

/// `chart/templates/x.yaml` is named after the chart, not after its folder.
fn source_path(request: &RenderRequest, source: &str) -> String {
    source
        .split_once('/')
        .map_or_else(|| join(&request.path, "Chart.yaml"), |(_, below)| join(&request.path, below))
}

fn runs_at_other_times(value: &Value) -> bool {
    let hooks = value.pointer("/metadata/annotations/helm.sh~1hook").and_then(Value::as_str);
    hooks.is_some_and(|hooks| hooks.split(',').all(|hook| OTHER_TIMES.contains(&hook.trim())))
}

/// Refuses what another run of a chart has changed.
pub(super) fn same_twice(
    tool: &'static str,
    path: &str,
    first: &[Rendered],
    again: &[Rendered],
) -> Result<(), SourceError> {
    let unsteady = |reason: String| SourceError::Render { tool, path: path.to_owned(), reason };
    if first.len() != again.len() {
        return Err(unsteady(
            "it gives another number of objects when it is rendered again (by chance, or by the time of day)"
                .into(),
        ));
    }
    for (a, b) in first.iter().zip(again) {
        if let Some(path) = first_difference(&a.value, &b.value, String::new()) {
            let name = a.value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("");
            let kind = a.value.get("kind").and_then(Value::as_str).unwrap_or("");
            return Err(unsteady(format!(
                "{}: {kind} {name}: {path} is another value when it is rendered again (random, or the time of day): set it in the values",
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
