//! What a render reads. In: a source. Out: the paths of its closure, which are
//! all that its tool gets to see, and by whose Git ids its result is kept; or
//! the whole tree, with the reason why nothing less is known.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::{KUSTOMIZATIONS, RenderRequest, SourceType, join};
use crate::error::SourceError;
use crate::git::Snapshot;
use crate::yaml;

/// Kustomizations that one may lead to.
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
        let mut walk = Walk {
            snapshot,
            paths: BTreeSet::new(),
            seen: BTreeSet::new(),
            charts: request.kustomize.enable_helm,
        };
        let walked = match kind {
            SourceType::Auto | SourceType::Plain => walk.folder(&request.path),
            SourceType::Helm => walk.chart(request),
            SourceType::Kustomize => walk.kustomizations(request),
            SourceType::Jsonnet => Err(Stop::Unknown("Jsonnet may import any file".into())),
        };
        match walked {
            Ok(()) => Ok(Self::Paths(walk.paths)),
            Err(Stop::Unknown(why)) => Ok(Self::Whole(why)),
            Err(Stop::Error(error)) => Err(error),
        }
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

    /// The paths to check out that are there; none: everything.
    pub(super) fn present(&self, snapshot: &Snapshot) -> Option<Vec<String>> {
        let Self::Paths(paths) = self else { return None };
        Some(paths.iter().filter(|path| matches!(snapshot.look_up(path), Ok(Some(_)))).cloned().collect())
    }
}

/// Why a walk ends early.
enum Stop {
    Unknown(String),
    Error(SourceError),
}

impl From<SourceError> for Stop {
    fn from(error: SourceError) -> Self {
        Self::Error(error)
    }
}

struct Walk<'a> {
    snapshot: &'a Snapshot,
    paths: BTreeSet<String>,
    seen: BTreeSet<String>,
    /// Whether kustomizations may inflate charts.
    charts: bool,
}

impl Walk<'_> {
    /// A path as it is; true when it is a folder.
    fn add(&mut self, path: &str) -> Result<bool, Stop> {
        let found = self
            .snapshot
            .look_up(path)
            .map_err(|link| Stop::Unknown(format!("{path} is reached over the link {link}")))?;
        self.paths.insert(path.to_owned());
        Ok(found.is_some_and(|(_, folder)| folder))
    }

    /// A folder with all that is below it.
    fn folder(&mut self, path: &str) -> Result<(), Stop> {
        if self.add(path)?
            && let Some(link) = self.snapshot.link_out_of(path)?
        {
            return Err(Stop::Unknown(format!("the link {link} leads out of {path}")));
        }
        Ok(())
    }

    fn chart(&mut self, request: &RenderRequest) -> Result<(), Stop> {
        self.folder(&request.path)?;
        for file in request.helm.value_files.iter().filter(|file| !file.starts_with('$')) {
            let path = file.strip_prefix('/').map_or_else(|| join(&request.path, file), str::to_owned);
            // One that leads out of the repository is refused where it is read.
            if let Some(path) = resolve("", &path) {
                self.add(&path)?;
            }
        }
        Ok(())
    }

    fn kustomizations(&mut self, request: &RenderRequest) -> Result<(), Stop> {
        self.kustomization(&request.path)?;
        for component in &request.kustomize.components {
            self.either(&request.path, component)?;
        }
        Ok(())
    }

    /// A file, or the folder of a kustomization.
    fn either(&mut self, from: &str, path: &str) -> Result<(), Stop> {
        let Some(path) = resolve(from, path) else { return Ok(()) };
        let found = self.snapshot.look_up(&path);
        if matches!(found, Ok(Some((_, true)))) {
            self.kustomization(&path)
        } else {
            self.add(&path).map(drop)
        }
    }

    fn file(&mut self, from: &str, path: &str) -> Result<(), Stop> {
        match resolve(from, path) {
            Some(path) => self.folder(&path),
            None => Ok(()),
        }
    }

    fn kustomization(&mut self, folder: &str) -> Result<(), Stop> {
        if !self.seen.insert(folder.to_owned()) {
            return Ok(());
        }
        if self.seen.len() > MAX_FOLDERS {
            return Err(Stop::Unknown(format!("it leads to more than {MAX_FOLDERS} kustomizations")));
        }
        for name in KUSTOMIZATIONS {
            let path = join(folder, name);
            self.add(&path)?;
            if self.snapshot.is_file(&path) {
                let text = String::from_utf8_lossy(&self.snapshot.read(&path)?).into_owned();
                for document in yaml::documents(&path, &text)? {
                    self.fields(folder, &path, &document.value)?;
                }
            }
        }
        Ok(())
    }

    fn fields(&mut self, folder: &str, file: &str, value: &Value) -> Result<(), Stop> {
        for (field, value) in value.as_object().into_iter().flatten() {
            let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            let texts = || items.iter().filter_map(Value::as_str);
            let inner = |name: &str| -> Vec<String> {
                items.iter().filter_map(|item| item.get(name)?.as_str()).map(str::to_owned).collect()
            };
            match field.as_str() {
                "apiVersion" | "kind" | "metadata" | "namePrefix" | "nameSuffix" | "namespace"
                | "commonLabels" | "labels" | "commonAnnotations" | "images" | "imageTags" | "replicas"
                | "vars" | "buildMetadata" | "generatorOptions" | "sortOptions" => {}
                "resources" | "bases" | "components" => {
                    texts().try_for_each(|path| self.either(folder, path))?;
                }
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
                "helmGlobals" | "helmCharts" if self.charts => self.charts(folder, field, items)?,
                "helmGlobals" | "helmCharts" => {}
                other => {
                    return Err(Stop::Unknown(format!("{file} has {other}, which may read any file")));
                }
            }
        }
        Ok(())
    }

    /// `files: [path, key=path]`, `envs: [path]`, `env: path`.
    fn generator(&mut self, folder: &str, items: &[Value]) -> Result<(), Stop> {
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

    fn charts(&mut self, folder: &str, field: &str, items: &[Value]) -> Result<(), Stop> {
        for item in items {
            let text = |name: &str| item.get(name).and_then(Value::as_str);
            if field == "helmGlobals" {
                self.file(folder, text("chartHome").unwrap_or("charts"))?;
                continue;
            }
            self.file(folder, "charts")?;
            if let Some(path) = text("valuesFile") {
                self.file(folder, path)?;
            }
            for path in item.get("additionalValuesFiles").and_then(Value::as_array).into_iter().flatten() {
                self.file(folder, path.as_str().unwrap_or_default())?;
            }
        }
        Ok(())
    }
}

/// A path as seen from a folder, from the root; none when it leads out of the
/// repository or is no path of it.
pub(super) fn resolve(folder: &str, path: &str) -> Option<String> {
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
