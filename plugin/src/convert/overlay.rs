//! What is put on top of a kustomization. Of that, an Application has images and
//! components alone; the rest belongs into a kustomization.

use serde_json::Value;

use super::Surroundings;
use super::field::{Field, Map, Weight};
use super::home::{Folder, below};

/// Fields that a kustomization has and an Application has not.
const BELONG: [&str; 9] = [
    "namePrefix",
    "nameSuffix",
    "commonLabels",
    "commonAnnotations",
    "commonMetadata",
    "replicas",
    "patches",
    "patchesStrategicMerge",
    "patchesJson6902",
];

/// Tells what belongs into a kustomization of its own.
pub fn belongs(map: &mut Map<'_>, path: &str) {
    for name in BELONG {
        let Some(field) = map.take(name).filter(Field::is_said) else { continue };
        let as_written = match name {
            "commonMetadata" => "labels and commonAnnotations".to_owned(),
            name => name.to_owned(),
        };
        field.tell(Weight::What, format!("an Application cannot say it: {}", instead(&as_written, path)));
    }
}

fn instead(what: &str, path: &str) -> String {
    format!(
        "commit a folder with a kustomization.yaml that has `resources: [{path}]`, seen from there, and {what}; \
         and name that folder as source.path"
    )
}

/// A namespace that objects are moved into, whichever they name. Nothing is lost
/// where they are known to name no other one.
pub fn moved(field: &Field<'_>, namespace: &str, path: &str, folder: Option<&Folder>) {
    let agrees = |folder: &Folder| {
        folder.is_whole
            && folder.objects.iter().all(|seen| seen.namespace.is_empty() || seen.namespace == namespace)
    };
    if !folder.is_some_and(agrees) {
        let other = folder.and_then(|folder| {
            folder.objects.iter().find(|seen| !seen.namespace.is_empty() && seen.namespace != namespace)
        });
        let why = match other {
            Some(seen) => format!("{} names namespace {}", seen.file, seen.namespace),
            None => "whether its objects name others is not known".to_owned(),
        };
        field.tell(
            Weight::What,
            format!(
                "destination.namespace is {namespace}, but objects that name another one stay there ({why}): {}",
                instead(&format!("namespace: {namespace}"), path)
            ),
        );
    }
}

/// Components, less those that may be missing and are.
pub fn components(map: &mut Map<'_>, path: &str, is_own: bool, around: &Surroundings<'_, '_>) -> Vec<String> {
    let may_be_missing = map.take("ignoreMissingComponents").filter(Field::is_said);
    let mut kept = Vec::new();
    for component in map.items("components") {
        let Some(text) = component.text() else { continue };
        let is_there =
            || below(path, &text).is_some_and(|path| around.home.tree.look(&path, false).is_some());
        match &may_be_missing {
            Some(_) if is_own && !is_there() => component.tell(Weight::How, "it is not there, and left out"),
            Some(field) if !is_own => {
                field.tell(Weight::How, "every component has to be there: take out those that are not");
                kept.push(text);
            }
            _ => kept.push(text),
        }
    }
    kept
}

/// Images as kustomizations write them, as `name=new:tag`.
pub fn image(field: &Field<'_>) -> Option<String> {
    let mut image = field.clone().map();
    let name = image.text("name");
    let [new, tag, digest] = ["newName", "newTag", "digest"].map(|name| image.text(name));
    image.end();
    let name = name?;
    let new = new.unwrap_or_else(|| name.clone());
    Some(match (tag, digest) {
        (_, Some(digest)) => format!("{name}={new}@{digest}"),
        (Some(tag), None) => format!("{name}={new}:{tag}"),
        (None, None) => format!("{name}={new}"),
    })
}

/// Whether a value says anything.
pub fn is_said(value: Option<&Value>) -> bool {
    value.is_some_and(|value| match value {
        Value::Object(fields) => fields.values().any(|value| is_said(Some(value))),
        Value::Array(items) => !items.is_empty(),
        Value::String(text) => !text.is_empty(),
        other => !matches!(other, Value::Null | Value::Bool(false)),
    })
}
