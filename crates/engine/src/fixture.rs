//! What unit tests declare.

use gitops_core::desired::{AppRef, DesiredSet, Rendered, Scopes};
use gitops_core::object::Gvk;
use gitops_source::Credentials;
use serde_json::Value;

use crate::load::{Loaded, from_flags};

struct Namespaced;

impl Scopes for Namespaced {
    fn namespaced(&self, _: &Gvk) -> Option<bool> {
        Some(true)
    }
}

/// The Application shop/web.
pub(crate) fn application() -> AppRef {
    AppRef { namespace: "shop".into(), name: "web".into() }
}

/// The same as flags describe it, of a repository that is nowhere.
#[allow(clippy::unwrap_used, reason = "tests")]
pub(crate) fn loaded() -> Loaded {
    let repo = "https://git.example/shop.git".parse().unwrap();
    from_flags("web", "shop", repo, "main", "app", Credentials::default())
}

/// Its set with this one object, of which these texts are confidential.
#[allow(clippy::unwrap_used, reason = "tests")]
pub(crate) fn set(value: Value, confidential: &[&str]) -> DesiredSet {
    let confidential = confidential.iter().map(|text| (*text).to_owned()).collect();
    let rendered = Rendered { value, file: "f".into(), line: 1, lines: None, confidential };
    DesiredSet::build(application(), "c".into(), "shop", &Namespaced, vec![rendered]).unwrap()
}
