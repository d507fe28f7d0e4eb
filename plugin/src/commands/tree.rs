//! `kubectl gitops tree`

use std::time::Duration;

use clap::Args;
use futures::TryStreamExt;
use gitops_core::health::{Health, HealthReport};
use gitops_core::names::OUTPUT_API_VERSION;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::plan::Action;
use gitops_engine::{Kin, Loaded, Reach, Rules, Survey};
use serde::Serialize;
use serde_json::Value;

use super::status::sync_word;
use crate::applications::{Destination, Seen, select};
use crate::cli::Selection;
use crate::error::{Failure, code};
use crate::layout;
use crate::output::{self, Format, ObjectId};
use crate::printer::{Ink, Printer};
use crate::rollouts;
use crate::settings::Settings;

/// How often the picture is drawn again.
const REDRAWN: Duration = Duration::from_secs(2);
/// Owners may form a circle.
const DEPTH: usize = 10;

/// Shows an Application's objects, what they own, and how all of it is
///
/// Exit code 0: all is healthy; 1: not.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops tree\n  kubectl gitops tree web -w\n  kubectl gitops tree web -o json"
)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Draw it again every two seconds
    #[arg(short, long)]
    watch: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// An object and what it owns.
#[derive(Clone, Debug, Serialize)]
struct Node {
    object: ObjectId,
    /// Of what Git declares.
    #[serde(skip_serializing_if = "Option::is_none")]
    sync: Option<&'static str>,
    #[serde(flatten)]
    report: HealthReport,
    children: Vec<Node>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tree {
    api_version: &'static str,
    kind: &'static str,
    application: String,
    revision: String,
    health: Health,
    objects: Vec<Node>,
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let destination = Destination::reach(settings).await?;
    let applications = select(&arguments.selection, settings, Some(&destination.cluster)).await?;
    loop {
        let mut trees = Vec::new();
        let revision = arguments.selection.revision.as_deref();
        let mut surveys = destination.surveys(&applications, revision, printer);
        while let Some(Seen { there, loaded, survey, .. }) = surveys.try_next().await? {
            let kin = there.kin(&survey, Reach::All, printer).await;
            trees.push(tree(&loaded, &survey, &kin)?);
        }
        show(&trees, &arguments, printer)?;
        if !arguments.watch {
            let fine = trees.iter().all(|tree| tree.health == Health::Healthy);
            return Ok(if fine { code::YES } else { code::NO });
        }
        tokio::select! {
            () = tokio::time::sleep(REDRAWN) => {}
            _ = tokio::signal::ctrl_c() => return Ok(code::INTERRUPTED),
        }
        destination.look_again();
    }
}

fn tree(loaded: &Loaded, survey: &Survey, kin: &Kin) -> Result<Tree, Failure> {
    let rules = Rules::of(loaded)?;
    let rollouts = rollouts::under_way(&survey.rollouts);
    let objects: Vec<Node> = (survey.plan.steps.iter())
        .map(|step| {
            let id = ObjectId::new(&step.gvk, &step.key);
            let sync = Some(sync_word(step.action));
            match survey.live.get(&step.key) {
                Some(live) => {
                    let mut node = Node { sync, ..node(id, live, kin, &rules, DEPTH) };
                    let seen = rollouts.iter().find(|seen| seen.key() == step.key);
                    if let Some(seen) = seen {
                        let command = seen.command().map(|command| format!("; {command}"));
                        node.report.message = format!("{}{}", seen.words(), command.unwrap_or_default());
                    }
                    node
                }
                None if step.action == Action::Unchanged => {
                    Node { object: id, sync, report: HealthReport::expired(), children: Vec::new() }
                }
                None => Node { object: id, sync, report: HealthReport::missing(), children: Vec::new() },
            }
        })
        .collect();
    let worst = survey
        .plan
        .steps
        .iter()
        .filter(|step| step.action != Action::Prune)
        .map(|step| match survey.live.get(&step.key) {
            Some(live) => kin.health(live, &rules).health,
            None if step.action == Action::Unchanged => Health::Healthy,
            None => Health::Missing,
        })
        .max_by_key(|health| health.rank());
    Ok(Tree {
        api_version: OUTPUT_API_VERSION,
        kind: "Tree",
        application: loaded.application.to_string(),
        revision: survey.desired.revision.clone(),
        health: worst.unwrap_or(Health::Healthy),
        objects,
    })
}

fn node(object: ObjectId, live: &Value, kin: &Kin, rules: &Rules, depth: usize) -> Node {
    let children = if depth == 0 { &[] } else { kin.children(live) };
    let children = children
        .iter()
        .filter_map(|child| {
            let id = ObjectId::new(&Gvk::of(child).ok()?, &ObjectKey::of(child).ok()?);
            Some(node(id, child, kin, rules, depth - 1))
        })
        .collect();
    Node { object, sync: None, report: kin.own_health(live, rules), children }
}

fn show(trees: &[Tree], arguments: &Arguments, printer: &Printer) -> Result<(), Failure> {
    match arguments.output {
        Format::Text | Format::Wide => {
            let wide = arguments.output == Format::Wide;
            let lines: Vec<String> = trees.iter().flat_map(|tree| text(tree, wide, printer)).collect();
            if arguments.watch {
                printer.page(&lines);
            } else {
                lines.iter().for_each(|line| printer.line(line));
            }
            Ok(())
        }
        Format::Name => {
            trees.iter().flat_map(|tree| &tree.objects).for_each(|node| names(node, printer));
            Ok(())
        }
        format => output::print(trees, format, printer),
    }
}

fn names(node: &Node, printer: &Printer) {
    printer.line(&node.object.short());
    node.children.iter().for_each(|child| names(child, printer));
}

fn text(tree: &Tree, wide: bool, printer: &Printer) -> Vec<String> {
    let revision: String = tree.revision.chars().take(12).collect();
    let name = format!("Application {}", tree.application);
    let mut lines = layout::titled(("", "  "), &format!("{name} at {revision}"), (tree.health, ""), printer);
    if let Some(line) = lines.first_mut() {
        *line = line.replacen(&name, &printer.ink(Ink::Bold, &name), 1);
    }
    branches(&tree.objects, "", wide, printer, &mut lines);
    lines
}

fn branches(nodes: &[Node], before: &str, wide: bool, printer: &Printer, lines: &mut Vec<String>) {
    for (index, node) in nodes.iter().enumerate() {
        let last = index + 1 == nodes.len();
        let (branch, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let name = if node.sync.is_some() {
            layout::object(&node.object)
        } else {
            format!("{} {}", node.object.kind, node.object.name)
        };
        let sync = node.sync.filter(|sync| *sync != "Synced").unwrap_or_default();
        let inner = format!("{before}{below}");
        let rail = format!("{inner}{}", if node.children.is_empty() { "   " } else { "│  " });
        let first = format!("{before}{branch}");
        lines.extend(layout::titled((&first, &rail), &name, (node.report.health, sync), printer));
        if node.report.health != Health::Healthy || wide {
            lines.extend(layout::wrapped(&node.report.message, &rail, printer.width()));
        }
        branches(&node.children, &inner, wide, printer, lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ColorChoice;

    fn leaf(kind: &str, name: &str, report: HealthReport, children: Vec<Node>) -> Node {
        let key = ObjectKey {
            group: String::new(),
            kind: kind.into(),
            namespace: "shop".into(),
            name: name.into(),
        };
        Node { object: ObjectId::new(&Gvk::new("v1", kind), &key), sync: None, report, children }
    }

    #[test]
    fn a_tree_tells_where_it_hurts() {
        let fine = || HealthReport::new(Health::Healthy, "", "it is there");
        let bad = |words: &str| HealthReport::new(Health::Degraded, "X", words);
        let pod = leaf(
            "Pod",
            "web-1-a",
            bad("container web cannot get its image reg.example/shop/web:2026-11-24: not found"),
            Vec::new(),
        );
        let set = leaf("ReplicaSet", "web-1", bad("0 of 1 replicas are ready"), vec![pod]);
        let mut web = leaf("Deployment", "web", bad("0 of 1 replicas are available"), vec![set]);
        web.sync = Some("OutOfSync");
        let mut config = leaf("ConfigMap", "web", fine(), Vec::new());
        config.sync = Some("Synced");
        let tree = Tree {
            api_version: OUTPUT_API_VERSION,
            kind: "Tree",
            application: "shop/web".into(),
            revision: "0123456789abcdef".into(),
            health: Health::Degraded,
            objects: vec![web, config],
        };
        let printer = Printer::new(ColorChoice::Never);
        insta::assert_snapshot!(text(&tree, false, &printer.wide(60)).join("\n"), @"
        Application shop/web at 0123456789ab  Degraded
        ├─ Deployment shop/web  Degraded  OutOfSync
        │  │  0 of 1 replicas are available
        │  └─ ReplicaSet web-1  Degraded
        │     │  0 of 1 replicas are ready
        │     └─ Pod web-1-a  Degraded
        │           container web cannot get its image
        │           reg.example/shop/web:2026-11-24: not found
        └─ ConfigMap shop/web  Healthy
        ");
        assert!(text(&tree, true, &printer.wide(60)).iter().all(|line| line.chars().count() <= 60));
        insta::assert_snapshot!(text(&tree, false, &printer.wide(40)).join("\n"), @"
        Application shop/web at 0123456789ab
          Degraded
        ├─ Deployment shop/web
        │  │  Degraded  OutOfSync
        │  │  0 of 1 replicas are available
        │  └─ ReplicaSet web-1  Degraded
        │     │  0 of 1 replicas are ready
        │     └─ Pod web-1-a  Degraded
        │           container web cannot get its
        │           image
        │           reg.example/shop/web:2026-11-24:
        │           not found
        └─ ConfigMap shop/web  Healthy
        ");
    }
}
