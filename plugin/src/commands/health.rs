//! `kubectl gitops health`

use std::path::{Path, PathBuf};

use clap::Args;
use gitops_api::application::HealthRule;
use gitops_core::health::{Health, HealthReport};
use gitops_core::names::OUTPUT_API_VERSION;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_engine::Rules;
use gitops_source::yaml;
use serde::Serialize;
use serde_json::Value;

use crate::error::{Failure, code};
use crate::layout;
use crate::output::{self, Format, ObjectId};
use crate::printer::Printer;

/// Judges the health of objects from a file
///
/// Needs no cluster: so that rules can be tried. Exit code 0: all are healthy;
/// 1: one is not.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl get deployment web -o yaml | kubectl gitops health -f -\n  kubectl gitops health -f db.yaml --rules gitops.yaml -o json"
)]
pub struct Arguments {
    /// Objects as the cluster has them, YAML or JSON, several documents and Lists too; - for stdin
    #[arg(short, long, required = true, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Rules in CEL: an Application with spec.health, or a list of {group, kind, cel}
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// A verdict on an object.
#[derive(Clone, Debug, Serialize)]
pub struct Item {
    pub object: ObjectId,
    #[serde(flatten)]
    pub report: HealthReport,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    api_version: &'static str,
    kind: &'static str,
    items: Vec<Item>,
}

pub fn run(arguments: &Arguments, printer: &Printer) -> Result<u8, Failure> {
    let mut rules = Rules::default();
    if let Some(file) = &arguments.rules {
        rules.extend(rules_of(file)?);
    }
    let mut items = Vec::new();
    for file in &arguments.file {
        let (shown, text) = output::read(file)?;
        for document in yaml::documents(&shown, &text).map_err(bad_file)? {
            let at = format!("{shown}:{}", document.line);
            judge(document.value, &at, &rules, &mut items)?;
        }
    }
    if items.is_empty() {
        return Err(
            Failure::usage("there is no object to judge").hint("pipe one in: kubectl get ... -o yaml")
        );
    }
    let healthy = items.iter().all(|item| item.report.health == Health::Healthy);
    match arguments.output {
        Format::Text | Format::Wide => {
            text(&items, arguments.output == Format::Wide, printer).iter().for_each(|line| printer.line(line))
        }
        Format::Name => items.iter().filter(|item| item.report.health != Health::Healthy).for_each(|item| {
            printer.line(&item.object.short());
        }),
        Format::Jsonl => output::print(&items, arguments.output, printer)?,
        format => output::print(
            &[Report { api_version: OUTPUT_API_VERSION, kind: "Health", items }],
            format,
            printer,
        )?,
    }
    Ok(if healthy { code::YES } else { code::NO })
}

fn bad_file(error: gitops_source::SourceError) -> Failure {
    Failure::usage(error.to_string()).hint("mend the file, and try again")
}

/// An object, or each of a List.
fn judge(mut object: Value, at: &str, rules: &Rules, items: &mut Vec<Item>) -> Result<(), Failure> {
    let is_list = object.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
    if is_list && let Some(Value::Array(list)) = object.get_mut("items").map(Value::take) {
        let kind = object
            .get("kind")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .trim_end_matches("List")
            .to_owned();
        for mut item in list {
            // Items of a typed list do not repeat its kind.
            if let Some(map) =
                item.as_object_mut().filter(|map| !map.contains_key("kind") && !kind.is_empty())
            {
                map.insert("kind".into(), kind.clone().into());
                map.insert("apiVersion".into(), object["apiVersion"].clone());
            }
            judge(item, at, rules, items)?;
        }
        return Ok(());
    }
    let unclear = |error: gitops_core::object::IdentityError| {
        Failure::usage(format!("{at}: {error}")).hint("an object has apiVersion, kind and metadata.name")
    };
    let (gvk, key) = (Gvk::of(&object).map_err(unclear)?, ObjectKey::of(&object).map_err(unclear)?);
    items.push(Item { object: ObjectId::new(&gvk, &key), report: rules.health(&object) });
    Ok(())
}

fn rules_of(file: &Path) -> Result<Rules, Failure> {
    let (shown, text) = output::read(file)?;
    let mut rules = Rules::default();
    for document in yaml::documents(&shown, &text).map_err(bad_file)? {
        let at = format!("{shown}:{}", document.line);
        let (place, list) = match document.value {
            Value::Array(list) => ("rules", Value::Array(list)),
            other => {
                ("spec.health", other.pointer("/spec/health").cloned().unwrap_or(Value::Array(Vec::new())))
            }
        };
        let bad = |error: serde_json::Error| {
            Failure::usage(format!("{at}: {place}: {error}")).hint("a rule has group, kind and cel")
        };
        let parsed: Vec<HealthRule> = serde_json::from_value(list).map_err(bad)?;
        rules.extend(Rules::compile(&at, place, &parsed)?);
    }
    Ok(rules)
}

/// Whether anything is wrong comes first; sentences of healthy ones are for
/// those who ask.
fn text(items: &[Item], wide: bool, printer: &Printer) -> Vec<String> {
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            let report = &item.report;
            let mut row = vec![layout::object(&item.object), report.health.name().to_owned()];
            if wide {
                row.push(report.reason.clone());
            }
            row.push(report.message.clone());
            row
        })
        .collect();
    let header: &[&str] =
        if wide { &["OBJECT", "HEALTH", "REASON", "WHY"] } else { &["OBJECT", "HEALTH", "WHY"] };
    layout::columns(header, &rows, printer)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::ColorChoice;

    fn items(object: Value) -> Result<Vec<Item>, Failure> {
        let mut items = Vec::new();
        judge(object, "f:1", &Rules::default(), &mut items)?;
        Ok(items)
    }

    #[test]
    fn lists_are_judged_item_by_item() {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}},
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": [{"name": "a", "image": "x:1"}]},
                "status": {"phase": "Pending", "containerStatuses": [{"name": "a", "state": {"waiting": {"reason": "ErrImagePull", "message": "x:1: not found"}}}]}}]});
        let items = items(list).unwrap();
        let printer = Printer::new(ColorChoice::Never);
        insta::assert_snapshot!(text(&items, false, &printer.wide(100)).join("\n"), @"
        OBJECT         HEALTH    WHY
        ConfigMap n/c  Healthy   it is there
        Pod n/p        Degraded  container a cannot get its image x:1: not found
        ");
        insta::assert_snapshot!(text(&items, true, &printer.wide(60)).join("\n"), @"
        OBJECT         HEALTH    REASON
        ConfigMap n/c  Healthy
            it is there
        Pod n/p        Degraded  ErrImagePull
            container a cannot get its image x:1: not found
        ");
    }

    #[test]
    fn typed_lists_name_their_kind_once() {
        let items = items(json!({"apiVersion": "apps/v1", "kind": "DeploymentList", "items": [{"metadata": {"name": "d"}}]})).unwrap();
        assert_eq!(
            (items[0].object.kind.as_str(), items[0].report.reason.as_str()),
            ("Deployment", "NotObserved")
        );
    }

    #[test]
    fn what_is_no_object_is_named() {
        let failure = items(json!({"kind": "Pod"})).unwrap_err();
        assert_eq!(
            (failure.code, failure.message.as_str()),
            (2, "f:1: apiVersion is missing or not a string")
        );
    }
}
