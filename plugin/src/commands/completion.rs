//! `kubectl gitops completion`

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::error::{Failure, code};
use crate::printer::Printer;

/// Prints a script that completes commands and flags
///
/// `kubectl` asks a program named kubectl_complete-gitops for what comes after
/// `kubectl gitops`: write the output of `completion kubectl` to a file of that
/// name on your PATH and make it executable.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops completion kubectl > ~/.local/bin/kubectl_complete-gitops && chmod +x ~/.local/bin/kubectl_complete-gitops\n  kubectl-gitops completion zsh > ~/.zfunc/_kubectl-gitops"
)]
pub struct Arguments {
    #[arg(value_enum)]
    shell: Target,
}

/// kubectl calls it with the words so far; the program itself knows the rest, so
/// that the script never gets old.
const KUBECTL_SCRIPT: &str =
    "#!/bin/sh\n# Completes `kubectl gitops`.\nexec kubectl-gitops complete -- \"$@\"";

/// For whom the script is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// `kubectl gitops <TAB>`
    Kubectl,
    Bash,
    Zsh,
    Fish,
    Powershell,
}

pub fn run(arguments: &Arguments, printer: &Printer) -> Result<u8, Failure> {
    let shell = match arguments.shell {
        Target::Kubectl => {
            printer.line(KUBECTL_SCRIPT);
            return Ok(code::YES);
        }
        Target::Bash => Shell::Bash,
        Target::Zsh => Shell::Zsh,
        Target::Fish => Shell::Fish,
        Target::Powershell => Shell::PowerShell,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kubectl-gitops", &mut script);
    printer.line(String::from_utf8_lossy(&script).trim_end());
    Ok(code::YES)
}
