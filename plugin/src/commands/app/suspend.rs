//! `kubectl gitops app suspend` and `resume`

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use gitops_api::{Application, Verb};
use gitops_cluster::Cluster;
use gitops_core::desired::AppRef;
use gitops_core::names::OUTPUT_API_VERSION;
use gitops_engine::follow::reference;
use serde::Serialize;

use crate::asking;
use crate::error::{Failure, code};
use crate::listing;
use crate::output::{self, Format};
use crate::printer::Printer;
use crate::settings::{Settings, duration};

/// Lets the controller leave Applications as they are
///
/// It syncs and heals nothing until they are resumed; what Git says is
/// enforced all the same. It takes the verb `suspend` on them.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops app suspend web -n shop --reason INC-12\n  kubectl gitops app suspend --all -n shop"
)]
pub struct Arguments {
    #[command(flatten)]
    which: Which,
}

/// Lets the controller go on with suspended Applications
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops app resume web -n shop\n  kubectl gitops app resume --all -n shop"
)]
pub struct ResumeArguments {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
struct Which {
    #[arg(value_name = "NAME", required_unless_present = "all", conflicts_with = "all")]
    called: Vec<String>,
    /// All Applications of the namespace
    #[arg(long)]
    all: bool,
    /// Why; it is recorded with the request
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
    /// How long the controller may take to begin
    #[arg(long, default_value = "1m", value_name = "DURATION")]
    timeout: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// What became of a request, as programs read it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    api_version: &'static str,
    kind: &'static str,
    application: String,
    verb: Verb,
    phase: String,
    message: String,
}

pub async fn suspend(arguments: &Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    run(Verb::Suspend, &arguments.which, settings, printer).await
}

pub async fn resume(
    arguments: &ResumeArguments,
    settings: &Settings,
    printer: &Printer,
) -> Result<u8, Failure> {
    run(Verb::Resume, &arguments.which, settings, printer).await
}

async fn run(verb: Verb, which: &Which, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let limit = duration(&which.timeout)?.unwrap_or(Duration::MAX);
    let cluster = settings.cluster().await?;
    if !asking::controller_runs(&cluster).await? {
        return Err(Failure::conflict("no controller runs, so nothing is synced by itself").hint(
            "install it with the chart, or look why it does not run: kubectl get pods -n gitops-system",
        ));
    }
    let mut asked = Vec::new();
    for live in chosen(which, settings, &cluster).await? {
        let request = asking::request(verb, BTreeMap::new(), &which.reason);
        asking::ask(&cluster, &asking::kind(), &live.metadata, &request).await?;
        asked.push((reference(&live), request));
    }
    let (mut worst, mut answers) = (code::YES, Vec::new());
    for (application, request) in asked {
        let ended = asking::follow(&cluster, &application, &request, limit, printer).await?;
        let word = if verb == Verb::Suspend { "suspended" } else { "resumed" };
        if ended.phase == "Succeeded" {
            match which.output {
                Format::Text | Format::Wide => printer.line(&format!("Application {application} {word}")),
                Format::Name => printer.line(&format!("application/{}", application.name)),
                Format::Json | Format::Yaml | Format::Jsonl => {}
            }
        } else {
            printer.failure(&Failure::other(format!(
                "Application {application} is not {word}: {}",
                ended.message
            )));
            worst = code::NO;
        }
        answers.push(Answer {
            api_version: OUTPUT_API_VERSION,
            kind: "Request",
            application: application.to_string(),
            verb,
            phase: ended.phase,
            message: ended.message,
        });
    }
    match which.output {
        Format::Text | Format::Wide | Format::Name => {}
        format => output::print(&answers, format, printer)?,
    }
    Ok(worst)
}

async fn chosen(which: &Which, settings: &Settings, cluster: &Cluster) -> Result<Vec<Application>, Failure> {
    let mut names = which.called.clone();
    if which.all {
        let namespace = super::reference("", settings, cluster).namespace;
        let all = listing::applications(cluster, Some(&namespace)).await?;
        names.extend(all.iter().map(|one| listing::reference(one).name));
    }
    let mut found = Vec::new();
    for name in &names {
        let reference: AppRef = super::reference(name, settings, cluster);
        found.push(super::there(cluster, &reference).await?);
    }
    Ok(found)
}
