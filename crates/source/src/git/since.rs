//! What a branch has gained. In: an earlier and a later commit. Out: all commits
//! from the one to the other, those of merged branches as well.

use super::GitCache;
use super::failure::git_error;
use super::history::id;
use super::shallow::is_partial;
use crate::error::SourceError;
use crate::location::RepoUrl;

impl GitCache {
    /// The commits that `later` has and `earlier` has not, `later` itself among
    /// them. None where there are more than `most`, where `earlier` does not lie
    /// before it, or where not all of them are here.
    ///
    /// # Errors
    /// When a commit is not here.
    pub fn since(
        &self,
        repo: &RepoUrl,
        earlier: &str,
        later: &str,
        most: usize,
    ) -> Result<Option<Vec<String>>, SourceError> {
        let repository = self.repository(repo)?;
        if is_partial(&repository) || !self.is_ancestor(repo, earlier, later)? {
            return Ok(None);
        }
        let walk = repository.rev_walk([id(repo, later)?]).with_hidden([id(repo, earlier)?]);
        let mut found = Vec::new();
        for commit in walk.all().map_err(|error| git_error(repo, &error))? {
            if found.len() >= most {
                return Ok(None);
            }
            found.push(commit.map_err(|error| git_error(repo, &error))?.id.to_string());
        }
        Ok(Some(found))
    }
}
