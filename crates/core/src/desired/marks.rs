//! The marks of a sync. In: a desired object, its Application and commit. Out:
//! the object that says whose it is.

use serde_json::{Value, json};

use super::{AppRef, DesiredObject};
use crate::names::{ANNOTATION_ORIGIN, ANNOTATION_OWNER, ANNOTATION_REVISION, LABEL_APPLICATION};

/// The marks that every sync sets: the field of the metadata, and the key.
pub const MARKS: [(&str, &str); 4] = [
    ("labels", LABEL_APPLICATION),
    ("annotations", ANNOTATION_OWNER),
    ("annotations", ANNOTATION_REVISION),
    ("annotations", ANNOTATION_ORIGIN),
];

/// What a mark of [`MARKS`] says on an object.
pub(crate) fn mark(key: &str, object: &DesiredObject, application: &AppRef, revision: &str) -> String {
    match key {
        LABEL_APPLICATION => application.name.clone(),
        ANNOTATION_OWNER => application.to_string(),
        ANNOTATION_ORIGIN => object.origin.to_string(),
        _ => revision.to_owned(),
    }
}

/// A desired object with the marks that every sync sets: whose it is, at which
/// commit, and where it stands in Git.
pub fn stamp(object: &DesiredObject, application: &AppRef, revision: &str) -> Value {
    let mut value = (*object.value).clone();
    for (field, key) in MARKS {
        let text = mark(key, object, application, revision);
        let metadata = &mut value["metadata"];
        if !metadata[field].is_object() {
            metadata[field] = json!({});
        }
        metadata[field][key] = text.into();
    }
    value
}
