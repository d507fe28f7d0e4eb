//! `kubectl gitops delete`

use clap::Args;
use gitops_cluster::{ClusterError, DeleteOptions};
use gitops_core::names::{ANNOTATION_OWNER, LABEL_APPLICATION};
use gitops_core::plan::Propagation;
use gitops_core::plan::{Action, Step};
use gitops_engine::{Loaded, Survey};
use serde_json::Value;

use crate::applications::{Destination, select};
use crate::cli::Selection;
use crate::error::{Failure, code};
use crate::layout;
use crate::output::{self, Format, ObjectId, ObjectReport, Report};
use crate::printer::{Ink, Printer};
use crate::settings::Settings;

/// What goes takes what is in it along.
const CONTAINERS: [&str; 3] = ["Namespace", "CustomResourceDefinition", "PersistentVolumeClaim"];

/// Deletes an Application's objects from the cluster, in reverse order
///
/// Git is not touched, and neither is what belongs to another Application or to
/// nobody. Namespaces, definitions and claims stay unless --with-contents is
/// given. What a webhook holds to Git has to leave Git first.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops delete web --dry-run\n  kubectl gitops delete web --yes\n  kubectl gitops delete web --orphan"
)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Leave what the objects own, such as a Deployment's Pods
    #[arg(long)]
    orphan: bool,
    /// Delete Namespaces, CustomResourceDefinitions and PersistentVolumeClaims as well, and all that is in them
    #[arg(long)]
    with_contents: bool,
    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let destination = Destination::reach(settings).await?;
    let applications = select(&arguments.selection, settings, Some(&destination.cluster)).await?;
    let (mut reports, mut worst) = (Vec::new(), code::YES);
    for loaded in &applications {
        let revision = arguments.selection.revision.as_deref();
        let (_, survey) = destination.survey(loaded, revision, printer).await?;
        let (going, staying) = sorted(loaded, &survey, arguments.with_contents);
        confirm(loaded, &going, &arguments, printer)?;
        let mut report =
            Report::new("Delete", loaded.application.to_string(), survey.desired.revision.clone());
        let (mut done, mut first) = (0, None);
        for step in going {
            let result = delete(&destination, &survey, step, &arguments).await;
            let told = told(step, result.as_ref().err(), &arguments, printer);
            done += usize::from(result.is_ok());
            report.counts.prune += usize::from(result.is_ok());
            report.counts.failed += usize::from(result.is_err());
            first = first.or(result.err());
            report.objects.push(told);
        }
        for (step, why) in staying {
            if is_text(arguments.output) {
                printer.line(&format!("{} {}: {why}", printer.ink(Ink::Dim, "kept"), step.key));
            }
            report.counts.skipped += 1;
            report.objects.push(object(step, "skipped", Some(why)));
        }
        worst = worst.max(match first {
            Some(_) if done > 0 => code::PARTLY,
            Some(error) => Failure::from(error).code,
            None => code::YES,
        });
        reports.push(report);
    }
    match arguments.output {
        Format::Text | Format::Wide => {}
        Format::Name => reports.iter().flat_map(|report| &report.objects).for_each(|object| {
            printer.line(&format!("{}/{}", object.object.kind.to_lowercase(), object.object.name));
        }),
        format => output::print(&reports, format, printer)?,
    }
    Ok(worst)
}

fn is_text(format: Format) -> bool {
    matches!(format, Format::Text | Format::Wide)
}

/// What goes, the last made first, and what stays and why.
fn sorted<'a>(
    loaded: &Loaded,
    survey: &'a Survey,
    with_contents: bool,
) -> (Vec<&'a Step>, Vec<(&'a Step, String)>) {
    let (mut going, mut staying) = (Vec::new(), Vec::new());
    for step in survey.plan.steps.iter().rev() {
        let Some(live) = survey.live.get(&step.key) else { continue };
        match why_it_stays(loaded, live, &step.key.kind, with_contents) {
            Some(why) => staying.push((step, why)),
            None => going.push(step),
        }
    }
    // What an earlier commit declared is at the plan's end already, in reverse.
    going.sort_by_key(|step| std::cmp::Reverse(gitops_core::plan::order_of(&step.key.kind)));
    (going, staying)
}

fn why_it_stays(loaded: &Loaded, live: &Value, kind: &str, with_contents: bool) -> Option<String> {
    let mark = |field: &str, name: &str| live.get("metadata")?.get(field)?.get(name)?.as_str();
    let owner = mark("annotations", ANNOTATION_OWNER);
    if owner != Some(loaded.application.to_string().as_str())
        || mark("labels", LABEL_APPLICATION) != Some(loaded.application.name.as_str())
    {
        let whose = owner
            .map_or_else(|| "no sync has written it".to_owned(), |owner| format!("it belongs to {owner}"));
        return Some(whose);
    }
    (CONTAINERS.contains(&kind) && !with_contents)
        .then(|| "what is in it would go along (--with-contents)".to_owned())
}

fn confirm(
    loaded: &Loaded,
    going: &[&Step],
    arguments: &Arguments,
    printer: &Printer,
) -> Result<(), Failure> {
    if going.is_empty() || arguments.yes || arguments.dry_run {
        return Ok(());
    }
    going.iter().for_each(|step| printer.talk(&format!("  {}", step.key)));
    let question = format!("Delete {} of {}?", layout::counted(going.len(), "object"), loaded.application);
    if !printer.can_ask() {
        return Err(Failure::usage(format!("{question} Nobody is there to answer"))
            .hint("say --yes, or see with --dry-run what would go"));
    }
    if printer.asks(&question) { Ok(()) } else { Err(Failure::other("nothing was deleted")) }
}

async fn delete(
    destination: &Destination,
    survey: &Survey,
    step: &Step,
    arguments: &Arguments,
) -> Result<(), ClusterError> {
    if arguments.dry_run {
        return Ok(());
    }
    let Some(kind) = destination.discovery.kind(&step.gvk) else { return Ok(()) };
    let uid = survey.live.get(&step.key).and_then(|live| live.pointer("/metadata/uid")?.as_str());
    let propagation = if arguments.orphan { Propagation::Orphan } else { Propagation::Background };
    let options = DeleteOptions { uid: uid.map(str::to_owned), dry_run: false, propagation };
    destination.cluster.delete(kind, &step.key, &options).await
}

fn told(step: &Step, error: Option<&ClusterError>, arguments: &Arguments, printer: &Printer) -> ObjectReport {
    let dry = if arguments.dry_run { " (dry run)" } else { "" };
    if is_text(arguments.output) {
        match error {
            None => printer.line(&format!("{} {}{dry}", printer.ink(Ink::Live, "deleted"), step.key)),
            Some(error) => {
                printer.line(&format!("{} {}: {error}", printer.ink(Ink::Live, "failed"), step.key));
            }
        }
    }
    let outcome = if error.is_none() { "done" } else { "failed" };
    object(step, outcome, error.map(ToString::to_string))
}

fn object(step: &Step, outcome: &'static str, error: Option<String>) -> ObjectReport {
    ObjectReport {
        object: ObjectId::new(&step.gvk, &step.key),
        action: Action::Prune,
        differences: Vec::new(),
        outcome: Some(outcome),
        error,
        health: None,
        hook: None,
        note: String::new(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_its_own_goes() {
        let loaded = gitops_engine::load::from_flags(
            "web",
            "shop",
            "https://git.example/shop.git".parse().unwrap(),
            "main",
            "app",
            gitops_source::Credentials::Usual,
        );
        let live = |owner: &str, name: &str| json!({"metadata": {"labels": {"kubectl-gitops.dev/application": name}, "annotations": {"kubectl-gitops.dev/owner": owner}}});
        let why = |live: &Value, kind: &str, all: bool| why_it_stays(&loaded, live, kind, all);
        assert_eq!(why(&live("shop/web", "web"), "Deployment", false), None);
        assert_eq!(why(&live("shop/db", "db"), "Deployment", true), Some("it belongs to shop/db".into()));
        assert_eq!(why(&json!({"metadata": {}}), "Deployment", true), Some("no sync has written it".into()));
        assert!(why(&live("shop/web", "web"), "Namespace", false).is_some());
        assert_eq!(why(&live("shop/web", "web"), "Namespace", true), None);
    }
}
