//! A file, or an object of the cluster, judged against the Applications.

use std::path::Path;

use gitops_cluster::{ApplyOptions, ErrorKind};
use gitops_core::compare::{CompareOptions, compare, mask_message};
use gitops_core::desired::{AppRef, DesiredObject, DesiredSet};
use gitops_core::names::ANNOTATION_OWNER;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::schema::Schemas;
use gitops_core::verdict::{Facts, Mode, Operation, Policy, Review, Untracked};
use gitops_engine::judge::{Ground, merged, untouched};
use gitops_engine::load::{self, Loaded};
use gitops_engine::{rollout, survey};
use serde_json::Value;

use super::documents;
use super::report::{Explained, not_asked, subject};
use crate::applications::{Destination, declared, is_local, select};
use crate::cli::Selection;
use crate::commands::status;
use crate::error::Failure;
use crate::place::Place;
use crate::printer::Printer;
use crate::rollouts::{self, Seen};
use crate::settings::Settings;

/// Who a dry run names as its field manager.
const MANAGER: &str = "kubectl-gitops-why";

/// An Application's word, and how it is held.
#[derive(Debug)]
struct Held {
    ground: Ground,
    mode: Mode,
    /// Rollouts that decide about objects of it.
    rollouts: Vec<Seen>,
}

impl Held {
    /// What its Rollouts have to do with an object.
    fn notes(&self, key: &ObjectKey) -> impl Iterator<Item = String> {
        let concerned = self.rollouts.iter().filter(|seen| seen.concerns(key));
        let told = concerned.map(|seen| {
            let command = seen.command().map(|command| format!("; {command}")).unwrap_or_default();
            format!("Rollout {} decides about it: {}{command}", seen.reference().name, seen.words())
        });
        told.collect::<Vec<_>>().into_iter()
    }
}

/// Would applying these objects be accepted?
pub(super) async fn file(
    target: &str,
    selection: &Selection,
    settings: &Settings,
    printer: &Printer,
) -> Result<Vec<Explained>, Failure> {
    let rendered = documents::rendered(Path::new(target))?;
    let place = Place::reach_if_there(settings, printer, "objects are judged as they are written").await?;
    let applications = applications(&place, selection, settings, None).await?;
    let namespace = match (&settings.namespace, applications.as_slice(), place.destination()) {
        (Some(namespace), ..) => namespace.clone(),
        (None, [only], _) => only.namespace.clone(),
        (None, _, Some(destination)) => destination.cluster.default_namespace().to_owned(),
        (None, ..) => "default".into(),
    };
    let held = held(&applications, &place, selection, printer, |loaded| Ok(loaded.policy()?)).await?;
    let mut explained = Vec::new();
    for object in documents::objects(rendered, &namespace, &place)? {
        explained.push(judged(&object, &place, &held).await?);
    }
    Ok(explained)
}

/// The Applications that are meant. Where none is, those of the cluster: the
/// one that an object names as its owner, else all.
async fn applications(
    place: &Place,
    selection: &Selection,
    settings: &Settings,
    live: Option<&Value>,
) -> Result<Vec<Loaded>, Failure> {
    let selected = !selection.names.is_empty() || is_local(selection, settings);
    let Some(destination) = place.destination().filter(|_| !selected) else {
        return select(selection, settings, place.cluster()).await;
    };
    match live.and_then(owner) {
        Some(owner) => {
            Ok(vec![load::from_cluster(&destination.cluster, &owner, &settings.credentials).await?])
        }
        None => {
            let mut all = status::all(destination, settings).await.map_err(|failure| {
                failure.hint(
                    "where no Application is installed, name a repository: -f gitops.yaml, or --repo and --path",
                )
            })?;
            // Those of other clusters say nothing of this one.
            all.retain(|loaded| loaded.spec.destination.is_here());
            Ok(all)
        }
    }
}

/// The Application that an object says owns it.
fn owner(live: &Value) -> Option<AppRef> {
    let text = live.get("metadata")?.get("annotations")?.get(ANNOTATION_OWNER)?.as_str()?;
    let (namespace, name) = text.split_once('/')?;
    Some(AppRef { namespace: namespace.into(), name: name.into() })
}

/// What the Applications declare. One of several that cannot be rendered hides
/// its own objects only, and that is told.
async fn held(
    applications: &[Loaded],
    place: &Place,
    selection: &Selection,
    printer: &Printer,
    policy: impl Fn(&Loaded) -> Result<Policy, Failure>,
) -> Result<Vec<Held>, Failure> {
    let revision = selection.revision.as_deref();
    if applications.is_empty() {
        printer.talk("the cluster holds no Application");
    }
    let mut all = Vec::new();
    for loaded in applications {
        match of(loaded, place, revision).await {
            Ok((set, rollouts)) => {
                let mode = loaded.policy()?.mode;
                all.push(Held { ground: Ground::new(set, policy(loaded)?), mode, rollouts });
            }
            Err(failure) if applications.len() > 1 => {
                printer.talk(&format!("{} is left out: {}", loaded.application, failure.message));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(all)
}

/// What an Application declares, with its Rollouts worked in where a cluster
/// knows how they stand.
async fn of(
    loaded: &Loaded,
    place: &Place,
    revision: Option<&str>,
) -> Result<(DesiredSet, Vec<Seen>), Failure> {
    let (_, set) = declared(loaded, place.environment(), revision, place).await?;
    let Some(destination) = place.destination() else { return Ok((set, Vec::new())) };
    let ground = rollout::Ground {
        cluster: &destination.cluster,
        discovery: &destination.discovery,
        loaded,
        environment: &destination.environment,
    };
    let (set, rollouts, _) = survey::gated(&ground, set).await?;
    Ok((set, rollouts::under_way(&rollouts)))
}

/// Who declares an object; where nobody does, who is strictest about such
/// objects in its namespace.
fn holder<'a>(held: &'a [Held], key: &ObjectKey) -> Option<&'a Held> {
    let declares = held.iter().find(|held| held.ground.set().objects.contains_key(key));
    let beside = held.iter().filter(|held| !key.namespace.is_empty() && held.ground.is_in(&key.namespace));
    declares.or_else(|| beside.max_by_key(|held| (held.ground.policy().untracked, held.mode)))
}

async fn judged(object: &DesiredObject, place: &Place, held: &[Held]) -> Result<Explained, Failure> {
    let schemas = place.schemas(&[object.gvk.clone()].into()).await?;
    let mut notes = Vec::new();
    let (old, mut new) = match place {
        Place::Cluster(destination) => applied(destination, object, &mut notes).await?,
        Place::Nowhere(_) => (None, (*object.value).clone()),
    };
    let holder = holder(held, &object.key);
    let want = holder.and_then(|holder| holder.ground.set().objects.get(&object.key));
    if let Some(want) = want
        && matches!(place, Place::Nowhere(_))
        && means_the_same(&schemas, want, object)
    {
        new = (*want.value).clone();
    }
    let operation = if old.is_some() { Operation::Update } else { Operation::Create };
    let review = Review {
        operation,
        gvk: &object.gvk,
        key: &object.key,
        subresource: "",
        old: old.as_ref(),
        new: Some(&new),
        now: jiff::Timestamp::now().as_second(),
    };
    let Some(holder) = holder.filter(|_| want.is_some()) else {
        let mut explained = undeclared(&object.gvk, &object.key, held, &schemas, &review, false);
        explained.subject = Some(subject(operation, ""));
        explained.notes.extend(notes);
        return Ok(explained);
    };
    let mut explained = Explained::of(&object.gvk, holder.ground.judge(&schemas, &review, &Facts::default()));
    explained.subject = Some(subject(operation, ""));
    explained.not_asked = not_asked(&explained.rule);
    explained.notes.extend(notes);
    explained.notes.extend(softened(holder.mode));
    explained.notes.extend(holder.notes(&object.key));
    Ok(explained)
}

/// The object as it is, and as an apply would leave it. Nothing is written.
async fn applied(
    destination: &Destination,
    object: &DesiredObject,
    notes: &mut Vec<String>,
) -> Result<(Option<Value>, Value), Failure> {
    let Some(kind) = destination.discovery.kind(&object.gvk) else {
        return Ok((None, (*object.value).clone()));
    };
    let live = destination.cluster.get(kind, &object.key).await?;
    let mut manifest = (*object.value).clone();
    if let Some(fields) = manifest.as_object_mut() {
        fields.remove("status");
    }
    let options =
        ApplyOptions { field_manager: MANAGER, dry_run: true, strict: false, ..ApplyOptions::default() };
    let tried = destination.cluster.apply(kind, &object.key, &manifest, &options).await;
    let new = match tried {
        Ok(applied) => applied.object,
        // Then it is laid over what is there, without the API server's help.
        Err(error)
            if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Forbidden | ErrorKind::NotFound) =>
        {
            let message = error.to_string();
            let first = mask_message(message.lines().next().unwrap_or_default(), object);
            notes.push(format!("the API server refused a dry run: {first}"));
            live.as_ref().map_or_else(|| (*object.value).clone(), |live| merged(live, &object.value))
        }
        Err(error) => return Err(error.reworded(|message| mask_message(message, object)).into()),
    };
    Ok((live, new))
}

/// Whether a manifest says just what Git says, each without the API server's
/// defaults.
fn means_the_same(schemas: &Schemas, want: &DesiredObject, object: &DesiredObject) -> bool {
    let options = CompareOptions::of(&want.gvk);
    let differ = |a: &Value, b: &Value| !compare(schemas, &want.gvk, a, b, &options).is_empty();
    !differ(&want.value, &object.value) || !differ(&object.value, &want.value)
}

/// Is this object as Git says?
pub(super) async fn object(
    kind: &str,
    name: &str,
    selection: &Selection,
    settings: &Settings,
    printer: &Printer,
) -> Result<Explained, Failure> {
    let destination = Destination::reach(settings).await?;
    let Some(found) = destination.cluster.named(&destination.discovery, kind).await? else {
        return Err(Failure::usage(format!(
            "the cluster has no kind {kind:?}, and there is no file {kind}/{name}"
        ))
        .hint("kubectl api-resources lists the kinds"));
    };
    let namespace = if found.namespaced {
        settings.namespace.clone().unwrap_or_else(|| destination.cluster.default_namespace().to_owned())
    } else {
        String::new()
    };
    let gvk = found.gvk.clone();
    let key =
        ObjectKey { group: gvk.group.clone(), kind: gvk.kind.clone(), namespace, name: name.to_owned() };
    let live = destination.cluster.get(&found, &key).await?;
    let place = Place::Cluster(Box::new(destination));
    let applications = applications(&place, selection, settings, live.as_ref()).await?;
    let closed = |loaded: &Loaded| Ok(Policy { mode: Mode::Enforce, ..survey::policy(loaded)? });
    let held = held(&applications, &place, selection, printer, closed).await?;
    let Some(live) = live else { return Err(missing(&key, &held)) };
    // Git may declare it in another version than the preferred one.
    let declared = held.iter().find_map(|held| Some((held, held.ground.set().objects.get(&key)?)));
    let Some((holder, want)) = declared else {
        let schemas = place.schemas(&[gvk.clone()].into()).await?;
        let review = whole(&gvk, &key, None, &live);
        return Ok(undeclared(&gvk, &key, &held, &schemas, &review, true));
    };
    let live = if want.gvk == gvk { live } else { in_version(&place, want, live).await? };
    let schemas = place.schemas(&[want.gvk.clone()].into()).await?;
    let before = untouched(want, &live);
    let review = whole(&want.gvk, &key, Some(&before), &live);
    let mut explained = Explained::of(&want.gvk, holder.ground.judge(&schemas, &review, &Facts::default()));
    explained.name_writers(&live);
    if explained.differences.is_empty() && explained.rule.is_empty() {
        explained.message = "it is as Git says".into();
    } else {
        explained.subject = Some("it is not as Git says, and a write that makes it so is".into());
        explained.notes.extend(softened(holder.mode));
        explained.hint =
            format!("{}; to bring it back to what Git says: kubectl gitops sync", explained.hint);
    }
    explained.notes.extend(holder.notes(&key));
    Ok(explained)
}

/// A write that makes an object what it is.
fn whole<'a>(gvk: &'a Gvk, key: &'a ObjectKey, old: Option<&'a Value>, live: &'a Value) -> Review<'a> {
    let operation = if old.is_some() { Operation::Update } else { Operation::Create };
    Review {
        operation,
        gvk,
        key,
        subresource: "",
        old,
        new: Some(live),
        now: jiff::Timestamp::now().as_second(),
    }
}

async fn in_version(place: &Place, want: &DesiredObject, live: Value) -> Result<Value, Failure> {
    let kind = place
        .destination()
        .and_then(|destination| Some((destination, destination.discovery.kind(&want.gvk)?)));
    let Some((destination, kind)) = kind else { return Ok(live) };
    Ok(destination.cluster.get(kind, &want.key).await?.unwrap_or(live))
}

fn missing(key: &ObjectKey, held: &[Held]) -> Failure {
    let failure = Failure::from(gitops_cluster::ClusterError::NotFound { what: key.to_string() });
    match held.iter().find_map(|held| held.ground.set().objects.get(key)) {
        Some(want) => {
            failure.hint(format!("Git declares it at {}: kubectl gitops sync makes it", want.origin))
        }
        None => failure,
    }
}

/// An object that nobody declares: who made it, and what its namespace allows.
fn undeclared(
    gvk: &Gvk,
    key: &ObjectKey,
    held: &[Held],
    schemas: &Schemas,
    review: &Review<'_>,
    is_live: bool,
) -> Explained {
    let nothing = Ground::new(
        DesiredSet {
            application: AppRef { namespace: String::new(), name: String::new() },
            revision: String::new(),
            objects: std::collections::BTreeMap::new(),
        },
        Policy { mode: Mode::Off, ..Policy::default() },
    );
    let made_by = review.new.and_then(controller);
    let holder = holder(held, key);
    let untracked = holder.map_or(Untracked::Allow, |holder| holder.ground.policy().untracked);
    // Who owns what is there answers for it.
    let is_owned =
        is_live && review.new.is_some_and(|live| live.pointer("/metadata/ownerReferences").is_some());
    let ground = holder.filter(|_| !is_owned).map_or(&nothing, |holder| &holder.ground);
    let mut verdict = ground.judge(schemas, review, &Facts::default());
    verdict.revision = None;
    let mut explained = Explained::of(gvk, verdict);
    explained.not_asked = not_asked(&explained.rule);
    match made_by {
        _ if !explained.message.is_empty() => {}
        Some((kind, name)) => {
            explained.message = format!(
                "no Application that was asked declares it: {kind} {name} made it, and answers for it"
            );
            explained.hint = format!("kubectl gitops why {}/{name}", kind.to_lowercase());
        }
        None => explained.message = "no Application that was asked declares it".into(),
    }
    explained.notes.push(untracked_note(untracked, key));
    explained
}

fn untracked_note(untracked: Untracked, key: &ObjectKey) -> String {
    let place = if key.namespace.is_empty() {
        "the cluster".to_owned()
    } else {
        format!("namespace {}", key.namespace)
    };
    match untracked {
        Untracked::Allow => format!("{place} takes objects that nobody declares"),
        Untracked::Warn => format!("{place} takes objects that nobody declares, with a warning"),
        Untracked::Deny => format!("{place} takes no objects that nobody declares"),
    }
}

/// What becomes of a denial in a mode that does not enforce.
fn softened(mode: Mode) -> Option<String> {
    match mode {
        Mode::Enforce => None,
        Mode::Warn => Some("enforcement is Warn: such a write passes with a warning".into()),
        Mode::Audit => Some("enforcement is Audit: such a write passes, and is recorded".into()),
        Mode::Off => Some("enforcement is Off: such a write passes".into()),
    }
}

/// Kind and name of the controlling owner.
fn controller(object: &Value) -> Option<(String, String)> {
    let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
    let owner = owners.iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true)))?;
    let text = |field: &str| owner.get(field).and_then(Value::as_str).map(str::to_owned);
    Some((text("kind")?, text("name")?))
}
