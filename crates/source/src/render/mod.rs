//! Rendering. In: a snapshot, a path, what the Application says about it. Out:
//! objects with their origin. helm and kustomize are the real binaries; they
//! see a copy of what the render reads and nothing else of the user's.

mod cache;
mod charts;
mod checkout;
mod clock;
mod closure;
mod confine;
mod helm;
mod imports;
pub mod jsonnet;
mod kustomize;
mod plain;
mod steady;
mod template;
mod tools;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use gitops_core::desired::{Given, Rendered};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::SourceError;
use crate::git::Snapshot;
use crate::sops::Keys;
use crate::yaml::Document;
use closure::{Closure, Ids};

pub use cache::{Renders, renders};
pub use charts::RemoteChart;
pub(crate) use closure::resolve;
pub(crate) use kustomize::image_override;
pub use tools::Tools;

/// What a source is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceType {
    /// Chart.yaml, kustomization.yaml, else plain; both is an error.
    #[default]
    Auto,
    Plain,
    Kustomize,
    Helm,
    Jsonnet,
}

/// Which files of a plain source count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PlainOptions {
    pub recurse: bool,
    /// Globs on the path below the source; empty: all.
    pub include: Vec<String>,
    pub exclude: Vec<String>,
}

/// What is put on top of a kustomization.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KustomizeOptions {
    /// As `kustomize edit set image` takes them: `name=new:tag`.
    pub images: Vec<String>,
    /// Paths from the source's folder.
    pub components: Vec<String>,
    /// Whether kustomizations may inflate charts.
    pub enable_helm: bool,
}

/// What a chart is rendered with.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HelmOptions {
    /// Empty: the Application's name.
    pub release_name: String,
    /// Paths from the chart's folder, with a leading / from the root, or as
    /// `$name/path` from the root of another source.
    pub value_files: Vec<String>,
    pub values: Value,
    pub set: Vec<(String, String)>,
}

/// A render, and everything it depends on beside the files.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RenderRequest {
    /// From the repository's root.
    pub path: String,
    pub kind: SourceType,
    /// The Application's name.
    pub name: String,
    pub namespace: String,
    pub plain: PlainOptions,
    pub kustomize: KustomizeOptions,
    pub helm: HelmOptions,
    /// Of the destination, such as `1.37.2`.
    pub kube_version: String,
    /// Of the destination, such as `apps/v1` or `apps/v1/Deployment`.
    pub api_versions: Vec<String>,
    /// Other sources that values files may lie in, by their names.
    #[serde(skip)]
    pub others: BTreeMap<String, Snapshot>,
    /// The [`remote_charts`], fetched.
    #[serde(skip)]
    pub charts: BTreeMap<RemoteChart, Snapshot>,
    /// What decrypts SOPS files.
    #[serde(skip)]
    pub keys: Keys,
}

/// Renders a source, from the cache under `cache` where nothing it reads has
/// changed.
///
/// # Errors
/// What is wrong with the files or the tools, with file and line where known.
pub fn render(
    snapshot: &Snapshot,
    request: &RenderRequest,
    tools: &Tools,
    cache: &Path,
) -> Result<Vec<Rendered>, SourceError> {
    let mut rendered = Vec::new();
    render_each(snapshot, request, tools, cache, &mut |given| rendered.push(given.into_rendered()))?;
    Ok(rendered)
}

/// As [`render`], but gives the objects away one by one: a large source is
/// never in memory as a whole. After an error, what was given counts for
/// nothing.
///
/// # Errors
/// As [`render`].
pub fn render_each(
    snapshot: &Snapshot,
    request: &RenderRequest,
    tools: &Tools,
    cache: &Path,
    take: &mut dyn FnMut(Given),
) -> Result<(), SourceError> {
    let request = &RenderRequest { path: normal(&request.path)?, ..request.clone() };
    let kind = detect(snapshot, request)?;
    if matches!(kind, SourceType::Auto | SourceType::Plain) {
        return plain::render(snapshot, request, cache, take);
    }
    let closure = Closure::of(snapshot, request, kind)?;
    let entry = cache::Entry::new(cache, &key(snapshot, request, kind, &closure, (tools, cache))?);
    if entry.read(take) {
        return Ok(());
    }
    let (rendered, mut report) = match kind {
        SourceType::Helm => helm::render(snapshot, request, &closure, tools, entry.is_steady())?,
        SourceType::Kustomize => kustomize::render(snapshot, request, &closure, tools, entry.is_steady())?,
        _ => jsonnet::render(snapshot, request, &closure, tools)?,
    };
    rendered.iter().try_for_each(|object| report.check(&object.file, &object.value))?;
    let mut writer = entry.writer();
    for object in rendered {
        let object = Given::ready(report.marked(object));
        writer.add(&object);
        take(object);
    }
    if report.any {
        writer.withhold();
    }
    writer.finish();
    Ok(())
}

/// Everything a render depends on.
fn key(
    snapshot: &Snapshot,
    request: &RenderRequest,
    kind: SourceType,
    closure: &Closure,
    (tools, cache): (&Tools, &Path),
) -> Result<impl Serialize, SourceError> {
    let inflates = kind == SourceType::Kustomize && request.kustomize.enable_helm;
    let mut versions = Vec::new();
    if kind == SourceType::Kustomize {
        versions.push(tools.kustomize_version(Some(cache))?);
    }
    if kind == SourceType::Helm || inflates {
        versions.push(tools.helm_version(Some(cache))?);
    }
    let mut rest = request.clone();
    if kind != SourceType::Helm && !inflates {
        // Only charts ask what the destination serves.
        rest.kube_version.clear();
        rest.api_versions.clear();
    }
    let (ids, others, charts) = files(snapshot, request, closure)?;
    Ok((ids, others, kind, rest, versions, charts))
}

/// A file of another source, and its id.
type Other = (String, String);

/// Ids of its own repository's files, of other sources' and of charts'.
type Files<'a> = (Ids, Vec<Other>, Vec<(&'a RemoteChart, String)>);

/// The files that a render depends on, by their ids: of its own repository, of
/// other sources, and of charts.
fn files<'a>(
    snapshot: &Snapshot,
    request: &'a RenderRequest,
    closure: &Closure,
) -> Result<Files<'a>, SourceError> {
    let mut others = Vec::new();
    for file in &request.helm.value_files {
        if let Some((snapshot, path)) = helm::elsewhere(request, file)? {
            others.push((file.clone(), snapshot.id(&path)?));
        }
    }
    let charts = request.charts.iter().map(|(chart, files)| Ok((chart, files.id("")?)));
    Ok((closure.ids(snapshot)?, others, charts.collect::<Result<_, SourceError>>()?))
}

/// The files that a render reads, in one text: as long as it is the same, the
/// same request renders the same objects.
///
/// # Errors
/// When the source is not there or cannot be read.
pub fn reading(snapshot: &Snapshot, request: &RenderRequest) -> Result<String, SourceError> {
    let request = &RenderRequest { path: normal(&request.path)?, ..request.clone() };
    let kind = detect(snapshot, request)?;
    let closure = Closure::of(snapshot, request, kind)?;
    let all = serde_json::to_vec(&(kind, files(snapshot, request, &closure)?)).unwrap_or_default();
    Ok(hex::encode(Sha256::digest(all)))
}

/// The charts that a render needs of chart repositories and registries: they
/// are fetched beforehand and given to it in [`RenderRequest::charts`].
///
/// # Errors
/// When the source is not there or cannot be read.
pub fn remote_charts(
    snapshot: &Snapshot,
    request: &RenderRequest,
) -> Result<BTreeSet<RemoteChart>, SourceError> {
    let request = &RenderRequest { path: normal(&request.path)?, ..request.clone() };
    if !request.kustomize.enable_helm || detect(snapshot, request)? != SourceType::Kustomize {
        return Ok(BTreeSet::new());
    }
    closure::remote_charts(snapshot, request)
}

/// Why a source is rendered anew on every commit, whatever that changes; none
/// when what it reads is known.
///
/// # Errors
/// When the source is not there or cannot be read.
pub fn whole_tree(snapshot: &Snapshot, request: &RenderRequest) -> Result<Option<String>, SourceError> {
    let request = &RenderRequest { path: normal(&request.path)?, ..request.clone() };
    let kind = detect(snapshot, request)?;
    Ok(match Closure::of(snapshot, request, kind)? {
        Closure::Paths(_) => None,
        Closure::Whole(why) => Some(why),
    })
}

/// The paths of its own repository that a render reads, and those of the other
/// sources by their names; and why, where it may read more than that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    pub paths: BTreeSet<String>,
    /// (name of the source, path)
    pub elsewhere: Vec<(String, String)>,
    pub more: Option<String>,
}

/// What a render reads. Where that is not known, what lies at its path.
///
/// # Errors
/// When the source is not there or cannot be read.
pub fn reads(snapshot: &Snapshot, request: &RenderRequest) -> Result<Reads, SourceError> {
    let request = &RenderRequest { path: normal(&request.path)?, ..request.clone() };
    let kind = detect(snapshot, request)?;
    let (paths, more) = match Closure::of(snapshot, request, kind)? {
        Closure::Paths(paths) => (paths, None),
        Closure::Whole(why) => ([request.path.clone()].into(), Some(why)),
    };
    let mut elsewhere = Vec::new();
    for file in &request.helm.value_files {
        if let Some((_, path)) = helm::elsewhere(request, file)? {
            let name = file.trim_start_matches('$').split('/').next().unwrap_or_default();
            elsewhere.push((name.to_owned(), path));
        }
    }
    Ok(Reads { paths, elsewhere, more })
}

pub(crate) const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// What a path holds.
///
/// # Errors
/// When it is not there, or is both a chart and a kustomization.
pub(crate) fn detect(snapshot: &Snapshot, request: &RenderRequest) -> Result<SourceType, SourceError> {
    snapshot.id(&request.path)?;
    if request.kind != SourceType::Auto {
        return Ok(request.kind);
    }
    let chart = snapshot.is_file(&join(&request.path, "Chart.yaml"));
    let kustomization = KUSTOMIZATIONS.iter().any(|name| snapshot.is_file(&join(&request.path, name)));
    let jsonnet = request.path.ends_with(".jsonnet") && snapshot.is_file(&request.path);
    match (chart, kustomization) {
        (false, false) if jsonnet => Ok(SourceType::Jsonnet),
        (true, true) => Err(SourceError::Unsupported {
            path: request.path.clone(),
            reason: "it holds both Chart.yaml and a kustomization: say which by source.type".into(),
        }),
        (true, false) => Ok(SourceType::Helm),
        (false, true) => Ok(SourceType::Kustomize),
        (false, false) => Ok(SourceType::Plain),
    }
}

/// A path as Git writes it: `./apps/` is `apps`, the root is empty.
pub(crate) fn normal(path: &str) -> Result<String, SourceError> {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        return Err(SourceError::Unsupported {
            path: path.to_owned(),
            reason: "a path begins at the repository's root and has no .. in it".into(),
        });
    }
    Ok(parts.join("/"))
}

/// A path below a folder of the repository.
pub(crate) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Documents as objects: lists become their items, and every one has to be
/// an object of some kind.
fn objects(
    file: &Arc<str>,
    documents: Vec<Document>,
    with_lines: bool,
) -> Result<Vec<Rendered>, SourceError> {
    let mut rendered = Vec::with_capacity(documents.len());
    for document in documents {
        let number = document.number;
        let bad = |line: u32, reason: &str| SourceError::BadYaml {
            file: file.to_string(),
            line: line as usize,
            column: 1,
            document: number,
            reason: reason.to_owned(),
        };
        let has = |value: &Value, field: &str| value.get(field).is_some_and(Value::is_string);
        if !has(&document.value, "apiVersion") || !has(&document.value, "kind") {
            return Err(bad(document.line, "it is no Kubernetes object: apiVersion or kind is missing"));
        }
        let is_list = document.value["kind"].as_str().is_some_and(|kind| kind.ends_with("List"))
            && document.value["items"].is_array();
        if !is_list {
            rendered.push(one(file, document.value, document.line, document.lines, with_lines));
            continue;
        }
        let mut trees =
            document.lines.fields.get("items").map(|tree| tree.items.clone()).unwrap_or_default().into_iter();
        let Value::Array(items) = document.value["items"].clone() else { continue };
        for item in items {
            let tree = trees.next().unwrap_or_default();
            if !has(&item, "apiVersion") || !has(&item, "kind") {
                return Err(bad(
                    tree.line,
                    "an item of this list is no Kubernetes object: apiVersion or kind is missing",
                ));
            }
            rendered.push(one(file, item, tree.line, tree, with_lines));
        }
    }
    Ok(rendered)
}

fn one(
    file: &Arc<str>,
    value: Value,
    line: u32,
    lines: gitops_core::desired::LineTree,
    with_lines: bool,
) -> Rendered {
    if with_lines {
        Rendered { value, file: file.clone(), line, lines: Some(lines), confidential: Vec::new() }
    } else {
        Rendered { value, file: file.clone(), line: 0, lines: None, confidential: Vec::new() }
    }
}
