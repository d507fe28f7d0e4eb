//! Paths to fields, written `spec.template.spec.containers[name=app].image`.
//! JSON pointers are read too.

use std::fmt;

use serde_json::Value;

/// One step into a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// A field or map key.
    Field(String),
    /// An element of a map-list, by its keys, e.g. `[name=app]` or
    /// `[containerPort=80,protocol=TCP]`. Values are written as plain text.
    Key(Vec<(String, String)>),
    /// An element of an atomic list.
    Index(usize),
    /// An element of a set, by its value, e.g. `[="finalizer"]`.
    Item(String),
}

/// A path from an object's root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(pub Vec<Segment>);

/// Why a path could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("path {text:?}: {reason} at byte {at}")]
pub struct PathError {
    pub text: String,
    pub at: usize,
    pub reason: &'static str,
}
