//! What unit tests declare.

use serde_json::Value;

use crate::desired::{DesiredObject, Origin};
use crate::object::{Gvk, ObjectKey};

/// An object as it stands on the first line of file `f`.
#[allow(clippy::unwrap_used, reason = "tests")]
pub(crate) fn declared(value: Value) -> DesiredObject {
    let (key, gvk) = (ObjectKey::of(&value).unwrap(), Gvk::of(&value).unwrap());
    DesiredObject { key, gvk, value: value.into(), origin: Origin::at("f", 1) }
}
