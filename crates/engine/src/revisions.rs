//! The commits that an Application's sources are at, as one revision. In: a
//! commit for every source. Out: their ids in the order of the sources, set
//! apart by `+`; one id where all are the same.
//!
//! An annotation, a status and a verdict hold this text, so that any of them
//! says exactly what was rendered, and a later reader can render it again. Its
//! first twelve characters are the first source's commit, as everywhere.

use gitops_source::{GitCache, SourceError};

use crate::load::Loaded;

const BETWEEN: char = '+';

/// The revision of some commits.
pub fn join(commits: &[String]) -> String {
    match commits {
        [first, rest @ ..] if rest.iter().all(|commit| commit == first) => first.clone(),
        commits => commits.join(&BETWEEN.to_string()),
    }
}

/// The commits of a revision for so many sources; none when it is one of
/// another number of sources.
pub fn split(revision: &str, sources: usize) -> Option<Vec<String>> {
    let commits: Vec<String> = revision.split(BETWEEN).map(str::to_owned).collect();
    match commits.len() {
        1 => Some(vec![revision.to_owned(); sources]),
        count => (count == sources).then_some(commits),
    }
}

/// Whether every commit of `earlier` is that of `later` or lies before it: only
/// then is the one revision before the other. Those of charts and artifacts
/// have no order, so they have to be the same.
///
/// # Errors
/// When a commit is not here.
pub fn is_before(loaded: &Loaded, git: &GitCache, earlier: &str, later: &str) -> Result<bool, SourceError> {
    let count = loaded.sources.len();
    let (Some(earlier), Some(later)) = (split(earlier, count), split(later, count)) else { return Ok(false) };
    for ((place, earlier), later) in loaded.sources.iter().zip(earlier).zip(later) {
        if !git.is_ancestor(&place.repo, &earlier, &later)? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_revision_says_all_commits() {
        let commits = |all: &[&str]| all.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        assert_eq!(join(&commits(&["a", "b"])), "a+b");
        assert_eq!(split("a+b", 2).unwrap(), commits(&["a", "b"]));
        assert_eq!(join(&commits(&["a", "a", "a"])), "a");
        assert_eq!(split("a", 3).unwrap(), commits(&["a", "a", "a"]));
        assert_eq!(split("a+b", 3), None);
    }
}
