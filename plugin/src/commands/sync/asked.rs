//! A sync by the controller. In: the Applications that are chosen. Out: those
//! that it takes are asked for and followed to their end; the others are left
//! to be synced from here.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gitops_api::{Application, Verb};
use gitops_core::names::LABEL_HUB;
use gitops_core::plan::Action;
use gitops_engine::Loaded;

use super::Arguments;
use crate::applications::Destination;
use crate::asking;
use crate::commands::{status, wait};
use crate::error::{Failure, code};
use crate::layout;
use crate::output::Report;
use crate::printer::{Ink, Printer};
use crate::settings::duration;

/// What the controller has done, and what is left.
pub struct Asked {
    pub reports: Vec<Report>,
    pub code: u8,
    pub left: Vec<Loaded>,
    /// Why those are applied from here although a controller runs, in words that are
    /// said when that begins.
    pub why: Option<String>,
}

/// Asks for all of `chosen` that the controller keeps. Where none runs, or what
/// is typed is not for it, all are left.
pub async fn run(
    arguments: &Arguments,
    destination: &Destination,
    chosen: Vec<Loaded>,
    printer: &Printer,
) -> Result<Asked, Failure> {
    let mut asked = Asked { reports: Vec::new(), code: code::YES, left: Vec::new(), why: None };
    if arguments.local || arguments.dry_run() || !asking::controller_runs(&destination.cluster).await? {
        return Ok(Asked { left: chosen, ..asked });
    }
    if let Some(flag) = arguments.not_for_the_controller() {
        let why = Some(format!("applied from here, since {flag} is not for the controller"));
        return Ok(Asked { left: chosen, why, ..asked });
    }
    let mut followed = Vec::new();
    for loaded in chosen {
        let live = asking::find(&destination.cluster, &loaded.application).await?;
        if let Some(hub) = live.as_ref().and_then(|live| live.metadata.labels.as_ref()?.get(LABEL_HUB)) {
            printer.talk(&format!(
                "{} is applied from here: its controller is in the hub {hub}, which mirrors it here",
                loaded.application
            ));
            asked.left.push(loaded);
            continue;
        }
        let Some(live) = live.filter(|live| live.spec == loaded.spec) else {
            printer.talk(&format!(
                "{} is applied from here: the cluster has no Application of this spec",
                loaded.application
            ));
            asked.left.push(loaded);
            continue;
        };
        followed.push((begin(arguments, destination, &live).await?, loaded));
    }
    let limit = duration(&arguments.timeout)?.unwrap_or(Duration::MAX);
    for (request, loaded) in followed {
        let case = Case { arguments, destination, loaded: &loaded, limit, printer };
        let (report, code) = tokio::select! {
            ended = case.end(&request) => ended?,
            _ = tokio::signal::ctrl_c() => {
                printer.talk("the controller goes on; see it with: kubectl gitops status -w");
                return Ok(Asked { code: code::INTERRUPTED, left: Vec::new(), ..asked });
            }
        };
        asked.code = asked.code.max(code);
        asked.reports.push(report);
    }
    Ok(asked)
}

async fn begin(
    arguments: &Arguments,
    destination: &Destination,
    live: &Application,
) -> Result<gitops_api::Request, Failure> {
    let flags = [
        ("prune", arguments.prune),
        ("confirmPrune", arguments.confirm_prune),
        ("allowEmpty", arguments.allow_empty),
    ];
    let typed = flags.into_iter().filter(|(_, set)| *set);
    let given: BTreeMap<String, String> =
        typed.map(|(name, _)| (name.to_owned(), "true".to_owned())).collect();
    let request = asking::request(Verb::Sync, given, &arguments.reason);
    asking::ask(&destination.cluster, &asking::kind(), &live.metadata, &request).await?;
    Ok(request)
}

/// One Application that the controller syncs.
struct Case<'a> {
    arguments: &'a Arguments,
    destination: &'a Destination,
    loaded: &'a Loaded,
    limit: Duration,
    printer: &'a Printer,
}

impl Case<'_> {
    async fn end(&self, request: &gitops_api::Request) -> Result<(Report, u8), Failure> {
        let (start, application) = (Instant::now(), &self.loaded.application);
        let cluster = &self.destination.cluster;
        let ended = asking::follow(cluster, application, request, self.limit, self.printer).await?;
        let report = self.report().await?;
        let done = ended.phase == "Succeeded";
        if self.arguments.output.is_text() {
            let word = if done { "synced" } else { "not synced" };
            let seconds = start.elapsed().as_secs_f64();
            let mut line = format!("{application} {word} by the controller in {seconds:.1} s");
            if !ended.message.is_empty() {
                line.push_str(&format!(": {}", ended.message));
            }
            self.printer.line(&line);
            self.troubles(&report);
            if !done && ended.message.contains("is forbidden") {
                let namespace = &self.loaded.namespace;
                self.printer.warning(&format!(
                    "the controller writes only where it may: add {namespace} to the chart's controller.namespaces, name a serviceAccountName, or sync from here by --local"
                ));
            }
        }
        if !done {
            let code = failed(&report);
            return Ok((report, code));
        }
        if self.arguments.wait {
            let left = self.limit.saturating_sub(start.elapsed());
            let healthy = wait::until_healthy(self.destination, self.loaded, left, self.printer).await?;
            return Ok((report, if healthy { code::YES } else { code::TIMEOUT }));
        }
        Ok((report, code::YES))
    }

    async fn report(&self) -> Result<Report, Failure> {
        // The controller may have seen what was not there when this began.
        let destination = &*self.destination.of(self.loaded).await?;
        destination.look_again();
        let (_, survey) = destination.survey(self.loaded, None, self.printer).await?;
        let healths = destination.healths(self.loaded, &survey).await?;
        Ok(Report { kind: "Sync", ..status::report(self.loaded, &survey, &healths) })
    }

    /// Objects that are not as Git says, and why.
    fn troubles(&self, report: &Report) {
        for object in report.objects.iter().filter(|object| object.action != Action::Unchanged) {
            let word = self.printer.ink(Ink::Live, status::sync_word(object.action));
            let why = object.health.as_ref().map(|state| state.message.as_str()).unwrap_or_default();
            self.printer.line(&format!("  {word} {}: {why}", layout::object(&object.object)));
        }
    }
}

/// Partly applied, where something is as Git says; else refused.
fn failed(report: &Report) -> u8 {
    let applied = report.objects.iter().any(|object| object.action == Action::Unchanged);
    if applied && !status::is_synced(report) { code::PARTLY } else { code::REFUSED }
}
