//! What an object's annotations say about its sync: when it goes, whether it
//! is a hook, what is done differently with it. Argo CD's are read as they
//! are, Helm's as Argo CD maps them, and ours win. In: an object. Out: its
//! role, wave and options, or the annotation that cannot be read.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::options::{Options, Pruning};
use crate::names::PREFIX;

/// Helm's prefix.
const HELM: &str = "helm.sh/";
/// Argo CD's prefix.
const ARGO: &str = "argocd.argoproj.io/";

/// When in a sync an object goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Phase {
    PreSync,
    Sync,
    PostSync,
    /// When the sync has failed.
    SyncFail,
    /// Before an Application's objects are deleted.
    PreDelete,
    /// After an Application's objects are deleted.
    PostDelete,
}

/// When a hook's object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeletePolicy {
    BeforeHookCreation,
    HookSucceeded,
    HookFailed,
}

/// An object that is no state but something to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Empty: never, as Helm's tests.
    pub phases: BTreeSet<Phase>,
    pub delete: BTreeSet<DeletePolicy>,
}

/// What an object is to a sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// State that is kept.
    Kept,
    Hook(Hook),
    /// Left out altogether.
    Skip,
}

/// An annotation that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("annotation {annotation} is {text:?}: {reason}")]
pub struct Mistake {
    pub annotation: String,
    pub text: String,
    pub reason: String,
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

/// As much of an object as this module asks for; null where it says nothing.
pub fn notes(object: &Value) -> Value {
    let is_read = |key: &str| [PREFIX, ARGO, HELM].iter().any(|prefix| key.starts_with(prefix));
    let annotations = object.pointer("/metadata/annotations").and_then(Value::as_object);
    let read = annotations.into_iter().flatten().filter(|(key, _)| is_read(key));
    let read: Map<String, Value> = read.map(|(key, text)| (key.clone(), text.clone())).collect();
    if read.is_empty() { Value::Null } else { json!({"metadata": {"annotations": read}}) }
}

/// Ours, else Argo CD's, with its key.
fn either<'a>(object: &'a Value, name: &str) -> Option<(String, &'a str)> {
    [PREFIX, ARGO].iter().find_map(|prefix| {
        let key = format!("{prefix}{name}");
        annotation(object, &key).map(|text| (key, text))
    })
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

fn mistake(annotation: &str, text: &str, reason: &str) -> Mistake {
    Mistake { annotation: annotation.into(), text: text.into(), reason: reason.into() }
}

/// Whether this is a hook at all: a cheap question that cannot fail.
pub fn is_hook(object: &Value) -> bool {
    match either(object, "hook") {
        Some((_, text)) => words(text).any(|word| word != "Skip"),
        None => helm_hooks(object).is_some(),
    }
}

/// Helm's hooks. `crd-install` is an ordinary object, as for Argo CD.
fn helm_hooks(object: &Value) -> Option<&str> {
    annotation(object, "helm.sh/hook").filter(|text| words(text).any(|word| word != "crd-install"))
}

/// What an object is to a sync.
///
/// # Errors
/// When its annotations name a hook or a delete policy that there is not.
pub fn role(object: &Value) -> Result<Role, Mistake> {
    let phases = match (either(object, "hook"), helm_hooks(object)) {
        (Some((key, text)), _) => {
            if words(text).all(|word| word == "Skip") {
                return Ok(if words(text).next().is_some() { Role::Skip } else { Role::Kept });
            }
            let named = words(text).filter(|word| *word != "Skip").map(|word| {
                phase(word).ok_or_else(|| {
                    mistake(
                        &key,
                        text,
                        "it takes PreSync, Sync, PostSync, SyncFail, PreDelete, PostDelete, Skip",
                    )
                })
            });
            named.collect::<Result<_, _>>()?
        }
        // Rollbacks and tests have no counterpart: such a hook never runs.
        (None, Some(text)) => words(text).filter_map(helm_phase).collect(),
        (None, None) => return Ok(Role::Kept),
    };
    Ok(Role::Hook(Hook { phases, delete: delete_policies(object)? }))
}

fn phase(word: &str) -> Option<Phase> {
    Some(match word {
        "PreSync" => Phase::PreSync,
        "Sync" => Phase::Sync,
        "PostSync" => Phase::PostSync,
        "SyncFail" => Phase::SyncFail,
        "PreDelete" => Phase::PreDelete,
        "PostDelete" => Phase::PostDelete,
        _ => return None,
    })
}

/// Argo CD's mapping (docs/user-guide/helm.md, Helm Hooks).
fn helm_phase(word: &str) -> Option<Phase> {
    Some(match word {
        "pre-install" | "pre-upgrade" => Phase::PreSync,
        "post-install" | "post-upgrade" => Phase::PostSync,
        "pre-delete" => Phase::PreDelete,
        "post-delete" => Phase::PostDelete,
        _ => return None,
    })
}

fn delete_policies(object: &Value) -> Result<BTreeSet<DeletePolicy>, Mistake> {
    let mut policies = BTreeSet::new();
    let (key, text) = match either(object, "hook-delete-policy") {
        Some(found) => found,
        None => {
            let key = "helm.sh/hook-delete-policy";
            (key.to_owned(), annotation(object, key).unwrap_or_default())
        }
    };
    for word in words(text) {
        policies.insert(match word {
            "BeforeHookCreation" | "before-hook-creation" => DeletePolicy::BeforeHookCreation,
            "HookSucceeded" | "hook-succeeded" => DeletePolicy::HookSucceeded,
            "HookFailed" | "hook-failed" => DeletePolicy::HookFailed,
            _ => return Err(mistake(&key, text, "it takes BeforeHookCreation, HookSucceeded, HookFailed")),
        });
    }
    if policies.is_empty() {
        policies.insert(DeletePolicy::BeforeHookCreation);
    }
    Ok(policies)
}

/// The wave of an object: 0 where nothing is said. Helm's weight counts as one.
///
/// # Errors
/// When it is no whole number.
pub fn wave(object: &Value) -> Result<i32, Mistake> {
    let weight = || {
        let key = "helm.sh/hook-weight";
        annotation(object, key).map(|text| (key.to_owned(), text))
    };
    let Some((key, text)) = either(object, "sync-wave").or_else(weight) else { return Ok(0) };
    text.trim().parse().map_err(|_| mistake(&key, text, "it takes a whole number, such as -1"))
}

/// The sync options of an object by itself.
///
/// # Errors
/// When an option is unknown.
pub fn options(object: &Value) -> Result<Options, Mistake> {
    let mut options = match either(object, "sync-options") {
        Some((key, text)) => {
            let words: Vec<&str> = words(text).collect();
            Options::read(words.iter().copied(), true).map_err(|reason| mistake(&key, text, &reason))?
        }
        None => Options::default(),
    };
    // Helm's way to say it.
    if annotation(object, "helm.sh/resource-policy") == Some("keep") {
        options.prune.get_or_insert(Pruning::Never);
        options.delete.get_or_insert(Pruning::Never);
    }
    Ok(options)
}

/// Whether it is no difference that an object is there which Git does not declare.
pub fn may_be_extraneous(object: &Value) -> bool {
    let told = either(object, "compare-options");
    told.is_some_and(|(_, text)| words(text).any(|word| word == "IgnoreExtraneous"))
}

/// Whether the health of an object counts for nothing.
pub fn ignores_health(object: &Value) -> bool {
    either(object, "ignore-healthcheck").is_some_and(|(_, text)| text.trim() == "true")
}
