//! Whether a Project takes a commit. In: an Application with its Project, and a
//! commit that is here. Out: nothing, or why it does not count: it lies on no
//! branch that counts, or none of the signers has signed it.

use gitops_source::SourceError;

use crate::desired::{Environment, blocking};
use crate::error::EngineError;
use crate::load::Loaded;

/// Checks the commit that is to be enforced or written: one of the rules of
/// its repository has to hold for branch and signature.
///
/// # Errors
/// [`EngineError::Untrusted`] or [`SourceError::Unsigned`] when none does.
pub async fn trust(loaded: &Loaded, environment: &Environment, commit: &str) -> Result<(), EngineError> {
    check(loaded, environment, commit, true).await
}

/// Checks the signature alone: of a commit on the way to one that counts.
///
/// # Errors
/// As [`trust`].
pub async fn signed(loaded: &Loaded, environment: &Environment, commit: &str) -> Result<(), EngineError> {
    check(loaded, environment, commit, false).await
}

async fn check(
    loaded: &Loaded,
    environment: &Environment,
    commit: &str,
    with_branch: bool,
) -> Result<(), EngineError> {
    let Some(project) = &loaded.project else { return Ok(()) };
    let named = loaded.source().repo.unwrap_or_else(|| loaded.repo.to_string());
    let rules: Vec<_> = project.rules_of(&named).cloned().collect();
    let (git, repo, commit) = (environment.git(), loaded.repo.clone(), commit.to_owned());
    blocking(move || {
        let mut why = None;
        for rule in &rules {
            let counts = |name: &str| rule.admits_branch(name);
            if with_branch && !rule.branches.is_empty() && !git.is_on(&repo, &commit, &counts)? {
                let branches = rule.branches.join(", ");
                why.get_or_insert(EngineError::Untrusted {
                    repo: repo.to_string(),
                    commit: commit.chars().take(12).collect(),
                    reason: format!("it is on no branch that its Project takes ({branches})"),
                });
                continue;
            }
            if rule.signers.is_empty() {
                return Ok(());
            }
            match git.verify(&repo, &commit, &rule.signers) {
                Ok(()) => return Ok(()),
                Err(error @ SourceError::Unsigned { .. }) => why = Some(error.into()),
                Err(error) => return Err(error.into()),
            }
        }
        why.map_or(Ok(()), Err)
    })
    .await
}
