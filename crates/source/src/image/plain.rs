//! Manifests that say the image themselves.

use gitops_core::image::containers;
use serde_json::Value;

use super::{Files, PlaceError, Wanted, edit};
use crate::yaml::documents;
use crate::yaml::edit::{Editor, Place, steps};

/// An object's container in a file.
pub(super) struct Found {
    document: usize,
    /// JSON pointer of its image in the document.
    pointer: String,
    pub image: String,
}

/// In the file that the object comes from.
pub(super) fn set(files: &mut Files, wanted: &Wanted<'_>) -> Result<String, PlaceError> {
    let elsewhere = || wanted.elsewhere(wanted.file.to_owned(), "change it there, and commit");
    let found = find(files, wanted, |name| name == wanted.name)?;
    let found = found.filter(|found| found.image == wanted.container.image).ok_or_else(elsewhere)?;
    replace(files, wanted, &found)
}

/// Gives a container that was found the image that is wanted.
pub(super) fn replace(files: &mut Files, wanted: &Wanted<'_>, found: &Found) -> Result<String, PlaceError> {
    let text = files.text(wanted.file).unwrap_or_default();
    let mut editor = Editor::new(&text);
    let path = steps(&found.pointer);
    editor.set(found.document, &path, &wanted.image.to_string()).map_err(edit(wanted.file))?;
    files.put(wanted.file, editor.text());
    Ok(format!("{}: {}", wanted.file, Place(path)))
}

/// The container in the file that its object comes from; none where the file
/// has no such object, or several.
pub(super) fn find(
    files: &Files,
    wanted: &Wanted<'_>,
    is_name: impl Fn(&str) -> bool,
) -> Result<Option<Found>, PlaceError> {
    let Some(text) = files.text(wanted.file) else { return Ok(None) };
    let mut found = Vec::new();
    for document in documents(wanted.file, &text)? {
        let items = document.value.get("items").and_then(Value::as_array);
        let objects: Vec<(String, &Value)> = match items {
            Some(items) => {
                items.iter().enumerate().map(|(at, item)| (format!("/items/{at}"), item)).collect()
            }
            None => vec![(String::new(), &document.value)],
        };
        for (above, object) in objects {
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            if text("/kind") != wanted.kind || !is_name(text("/metadata/name")) {
                continue;
            }
            let named = containers(object).into_iter().find(|one| one.name == wanted.container.name);
            found.extend(named.map(|container| Found {
                document: document.number,
                pointer: format!("{above}{}", container.pointer),
                image: container.image,
            }));
        }
    }
    Ok(if found.len() == 1 { found.pop() } else { None })
}
