//! The versions of a workload in Git's history. In: an Application at a commit,
//! and a Rollout. Out: each version with the commits that have it, newest
//! first. A commit that changes nothing of the target is of the same version.

use gitops_core::desired::{DesiredSet, Scopes};
use gitops_core::image::containers;
use gitops_core::rollout::desired::version;
use gitops_core::rollout::spec::Spec;
use gitops_source::Commit;

use crate::desired::{Environment, blocking, desired};
use crate::error::EngineError;
use crate::load::Loaded;
use crate::restore;

/// A version of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub hash: String,
    /// The commit that brought it in.
    pub first: Commit,
    /// The newest one that has it.
    pub last: Commit,
    pub images: Vec<String>,
}

/// The versions that the last `limit` commits of an Application's files had. A
/// commit that does not render, or has no such target, has none.
///
/// # Errors
/// When the repository or its history cannot be read.
pub async fn versions(
    loaded: &Loaded,
    environment: &Environment,
    revision: &str,
    spec: &Spec,
    scopes: &(impl Scopes + Clone + Send + 'static),
    limit: usize,
) -> Result<Vec<Known>, EngineError> {
    let Some(home) = restore::home(loaded) else { return Ok(Vec::new()) };
    let read = restore::read(loaded, environment, revision).await?;
    let base = restore::commit_of(loaded, revision).to_owned();
    let (place, within) = (home.clone(), environment.clone());
    let look = move || Ok(within.deeply(&place, |git| git.history(&place.repo, &base, &read.paths, limit))?);
    let commits = blocking(look).await?;
    let mut known: Vec<Known> = Vec::new();
    let mut broken = false;
    for (commit, _) in commits {
        let at = restore::with_commit(loaded, revision, &commit.id);
        let set = desired(loaded, environment, &at, scopes).await.ok();
        let Some((hash, images)) = set.as_ref().and_then(|set| of(set, spec)) else {
            broken = true;
            continue;
        };
        match known.last_mut() {
            Some(last) if last.hash == hash && !broken => last.first = commit,
            _ => known.push(Known { hash, images, first: commit.clone(), last: commit }),
        }
        broken = false;
    }
    Ok(known)
}

fn of(set: &DesiredSet, spec: &Spec) -> Option<(String, Vec<String>)> {
    let target = set.objects.get(&spec.target)?;
    let images = containers(&target.value).into_iter().map(|container| container.image).collect();
    Some((version(spec, &target.value)?, images))
}
