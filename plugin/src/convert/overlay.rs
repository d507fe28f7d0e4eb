//! What is put on top of a kustomization. Of that, an Application has images and
//! components alone; the rest belongs into a kustomization.

use serde_json::{Value, json};

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

/// Longest value that a message repeats.
const SHORT: usize = 100;

/// Tells what belongs into a kustomization of its own; `name`: the resource's.
pub fn belongs(map: &mut Map<'_>, path: &str, name: &str) {
    for field_name in BELONG {
        let Some(field) = map.take(field_name).filter(Field::is_said) else { continue };
        let mut lines = Vec::new();
        if field_name == "commonMetadata" {
            let part = |part: &str| field.value.get(part).filter(|part| is_said(Some(part)));
            lines.extend(part("labels").map(|labels| line("labels", &json!([{"pairs": labels}]))));
            lines.extend(part("annotations").map(|all| line("commonAnnotations", all)));
        } else {
            lines.push(line(field_name, field.value));
        }
        let instead = instead(&lines.join(" and "), path, name);
        field.tell(Weight::What, format!("an Application cannot say it: {instead}"));
    }
}

/// A line of a kustomization, as far as it is short.
fn line(name: &str, value: &Value) -> String {
    let text = format!("`{name}: {value}`");
    if text.len() > SHORT { name.to_owned() } else { text }
}

fn instead(what: &str, path: &str, name: &str) -> String {
    let path = if path == "." { "" } else { path };
    format!(
        "commit overlays/{name}/kustomization.yaml with `resources: [../../{path}]` and {what}, and name \
         overlays/{name} as source.path"
    )
}

/// A namespace that objects are moved into, whichever they name. Nothing is lost
/// where they are known to name no other one.
pub fn moved(field: &Field<'_>, namespace: &str, (path, name): (&str, &str), folder: Option<&Folder>) {
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
                instead(&line("namespace", &namespace.into()), path, name)
            ),
        );
    }
}

/// Components, less those that may be missing and are. They are put on top of the
/// kustomization here, and among its own there.
pub fn components(
    map: &mut Map<'_>,
    path: &str,
    (is_seen, folder): (bool, Option<&Folder>),
    around: &Surroundings<'_, '_>,
) -> Vec<String> {
    let may_be_missing = map.take("ignoreMissingComponents").filter(Field::is_said);
    let mut kept = Vec::new();
    let components = map.take("components").filter(Field::is_said);
    if let Some(field) = components.as_ref().filter(|_| folder.is_none_or(|folder| folder.transforms)) {
        let file = format!("{path}/kustomization.yaml");
        field.tell(Weight::What, format!("here they are put on top, so that what {file} says of labels, names, images and so on is not said of what they bring: list them in that file's components instead, and leave them out here"));
    }
    for component in components.map(|field| field.items()).unwrap_or_default() {
        let Some(text) = component.text() else { continue };
        let is_there =
            || below(path, &text).is_some_and(|path| around.home.tree.look(&path, false).is_some());
        match &may_be_missing {
            Some(_) if is_seen && !is_there() => component.tell(Weight::How, "it is not there, and left out"),
            Some(field) if !is_seen => {
                field.tell(Weight::How, "every component has to be there: take out those that are not");
                kept.push(text);
            }
            _ => kept.push(text),
        }
    }
    kept
}

/// Images under the names that they have once the folder's own kustomization has
/// changed them: there, another entry of the same name takes its place.
pub fn renamed(field: &Field<'_>, images: Vec<String>, folder: Option<&Folder>) -> Vec<String> {
    if folder.is_none() {
        field.tell(Weight::How, "an image to which the kustomization itself gives another name is named by that here: NEW=IMAGE:TAG");
    }
    let renames = folder.map(|folder| folder.renames.as_slice()).unwrap_or_default();
    images.iter().map(|image| renamed_one(image, renames)).collect()
}

fn renamed_one(image: &str, renames: &[(String, String)]) -> String {
    let (name, target) = match image.split_once('=') {
        Some((name, target)) => (name, target),
        None => (untagged(image), image),
    };
    let new = renames.iter().find(|(from, _)| from == name).map(|(_, to)| to.as_str());
    // As kustomize edit reads it, * keeps what is there.
    let target = match target.strip_prefix('*') {
        Some(tag) => format!("{}{tag}", new.unwrap_or(name)),
        None => target.trim_end_matches(":*").trim_end_matches("@*").to_owned(),
    };
    match new {
        Some(new) => format!("{new}={target}"),
        None if image.contains('=') => format!("{name}={target}"),
        None => target,
    }
}

fn untagged(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or_default();
    name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(name, _)| name)
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
