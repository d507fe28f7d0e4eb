//! The repository that one stands in. In: its remotes' URLs, and a look at its
//! folders. Out: which sources lie in it, and what these hold.

use std::collections::BTreeSet;

use gitops_source::RepoUrl;

/// What a folder is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Holds {
    #[default]
    Plain,
    Kustomize,
    Chart,
    /// A chart and a kustomization.
    Both,
}

/// An object that a folder declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub file: String,
    pub group: String,
    pub kind: String,
    pub name: String,
    pub namespace: String,
    /// Whether it is a part of Argo CD or Flux itself.
    pub is_tool: bool,
}

/// What is known of a folder, as it is in the working tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    pub holds: Holds,
    /// Those that are written down, in it and in what its kustomization leads to.
    pub objects: Vec<Seen>,
    /// Whether these are all.
    pub is_whole: bool,
    /// Folders below a plain one that are kustomizations.
    pub inner: Vec<String>,
    pub has_jsonnet: bool,
    /// Whether a kustomization inflates charts.
    pub inflates: bool,
    /// Whether its own kustomization changes what it gathers.
    pub transforms: bool,
    /// Whether that or one that it leads to does.
    pub changes: bool,
    /// Images that its own kustomization gives another name: from, to.
    pub renames: Vec<(String, String)>,
}

/// Looks at the repository's files.
pub trait Tree {
    /// A folder; none where there is none. `deep`: with those below it.
    fn look(&self, path: &str, deep: bool) -> Option<Folder>;
    fn has_file(&self, path: &str) -> bool;
}

/// The repository that gitops.yaml is going to lie in.
pub struct Home<'a> {
    places: BTreeSet<String>,
    /// The branch of its working tree, where it is of one.
    branch: Option<String>,
    pub tree: &'a dyn Tree,
}

impl<'a> Home<'a> {
    /// By the URLs of its remotes and its own.
    pub fn new(urls: &[String], branch: Option<String>, tree: &'a dyn Tree) -> Self {
        let places = urls.iter().filter_map(|url| url.parse::<RepoUrl>().ok());
        Self { places: places.map(|url| url.place()).collect(), branch, tree }
    }

    /// Whether a URL leads to it, over whichever transport.
    pub fn is(&self, url: &RepoUrl) -> bool {
        self.places.contains(&url.place())
    }

    /// Whether the working tree is what a revision of it means.
    pub fn shows(&self, revision: &str) -> bool {
        self.branch.as_deref().is_none_or(|branch| branch == revision)
    }
}

/// A path as Git has it: no `./` before and no `/` around it; the root is `.`.
pub fn tidy(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    joined(&parts)
}

fn joined(parts: &[&str]) -> String {
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

/// A path below a folder; with `..`, above it. None: outside of the repository.
pub fn below(folder: &str, path: &str) -> Option<String> {
    let from = if path.starts_with('/') { "" } else { folder };
    let mut parts: Vec<&str> = Vec::new();
    for part in from.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(joined(&parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_tidied() {
        for (path, tidied) in [("./apps/web/", "apps/web"), ("", "."), ("./", "."), ("/a", "a")] {
            assert_eq!(tidy(path), tidied);
        }
        assert_eq!(below("a/b", "../c").as_deref(), Some("a/c"));
        assert_eq!(below("a", "../../c"), None);
        assert_eq!(below("a", "/c").as_deref(), Some("c"));
    }
}
