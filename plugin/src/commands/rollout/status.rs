//! `kubectl gitops rollout status`

use std::time::{Duration, Instant};

use clap::{ArgAction, Args};
use gitops_api::rollout::End;
use gitops_cluster::Cluster;
use gitops_core::desired::AppRef;
use gitops_core::rollout::desired::version;
use gitops_core::rollout::state::{Phase, State};
use gitops_engine::load;

use super::declared::Which;
use super::get;
use super::history::ABORTED;
use crate::applications::declared;
use crate::error::{Failure, code};
use crate::output::Format;
use crate::place::Place;
use crate::printer::{Ink, Printer};
use crate::reaching::{Reached, reach};
use crate::rollouts::{self, Seen};
use crate::settings::{Settings, duration};

const INTERVAL: Duration = Duration::from_secs(1);
/// Between two looks at Git.
const AGAIN: Duration = Duration::from_secs(10);

/// Waits until the version that Git says is promoted or aborted
///
/// Exit code 0: it is promoted; 1: it was aborted, or the last one was and Git
/// went back since; 8: neither in time. Where Git cannot be asked from here, that
/// is told, and the version on its way is meant, or the last one.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops rollout status web -n shop\n  kubectl gitops rollout status web --timeout 30m\n  kubectl gitops rollout status web --watch=false"
)]
pub struct Arguments {
    /// The Rollout
    #[arg(value_name = "NAME")]
    rollout: String,
    /// Wait for the end
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true, action = ArgAction::Set, value_name = "BOOL")]
    watch: bool,
    /// How long; 0 without an end
    #[arg(long, default_value = "0", value_name = "DURATION")]
    timeout: String,
    /// How to print; for programs, where it stands in the end
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub async fn run(arguments: &Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let limit = duration(&arguments.timeout)?.unwrap_or(Duration::MAX);
    let Reached { home, cluster, seen } = reach(settings, &arguments.rollout).await?;
    let limit = if arguments.watch { limit } else { Duration::ZERO };
    let (reference, format) = (seen.reference(), arguments.output);
    let git = Git { settings, home: &home, name: &arguments.rollout };
    let ended = until_ended(&cluster, &reference, (Meant::Git(&git), limit), format, printer).await?;
    if !format.is_text() {
        let discovery = cluster.discovery().await?;
        let seen = rollouts::find(&cluster, &reference.namespace, &reference.name).await?;
        get::print(&get::look(&cluster, &discovery, &seen).await?, format, printer)?;
    }
    Ok(ended)
}

/// Which version's end is waited for.
pub enum Meant<'a> {
    /// The one that Git says.
    Git(&'a Git<'a>),
    /// The one of this hash; none: the one on its way, or the last.
    Version(Option<String>),
}

/// Waits for the end; what it says on the way is told, to people on stdout.
pub async fn until_ended(
    cluster: &Cluster,
    reference: &AppRef,
    (meant, limit): (Meant<'_>, Duration),
    format: Format,
    printer: &Printer,
) -> Result<u8, Failure> {
    let tell = |line: &str| if format.is_text() { printer.line(line) } else { printer.talk(line) };
    let (begun, mut said, mut asked) = (Instant::now(), String::new(), None);
    let mut goal = Goal::default();
    if let Meant::Version(hash) = &meant {
        goal.wanted.clone_from(hash);
    }
    loop {
        let seen = rollouts::find(cluster, &reference.namespace, &reference.name).await?;
        let ends = seen.rollout.status.as_ref().map(|status| status.history.as_slice()).unwrap_or_default();
        goal.follow(&seen.state);
        // While a version is on its way, its end is waited for in any case.
        if let (Meant::Git(git), false) = (&meant, seen.state.is_under_way())
            && asked.is_none_or(|at: Instant| at.elapsed() > AGAIN)
        {
            match git.newest(&seen).await {
                Ok(newest) => goal.means(newest),
                Err(failure) if asked.is_none() => {
                    printer
                        .talk(&format!("whether Git says a newer version is not known: {}", failure.message));
                }
                Err(_) => {}
            }
            asked = Some(Instant::now());
        }
        let line = words(&seen);
        if let Some(ended) = goal.result(&seen.state, seen.is_driven, ends) {
            let last = ends.first().filter(|_| ended == code::NO && seen.state.phase == Phase::Idle);
            let line = last.map_or(line, |end| taken_back(&seen, end));
            let ink = if ended == code::YES { Ink::Git } else { Ink::Live };
            tell(&printer.ink(ink, &line));
            return Ok(ended);
        }
        if line != said {
            tell(&line);
            said = line;
        }
        let left = limit.saturating_sub(begun.elapsed());
        if left.is_zero() {
            if !limit.is_zero() {
                printer.talk(&format!("Rollout {reference} has not ended in time"));
            }
            return Ok(code::TIMEOUT);
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL.min(left)) => {}
            _ = tokio::signal::ctrl_c() => return Ok(code::INTERRUPTED),
        }
    }
}

/// Where the version that is meant is looked up.
pub struct Git<'a> {
    settings: &'a Settings,
    /// Where the Application is.
    home: &'a Cluster,
    name: &'a str,
}

impl Git<'_> {
    /// The hash of the version that Git says now.
    async fn newest(&self, seen: &Seen) -> Result<Option<String>, Failure> {
        let place = Place::reach(self.settings).await?;
        let loaded = match seen.application() {
            Some(owner) => load::from_cluster(self.home, &owner, &self.settings.credentials).await.ok(),
            None => None,
        };
        let set = match (&loaded, place.destination()) {
            (Some(loaded), Some(destination)) => {
                let there = Place::Cluster(Box::new(destination.of(loaded).await?.into_owned()));
                declared(loaded, there.environment(), None, &there).await?.1
            }
            // It is described by a file.
            _ => {
                let which = Which { rollout: self.name.to_owned(), file: None, application: None };
                which.find(self.settings, &place).await?.set
            }
        };
        let target = set.objects.get(&seen.spec.target);
        Ok(target.and_then(|target| version(&seen.spec, &target.value)))
    }
}

/// The version whose end is waited for, by its hash.
#[derive(Debug, Default)]
struct Goal {
    wanted: Option<String>,
    /// It was on its way.
    begun: bool,
}

impl Goal {
    /// Git says this version.
    fn means(&mut self, newest: Option<String>) {
        if newest.is_some() && newest != self.wanted {
            (self.wanted, self.begun) = (newest, false);
        }
    }

    /// A newer version takes the place of the one that was on its way.
    fn follow(&mut self, state: &State) {
        let new = state.new.as_ref().filter(|_| state.is_under_way()).map(|new| new.hash.clone());
        if new.is_some() && (new == self.wanted || self.begun || self.wanted.is_none()) {
            (self.wanted, self.begun) = (new, true);
        }
    }

    /// The exit code of what has ended. While it goes back it is not over: the old
    /// version may not serve alone yet.
    fn result(&self, state: &State, is_driven: bool, ends: &[End]) -> Option<u8> {
        let stable = state.stable.as_ref().map(|stable| &stable.hash);
        let wanted = self.wanted.as_ref();
        // Git goes back to the version that runs, after the last one was aborted.
        let is_back = |failed: Option<&String>| wanted.is_none() || wanted == failed || wanted == stable;
        match state.phase {
            Phase::Aborted if is_back(state.refused.as_ref()) => Some(code::NO),
            Phase::Idle if is_driven => match ends.first() {
                Some(end) if end.outcome == ABORTED && is_back(Some(&end.hash)) => Some(code::NO),
                _ if wanted.is_none() || wanted == stable => Some(code::YES),
                _ if self.begun => Some(code::NO),
                _ => None,
            },
            _ => None,
        }
    }
}

fn taken_back(seen: &Seen, end: &End) -> String {
    let Seen { state, .. } = seen;
    let short = |revision: &str| revision.chars().take(12).collect::<String>();
    let runs = state.stable.as_ref().map(|stable| short(&stable.revision)).unwrap_or_default();
    let why = if end.message.is_empty() { String::new() } else { format!(": {}", end.message) };
    let what = if end.outcome == ABORTED {
        format!("{} was aborted{why}", short(&end.revision))
    } else {
        "the version that was on its way was taken back".into()
    };
    format!("Rollout {}: {runs} runs; {what}", seen.reference())
}

fn words(seen: &Seen) -> String {
    let state = &seen.state;
    if !seen.is_driven {
        return format!("Rollout {}: nobody has looked at it yet", seen.reference());
    }
    let version = match (&state.stable, &state.new) {
        (Some(stable), _) if state.phase == Phase::Idle => Some(stable),
        (_, new) => new.as_ref(),
    };
    let version = version.map(|version| version.revision.chars().take(12).collect::<String>());
    let version = version.map(|version| format!(" {version}")).unwrap_or_default();
    format!("Rollout {}:{version} {}", seen.reference(), seen.words())
}

#[cfg(test)]
mod tests {
    use gitops_core::rollout::state::Version;

    use super::*;

    fn version(hash: &str) -> Option<Version> {
        Some(Version { revision: format!("c-{hash}"), hash: hash.into() })
    }

    fn state(phase: Phase, stable: &str, new: Option<&str>) -> State {
        let refused = new.filter(|_| phase == Phase::Aborted).map(str::to_owned);
        State { phase, stable: version(stable), new: new.and_then(version), refused, ..State::default() }
    }

    fn end(hash: &str, outcome: &str) -> Vec<End> {
        vec![End { hash: hash.into(), outcome: outcome.into(), ..End::default() }]
    }

    #[test]
    fn the_version_that_git_says_is_what_counts() {
        let (none, promoted, aborted) = (Vec::new(), end("a", "Promoted"), end("b", "Aborted"));
        for (wanted, seen, ends, expected) in [
            (Some("a"), state(Phase::Idle, "a", None), &none, Some(code::YES)),
            (None, state(Phase::Idle, "a", None), &promoted, Some(code::YES)),
            // It was pushed a moment ago.
            (Some("b"), state(Phase::Idle, "a", None), &promoted, None),
            (Some("c"), state(Phase::Idle, "a", None), &aborted, None),
            (Some("b"), state(Phase::Progressing, "a", Some("b")), &none, None),
            (Some("b"), state(Phase::Aborting, "a", Some("b")), &none, None),
            (Some("b"), state(Phase::Aborted, "a", Some("b")), &aborted, Some(code::NO)),
            (Some("c"), state(Phase::Aborted, "a", Some("b")), &aborted, None),
            // Git has gone back.
            (Some("a"), state(Phase::Aborted, "a", Some("b")), &aborted, Some(code::NO)),
            (Some("a"), state(Phase::Idle, "a", None), &aborted, Some(code::NO)),
            (Some("b"), state(Phase::Idle, "a", None), &aborted, Some(code::NO)),
            (None, state(Phase::Idle, "a", None), &aborted, Some(code::NO)),
        ] {
            let mut goal = Goal { wanted: wanted.map(str::to_owned), begun: false };
            goal.follow(&seen);
            assert_eq!(goal.result(&seen, true, ends), expected, "{wanted:?} {:?}", seen.phase);
        }
        assert_eq!(Goal::default().result(&State::default(), false, &[]), None, "nobody has looked at it");
    }

    #[test]
    fn what_takes_its_place_is_followed() {
        let mut goal = Goal { wanted: Some("b".into()), begun: false };
        goal.follow(&state(Phase::Progressing, "a", Some("old")));
        assert_eq!(goal.wanted.as_deref(), Some("b"), "one that was on its way before");
        goal.follow(&state(Phase::Progressing, "a", Some("b")));
        goal.follow(&state(Phase::Progressing, "a", Some("c")));
        assert_eq!(goal.result(&state(Phase::Idle, "c", None), true, &[]), Some(code::YES));
        assert_eq!(goal.result(&state(Phase::Idle, "a", None), true, &[]), Some(code::NO), "it went back");
        goal.means(Some("d".into()));
        assert_eq!(goal.result(&state(Phase::Idle, "a", None), true, &[]), None);
    }
}
