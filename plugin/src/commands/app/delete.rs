//! `kubectl gitops app delete`

use std::time::{Duration, Instant};

use clap::Args;
use gitops_api::Application;
use gitops_cluster::{ApplyOptions, Cluster, DeleteOptions};
use gitops_core::desired::AppRef;
use gitops_core::names::{FINALIZER_PRUNE, OUTPUT_API_VERSION};
use serde_json::json;

use crate::asking;
use crate::error::{Failure, code};
use crate::output::{self, Format};
use crate::printer::Printer;
use crate::settings::{Settings, duration};

/// Between two looks at what is still there.
const INTERVAL: Duration = Duration::from_millis(500);

/// Deletes an Application from the cluster; its objects stay unless --cascade is given
///
/// With --cascade the controller deletes the objects first. Without it they
/// stay as they are, and nobody holds them any more.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops app delete web -n shop\n  kubectl gitops app delete web -n shop --cascade --yes"
)]
pub struct Arguments {
    #[arg(value_name = "NAME")]
    called: String,
    /// Delete its objects as well
    #[arg(long)]
    cascade: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// How long to wait until it is gone; 0 does not wait
    #[arg(long, default_value = "5m", value_name = "DURATION")]
    timeout: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub async fn run(arguments: &Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let limit = duration(&arguments.timeout)?;
    let cluster = settings.cluster().await?;
    let reference = super::reference(&arguments.called, settings, &cluster);
    let live = super::there(&cluster, &reference).await?;
    super::not_in_git(&live)?;
    if arguments.cascade && !asking::controller_runs(&cluster).await? {
        return Err(Failure::conflict("no controller runs that would delete its objects").hint(format!(
            "kubectl gitops delete {0} deletes them from here; then: kubectl gitops app delete {0}",
            reference.name
        )));
    }
    confirm(&reference, &live, arguments, printer)?;
    if arguments.cascade {
        cascade(&cluster, &reference, &live).await?;
    }
    let options = DeleteOptions { uid: live.metadata.uid.clone(), ..DeleteOptions::default() };
    cluster.delete(&asking::kind(), &asking::key(&reference), &options).await?;
    let Some(limit) = limit else {
        return told(&reference, arguments, false, printer);
    };
    gone(&cluster, &reference, &live, limit).await?;
    told(&reference, arguments, true, printer)
}

fn told(reference: &AppRef, arguments: &Arguments, gone: bool, printer: &Printer) -> Result<u8, Failure> {
    match arguments.output {
        Format::Text | Format::Wide => {
            printer.line(&format!("Application {reference} {}", if gone { "deleted" } else { "is going" }));
        }
        Format::Name => printer.line(&format!("application/{}", reference.name)),
        format => {
            let deletion = json!({"apiVersion": OUTPUT_API_VERSION, "kind": "Deletion", "application": reference.to_string(),
                "cascade": arguments.cascade, "gone": gone});
            output::print(&[deletion], format, printer)?;
        }
    }
    Ok(code::YES)
}

fn confirm(
    reference: &AppRef,
    live: &Application,
    arguments: &Arguments,
    printer: &Printer,
) -> Result<(), Failure> {
    if arguments.yes {
        return Ok(());
    }
    let objects = live.status.as_ref().and_then(|status| status.objects).map(|objects| objects.total);
    let objects = objects.map_or_else(|| "its objects".to_owned(), |total| format!("its {total} objects"));
    let what = if arguments.cascade { format!("and {objects}") } else { format!("and leave {objects}") };
    let question = format!("Delete Application {reference} {what}?");
    printer.agrees(&question, "say --yes", "nothing was deleted")
}

/// Lets the Application wait until its objects are gone.
async fn cascade(cluster: &Cluster, reference: &AppRef, live: &Application) -> Result<(), Failure> {
    let mut finalizers = live.metadata.finalizers.clone().unwrap_or_default();
    if finalizers.iter().any(|finalizer| finalizer == FINALIZER_PRUNE) {
        return Ok(());
    }
    finalizers.push(FINALIZER_PRUNE.to_owned());
    let version = live.metadata.resource_version.clone().unwrap_or_default();
    let patch = json!([
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        {"op": "add", "path": "/metadata/finalizers", "value": finalizers},
    ]);
    let options = ApplyOptions::default();
    cluster.patch(&asking::kind(), &asking::key(reference), &patch, &options).await?;
    Ok(())
}

async fn gone(
    cluster: &Cluster,
    reference: &AppRef,
    before: &Application,
    limit: Duration,
) -> Result<(), Failure> {
    let start = Instant::now();
    loop {
        let live = asking::find(cluster, reference).await?;
        let Some(live) = live.filter(|live| live.metadata.uid == before.metadata.uid) else {
            return Ok(());
        };
        if start.elapsed() >= limit {
            let finalizers = live.metadata.finalizers.unwrap_or_default().join(", ");
            return Err(Failure {
                message: format!("Application {reference} is still there; it waits for {finalizers}"),
                hint: Some(format!("see why: kubectl gitops events {}", reference.name)),
                code: code::TIMEOUT,
            });
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
