//! Pods: scheduled, their images there, their containers up and ready, or which
//! of these is not so and why.

use serde_json::Value;

use super::HealthReport;
use super::fields::{at, condition, counted, flag, list, number, sentence, text, when};

/// Why a container waits until somebody changes something.
const HOPELESS: [&str; 4] =
    ["CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreStartHookError"];
/// An image that does not come.
const IMAGE: [&str; 6] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "RegistryUnavailable",
];

pub(super) fn health(pod: &Value) -> HealthReport {
    match at(pod, "/status/phase") {
        "Succeeded" => return HealthReport::healthy("it has done its work"),
        "Failed" => return failed(pod),
        "Unknown" => {
            let message = "its node does not answer".to_owned();
            return HealthReport::new(super::Health::Unknown, "NodeLost", message);
        }
        _ => {}
    }
    if let Some(condition) = when(pod, "PodScheduled", "False") {
        return unscheduled(pod, condition);
    }
    let all = || containers(pod);
    if let Some(report) = all().find_map(|container| hopeless(pod, &container)) {
        return report;
    }
    if when(pod, "Ready", "True").is_some() {
        return HealthReport::healthy("it is ready");
    }
    if let Some(report) = all().find_map(|container| unready(&container)) {
        return report;
    }
    let gate = list(pod, "/spec/readinessGates")
        .iter()
        .map(|gate| text(gate, "conditionType"))
        .find(|gate| when(pod, gate, "True").is_none());
    match (gate, at(pod, "/status/phase")) {
        (Some(gate), "Running") => {
            let words = condition(pod, gate).map(|c| text(c, "message")).filter(|words| !words.is_empty());
            let words = words.map(|words| format!(": {}", sentence(words))).unwrap_or_default();
            HealthReport::progressing("ReadinessGate", format!("its readiness gate {gate} is not met{words}"))
        }
        (None, "Running") => HealthReport::progressing("NotReady", "it is not ready yet"),
        _ => match at(pod, "/spec/nodeName") {
            "" => HealthReport::progressing("Pending", "it has no node yet"),
            node => HealthReport::progressing("Pending", format!("its containers are being made on {node}")),
        },
    }
}

/// A container, what its spec says and what became of it.
struct Container<'a> {
    name: &'a str,
    spec: Option<&'a Value>,
    status: &'a Value,
    /// Runs to its end before the others begin; one that restarts always stays.
    init: bool,
}

fn containers(pod: &Value) -> impl Iterator<Item = Container<'_>> {
    let of = |statuses: &'static str, specs: &'static str, init: bool| {
        list(pod, statuses).iter().map(move |status| {
            let name = text(status, "name");
            let spec = list(pod, specs).iter().find(|spec| text(spec, "name") == name);
            let init = init && spec.is_none_or(|spec| text(spec, "restartPolicy") != "Always");
            Container { name, spec, status, init }
        })
    };
    of("/status/initContainerStatuses", "/spec/initContainers", true).chain(of(
        "/status/containerStatuses",
        "/spec/containers",
        false,
    ))
}

impl Container<'_> {
    fn says(&self, what: impl std::fmt::Display) -> String {
        format!("container {} {what}", self.name)
    }

    fn image(&self) -> &str {
        self.spec
            .map(|spec| text(spec, "image"))
            .filter(|i| !i.is_empty())
            .unwrap_or(text(self.status, "image"))
    }

    /// How it ended last, in words.
    fn ended(&self) -> Option<String> {
        let ended = ["/state/terminated", "/lastState/terminated"];
        let ended = ended.iter().find_map(|pointer| self.status.pointer(pointer))?;
        let code = number(ended, "/exitCode").unwrap_or(0);
        let reason = match text(ended, "reason") {
            "OOMKilled" => format!("it ran out of memory{}", self.limit()),
            "" | "Error" | "Completed" => format!("exit code {code}"),
            other => format!("{other}, exit code {code}"),
        };
        // The end of its log, where its spec asks for that.
        let words = text(ended, "message").lines().rfind(|line| !line.trim().is_empty()).map(sentence);
        Some(words.map_or_else(|| reason.clone(), |words| format!("{reason}: {words}")))
    }

    fn limit(&self) -> String {
        let limit = self.spec.map(|spec| at(spec, "/resources/limits/memory")).unwrap_or_default();
        if limit.is_empty() { String::new() } else { format!(" (limit {limit})") }
    }
}

fn failed(pod: &Value) -> HealthReport {
    let reason = at(pod, "/status/reason");
    let reason = if reason.is_empty() { "Failed" } else { reason };
    let ended = containers(pod)
        .filter(|container| {
            number(container.status, "/state/terminated/exitCode").is_some_and(|code| code != 0)
        })
        .find_map(|container| Some(container.says(format!("failed: {}", container.ended()?))));
    let message = match (at(pod, "/status/message"), ended) {
        ("", Some(ended)) => ended,
        ("", None) => "it has failed".to_owned(),
        (words, _) => sentence(words),
    };
    HealthReport::degraded(reason, message)
}

/// For lack of what no node takes it.
fn unscheduled(pod: &Value, condition: &Value) -> HealthReport {
    if text(condition, "reason") == "SchedulingGated" {
        let gates: Vec<&str> =
            list(pod, "/spec/schedulingGates").iter().map(|gate| text(gate, "name")).collect();
        let message = format!("it waits for its scheduling gates: {}", gates.join(", "));
        return HealthReport::progressing("SchedulingGated", message);
    }
    // What preemption could not do either says the same once more.
    let message = text(condition, "message");
    let message = message.split(" preemption: ").next().unwrap_or(message);
    let message = match message.split_once(" nodes are available: ") {
        Some((counts, lacks)) => {
            let all = counts.rsplit('/').next().unwrap_or(counts);
            format!("no node takes it (of {all}): {}", sentence(lacks))
        }
        None => format!("no node takes it: {}", sentence(message)),
    };
    HealthReport::progressing("Unschedulable", message)
}

fn hopeless(pod: &Value, container: &Container<'_>) -> Option<HealthReport> {
    let waiting = container.status.pointer("/state/waiting");
    let (reason, words) = waiting.map(|w| (text(w, "reason"), text(w, "message"))).unwrap_or_default();
    let restarts = number(container.status, "/restartCount").unwrap_or(0);
    if reason == "CrashLoopBackOff" {
        let ended = container.ended().map(|ended| format!(": {ended}")).unwrap_or_default();
        let message =
            container.says(format!("crashes again and again ({}){ended}", counted(restarts, "restart")));
        return Some(HealthReport::degraded(reason, message));
    }
    if IMAGE.contains(&reason) {
        let message =
            container.says(format!("cannot get its image {}{}", container.image(), pull_error(words)));
        return Some(HealthReport::degraded(reason, message));
    }
    if HOPELESS.contains(&reason) {
        let message = container.says(format!("cannot be started: {}", sentence(words)));
        return Some(HealthReport::degraded(reason, message));
    }
    // One that is not started again.
    let code = number(container.status, "/state/terminated/exitCode").filter(|code| *code != 0)?;
    let final_end = at(pod, "/spec/restartPolicy") == "Never";
    let ended = container.ended().unwrap_or_else(|| format!("exit code {code}"));
    final_end.then(|| HealthReport::degraded("ContainerFailed", container.says(format!("failed: {ended}"))))
}

/// What the registry said: the last of a chain of reports that each repeat the
/// image's name.
fn pull_error(words: &str) -> String {
    let words = words.split_once(" desc = ").map_or(words, |(_, rest)| rest);
    let words = words.trim_start_matches("Back-off pulling image").trim();
    let last = words.rsplit(": ").next().unwrap_or(words);
    // A last word alone, such as "EOF", is better with what comes before it.
    let shown = if last.split(' ').count() > 1 { last } else { words };
    if shown.is_empty() || shown.starts_with('"') { String::new() } else { format!(": {}", sentence(shown)) }
}

fn unready(container: &Container<'_>) -> Option<HealthReport> {
    let status = container.status;
    if let Some(waiting) = status.pointer("/state/waiting") {
        let reason = text(waiting, "reason");
        // The others only wait for those that run before them.
        return (!matches!(reason, "PodInitializing" | "")).then(|| {
            let words = text(waiting, "message");
            let words = if words.is_empty() { String::new() } else { format!(": {}", sentence(words)) };
            HealthReport::progressing(reason, container.says(format!("is being made{words}")))
        });
    }
    if container.init {
        return status
            .pointer("/state/running")
            .map(|_| HealthReport::progressing("Initializing", container.says("runs before the others")));
    }
    if flag(status, "/ready") || status.pointer("/state/running").is_none() {
        let ended = status.pointer("/state/terminated").and(container.ended());
        return ended
            .filter(|_| !flag(status, "/ready"))
            .map(|ended| HealthReport::progressing("Restarting", container.says(format!("ended: {ended}"))));
    }
    let probe = |name: &str| container.spec.is_some_and(|spec| spec.get(name).is_some());
    let restarts = number(status, "/restartCount").unwrap_or(0);
    let again = match (restarts, container.ended()) {
        (0, _) | (_, None) => String::new(),
        (_, Some(ended)) => format!("; {} so far, the last for {ended}", counted(restarts, "restart")),
    };
    let started = status.get("started") != Some(&Value::Bool(false));
    let (reason, what) = if !started && probe("startupProbe") {
        ("StartupProbe", "runs, but its startup probe has not passed yet")
    } else if probe("readinessProbe") {
        ("ReadinessProbe", "runs, but its readiness probe does not pass")
    } else {
        ("NotReady", "runs, but is not ready yet")
    };
    Some(HealthReport::progressing(reason, container.says(format!("{what}{again}"))))
}
