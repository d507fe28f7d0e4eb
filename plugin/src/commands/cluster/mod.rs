//! `kubectl gitops cluster`

mod access;
mod add;
mod check;
mod list;
mod remove;

use clap::{Args, Subcommand};
use gitops_core::names::CLUSTERS_NAMESPACE;
use serde_json::Value;

use crate::elsewhere::{self, Entry};
use crate::error::Failure;
use crate::listing;
use crate::printer::Printer;
use crate::settings::Settings;

/// Clusters that Applications go to: registers, lists, checks and removes them
///
/// The cluster that kubectl's flags mean is the hub: its controller syncs
/// Applications to the others, which it knows by Secrets. Argo CD's cluster
/// Secrets work as they are.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Add(Box<add::Arguments>),
    List(list::Arguments),
    Check(check::Arguments),
    Remove(remove::Arguments),
}

/// Where the hub keeps its Secrets.
#[derive(Clone, Debug, Args)]
struct Registry {
    /// The hub's namespace with the Secrets that describe clusters
    #[arg(long, default_value = CLUSTERS_NAMESPACE, value_name = "NAME")]
    clusters_namespace: String,
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    match arguments.action {
        Action::Add(arguments) => add::run(&arguments, settings, printer).await,
        Action::List(arguments) => list::run(&arguments, settings, printer).await,
        Action::Check(arguments) => check::run(&arguments, settings, printer).await,
        Action::Remove(arguments) => remove::run(&arguments, settings, printer).await,
    }
}

/// A cluster that is registered.
async fn entry(hub: &gitops_cluster::Cluster, registry: &Registry, name: &str) -> Result<Entry, Failure> {
    let entries = elsewhere::registered(hub, &registry.clusters_namespace).await?;
    let known: Vec<String> = entries.iter().map(|entry| entry.name.clone()).collect();
    entries.into_iter().find(|entry| entry.name == name).ok_or_else(|| {
        let there = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Failure::usage(format!("no cluster {name:?} is registered in {}", registry.clusters_namespace)).hint(
            format!("there are: {there}; kubectl gitops cluster add CONTEXT --name {name} registers one"),
        )
    })
}

/// The hub's Applications that go to a cluster, as they are; none where the hub
/// knows no Applications.
async fn applications_to(hub: &gitops_cluster::Cluster, name: &str) -> Result<Vec<Value>, Failure> {
    let all = match listing::applications(hub, None).await {
        Ok(all) => all,
        Err(error) if error.kind() == gitops_cluster::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let goes = |item: &Value| {
        item.pointer("/spec/destination/cluster").and_then(Value::as_str).unwrap_or("in-cluster") == name
    };
    Ok(all.into_iter().filter(goes).collect())
}

/// An object's `namespace/name`.
fn full_name(object: &Value) -> String {
    listing::reference(object).to_string()
}
