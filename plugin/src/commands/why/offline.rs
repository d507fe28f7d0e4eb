//! A write on files alone: what Git says, what is there, what is tried.

use std::collections::BTreeSet;
use std::path::Path;

use gitops_api::application::{Application, EnforcementFloor};
use gitops_api::{ApplicationSpec, Project};
use gitops_core::desired::{AppRef, DesiredObject};
use gitops_core::names::ANNOTATION_REVISION;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::schema::Schemas;
use gitops_core::verdict::{Facts, Operation, Policy, Review};
use gitops_engine::judge::Ground;
use gitops_source::yaml;
use serde_json::Value;

use super::report::Explained;
use super::{OfflineFlags, documents};
use crate::error::Failure;
use crate::place::BuiltIn;
use crate::settings::Settings;

/// Judges every object of --old and --new.
pub(super) fn explain(
    flags: &OfflineFlags,
    revision: Option<&str>,
    settings: &Settings,
) -> Result<Vec<Explained>, Failure> {
    let Some(want) = &flags.want else { return Err(Failure::usage("--want is missing")) };
    let namespace = settings.namespace.clone().unwrap_or_else(|| "default".into());
    let (application, mut policy) = policy(flags.policy.as_deref())?;
    flags.adjust(&mut policy);
    let read = |file: &Option<std::path::PathBuf>| match file {
        Some(file) => documents::objects(documents::rendered(file)?, &namespace, &BuiltIn),
        None => Ok(Vec::new()),
    };
    let (olds, news) = (read(&flags.old)?, read(&flags.new)?);
    if olds.is_empty() && news.is_empty() {
        return Err(Failure::usage("neither --old nor --new is given")
            .hint("--new alone is a CREATE, --old alone a DELETE, both are an UPDATE"));
    }
    let owner = application
        .clone()
        .unwrap_or_else(|| AppRef { namespace: namespace.clone(), name: "application".into() });
    // Without a word about it, --want is the commit that the objects name.
    let named = revision
        .map(str::to_owned)
        .or_else(|| news.iter().chain(&olds).find_map(|object| recorded(&object.value)));
    let set = documents::set(
        documents::rendered(want)?,
        owner,
        named.as_deref().unwrap_or_default(),
        &namespace,
        &BuiltIn,
    )?;
    let kinds: BTreeSet<Gvk> =
        set.objects.values().chain(&olds).chain(&news).map(|object| object.gvk.clone()).collect();
    let schemas = schemas(flags.openapi.as_deref(), &kinds)?;
    let ground = Ground::new(set, policy);
    let now = jiff::Timestamp::now().as_second();
    let mut explained = Vec::new();
    for write in writes(flags, &olds, &news, &ground)? {
        let (Write { gvk, key, old, new }, operation) = (&write, operation(flags, &write)?);
        let review = Review {
            operation,
            gvk,
            key,
            subresource: &flags.subresource,
            old: old.map(|old| &*old.value),
            new: new.map(|new| &*new.value),
            now,
        };
        let mut verdict = ground.judge(&schemas, &review, &Facts::default());
        let declared = ground.set().objects.contains_key(key);
        if application.is_none() {
            verdict.application = None;
        }
        if named.is_none() {
            verdict.revision = None;
        }
        let mut one = Explained::of(gvk, verdict);
        one.subject = Some(super::report::subject(operation, &flags.subresource));
        one.not_asked = super::report::not_asked(&one.rule);
        if !schemas.has(gvk) {
            one.notes.push(format!(
                "{gvk} has no schema here, so it is compared as it is written; give --openapi"
            ));
        }
        if !declared {
            one.notes.push("--want does not declare it".into());
        }
        one.notes.extend(ground.mistakes().iter().map(|mistake| format!("a mistake in --want: {mistake}")));
        explained.push(one);
    }
    Ok(explained)
}

fn recorded(object: &Value) -> Option<String> {
    Some(object.get("metadata")?.get("annotations")?.get(ANNOTATION_REVISION)?.as_str()?.to_owned())
}

/// A write of one object, or of something of it.
struct Write<'a> {
    gvk: Gvk,
    key: ObjectKey,
    old: Option<&'a DesiredObject>,
    new: Option<&'a DesiredObject>,
}

/// The objects of both files by identity; of a subresource, those that are
/// tried.
fn writes<'a>(
    flags: &OfflineFlags,
    olds: &'a [DesiredObject],
    news: &'a [DesiredObject],
    ground: &Ground,
) -> Result<Vec<Write<'a>>, Failure> {
    let mut writes: Vec<Write<'a>> = Vec::new();
    for new in news {
        let (gvk, key) = parent(flags, new, ground)?;
        writes.push(Write { gvk, key, old: None, new: Some(new) });
    }
    for old in olds {
        let (gvk, key) = parent(flags, old, ground)?;
        match writes.iter_mut().find(|write| write.key == key) {
            Some(write) => write.old = Some(old),
            None if flags.subresource.is_empty() || news.is_empty() => {
                writes.push(Write { gvk, key, old: Some(old), new: None });
            }
            None => {}
        }
    }
    Ok(writes)
}

fn operation(flags: &OfflineFlags, write: &Write<'_>) -> Result<Operation, Failure> {
    let natural = match (write.old, write.new) {
        (_, None) => Operation::Delete,
        // What belongs to an object is updated.
        (None, _) if flags.subresource.is_empty() => Operation::Create,
        _ => Operation::Update,
    };
    let Some(asked) = flags.operation.map(Operation::from) else { return Ok(natural) };
    if asked == natural || asked == Operation::Connect || !flags.subresource.is_empty() {
        return Ok(asked);
    }
    let needs = match asked {
        Operation::Create => "--new and no --old",
        Operation::Update => "both --old and --new",
        _ => "--old and no --new",
    };
    let asked = super::report::subject(asked, "");
    Err(Failure::usage(format!("--operation {asked} does not fit {}: it needs {needs}", write.key))
        .hint("leave --operation out: it follows from --old and --new"))
}

/// The object that is written: for a Scale, the one that is scaled.
fn parent(
    flags: &OfflineFlags,
    object: &DesiredObject,
    ground: &Ground,
) -> Result<(Gvk, ObjectKey), Failure> {
    if flags.subresource != "scale" || object.gvk.kind != "Scale" {
        return Ok((object.gvk.clone(), object.key.clone()));
    }
    let scaled = ground.set().objects.values().filter(|want| {
        let (key, wanted) = (&want.key, &object.key);
        let is_workload =
            !matches!(key.group.as_str(), "" | "autoscaling") || key.kind == "ReplicationController";
        key.namespace == wanted.namespace && key.name == wanted.name && is_workload
    });
    match scaled.collect::<Vec<_>>().as_slice() {
        [one] => Ok((one.gvk.clone(), one.key.clone())),
        several => Err(Failure::usage(format!(
            "{}: --want declares {} objects of this name that may be scaled",
            object.key,
            several.len()
        ))
        .hint("give the workload itself in --old and --new, with --subresource scale")),
    }
}

/// The policy of a file, and the Application that has it.
fn policy(file: Option<&Path>) -> Result<(Option<AppRef>, Policy), Failure> {
    let Some(file) = file else { return Ok((None, Policy::default())) };
    let shown = file.display().to_string();
    let bad = |reason: String| {
        Failure::usage(format!("{shown}: {reason}")).hint("give an Application, a Project, or both")
    };
    let (mut application, mut project) = (None, None);
    for document in
        yaml::documents(&shown, &documents::text(file)?).map_err(|error| bad(error.to_string()))?
    {
        match document.value.get("kind").and_then(Value::as_str) {
            Some("Application") => {
                application = Some(
                    serde_json::from_value::<Application>(document.value)
                        .map_err(|error| bad(error.to_string()))?,
                )
            }
            Some("Project") => {
                project = Some(
                    serde_json::from_value::<Project>(document.value)
                        .map_err(|error| bad(error.to_string()))?,
                )
            }
            other => {
                return Err(bad(format!(
                    "{} does not belong here",
                    other.unwrap_or("a document without a kind")
                )));
            }
        }
    }
    if application.is_none() && project.is_none() {
        return Err(bad("it holds neither".into()));
    }
    let none = EnforcementFloor {
        mode: gitops_api::application::EnforcementMode::Off,
        ..EnforcementFloor::default()
    };
    let floor = project.as_ref().map_or(&none, |project| &project.spec.enforcement);
    let injectors = project.as_ref().map_or([].as_slice(), |project| project.spec.injectors.as_slice());
    let spec =
        application.as_ref().map_or_else(ApplicationSpec::default, |application| application.spec.clone());
    let policy = spec.policy(floor, injectors).map_err(|error| bad(error.to_string()))?;
    let name = application.map(|application| AppRef {
        namespace: application.metadata.namespace.unwrap_or_default(),
        name: application.metadata.name.unwrap_or_default(),
    });
    Ok((name, policy))
}

/// The types of these kinds: those of a folder, and Kubernetes' own.
fn schemas(folder: Option<&Path>, kinds: &BTreeSet<Gvk>) -> Result<Schemas, Failure> {
    let mut schemas = Schemas::new();
    let kinds: Vec<Gvk> = kinds.iter().cloned().collect();
    if let Some(folder) = folder {
        let bad = |file: &Path, error: &dyn std::fmt::Display| {
            Failure::usage(format!("{}: {error}", file.display()))
                .hint("write it with: kubectl get --raw /openapi/v3/apis/apps/v1 > DIR/apps-v1.json")
        };
        let entries = std::fs::read_dir(folder).map_err(|error| bad(folder, &error))?;
        let mut files: Vec<_> =
            entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_file()).collect();
        files.sort();
        for file in &files {
            let text = std::fs::read(file).map_err(|error| bad(file, &error))?;
            let document: Value = serde_json::from_slice(&text).map_err(|error| bad(file, &error))?;
            schemas.add_document(&document, &kinds).map_err(|error| bad(file, &error))?;
        }
    }
    schemas.extend(&Schemas::builtin());
    Ok(schemas)
}
