//! Whether a Project takes a revision. In: an Application with its Project, and
//! a revision whose commits are here. Out: nothing, or why it does not count: a
//! repository that the Project does not name, a commit that lies on no branch
//! that counts, or that none of the signers has signed. Every source has to
//! pass by itself.

use gitops_api::project::{ProjectSpec, Repository};
use gitops_source::{RepoUrl, SourceError};

use crate::desired::{Environment, blocking};
use crate::error::EngineError;
use crate::load::{Loaded, Place};
use crate::revisions;

/// Checks the revision that is to be enforced or written: for every source, one
/// of the rules of its repository has to hold for branch and signature.
///
/// # Errors
/// [`EngineError::Untrusted`] or [`SourceError::Unsigned`] when none does.
pub async fn trust(loaded: &Loaded, environment: &Environment, revision: &str) -> Result<(), EngineError> {
    check(loaded, environment, revision, Branch::Lies).await
}

/// Checks the signatures alone: of a revision on the way to one that counts.
///
/// # Errors
/// As [`trust`].
pub async fn signed(loaded: &Loaded, environment: &Environment, revision: &str) -> Result<(), EngineError> {
    check(loaded, environment, revision, Branch::Any).await
}

/// The same as [`trust`] once `commit`, which lies on no branch yet, is pushed
/// to `branch`.
///
/// # Errors
/// As [`trust`].
pub async fn trust_on(
    loaded: &Loaded,
    environment: &Environment,
    revision: &str,
    commit: &str,
    branch: &str,
) -> Result<(), EngineError> {
    let planned = Branch::Planned { commit: commit.to_owned(), branch: branch.to_owned() };
    check(loaded, environment, revision, planned).await
}

/// On which branch a commit has to be.
enum Branch {
    /// It does not matter.
    Any,
    /// On one that the rule takes.
    Lies,
    /// This commit is going to be on this branch; others as [`Branch::Lies`].
    Planned { commit: String, branch: String },
}

impl Branch {
    fn admits(
        &self,
        rule: &Repository,
        environment: &Environment,
        place: &Place,
        commit: &str,
    ) -> Result<bool, SourceError> {
        let admitted = |name: &str| rule.admits_branch(name);
        match self {
            Self::Any => Ok(true),
            Self::Planned { commit: planned, branch } if planned == commit => Ok(rule.admits_branch(branch)),
            Self::Lies | Self::Planned { .. } => Ok(rule.branches.is_empty()
                || environment.deeply(place, |git| git.is_on(&place.repo, commit, &admitted))?),
        }
    }
}

async fn check(
    loaded: &Loaded,
    environment: &Environment,
    revision: &str,
    branch: Branch,
) -> Result<(), EngineError> {
    let Some(project) = loaded.project.clone() else { return Ok(()) };
    let (environment, loaded, revision) = (environment.clone(), loaded.clone(), revision.to_owned());
    blocking(move || {
        let commits = revisions::split(&revision, loaded.sources.len()).ok_or_else(|| {
            let reason = format!("it is none of an Application of {} sources", loaded.sources.len());
            untrusted(&loaded.repo, &revision, reason)
        })?;
        for (place, commit) in loaded.sources.iter().zip(&commits) {
            check_source(&project, &environment, place, commit, &branch)?;
        }
        Ok(())
    })
    .await
}

fn check_source(
    project: &ProjectSpec,
    environment: &Environment,
    place: &Place,
    commit: &str,
    branch: &Branch,
) -> Result<(), EngineError> {
    let Place { source, repo, .. } = place;
    let named = source.repo.clone().unwrap_or_else(|| repo.to_string());
    if !source.is_git() || repo.is_registry() {
        return project.admits_artifact(source).map_err(|reason| untrusted(repo, commit, reason));
    }
    let rules: Vec<&Repository> = project.rules_of(&named).collect();
    let mut why = untrusted(repo, commit, "its Project does not take this repository".into());
    for (index, rule) in rules.into_iter().enumerate() {
        if !branch.admits(rule, environment, place, commit)? {
            if index == 0 {
                let branches = rule.branches.join(", ");
                let reason = format!("it is on no branch that its Project takes ({branches})");
                why = untrusted(repo, commit, reason);
            }
            continue;
        }
        if rule.signers.is_empty() {
            return Ok(());
        }
        match environment.git().verify(repo, commit, &rule.signers) {
            Ok(()) => return Ok(()),
            Err(error @ SourceError::Unsigned { .. }) => why = error.into(),
            Err(error) => return Err(error.into()),
        }
    }
    Err(why)
}

fn untrusted(repo: &RepoUrl, commit: &str, reason: String) -> EngineError {
    let commit = commit.chars().take(12).collect();
    EngineError::Untrusted { repo: repo.to_string(), commit, reason }
}
