//! The commits that changed a path, newest first.

use gix::revision::walk::Sorting;

use super::failure::git_error;
use super::revision::describe;
use super::shallow::is_partial;
use super::{Commit, GitCache};
use crate::error::SourceError;
use crate::location::RepoUrl;

/// Commits that are looked at, at most, to find those that changed the path.
const MAX_WALKED: usize = 20_000;

/// What a commit has at some paths: the id at each, absent where there is
/// nothing.
pub type Ids = Vec<Option<String>>;

impl GitCache {
    /// Up to `limit` commits at or before `commit` that changed what is at one
    /// of `paths`, each with the id of what it left at every one (absent where
    /// it left nothing). A merge that only takes a side's state over changed
    /// nothing.
    ///
    /// # Errors
    /// When the commit, or what lies before it, is not here.
    pub fn history(
        &self,
        repo: &RepoUrl,
        commit: &str,
        paths: &[String],
        limit: usize,
    ) -> Result<Vec<(Commit, Ids)>, SourceError> {
        let repository = self.repository(repo)?;
        if repo.path().is_none() && is_partial(&repository) {
            return Err(SourceError::Shallow { repo: repo.to_string() });
        }
        let start = id(repo, commit)?;
        let failed = |error: gix::Error| git_error(repo, &error);
        let walk = repository
            .rev_walk([start])
            .sorting(Sorting::ByCommitTime(Default::default()))
            .all()
            .map_err(failed)?;
        let mut found = Vec::new();
        for info in walk.take(MAX_WALKED) {
            if found.len() >= limit {
                break;
            }
            // A user's own may be shallow, and ends somewhere.
            let Ok(info) = info else { break };
            let here = state(&repository, info.id, paths);
            let same = |parent: &gix::ObjectId| state(&repository, *parent, paths) == here;
            let changed = match info.parent_ids.as_slice() {
                [] => here.iter().any(Option::is_some),
                parents => !parents.iter().any(same),
            };
            if changed {
                let commit = repository.find_commit(info.id).map_err(failed)?;
                found.push((describe(&commit).map_err(failed)?, here));
            }
        }
        Ok(found)
    }

    /// The ids of what a commit has at each of `paths`.
    pub fn path_ids(&self, repo: &RepoUrl, commit: &str, paths: &[String]) -> Ids {
        paths.iter().map(|path| self.path_id(repo, commit, path)).collect()
    }

    /// The files that a commit changed at or below `paths`, against its first
    /// parent, sorted; at most `limit`.
    ///
    /// # Errors
    /// When the commit is not here.
    pub fn changed(
        &self,
        repo: &RepoUrl,
        commit: &str,
        paths: &[String],
        limit: usize,
    ) -> Result<Vec<String>, SourceError> {
        let repository = self.repository(repo)?;
        let failed = |error: gix::Error| git_error(repo, &error);
        let commit = repository.find_commit(id(repo, commit)?).map_err(failed)?;
        let tree = commit.tree().map_err(failed)?;
        let before = match commit.parent_ids().next() {
            Some(parent) => {
                repository.find_commit(parent).and_then(|parent| parent.tree()).map_err(failed)?
            }
            None => repository.empty_tree(),
        };
        let within = |path: &str| {
            paths.iter().any(|known| {
                known.is_empty()
                    || path
                        .strip_prefix(known.as_str())
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        let changes = repository.diff_tree_to_tree(Some(&before), Some(&tree), None).map_err(failed)?;
        let files = changes.into_iter().filter(|change| !change.entry_mode().is_tree());
        let mut files: Vec<String> =
            files.map(|change| change.location().to_string()).filter(|path| within(path)).collect();
        files.sort();
        files.dedup();
        files.truncate(limit);
        Ok(files)
    }

    /// The id of what a commit has at `path`; none where it, or the commit, is
    /// not here.
    pub fn path_id(&self, repo: &RepoUrl, commit: &str, path: &str) -> Option<String> {
        let repository = self.repository(repo).ok()?;
        let id = gix::ObjectId::from_hex(commit.as_bytes()).ok()?;
        at(&repository, id, path).map(|id| id.to_string())
    }
}

pub(super) fn id(repo: &RepoUrl, commit: &str) -> Result<gix::ObjectId, SourceError> {
    gix::ObjectId::from_hex(commit.as_bytes()).map_err(|_| SourceError::NoSuchRevision {
        repo: repo.to_string(),
        revision: commit.to_owned(),
        near: Vec::new(),
    })
}

fn state(repository: &gix::Repository, commit: gix::ObjectId, paths: &[String]) -> Ids {
    paths.iter().map(|path| at(repository, commit, path).map(|id| id.to_string())).collect()
}

fn at(repository: &gix::Repository, commit: gix::ObjectId, path: &str) -> Option<gix::ObjectId> {
    let tree = repository.find_commit(commit).ok()?.tree().ok()?;
    let path = path.trim_matches('/').trim_start_matches("./");
    if path.is_empty() || path == "." {
        return Some(tree.id);
    }
    Some(tree.lookup_entry_by_path(std::path::Path::new(path)).ok()??.object_id())
}
