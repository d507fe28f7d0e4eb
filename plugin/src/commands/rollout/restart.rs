//! `kubectl gitops rollout restart`

use clap::Args;
use gitops_cluster::{ApplyOptions, Cluster, Kind};
use gitops_core::names::OUTPUT_API_VERSION;
use gitops_core::object::ObjectKey;
use serde_json::json;

use super::get::picture;
use crate::error::{Failure, code};
use crate::output::{self, Format, ObjectId};
use crate::printer::Printer;
use crate::reaching::{Reached, reach};
use crate::settings::Settings;

/// Makes all Pods of a Rollout's workloads anew, in the same versions
///
/// As `kubectl rollout restart`: the time of now goes into the Pod template,
/// which the webhook lets pass, and no step is taken for it. It takes the right
/// to patch the workload.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops rollout restart web -n shop\n  kubectl gitops rollout restart web --dry-run"
)]
pub struct Arguments {
    /// The Rollout
    #[arg(value_name = "NAME")]
    rollout: String,
    /// Only ask the API server whether it may be
    #[arg(long)]
    dry_run: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// kubectl's own annotation.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";

pub async fn run(arguments: &Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let Reached { cluster, seen, .. } = reach(settings, &arguments.rollout).await?;
    let discovery = cluster.discovery().await?;
    let kind = picture::kind(&discovery, &seen)?;
    if !gitops_core::rollout::spec::is_workload(&kind.gvk) {
        return Err(Failure::usage(format!("{} has no Pod template to restart", seen.spec.target))
            .hint("change it in Git: a new version starts new Pods"));
    }
    let mut keys = vec![seen.spec.target.clone()];
    if seen.spec.has_second() && cluster.get(&kind, &seen.spec.second()).await?.is_some() {
        keys.push(seen.spec.second());
    }
    let done = if arguments.dry_run { "would be restarted" } else { "restarted" };
    let mut objects = Vec::new();
    for key in keys {
        restart(&cluster, &kind, &key, arguments.dry_run).await?;
        let object = ObjectId::new(&kind.gvk, &key);
        match arguments.output {
            Format::Text | Format::Wide => printer.line(&format!("{key} {done}")),
            Format::Name => printer.line(&object.short()),
            Format::Json | Format::Yaml | Format::Jsonl => objects.push(object),
        }
    }
    match arguments.output {
        Format::Text | Format::Wide | Format::Name => {}
        format => {
            let dry_run = arguments.dry_run;
            let told = json!({"apiVersion": OUTPUT_API_VERSION, "kind": "Restart", "dryRun": dry_run, "objects": objects});
            output::print(&[told], format, printer)?;
        }
    }
    Ok(code::YES)
}

async fn restart(cluster: &Cluster, kind: &Kind, key: &ObjectKey, dry_run: bool) -> Result<(), Failure> {
    let there = cluster.get(kind, key).await?.ok_or_else(|| Failure {
        message: format!("{key} is not there"),
        hint: Some("it is made by a sync: kubectl gitops sync".into()),
        code: code::REFUSED,
    })?;
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut patch = Vec::new();
    for (pointer, path) in [
        ("/spec/template/metadata", "/spec/template/metadata"),
        ("/spec/template/metadata/annotations", "/spec/template/metadata/annotations"),
    ] {
        if there.pointer(pointer).is_none_or(serde_json::Value::is_null) {
            patch.push(json!({"op": "add", "path": path, "value": {}}));
        }
    }
    let path = format!("/spec/template/metadata/annotations/{}", RESTARTED.replace('/', "~1"));
    patch.push(json!({"op": "add", "path": path, "value": now}));
    let options = ApplyOptions { dry_run, ..ApplyOptions::default() };
    cluster.patch(kind, key, &patch.into(), &options).await?;
    Ok(())
}
