//! The commits that an Application's sources are at, as one revision. In: a
//! commit for every source. Out: their ids in the order of the sources, set
//! apart by `+`; one id where all are the same.
//!
//! An annotation, a status and a verdict hold this text, so that any of them
//! says exactly what was rendered, and a later reader can render it again. Its
//! first twelve characters are the first source's commit, as everywhere.

use gitops_source::SourceError;

use crate::desired::Environment;
use crate::error::EngineError;
use crate::load::{Loaded, Place};

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
pub fn is_before(
    loaded: &Loaded,
    environment: &Environment,
    earlier: &str,
    later: &str,
) -> Result<bool, SourceError> {
    let count = loaded.sources.len();
    let (Some(earlier), Some(later)) = (split(earlier, count), split(later, count)) else { return Ok(false) };
    for ((place, earlier), later) in loaded.sources.iter().zip(earlier).zip(later) {
        if !environment.deeply(place, |git| git.is_ancestor(&place.repo, &earlier, &later))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What has to move forward between two revisions, where it changed: every
/// source, its commit before and its commit now. Where the
/// sources themselves are others, each is held to every commit there was.
pub fn pairs<'l>(loaded: &'l Loaded, before: &str, now: &str) -> Vec<(&'l Place, String, String)> {
    let count = loaded.sources.len();
    let Some(now) = split(now, count) else { return Vec::new() };
    let all: Vec<String> = before.split(BETWEEN).map(str::to_owned).collect();
    let before = split(before, count);
    let mut pairs = Vec::new();
    for (index, (place, now)) in loaded.sources.iter().zip(now).enumerate() {
        let known = match &before {
            Some(before) => std::slice::from_ref(&before[index]),
            None => all.as_slice(),
        };
        if !known.contains(&now) {
            let pair = |known: &String| (place, known.clone(), now.clone());
            pairs.extend(known.iter().map(pair));
        }
    }
    pairs
}

/// A branch that went back to where it was before `known` is not followed; one
/// that left that commit aside has a new history, and is. Of several sources
/// none may go back, whatever the others do.
///
/// # Errors
/// [`EngineError::Rewound`] when one went back; when the history that this takes
/// cannot be fetched in time.
pub fn moves_forward(
    loaded: &Loaded,
    environment: &Environment,
    known: &str,
    tip: &str,
) -> Result<(), EngineError> {
    for (place, before, now) in pairs(loaded, known, tip) {
        match environment.deeply(place, |git| git.is_ancestor(&place.repo, &now, &before)) {
            Ok(true) => return Err(EngineError::Rewound { from: known.to_owned(), to: tip.to_owned() }),
            Ok(false) | Err(SourceError::NoSuchRevision { .. } | SourceError::NotARepository { .. }) => {}
            // What is not known for sure is not followed.
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The first source's commit.
pub fn first(revision: &str) -> &str {
    revision.split(BETWEEN).next().unwrap_or_default()
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
        assert_eq!((first("a+b"), first("a")), ("a", "a"));
    }

    #[test]
    fn every_source_has_to_move_forward_by_itself() {
        let head =
            "apiVersion: kubectl-gitops.dev/v1alpha1\nkind: Application\nmetadata: {name: shop}\nspec:";
        let text =
            format!("{head}\n  sources: [{{repo: \"https://h/x\"}}, {{repo: \"https://h/y\", path: b}}]\n");
        let usual = gitops_source::Credentials::default();
        let loaded = crate::load::read_text("a", &text, None, "shop", &usual).unwrap().remove(0);
        let pairs = |before: &str, now: &str| -> Vec<String> {
            let shown =
                |(place, before, now): (&Place, String, String)| format!("{} {before} {now}", place.repo);
            pairs(&loaded, before, now).into_iter().map(shown).collect()
        };
        assert_eq!(pairs("a+b", "a+c"), ["https://h/y b c"]);
        assert_eq!(pairs("a+b", "b+a"), ["https://h/x a b", "https://h/y b a"]);
        assert_eq!(pairs("a", "a+b"), ["https://h/y a b"]);
        // Of three sources, once: which of them these are is not known.
        assert_eq!(pairs("a+b+c", "a+d"), ["https://h/y a d", "https://h/y b d", "https://h/y c d"]);
    }
}
