//! `kubectl gitops rollout status`

use std::time::{Duration, Instant};

use clap::{ArgAction, Args};
use gitops_cluster::Cluster;
use gitops_core::desired::AppRef;
use gitops_core::rollout::state::Phase;

use super::get;
use crate::error::{Failure, code};
use crate::output::Format;
use crate::printer::{Ink, Printer};
use crate::reaching::{Reached, reach};
use crate::rollouts::{self, Seen};
use crate::settings::{Settings, duration};

const INTERVAL: Duration = Duration::from_secs(1);

/// Waits until a Rollout's new version is promoted or aborted
///
/// Where none is on its way it ends at once. Exit code 0: promoted; 1: aborted;
/// 8: neither in time.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops rollout status web -n shop\n  kubectl gitops rollout status web --timeout 30m\n  kubectl gitops rollout status web --watch=false"
)]
pub struct Arguments {
    /// The Rollout
    #[arg(value_name = "NAME")]
    rollout: String,
    /// Wait for the end
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true, action = ArgAction::Set, value_name = "BOOL")]
    watch: bool,
    /// How long; 0 without an end
    #[arg(long, default_value = "0", value_name = "DURATION")]
    timeout: String,
    /// How to print; for programs, where it stands in the end
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub async fn run(arguments: &Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let limit = duration(&arguments.timeout)?.unwrap_or(Duration::MAX);
    let Reached { cluster, seen, .. } = reach(settings, &arguments.rollout).await?;
    let limit = if arguments.watch { limit } else { Duration::ZERO };
    let (reference, format) = (seen.reference(), arguments.output);
    let ended = until_ended(&cluster, &reference, limit, format, printer).await?;
    if !format.is_text() {
        let discovery = cluster.discovery().await?;
        let seen = rollouts::find(&cluster, &reference.namespace, &reference.name).await?;
        get::print(&get::look(&cluster, &discovery, &seen).await?, format, printer)?;
    }
    Ok(ended)
}

/// Waits for the end; what it says on the way is told, to people on stdout.
pub async fn until_ended(
    cluster: &Cluster,
    reference: &AppRef,
    limit: Duration,
    format: Format,
    printer: &Printer,
) -> Result<u8, Failure> {
    let tell = |line: &str| if format.is_text() { printer.line(line) } else { printer.talk(line) };
    let (begun, mut said) = (Instant::now(), String::new());
    loop {
        let seen = rollouts::find(cluster, &reference.namespace, &reference.name).await?;
        let line = words(&seen);
        if let Some(ended) = result(&seen) {
            let ink = if ended == code::YES { Ink::Git } else { Ink::Live };
            tell(&printer.ink(ink, &line));
            return Ok(ended);
        }
        if line != said {
            tell(&line);
            said = line;
        }
        let left = limit.saturating_sub(begun.elapsed());
        if left.is_zero() {
            if !limit.is_zero() {
                printer.talk(&format!("Rollout {reference} has not ended in time"));
            }
            return Ok(code::TIMEOUT);
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL.min(left)) => {}
            _ = tokio::signal::ctrl_c() => return Ok(code::INTERRUPTED),
        }
    }
}

/// The exit code of what has ended. While it goes back it is not over: the old
/// version may not serve alone yet.
fn result(seen: &Seen) -> Option<u8> {
    match seen.state.phase {
        Phase::Idle if seen.is_driven => Some(code::YES),
        Phase::Aborted => Some(code::NO),
        _ => None,
    }
}

fn words(seen: &Seen) -> String {
    let state = &seen.state;
    if !seen.is_driven {
        return format!("Rollout {}: nobody has looked at it yet", seen.reference());
    }
    let version = match (&state.stable, &state.new) {
        (Some(stable), _) if state.phase == Phase::Idle => Some(stable),
        (_, new) => new.as_ref(),
    };
    let version = version.map(|version| version.revision.chars().take(12).collect::<String>());
    let version = version.map(|version| format!(" {version}")).unwrap_or_default();
    format!("Rollout {}:{version} {}", seen.reference(), seen.words())
}
