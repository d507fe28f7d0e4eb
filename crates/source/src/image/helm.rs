//! Charts: the values that make the image up. Only `repository`, `tag`,
//! `digest` and `registry` side by side, or the whole image as one text, are
//! understood; and only where one place alone makes this image.

use gitops_core::image::Image;
use serde_json::Value;

use super::{Files, PlaceError, Wanted, edit};
use crate::render::{RenderRequest, join, resolve};
use crate::yaml::documents;
use crate::yaml::edit::{Editor, Place, Step};

/// Where values come from.
enum Layer {
    /// Of the Application: what changes them is no file of the source.
    Application {
        field: &'static str,
        value: Value,
    },
    File {
        path: String,
        value: Value,
    },
    /// Of another repository.
    Away {
        file: String,
    },
}

/// A place of the values that makes the image.
struct Found {
    path: Vec<Step>,
    /// As one text; else field by field.
    whole: bool,
}

pub(super) fn set(
    files: &mut Files,
    request: &RenderRequest,
    wanted: &Wanted<'_>,
    old: &Image,
) -> Result<String, PlaceError> {
    let layers = layers(files, request)?;
    let mut merged = Value::Null;
    for value in layers.iter().rev().filter_map(Layer::value) {
        merge(&mut merged, value);
    }
    let mut found = Vec::new();
    search(&merged, &mut Vec::new(), old, &mut found);
    let place = match found.len() {
        1 => found.remove(0),
        0 => {
            return Err(wanted.elsewhere(
                format!("the chart {}, and no value alone makes it up", request.path),
                "change the chart's template or values, and commit",
            ));
        }
        _ => {
            let places: Vec<String> = found.into_iter().map(|found| Place(found.path).to_string()).collect();
            return Err(wanted.elsewhere(
                format!("one of these values: {}", places.join(", ")),
                "change the right one in its values file, and commit",
            ));
        }
    };
    let at = Place(place.path.clone());
    let mut said = String::new();
    for (field, value) in fields(&place, &merged, old, wanted.image) {
        let path: Vec<Step> =
            place.path.iter().cloned().chain(field.map(|name| Step::Field(name.into()))).collect();
        said = write(files, &layers, wanted, &path, &value)?;
    }
    Ok(format!("{said}: {at}"))
}

impl Layer {
    fn value(&self) -> Option<&Value> {
        match self {
            Self::Application { value, .. } | Self::File { value, .. } => Some(value),
            Self::Away { .. } => None,
        }
    }
}

/// All values, those that win first.
fn layers(files: &Files, request: &RenderRequest) -> Result<Vec<Layer>, PlaceError> {
    let mut layers = Vec::new();
    let mut set = Value::Null;
    for (key, value) in &request.helm.set {
        put(&mut set, &key.split('.').collect::<Vec<_>>(), value);
    }
    layers.push(Layer::Application { field: "spec.source.helm.set", value: set });
    layers.push(Layer::Application { field: "spec.source.helm.values", value: request.helm.values.clone() });
    for file in request.helm.value_files.iter().rev() {
        let path = match (file.strip_prefix('$'), file.strip_prefix('/')) {
            (Some(_), _) => None,
            (None, Some(from_root)) => resolve("", from_root),
            (None, None) => resolve(&request.path, file),
        };
        match path.and_then(|path| Some((files.text(&path)?, path))) {
            Some((text, path)) => layers.push(Layer::File { value: first(&path, &text)?, path }),
            None => layers.push(Layer::Away { file: file.clone() }),
        }
    }
    let own = join(&request.path, "values.yaml");
    if let Some(text) = files.text(&own) {
        layers.push(Layer::File { value: first(&own, &text)?, path: own });
    }
    Ok(layers)
}

fn first(path: &str, text: &str) -> Result<Value, PlaceError> {
    Ok(documents(path, text)?.into_iter().next().map(|document| document.value).unwrap_or_default())
}

fn put(value: &mut Value, path: &[&str], text: &str) {
    if let Some((name, rest)) = path.split_first() {
        if !value.is_object() {
            *value = Value::Object(serde_json::Map::new());
        }
        put(&mut value[*name], rest, text);
    } else {
        *value = text.into();
    }
}

/// As helm merges values: maps field by field, anything else as a whole.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (into, from) => *into = from.clone(),
    }
}

/// Texts and numbers as a template prints them.
fn printed(map: &Value, field: &str) -> String {
    match map.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

fn search(value: &Value, path: &mut Vec<Step>, image: &Image, found: &mut Vec<Found>) {
    match value {
        Value::String(text) if Image::parse(text).as_ref() == Ok(image) && !image.tag.is_empty() => {
            found.push(Found { path: path.clone(), whole: true });
        }
        Value::Object(map) => {
            if makes(value, image) {
                found.push(Found { path: path.clone(), whole: false });
                return;
            }
            for (key, inner) in map {
                path.push(Step::Field(key.clone()));
                search(inner, path, image, found);
                path.pop();
            }
        }
        Value::Array(items) => {
            for (at, inner) in items.iter().enumerate() {
                path.push(Step::Index(at));
                search(inner, path, image, found);
                path.pop();
            }
        }
        _ => {}
    }
}

/// Whether a map's fields make this image; a tag that is left out is the
/// chart's own.
fn makes(map: &Value, image: &Image) -> bool {
    let (registry, repository) = (printed(map, "registry"), printed(map, "repository"));
    let (tag, digest) = (printed(map, "tag"), printed(map, "digest"));
    let whole = if registry.is_empty() { repository.clone() } else { format!("{registry}/{repository}") };
    !repository.is_empty()
        && whole == image.repository
        && (tag.is_empty() || tag == image.tag)
        && (digest.is_empty() || digest == image.digest)
}

/// The fields that change, and what they become.
fn fields<'f>(found: &Found, merged: &Value, old: &Image, new: &Image) -> Vec<(Option<&'f str>, String)> {
    if found.whole {
        return vec![(None, new.to_string())];
    }
    let map = found.path.iter().try_fold(merged, |value, step| match step {
        Step::Field(name) => value.get(name),
        Step::Index(at) => value.get(at),
    });
    let registry = map.map(|map| printed(map, "registry")).unwrap_or_default();
    let mut fields = Vec::new();
    if old.repository != new.repository {
        match new.repository.strip_prefix(&format!("{registry}/")).filter(|_| !registry.is_empty()) {
            Some(rest) => fields.push((Some("repository"), rest.to_owned())),
            None if registry.is_empty() => fields.push((Some("repository"), new.repository.clone())),
            None => {
                let (host, rest) = new.repository.split_once('/').unwrap_or(("", &new.repository));
                fields.push((Some("registry"), host.to_owned()));
                fields.push((Some("repository"), rest.to_owned()));
            }
        }
    }
    if old.tag != new.tag {
        fields.push((Some("tag"), new.tag.clone()));
    }
    if old.digest != new.digest {
        fields.push((Some("digest"), new.digest.clone()));
    }
    fields
}

/// Writes a value where it is set by what wins; returns the file.
fn write(
    files: &mut Files,
    layers: &[Layer],
    wanted: &Wanted<'_>,
    path: &[Step],
    value: &str,
) -> Result<String, PlaceError> {
    let has = |layer: &Layer, path: &[Step]| {
        let mut at = layer.value();
        for step in path {
            at = at.and_then(|value| match step {
                Step::Field(name) => value.get(name),
                Step::Index(index) => value.get(index),
            });
        }
        at.is_some_and(|value| !value.is_null())
    };
    // A chart's own tag is set beside the repository.
    let above = path.split_last().map_or(&[][..], |(_, above)| above);
    let beside: Vec<Step> = above.iter().cloned().chain([Step::Field("repository".into())]).collect();
    for (sought, insert) in [(path, false), (&beside, true)] {
        for layer in layers {
            match layer {
                Layer::Away { file } => {
                    return Err(wanted.elsewhere(
                        format!("values that {file} may set, which lies elsewhere"),
                        "change it there, and commit",
                    ));
                }
                _ if !has(layer, sought) => {}
                Layer::Application { field, .. } => {
                    return Err(wanted.elsewhere(
                        format!("{field} of the Application, {}", Place(sought.to_vec())),
                        "change it where the Application is described",
                    ));
                }
                Layer::File { path: file, .. } => {
                    let mut editor = Editor::new(&files.text(file).unwrap_or_default());
                    let edited = match (insert, path.last()) {
                        (true, Some(Step::Field(name))) => editor.beside(1, sought, name, value),
                        _ => editor.set(1, sought, value),
                    };
                    edited.map_err(edit(file))?;
                    files.put(file, editor.text());
                    return Ok(file.clone());
                }
            }
        }
    }
    Err(wanted.elsewhere("the chart itself", "set it in a values file, and commit"))
}
