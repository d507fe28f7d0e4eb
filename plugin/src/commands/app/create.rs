//! `kubectl gitops app create`

use clap::{Args, ValueEnum};
use gitops_api::Application;
use gitops_api::application::ApplicationSpec;
use gitops_cluster::{ApplyOptions, ErrorKind};
use serde_json::{Value, json};

use super::flags::SpecFlags;
use crate::asking;
use crate::error::{Failure, code};
use crate::output::{self, Format};
use crate::printer::Printer;
use crate::settings::Settings;

/// Creates an Application in the cluster, or prints it for Git
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops app create web -n shop --repo https://git.example/shop.git --path apps/web --sync automatic\n  kubectl gitops app create web -n shop --repo https://git.example/shop.git --path apps/web --dry-run -o yaml > apps/web.yaml"
)]
pub struct Arguments {
    #[arg(value_name = "NAME")]
    called: String,
    #[command(flatten)]
    spec: SpecFlags,
    #[command(flatten)]
    how: How,
}

/// How an Application is written.
#[derive(Debug, Args)]
pub struct How {
    /// Write nothing: only print it (client), or let the API server judge it (server)
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "client", value_name = "WHO")]
    pub dry_run: Option<DryRunBy>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// Who checks a dry run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DryRunBy {
    Client,
    Server,
}

impl How {
    /// Of a write.
    pub fn options(&self) -> ApplyOptions {
        ApplyOptions { dry_run: self.dry_run == Some(DryRunBy::Server), ..ApplyOptions::default() }
    }

    /// Prints what was written, or would be.
    pub fn show(&self, written: &Value, done: &str, printer: &Printer) -> Result<u8, Failure> {
        let text = |pointer: &str| written.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        match self.output {
            Format::Text | Format::Wide => {
                let dry = if self.dry_run.is_some() { " (dry run)" } else { "" };
                printer.line(&format!("Application {namespace}/{name} {done}{dry}"));
            }
            Format::Name => printer.line(&format!("application/{name}")),
            format => output::print(std::slice::from_ref(written), format, printer)?,
        }
        Ok(code::YES)
    }
}

pub async fn run(arguments: &Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let mut spec = ApplicationSpec { project: "default".into(), ..ApplicationSpec::default() };
    arguments.spec.apply(&mut spec)?;
    if spec.source.as_ref().is_none_or(|source| source.repo.is_none()) {
        return Err(
            Failure::usage("--repo is missing").hint("say where it comes from: --repo URL --path PATH")
        );
    }
    let application = Application::new(&arguments.called, spec);
    let mut object = json!(application);
    if arguments.how.dry_run == Some(DryRunBy::Client) {
        // Without a cluster, too: so that it can be written for Git anywhere.
        if let Some(namespace) = &settings.namespace {
            object["metadata"]["namespace"] = namespace.as_str().into();
        }
        return arguments.how.show(&object, "created", printer);
    }
    let cluster = settings.cluster().await?;
    let reference = super::reference(&arguments.called, settings, &cluster);
    object["metadata"]["namespace"] = reference.namespace.as_str().into();
    let (kind, key) = (asking::kind(), asking::key(&reference));
    let made = cluster.create(&kind, &key, &object, &arguments.how.options()).await;
    let made = made.map_err(|error| match error.kind() {
        ErrorKind::Conflict => Failure::conflict(format!("Application {reference} is there already"))
            .hint(format!("change it: kubectl gitops app set {}", reference.name)),
        _ => error.into(),
    })?;
    arguments.how.show(&made, "created", printer)
}
