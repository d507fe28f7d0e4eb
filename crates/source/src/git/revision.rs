//! From names to commits. In: a revision, or two. Out: the commit that it is,
//! and how commits and branches lie to each other, by what is here.

use super::failure::git_error;
use super::few::needs_history;
use super::shallow::{is_partial, missing};
use super::{Commit, GitCache};
use crate::error::SourceError;
use crate::location::RepoUrl;

/// Where the remote's HEAD is remembered.
pub(super) const REMOTE_HEAD: &str = "refs/gitops/HEAD";

impl GitCache {
    /// Finds `revision` in what is here, without asking the host.
    ///
    /// # Errors
    /// When it, or the repository itself, is not here.
    pub fn resolve(&self, repo: &RepoUrl, revision: &str) -> Result<Commit, SourceError> {
        let repository = self.repository(repo)?;
        let missing = || match repo.path() {
            None if needs_history(revision) || is_full_commit(revision) => {
                missing(&repository, repo, revision)
            }
            _ => SourceError::NoSuchRevision {
                repo: repo.to_string(),
                revision: revision.to_owned(),
                near: near(&repository, revision),
            },
        };
        let commit = find(&repository, repo.path().is_some(), revision).ok_or_else(missing)?;
        describe(&commit).map_err(|error| git_error(repo, &error))
    }

    /// Whether a commit is here.
    pub fn contains(&self, repo: &RepoUrl, commit: &str) -> bool {
        self.repository(repo).is_ok_and(|repository| contains(&repository, commit))
    }

    /// Whether `ancestor` is `descendant` or lies before it.
    ///
    /// # Errors
    /// When one of them is not here, and when what is here does not say so for
    /// sure: a no is one.
    pub fn is_ancestor(&self, repo: &RepoUrl, ancestor: &str, descendant: &str) -> Result<bool, SourceError> {
        if ancestor == descendant {
            return Ok(true);
        }
        let repository = self.repository(repo)?;
        let id = |revision: &str| {
            gix::ObjectId::from_hex(revision.as_bytes())
                .ok()
                .filter(|_| contains(&repository, revision))
                .ok_or_else(|| missing(&repository, repo, revision))
        };
        let (ancestor, descendant) = (id(ancestor)?, id(descendant)?);
        let base = repository.merge_base(ancestor, descendant).map_err(|error| git_error(repo, &error))?;
        if base.is_some_and(|base| base.detach() == ancestor) {
            return Ok(true);
        }
        if is_partial(&repository) && !is_whole(&repository, descendant) {
            return Err(SourceError::Shallow { repo: repo.to_string() });
        }
        Ok(false)
    }

    /// Whether a commit is one of a branch or tag that `counts`, or lies before
    /// one.
    ///
    /// # Errors
    /// When the commit, or the repository itself, is not here, and when what is
    /// here does not say so for sure.
    pub fn is_on(
        &self,
        repo: &RepoUrl,
        commit: &str,
        counts: &dyn Fn(&str) -> bool,
    ) -> Result<bool, SourceError> {
        let repository = self.repository(repo)?;
        let references = repository.references().map_err(|error| git_error(repo, &error))?;
        let all = references.all().map_err(|error| git_error(repo, &error))?;
        let mut tips = Vec::new();
        for reference in all.filter_map(Result::ok) {
            let name = reference.name().as_bstr().to_string();
            let short = name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/"));
            if short.is_some_and(counts)
                && let Ok(id) = reference.into_fully_peeled_id()
            {
                tips.push(id.to_string());
            }
        }
        if tips.iter().any(|tip| tip == commit) {
            return Ok(true);
        }
        if tips.iter().any(|tip| self.is_ancestor(repo, commit, tip).unwrap_or(false)) {
            return Ok(true);
        }
        // Branches may be missing as well.
        if repo.path().is_none() && is_partial(&repository) {
            return Err(SourceError::Shallow { repo: repo.to_string() });
        }
        Ok(false)
    }
}

/// Whether everything before a commit is here.
fn is_whole(repository: &gix::Repository, commit: gix::ObjectId) -> bool {
    let (mut seen, mut ahead) = (gix::hashtable::HashSet::default(), vec![commit]);
    while let Some(id) = ahead.pop() {
        if seen.insert(id) {
            let Ok(commit) = repository.find_commit(id) else { return false };
            ahead.extend(commit.parent_ids().map(gix::Id::detach));
        }
    }
    true
}

/// Whether a revision is a commit in full, which never changes.
pub fn is_full_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}

pub(super) fn contains(repository: &gix::Repository, commit: &str) -> bool {
    gix::ObjectId::from_hex(commit.as_bytes()).is_ok_and(|id| repository.find_commit(id).is_ok())
}

fn find<'repo>(
    repository: &'repo gix::Repository,
    local: bool,
    revision: &str,
) -> Option<gix::Commit<'repo>> {
    if let Some((of, back)) = before(revision) {
        let mut commit = find(repository, local, of)?;
        for _ in 0..back {
            let parent = commit.parent_ids().next()?.detach();
            commit = repository.find_commit(parent).ok()?;
        }
        return Some(commit);
    }
    let reference = |name: &str| {
        let id = repository.try_find_reference(name).ok()??.into_fully_peeled_id().ok()?;
        repository.find_commit(id).ok()
    };
    if revision == "HEAD" {
        return if local { repository.head_commit().ok() } else { reference(REMOTE_HEAD) };
    }
    if revision.starts_with("refs/") {
        return reference(revision);
    }
    for prefix in ["refs/heads/", "refs/tags/", "refs/remotes/origin/"] {
        if let Some(commit) = reference(&format!("{prefix}{revision}")) {
            return Some(commit);
        }
    }
    if revision.len() >= 4 && revision.bytes().all(|b| b.is_ascii_hexdigit()) {
        return repository
            .rev_parse_single(revision)
            .ok()?
            .object()
            .ok()?
            .peel_to_kind(gix::object::Kind::Commit)
            .ok()?
            .try_into_commit()
            .ok();
    }
    None
}

/// `main~2` is two first parents before main, as Git has it; `~` and `^` are one.
fn before(revision: &str) -> Option<(&str, u16)> {
    if let Some(of) = revision.strip_suffix(['~', '^']) {
        return Some((of, 1));
    }
    let (of, back) = revision.rsplit_once('~')?;
    Some((of, back.parse().ok()?))
}

pub(super) fn describe(commit: &gix::Commit<'_>) -> Result<Commit, gix::Error> {
    let author = commit.author()?.name.to_string();
    Ok(Commit {
        id: commit.id.to_string(),
        subject: commit.message()?.summary().to_string(),
        author,
        time: commit.time()?.seconds,
    })
}

/// Names like the one that was not found.
fn near(repository: &gix::Repository, revision: &str) -> Vec<String> {
    let Ok(references) = repository.references() else { return Vec::new() };
    let names = references.all().into_iter().flatten().filter_map(Result::ok);
    nearest(names.filter_map(|reference| short(&reference.name().as_bstr().to_string())), revision)
}

/// The name of a branch or tag alone.
pub(super) fn short(name: &str) -> Option<String> {
    name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/")).map(str::to_owned)
}

/// Those that are most like the one that was not found.
pub(super) fn nearest(names: impl Iterator<Item = String>, revision: &str) -> Vec<String> {
    let wanted = revision.to_lowercase();
    let mut names: Vec<(bool, String)> = names
        .map(|name| (!name.to_lowercase().contains(&wanted) && !wanted.contains(&name.to_lowercase()), name))
        .collect();
    names.sort();
    names.into_iter().map(|(_, name)| name).take(5).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_before_a_revision_is_written_as_for_git() {
        assert_eq!(before("HEAD~2"), Some(("HEAD", 2)));
        assert_eq!((before("main^"), before("v1~")), (Some(("main", 1)), Some(("v1", 1))));
        assert_eq!((before("main"), before("main~x"), before("main~70000")), (None, None, None));
    }
}
