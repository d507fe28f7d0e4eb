//! Files with resources of Argo CD and Flux, and the repository's folders, as
//! they are in the working tree.

use std::path::{Path, PathBuf};

use gitops_core::desired::LineTree;
use gitops_source::yaml::{self, Document};
use serde_json::Value;

use crate::convert::{ARGOCD, FLUX, Folder, Holds, Resource, Seen, Tree, below};
use crate::error::Failure;
use crate::output;

const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
/// Fields of a kustomization that change nothing of what it gathers.
const GATHERS: [&str; 12] = [
    "apiVersion",
    "kind",
    "metadata",
    "resources",
    "bases",
    "components",
    "configMapGenerator",
    "secretGenerator",
    "helmCharts",
    "generatorOptions",
    "sortOptions",
    "buildMetadata",
];
/// Folders in a folder, and kustomizations that lead to others.
const DEEPEST: usize = 64;

/// What was read.
#[derive(Default)]
pub struct Read {
    pub resources: Vec<Resource>,
    /// Charts that seem to hold resources in their templates.
    pub templates: Vec<String>,
}

/// Reads files, folders with all below them, and standard input.
pub fn read(from: &[PathBuf], folder: &Path) -> Result<Read, Failure> {
    let mut read = Read::default();
    for one in from {
        let path = folder.join(one);
        if one.as_os_str() != "-" && path.is_dir() {
            let shown = if one.as_os_str() == "." { Path::new("") } else { one.as_path() };
            let mut charts = Vec::new();
            for file in files(&path, &mut charts) {
                let inside = file.strip_prefix(&path).unwrap_or(&file);
                add(&mut read, &shown.join(inside), &file, false)?;
            }
            let called = |chart: &PathBuf| shown.join(chart.strip_prefix(&path).unwrap_or(chart));
            read.templates.extend(charts.iter().map(|chart| called(chart).display().to_string()));
        } else {
            add(&mut read, one, &path, true)?;
        }
    }
    Ok(read)
}

/// Files of a folder and those below it; templates of charts are no YAML yet.
fn files(folder: &Path, templates: &mut Vec<PathBuf>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut ahead = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = ahead.pop() {
        let is_chart = folder.join("Chart.yaml").is_file();
        for path in entries(&folder) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with('.') || depth > DEEPEST {
                continue;
            }
            if path.is_dir() && !path.is_symlink() {
                if is_chart && name == "templates" {
                    let holds =
                        |file: &PathBuf| std::fs::read_to_string(file).is_ok_and(|text| delivers(&text));
                    if files(&path, &mut Vec::new()).iter().any(holds) {
                        templates.push(folder.clone());
                    }
                } else {
                    ahead.push((path, depth + 1));
                }
            } else if is_manifest(&name) && path.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn is_manifest(name: &str) -> bool {
    [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending))
}

/// Whether a text speaks of what is read here.
fn speaks(text: &str) -> bool {
    text.contains(&format!("{ARGOCD}/")) || text.contains(&format!("{FLUX}/"))
}

/// Whether a template seems to make what is read here; Argo Rollouts and
/// Workflows have Argo CD's group, too.
fn delivers(text: &str) -> bool {
    text.contains(&format!("{FLUX}/"))
        || text.contains(&format!("{ARGOCD}/")) && text.contains("kind: Application")
}

/// The objects of a file. One that was named has to be right; one that a folder
/// holds only where it speaks of what is read here.
fn add(read: &mut Read, shown: &Path, file: &Path, is_named: bool) -> Result<(), Failure> {
    let (called, text) = if shown.as_os_str() == "-" {
        output::read(shown)?
    } else {
        let text = match std::fs::read_to_string(file) {
            // No text, and so nothing of the sort.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData && !is_named => return Ok(()),
            text => text,
        };
        let failed = |error| {
            Failure::usage(format!("{}: {error}", shown.display()))
                .hint("name a file, a folder, or - for stdin")
        };
        (shown.display().to_string(), text.map_err(failed)?)
    };
    let documents = match yaml::documents(&called, &text) {
        Err(_) if !is_named && !speaks(&text) => return Ok(()),
        documents => documents.map_err(|error| {
            Failure::git(error.to_string()).hint("mend the file; what a template or a kustomization makes is read by: ... | kubectl gitops init --from -")
        })?,
    };
    for Document { value, lines, .. } in documents {
        for (value, lines) in items(value, lines) {
            if value["apiVersion"].is_string() && value["kind"].is_string() {
                read.resources.push(Resource { file: called.clone(), value, lines });
            }
        }
    }
    Ok(())
}

/// A List's items, or the object itself.
fn items(mut value: Value, mut lines: LineTree) -> Vec<(Value, LineTree)> {
    let is_list = value["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    match value.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) if is_list => {
            let trees = lines.fields.remove("items").map(|tree| tree.items).unwrap_or_default();
            items.into_iter().zip(trees).collect()
        }
        Some(items) => {
            value["items"] = items;
            vec![(value, lines)]
        }
        None => vec![(value, lines)],
    }
}

/// The repository's working tree.
pub struct Disk<'a> {
    pub root: &'a Path,
}

impl Tree for Disk<'_> {
    fn look(&self, path: &str, deep: bool) -> Option<Folder> {
        if !self.root.join(path).is_dir() {
            return None;
        }
        let mut folder = Folder { is_whole: true, ..Folder::default() };
        let chart = self.has_file(&inside(path, "Chart.yaml"));
        folder.holds = match (chart, self.kustomization(path).is_some()) {
            (true, true) => Holds::Both,
            (true, false) => Holds::Chart,
            (false, true) => Holds::Kustomize,
            (false, false) => Holds::Plain,
        };
        match folder.holds {
            Holds::Kustomize | Holds::Both => {
                self.top(path, &mut folder);
                self.follow(path, &mut folder, 0);
            }
            Holds::Plain => self.plain(path, deep, &mut folder),
            Holds::Chart => folder.is_whole = false,
        }
        Some(folder)
    }

    fn has_file(&self, path: &str) -> bool {
        self.root.join(path).is_file()
    }
}

impl Disk<'_> {
    fn kustomization(&self, path: &str) -> Option<String> {
        KUSTOMIZATIONS.iter().map(|name| inside(path, name)).find(|file| self.has_file(file))
    }

    fn read_kustomization(&self, path: &str) -> Option<Value> {
        let file = self.kustomization(path)?;
        let text = std::fs::read_to_string(self.root.join(&file)).ok()?;
        Some(yaml::documents(&file, &text).ok()?.into_iter().next()?.value)
    }

    /// What a kustomization does by itself.
    fn top(&self, path: &str, folder: &mut Folder) {
        let value = self.read_kustomization(path).unwrap_or_default();
        folder.transforms = changes(&value);
        for image in value.get("images").and_then(Value::as_array).into_iter().flatten() {
            if let (Some(name), Some(new)) = (image["name"].as_str(), image["newName"].as_str()) {
                folder.renames.push((name.to_owned(), new.to_owned()));
            }
        }
    }

    fn plain(&self, path: &str, deep: bool, folder: &mut Folder) {
        for entry in entries(&self.root.join(path)) {
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let below = inside(path, &name);
            if name.starts_with('.') || entry.is_symlink() {
                continue;
            }
            if entry.is_dir() && deep && self.kustomization(&below).is_some() {
                self.follow(&below, folder, 0);
                folder.inner.push(below);
            } else if entry.is_dir() && deep {
                self.plain(&below, deep, folder);
            } else if is_manifest(&name) {
                self.objects(&below, folder);
            }
            folder.has_jsonnet |= name.ends_with(".jsonnet");
        }
    }

    /// What a kustomization leads to, as far as it lies in this repository.
    fn follow(&self, path: &str, folder: &mut Folder, depth: usize) {
        let Some(value) = self.read_kustomization(path).filter(|_| depth < DEEPEST) else {
            folder.is_whole = false;
            return;
        };
        folder.changes |= changes(&value);
        folder.inflates |= value.get("helmCharts").is_some();
        folder.is_whole &= value.get("helmCharts").is_none();
        let first = folder.objects.len();
        let listed =
            ["resources", "bases", "components"].iter().filter_map(|name| value.get(name)?.as_array());
        for resource in listed.flatten().filter_map(Value::as_str) {
            match below(path, resource) {
                Some(target) if self.root.join(&target).is_dir() => self.follow(&target, folder, depth + 1),
                Some(target) if self.has_file(&target) => self.objects(&target, folder),
                _ => folder.is_whole = false,
            }
        }
        if let Some(namespace) = value.get("namespace").and_then(Value::as_str) {
            folder.objects[first..].iter_mut().for_each(|seen| namespace.clone_into(&mut seen.namespace));
        }
    }

    fn objects(&self, file: &str, folder: &mut Folder) {
        let documents = std::fs::read_to_string(self.root.join(file)).ok();
        let Some(Ok(documents)) = documents.map(|text| yaml::documents(file, &text)) else {
            folder.is_whole = false;
            return;
        };
        for (value, _) in documents.into_iter().flat_map(|document| items(document.value, document.lines)) {
            let text =
                |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            let group = text("/apiVersion");
            let part_of = text("/metadata/labels/app.kubernetes.io~1part-of");
            folder.objects.push(Seen {
                file: file.to_owned(),
                group: group.split_once('/').map_or("", |(group, _)| group).to_owned(),
                kind: text("/kind"),
                name: text("/metadata/name"),
                namespace: text("/metadata/namespace"),
                is_tool: matches!(part_of.as_str(), "flux" | "argocd"),
            });
        }
    }
}

/// Whether a kustomization changes what it gathers.
fn changes(kustomization: &Value) -> bool {
    let fields = kustomization.as_object();
    fields.is_some_and(|fields| fields.keys().any(|name| !GATHERS.contains(&name.as_str())))
}

fn inside(path: &str, name: &str) -> String {
    if path == "." { name.to_owned() } else { format!("{path}/{name}") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    const LIST: &str = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: argoproj.io/v1alpha1\n  kind: Application\n  metadata: {name: a}\n- apiVersion: v1\n  kind: Service\n  metadata: {name: b}\n";

    #[test]
    fn folders_are_read_without_templates_and_what_is_hidden() {
        let root = tree(&[
            ("apps/list.yaml", LIST),
            ("apps/.hidden/list.yaml", LIST),
            ("apps/values.yaml", "a: 1\n"),
            ("apps/broken.yaml", "{{ nothing of ours }}\n"),
            ("apps/chart/Chart.yaml", "apiVersion: v2\nname: c\n"),
            ("apps/chart/templates/a.yaml", "{{ x }}\nkind: Application # argoproj.io/v1alpha1\n"),
            ("apps/rollouts/Chart.yaml", "apiVersion: v2\nname: r\n"),
            ("apps/rollouts/templates/a.yaml", "{{ x }}\napiVersion: argoproj.io/v1alpha1\nkind: Rollout\n"),
        ]);
        let found = read(&["apps".into()], root.path()).unwrap();
        let places: Vec<String> =
            found.resources.iter().map(|one| format!("{} {}", one.place(), one.name())).collect();
        assert_eq!(places, ["apps/list.yaml:4 a", "apps/list.yaml:7 b"]);
        assert_eq!(found.templates, ["apps/chart"]);
        assert_eq!(read(&["apps/broken.yaml".into()], root.path()).err().unwrap().code, 4);
    }

    #[test]
    fn a_folder_is_followed_as_far_as_it_is_written_down() {
        let service = |name: &str| {
            format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: own}}\n")
        };
        let root = tree(&[
            ("base/kustomization.yaml", "resources: [a.yaml]\n"),
            ("base/a.yaml", &service("a")),
            (
                "top/kustomization.yaml",
                "resources: [../base]\nnamespace: other\nimages: [{name: web, newName: mirror}]\n",
            ),
            ("far/kustomization.yaml", "resources: [https://h/x]\nhelmCharts: [{name: c}]\n"),
            ("plain/b.yaml", &service("b")),
            ("plain/c.jsonnet", "{}"),
            ("plain/deep/kustomization.yaml", "resources: [../../base]\n"),
        ]);
        let disk = Disk { root: root.path() };
        let look = |path: &str, deep: bool| disk.look(path, deep).unwrap();
        let top = look("top", true);
        assert!(top.holds == Holds::Kustomize && top.is_whole && top.transforms && top.changes);
        assert_eq!((&*top.objects[0].name, &*top.objects[0].namespace), ("a", "other"));
        assert_eq!(top.renames, [("web".to_owned(), "mirror".to_owned())]);
        let base = look("base", true);
        assert!(base.is_whole && !base.transforms && base.objects[0].namespace == "own");
        let far = look("far", true);
        assert!(!far.is_whole && far.inflates);
        let plain = look("plain", true);
        assert!(plain.holds == Holds::Plain && plain.has_jsonnet);
        assert_eq!((plain.objects.len(), &*plain.inner), (2, &["plain/deep".to_owned()][..]));
        assert_eq!(look("plain", false).objects.len(), 1);
        assert!(disk.look("gone", true).is_none());
    }
}
