//! `kubectl gitops app set`

use clap::Args;
use serde_json::json;

use super::create::{DryRunBy, How};
use super::flags::SpecFlags;
use crate::asking;
use crate::error::Failure;
use crate::printer::Printer;
use crate::settings::Settings;

/// Changes an Application of the cluster in what is typed
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops app set web -n shop --revision v2\n  kubectl gitops app set web -n shop --sync automatic --prune\n  kubectl gitops app set web -n shop --self-heal=false --dry-run -o yaml"
)]
pub struct Arguments {
    #[arg(value_name = "NAME")]
    called: String,
    #[command(flatten)]
    spec: SpecFlags,
    #[command(flatten)]
    how: How,
}

pub async fn run(arguments: &Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let cluster = settings.cluster().await?;
    let reference = super::reference(&arguments.called, settings, &cluster);
    let mut live = super::there(&cluster, &reference).await?;
    super::not_in_git(&live)?;
    let before = live.spec.clone();
    arguments.spec.apply(&mut live.spec)?;
    live.metadata.managed_fields = None;
    if live.spec == before {
        return arguments.how.show(&json!(live), "unchanged", printer);
    }
    if arguments.how.dry_run == Some(DryRunBy::Client) {
        return arguments.how.show(&json!(live), "changed", printer);
    }
    let (kind, key) = (asking::kind(), asking::key(&reference));
    let written = cluster.replace(&kind, &key, &json!(live), &arguments.how.options()).await?;
    arguments.how.show(&written, "changed", printer)
}
