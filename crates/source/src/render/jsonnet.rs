//! Jsonnet. In: a `.jsonnet` file, or a folder of them. Out: the objects in
//! what they evaluate to: an object, a list, or a map of those. Evaluated by a
//! process of its own, as confined as helm is: a program may run for ever.
//!
//! Imports are found beside the importing file, in `vendor` and `lib` of the
//! source's folder and of the repository, and at the repository's root.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gitops_core::desired::{LineTree, Rendered};
use jrsonnet_evaluator::error::ErrorKind;
use jrsonnet_evaluator::manifest::JsonFormat;
use jrsonnet_evaluator::parser::{SourceFile, SourcePath};
use jrsonnet_evaluator::trace::{CompactFormat, PathResolver, TraceFormat};
use jrsonnet_evaluator::{FileImportResolver, ImportResolver, State};
use jrsonnet_gcmodule::Trace;
use serde_json::Value;

use super::checkout::Checkout;
use super::closure::Closure;
use super::confine::Reach;
use super::{RenderRequest, join, objects, tools};
use crate::error::SourceError;
use crate::git::Snapshot;
use crate::sops::Report;
use crate::yaml::Document;

/// The first argument by which a program of ours becomes the evaluator.
pub const ARGUMENT: &str = "evaluate-jsonnet";
/// Calls in calls: a program that never returns ends here.
const MAX_DEPTH: usize = 500;
/// Lines of a complaint that say who called whom.
const MAX_TRACE: usize = 5;
const STACK: usize = 512 << 20;
/// Maps in maps that lead to objects.
const MAX_NESTING: usize = 32;

pub(super) fn render(
    snapshot: &Snapshot,
    request: &RenderRequest,
    closure: &Closure,
    tools: &tools::Tools,
) -> Result<(Vec<Rendered>, Report), SourceError> {
    let files = files(snapshot, &request.path)?;
    let mut checkout = Checkout::new(snapshot, closure, &request.keys)?;
    let program = tools
        .jsonnet
        .clone()
        .map_or_else(std::env::current_exe, Ok)
        .map_err(SourceError::io("the running program"))?;
    let folder = if snapshot.is_file(&request.path) {
        request.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    } else {
        &request.path
    };
    let root = checkout.root();
    let libraries = ["vendor", "lib"].map(|name| checkout.inside(&join(folder, name)));
    let libraries: Vec<PathBuf> =
        libraries.into_iter().chain(["vendor", "lib", ""].map(|name| checkout.inside(name))).collect();
    let run = |file: &String| {
        let mut arguments = vec![ARGUMENT.to_owned(), root.display().to_string()];
        arguments.push(checkout.inside(file).display().to_string());
        arguments.extend(libraries.iter().map(|library| library.display().to_string()));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let reach = Reach { read: &[checkout.folder()], write: checkout.home(), run: &[] };
        let output =
            tools::run("jsonnet", &program, &arguments, &root, &reach).map_err(|error| match error {
                SourceError::Render { tool, reason, .. } => {
                    SourceError::Render { tool, path: file.clone(), reason }
                }
                other => other,
            })?;
        let bad = |reason: String| SourceError::Render { tool: "jsonnet", path: file.clone(), reason };
        let value = serde_json::from_str(&output).map_err(|error| bad(error.to_string()))?;
        let mut documents = Vec::new();
        collect(value, "$", 0, &mut documents).map_err(bad)?;
        objects(&Arc::from(file.as_str()), documents, false)
    };
    let rendered: Result<Vec<Vec<Rendered>>, SourceError> = files.iter().map(run).collect();
    match rendered {
        Ok(rendered) => Ok((rendered.into_iter().flatten().collect(), checkout.sops)),
        Err(error) => Err(checkout.sops.explain(error)),
    }
}

/// The file itself, or the folder's own `.jsonnet` files.
fn files(snapshot: &Snapshot, path: &str) -> Result<Vec<String>, SourceError> {
    if snapshot.is_file(path) {
        return Ok(vec![path.to_owned()]);
    }
    let mut files: Vec<String> = snapshot.files(path, false)?.into_iter().map(|file| file.path).collect();
    files.retain(|file| file.ends_with(".jsonnet"));
    if files.is_empty() {
        return Err(SourceError::Unsupported {
            path: if path.is_empty() { ".".into() } else { path.to_owned() },
            reason: "there is no .jsonnet file in it".into(),
        });
    }
    Ok(files)
}

fn collect(value: Value, at: &str, depth: usize, documents: &mut Vec<Document>) -> Result<(), String> {
    if depth > MAX_NESTING {
        return Err(format!("{at} is nested too deeply"));
    }
    match value {
        Value::Null => Ok(()),
        Value::Array(items) => items
            .into_iter()
            .enumerate()
            .try_for_each(|(index, item)| collect(item, &format!("{at}[{index}]"), depth + 1, documents)),
        Value::Object(map) if map.contains_key("apiVersion") || map.contains_key("kind") => {
            let number = documents.len() + 1;
            documents.push(Document { value: map.into(), number, line: 0, lines: LineTree::default() });
            Ok(())
        }
        Value::Object(map) => map
            .into_iter()
            .try_for_each(|(name, value)| collect(value, &format!("{at}.{name}"), depth + 1, documents)),
        other => Err(format!("{at} is {other}: an object, a list or a map of objects is needed")),
    }
}

/// Turns this process into the evaluator if its arguments say so; then it ends
/// with the code that is given back. Every program of ours calls this first.
pub fn evaluator() -> Option<u8> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [first, root, file, libraries @ ..] = arguments.as_slice() else { return None };
    if first != ARGUMENT {
        return None;
    }
    let (root, file) = (PathBuf::from(root), PathBuf::from(file));
    let libraries = libraries.iter().map(PathBuf::from).collect();
    let work = move || evaluate(root, &file, libraries);
    let result = std::thread::Builder::new().stack_size(STACK).spawn(work).map(std::thread::JoinHandle::join);
    let (text, code) = match result {
        Ok(Ok(Ok(json))) => (json, 0),
        Ok(Ok(Err(reason))) => (reason, 4),
        _ => ("the evaluation broke off".to_owned(), 4),
    };
    use std::io::Write;
    let written = if code == 0 {
        std::io::stdout().lock().write_all(text.as_bytes())
    } else {
        std::io::stderr().lock().write_all(text.as_bytes())
    };
    Some(if written.is_ok() { code } else { 4 })
}

fn evaluate(root: PathBuf, file: &Path, libraries: Vec<PathBuf>) -> Result<String, String> {
    jrsonnet_evaluator::stack::set_stack_depth_limit(MAX_DEPTH);
    let paths = PathResolver::Relative(root.clone());
    let mut builder = State::builder();
    builder
        .import_resolver(Inside { root, files: FileImportResolver::new(libraries) })
        .context_initializer(jrsonnet_stdlib::ContextInitializer::new(paths.clone()));
    let state = builder.build();
    let format = JsonFormat::minify();
    let result = state.import(file).and_then(|value| value.manifest(format));
    result.map_err(|error| {
        let shown = CompactFormat { resolver: paths, max_trace: MAX_TRACE, ..CompactFormat::default() };
        shown.format(&error).unwrap_or_else(|_| error.to_string())
    })
}

/// Imports that stay in the repository.
#[derive(Trace)]
struct Inside {
    root: PathBuf,
    files: FileImportResolver,
}

impl Inside {
    fn checked(&self, found: SourcePath, asked: &Path) -> jrsonnet_evaluator::Result<SourcePath> {
        let inside = found.downcast_ref::<SourceFile>().is_some_and(|file| {
            let real = |path: &Path| path.canonicalize().ok();
            real(file.path()).zip(real(&self.root)).is_some_and(|(file, root)| file.starts_with(root))
        });
        if inside {
            return Ok(found);
        }
        let reason = format!("{} lies outside of the repository", asked.display());
        Err(ErrorKind::RuntimeError(reason.into()).into())
    }
}

impl ImportResolver for Inside {
    fn resolve_from(&self, from: &SourcePath, path: &str) -> jrsonnet_evaluator::Result<SourcePath> {
        self.checked(self.files.resolve_from(from, path)?, Path::new(path))
    }

    fn resolve(&self, path: &Path) -> jrsonnet_evaluator::Result<SourcePath> {
        self.checked(self.files.resolve(path)?, path)
    }

    fn load_file_contents(&self, resolved: &SourcePath) -> jrsonnet_evaluator::Result<Vec<u8>> {
        self.files.load_file_contents(resolved)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
