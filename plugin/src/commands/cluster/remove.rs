//! `kubectl gitops cluster remove`

use std::time::{Duration, Instant};

use clap::Args;
use gitops_cluster::{ApplyOptions, Cluster, DeleteOptions, Discovery, ErrorKind, Kind};
use gitops_core::names::{FIELD_MANAGER, FINALIZER_PRUNE, GROUP, LABEL_HUB, OUTPUT_API_VERSION};
use gitops_core::object::{Gvk, ObjectKey};
use serde::Serialize;
use serde_json::Value;

use super::access::LABEL_ACCESS;
use super::{Registry, applications_to, entry, full_name};
use crate::error::{Failure, code};
use crate::output::{self, Format, ObjectId};
use crate::printer::Printer;
use crate::settings::Settings;

/// Somebody else may write a mirror, too.
const TRIES: usize = 3;
/// How long what was deleted may take to be gone.
const GONE: Duration = Duration::from_secs(10);
/// Between two looks whether it is.
const INTERVAL: Duration = Duration::from_millis(200);

/// What `add` makes, the rights last, so that an interruption leaves none behind.
const MADE: &[(&str, &str)] = &[
    ("v1", "Secret"),
    ("v1", "ServiceAccount"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
];

/// Lets the hub forget a cluster, and takes away there what `add` has made
///
/// What Applications have brought there stays. The account in the cluster and
/// the mirrors of Applications are taken away by your own rights, through a
/// context of that cluster; without one, it is told what stays behind.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops cluster remove east --context-there east\n  kubectl gitops cluster remove east --force"
)]
pub struct Arguments {
    #[arg(value_name = "NAME")]
    called: String,
    /// Although Applications still go there
    #[arg(long)]
    force: bool,
    /// A context of that cluster; else one that is called as it is
    #[arg(long, value_name = "CONTEXT")]
    context_there: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    registry: Registry,
}

/// What was removed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    api_version: &'static str,
    kind: &'static str,
    cluster: String,
    /// Nobody looked: there is neither.
    #[serde(flatten)]
    there: Option<There>,
}

/// What became of what was there.
#[derive(Serialize, Default)]
struct There {
    taken: Vec<ObjectId>,
    /// Deleted, but held by a finalizer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left: Vec<ObjectId>,
}

pub async fn run(arguments: &Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let hub = settings.cluster().await?;
    let entry = entry(&hub, &arguments.registry, &arguments.called).await?;
    let name = &entry.name;
    let going = applications_to(&hub, name).await?;
    if !going.is_empty() && !arguments.force {
        let names: Vec<String> = going.iter().map(full_name).collect();
        return Err(Failure::conflict(format!("Applications go to cluster {name}: {}", names.join(", "))).hint(
            "change or delete them in Git first, with their finalizer where their objects should go, too; or use --force",
        ));
    }
    // Before the account there goes: the controller would mirror anew.
    delete(&hub, &hub.discovery().await?, "v1", "Secret", &entry.secret).await?;
    let context =
        arguments.context_there.clone().or_else(|| settings.has_context(name).then(|| name.clone()));
    let is_text = arguments.output.is_text();
    if is_text {
        printer.line(&format!("cluster {name} is no longer registered; what is there stays"));
    }
    let there = match context {
        Some(context) => Some(take_away(&settings.context(&context).await?, printer).await?),
        None => {
            printer.warning(&format!(
                "the hub's account is still in the cluster. Take it away: kubectl delete clusterroles,clusterrolebindings,rolebindings,serviceaccounts,secrets -A -l {LABEL_ACCESS}"
            ));
            None
        }
    };
    match arguments.output {
        Format::Text | Format::Wide => {
            there.iter().for_each(|there| printer.line(&text(&there.taken)));
        }
        Format::Name => {
            let taken = there.iter().flat_map(|there| &there.taken);
            taken.for_each(|object| printer.line(&object.short()));
        }
        format => {
            let report = Report {
                api_version: OUTPUT_API_VERSION,
                kind: "ClusterRemoval",
                cluster: name.clone(),
                there,
            };
            output::print(&[report], format, printer)?;
        }
    }
    Ok(code::YES)
}

fn text(taken: &[ObjectId]) -> String {
    let names: Vec<String> = taken.iter().map(named).collect();
    format!("taken away there: {}", if names.is_empty() { "nothing".to_owned() } else { names.join(", ") })
}

fn named(object: &ObjectId) -> String {
    let ObjectId { kind, namespace, name, .. } = object;
    if namespace.is_empty() { format!("{kind} {name}") } else { format!("{kind} {namespace}/{name}") }
}

/// Mirrors and the account; what is gone, and what is held.
async fn take_away(there: &Cluster, printer: &Printer) -> Result<There, Failure> {
    let discovery = there.discovery().await?;
    let mut deleted = Vec::new();
    if let Some(kind) = discovery.preferred(GROUP, "Application") {
        let version = kind.gvk.api_version();
        for mirror in labelled(there, &discovery, &version, "Application", LABEL_HUB).await? {
            release(there, kind, mirror.clone()).await?;
            deleted.push(delete(there, &discovery, &version, "Application", &mirror).await?);
        }
    }
    for (version, kind) in MADE {
        for object in labelled(there, &discovery, version, kind, LABEL_ACCESS).await? {
            deleted.push(delete(there, &discovery, version, kind, &object).await?);
        }
    }
    let (start, mut all) = (Instant::now(), There::default());
    for object in deleted {
        match held_by(there, &discovery, &object, start).await? {
            None => all.taken.push(object.id),
            Some(holders) => {
                let id = &object.id;
                printer.warning(&format!(
                    "{} is deleted there, and stays until this is done: {holders}",
                    named(id)
                ));
                all.left.push(object.id);
            }
        }
    }
    Ok(all)
}

/// Takes off a mirror what the hub would: that knows the cluster no longer.
async fn release(there: &Cluster, kind: &Kind, mut mirror: Value) -> Result<(), Failure> {
    let key = key_of(&kind.gvk, &mirror);
    let options = ApplyOptions { field_manager: FIELD_MANAGER, ..ApplyOptions::default() };
    for attempt in 1.. {
        let finalizers = mirror.pointer_mut("/metadata/finalizers").and_then(Value::as_array_mut);
        let Some(finalizers) = finalizers else { break };
        let before = finalizers.len();
        finalizers.retain(|known| known != FINALIZER_PRUNE);
        if finalizers.len() == before {
            break;
        }
        match there.replace(kind, &key, &mirror, &options).await {
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) if error.kind() == ErrorKind::Conflict && attempt < TRIES => {
                let Some(live) = there.get(kind, &key).await? else { break };
                mirror = live;
            }
            other => return Ok(other.map(drop)?),
        }
    }
    Ok(())
}

/// An object that was deleted.
struct Deleted {
    id: ObjectId,
    gvk: Gvk,
    key: ObjectKey,
    uid: String,
}

/// The finalizers that hold an object some time after it was deleted; none: it
/// is gone.
async fn held_by(
    there: &Cluster,
    discovery: &Discovery,
    object: &Deleted,
    start: Instant,
) -> Result<Option<String>, Failure> {
    let Some(kind) = discovery.kind(&object.gvk) else { return Ok(None) };
    loop {
        let live = there.get(kind, &object.key).await?;
        let uid = |live: &Value| live.pointer("/metadata/uid").and_then(Value::as_str) == Some(&object.uid);
        let Some(live) = live.filter(uid) else { return Ok(None) };
        if start.elapsed() > GONE {
            let finalizers = live.pointer("/metadata/finalizers").and_then(Value::as_array);
            let names: Vec<&str> = finalizers.into_iter().flatten().filter_map(Value::as_str).collect();
            return Ok(Some(names.join(", ")));
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn labelled(
    there: &Cluster,
    discovery: &Discovery,
    version: &str,
    kind: &str,
    label: &str,
) -> Result<Vec<Value>, Failure> {
    let Some(kind) = discovery.kind(&Gvk::new(version, kind)) else { return Ok(Vec::new()) };
    let path = format!("{}?labelSelector={}", kind.path("", ""), label.replace('/', "%2F"));
    let list = there.get_json(&path).await?;
    Ok(list.get("items").and_then(Value::as_array).cloned().unwrap_or_default())
}

fn text_of(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn key_of(gvk: &Gvk, object: &Value) -> ObjectKey {
    ObjectKey {
        group: gvk.group.clone(),
        kind: gvk.kind.clone(),
        namespace: text_of(object, "/metadata/namespace"),
        name: text_of(object, "/metadata/name"),
    }
}

async fn delete(
    cluster: &Cluster,
    discovery: &Discovery,
    version: &str,
    kind: &str,
    object: &Value,
) -> Result<Deleted, Failure> {
    let gvk = Gvk::new(version, kind);
    let (key, uid) = (key_of(&gvk, object), text_of(object, "/metadata/uid"));
    let deleted = Deleted { id: ObjectId::new(&gvk, &key), gvk, key, uid };
    let Some(kind) = discovery.kind(&deleted.gvk) else { return Ok(deleted) };
    let options = DeleteOptions { uid: Some(deleted.uid.clone()), ..DeleteOptions::default() };
    cluster.delete(kind, &deleted.key, &options).await?;
    Ok(deleted)
}
