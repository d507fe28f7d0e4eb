//! Identity of Kubernetes objects. In: a JSON object. Out: keys to look it up
//! by, or an error that names what is missing.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Group, version and kind, as `apiVersion` and `kind` name them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Gvk {
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    pub kind: String,
}

impl Gvk {
    /// Whether it is the core group's Secret.
    pub fn is_secret(&self) -> bool {
        self.group.is_empty() && self.kind == "Secret"
    }

    /// From an `apiVersion` such as `apps/v1` or `v1`, and a kind.
    pub fn new(api_version: &str, kind: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self { group: group.into(), version: version.into(), kind: kind.into() }
    }

    /// Reads `apiVersion` and `kind` of an object.
    ///
    /// # Errors
    /// When one of them is absent, empty or not a string.
    pub fn of(object: &Value) -> Result<Self, IdentityError> {
        Ok(Self::new(text(object, "/apiVersion", "apiVersion")?, text(object, "/kind", "kind")?))
    }

    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

impl fmt::Display for Gvk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.api_version(), self.kind)
    }
}

/// What makes an object the same object in every version of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectKey {
    /// Empty for the core group.
    pub group: String,
    pub kind: String,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    pub name: String,
}

impl ObjectKey {
    /// Reads the identity of an object as it is written: a namespaced object
    /// without `metadata.namespace` has an empty one here.
    ///
    /// # Errors
    /// When `apiVersion`, `kind` or `metadata.name` is absent, empty or not a
    /// string.
    pub fn of(object: &Value) -> Result<Self, IdentityError> {
        let gvk = Gvk::of(object)?;
        let name = text(object, "/metadata/name", "metadata.name")?;
        let namespace = match object.pointer("/metadata/namespace") {
            None | Some(Value::Null) => "",
            Some(Value::String(namespace)) => namespace,
            Some(_) => return Err(IdentityError { field: "metadata.namespace" }),
        };
        Ok(Self { group: gvk.group, kind: gvk.kind, namespace: namespace.into(), name: name.into() })
    }
}

/// `Deployment shop/web`, `Namespace shop`; the group is left out because the
/// kind alone is what people call an object.
impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// An object that cannot be identified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is missing or not a string")]
pub struct IdentityError {
    /// The field at fault.
    pub field: &'static str,
}

fn text<'a>(object: &'a Value, pointer: &str, field: &'static str) -> Result<&'a str, IdentityError> {
    match object.pointer(pointer) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        _ => Err(IdentityError { field }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_leave_the_version_out() {
        let object = |v: &str| json!({"apiVersion": v, "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}});
        assert_eq!(ObjectKey::of(&object("apps/v1")), ObjectKey::of(&object("apps/v1beta1")));
        assert_eq!(
            ObjectKey::of(&object("apps/v1")).map(|k| k.to_string()),
            Ok("Deployment shop/web".into())
        );
    }

    #[test]
    fn a_missing_name_is_named() {
        let error = ObjectKey::of(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}}));
        assert_eq!(error, Err(IdentityError { field: "metadata.name" }));
    }
}
