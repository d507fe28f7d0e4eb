//! Kustomizations: an entry of `images`, of the outermost one that changes this
//! image; else the manifest, where it lies beside the outermost; else a new
//! entry there, so that what others share stays as it is.

use std::collections::VecDeque;

use gitops_core::image::Image;
use serde_json::Value;

use super::{Files, PlaceError, Wanted, edit, plain};
use crate::render::{KUSTOMIZATIONS, RenderRequest, image_override, join, resolve};
use crate::yaml::documents;
use crate::yaml::edit::{Editor, Place, steps};

/// Kustomizations that one may lead to.
const MAX: usize = 1000;

/// A kustomization's file.
struct Layer {
    file: String,
    value: Value,
}

pub(super) fn set(
    files: &mut Files,
    request: &RenderRequest,
    wanted: &Wanted<'_>,
    old: &Image,
) -> Result<String, PlaceError> {
    for text in &request.kustomize.images {
        let entry = image_override(text)?;
        if says(&entry, old) {
            return Err(wanted.elsewhere(
                format!("spec.source.kustomize.images of the Application ({text})"),
                "change it where the Application is described",
            ));
        }
    }
    let layers = layers(files, &request.path)?;
    for layer in &layers {
        let entries = layer.value.get("images").and_then(Value::as_array).into_iter().flatten();
        // Of two entries for one name the last one wins.
        if let Some((at, entry)) = entries.enumerate().filter(|(_, entry)| says(entry, old)).last() {
            return change(files, layer, at, entry, (old, wanted.image));
        }
    }
    let Some(outermost) = layers.first() else {
        return Err(wanted.elsewhere(format!("{} (no kustomization there)", request.path), "mend the path"));
    };
    let here = wanted.file.rsplit_once('/').map_or("", |(folder, _)| folder) == request.path;
    // A kustomization may put something before or behind a name.
    let found = plain::find(files, wanted, |name| !name.is_empty() && wanted.name.contains(name))?;
    match found.filter(|found| here && found.image == wanted.container.image) {
        Some(found) => plain::replace(files, wanted, &found),
        None => add(files, outermost, old, wanted.image),
    }
}

/// The kustomization of a folder and those that it leads to, outermost first.
fn layers(files: &Files, path: &str) -> Result<Vec<Layer>, PlaceError> {
    let (mut layers, mut todo) = (Vec::new(), VecDeque::from([path.to_owned()]));
    let mut seen = std::collections::BTreeSet::new();
    while let Some(folder) = todo.pop_front() {
        if layers.len() >= MAX || !seen.insert(folder.clone()) {
            continue;
        }
        let there = KUSTOMIZATIONS.iter().map(|name| join(&folder, name));
        let Some((file, text)) = there.filter_map(|file| Some((file.clone(), files.text(&file)?))).next()
        else {
            continue;
        };
        let Some(document) = documents(&file, &text)?.into_iter().next() else { continue };
        for field in ["components", "resources", "bases"] {
            let paths = document.value.get(field).and_then(Value::as_array).into_iter().flatten();
            todo.extend(paths.filter_map(|path| resolve(&folder, path.as_str()?)));
        }
        layers.push(Layer { file, value: document.value });
    }
    Ok(layers)
}

fn text<'a>(entry: &'a Value, field: &str) -> &'a str {
    entry.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Whether an entry of `images` makes this image.
fn says(entry: &Value, image: &Image) -> bool {
    let name = if text(entry, "newName").is_empty() { text(entry, "name") } else { text(entry, "newName") };
    let (tag, digest) = (text(entry, "newTag"), text(entry, "digest"));
    name == image.repository
        && (tag.is_empty() || tag == image.tag)
        && (digest.is_empty() || digest == image.digest)
}

/// Makes an entry say another image.
fn change(
    files: &mut Files,
    layer: &Layer,
    at: usize,
    entry: &Value,
    (old, new): (&Image, &Image),
) -> Result<String, PlaceError> {
    let mut editor = Editor::new(&files.text(&layer.file).unwrap_or_default());
    let field = |name: &str| steps(&format!("/images/{at}/{name}"));
    let renamed = if old.repository == new.repository { None } else { Some(new.repository.as_str()) };
    let fields = [
        ("newName", renamed),
        ("newTag", Some(new.tag.as_str()).filter(|_| new.tag != old.tag || text(entry, "newTag").is_empty())),
        ("digest", Some(new.digest.as_str()).filter(|_| new.digest != old.digest)),
    ];
    for (name, value) in fields {
        let there = entry.get(name).is_some();
        match value {
            None => {}
            Some("") if there => editor.remove(1, &field(name)).map_err(edit(&layer.file))?,
            Some("") => {}
            Some(value) if there => editor.set(1, &field(name), value).map_err(edit(&layer.file))?,
            Some(value) => editor.beside(1, &field("name"), name, value).map_err(edit(&layer.file))?,
        }
    }
    files.put(&layer.file, editor.text());
    Ok(format!("{}: {}", layer.file, Place(steps(&format!("/images/{at}")))))
}

/// Adds an entry.
fn add(files: &mut Files, layer: &Layer, old: &Image, new: &Image) -> Result<String, PlaceError> {
    let mut fields = vec![("name", old.repository.as_str())];
    let more = [
        ("newName", new.repository.as_str(), new.repository != old.repository),
        ("newTag", new.tag.as_str(), !new.tag.is_empty()),
        ("digest", new.digest.as_str(), !new.digest.is_empty()),
    ];
    fields.extend(more.into_iter().filter(|(_, _, set)| *set).map(|(name, value, _)| (name, value)));
    let mut editor = Editor::new(&files.text(&layer.file).unwrap_or_default());
    editor.push(1, "images", &fields).map_err(edit(&layer.file))?;
    files.put(&layer.file, editor.text());
    Ok(format!("{}: images", layer.file))
}
