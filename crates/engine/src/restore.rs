//! What going back to an earlier commit means for an Application. In: its
//! sources and revisions. Out: the repository that is written to, the paths
//! that a render reads there, and the Application as a draft has it.
//!
//! One repository is written to: that of the first source in Git, with all
//! sources of the same revision. What other repositories and registries hold
//! stays as it is.

use std::collections::BTreeSet;

use gitops_source::{Change, RepoUrl, reads};

use crate::desired::{Environment, blocking, renders};
use crate::error::EngineError;
use crate::load::{Loaded, Place};
use crate::revisions;

/// What an Application reads of the repository that is written to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// From the repository's root, sorted; none lies below another.
    pub paths: Vec<String>,
    /// What it may read beside, and why that is not known; what lies elsewhere.
    pub notes: Vec<String>,
}

/// The source whose repository is written to.
pub fn home(loaded: &Loaded) -> Option<&Place> {
    loaded.sources.iter().find(|place| is_git(place))
}

/// The commit of that source in a revision of all.
pub fn commit_of<'a>(loaded: &Loaded, revision: &'a str) -> &'a str {
    let at = loaded.sources.iter().position(is_git).unwrap_or(0);
    revision.split('+').nth(at).unwrap_or_else(|| revisions::first(revision))
}

/// A revision of all sources, with those of the repository that is written to
/// at `commit`.
pub fn with_commit(loaded: &Loaded, revision: &str, commit: &str) -> String {
    let commits = revisions::split(revision, loaded.sources.len()).unwrap_or_default();
    let moved = loaded.sources.iter().zip(commits);
    let moved = moved.map(|(place, now)| if moves(loaded, place) { commit.to_owned() } else { now });
    revisions::join(&moved.collect::<Vec<_>>())
}

/// The Application with the repository that is written to in another place.
pub fn placed(loaded: &Loaded, repo: &RepoUrl) -> Loaded {
    let mut placed = loaded.clone();
    for (place, original) in placed.sources.iter_mut().zip(&loaded.sources) {
        if moves(loaded, original) {
            place.repo = repo.clone();
        }
    }
    if let Some(first) = placed.sources.first() {
        placed.repo = first.repo.clone();
    }
    placed
}

/// What renders read of that repository at a revision.
///
/// # Errors
/// When a source is not there or cannot be read.
pub async fn read(loaded: &Loaded, environment: &Environment, revision: &str) -> Result<Read, EngineError> {
    let (loaded, environment, revision) = (loaded.clone(), environment.clone(), revision.to_owned());
    blocking(move || {
        let (mut paths, mut notes) = (BTreeSet::new(), Vec::new());
        let places = loaded.sources.iter().filter(|place| !place.source.is_reference());
        for (place, render) in places.zip(renders(&loaded, &environment, &revision)?) {
            let found = reads(&render.snapshot, &render.request)?;
            for (name, path) in found.elsewhere {
                let other = loaded.sources.iter().find(|other| other.source.reference == name);
                if other.is_some_and(|other| moves(&loaded, other)) {
                    paths.insert(path);
                }
            }
            if !moves(&loaded, place) {
                notes.push(format!("{} stays as it is", place.repo));
                continue;
            }
            paths.extend(found.paths);
            notes
                .extend(found.more.map(|why| format!("only {} is restored, but {why}", render.request.path)));
        }
        Ok(Read { paths: outermost(paths), notes })
    })
    .await
}

/// The changes that bring everything read at either of two commits back to how
/// it was at the earlier one.
pub fn changes(now: &Read, then: &Read, commit: &str) -> Vec<Change> {
    let all: BTreeSet<String> = now.paths.iter().chain(&then.paths).cloned().collect();
    let restore = |path| Change::Restore { path, commit: commit.to_owned() };
    outermost(all).into_iter().map(restore).collect()
}

fn is_git(place: &Place) -> bool {
    let helm = place.source.helm.as_ref();
    place.source.is_git() && !place.repo.is_registry() && helm.is_none_or(|helm| helm.chart.is_empty())
}

/// Whether a source lies where it is written to, and at the same revision.
pub(crate) fn moves(loaded: &Loaded, place: &Place) -> bool {
    home(loaded).is_some_and(|home| {
        is_git(place) && place.repo == home.repo && place.source.revision == home.source.revision
    })
}

/// Paths without those below another.
fn outermost(paths: BTreeSet<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for path in paths {
        let is_below = |above: &String| {
            above.is_empty() || path.strip_prefix(above.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        if !kept.iter().any(is_below) {
            kept.push(path);
        }
    }
    kept
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn loaded(sources: &str) -> Loaded {
        let head = "apiVersion: kubectl-gitops.dev/v1alpha1\nkind: Application\nmetadata: {name: shop}\n";
        let text = format!("{head}spec:\n  sources: {sources}\n");
        let usual = gitops_source::Credentials::default();
        crate::load::read_text("a", &text, None, "shop", &usual).unwrap().remove(0)
    }

    #[test]
    fn sources_of_one_repository_go_back_together() {
        let loaded = loaded(
            "[{repo: \"https://c/charts\", helm: {chart: web, version: 1.0.0}}, {repo: \"https://h/x\", path: a}, {repo: \"https://h/y\", path: b}, {repo: \"https://h/x\", path: c}]",
        );
        assert_eq!(home(&loaded).unwrap().source.path, "a");
        assert_eq!(commit_of(&loaded, "1+2+3+2"), "2");
        assert_eq!(with_commit(&loaded, "1+2+3+2", "0"), "1+0+3+0");
        let placed = placed(&loaded, &"https://h/z".parse().unwrap());
        let repos: Vec<String> = placed.sources.iter().map(|place| place.repo.to_string()).collect();
        assert_eq!(repos, ["https://c/charts", "https://h/z", "https://h/y", "https://h/z"]);
    }

    #[test]
    fn a_path_below_another_goes_with_it() {
        let paths = |all: &[&str]| outermost(all.iter().map(|path| (*path).to_owned()).collect());
        assert_eq!(
            paths(&["apps/web", "apps/web-2", "apps/web/a", "base"]),
            ["apps/web", "apps/web-2", "base"]
        );
        assert_eq!(paths(&["", "a"]), [""]);
    }
}
