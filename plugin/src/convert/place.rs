//! Where a source is. In: URLs, revisions and paths as Argo CD and Flux have
//! them. Out: `repo`, `revision` and `path` of ours, `repo` left out where it
//! is the repository that one stands in.

use gitops_source::RepoUrl;
use serde_json::{Map as Object, Value};

use super::field::{Field, Weight};
use super::home::tidy;
use super::{Surroundings, put};

/// A repository of Git, a chart repository or a registry.
#[derive(Clone, Debug)]
pub struct Base {
    pub source: Object<String, Value>,
    /// Whether it is the repository that one stands in.
    pub is_own: bool,
    /// Whether its files are those of the working tree.
    pub is_seen: bool,
}

/// A repository by the field that holds its URL. None, and told, where it is
/// none that can be read here.
pub fn base(field: &Field<'_>, written: &str, around: &Surroundings<'_, '_>) -> Option<Base> {
    let url = match written.parse::<RepoUrl>() {
        Ok(url) => url,
        Err(error) => {
            field.tell(
                Weight::What,
                format!("{error}: the Application is left out; name its repository by a URL"),
            );
            return None;
        }
    };
    let shown = url.to_string();
    if shown != written && url.path().is_none() {
        field.tell(Weight::How, "its user, password or query is left out: credentials belong into the Secret that source.secretRef names");
    }
    let is_own = around.home.is(&url);
    let mut source = Object::new();
    put(&mut source, "repo", (!is_own).then(|| shown.into()));
    Some(Base { source, is_own, is_seen: is_own })
}

impl Base {
    /// At a revision, or in a range of them; HEAD is not written.
    pub fn at(
        &mut self,
        revision: Option<(String, Field<'_>)>,
        is_range: bool,
        around: &Surroundings<'_, '_>,
    ) {
        let Some((revision, field)) =
            revision.filter(|(revision, _)| !matches!(revision.as_str(), "" | "HEAD"))
        else {
            return;
        };
        if is_range {
            field.tell(
                Weight::What,
                format!("{revision:?} is a range of tags, which is refused here: write the tag that is meant as source.revision"),
            );
        }
        self.is_seen &= around.home.shows(&revision);
        self.source.insert("revision".into(), revision.into());
    }

    /// In a folder; the root of another repository is not written.
    pub fn inside(&mut self, path: &str) -> String {
        let path = tidy(path);
        put(&mut self.source, "path", (self.is_own || path != ".").then(|| path.clone().into()));
        path
    }
}

/// Whether it is no name of a branch, tag or commit, but a range of versions.
pub fn is_range(revision: &str) -> bool {
    let last = revision.rsplit('.').next().unwrap_or_default();
    revision.contains(['*', '>', '<', '^', '~', ' '])
        || revision.starts_with('=')
        || revision != last && matches!(last, "x" | "X")
}
