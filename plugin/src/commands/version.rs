//! `kubectl gitops version`

use clap::Args;
use serde::Serialize;

use crate::error::{Failure, code};
use crate::output::{self, Format};
use crate::printer::Printer;
use crate::settings::Settings;

/// Prints the versions of this plugin, of helm and kustomize, and of the server
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kubectl gitops version\n  kubectl gitops version --client -o json")]
pub struct Arguments {
    /// Do not ask the server
    #[arg(long)]
    client: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Serialize)]
struct Versions {
    client: &'static str,
    helm: Option<String>,
    kustomize: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
}

pub async fn run(arguments: &Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let server = if arguments.client { None } else { Some(settings.cluster().await?.version().await?) };
    let versions = Versions {
        client: env!("CARGO_PKG_VERSION"),
        helm: settings.tools.helm_version(None).ok(),
        kustomize: settings.tools.kustomize_version(None).ok(),
        server,
    };
    if !matches!(arguments.output, Format::Text | Format::Wide | Format::Name) {
        output::print(&[versions], arguments.output, printer)?;
        return Ok(code::YES);
    }
    let absent = "not found".to_owned();
    printer.line(&format!("kubectl-gitops {}", versions.client));
    printer.line(&format!("helm           {}", versions.helm.unwrap_or_else(|| absent.clone())));
    printer.line(&format!("kustomize      {}", versions.kustomize.unwrap_or(absent)));
    if let Some(server) = versions.server {
        printer.line(&format!("server         {server}"));
    }
    Ok(code::YES)
}
