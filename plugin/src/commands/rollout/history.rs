//! `kubectl gitops rollout history`

use clap::Args;
use gitops_api::rollout::End;
use gitops_core::names::OUTPUT_API_VERSION;
use gitops_core::rollout::state::{Aftermath, Phase, State};
use gitops_engine::versions::{Known, versions};
use serde::Serialize;

use super::declared::{Declared, Which};
use crate::error::{Failure, code};
use crate::layout;
use crate::output::{self, Format};
use crate::place::Place;
use crate::printer::{Ink, Printer};
use crate::rollouts::Seen;
use crate::settings::Settings;
use crate::{reaching, rollouts};

/// What follows where the Rollout cannot be looked at.
const UNKNOWN: &str = "what became of versions is not known";

/// Lists the versions of a Rollout's target in Git, newest first, and what became of them
///
/// A version is what the Pod template says: a commit that changes something
/// else is of the same version. NUMBER is what `rollout undo --to-revision`
/// takes.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops rollout history web\n  kubectl gitops rollout history web --limit 100 -o json"
)]
pub struct Arguments {
    #[command(flatten)]
    which: Which,
    /// How many commits to look through
    #[arg(long, default_value_t = 30, value_name = "COUNT")]
    limit: usize,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// A version.
#[derive(Clone, Debug, Serialize)]
struct Entry {
    /// How many versions ago.
    number: usize,
    hash: String,
    /// The commit that brought it in.
    revision: String,
    subject: String,
    author: String,
    /// RFC 3339.
    time: String,
    images: Vec<String>,
    /// `promoted`, the phase of what is on its way, `aborted` or `rolled back`.
    #[serde(skip_serializing_if = "String::is_empty")]
    state: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip)]
    seconds: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    api_version: &'static str,
    kind: &'static str,
    application: String,
    rollout: String,
    items: Vec<Entry>,
}

pub async fn run(arguments: &Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let place = Place::reach_if_there(settings, printer, UNKNOWN).await?;
    let declared = arguments.which.find(settings, &place).await?;
    let seen = match seen(&place, &declared).await {
        Ok(seen) => seen.filter(|seen| seen.is_driven),
        Err(failure) => {
            printer.talk(&format!("the Rollout cannot be looked at ({}): {UNKNOWN}", failure.message));
            None
        }
    };
    let ends =
        seen.as_ref().and_then(|seen| seen.rollout.status.as_ref()).map(|status| status.history.clone());
    let past = Past { state: seen.map(|seen| seen.state), ends: ends.unwrap_or_default() };
    let (environment, revision) = (place.environment(), &declared.revision);
    let known =
        versions(&declared.loaded, environment, revision, &declared.spec, &place, arguments.limit).await?;
    let items = entries(known, &past);
    let application = declared.loaded.application.to_string();
    match arguments.output {
        Format::Text | Format::Wide => {
            let title = format!("Rollout {} of Application {application}", declared.name);
            printer.line(&printer.ink(Ink::Bold, &title));
            let now = jiff::Timestamp::now().as_second();
            text(&items, now, printer).iter().for_each(|line| printer.line(line));
        }
        Format::Name => items.iter().for_each(|entry| printer.line(&entry.revision)),
        Format::Jsonl => output::print(&items, arguments.output, printer)?,
        format => {
            let rollout = declared.name;
            let report = Report {
                api_version: OUTPUT_API_VERSION,
                kind: "RolloutHistory",
                application,
                rollout,
                items,
            };
            output::print(&[report], format, printer)?;
        }
    }
    Ok(code::YES)
}

/// The Rollout as the cluster has it that its Application goes to.
async fn seen(place: &Place, declared: &Declared) -> Result<Option<Seen>, Failure> {
    match reaching::of(place, &declared.loaded).await? {
        Some(cluster) => rollouts::look(&cluster, &declared.spec.target.namespace, &declared.name).await,
        None => Ok(None),
    }
}

/// What a Rollout's status says of its versions.
#[derive(Default)]
struct Past {
    state: Option<State>,
    /// Of those before, the last first.
    ends: Vec<End>,
}

fn entries(known: Vec<Known>, past: &Past) -> Vec<Entry> {
    let mut items: Vec<Entry> =
        known.into_iter().enumerate().map(|(number, known)| entry(number, known, past)).collect();
    // The commits that `rollback`, `undo` and failed rollouts make say so.
    let taken: Vec<bool> = items.iter().map(|newer| newer.subject.starts_with(TAKEN_BACK)).collect();
    for (item, _) in
        items.iter_mut().skip(1).zip(taken).filter(|(item, taken)| *taken && item.state.is_empty())
    {
        item.state = "rolled back".into();
    }
    items
}

/// The outcome of a version that was taken back.
pub(super) const ABORTED: &str = "Aborted";
/// How a commit begins that takes the version before it back.
const TAKEN_BACK: &str = "Roll back ";

fn entry(number: usize, known: Known, past: &Past) -> Entry {
    let (mut word, mut message) =
        past.state.as_ref().map(|state| became(&known.hash, state)).unwrap_or_default();
    // How it ended the last time.
    let end = past.ends.iter().find(|end| end.hash == known.hash);
    if let Some(end) = end.filter(|end| word.is_empty() && end.outcome == ABORTED) {
        (word, message) = (ABORTED.to_lowercase(), end.message.clone());
    }
    Entry {
        number,
        hash: known.hash,
        time: jiff::Timestamp::from_second(known.first.time).map(|time| time.to_string()).unwrap_or_default(),
        seconds: known.first.time,
        revision: known.first.id,
        subject: known.first.subject,
        author: known.first.author,
        images: known.images,
        state: word,
        message,
    }
}

/// What became of a version, and why.
fn became(hash: &str, state: &State) -> (String, String) {
    let is = |version: &Option<gitops_core::rollout::state::Version>| {
        version.as_ref().is_some_and(|version| version.hash == hash)
    };
    let git = match &state.aftermath {
        Some(Aftermath::Done(commit)) => format!("; Git was changed by {commit}"),
        _ => String::new(),
    };
    if is(&state.stable) {
        ("promoted".into(), String::new())
    } else if state.refused.as_deref() == Some(hash) {
        ("aborted".into(), format!("{}{git}", state.message))
    } else if is(&state.new) && state.phase != Phase::Idle {
        (format!("{:?}", state.phase).to_lowercase(), state.message.clone())
    } else {
        (String::new(), String::new())
    }
}

fn text(items: &[Entry], now: i64, printer: &Printer) -> Vec<String> {
    let row = |entry: &Entry| {
        let why = if entry.message.is_empty() { String::new() } else { format!(": {}", entry.message) };
        vec![
            entry.number.to_string(),
            entry.revision.chars().take(12).collect(),
            layout::age(entry.seconds, now),
            entry.state.clone(),
            format!("{} ({}){why} [{}]", entry.subject, entry.author, entry.images.join(", ")),
        ]
    };
    let rows: Vec<Vec<String>> = items.iter().map(row).collect();
    layout::columns(&["NUMBER", "REVISION", "WHEN", "STATE", "WHAT"], &rows, printer)
}

#[cfg(test)]
mod tests {
    use gitops_core::rollout::state::Version;
    use gitops_source::Commit;

    use super::*;
    use crate::cli::ColorChoice;

    #[test]
    fn what_became_of_a_version_is_told() {
        let known = |hash: &str, image: &str| {
            let commit = Commit { id: hash.repeat(40), subject: "Web".into(), author: "Ada".into(), time: 0 };
            Known { hash: hash.into(), first: commit.clone(), last: commit, images: vec![image.into()] }
        };
        let version = |hash: &str| Some(Version { revision: hash.repeat(40), hash: hash.into() });
        let state = State {
            phase: Phase::Aborted,
            stable: version("b"),
            new: version("a"),
            refused: Some("a".into()),
            message: "errors/rate failed".into(),
            ..State::default()
        };
        let mut all = vec![known("a", "web:3"), known("b", "web:2"), known("c", "web:1")];
        all[1].first.subject = "Roll back web to 0123456789ab".into();
        let end = |hash: &str, outcome: &str| End {
            hash: hash.into(),
            outcome: outcome.into(),
            message: "no progress".into(),
            ..End::default()
        };
        all.push(known("d", "web:0"));
        let ends = vec![end("d", "Aborted"), end("a", "Promoted"), end("d", "Promoted")];
        let items = entries(all, &Past { state: Some(state), ends });
        insta::assert_snapshot!(text(&items, 300, &Printer::new(ColorChoice::Never).wide(100)).join("\n"), @"
        NUMBER  REVISION      WHEN           STATE        WHAT
        0       aaaaaaaaaaaa  5 minutes ago  aborted      Web (Ada): errors/rate failed [web:3]
        1       bbbbbbbbbbbb  5 minutes ago  promoted     Roll back web to 0123456789ab (Ada) [web:2]
        2       cccccccccccc  5 minutes ago  rolled back  Web (Ada) [web:1]
        3       dddddddddddd  5 minutes ago  aborted      Web (Ada): no progress [web:0]
        ");
    }
}
