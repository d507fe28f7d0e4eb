//! `kubectl gitops render`

mod branch;

use clap::Args;
use futures::TryStreamExt;
use gitops_core::compare::{MASK, mask_all};
use gitops_core::desired::DesiredObject;
use gitops_core::plan::order_of;
use gitops_engine::desired::whole_trees;
use serde_json::Value;

use crate::applications::{declared, is_local, select};
use crate::beside::beside;
use crate::cli::Selection;
use crate::error::{Failure, code};
use crate::output::{self, Format};
use crate::place::Place;
use crate::printer::Printer;
use crate::settings::Settings;

/// Prints what Git says: the objects, as they would be applied
///
/// Needs no cluster: without one, kinds that are not Kubernetes' own count as
/// namespaced. Values of Secrets, and what SOPS has encrypted, are masked.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops render\n  kubectl gitops render web --origin\n  kubectl gitops render --repo . --path apps/web -o jsonl\n  kubectl gitops render --to-branch rendered --push"
)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Write each object's file and line above it
    #[arg(long)]
    origin: bool,
    /// Ask the cluster for its kinds and version
    #[arg(long)]
    live: bool,
    /// Kubernetes' version, for charts that ask for it
    #[arg(long, value_name = "VERSION", default_value = "", conflicts_with = "live")]
    kube_version: String,
    /// Commit the objects to this branch of the repository, one file each, instead of printing them
    #[arg(long, value_name = "BRANCH", conflicts_with_all = ["origin", "output"])]
    to_branch: Option<String>,
    /// Push that branch to origin
    #[arg(long, requires = "to_branch")]
    push: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value = "yaml")]
    output: Format,
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let revision = arguments.selection.revision.as_deref();
    let place = if arguments.live {
        Place::reach(settings).await?
    } else {
        Place::nowhere(settings, &arguments.kube_version)
    };
    let named = !arguments.selection.names.is_empty() && !is_local(&arguments.selection, settings);
    let cluster = match place.cluster() {
        Some(cluster) => Some(cluster.clone()),
        None if named => Some(settings.cluster().await?),
        None => None,
    };
    let mut rendered = Vec::new();
    let applications = select(&arguments.selection, settings, cluster.as_ref()).await?;
    let mut sets = beside(applications, |loaded| {
        let (place, revision) = (place.clone(), revision.map(str::to_owned));
        async move {
            let environment = place.environment();
            let (commit, set) = declared(&loaded, environment, revision.as_deref(), &place).await?;
            let notes = whole_trees(&loaded, environment, &commit.id).await?;
            Ok((loaded, commit, set, notes))
        }
    });
    while let Some((loaded, commit, set, notes)) = sets.try_next().await? {
        notes.iter().for_each(|note| printer.talk(&format!("{}: {note}", loaded.application.name)));
        let mut sorted: Vec<DesiredObject> = set.objects.into_values().collect();
        sorted.sort_by(|a, b| {
            order_of(&a.key.kind).cmp(&order_of(&b.key.kind)).then_with(|| a.key.cmp(&b.key))
        });
        rendered.push(branch::Rendered {
            application: loaded.application.name.clone(),
            revision: commit.id,
            objects: sorted,
        });
    }
    if let Some(name) = &arguments.to_branch {
        return branch::run(name, arguments.push, &rendered, settings, printer);
    }
    let objects: Vec<DesiredObject> = rendered.into_iter().flat_map(|one| one.objects).collect();
    // What is kept of earlier renders is not read where names are enough.
    let values = || objects.iter().map(masked);
    match arguments.output {
        Format::Name => objects.iter().for_each(|object| {
            printer.line(&format!("{}/{}", object.key.kind.to_lowercase(), object.key.name))
        }),
        Format::Json | Format::Jsonl => {
            output::print(&values().collect::<Vec<Value>>(), arguments.output, printer)?;
        }
        Format::Yaml | Format::Text | Format::Wide => {
            for (object, value) in objects.iter().zip(values()) {
                printer.line("---");
                if arguments.origin {
                    printer.line(&format!("# {}", object.origin));
                }
                printer.line(output::yaml(&value)?.trim_end());
            }
        }
    }
    Ok(code::YES)
}

fn masked(object: &DesiredObject) -> Value {
    let mut value = (*object.value).clone();
    mask_all(&mut value, &object.origin.confidential);
    if object.gvk.is_secret()
        && let Some(data) = value.get_mut("data").and_then(Value::as_object_mut)
    {
        data.values_mut().for_each(|value| *value = MASK.into());
    }
    value
}
