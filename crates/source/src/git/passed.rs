//! The way of a branch to its tip. In: a commit and a path. Out: the commits
//! before it that changed something there.

use std::path::Path;

use super::GitCache;
use super::failure::git_error;
use crate::error::SourceError;
use crate::location::RepoUrl;

/// Commits looked at: a path that rests for longer has nothing in between.
const LOOKED_AT: usize = 1000;

impl GitCache {
    /// The commits before `tip` that changed something under `path`, newest
    /// first and `most` of them, by first parents: what a merge brought in was
    /// never the branch's state by itself.
    ///
    /// # Errors
    /// When `tip` is not here.
    pub fn passed(
        &self,
        repo: &RepoUrl,
        tip: &str,
        path: &str,
        most: usize,
    ) -> Result<Vec<String>, SourceError> {
        let repository = self.repository(repo)?;
        let error = |error: gix::Error| git_error(repo, &error);
        let tip = gix::ObjectId::from_hex(tip.as_bytes()).map_err(|e| git_error(repo, &e))?;
        let mut commit = repository.find_commit(tip).map_err(|e| git_error(repo, &e))?;
        let mut here = id_at(&commit, path).map_err(error)?;
        let mut passed = Vec::new();
        for looked_at in 0..LOOKED_AT {
            let parent = match commit.parent_ids().next() {
                Some(parent) => match repository.find_commit(parent) {
                    Ok(parent) => Some(parent),
                    // A shallow clone ends here.
                    Err(_) => break,
                },
                None => None,
            };
            let before = parent.as_ref().map(|parent| id_at(parent, path)).transpose().map_err(error)?;
            let before = before.flatten();
            if looked_at > 0 && here != before {
                passed.push(commit.id.to_string());
            }
            let Some(parent) = parent.filter(|_| passed.len() < most) else { break };
            (commit, here) = (parent, before);
        }
        Ok(passed)
    }
}

/// The id of what lies at a path.
fn id_at(commit: &gix::Commit<'_>, path: &str) -> Result<Option<gix::ObjectId>, gix::Error> {
    let path = path.trim_matches('/');
    if path.is_empty() || path == "." {
        return Ok(Some(commit.tree_id()?.detach()));
    }
    let found = commit.tree()?.lookup_entry_by_path(Path::new(path))?;
    Ok(found.map(|entry| entry.object_id()))
}
