//! `kubectl gitops logs`

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures::TryStreamExt;
use gitops_cluster::{Cluster, LogOptions};
use gitops_core::names::OUTPUT_API_VERSION;
use gitops_engine::{Kin, Reach, Survey};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::applications::{Destination, select};
use crate::cli::Selection;
use crate::error::{Failure, code};
use crate::output::{self, Format};
use crate::printer::{Ink, Printer};
use crate::settings::{Settings, duration};

/// How often new Pods are looked for while following.
const INTERVAL: Duration = Duration::from_secs(2);
/// Logs read at once without following.
const PARALLEL: usize = 8;

/// Prints the logs of an Application's Pods
///
/// Each line begins with its Pod and container. With -f, Pods that come later
/// are followed as well.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops logs web\n  kubectl gitops logs web -f --tail 10\n  kubectl gitops logs web -c proxy --since 5m\n  kubectl gitops logs web -f -o jsonl | jq -r .text"
)]
pub struct Arguments {
    /// Applications by name: of gitops.yaml if there is one, else of the cluster; none: all of gitops.yaml
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// The file that describes the Applications; else the nearest gitops.yaml upwards
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A repository instead of a file: URL or path
    #[arg(long, value_name = "URL", conflicts_with = "file")]
    repo: Option<String>,
    /// The folder in the repository
    #[arg(long, value_name = "PATH", requires = "repo")]
    path: Option<String>,
    /// Go on as more is printed
    #[arg(short, long)]
    follow: bool,
    /// Only this container
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Only so many lines of each from the end
    #[arg(long, value_name = "LINES")]
    tail: Option<u64>,
    /// Only what was printed in this time
    #[arg(long, value_name = "DURATION")]
    since: Option<String>,
    /// Of each container's run before this one
    #[arg(short, long, conflicts_with = "follow")]
    previous: bool,
    /// Write the time before each line
    #[arg(long)]
    timestamps: bool,
    /// How to print; name: the Pods that have a log
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// A container whose log can be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Spring {
    namespace: String,
    pod: String,
    container: String,
    /// A container that restarts has another log.
    restarts: u64,
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    if arguments.follow && !matches!(arguments.output, Format::Text | Format::Wide | Format::Jsonl) {
        return Err(Failure::usage("-f goes on without an end, and this output has one")
            .hint("follow with -o jsonl: one object a line"));
    }
    let since = arguments.since.as_deref().map(duration).transpose()?.flatten();
    let destination = Destination::reach(settings).await?;
    // As in every other command, but -f follows, as in `kubectl logs`.
    let selection = Selection {
        names: arguments.names.clone(),
        file: arguments.file.clone(),
        repo: arguments.repo.clone(),
        revision: None,
        path: arguments.path.clone(),
    };
    let applications = select(&selection, settings, Some(&destination.cluster)).await?;
    // All are read in one cluster: that of the first.
    let destination = match applications.first() {
        Some(first) => destination.of(first).await?.into_owned(),
        None => destination,
    };
    let surveys = destination.surveys(&applications, None, printer).map_ok(|seen| seen.survey);
    let surveys: Vec<Survey> = surveys.try_collect().await?;
    let options = LogOptions {
        container: String::new(),
        follow: arguments.follow,
        previous: arguments.previous,
        tail: arguments.tail,
        since_seconds: since.map(|since| since.as_secs().max(1)),
        timestamps: arguments.timestamps,
    };
    let reading = read(&destination, &surveys, &arguments, &options, printer);
    tokio::select! {
        done = reading => done,
        _ = tokio::signal::ctrl_c() => Ok(code::INTERRUPTED),
    }
}

async fn read(
    destination: &Destination,
    surveys: &[Survey],
    arguments: &Arguments,
    options: &LogOptions,
    printer: &Printer,
) -> Result<u8, Failure> {
    let mut known: BTreeSet<Spring> = BTreeSet::new();
    let (send, mut lines) = mpsc::channel::<Line>(1024);
    let mut first = true;
    loop {
        let found = springs(destination, surveys, arguments, printer).await;
        if first && found.is_empty() {
            let whose = arguments
                .container
                .as_ref()
                .map(|name| format!(" with a container {name:?}"))
                .unwrap_or_default();
            return Err(Failure::usage(format!("there are no running or finished Pods{whose}"))
                .hint("see what there is: kubectl gitops tree"));
        }
        let new: Vec<Spring> = found.difference(&known).cloned().collect();
        match arguments.output {
            _ if arguments.follow => {}
            Format::Name => {
                let pods: BTreeSet<&str> = new.iter().map(|spring| &*spring.pod).collect();
                pods.iter().for_each(|pod| printer.line(&format!("pod/{pod}")));
                return Ok(code::YES);
            }
            format => return whole(&destination.cluster, new, options, format, printer).await,
        }
        for spring in new {
            known.insert(spring.clone());
            let mut options = options.clone();
            if !first {
                // All of what comes later is news.
                options.tail = None;
            }
            let (cluster, send) = (destination.cluster.clone(), send.clone());
            tokio::spawn(async move { follow(&cluster, spring, options, &send).await });
        }
        first = false;
        let pause = tokio::time::sleep(INTERVAL);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                Some(line) = lines.recv() => line.print(arguments.output, printer)?,
            }
        }
    }
}

enum Line {
    Said(Arc<Spring>, String),
    Failed(String),
}

impl Line {
    fn print(&self, format: Format, printer: &Printer) -> Result<(), Failure> {
        match self {
            Self::Said(spring, text) if format.is_text() => {
                printer.line(&format!("{} {text}", printer.ink(Ink::Dim, &spring.whose())));
            }
            Self::Said(spring, text) => output::print(&[spring.said(text)], Format::Jsonl, printer)?,
            Self::Failed(error) => printer.warning(error),
        }
        Ok(())
    }
}

/// One line of a log, for programs.
#[derive(Debug, Serialize)]
struct Said<'a> {
    namespace: &'a str,
    pod: &'a str,
    container: &'a str,
    text: &'a str,
}

impl Spring {
    fn whose(&self) -> String {
        format!("{}/{}", self.pod, self.container)
    }

    fn said<'a>(&'a self, text: &'a str) -> Said<'a> {
        Said { namespace: &self.namespace, pod: &self.pod, container: &self.container, text }
    }
}

async fn follow(cluster: &Cluster, spring: Spring, options: LogOptions, send: &mpsc::Sender<Line>) {
    let options = LogOptions { container: spring.container.clone(), ..options };
    let (spring, unheard) = (Arc::new(spring), send.clone());
    let said = spring.clone();
    // Whoever prints is slower than a log at times; what it has no room for waits.
    let (inner, mut outer) = mpsc::unbounded_channel::<String>();
    let passing = async move {
        while let Some(text) = outer.recv().await {
            if unheard.send(Line::Said(said.clone(), text)).await.is_err() {
                break;
            }
        }
    };
    let reading = async {
        let result = cluster
            .log(&spring.namespace, &spring.pod, &options, |line| drop(inner.send(line.to_owned())))
            .await;
        drop(inner);
        result
    };
    let (result, ()) = tokio::join!(reading, passing);
    if let Err(error) = result {
        let _ = send.send(Line::Failed(error.to_string())).await;
    }
}

/// Without following, one log after the other, so that each is in one piece.
async fn whole(
    cluster: &Cluster,
    springs: Vec<Spring>,
    options: &LogOptions,
    format: Format,
    printer: &Printer,
) -> Result<u8, Failure> {
    use futures::StreamExt;
    let mut logs = futures::stream::iter(springs.into_iter().map(|spring| async move {
        let options = LogOptions { container: spring.container.clone(), ..options.clone() };
        let mut lines = Vec::new();
        let result =
            cluster.log(&spring.namespace, &spring.pod, &options, |line| lines.push(line.to_owned())).await;
        (spring, lines, result)
    }))
    .buffered(PARALLEL);
    let (mut read, mut failed, mut kept) = (0, None, Vec::new());
    while let Some((spring, lines, result)) = logs.next().await {
        let spring = Arc::new(spring);
        for text in lines {
            match format {
                Format::Json | Format::Yaml => kept.push(json!(spring.said(&text))),
                format => Line::Said(spring.clone(), text).print(format, printer)?,
            }
        }
        match result {
            Ok(()) => read += 1,
            Err(error) => {
                Line::Failed(error.to_string()).print(format, printer)?;
                failed = Some(error);
            }
        }
    }
    match failed {
        Some(error) if read == 0 => return Err(error.into()),
        _ if matches!(format, Format::Json | Format::Yaml) => {
            let logs = json!({"apiVersion": OUTPUT_API_VERSION, "kind": "Logs", "lines": kept});
            output::print(&[logs], format, printer)?;
        }
        _ => {}
    }
    Ok(code::YES)
}

async fn springs(
    destination: &Destination,
    surveys: &[Survey],
    arguments: &Arguments,
    printer: &Printer,
) -> BTreeSet<Spring> {
    let mut found = BTreeSet::new();
    for survey in surveys {
        let kin: Kin = destination.kin(survey, Reach::Workloads, printer).await;
        let live = survey.plan.steps.iter().filter_map(|step| survey.live.get(&step.key));
        for pod in live.flat_map(|object| kin.descendants(object)) {
            if pod.get("kind").and_then(Value::as_str) == Some("Pod") {
                found.extend(containers(pod, arguments.container.as_deref()));
            }
        }
    }
    found
}

/// Containers that have begun: others have no log yet.
fn containers(pod: &Value, only: Option<&str>) -> Vec<Spring> {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"];
    statuses
        .iter()
        .filter_map(|pointer| pod.pointer(pointer)?.as_array())
        .flatten()
        .filter(|status| {
            ["/state/running", "/state/terminated", "/lastState/terminated"]
                .iter()
                .any(|state| status.pointer(state).is_some())
        })
        .filter_map(|status| Some((status.get("name")?.as_str()?, status)))
        .filter(|(name, _)| only.is_none_or(|only| only == *name))
        .map(|(name, status)| Spring {
            namespace: text("/metadata/namespace"),
            pod: text("/metadata/name"),
            container: name.to_owned(),
            restarts: status.get("restartCount").and_then(Value::as_u64).unwrap_or(0),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_has_begun_has_a_log() {
        let pod = json!({"metadata": {"name": "p", "namespace": "n"}, "status": {
            "initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 0}}}],
            "containerStatuses": [{"name": "a", "restartCount": 2, "state": {"running": {}}}, {"name": "b", "state": {"waiting": {}}}]}});
        let names = |only| containers(&pod, only).iter().map(Spring::whose).collect::<Vec<_>>();
        assert_eq!(names(None), ["p/i", "p/a"]);
        assert_eq!(names(Some("a")), ["p/a"]);
    }
}
