//! `kubectl gitops rollout list`

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use gitops_cluster::Cluster;
use gitops_core::desired::AppRef;
use gitops_core::names::OUTPUT_API_VERSION;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::rollout::outlook;
use gitops_core::rollout::state::Phase;
use serde::Serialize;
use serde_json::Value;

use crate::error::{Failure, code};
use crate::layout;
use crate::output::{self, Format};
use crate::printer::Printer;
use crate::rollouts::{self, Seen};
use crate::settings::Settings;

/// Lists Rollouts: how far each is, and what it waits for
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops rollout list -n shop\n  kubectl gitops rollout list -A -o wide\n  kubectl gitops rollout list -A --active"
)]
pub struct Arguments {
    /// Those of all namespaces of the cluster
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only those with a version on its way or aborted
    #[arg(long)]
    active: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// A Rollout in one line.
#[derive(Clone, Debug, Default, Serialize)]
struct Line {
    namespace: String,
    name: String,
    strategy: String,
    phase: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    step: String,
    weight: u8,
    /// Pods of both workloads.
    ready: i64,
    desired: i64,
    target: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    stable: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    new: String,
    /// RFC 3339.
    created: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    api_version: &'static str,
    kind: &'static str,
    items: Vec<Line>,
}

pub async fn run(arguments: &Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let cluster = settings.cluster().await?;
    let namespace = rollouts::namespace(settings, &cluster);
    let all = rollouts::all(&cluster, (!arguments.all_namespaces).then_some(namespace.as_str())).await?;
    let counts = counts(&cluster, &all).await?;
    let now = jiff::Timestamp::now().as_second();
    let shown = all.iter().filter(|(_, seen)| {
        let idle = seen.as_ref().is_ok_and(|seen| seen.state.phase == Phase::Idle);
        !(arguments.active && idle)
    });
    let lines: Vec<Line> =
        shown.map(|(reference, seen)| line(reference, seen.as_ref(), &counts, now)).collect();
    match arguments.output {
        Format::Text | Format::Wide if lines.is_empty() => printer.talk("there are no Rollouts"),
        Format::Text | Format::Wide => {
            let wide = arguments.output == Format::Wide;
            text(&lines, wide, now, printer).iter().for_each(|line| printer.line(line));
        }
        Format::Name => lines.iter().for_each(|line| printer.line(&format!("rollout/{}", line.name))),
        Format::Jsonl => output::print(&lines, arguments.output, printer)?,
        format => {
            let report = Report { api_version: OUTPUT_API_VERSION, kind: "RolloutList", items: lines };
            output::print(&[report], format, printer)?;
        }
    }
    Ok(code::YES)
}

/// Ready and desired Pods of targets and of the workloads beside them. What may
/// not be listed counts none.
async fn counts(
    cluster: &Cluster,
    all: &[(AppRef, Result<Seen, Failure>)],
) -> Result<BTreeMap<ObjectKey, (i64, i64)>, Failure> {
    let mut wanted: BTreeMap<Gvk, BTreeSet<String>> = BTreeMap::new();
    for (reference, seen) in all {
        let Ok(seen) = seen else { continue };
        let target = &seen.rollout.spec.target;
        let gvk = Gvk::new(&target.api_version, &target.kind);
        wanted.entry(gvk).or_default().insert(reference.namespace.clone());
    }
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let (live, _) = cluster.list_allowed(&cluster.discovery().await?, &wanted).await;
    let number = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_i64);
    let count = |object: &Value| {
        (number(object, "/status/readyReplicas").unwrap_or(0), number(object, "/spec/replicas").unwrap_or(1))
    };
    Ok(live.into_iter().map(|(key, object)| (key, count(&object))).collect())
}

fn line(
    reference: &AppRef,
    seen: Result<&Seen, &Failure>,
    counts: &BTreeMap<ObjectKey, (i64, i64)>,
    now: i64,
) -> Line {
    let (namespace, name) = (reference.namespace.clone(), reference.name.clone());
    let seen = match seen {
        Ok(seen) => seen,
        Err(failure) => {
            let phase = "Unknown".to_owned();
            return Line { namespace, name, phase, message: failure.message.clone(), ..Line::default() };
        }
    };
    let (spec, state) = (&seen.spec, &seen.state);
    let of = |key: &ObjectKey| counts.get(key).copied().unwrap_or((0, 0));
    let (target, second) = (of(&spec.target), of(&spec.second()));
    let short = |revision: &str| revision.chars().take(12).collect();
    let created = seen.rollout.metadata.creation_timestamp.as_ref();
    Line {
        namespace,
        name,
        strategy: seen.strategy().into(),
        phase: if seen.is_driven { format!("{:?}", state.phase) } else { "Unknown".into() },
        step: seen.progress(&outlook::stages(spec, state, now)),
        weight: state.setting.weight,
        ready: target.0 + second.0,
        desired: target.1 + second.1,
        target: format!("{} {}", spec.target.kind, spec.target.name),
        stable: state.stable.as_ref().map(|version| short(&version.revision)).unwrap_or_default(),
        new: state.new.as_ref().map(|version| short(&version.revision)).unwrap_or_default(),
        created: created.map(|time| time.0.to_string()).unwrap_or_default(),
        message: if state.phase == Phase::Idle { String::new() } else { outlook::waits(spec, state, now) },
    }
}

/// Columns that narrow terminals have no room for.
const ROOMY: usize = 70;

fn text(lines: &[Line], wide: bool, now: i64, printer: &Printer) -> Vec<String> {
    let roomy = wide || printer.width() >= ROOMY;
    let row = |line: &Line| {
        let created: Option<jiff::Timestamp> = line.created.parse().ok();
        let age = created.map(|time| layout::short_age(now - time.as_second())).unwrap_or_default();
        let mut row = vec![format!("{}/{}", line.namespace, line.name)];
        row.extend(roomy.then(|| line.strategy.clone()));
        row.extend([line.phase.clone(), line.step.clone(), format!("{} %", line.weight)]);
        row.push(format!("{}/{}", line.ready, line.desired));
        row.extend(roomy.then_some(age));
        if wide {
            row.extend([line.target.clone(), line.stable.clone(), line.new.clone()]);
        }
        row.push(line.message.clone());
        row
    };
    let mut header = vec!["ROLLOUT"];
    header.extend(roomy.then_some("STRATEGY"));
    header.extend(["PHASE", "STEP", "WEIGHT", "READY"]);
    header.extend(roomy.then_some("AGE"));
    if wide {
        header.extend(["TARGET", "STABLE", "NEW"]);
    }
    header.push("WHY");
    layout::columns(&header, &lines.iter().map(row).collect::<Vec<_>>(), printer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ColorChoice;

    #[test]
    fn one_line_a_rollout() {
        let line = |name: &str, phase: &str, message: &str| Line {
            namespace: "shop".into(),
            name: name.into(),
            strategy: "canary".into(),
            phase: phase.into(),
            step: if phase == "Idle" { String::new() } else { "2 of 5".into() },
            weight: 20,
            ready: 5,
            desired: 6,
            target: format!("Deployment {name}"),
            stable: "0123456789ab".into(),
            new: String::new(),
            created: "1970-01-01T00:00:00Z".into(),
            message: message.into(),
        };
        let lines = [line("web", "Paused", "it waits until someone promotes it"), line("db", "Idle", "")];
        let printer = Printer::new(ColorChoice::Never);
        insta::assert_snapshot!(text(&lines, false, 300, &printer.wide(110)).join("\n"), @"
        ROLLOUT   STRATEGY  PHASE   STEP    WEIGHT  READY  AGE  WHY
        shop/web  canary    Paused  2 of 5  20 %    5/6    5m   it waits until someone promotes it
        shop/db   canary    Idle            20 %    5/6    5m
        ");
        insta::assert_snapshot!(text(&lines, false, 300, &printer.wide(60)).join("\n"), @"
        ROLLOUT   PHASE   STEP    WEIGHT  READY
        shop/web  Paused  2 of 5  20 %    5/6
            it waits until someone promotes it
        shop/db   Idle            20 %    5/6
        ");
        insta::assert_snapshot!(text(&lines, true, 300, &printer.wide(160)).join("\n"), @"
        ROLLOUT   STRATEGY  PHASE   STEP    WEIGHT  READY  AGE  TARGET          STABLE        NEW  WHY
        shop/web  canary    Paused  2 of 5  20 %    5/6    5m   Deployment web  0123456789ab       it waits until someone promotes it
        shop/db   canary    Idle            20 %    5/6    5m   Deployment db   0123456789ab
        ");
    }
}
