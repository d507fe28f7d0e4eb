//! `kubectl gitops rollout`

mod lint;

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
    Lint(lint::Arguments),
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    match arguments.action {
        Action::Lint(arguments) => lint::run(arguments, settings, printer).await,
    }
}
