//! Objects that change hands. In: a survey, and the other Applications that
//! are known. Out: the survey, with what has moved here taken over and what
//! moves away let be. An object moves when the commit that its former
//! Application is at no longer declares it.

use std::collections::{BTreeMap, BTreeSet};

use gitops_cluster::{Cluster, ErrorKind, Marks};
use gitops_core::desired::AppRef;
use gitops_core::object::ObjectKey;
use gitops_core::plan::Action;

use crate::contest::{contested, owner};
use crate::desired::{Environment, commit, desired};
use crate::error::EngineError;
use crate::load::{Loaded, from_cluster};
use crate::revisions;
use crate::survey::Survey;

/// Settles whose the objects of a plan are. `known` are the Applications of the
/// same file, with or without this one.
///
/// # Errors
/// With `FailOnSharedResource=true`, when another Application declares one of
/// the objects too.
pub async fn settle(
    cluster: &Cluster,
    loaded: &Loaded,
    environment: &Environment,
    survey: &mut Survey,
    known: &[Loaded],
) -> Result<(), EngineError> {
    let marks = survey.live.marks().filter(|_| !known.is_empty());
    let owners: BTreeSet<AppRef> = marks.filter_map(|(_, marks)| owner(marks)).collect();
    let others = || known.iter().filter(|other| other.application != loaded.application);
    let named = others().map(|other| &other.application).filter(|other| owners.contains(other));
    survey.beside = named.cloned().collect();
    let own = loaded.application.to_string();
    let mut foreign: BTreeMap<String, Vec<ObjectKey>> = BTreeMap::new();
    for step in &survey.plan.steps {
        let owner = survey.live.marks_of(&step.key).and_then(|marks| marks.owner.as_deref());
        if let Some(owner) = owner.filter(|owner| *owner != own && step.action != Action::Prune) {
            foreign.entry(owner.to_owned()).or_default().push(step.key.clone());
        }
    }
    for (owner, keys) in foreign {
        let former = find(cluster, loaded, &owner, others()).await?;
        let declared = match &former {
            Former::Known(former) => Some(declared(former, environment, survey).await),
            Former::Gone | Former::Unknown => None,
        };
        for key in keys {
            let holds = match (&declared, &former) {
                (Some(declared), _) => declared.as_ref().is_none_or(|declared| declared.contains(&key)),
                // A renamed Application: its commit is one of this repository.
                (None, Former::Gone) => !is_of_repo(loaded, environment, survey.live.marks_of(&key)),
                (None, _) => true,
            };
            if holds {
                continue;
            }
            let step = survey.plan.steps.iter_mut().find(|step| step.key == key);
            // Its marks change hands.
            if let Some(step) = step.filter(|step| step.action == Action::Unchanged) {
                step.action = Action::Update;
            }
            survey.moved.insert(key);
        }
    }
    if survey.options.fail_on_shared == Some(true) {
        let contested = contested(cluster, &survey.discovery, loaded, survey).await?;
        if let Some((key, owner)) = contested.first_key_value() {
            return Err(EngineError::Shared { key: key.to_string(), owner: owner.to_string() });
        }
    }
    leaving(environment, survey, others()).await;
    Ok(())
}

/// What Git no longer declares here but in another Application of the file is
/// not pruned: it moves there.
async fn leaving<'a>(
    environment: &Environment,
    survey: &mut Survey,
    others: impl Iterator<Item = &'a Loaded>,
) {
    let gone: Vec<ObjectKey> = (survey.plan.steps.iter())
        .filter(|step| step.action == Action::Prune)
        .map(|step| step.key.clone())
        .collect();
    if gone.is_empty() {
        return;
    }
    for other in others {
        let declared = declared(other, environment, survey).await;
        for key in &gone {
            let reason = match &declared {
                Some(declared) if declared.contains(key) => {
                    format!("it moves to Application {}", other.application)
                }
                Some(_) => continue,
                None => format!(
                    "whether Application {} declares it is not known: it cannot be rendered",
                    other.application
                ),
            };
            survey.held.insert(key.clone(), reason);
        }
    }
}

/// What an Application declares; none when that cannot be told.
async fn declared(other: &Loaded, environment: &Environment, survey: &Survey) -> Option<BTreeSet<ObjectKey>> {
    let read = async {
        let commit = commit(other, environment, None).await?;
        desired(other, environment, &commit.id, &survey.discovery).await
    };
    match read.await {
        Ok(set) => Some(set.objects.into_keys().collect()),
        Err(error) => {
            tracing::warn!(application = %other.application, %error, "what it declares is not known");
            None
        }
    }
}

/// An Application that an object names.
enum Former {
    Known(Box<Loaded>),
    /// Neither in the file nor in the cluster.
    Gone,
    /// It cannot be asked for.
    Unknown,
}

async fn find<'a>(
    cluster: &Cluster,
    loaded: &Loaded,
    owner: &str,
    mut others: impl Iterator<Item = &'a Loaded>,
) -> Result<Former, EngineError> {
    if let Some(known) = others.find(|other| other.application.to_string() == owner) {
        return Ok(Former::Known(Box::new(known.clone())));
    }
    let Some((namespace, name)) = owner.split_once('/') else { return Ok(Former::Unknown) };
    let reference = AppRef { namespace: namespace.into(), name: name.into() };
    Ok(match from_cluster(cluster, &reference, &loaded.credentials).await {
        Ok(known) => Former::Known(Box::new(known)),
        Err(EngineError::Cluster(error)) if error.kind() == ErrorKind::NotFound => Former::Gone,
        Err(error) => {
            tracing::warn!(application = owner, %error, "it cannot be asked for");
            Former::Unknown
        }
    })
}

/// Whether the commit that an object names is one of an Application's
/// repository.
fn is_of_repo(loaded: &Loaded, environment: &Environment, live: Option<&Marks>) -> bool {
    let commits = live
        .and_then(|marks| marks.revision.as_deref())
        .and_then(|revision| revisions::split(revision, loaded.sources.len()));
    commits.is_some_and(|commits| {
        let mut known = loaded.sources.iter().zip(&commits);
        known
            .all(|(place, commit)| environment.deeply(place, |git| git.snapshot(&place.repo, commit)).is_ok())
    })
}
