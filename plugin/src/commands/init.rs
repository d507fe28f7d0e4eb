//! `kubectl gitops init`

use clap::Args;
use gitops_engine::load::FILE;
use gitops_source::git;
use serde_json::json;

use crate::error::{Failure, code};
use crate::output::{self, Format};
use crate::printer::Printer;
use crate::settings::Settings;

/// Writes a gitops.yaml that describes an Application of this repository
///
/// Stand in the folder that holds the manifests, the kustomization or the
/// chart. A file that is there is never overwritten.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops init\n  kubectl gitops init web -n shop\n  kubectl gitops init --dry-run"
)]
pub struct Arguments {
    /// The Application's name; else the folder's
    name: Option<String>,
    /// Print the file instead of writing it
    #[arg(long)]
    dry_run: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub fn run(arguments: &Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let (root, inside) = git::enclosing(&settings.folder).ok_or_else(|| {
        Failure::git(format!("{} is not in a Git repository", settings.folder.display()))
            .hint("git init, then commit your manifests")
    })?;
    let folder = settings.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = arguments.name.clone().unwrap_or_else(|| {
        folder.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-").trim_matches('-').to_owned()
    });
    let valid = !name.is_empty()
        && name.len() <= 52
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !valid {
        return Err(Failure::usage(format!("{name:?} is no name for an Application"))
            .hint("name it: kubectl gitops init NAME (lower-case letters, digits and dashes, at most 52)"));
    }
    let path = if inside.as_os_str().is_empty() { ".".to_owned() } else { inside.display().to_string() };
    let application = json!({
        "apiVersion": gitops_core::names::API_VERSION,
        "kind": "Application",
        "metadata": {"name": name},
        "spec": {
            "source": {"path": path},
            "destination": {"namespace": settings.namespace.clone().unwrap_or_else(|| name.clone())},
        },
    });
    let text = output::yaml(&application)?;
    let tell = |words: &str| match arguments.output {
        Format::Text | Format::Wide => {
            words.lines().for_each(|line| printer.line(line));
            Ok(code::YES)
        }
        Format::Name => {
            printer.line(&format!("application/{name}"));
            Ok(code::YES)
        }
        format => output::print(std::slice::from_ref(&application), format, printer).map(|()| code::YES),
    };
    if arguments.dry_run {
        return tell(&text);
    }
    let file = root.join(FILE);
    let target = if settings.folder == root { file } else { settings.folder.join(FILE) };
    if target.exists() {
        return Err(Failure::usage(format!("{} is there already; nothing was written", target.display()))
            .hint("print a fresh one with --dry-run"));
    }
    std::fs::write(&target, text)
        .map_err(|error| Failure::other(format!("{}: {error}", target.display())))?;
    printer.talk(&format!("wrote {}; commit it, then: kubectl gitops diff", target.display()));
    if arguments.output.is_text() { Ok(code::YES) } else { tell("") }
}
