//! A Rollout as people see it. In: a picture. Out: lines for the width of the
//! terminal.

use gitops_core::health::Health;
use gitops_core::rollout::outlook::{Mark, Stage, duration};

use super::picture::{MeasurementView, Picture, PodView, SetView, VersionView, WorkloadView};
use crate::layout;
use crate::printer::{Ink, Printer};

/// From the lowest value to the highest.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Values that a line of bars shows.
const SHOWN: usize = 20;

/// All lines.
pub fn lines(picture: &Picture, wide: bool, printer: &Printer) -> Vec<String> {
    let mut lines = head(picture, printer);
    if !picture.stages.is_empty() && picture.phase != "Idle" {
        lines.push(String::new());
        lines.push(printer.ink(Ink::Dim, "STEPS"));
        lines.extend(picture.stages.iter().enumerate().map(|(at, stage)| self::stage(at, stage, printer)));
    }
    lines.push(String::new());
    lines.push(printer.ink(Ink::Dim, "WORKLOADS"));
    if picture.workloads.is_empty() {
        lines.push("none yet".into());
    }
    for (index, workload) in picture.workloads.iter().enumerate() {
        let last = index + 1 == picture.workloads.len();
        self::workload(workload, last, (picture.now, wide), printer, &mut lines);
    }
    if !picture.measurements.is_empty() {
        lines.push(String::new());
        let rows: Vec<Vec<String>> = picture.measurements.iter().map(measured).collect();
        lines.extend(layout::columns(&["METRIC", "OUTCOME", "VALUES"], &rows, printer));
    }
    lines
}

fn head(picture: &Picture, printer: &Printer) -> Vec<String> {
    let name = format!("Rollout {}/{}", picture.namespace, picture.name);
    let mut lines = vec![printer.ink(Ink::Bold, &name)];
    let mut fact =
        |name: &str, text: &str, ink: Option<Ink>| lines.extend(layout::fact(name, text, ink, printer));
    let step = if picture.step.is_empty() { String::new() } else { format!(", step {}", picture.step) };
    let phase = format!("{}{step}, {} % of the requests to the new version", picture.phase, picture.weight);
    let phase = if matches!(&*picture.phase, "Idle" | "Unknown") { picture.phase.clone() } else { phase };
    fact("phase", &phase, Some(phase_ink(&picture.phase)));
    fact("strategy", picture.strategy, None);
    if let Some(application) = &picture.application {
        fact("of", &format!("Application {application}"), None);
    }
    picture.versions.iter().for_each(|version| fact(&version.track, &self::version(version), None));
    if !picture.message.is_empty() {
        fact("now", &picture.message, None);
    }
    if let Some(next) = &picture.next {
        fact("next", next, None);
    }
    if let Some(asked) = &picture.asked {
        let why = if asked.reason.is_empty() { String::new() } else { format!(": {}", asked.reason) };
        let by = if asked.by.is_empty() { "somebody" } else { &asked.by };
        fact("asked", &format!("{} by {by}, {}{why}", asked.verb, layout::age(asked.at, picture.now)), None);
    }
    if !picture.requests.is_empty() {
        let of = |verb: &&str| format!("kubectl gitops rollout {verb} {}", picture.name);
        let (first, more) = (picture.requests.first().map(of), &picture.requests[1..]);
        let more = if more.is_empty() { String::new() } else { format!("; or {}", more.join(", ")) };
        fact("command", &format!("{}{more}", first.unwrap_or_default()), None);
    }
    lines
}

/// The colour of a phase.
pub fn phase_ink(phase: &str) -> Ink {
    match phase {
        "Idle" => Ink::Git,
        "Aborting" | "Aborted" => Ink::Live,
        _ => Ink::Change,
    }
}

fn version(version: &VersionView) -> String {
    let revision: String = version.revision.chars().take(12).collect();
    let images = version.images.join(", ");
    let images = if images.is_empty() { String::new() } else { format!(", {images}") };
    let pods = format!("{} of {} ready", version.ready, layout::counted(version.pods, "Pod"));
    format!("{revision}, {pods}{images}")
}

fn stage(at: usize, stage: &Stage, printer: &Printer) -> String {
    let left = stage.left.map(|left| format!(" ({} left)", duration(left))).unwrap_or_default();
    let line = |sign: &str| format!("{sign} {:>2} {}{left}", at + 1, stage.what);
    match stage.mark {
        Mark::Done => printer.ink(Ink::Git, &line("✓")),
        Mark::Now => printer.ink(Ink::Bold, &line("▶")),
        Mark::ToCome => printer.ink(Ink::Dim, &line(" ")),
    }
}

fn workload(
    workload: &WorkloadView,
    last: bool,
    (now, wide): (i64, bool),
    printer: &Printer,
    lines: &mut Vec<String>,
) {
    let (branch, below) = branches(last);
    let name = format!("{} {}", workload.object.kind, workload.object.name);
    let health = layout::health(workload.health, printer);
    // Other kinds count no Pods.
    let counts = match &*workload.object.kind {
        "Deployment" | "StatefulSet" => format!("  {} of {} ready", workload.ready, workload.desired),
        _ => String::new(),
    };
    lines.push(format!("{branch}{name}  {health}{counts}"));
    let count = workload.sets.len();
    if workload.health != Health::Healthy {
        let rail = if count == 0 { "   " } else { "│  " };
        lines.extend(layout::wrapped(&workload.message, &format!("{below}{rail}"), printer.width()));
    }
    for (index, set) in workload.sets.iter().enumerate() {
        self::set(set, index + 1 == count, below, (now, wide), printer, lines);
    }
}

fn set(
    set: &SetView,
    last: bool,
    before: &str,
    (now, wide): (i64, bool),
    printer: &Printer,
    lines: &mut Vec<String>,
) {
    let (branch, below) = branches(last);
    let name = if set.name.is_empty() { "Pods".to_owned() } else { format!("ReplicaSet {}", set.name) };
    let track = printer.ink(if set.track == "stable" { Ink::Git } else { Ink::Change }, &set.track);
    lines.push(format!("{before}{branch}{name}  {track}"));
    for (index, pod) in set.pods.iter().enumerate() {
        let last = index + 1 == set.pods.len();
        self::pod(pod, last, &format!("{before}{below}"), (now, wide), printer, lines);
    }
}

fn pod(
    pod: &PodView,
    last: bool,
    before: &str,
    (now, wide): (i64, bool),
    printer: &Printer,
    lines: &mut Vec<String>,
) {
    let (branch, below) = branches(last);
    let (word, ink) = match (pod.ready, pod.health) {
        (true, _) => ("Ready", Ink::Git),
        (false, Health::Degraded) => ("Degraded", Ink::Live),
        (false, _) => ("NotReady", Ink::Change),
    };
    let created: Option<jiff::Timestamp> = pod.created.parse().ok();
    let restarts = usize::try_from(pod.restarts).ok().filter(|count| *count > 0);
    let more: Vec<String> = [
        restarts.map(|count| layout::counted(count, "restart")),
        created.map(|time| layout::short_age(now - time.as_second())),
        Some(pod.node.clone()).filter(|node| wide && !node.is_empty()),
    ]
    .into_iter()
    .flatten()
    .collect();
    let (start, more) = (format!("{before}{branch}Pod {}  ", pod.name), more.join("  "));
    let coloured = format!("{start}{}", printer.ink(ink, word));
    if start.chars().count() + word.len() + 2 + more.chars().count() <= printer.width() {
        lines.push(format!("{coloured}  {more}").trim_end().to_owned());
    } else {
        lines.extend([coloured, format!("{before}{below}   {more}")]);
    }
    if !pod.ready {
        lines.extend(layout::wrapped(&pod.message, &format!("{before}{below}   "), printer.width()));
    }
}

fn branches(last: bool) -> (&'static str, &'static str) {
    if last { ("└─ ", "   ") } else { ("├─ ", "│  ") }
}

/// Numbers as bars with the last one behind; words as they are.
fn measured(one: &MeasurementView) -> Vec<String> {
    // What is told of a number stands behind a comma.
    let number = |value: &String| value.split(',').next()?.trim().parse::<f64>().ok();
    let numbers: Vec<f64> =
        one.values.iter().filter_map(number).filter(|number| number.is_finite()).collect();
    let last = one.values.last().cloned().unwrap_or_default();
    let values = if numbers.len() > 1 {
        format!("{} {last}", bars(&numbers[numbers.len().saturating_sub(SHOWN)..]))
    } else {
        last
    };
    let failed = match one.failed {
        0 => String::new(),
        failed => format!(", {failed} of {} failed", one.values.len()),
    };
    vec![one.metric.clone(), format!("{}{failed}", one.outcome), values]
}

fn bars(numbers: &[f64]) -> String {
    let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let step = |number: f64| {
        let share = if high > low { (number - low) / (high - low) } else { 0.0 };
        let reached = BARS.iter().zip(0_u8..).take_while(|(_, place)| f64::from(*place) <= share * 7.0 + 0.5);
        reached.last().map_or(BARS[0], |(bar, _)| *bar)
    };
    numbers.iter().map(|number| step(*number)).collect()
}

#[cfg(test)]
mod tests {
    use gitops_core::names::OUTPUT_API_VERSION;
    use gitops_core::object::{Gvk, ObjectKey};
    use gitops_core::rollout::state::Record;

    use super::*;
    use crate::cli::ColorChoice;
    use crate::output::ObjectId;

    fn pod(name: &str, ready: bool, message: &str) -> PodView {
        PodView {
            name: name.into(),
            ready,
            health: if ready { Health::Healthy } else { Health::Degraded },
            message: message.into(),
            restarts: if ready { 0 } else { 2 },
            created: "1970-01-01T00:00:00Z".into(),
            node: "node-1".into(),
        }
    }

    fn workload(name: &str, track: &str, pods: Vec<PodView>) -> WorkloadView {
        let key = ObjectKey {
            group: "apps".into(),
            kind: "Deployment".into(),
            namespace: "shop".into(),
            name: name.into(),
        };
        let ready = pods.iter().filter(|pod| pod.ready).count();
        WorkloadView {
            object: ObjectId::new(&Gvk::new("apps/v1", "Deployment"), &key),
            health: if ready == pods.len() { Health::Healthy } else { Health::Degraded },
            message: if ready == pods.len() { String::new() } else { "0 of 1 replicas are available".into() },
            desired: i64::try_from(pods.len()).unwrap_or(0),
            ready: i64::try_from(ready).unwrap_or(0),
            sets: vec![SetView { name: format!("{name}-7d9f"), track: track.into(), pods }],
        }
    }

    fn version(track: &str, revision: &str, image: &str) -> VersionView {
        VersionView {
            track: track.into(),
            revision: revision.repeat(12),
            hash: "h".into(),
            images: vec![image.into()],
            pods: 1,
            ready: usize::from(track == "stable"),
        }
    }

    fn paused() -> Picture {
        let stage = |what: &str, mark, left| Stage { what: what.into(), mark, left };
        let broken =
            pod("web-canary-7d9f-b", false, "container web crashes again and again (2 restarts): panic");
        Picture {
            api_version: OUTPUT_API_VERSION,
            kind: "Rollout",
            namespace: "shop".into(),
            name: "web".into(),
            application: Some("shop/web".into()),
            strategy: "canary",
            phase: "Paused".into(),
            step: "2 of 3".into(),
            weight: 20,
            message: "it pauses, 1m more".into(),
            next: Some("promote".into()),
            requests: vec!["promote", "pause", "abort"],
            versions: vec![version("stable", "a", "web:1"), version("canary", "b", "web:2")],
            stages: vec![
                stage("weight 20 %", Mark::Done, None),
                stage("pause 1m30s", Mark::Now, Some(60)),
                stage("promote", Mark::ToCome, None),
            ],
            workloads: vec![
                workload("web", "stable", vec![pod("web-7d9f-a", true, "")]),
                workload("web-canary", "canary", vec![broken]),
            ],
            measurements: vec![
                MeasurementView {
                    metric: "errors/rate".into(),
                    outcome: "Success".into(),
                    values: ["0.01", "0.02", "0.08", "0.04, not worse than 0.05"].map(String::from).to_vec(),
                    failed: 1,
                    time: String::new(),
                },
                MeasurementView {
                    metric: "signals/pods".into(),
                    outcome: "Failure".into(),
                    values: vec!["1 succeeded, 1 failed, 0 inconclusive".into()],
                    failed: 0,
                    time: String::new(),
                },
            ],
            git: None,
            asked: Some(Record {
                id: "1".into(),
                verb: "retry".into(),
                by: "ada".into(),
                reason: "INC-12".into(),
                at: 0,
            }),
            now: 300,
        }
    }

    fn shown(picture: &Picture, wide: bool, width: usize) -> String {
        lines(picture, wide, &Printer::new(ColorChoice::Never).wide(width)).join("\n")
    }

    #[test]
    fn everything_is_on_one_screen() {
        insta::assert_snapshot!(shown(&paused(), false, 100), @"
        Rollout shop/web
          phase:    Paused, step 2 of 3, 20 % of the requests to the new version
          strategy: canary
          of:       Application shop/web
          stable:   aaaaaaaaaaaa, 1 of 1 Pod ready, web:1
          canary:   bbbbbbbbbbbb, 0 of 1 Pod ready, web:2
          now:      it pauses, 1m more
          next:     promote
          asked:    retry by ada, 5 minutes ago: INC-12
          command:  kubectl gitops rollout promote web; or pause, abort

        STEPS
        ✓  1 weight 20 %
        ▶  2 pause 1m30s (1m left)
           3 promote

        WORKLOADS
        ├─ Deployment web  Healthy  1 of 1 ready
        │  └─ ReplicaSet web-7d9f  stable
        │     └─ Pod web-7d9f-a  Ready  5m
        └─ Deployment web-canary  Degraded  0 of 1 ready
           │  0 of 1 replicas are available
           └─ ReplicaSet web-canary-7d9f  canary
              └─ Pod web-canary-7d9f-b  Degraded  2 restarts  5m
                    container web crashes again and again (2 restarts): panic

        METRIC        OUTCOME                 VALUES
        errors/rate   Success, 1 of 4 failed  ▁▂█▄ 0.04, not worse than 0.05
        signals/pods  Failure                 1 succeeded, 1 failed, 0 inconclusive
        ");
    }

    #[test]
    fn narrow_terminals_lose_nothing() {
        let text = shown(&paused(), true, 60);
        assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
        for words in ["node-1", "crashes again", "promote web; or pause, abort"] {
            assert!(text.split_whitespace().collect::<Vec<_>>().join(" ").contains(words), "{words}: {text}");
        }
    }

    #[test]
    fn at_rest_there_are_no_steps() {
        let mut picture = paused();
        (picture.phase, picture.next, picture.workloads, picture.asked) =
            ("Idle".into(), None, Vec::new(), None);
        (picture.requests, picture.measurements) = (Vec::new(), Vec::new());
        picture.versions.truncate(1);
        picture.message = "the new version is promoted".into();
        insta::assert_snapshot!(shown(&picture, false, 100), @"
        Rollout shop/web
          phase:    Idle
          strategy: canary
          of:       Application shop/web
          stable:   aaaaaaaaaaaa, 1 of 1 Pod ready, web:1
          now:      the new version is promoted

        WORKLOADS
        none yet
        ");
    }

    #[test]
    fn numbers_are_bars() {
        assert_eq!(bars(&[0.0, 1.0, 0.5]), "▁█▅");
        assert_eq!(bars(&[3.0, 3.0]), "▁▁");
    }
}
