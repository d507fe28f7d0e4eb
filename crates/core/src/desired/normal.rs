//! One object as it is to be. In: a rendered one. Out: the same with its
//! identity and namespace, without what only the server sets or what says
//! nothing, or the mistake in it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::origin::flatten;
use super::{DesiredError, DesiredObject, LineTree, Origin, Rendered, Scopes};
use crate::compare::mask_text;
use crate::object::{Gvk, ObjectKey};
use crate::path::plain;
use crate::plan::{annotations, is_hook};

/// An object that lacks only the namespace that the cluster gives it, or takes.
pub(super) struct Tidy {
    pub gvk: Gvk,
    /// With the namespace that it names itself, if any.
    pub key: ObjectKey,
    pub value: Value,
    /// Without its lines.
    pub origin: Origin,
    pub lines: Option<LineTree>,
}

pub(super) fn desired(
    rendered: Rendered,
    default_namespace: &str,
    scopes: &dyn Scopes,
    lenient: bool,
) -> Result<DesiredObject, DesiredError> {
    let Tidy { gvk, mut key, mut value, origin, lines } = tidy(rendered)?;
    scope((&gvk, &mut key), &value, &origin, default_namespace, scopes, lenient)?;
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        if key.namespace.is_empty() {
            metadata.remove("namespace");
        } else {
            metadata.insert("namespace".into(), key.namespace.clone().into());
        }
    }
    let lines = lines.map(|tree| flatten(&value, &tree));
    Ok(DesiredObject { key, gvk, value: value.into(), origin: Origin { lines, ..origin } })
}

/// Gives an object of this kind its namespace, or takes it. `notes` say how it is
/// synced.
pub(super) fn scope(
    (gvk, key): (&Gvk, &mut ObjectKey),
    notes: &Value,
    origin: &Origin,
    default_namespace: &str,
    scopes: &dyn Scopes,
    lenient: bool,
) -> Result<(), DesiredError> {
    let at = || (origin.to_string(), gvk.clone(), key.name.clone());
    let scope = scopes.namespaced(gvk).or_else(|| {
        // Whose definition comes later is taken for namespaced until then.
        let own = annotations::options(notes).ok().and_then(|options| options.skip_missing);
        own.unwrap_or(lenient).then_some(true)
    });
    match scope {
        None => {
            let (origin, gvk, name) = at();
            return Err(DesiredError::UnknownKind { origin, gvk, name });
        }
        Some(true) if key.namespace.is_empty() && default_namespace.is_empty() => {
            let (origin, gvk, name) = at();
            return Err(DesiredError::NoNamespace { origin, gvk, name });
        }
        Some(true) if key.namespace.is_empty() => default_namespace.clone_into(&mut key.namespace),
        Some(true) => {}
        Some(false) => key.namespace.clear(),
    }
    Ok(())
}

/// Without what only the server sets or what says nothing.
pub(super) fn tidy(rendered: Rendered) -> Result<Tidy, DesiredError> {
    let Rendered { mut value, file, line, lines, confidential } = rendered;
    let origin = Origin { file, line, lines: None, confidential: confidential.into() };
    let at = origin.to_string();
    let gvk = Gvk::of(&value).map_err(|error| DesiredError::Identity { origin: at.clone(), error })?;
    if value.pointer("/metadata/name").is_none_or(Value::is_null)
        && let Some(name) = value.pointer("/metadata/generateName").and_then(Value::as_str)
    {
        if !is_hook(&value) {
            return Err(DesiredError::GenerateName { origin: at, gvk, name: name.to_owned() });
        }
        // Each run has a name of its own; no object can have this one.
        value["metadata"]["name"] = format!("{name}*").into();
    }
    let key = ObjectKey::of(&value).map_err(|error| DesiredError::Identity { origin: at.clone(), error })?;
    drop_nulls(&mut value);
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        for set_by_the_server in
            ["creationTimestamp", "resourceVersion", "uid", "generation", "managedFields", "selfLink"]
        {
            metadata.remove(set_by_the_server);
        }
    }
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
    }
    if gvk.is_secret() {
        merge_string_data(&mut value);
    }
    if let Some(reason) = text_maps(&value) {
        let reason = mask_text(&reason, &origin.confidential);
        return Err(DesiredError::Invalid { origin: at, gvk, name: key.name, reason });
    }
    Ok(Tidy { gvk, key, value, origin, lines })
}

/// `null` says nothing. List elements keep their places.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// As the API server does when it reads a Secret: `stringData` wins.
fn merge_string_data(value: &mut Value) {
    let Some(object) = value.as_object_mut() else { return };
    let Some(Value::Object(strings)) = object.remove("stringData") else { return };
    let data = object.entry("data").or_insert_with(|| Map::new().into());
    if let Some(data) = data.as_object_mut() {
        for (key, text) in strings {
            data.insert(key, STANDARD.encode(plain(&text)).into());
        }
    }
}

/// Labels and annotations hold text; a bare `true` or `1` in YAML is none.
fn text_maps(value: &Value) -> Option<String> {
    for field in ["labels", "annotations"] {
        match value.pointer(&format!("/metadata/{field}")) {
            None => {}
            Some(Value::Object(map)) => {
                if let Some((key, value)) = map.iter().find(|(_, value)| !value.is_string()) {
                    return Some(format!(
                        "metadata.{field}[{key:?}] is {value}, which is not text: quote it"
                    ));
                }
            }
            Some(other) => return Some(format!("metadata.{field} is {other}, not a map")),
        }
    }
    None
}
