//! `kubectl gitops rollout undo`

use clap::Args;
use gitops_api::rollout::End;
use gitops_core::rollout::desired::version;
use gitops_engine::versions::{Known, versions};

use super::declared::{Declared, Which};
use super::history::ABORTED;
use crate::commands::rollback::{self, Way};
use crate::error::Failure;
use crate::output::Format;
use crate::place::Place;
use crate::printer::Printer;
use crate::rollouts::Seen;
use crate::settings::Settings;
use crate::{reaching, rollouts};

/// Goes back to an earlier version, by a commit, and syncs
///
/// The version is the promoted one where another is on its way or was aborted,
/// else the newest other one that was not aborted; `rollout history` counts them. The commit gives all
/// files that the Application's render reads the content they had: the target's
/// configuration goes back with it. It gets in as the Rollout says; going back
/// to what runs is immediate.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops rollout undo web --dry-run\n  kubectl gitops rollout undo web --to-revision 2 --reason INC-12 --yes\n  kubectl gitops rollout undo web --to-revision v1.2 --branch undo-web"
)]
pub struct Arguments {
    #[command(flatten)]
    which: Which,
    /// So many versions ago, or as it was at this branch, tag or commit
    #[arg(long, value_name = "COUNT|REVISION")]
    to_revision: Option<String>,
    /// Push to a new branch of this name instead, and do not sync
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// Why, for the commit's message
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Wait until everything is healthy
    #[arg(long)]
    wait: bool,
    /// How long each wave, each hook, and --wait may take
    #[arg(long, default_value = "5m", value_name = "DURATION")]
    timeout: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Commits that are looked through for versions.
const LIMIT: usize = 50;
/// Counts have at most so many digits; a commit's short id has more.
const DIGITS: usize = 3;

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let place = Place::reach_if_there(settings, printer, "where the Rollout stands is not known").await?;
    let declared = arguments.which.find(settings, &place).await?;
    let asked = arguments.to_revision.as_deref();
    let to = match asked.map(count).transpose()? {
        Some(Err(revision)) => revision.to_owned(),
        Some(Ok(back)) => ago(&declared, &place, back).await?.last.id,
        None => before(&declared, &place).await?,
    };
    let Arguments { branch, reason, dry_run, yes, wait, timeout, output, .. } = arguments;
    let way = Way { branch, reason, dry_run, yes, wait, timeout, output };
    let settings = settings.in_namespace(&declared.loaded.application.namespace);
    rollback::run(rollback::Arguments::to_commit(declared.selection, to, way), &settings, printer).await
}

/// A count of versions, or else a revision.
fn count(to: &str) -> Result<Result<usize, &str>, Failure> {
    if to.len() > DIGITS || !to.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Err(to));
    }
    match to.parse() {
        Ok(count) if count > 0 => Ok(Ok(count)),
        _ => Err(Failure::usage(format!("--to-revision {to:?} goes nowhere"))
            .hint("1 is the version before; `kubectl gitops rollout history` counts them")),
    }
}

/// The promoted version where Git says another one; else the newest other one that
/// was not aborted.
async fn before(declared: &Declared, place: &Place) -> Result<String, Failure> {
    let newest = version(&declared.spec, &declared.target()?.value).unwrap_or_default();
    let seen = seen(declared, place).await;
    let stable = seen.as_ref().and_then(|seen| seen.state.stable.as_ref());
    if let Some(stable) = stable.filter(|stable| stable.hash != newest) {
        return Ok(gitops_engine::restore::commit_of(&declared.loaded, &stable.revision).to_owned());
    }
    let ends = seen.and_then(|seen| seen.rollout.status).map(|status| status.history).unwrap_or_default();
    let known = known(declared, place).await?;
    let count = known.len();
    earlier(known, &newest, &ends).map(|known| known.last.id).ok_or_else(|| none(count))
}

/// The newest version but `newest` that did not end badly the last time.
fn earlier(known: Vec<Known>, newest: &str, ends: &[End]) -> Option<Known> {
    let was_aborted =
        |hash: &str| ends.iter().find(|end| end.hash == hash).is_some_and(|end| end.outcome == ABORTED);
    known.into_iter().find(|known| known.hash != newest && !was_aborted(&known.hash))
}

/// As the cluster has it; none where it does not say.
async fn seen(declared: &Declared, place: &Place) -> Option<Seen> {
    let namespace = &declared.spec.target.namespace;
    let cluster = reaching::of(place, &declared.loaded).await.ok()??;
    let seen = rollouts::look(&cluster, namespace, &declared.name).await.ok()??;
    seen.is_driven.then_some(seen)
}

async fn known(declared: &Declared, place: &Place) -> Result<Vec<Known>, Failure> {
    let (environment, revision) = (place.environment(), &declared.revision);
    Ok(versions(&declared.loaded, environment, revision, &declared.spec, place, LIMIT).await?)
}

/// The version so many before that of now.
async fn ago(declared: &Declared, place: &Place, back: usize) -> Result<Known, Failure> {
    let mut known = known(declared, place).await?;
    let count = known.len();
    if count > back { Ok(known.swap_remove(back)) } else { Err(none(count)) }
}

fn none(count: usize) -> Failure {
    Failure::git(format!("the last {LIMIT} commits hold {count} versions: there is nothing to go back to"))
        .hint(
            "`kubectl gitops rollout history` lists them; name an earlier commit with --to-revision REVISION",
        )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use gitops_source::Commit;

    use super::*;

    #[test]
    fn a_version_that_was_aborted_is_none_to_go_back_to() {
        let known = |hashes: &[&str]| -> Vec<Known> {
            let commit =
                |id: &str| Commit { id: id.into(), subject: String::new(), author: String::new(), time: 0 };
            let one = |hash: &&str| Known {
                hash: (*hash).into(),
                first: commit(hash),
                last: commit(hash),
                images: Vec::new(),
            };
            hashes.iter().map(one).collect()
        };
        let end =
            |hash: &str, outcome: &str| End { hash: hash.into(), outcome: outcome.into(), ..End::default() };
        // The last one comes first: b went well in the end.
        let ends = [end("b", "Promoted"), end("x", ABORTED), end("b", ABORTED)];
        let to = |hashes: &[&str]| earlier(known(hashes), "a", &ends).map(|known| known.hash);
        assert_eq!(to(&["a", "x", "a", "b", "c"]).unwrap(), "b");
        assert_eq!(to(&["a", "c", "b"]).unwrap(), "c", "of which nothing is known");
        assert_eq!(to(&["a", "x", "a"]), None);
    }

    #[test]
    fn a_count_is_told_from_a_revision() {
        assert_eq!(count("2"), Ok(Ok(2)));
        assert_eq!(count("v1.2"), Ok(Err("v1.2")));
        assert_eq!(count("1234567"), Ok(Err("1234567")));
        assert_eq!(count("0").map_err(|failure| failure.code), Err(2));
    }
}
