//! `kubectl gitops`: brings clusters to what Git says.

mod applications;
mod asking;
mod beside;
mod checks;
mod claiming;
mod cli;
mod commands;
mod convert;
mod dependencies;
mod difftext;
mod drafting;
mod elsewhere;
mod error;
mod layout;
mod listing;
mod output;
mod place;
mod printer;
mod reaching;
mod rollouts;
mod said;
mod settings;
mod synctext;

use std::process::ExitCode;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use clap::Parser;

use cli::{Cli, Command};
use error::Failure;
use printer::Printer;
use settings::Settings;

/// Rendering, lists and reviews are many small values: twice as fast as with
/// the system's allocator, and the memory goes back when they do.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(code) = gitops_source::render::jsonnet::evaluator() {
        return ExitCode::from(code);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and end with 0, mistakes with 2.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let printer = Printer::new(cli.global.color);
    let code = run(cli, &printer).unwrap_or_else(|failure| {
        printer.failure(&failure);
        failure.code
    });
    ExitCode::from(code)
}

fn run(cli: Cli, printer: &Printer) -> Result<u8, Failure> {
    trace(cli.global.verbosity);
    // Another part of the process may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = Settings::resolve(&cli.global)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::other(error.to_string()))?;
    let code = runtime.block_on(execute(cli.command, &settings, printer));
    // A question that nobody answers does not keep the program.
    runtime.shutdown_background();
    code
}

async fn execute(command: Command, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    match command {
        Command::Sync(arguments) => commands::sync::run(arguments, settings, printer).await,
        Command::Diff(arguments) => commands::diff::run(arguments, settings, printer).await,
        Command::Status(arguments) => commands::status::run(arguments, settings, printer).await,
        Command::Why(arguments) => commands::why::run(arguments, settings, printer).await,
        Command::List(arguments) => commands::list::run(arguments, settings, printer).await,
        Command::Tree(arguments) => commands::tree::run(arguments, settings, printer).await,
        Command::Wait(arguments) => commands::wait::run(arguments, settings, printer).await,
        Command::Logs(arguments) => commands::logs::run(arguments, settings, printer).await,
        Command::Events(arguments) => commands::events::run(arguments, settings, printer).await,
        Command::History(arguments) => commands::history::run(arguments, settings, printer).await,
        Command::Rollback(arguments) => commands::rollback::run(arguments, settings, printer).await,
        Command::Rollout(arguments) => commands::rollout::run(arguments, settings, printer).await,
        Command::Delete(arguments) => commands::delete::run(arguments, settings, printer).await,
        Command::Check(arguments) => commands::check::run(arguments, settings, printer).await,
        Command::Health(arguments) => commands::health::run(&arguments, printer),
        Command::Render(arguments) => commands::render::run(arguments, settings, printer).await,
        Command::Init(arguments) => commands::init::run(&arguments, settings, printer),
        Command::App(arguments) => commands::app::run(arguments, settings, printer).await,
        Command::Cluster(arguments) => commands::cluster::run(arguments, settings, printer).await,
        Command::Override(arguments) => commands::overriding::run(arguments, settings, printer).await,
        Command::Completion(arguments) => commands::completion::run(&arguments, printer),
        Command::Version(arguments) => commands::version::run(&arguments, settings, printer).await,
        Command::Complete(arguments) => commands::complete::run(arguments, settings, printer).await,
        Command::ManPages(arguments) => commands::man::run(&arguments, printer),
        Command::MarkdownHelp => commands::reference::run(printer),
    }
}

/// Logs go to stderr; kubectl's levels from 0 (warnings) up.
fn trace(verbosity: u8) {
    let level = match verbosity {
        0..=1 => tracing::Level::WARN,
        2..=3 => tracing::Level::INFO,
        4..=6 => tracing::Level::DEBUG,
        _ => tracing::Level::TRACE,
    };
    // A certificate that is not known is told by the error itself.
    let known = Targets::new().with_default(level).with_target("rustls_platform_verifier", LevelFilter::OFF);
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).without_time();
    tracing_subscriber::registry().with(lines.with_filter(known)).init();
}
