//! `kubectl gitops cluster remove`

use clap::Args;
use gitops_cluster::{Cluster, DeleteOptions, Discovery, ErrorKind};
use gitops_core::names::{GROUP, LABEL_HUB};
use gitops_core::object::{Gvk, ObjectKey};
use serde_json::Value;

use super::access::LABEL_ACCESS;
use super::{Registry, applications_to, entry, full_name};
use crate::error::{Failure, code};
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
    #[command(flatten)]
    registry: Registry,
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
    printer.line(&format!("cluster {name} is no longer registered; what is there stays"));
    let context =
        arguments.context_there.clone().or_else(|| settings.has_context(name).then(|| name.clone()));
    match context {
        Some(context) => {
            let there = settings.context(&context).await?;
            let taken = take_away(&there).await?;
            printer.line(&format!("taken away there: {}", if taken.is_empty() { "nothing".to_owned() } else { taken.join(", ") }));
        }
        None => printer.warning(&format!(
            "the hub's account is still in the cluster. Take it away: kubectl delete clusterroles,clusterrolebindings,rolebindings,serviceaccounts,secrets -A -l {LABEL_ACCESS}"
        )),
    }
    Ok(code::YES)
}

/// Mirrors and the account; what was taken away.
async fn take_away(there: &Cluster) -> Result<Vec<String>, Failure> {
    let discovery = there.discovery().await?;
    let mut taken = Vec::new();
    if let Some(kind) = discovery.preferred(GROUP, "Application") {
        let version = kind.gvk.api_version();
        for mirror in labelled(there, &discovery, &version, "Application", LABEL_HUB).await? {
            delete(there, &discovery, &version, "Application", &mirror).await?;
            taken.push(format!("Application {}", full_name(&mirror)));
        }
    }
    for (version, kind) in MADE {
        for object in labelled(there, &discovery, version, kind, LABEL_ACCESS).await? {
            delete(there, &discovery, version, kind, &object).await?;
            taken.push(format!("{kind} {}", full_name(&object).trim_start_matches('/')));
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
) -> Result<(), Failure> {
    let gvk = Gvk::new(version, kind);
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let key = ObjectKey {
        group: gvk.group.clone(),
        kind: gvk.kind.clone(),
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name"),
    };
    let Some(kind) = discovery.kind(&gvk) else { return Ok(()) };
    let options = DeleteOptions { uid: Some(text("/metadata/uid")), ..DeleteOptions::default() };
    match cluster.delete(kind, &key, &options).await {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
