//! What the programs in a cluster do alike. In: their flags, and what they run.
//! Out: a log, their end when they are asked for it, and an exit code.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use futures::future::select_all;
use tokio::task::JoinHandle;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::traces::Exporter;

/// How to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Json,
    Text,
}

/// Something that runs as long as the program has ended.
#[derive(Debug, thiserror::Error)]
#[error("{0} ended by itself; the log says why")]
pub struct Ended(pub &'static str);

/// Reads the flags and runs the program.
pub async fn start<S: Parser, E: Display>(
    name: &str,
    log_format: impl FnOnce(&S) -> LogFormat,
    run: impl AsyncFnOnce(S) -> Result<(), E>,
) -> ExitCode {
    if let Some(code) = gitops_source::render::jsonnet::evaluator() {
        return ExitCode::from(code);
    }
    let settings = S::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (exporter, failure) = match Exporter::from_environment(name) {
        Ok(exporter) => (exporter, None),
        Err(error) => (None, Some(error.to_string())),
    };
    log(log_format(&settings), exporter.as_ref());
    if let Some(error) = failure {
        tracing::error!(error, "no traces are sent");
    }
    let ended = run(settings).await;
    if let Some(exporter) = exporter {
        let _ = tokio::task::spawn_blocking(|| exporter.close()).await;
    }
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "{name} ends");
            ExitCode::FAILURE
        }
    }
}

/// A line of the log says in which span it is, so that what concerns an
/// Application or a revision is found by that.
fn log(format: LogFormat, exporter: Option<&Exporter>) {
    let level = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| "info,kube_runtime=warn,rustls_platform_verifier=off".into());
    // A disk that takes no line of the log ends nothing.
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
        LogFormat::Text => lines.boxed(),
    };
    let traces = exporter.map(Exporter::layer);
    tracing_subscriber::registry().with(level).with(lines).with(traces).init();
}

/// Waits until the program is asked to stop.
///
/// # Errors
/// When one of `tasks` ends before: each is to run as long as the program.
pub async fn until_stopped<T>(tasks: &mut [(&'static str, JoinHandle<T>)]) -> Result<(), Ended> {
    let names: Vec<&'static str> = tasks.iter().map(|(name, _)| *name).collect();
    let running = tasks.iter_mut().map(|(_, task)| task);
    tokio::select! {
        () = asked_to_stop() => Ok(()),
        (_, index, _) = select_all(running) => Err(Ended(names[index])),
    }
}

async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}

/// A duration as people write it.
///
/// # Errors
/// Why it cannot be read.
pub fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::Span = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    let duration =
        span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|error| error.to_string())?;
    Duration::try_from(duration).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_ends_by_itself_is_named() {
        let mut tasks =
            [("following", tokio::spawn(std::future::pending::<()>())), ("watching", tokio::spawn(async {}))];
        let ended = until_stopped(&mut tasks).await.map_err(|ended| ended.to_string());
        assert_eq!(ended, Err("watching ended by itself; the log says why".to_owned()));
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(duration("soon").is_err() && duration("-1s").is_err());
    }
}
