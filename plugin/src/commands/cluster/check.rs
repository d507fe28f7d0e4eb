//! `kubectl gitops cluster check`

use clap::Args;

use super::{Registry, applications_to, entry};
use crate::applications::Destination;
use crate::checks::{Check, Finding, installed, other};
use crate::commands::check::Shown;
use crate::error::{Failure, code};
use crate::output::Format;
use crate::printer::Printer;
use crate::settings::Settings;

/// Checks a cluster that the hub knows, by the hub's own credentials, and says how to mend what fails
///
/// Whether it answers, how its version and its clock stand to the hub's, what
/// the hub may do there, what is installed there, and whether its Projects take
/// the Applications that go there. Exit code 0: all is well; 1: something has to
/// be mended (warnings do not count).
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops cluster check east\n  kubectl gitops cluster check east -o json"
)]
pub struct Arguments {
    #[arg(value_name = "NAME")]
    called: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    registry: Registry,
}

pub async fn run(arguments: &Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let hub = Destination::reach(settings).await?;
    let entry = entry(&hub.cluster, &arguments.registry, &arguments.called).await?;
    let mut shown = Shown::new(arguments.output, printer);
    let add = format!("kubectl gitops cluster add CONTEXT --name {}", entry.name);
    let registered = match &entry.read {
        Ok(registered) => {
            let words = format!("{} by {}", registered.server, registered.credentials);
            shown.add(vec![Check::new("registration", "its Secret can be read", Finding::passed(words))]);
            registered
        }
        Err(why) => {
            shown.add(vec![Check::new("registration", "its Secret can be read", Finding::failed(why, add))]);
            return shown.end();
        }
    };
    let reached = async {
        let cluster = settings.registered(registered).await?;
        hub.with(&entry.name, cluster).await
    };
    let there = match reached.await {
        Ok(there) => there,
        Err(failure) => {
            let finding = Finding::failed(&failure.message, other::remedy(failure.code, &add));
            shown.add(vec![Check::new("cluster", "it answers, and takes the credentials", finding)]);
            return shown.end();
        }
    };
    shown.add(vec![Check::new(
        "cluster",
        "it answers, and takes the credentials",
        Finding::passed(there.environment.kube_version.clone()),
    )]);
    shown.add(other::beside(&hub, &there).await);
    let applications = applications_to(&hub.cluster, &entry.name).await?;
    shown.add(other::rights(&there, &applications, &add).await);
    shown.add(installed(&there).await);
    shown.add(other::same_programs(&hub, &there).await);
    shown.add(other::projects(&there, &applications).await);
    shown.end()
}

impl Shown<'_> {
    fn end(self) -> Result<u8, Failure> {
        let ok = self.is_ok();
        self.finish(ok)?;
        Ok(if ok { code::YES } else { code::NO })
    }
}
