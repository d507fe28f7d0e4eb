//! The desired set: the objects an Application renders at one commit. In:
//! rendered objects and where they came from. Out: the set, keyed and with
//! namespaces, or every mistake found in it at once.

mod builder;
mod content;
mod marks;
mod normal;
mod origin;
mod ready;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::delegation::Delegated;
use crate::object::{Gvk, IdentityError, ObjectKey};

pub use builder::{Builder, Stored};
pub use content::Content;
pub(crate) use marks::mark;
pub use marks::{MARKS, stamp};
pub use origin::{LineTree, Origin};
pub use ready::{Given, Ready};

/// An Application by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AppRef {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for AppRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An object as rendering gave it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rendered {
    pub value: Value,
    /// Path in the repository.
    pub file: Arc<str>,
    /// First line of its document; 0 where it is not known.
    pub line: u32,
    pub lines: Option<LineTree>,
    /// Texts in it that Git keeps encrypted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confidential: Vec<String>,
}

/// An object that Git declares.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredObject {
    pub key: ObjectKey,
    pub gvk: Gvk,
    pub value: Content,
    pub origin: Origin,
}

/// What an Application renders at one commit.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredSet {
    pub application: AppRef,
    /// The commit, in full.
    pub revision: String,
    pub objects: BTreeMap<ObjectKey, DesiredObject>,
}

/// Which kinds live in a namespace.
pub trait Scopes {
    /// None for a kind that is not known.
    fn namespaced(&self, gvk: &Gvk) -> Option<bool>;
}

/// A mistake in what Git says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DesiredError {
    #[error("{origin}: {error}")]
    Identity { origin: String, error: IdentityError },
    #[error(
        "{origin}: {gvk} {name} has metadata.generateName: an object in Git that is no hook needs a name"
    )]
    GenerateName { origin: String, gvk: Gvk, name: String },
    #[error("{key} is declared twice: {first} and {second}")]
    Duplicate { key: ObjectKey, first: String, second: String },
    #[error("{origin}: {gvk} {name}: the cluster has no such kind")]
    UnknownKind { origin: String, gvk: Gvk, name: String },
    #[error("{origin}: {gvk} {name}: no namespace is given, neither in the object nor as the destination")]
    NoNamespace { origin: String, gvk: Gvk, name: String },
    #[error("{origin}: {gvk} {name}: {reason}")]
    Invalid { origin: String, gvk: Gvk, name: String, reason: String },
}

impl DesiredSet {
    /// Gives rendered objects their identity and namespace.
    ///
    /// # Errors
    /// All mistakes found, so that they can be mended at once.
    pub fn build(
        application: AppRef,
        revision: String,
        default_namespace: &str,
        scopes: &dyn Scopes,
        rendered: Vec<Rendered>,
    ) -> Result<Self, Vec<DesiredError>> {
        let mut builder = Builder::new(default_namespace, scopes);
        rendered.into_iter().for_each(|rendered| builder.add(rendered));
        Ok(Self { application, revision, objects: builder.finish()? })
    }

    /// What its objects leave to others.
    pub fn delegated(&self) -> Delegated {
        Delegated::collect(self.objects.values(), |key| self.objects.get(key).cloned())
    }
}
