//! The reference of all commands, as Markdown, for `docs/cli.md`.

use std::fmt::Write;

use clap::CommandFactory;

use crate::cli::Cli;
use crate::error::{Failure, code};
use crate::printer::Printer;

pub fn run(printer: &Printer) -> Result<u8, Failure> {
    let mut command = Cli::command().term_width(100);
    command.build();
    let mut text = String::from(
        "# `kubectl gitops`\n\nGenerated from the program itself by `make generate`; do not edit.\n",
    );
    section(&mut command, 2, &mut text);
    printer.line(text.trim_end());
    Ok(code::YES)
}

fn section(command: &mut clap::Command, level: usize, text: &mut String) {
    let name = command.get_bin_name().unwrap_or("kubectl gitops").to_owned();
    let help = command.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = write!(text, "\n{} `{name}`\n\n```\n{}\n```\n", "#".repeat(level), help.join("\n").trim());
    for sub in command.get_subcommands_mut().filter(|sub| !sub.is_hide_set()) {
        section(sub, level + 1, text);
    }
}
