//! Which commit a rollback goes back to. In: a count or a revision, and the
//! files that count. Out: a commit before the tip.

use gitops_engine::Environment;
use gitops_engine::load::Place;
use gitops_source::Commit;

use crate::error::Failure;

/// Counts have at most so many digits; a commit's short id has more.
const DIGITS: usize = 3;

/// The commit that `to` means. `all`: of all that was there before a change, not
/// of these files alone.
pub(super) fn find(
    environment: &Environment,
    home: &Place,
    base: &str,
    (paths, all): (&[String], bool),
    to: &str,
) -> Result<Commit, Failure> {
    match count(to)? {
        Some(count) => {
            let (change, before) = back(environment, home, base, paths, count)?;
            if !all {
                return Ok(before);
            }
            Ok(environment.find(&home.repo, &format!("{}^", change.id), &home.credentials)?)
        }
        None => Ok(environment.find(&home.repo, to, &home.credentials)?),
    }
}

/// A count of changes; none where it is a revision.
fn count(to: &str) -> Result<Option<usize>, Failure> {
    if to.len() > DIGITS || !to.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match to.parse() {
        Ok(count) if count > 0 => Ok(Some(count)),
        _ => Err(Failure::usage(format!("--to {to:?} goes nowhere"))
            .hint("1 is how it was before the last change; `kubectl gitops history` lists all")),
    }
}

/// The change that is the last to be undone, and the one before it.
fn back(
    environment: &Environment,
    home: &Place,
    base: &str,
    paths: &[String],
    count: usize,
) -> Result<(Commit, Commit), Failure> {
    let mut commits = environment.deeply(home, |git| git.history(&home.repo, base, paths, count + 1))?;
    if commits.len() > count
        && let (Some((before, _)), Some((change, _))) = (commits.pop(), commits.pop())
    {
        return Ok((change, before));
    }
    let known = commits.len();
    Err(Failure::git(format!("only {known} commits changed these files: there is nothing to go back to"))
        .hint("`kubectl gitops history` lists them; name an earlier one with --to REVISION"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_told_from_a_revision() {
        assert_eq!(count("1").unwrap(), Some(1));
        assert_eq!(count("120").unwrap(), Some(120));
        assert_eq!(count("1234567").unwrap(), None);
        assert_eq!(count("v1").unwrap(), None);
        assert!(count("0").is_err() && count("").is_err());
    }
}
