//! `kubectl gitops app`

mod create;
mod delete;
mod flags;
mod set;
mod suspend;

use clap::{Args, Subcommand};
use gitops_api::Application;
use gitops_cluster::Cluster;
use gitops_core::desired::AppRef;
use gitops_core::names::{ANNOTATION_ORIGIN, ANNOTATION_OWNER};

use crate::asking;
use crate::error::{Failure, code};
use crate::printer::Printer;
use crate::settings::Settings;

/// Applications of the cluster: creates, changes, deletes, suspends and resumes them
///
/// An Application that Git declares is changed in Git. To write one of the
/// cluster takes the verb `manage` on applications.kubectl-gitops.dev where the
/// webhook is installed.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Create(Box<create::Arguments>),
    Set(Box<set::Arguments>),
    Delete(delete::Arguments),
    Suspend(suspend::Arguments),
    Resume(suspend::ResumeArguments),
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    match arguments.action {
        Action::Create(arguments) => create::run(&arguments, settings, printer).await,
        Action::Set(arguments) => set::run(&arguments, settings, printer).await,
        Action::Delete(arguments) => delete::run(&arguments, settings, printer).await,
        Action::Suspend(arguments) => suspend::suspend(&arguments, settings, printer).await,
        Action::Resume(arguments) => suspend::resume(&arguments, settings, printer).await,
    }
}

/// An Application's name, in the namespace that is meant.
fn reference(name: &str, settings: &Settings, cluster: &Cluster) -> AppRef {
    let namespace = settings.namespace.clone().unwrap_or_else(|| cluster.default_namespace().to_owned());
    AppRef { namespace, name: name.to_owned() }
}

async fn there(cluster: &Cluster, application: &AppRef) -> Result<Application, Failure> {
    asking::find(cluster, application).await?.ok_or_else(|| Failure {
        message: format!("Application {application} is not there"),
        hint: Some("see what there is: kubectl gitops list -A".into()),
        code: code::REFUSED,
    })
}

/// What Git declares changes in Git; the file is named.
fn not_in_git(live: &Application) -> Result<(), Failure> {
    let mark = |name: &str| live.metadata.annotations.as_ref().and_then(|all| all.get(name));
    let Some(owner) = mark(ANNOTATION_OWNER) else { return Ok(()) };
    let place = mark(ANNOTATION_ORIGIN).map_or_else(|| "its file".to_owned(), Clone::clone);
    Err(Failure {
        message: format!(
            "Application {} is declared in Git, at {place}, by Application {owner}",
            gitops_engine::follow::reference(live)
        ),
        hint: Some(format!("change {place}, commit, and push")),
        code: code::REFUSED,
    })
}
