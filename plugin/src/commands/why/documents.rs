//! Objects of files, with their identity as a cluster would give it.

use std::io::Read;
use std::path::Path;

use gitops_core::desired::{AppRef, DesiredError, DesiredObject, DesiredSet, Rendered, Scopes};
use gitops_source::yaml;
use serde_json::Value;

use crate::error::Failure;

/// More than this is no file of objects.
const MAX_BYTES: u64 = 64 << 20;

/// The text of a file, or of stdin for `-`.
pub(super) fn text(file: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        Failure::usage(format!("{}: {error}", file.display()))
            .hint("name a file, - for stdin, or an object such as deployment/web")
    };
    let reader: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(failed)?)
    };
    let mut text = String::new();
    reader.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Failure::usage(format!("{} is larger than {} MiB", file.display(), MAX_BYTES >> 20))
            .hint("judge its parts one by one"));
    }
    Ok(text)
}

/// The documents of a file; the items of a List count one by one.
pub(super) fn rendered(file: &Path) -> Result<Vec<Rendered>, Failure> {
    let shown = file.display().to_string();
    let documents = yaml::documents(&shown, &text(file)?)
        .map_err(|error| Failure::usage(error.to_string()).hint("mend the file, and try again"))?;
    let mut rendered = Vec::new();
    for document in documents {
        let items = document.value.get("items").and_then(Value::as_array);
        let is_list =
            document.value.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
        let part = |value: Value, lines| Rendered {
            value,
            file: shown.as_str().into(),
            line: document.line,
            lines,
            confidential: Vec::new(),
        };
        match items.filter(|_| is_list) {
            Some(items) => {
                let lines =
                    document.lines.fields.get("items").map(|tree| tree.items.as_slice()).unwrap_or_default();
                for (index, item) in items.iter().enumerate() {
                    rendered.push(part(item.clone(), lines.get(index).cloned()));
                }
            }
            None => rendered.push(part(document.value.clone(), Some(document.lines.clone()))),
        }
    }
    if rendered.is_empty() {
        return Err(
            Failure::usage(format!("{shown} holds no object")).hint("give a file with Kubernetes objects")
        );
    }
    Ok(rendered)
}

/// What a file declares, as a desired set.
pub(super) fn set(
    rendered: Vec<Rendered>,
    application: AppRef,
    revision: &str,
    namespace: &str,
    scopes: &dyn Scopes,
) -> Result<DesiredSet, Failure> {
    DesiredSet::build(application, revision.to_owned(), namespace, scopes, rendered)
        .map_err(|errors| mistakes(&errors))
}

/// The objects of a file that are to be judged. Their status is kept.
pub(super) fn objects(
    rendered: Vec<Rendered>,
    namespace: &str,
    scopes: &dyn Scopes,
) -> Result<Vec<DesiredObject>, Failure> {
    let nobody = AppRef { namespace: String::new(), name: String::new() };
    let mut objects = Vec::new();
    for one in rendered {
        let status = one.value.get("status").cloned();
        let set = set(vec![one], nobody.clone(), "", namespace, scopes)?;
        for mut object in set.objects.into_values() {
            if let Some(status) = status.clone() {
                object.value["status"] = status;
            }
            objects.push(object);
        }
    }
    Ok(objects)
}

fn mistakes(errors: &[DesiredError]) -> Failure {
    let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n       ");
    Failure::usage(text).hint("mend the file, and try again")
}
