//! Git after a failure. In: the version that failed, and the promoted one. Out:
//! a commit that gives the Application's files the content that they had when
//! the promoted version was newest, pushed to its branch or to one of its own.

use gitops_core::object::ObjectKey;
use gitops_core::rollout::machine::Wish;
use gitops_core::rollout::state::{State, Version};
use gitops_source::{NewCommit, Person, SourceError, Target, Writer, signing_key_counts_not};

use super::gate::Ground;
use crate::desired::blocking;
use crate::error::EngineError;
use crate::load::Loaded;
use crate::restore;
use crate::trust::trust_on;

/// What a commit is about.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    pub rollout: &'a ObjectKey,
    pub state: &'a State,
    pub wish: &'a Wish,
    /// The newest revision.
    pub tip: &'a str,
}

/// Pushes it; returns the commit, or the branch.
///
/// # Errors
/// When Git cannot be reached, does not take it, or somebody has changed the
/// same files: then Git says something else already.
pub async fn push(ground: &Ground<'_>, failure: &Failure<'_>) -> Result<String, EngineError> {
    let Ground { loaded, environment, .. } = *ground;
    let (bad, branch) = match failure.wish {
        Wish::Revert(version) => (version, None),
        Wish::Branch(version) => (version, Some(name(failure.rollout, version))),
        Wish::Clear(_) => return Err(EngineError::Internal("that is no matter of Git".into())),
    };
    let wrong =
        |reason: &str| EngineError::Rollout { rollout: failure.rollout.clone(), reason: reason.into() };
    let home = restore::home(loaded).ok_or_else(|| wrong("its Application has no source in Git"))?;
    let stable = failure.state.stable.as_ref().ok_or_else(|| wrong("no version is promoted"))?;
    let commit = restore::commit_of(loaded, &stable.revision).to_owned();
    let base = restore::commit_of(loaded, failure.tip).to_owned();
    let now = restore::read(loaded, environment, failure.tip).await?;
    let then = restore::with_commit(loaded, failure.tip, &commit);
    let then = restore::read(loaded, environment, &then).await?;
    let writer = Writer {
        cache: environment.git(),
        repo: home.repo.clone(),
        credentials: home.credentials.clone(),
        timeout: environment.git_timeout,
        checkout: None,
        signing_key: home.signing_key.clone(),
    };
    let new = NewCommit {
        changes: restore::changes(&now, &then, &commit),
        message: message(failure, bad, stable, &commit),
        author: Some(Person {
            name: "gitops-controller".into(),
            email: "gitops-controller@localhost".into(),
        }),
    };
    let (revision, at) = (home.source.revision.clone(), base.clone());
    let draft = blocking(move || {
        let branch = writer.branch(&revision)?;
        Ok(writer.draft(&branch, &at, new)?)
    })
    .await?;
    if draft.commit == base {
        return Err(wrong(
            "Git holds these files as they were already, and says the failed version all the same",
        ));
    }
    let Some(branch) = branch else {
        let drafted = restore::placed(loaded, &draft.repo());
        let revision = restore::with_commit(loaded, failure.tip, &draft.commit);
        trust_on(&drafted, environment, &revision, &draft.commit, &draft.branch).await?;
        return blocking(move || Ok(draft.publish(&Target::Same)?)).await;
    };
    let named = branch.clone();
    let published = blocking(move || Ok(draft.publish(&Target::New(named)))).await?;
    match published {
        // It was pushed before, and that could not be noted.
        Ok(_) | Err(SourceError::Moved { .. }) => Ok(format!("branch {branch}")),
        Err(error) => Err(error.into()),
    }
}

/// Whether a commit that takes a version back would count, as far as signatures
/// go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Counts,
    /// Why it would not.
    CountsNot(String),
    /// What it takes to know is not there, and what that is.
    Unknown(String),
}

impl Standing {
    /// Why it would not count, if that is known.
    pub fn doubt(&self) -> Option<&str> {
        match self {
            Self::CountsNot(why) => Some(why),
            Self::Counts | Self::Unknown(_) => None,
        }
    }
}

/// Whether a commit that takes a version of this Application back would count.
pub async fn standing(loaded: &Loaded) -> Standing {
    let Some(home) = restore::home(loaded) else {
        return Standing::Unknown("it has no source in Git".into());
    };
    let Some(project) = &loaded.project else {
        return Standing::Unknown(format!("Project {} cannot be read", loaded.spec.project));
    };
    let named = home.source.repo.clone().unwrap_or_else(|| home.repo.to_string());
    let rules: Vec<_> = project.rules_of(&named).collect();
    if rules.is_empty() {
        return Standing::Unknown(format!("Project {} does not take {named}", loaded.spec.project));
    }
    if rules.iter().any(|rule| rule.signers.is_empty()) {
        return Standing::Counts;
    }
    let signers: Vec<String> = rules.into_iter().flat_map(|rule| rule.signers.clone()).collect();
    let why = match home.signing_key.clone() {
        None => "the Secret of its source holds no signingKey".to_owned(),
        Some(key) => {
            let found = blocking(move || Ok(signing_key_counts_not(&key, &signers)?)).await;
            let Some(why) = found.unwrap_or_else(|error| Some(error.to_string())) else {
                return Standing::Counts;
            };
            format!("the signingKey of its source's Secret does not count: {why}")
        }
    };
    Standing::CountsNot(format!(
        "its Project takes signed commits only, and {why}: a commit that takes a version back will not count; give the source's Secret a signingKey that the Project names, or say onFailure: Branch"
    ))
}

/// One branch for every version that failed: a second push of the same finds it.
fn name(rollout: &ObjectKey, bad: &Version) -> String {
    format!("rollback/{}-{}-{}", rollout.namespace, rollout.name, bad.hash)
}

fn message(failure: &Failure<'_>, bad: &Version, stable: &Version, commit: &str) -> String {
    let (rollout, why) = (failure.rollout, &failure.state.message);
    let short = |text: &str| text.chars().take(12).collect::<String>();
    format!(
        "Roll back {} to {}\n\n{rollout} aborted version {} of commit\n{}: {why}.\n\nThe files have the content that they had in commit\n{commit}, whose version {} runs.\n\nRestores: {commit}\n",
        rollout.name,
        short(commit),
        bad.hash,
        short(&bad.revision),
        stable.hash
    )
}
