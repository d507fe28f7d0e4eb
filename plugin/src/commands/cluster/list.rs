//! `kubectl gitops cluster list`

use std::time::Duration;

use clap::Args;
use gitops_cluster::{Cluster, Registered};
use gitops_core::names::{IN_CLUSTER, OUTPUT_API_VERSION};
use serde::Serialize;

use super::{Registry, applications_to};
use crate::elsewhere::{self, Entry};
use crate::error::{Failure, code};
use crate::layout;
use crate::output::{self, Format};
use crate::printer::Printer;
use crate::settings::Settings;

/// After this, a cluster counts as one that does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Lists the clusters that the hub knows, and whether they answer
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kubectl gitops cluster list\n  kubectl gitops cluster list -o json")]
pub struct Arguments {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    registry: Registry,
}

/// A cluster in one line.
#[derive(Clone, Debug, Serialize)]
struct Line {
    name: String,
    server: String,
    /// Of Kubernetes; empty where it does not answer.
    version: String,
    reachable: bool,
    applications: usize,
    credentials: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    api_version: &'static str,
    kind: &'static str,
    items: Vec<Line>,
}

pub async fn run(arguments: &Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let hub = settings.cluster().await?;
    let entries = elsewhere::registered(&hub, &arguments.registry.clusters_namespace).await?;
    let mut lines = vec![line(IN_CLUSTER, Ok(&hub), "", &hub).await?];
    // Side by side: one that is dead costs its patience once.
    let looks = entries.iter().map(|entry| far(entry, settings, &hub));
    for found in futures::future::join_all(looks).await {
        lines.push(found?);
    }
    match arguments.output {
        Format::Text | Format::Wide => {
            text(&lines, arguments.output == Format::Wide, printer)
                .iter()
                .for_each(|line| printer.line(line));
        }
        Format::Name => lines.iter().for_each(|line| printer.line(&line.name)),
        Format::Jsonl => output::print(&lines, arguments.output, printer)?,
        format => {
            let report = Report { api_version: OUTPUT_API_VERSION, kind: "ClusterList", items: lines };
            output::print(&[report], format, printer)?;
        }
    }
    Ok(code::YES)
}

async fn far(entry: &Entry, settings: &Settings, hub: &Cluster) -> Result<Line, Failure> {
    let credentials = entry.read.as_ref().map_or("", |registered| registered.credentials);
    let cluster = match &entry.read {
        Ok(registered) => settings.registered(registered).await.map_err(|failure| failure.message),
        Err(why) => Err(why.clone()),
    };
    let mut found = line(&entry.name, cluster.as_ref().map_err(Clone::clone), credentials, hub).await?;
    found.server = entry.read.as_ref().map(server).unwrap_or_default();
    Ok(found)
}

fn server(registered: &Registered) -> String {
    registered.server.clone()
}

async fn line(
    name: &str,
    cluster: Result<&Cluster, String>,
    credentials: &str,
    hub: &Cluster,
) -> Result<Line, Failure> {
    let applications = applications_to(hub, name).await?.len();
    let server = cluster.as_ref().map(|cluster| cluster.server().to_owned()).unwrap_or_default();
    let version = match cluster {
        Ok(cluster) => asked(cluster).await,
        Err(why) => Err(why),
    };
    let (version, message) = match version {
        Ok(version) => (version, String::new()),
        Err(why) => (String::new(), why),
    };
    let reachable = message.is_empty();
    Ok(Line {
        name: name.to_owned(),
        server,
        version,
        reachable,
        applications,
        credentials: credentials.to_owned(),
        message,
    })
}

/// Its version, if it takes the credentials.
async fn asked(cluster: &Cluster) -> Result<String, String> {
    let asked = async {
        let version = cluster.version().await?;
        cluster.get_json("/api/v1").await.map(|_| version)
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

fn text(lines: &[Line], wide: bool, printer: &Printer) -> Vec<String> {
    let row = |line: &Line| {
        let reachable = if line.reachable { "yes" } else { "no" };
        let mut row = vec![
            line.name.clone(),
            line.version.clone(),
            reachable.to_owned(),
            line.applications.to_string(),
        ];
        if wide {
            row.extend([line.server.clone(), line.credentials.clone()]);
        }
        row.push(line.message.clone());
        row
    };
    let header: &[&str] = if wide {
        &["CLUSTER", "VERSION", "REACHABLE", "APPLICATIONS", "SERVER", "CREDENTIALS", "WHY"]
    } else {
        &["CLUSTER", "VERSION", "REACHABLE", "APPLICATIONS", "WHY"]
    };
    layout::columns(header, &lines.iter().map(row).collect::<Vec<_>>(), printer)
}
