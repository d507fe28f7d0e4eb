//! The manual's pages, one a command.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};

use crate::cli::Cli;
use crate::error::{Failure, code};
use crate::printer::Printer;

/// Writes manual pages into a folder
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops man-pages ~/.local/share/man/man1\n  man kubectl-gitops-sync"
)]
pub struct Arguments {
    /// Such as ~/.local/share/man/man1
    folder: PathBuf,
}

pub fn run(arguments: &Arguments, printer: &Printer) -> Result<u8, Failure> {
    std::fs::create_dir_all(&arguments.folder).map_err(|error| failed(&arguments.folder, &error))?;
    let mut command = Cli::command();
    command.build();
    pages(&command, "kubectl-gitops", &arguments.folder, printer)?;
    Ok(code::YES)
}

fn pages(command: &clap::Command, name: &str, folder: &Path, printer: &Printer) -> Result<(), Failure> {
    let path = folder.join(format!("{name}.1"));
    let page = command.clone().name(name.to_owned()).display_name(name.to_owned());
    let mut text = Vec::new();
    clap_mangen::Man::new(page)
        .render(&mut text)
        .and_then(|()| std::fs::write(&path, &text))
        .map_err(|error| failed(&path, &error))?;
    printer.line(&path.display().to_string());
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        pages(sub, &format!("{name}-{}", sub.get_name()), folder, printer)?;
    }
    Ok(())
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("{}: {error}", path.display())).hint("name a folder that you may write to")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::cli::ColorChoice;

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        run(&Arguments { folder: folder.path().to_owned() }, &Printer::new(ColorChoice::Never)).unwrap();
        for (name, part) in [
            ("kubectl-gitops", "Exit codes: 0 yes"),
            ("kubectl-gitops-sync", "confirm\\-prune"),
            ("kubectl-gitops-health", "Exit code 0"),
            ("kubectl-gitops-rollout-promote", ".SH NAME\nkubectl\\-gitops\\-rollout\\-promote"),
        ] {
            let text = std::fs::read_to_string(folder.path().join(format!("{name}.1"))).unwrap();
            assert!(text.contains(".SH OPTIONS") && text.contains(part), "{name}: {text}");
        }
    }
}
