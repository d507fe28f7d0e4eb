//! `kubectl gitops rollout undo`

use clap::Args;
use gitops_core::rollout::desired::version;
use gitops_core::rollout::state::State;
use gitops_engine::versions::{Known, versions};

use super::declared::{Declared, Which};
use crate::commands::rollback::{self, Way};
use crate::error::Failure;
use crate::output::Format;
use crate::place::Place;
use crate::printer::Printer;
use crate::settings::Settings;
use crate::{reaching, rollouts};

/// Goes back to an earlier version, by a commit, and syncs
///
/// The version is the promoted one where another is on its way or was aborted,
/// else the one before; `rollout history` counts them. The commit gives all
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

/// The promoted version where Git says another one; else the one before.
async fn before(declared: &Declared, place: &Place) -> Result<String, Failure> {
    let newest = version(&declared.spec, &declared.target()?.value).unwrap_or_default();
    let stable = state(declared, place).await.and_then(|state| state.stable);
    match stable.filter(|stable| stable.hash != newest) {
        Some(stable) => Ok(gitops_engine::restore::commit_of(&declared.loaded, &stable.revision).to_owned()),
        None => Ok(ago(declared, place, 1).await?.last.id),
    }
}

/// Where it stands; none where the cluster does not say.
async fn state(declared: &Declared, place: &Place) -> Option<State> {
    let namespace = &declared.spec.target.namespace;
    let cluster = reaching::of(place, &declared.loaded).await.ok()??;
    let seen = rollouts::find(&cluster, namespace, &declared.name).await.ok()?;
    seen.is_driven.then_some(seen.state)
}

/// The version so many before that of now.
async fn ago(declared: &Declared, place: &Place, back: usize) -> Result<Known, Failure> {
    let (environment, revision) = (place.environment(), &declared.revision);
    let mut known = versions(&declared.loaded, environment, revision, &declared.spec, place, LIMIT).await?;
    if known.len() > back {
        return Ok(known.swap_remove(back));
    }
    let count = known.len();
    Err(Failure::git(format!(
        "the last {LIMIT} commits hold {count} versions: there is nothing to go back to"
    ))
    .hint("`kubectl gitops rollout history` lists them; name an earlier commit with --to-revision REVISION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_told_from_a_revision() {
        assert_eq!(count("2"), Ok(Ok(2)));
        assert_eq!(count("v1.2"), Ok(Err("v1.2")));
        assert_eq!(count("1234567"), Ok(Err("1234567")));
        assert_eq!(count("0").map_err(|failure| failure.code), Err(2));
    }
}
