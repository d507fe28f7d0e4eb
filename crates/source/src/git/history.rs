//! The commits that changed a path, newest first.

use gix::revision::walk::Sorting;

use super::{Commit, GitCache, describe, git_error};
use crate::error::SourceError;
use crate::location::RepoUrl;

/// Commits that are looked at, at most, to find those that changed the path.
const MAX_WALKED: usize = 20_000;

impl GitCache {
    /// Up to `limit` commits at or before `commit` that changed what is at
    /// `path`, each with the id of what it left there (absent where it left
    /// nothing). A merge that only takes a side's state over changed nothing.
    ///
    /// # Errors
    /// When the commit is not here.
    pub fn history(
        &self,
        repo: &RepoUrl,
        commit: &str,
        path: &str,
        limit: usize,
    ) -> Result<Vec<(Commit, Option<String>)>, SourceError> {
        let repository = self.repository(repo)?;
        let missing = || SourceError::NoSuchRevision {
            repo: repo.to_string(),
            revision: commit.to_owned(),
            near: Vec::new(),
        };
        let start = gix::ObjectId::from_hex(commit.as_bytes()).map_err(|_| missing())?;
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
            // A shallow repository ends somewhere.
            let Ok(info) = info else { break };
            let here = at(&repository, info.id, path);
            let same = |parent: &gix::ObjectId| at(&repository, *parent, path) == here;
            let changed = match info.parent_ids.as_slice() {
                [] => here.is_some(),
                parents => !parents.iter().any(same),
            };
            if changed {
                let commit = repository.find_commit(info.id).map_err(failed)?;
                found.push((describe(&commit).map_err(failed)?, here.map(|id| id.to_string())));
            }
        }
        Ok(found)
    }

    /// The id of what a commit has at `path`; none where it, or the commit, is
    /// not here.
    pub fn path_id(&self, repo: &RepoUrl, commit: &str, path: &str) -> Option<String> {
        let repository = self.repository(repo).ok()?;
        let id = gix::ObjectId::from_hex(commit.as_bytes()).ok()?;
        at(&repository, id, path).map(|id| id.to_string())
    }
}

fn at(repository: &gix::Repository, commit: gix::ObjectId, path: &str) -> Option<gix::ObjectId> {
    let tree = repository.find_commit(commit).ok()?.tree().ok()?;
    let path = path.trim_matches('/').trim_start_matches("./");
    if path.is_empty() || path == "." {
        return Some(tree.id);
    }
    Some(tree.lookup_entry_by_path(std::path::Path::new(path)).ok()??.object_id())
}
