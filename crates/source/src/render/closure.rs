//! What a render reads. In: a source. Out: the paths of its closure, which are
//! all that its tool gets to see, and by whose Git ids its result is kept; or
//! the whole tree, with the reason why nothing less is known.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Serialize;
use serde_json::Value;

use super::charts::RemoteChart;
use super::imports::imports;
use super::{KUSTOMIZATIONS, RenderRequest, SourceType, join};
use crate::error::SourceError;
use crate::git::Snapshot;
use crate::yaml;

/// Kustomizations, or programs, that one may lead to.
const MAX_FOLDERS: usize = 10_000;

/// What a render reads of its own repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Closure {
    /// Files and folders, by their path.
    Paths(BTreeSet<String>),
    /// Everything, and why.
    Whole(String),
}

/// Ids by path, for the key of a render. What is not there has none.
#[derive(Serialize)]
pub(super) struct Ids(BTreeMap<String, String>);

impl Closure {
    /// Of a source of this kind.
    ///
    /// # Errors
    /// When a folder or file that it names cannot be read.
    pub(super) fn of(
        snapshot: &Snapshot,
        request: &RenderRequest,
        kind: SourceType,
    ) -> Result<Self, SourceError> {
        let mut walk = Walk::new(snapshot, request);
        match kind {
            SourceType::Auto | SourceType::Plain => walk.folder(&request.path)?,
            SourceType::Helm => walk.chart(request)?,
            SourceType::Kustomize => walk.kustomizations(request)?,
            SourceType::Jsonnet => walk.programs(&request.path)?,
        }
        Ok(walk.whole.map_or(Self::Paths(walk.paths), Self::Whole))
    }

    /// What it depends on.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub(super) fn ids(&self, snapshot: &Snapshot) -> Result<Ids, SourceError> {
        let Self::Paths(paths) = self else {
            return Ok(Ids([(String::new(), snapshot.id("")?)].into()));
        };
        let id = |path: &String| match snapshot.look_up(path) {
            Ok(Some((id, _))) => id,
            _ => String::new(),
        };
        Ok(Ids(paths.iter().map(|path| (path.clone(), id(path))).collect()))
    }

    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Whole(_))
    }

    /// The paths to check out that are there; none: everything.
    pub(super) fn present(&self, snapshot: &Snapshot) -> Option<Vec<String>> {
        let Self::Paths(paths) = self else { return None };
        Some(paths.iter().filter(|path| matches!(snapshot.look_up(path), Ok(Some(_)))).cloned().collect())
    }
}

/// The charts that kustomizations take from elsewhere.
///
/// # Errors
/// When a folder or file that one names cannot be read.
pub(super) fn remote_charts(
    snapshot: &Snapshot,
    request: &RenderRequest,
) -> Result<BTreeSet<RemoteChart>, SourceError> {
    let mut walk = Walk::new(snapshot, request);
    walk.kustomizations(request)?;
    Ok(walk.remote)
}

struct Walk<'a> {
    snapshot: &'a Snapshot,
    paths: BTreeSet<String>,
    /// Why the paths are not all.
    whole: Option<String>,
    seen: BTreeSet<String>,
    /// Folders of kustomizations that are still to be read: one may lead to
    /// more than a stack holds.
    ahead: VecDeque<String>,
    /// Whether kustomizations may inflate charts.
    charts: bool,
    remote: BTreeSet<RemoteChart>,
}

impl<'a> Walk<'a> {
    fn new(snapshot: &'a Snapshot, request: &RenderRequest) -> Self {
        Self {
            snapshot,
            paths: BTreeSet::new(),
            whole: None,
            seen: BTreeSet::new(),
            ahead: VecDeque::new(),
            charts: request.kustomize.enable_helm,
            remote: BTreeSet::new(),
        }
    }

    /// Only the first reason is told.
    fn unknown(&mut self, why: String) {
        self.whole.get_or_insert(why);
    }

    /// A path as it is; true when it is a folder.
    fn add(&mut self, path: &str) -> bool {
        let found = self.snapshot.look_up(path).unwrap_or_else(|link| {
            self.unknown(format!("{path} is reached over the link {link}"));
            None
        });
        self.paths.insert(path.to_owned());
        found.is_some_and(|(_, folder)| folder)
    }

    /// A folder with all that is below it.
    fn folder(&mut self, path: &str) -> Result<(), SourceError> {
        if self.add(path)
            && let Some(link) = self.snapshot.link_out_of(path)?
        {
            self.unknown(format!("the link {link} leads out of {path}"));
        }
        Ok(())
    }

    fn chart(&mut self, request: &RenderRequest) -> Result<(), SourceError> {
        self.folder(&request.path)?;
        for file in request.helm.value_files.iter().filter(|file| !file.starts_with('$')) {
            let path = file.strip_prefix('/').map_or_else(|| join(&request.path, file), str::to_owned);
            // One that leads out of the repository is refused where it is read.
            if let Some(path) = resolve("", &path) {
                self.add(&path);
            }
        }
        Ok(())
    }

    fn kustomizations(&mut self, request: &RenderRequest) -> Result<(), SourceError> {
        self.ahead.push_back(request.path.clone());
        request.kustomize.components.iter().for_each(|component| self.either(&request.path, component));
        while let Some(folder) = self.ahead.pop_front() {
            self.kustomization(&folder)?;
        }
        Ok(())
    }

    /// A Jsonnet program, or a folder of them, with all that they import: beside the
    /// importing file, else in the libraries.
    fn programs(&mut self, path: &str) -> Result<(), SourceError> {
        self.folder(path)?;
        let is_file = self.snapshot.is_file(path);
        let folder = if is_file { path.rsplit_once('/').map_or("", |(folder, _)| folder) } else { path };
        let libraries = ["vendor", "lib"].map(|name| join(folder, name));
        let libraries: Vec<String> =
            libraries.into_iter().chain(["vendor", "lib", ""].map(str::to_owned)).collect();
        if is_file {
            self.ahead.push_back(path.to_owned());
        } else {
            let files = self.snapshot.files(path, false)?.into_iter().map(|file| file.path);
            self.ahead.extend(files.filter(|file| file.ends_with(".jsonnet")));
        }
        while self.whole.is_none()
            && let Some(program) = self.ahead.pop_front()
        {
            self.program(&program, &libraries)?;
        }
        Ok(())
    }

    fn program(&mut self, path: &str, libraries: &[String]) -> Result<(), SourceError> {
        if self.seen.len() > MAX_FOLDERS {
            self.unknown(format!("it leads to more than {MAX_FOLDERS} programs"));
            return Ok(());
        }
        if !self.seen.insert(path.to_owned()) {
            return Ok(());
        }
        if !self.snapshot.is_file(path) {
            self.unknown(format!("{path} is a link"));
            return Ok(());
        }
        let text = String::from_utf8_lossy(&self.snapshot.read(path)?).into_owned();
        let Some(imports) = imports(&text) else {
            self.unknown(format!("{path} imports files whose names are not written as they are"));
            return Ok(());
        };
        let beside = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for import in imports {
            let places = std::iter::once(beside).chain(libraries.iter().map(String::as_str));
            // Those before the one that is found count, too: a file there would be read instead.
            for place in places.filter_map(|place| resolve(place, &import.path)) {
                self.add(&place);
                if self.snapshot.is_file(&place) {
                    self.ahead.extend(import.is_code.then_some(place));
                    break;
                }
            }
        }
        Ok(())
    }

    /// A file, or the folder of a kustomization.
    fn either(&mut self, from: &str, path: &str) {
        let Some(path) = resolve(from, path) else { return };
        if matches!(self.snapshot.look_up(&path), Ok(Some((_, true)))) {
            self.ahead.push_back(path);
        } else {
            self.add(&path);
        }
    }

    fn file(&mut self, from: &str, path: &str) -> Result<(), SourceError> {
        match resolve(from, path) {
            Some(path) => self.folder(&path),
            None => Ok(()),
        }
    }

    fn kustomization(&mut self, folder: &str) -> Result<(), SourceError> {
        if self.seen.len() > MAX_FOLDERS {
            self.unknown(format!("it leads to more than {MAX_FOLDERS} kustomizations"));
            return Ok(());
        }
        if !self.seen.insert(folder.to_owned()) {
            return Ok(());
        }
        for name in KUSTOMIZATIONS {
            let path = join(folder, name);
            self.add(&path);
            if self.snapshot.is_file(&path) {
                let text = String::from_utf8_lossy(&self.snapshot.read(&path)?).into_owned();
                for document in yaml::documents(&path, &text)? {
                    self.fields(folder, &path, &document.value)?;
                    if self.charts {
                        self.inflated(folder, &document.value)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn fields(&mut self, folder: &str, file: &str, value: &Value) -> Result<(), SourceError> {
        for (field, value) in value.as_object().into_iter().flatten() {
            let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            let texts = || items.iter().filter_map(Value::as_str);
            let inner = |name: &str| -> Vec<String> {
                items.iter().filter_map(|item| item.get(name)?.as_str()).map(str::to_owned).collect()
            };
            match field.as_str() {
                "apiVersion" | "kind" | "metadata" | "namePrefix" | "nameSuffix" | "namespace"
                | "commonLabels" | "labels" | "commonAnnotations" | "images" | "imageTags" | "replicas"
                | "vars" | "buildMetadata" | "generatorOptions" | "sortOptions" | "helmGlobals"
                | "helmCharts" => {}
                "resources" | "bases" | "components" => texts().for_each(|path| self.either(folder, path)),
                "crds" | "configurations" | "patchesStrategicMerge" => {
                    // A patch may be written where its path would be.
                    texts()
                        .filter(|text| !text.contains('\n'))
                        .try_for_each(|path| self.file(folder, path))?;
                }
                "patches" | "patchesJson6902" | "replacements" | "openapi" => {
                    inner("path").iter().try_for_each(|path| self.file(folder, path))?;
                }
                "configMapGenerator" | "secretGenerator" => self.generator(folder, items)?,
                other => self.unknown(format!("{file} has {other}, which may read any file")),
            }
        }
        Ok(())
    }

    /// `files: [path, key=path]`, `envs: [path]`, `env: path`.
    fn generator(&mut self, folder: &str, items: &[Value]) -> Result<(), SourceError> {
        for item in items {
            for list in ["files", "envs", "env"] {
                let value = item.get(list).unwrap_or(&Value::Null);
                let paths = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                for path in paths.iter().filter_map(Value::as_str) {
                    self.file(folder, path.split_once('=').map_or(path, |(_, path)| path))?;
                }
            }
        }
        Ok(())
    }

    /// `helmCharts`, which lie in a folder of the repository or elsewhere.
    fn inflated(&mut self, folder: &str, kustomization: &Value) -> Result<(), SourceError> {
        let home =
            kustomization.pointer("/helmGlobals/chartHome").and_then(Value::as_str).unwrap_or("charts");
        for chart in kustomization.get("helmCharts").and_then(Value::as_array).into_iter().flatten() {
            self.file(folder, home)?;
            if let Some(path) = chart.get("valuesFile").and_then(Value::as_str) {
                self.file(folder, path)?;
            }
            for path in chart.get("additionalValuesFiles").and_then(Value::as_array).into_iter().flatten() {
                self.file(folder, path.as_str().unwrap_or_default())?;
            }
            self.remote.extend(RemoteChart::of(self.snapshot, folder, home, chart)?);
        }
        Ok(())
    }
}

/// A path as seen from a folder, from the root; none when it leads out of the
/// repository or is no path of it.
pub(crate) fn resolve(folder: &str, path: &str) -> Option<String> {
    if path.starts_with('/') || path.contains("://") {
        return None;
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()?),
            "" | "." => {}
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
