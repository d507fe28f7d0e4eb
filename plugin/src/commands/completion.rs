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
            printer.line(&kubectl_script());
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

/// A program by kubectl's rules (cobra): it gets the words so far, prints one
/// candidate a line, and ends with a directive; 4 means no files.
fn kubectl_script() -> String {
    let command = Cli::command();
    let flags = |command: &clap::Command| {
        let names = command
            .get_arguments()
            .filter(|argument| !argument.is_hide_set())
            .filter_map(|argument| argument.get_long());
        names.map(|name| format!("--{name}")).collect::<Vec<_>>().join(" ")
    };
    let global = flags(&command);
    let visible: Vec<&clap::Command> = command.get_subcommands().filter(|sub| !sub.is_hide_set()).collect();
    let names = visible.iter().map(|sub| sub.get_name()).collect::<Vec<_>>().join(" ");
    let cases: String = visible
        .iter()
        .map(|sub| format!("  {}) flags=\"{} {global}\" ;;\n", sub.get_name(), flags(sub)))
        .collect();
    format!(
        "#!/bin/sh\n# Completes `kubectl gitops`; made by `kubectl gitops completion kubectl`.\nflags=\"{global}\"\ncase \"${{1:-}}\" in\n{cases}esac\n\
for last; do :; done\ncase \"$last\" in\n  -*) printf '%s\\n' $flags | grep -F -- \"$last\" ;;\n  *) if [ $# -le 1 ]; then printf '%s\\n' {names} | grep \"^${{1:-}}\"; fi ;;\nesac\necho :4"
    )
}
