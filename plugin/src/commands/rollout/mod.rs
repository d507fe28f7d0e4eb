//! `kubectl gitops rollout`

mod ask;
mod declared;
mod get;
mod history;
mod lint;
mod list;
mod restart;
mod set_image;
mod status;
mod undo;

use clap::{Args, Subcommand};

use crate::error::Failure;
use crate::printer::Printer;
use crate::settings::Settings;

/// Rollouts: shows how a new version gets in, and decides about it
///
/// A Rollout in Git says how one workload changes its version. Which version
/// that is, Git says too: what changes it is a commit.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(list::Arguments),
    Get(get::Arguments),
    Status(status::Arguments),
    Promote(ask::PromoteArguments),
    Abort(ask::AbortArguments),
    Retry(ask::RetryArguments),
    Pause(ask::PauseArguments),
    Resume(ask::ResumeArguments),
    Restart(restart::Arguments),
    SetImage(set_image::Arguments),
    Undo(undo::Arguments),
    History(history::Arguments),
    Lint(lint::Arguments),
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    match arguments.action {
        Action::List(arguments) => list::run(&arguments, settings, printer).await,
        Action::Get(arguments) => get::run(&arguments, settings, printer).await,
        Action::Status(arguments) => status::run(&arguments, settings, printer).await,
        Action::Promote(arguments) => ask::promote(&arguments, settings, printer).await,
        Action::Abort(arguments) => ask::abort(&arguments, settings, printer).await,
        Action::Retry(arguments) => ask::retry(&arguments, settings, printer).await,
        Action::Pause(arguments) => ask::pause(&arguments, settings, printer).await,
        Action::Resume(arguments) => ask::resume(&arguments, settings, printer).await,
        Action::Restart(arguments) => restart::run(&arguments, settings, printer).await,
        Action::SetImage(arguments) => set_image::run(&arguments, settings, printer).await,
        Action::Undo(arguments) => undo::run(arguments, settings, printer).await,
        Action::History(arguments) => history::run(&arguments, settings, printer).await,
        Action::Lint(arguments) => lint::run(arguments, settings, printer).await,
    }
}
