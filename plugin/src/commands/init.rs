//! `kubectl gitops init`

mod disk;
mod from;

use std::path::{Path, PathBuf};

use clap::Args;
use gitops_engine::load::FILE;
use gitops_source::git;
use serde_json::{Value, json};

use crate::error::{Failure, code};
use crate::output::{self, Format};
use crate::printer::Printer;
use crate::settings::Settings;

/// Writes a gitops.yaml that describes an Application of this repository
///
/// Stand in the folder that holds the manifests, the kustomization or the
/// chart. A file that is there is never overwritten.
///
/// With --from, it describes what Argo CD's Applications and Flux's
/// Kustomizations and HelmReleases deploy. What of these cannot be said is told,
/// each with its file and line; exit code 1: something else would be deployed
/// because of it; 0: the same is, at most in another way.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops init\n  kubectl gitops init web -n shop\n  kubectl gitops init --dry-run\n  kubectl gitops init --from argocd/apps --dry-run\n  kubectl gitops init --from clusters/production --from apps\n  kubectl get applications.argoproj.io -A -o yaml | kubectl gitops init --from -"
)]
pub struct Arguments {
    /// The Application's name; else the folder's
    name: Option<String>,
    /// A file or folder with resources of Argo CD or Flux to describe as Applications; - for stdin; may be repeated
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "name")]
    from: Vec<PathBuf>,
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
    if !arguments.from.is_empty() {
        let taken = from::run(&arguments.from, &root, settings, printer)?;
        finish(arguments, &taken.text, &taken.applications, (settings, &root), printer)?;
        return Ok(from::code(taken.is_all));
    }
    let application = described(arguments, &inside, settings)?;
    let text = output::yaml(&application)?;
    finish(arguments, &text, std::slice::from_ref(&application), (settings, &root), printer)?;
    Ok(code::YES)
}

/// The Application of the folder that one stands in.
fn described(arguments: &Arguments, inside: &Path, settings: &Settings) -> Result<Value, Failure> {
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
    Ok(json!({
        "apiVersion": gitops_core::names::API_VERSION,
        "kind": "Application",
        "metadata": {"name": name},
        "spec": {
            "source": {"path": path},
            "destination": {"namespace": settings.namespace.clone().unwrap_or_else(|| name.clone())},
        },
    }))
}

/// Writes the file, or prints it, or both.
fn finish(
    arguments: &Arguments,
    text: &str,
    applications: &[Value],
    (settings, root): (&Settings, &Path),
    printer: &Printer,
) -> Result<(), Failure> {
    let tell = |words: &str| match arguments.output {
        Format::Text | Format::Wide => {
            words.lines().for_each(|line| printer.line(line));
            Ok(())
        }
        Format::Name => {
            for application in applications {
                let name = application["metadata"]["name"].as_str().unwrap_or_default();
                printer.line(&format!("application/{name}"));
            }
            Ok(())
        }
        format => output::print(applications, format, printer),
    };
    if arguments.dry_run {
        return tell(text);
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
    if arguments.output.is_text() { Ok(()) } else { tell("") }
}
