//! `kubectl gitops events`

use clap::Args;
use futures::TryStreamExt;
use gitops_core::health::event_time;
use gitops_core::names::OUTPUT_API_VERSION;
use gitops_engine::Reach;
use serde::Serialize;
use serde_json::Value;

use crate::applications::{Destination, Seen, select};
use crate::cli::Selection;
use crate::error::{Failure, code};
use crate::layout;
use crate::output::{self, Format};
use crate::printer::{Ink, Printer};
use crate::settings::Settings;

/// Prints what was told about an Application's objects and what they own, newest last
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops events web\n  kubectl gitops events web --warnings -o json"
)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Only warnings
    #[arg(long)]
    warnings: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Event {
    /// When it was last seen, RFC 3339.
    time: String,
    #[serde(rename = "type")]
    kind: String,
    reason: String,
    object: String,
    count: i64,
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    api_version: &'static str,
    kind: &'static str,
    items: Vec<Event>,
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let destination = Destination::reach(settings).await?;
    let mut events: Vec<Event> = Vec::new();
    let applications = select(&arguments.selection, settings, Some(&destination.cluster)).await?;
    let mut surveys = destination.surveys(&applications, arguments.selection.revision.as_deref(), printer);
    while let Some(Seen { there, survey, .. }) = surveys.try_next().await? {
        let kin = there.kin(&survey, Reach::All, printer).await;
        for object in survey.plan.steps.iter().filter_map(|step| survey.live.get(&step.key)) {
            let about = kin.descendants(object);
            events.extend(about.iter().flat_map(|object| kin.events(object)).map(event));
        }
    }
    events.retain(|event| !arguments.warnings || event.kind == "Warning");
    events.sort();
    events.dedup();
    match arguments.output {
        Format::Text | Format::Wide if events.is_empty() => {
            printer.talk("nothing was told; the API server forgets events after an hour");
        }
        Format::Text | Format::Wide => {
            let now = jiff::Timestamp::now().as_second();
            text(&events, now, printer).iter().for_each(|line| printer.line(line));
        }
        Format::Name => events.iter().for_each(|event| printer.line(&event.object)),
        Format::Jsonl => output::print(&events, arguments.output, printer)?,
        format => {
            let report = Report { api_version: OUTPUT_API_VERSION, kind: "EventList", items: events };
            output::print(&[report], format, printer)?;
        }
    }
    Ok(code::YES)
}

fn event(event: &Value) -> Event {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    Event {
        time: event_time(event).0.to_owned(),
        kind: text("/type").to_owned(),
        reason: text("/reason").to_owned(),
        object: format!("{} {}", text("/involvedObject/kind"), text("/involvedObject/name")),
        count: ["/series/count", "/count"].iter().find_map(|path| event.pointer(path)?.as_i64()).unwrap_or(1),
        message: text("/message").split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

fn text(events: &[Event], now: i64, printer: &Printer) -> Vec<String> {
    let row = |event: &Event| {
        let time: Option<jiff::Timestamp> = event.time.parse().ok();
        let seen = time.map_or_else(|| event.time.clone(), |time| layout::age(time.as_second(), now));
        let often = if event.count > 1 { format!(" ({} times)", event.count) } else { String::new() };
        vec![seen, event.reason.clone(), event.object.clone(), format!("{}{often}", event.message)]
    };
    let rows: Vec<Vec<String>> = events.iter().map(row).collect();
    let lines = layout::columns(&["LAST SEEN", "REASON", "OBJECT", "MESSAGE"], &rows, printer);
    let warned = |line: &String| {
        events.iter().any(|event| event.kind == "Warning" && line.contains(&format!("  {}  ", event.reason)))
    };
    lines.into_iter().map(|line| if warned(&line) { printer.ink(Ink::Change, &line) } else { line }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::ColorChoice;

    #[test]
    fn events_of_both_forms_are_read() {
        let old = json!({"type": "Warning", "reason": "FailedCreate", "message": "no\n room", "count": 3, "lastTimestamp": "1970-01-01T00:01:00Z", "involvedObject": {"kind": "ReplicaSet", "name": "web-1"}});
        let new = json!({"type": "Normal", "reason": "Scheduled", "message": "put on n1", "eventTime": "1970-01-01T00:02:00.000000Z", "involvedObject": {"kind": "Pod", "name": "web-1-a"}});
        let events = [event(&old), event(&new)];
        let printer = Printer::new(ColorChoice::Never);
        insta::assert_snapshot!(text(&events, 200, &printer.wide(100)).join("\n"), @"
        LAST SEEN       REASON        OBJECT            MESSAGE
        2 minutes ago   FailedCreate  ReplicaSet web-1  no room (3 times)
        80 seconds ago  Scheduled     Pod web-1-a       put on n1
        ");
        insta::assert_snapshot!(text(&events, 200, &printer.wide(60)).join("\n"), @"
        LAST SEEN       REASON        OBJECT
        2 minutes ago   FailedCreate  ReplicaSet web-1
            no room (3 times)
        80 seconds ago  Scheduled     Pod web-1-a
            put on n1
        ");
    }
}
