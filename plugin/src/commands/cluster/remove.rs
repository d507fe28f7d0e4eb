//! `kubectl gitops cluster remove`

use clap::Args;
use gitops_cluster::{Cluster, DeleteOptions, Discovery, ErrorKind};
use gitops_core::names::{GROUP, LABEL_HUB, OUTPUT_API_VERSION};
use gitops_core::object::{Gvk, ObjectKey};
use serde::Serialize;
use serde_json::Value;

use super::access::LABEL_ACCESS;
use super::{Registry, applications_to, entry, full_name};
use crate::error::{Failure, code};
use crate::output::{self, Format, ObjectId};
use crate::printer::Printer;
use crate::settings::Settings;

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
    /// What was taken away there; none: nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    taken: Option<Vec<ObjectId>>,
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
    let taken = match context {
        Some(context) => Some(take_away(&settings.context(&context).await?).await?),
        None => {
            printer.warning(&format!(
                "the hub's account is still in the cluster. Take it away: kubectl delete clusterroles,clusterrolebindings,rolebindings,serviceaccounts,secrets -A -l {LABEL_ACCESS}"
            ));
            None
        }
    };
    match arguments.output {
        Format::Text | Format::Wide => taken.iter().for_each(|taken| printer.line(&text(taken))),
        Format::Name => taken.iter().flatten().for_each(|object| printer.line(&object.short())),
        format => {
            let report = Report {
                api_version: OUTPUT_API_VERSION,
                kind: "ClusterRemoval",
                cluster: name.clone(),
                taken,
            };
            output::print(&[report], format, printer)?;
        }
    }
    Ok(code::YES)
}

fn text(taken: &[ObjectId]) -> String {
    let name = |object: &ObjectId| {
        let ObjectId { kind, namespace, name, .. } = object;
        if namespace.is_empty() { format!("{kind} {name}") } else { format!("{kind} {namespace}/{name}") }
    };
    let names: Vec<String> = taken.iter().map(name).collect();
    format!("taken away there: {}", if names.is_empty() { "nothing".to_owned() } else { names.join(", ") })
}

/// Mirrors and the account; what was taken away.
async fn take_away(there: &Cluster) -> Result<Vec<ObjectId>, Failure> {
    let discovery = there.discovery().await?;
    let mut taken = Vec::new();
    if let Some(kind) = discovery.preferred(GROUP, "Application") {
        let version = kind.gvk.api_version();
        for mirror in labelled(there, &discovery, &version, "Application", LABEL_HUB).await? {
            taken.push(delete(there, &discovery, &version, "Application", &mirror).await?);
        }
    }
    for (version, kind) in MADE {
        for object in labelled(there, &discovery, version, kind, LABEL_ACCESS).await? {
            taken.push(delete(there, &discovery, version, kind, &object).await?);
        }
    }
    Ok(taken)
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

async fn delete(
    cluster: &Cluster,
    discovery: &Discovery,
    version: &str,
    kind: &str,
    object: &Value,
) -> Result<ObjectId, Failure> {
    let gvk = Gvk::new(version, kind);
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let key = ObjectKey {
        group: gvk.group.clone(),
        kind: gvk.kind.clone(),
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name"),
    };
    let id = ObjectId::new(&gvk, &key);
    let Some(kind) = discovery.kind(&gvk) else { return Ok(id) };
    let options = DeleteOptions { uid: Some(text("/metadata/uid")), ..DeleteOptions::default() };
    match cluster.delete(kind, &key, &options).await {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(id),
    }
}
