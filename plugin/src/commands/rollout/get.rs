//! `kubectl gitops rollout get`

pub mod picture;
mod text;

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use gitops_cluster::{Cluster, Discovery};
use gitops_engine::{Kin, Reach};

use crate::error::{Failure, code};
use crate::output::{self, Format};
use crate::printer::Printer;
use crate::reaching::{Reached, reach};
use crate::rollouts::{self, Seen};
use crate::settings::Settings;
use picture::Picture;

/// Between two pictures with --watch.
const REDRAWN: Duration = Duration::from_secs(1);

/// Shows a Rollout: its versions, steps, workloads, Pods and measurements, and what happens next
///
/// With -w the picture is drawn again every second until Ctrl-C.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops rollout get web -n shop\n  kubectl gitops rollout get web -w\n  kubectl gitops rollout get web -o json"
)]
pub struct Arguments {
    /// The Rollout
    #[arg(value_name = "NAME")]
    rollout: String,
    /// Draw it again and again until Ctrl-C
    #[arg(short, long)]
    watch: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub async fn run(arguments: &Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let Reached { cluster, mut seen, .. } = reach(settings, &arguments.rollout).await?;
    let discovery = cluster.discovery().await?;
    let reference = seen.reference();
    loop {
        let picture = look(&cluster, &discovery, &seen).await?;
        let wide = arguments.output == Format::Wide;
        match arguments.output {
            Format::Text | Format::Wide => {
                let lines = text::lines(&picture, wide, printer);
                if arguments.watch {
                    printer.page(&lines);
                } else {
                    lines.iter().for_each(|line| printer.line(line));
                }
            }
            format => print(&picture, format, printer)?,
        }
        if !arguments.watch {
            return Ok(code::YES);
        }
        tokio::select! {
            () = tokio::time::sleep(REDRAWN) => {}
            _ = tokio::signal::ctrl_c() => return Ok(code::INTERRUPTED),
        }
        seen = rollouts::find(&cluster, &reference.namespace, &reference.name).await?;
    }
}

/// A Rollout for programs.
pub fn print(picture: &Picture, format: Format, printer: &Printer) -> Result<(), Failure> {
    if format == Format::Name {
        printer.line(&format!("rollout/{}", picture.name));
        return Ok(());
    }
    output::print(&[picture], format, printer)
}

/// One look at a Rollout and all that runs for it.
pub async fn look(cluster: &Cluster, discovery: &Discovery, seen: &Seen) -> Result<Picture, Failure> {
    let target = picture::kind(discovery, seen)?;
    let second = seen.spec.second();
    let (live, beside) = tokio::try_join!(cluster.get(&target, &seen.spec.target), async {
        if seen.spec.has_second() { cluster.get(&target, &second).await } else { Ok(None) }
    })?;
    let namespaces = BTreeSet::from([seen.spec.target.namespace.clone()]);
    let kin = Kin::look(cluster, discovery, &namespaces, Reach::Workloads).await;
    let now = jiff::Timestamp::now().as_second();
    Ok(picture::draw(seen, (live.as_ref(), beside.as_ref()), &kin, now))
}
