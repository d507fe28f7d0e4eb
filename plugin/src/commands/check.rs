//! `kubectl gitops check`

use clap::Args;
use gitops_core::names::OUTPUT_API_VERSION;
use serde::Serialize;

use crate::applications::{Destination, select};
use crate::checks::{self, Check, Finding, State};
use crate::cli::Selection;
use crate::error::{Failure, code};
use crate::layout;
use crate::output::{self, Format};
use crate::printer::{Ink, Printer};
use crate::settings::Settings;

/// Checks that everything needed is there and works, and says how to mend what does not
///
/// With --pre, only what has to be there before the chart is installed. Exit
/// code 0: all is well; 1: something has to be mended (warnings, and what could
/// not be looked at, do not count).
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops check --pre\n  kubectl gitops check\n  kubectl gitops check web -o json"
)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Before installing: tools, cluster, permissions
    #[arg(long)]
    pre: bool,
    /// Only what the chart has installed
    #[arg(long, conflicts_with_all = ["pre", "names", "file", "repo"])]
    installed: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    api_version: &'static str,
    kind: &'static str,
    ok: bool,
    checks: Vec<Check>,
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let mut shown = Shown::new(arguments.output, printer);
    if !arguments.installed {
        shown.add(checks::tools(settings));
    }
    let destination = match Destination::reach(settings).await {
        Ok(destination) => Some(destination),
        Err(failure) => {
            shown.add(vec![Check::new("cluster", "the API server answers", Finding::of(&failure))]);
            None
        }
    };
    if let Some(destination) = &destination {
        shown.add(checks::cluster(destination).await);
        if !arguments.installed {
            shown.add(checks::permissions(destination, settings, arguments.pre).await);
        }
        if arguments.pre {
            shown.add(checks::room_to_install(destination).await);
        } else {
            shown.add(checks::installed(destination).await);
        }
    }
    let named = !arguments.selection.names.is_empty()
        || arguments.selection.repo.is_some()
        || arguments.selection.file.is_some();
    let here = || gitops_engine::load::find_file(&settings.folder).is_some();
    let described = named || !arguments.installed && here();
    if described {
        let cluster = destination.as_ref().map(|destination| &destination.cluster);
        match select(&arguments.selection, settings, cluster).await {
            Ok(applications) => {
                for loaded in &applications {
                    let revision = arguments.selection.revision.as_deref();
                    let there = match &destination {
                        Some(destination) => destination.of(loaded).await.map(Some),
                        None => Ok(None),
                    };
                    shown.add(match there {
                        Ok(there) => {
                            let places = (cluster, there.as_deref());
                            checks::application(loaded, revision, places, settings, printer).await
                        }
                        Err(failure) => {
                            let name = format!("{}: its cluster can be asked", loaded.application);
                            vec![Check::new("applications", name, Finding::of(&failure))]
                        }
                    });
                }
            }
            Err(failure) => {
                shown.add(vec![Check::new(
                    "applications",
                    "Applications can be read",
                    Finding::of(&failure),
                )]);
            }
        }
    }
    let ok = shown.is_ok();
    shown.finish(ok)?;
    Ok(if ok { code::YES } else { code::NO })
}

/// Prints each finding as it comes.
pub(super) struct Shown<'a> {
    format: Format,
    printer: &'a Printer,
    section: &'static str,
    checks: Vec<Check>,
}

impl<'a> Shown<'a> {
    pub(super) fn new(format: Format, printer: &'a Printer) -> Self {
        Self { format, printer, section: "", checks: Vec::new() }
    }

    /// Whether nothing has to be mended.
    pub(super) fn is_ok(&self) -> bool {
        self.checks.iter().all(|check| check.finding.state != State::Failed)
    }

    pub(super) fn add(&mut self, checks: Vec<Check>) {
        for check in checks {
            if self.format.is_text() {
                lines(&check, self.section, self.printer).iter().for_each(|line| self.printer.line(line));
            }
            self.section = check.section;
            self.checks.push(check);
        }
    }

    pub(super) fn finish(self, ok: bool) -> Result<(), Failure> {
        let failed = self.checks.iter().filter(|check| check.finding.state == State::Failed).count();
        match self.format {
            Format::Text | Format::Wide => {
                let told = if ok {
                    self.printer.ink(Ink::Git, "all is well")
                } else {
                    self.printer.ink(Ink::Live, &format!("{} failed", layout::counted(failed, "check")))
                };
                self.printer.line("");
                self.printer.line(&told);
                Ok(())
            }
            Format::Name => {
                self.checks
                    .iter()
                    .filter(|check| check.finding.state == State::Failed)
                    .for_each(|check| self.printer.line(&check.name));
                Ok(())
            }
            Format::Jsonl => output::print(&self.checks, self.format, self.printer),
            format => {
                let report =
                    Report { api_version: OUTPUT_API_VERSION, kind: "Check", ok, checks: self.checks };
                output::print(&[report], format, self.printer)
            }
        }
    }
}

fn lines(check: &Check, section: &str, printer: &Printer) -> Vec<String> {
    let mut lines = Vec::new();
    if check.section != section {
        if !section.is_empty() {
            lines.push(String::new());
        }
        lines.push(printer.ink(Ink::Bold, check.section));
    }
    let (sign, ink) = match check.finding.state {
        State::Passed => ("ok  ", Ink::Git),
        State::Skipped => ("skip", Ink::Dim),
        State::Warned => ("warn", Ink::Change),
        State::Failed => ("FAIL", Ink::Live),
    };
    let said = if check.finding.message.is_empty() {
        check.name.clone()
    } else {
        format!("{}: {}", check.name, check.finding.message)
    };
    let indent = " ".repeat(7);
    let mut text = layout::wrapped(&said, &indent, printer.width()).into_iter();
    let first = text.next().unwrap_or_default();
    lines.push(format!("  {} {}", printer.ink(ink, sign), first.trim_start()));
    lines.extend(text);
    if let Some(remedy) = &check.finding.remedy {
        lines.extend(layout::wrapped(&format!("remedy: {remedy}"), &indent, printer.width()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ColorChoice;

    #[test]
    fn each_failure_has_its_remedy() {
        let printer = Printer::new(ColorChoice::Never);
        let checks = [
            Check::new("tools", "helm", Finding::passed("v3.19.2")),
            Check::new(
                "tools",
                "kustomize",
                Finding::failed(
                    "kustomize is not there",
                    "install kustomize 5.0 or newer, or set KUBECTL_GITOPS_KUSTOMIZE to its path",
                ),
            ),
            Check::new(
                "webhook",
                "its certificate",
                Finding::warned("it ends in 2 days", "restart the webhook"),
            ),
            Check::new("applications", "a Rollout's Revert counts", Finding::skipped("not known", "ask")),
        ];
        let mut section = "";
        let mut text = Vec::new();
        for check in &checks {
            text.extend(lines(check, section, &printer.wide(60)));
            section = check.section;
        }
        insta::assert_snapshot!(text.join("\n"), @"
        tools
          ok   helm: v3.19.2
          FAIL kustomize: kustomize is not there
               remedy: install kustomize 5.0 or newer, or set
               KUBECTL_GITOPS_KUSTOMIZE to its path

        webhook
          warn its certificate: it ends in 2 days
               remedy: restart the webhook

        applications
          skip a Rollout's Revert counts: not known
               remedy: ask
        ");
    }
}
