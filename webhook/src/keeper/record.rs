//! Which commit is recorded as in force. In: the commit that is, and the one
//! that the status names. Out: the one that the status goes on to name. As long
//! as no commit since says anything new to an Application, that is the one of
//! before: a commit in a repository of a thousand Applications is not a
//! thousand writes.
//!
//! A replica that knows nothing but the status takes every later commit for
//! news. So all commits between are looked at, those of merged branches as
//! well: none of them may declare anything else.

use gitops_core::desired::AppRef;
use gitops_engine::desired::reading;
use gitops_engine::{EngineError, Environment, Loaded};

use super::Keeper;

/// Commits that are looked at to spare a write.
const LOOKED_AT: usize = 64;

/// What the status names, and how far it is true.
#[derive(Clone, Debug)]
pub(super) struct Record {
    named: String,
    /// Up to here nothing has changed.
    until: String,
    /// What is read there, where it was asked for.
    reading: Option<String>,
}

impl Record {
    /// As a status has it.
    pub(super) fn new(named: &str) -> Self {
        Self { named: named.to_owned(), until: named.to_owned(), reading: None }
    }
}

impl Keeper {
    /// The commit to name for `tip`, which is in force.
    pub(super) async fn recorded(
        &self,
        application: &AppRef,
        record: &mut Option<Record>,
        tip: &str,
    ) -> String {
        if let Some(known) = record.as_ref().filter(|known| known.until == tip) {
            return known.named.clone();
        }
        let held = self.held.lock().await.get(application).cloned();
        let next = match (record.take(), held, self.surroundings().await) {
            (Some(known), Some(held), Ok(around)) => {
                reach(known, &held.loaded, &around.environment, tip).await.unwrap_or_else(|error| {
                    tracing::debug!(%application, %error, "what has passed is not known");
                    None
                })
            }
            _ => None,
        };
        record.insert(next.unwrap_or_else(|| Record::new(tip))).named.clone()
    }
}

/// The record up to `tip`, if all commits on the way read the same.
async fn reach(
    known: Record,
    loaded: &Loaded,
    environment: &Environment,
    tip: &str,
) -> Result<Option<Record>, EngineError> {
    // Which commits of several sources were in force together, nobody knows.
    let [place] = loaded.sources.as_slice() else { return Ok(None) };
    let (git, repo) = (environment.git(), place.repo.clone());
    let (from, to) = (known.until.clone(), tip.to_owned());
    let since = tokio::task::spawn_blocking(move || git.since(&repo, &from, &to, LOOKED_AT));
    let since = since.await.map_err(|error| EngineError::Internal(error.to_string()))??;
    let Some(since) = since else { return Ok(None) };
    let before = match known.reading {
        Some(before) => Some(before),
        None => reading(loaded, environment, &known.until).await?,
    };
    let Some(before) = before else { return Ok(None) };
    for commit in since {
        if reading(loaded, environment, &commit).await?.as_ref() != Some(&before) {
            return Ok(None);
        }
    }
    Ok(Some(Record { until: tip.to_owned(), reading: Some(before), ..known }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::path::Path;
    use std::process::Command;
    use std::time::Duration;

    use gitops_engine::load::from_flags;
    use gitops_source::{Credentials, RepoUrl};

    use super::*;

    fn git(folder: &Path, arguments: &[&str]) -> String {
        let person = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"];
        let done = Command::new("git").args(person).args(arguments).current_dir(folder).output().unwrap();
        assert!(done.status.success(), "{arguments:?}");
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    fn commit(folder: &Path, file: &str, text: &str) -> String {
        let path = folder.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        git(folder, &["add", "--all"]);
        git(folder, &["commit", "--quiet", "-m", text]);
        git(folder, &["rev-parse", "HEAD"])
    }

    #[tokio::test]
    async fn a_record_stays_while_no_commit_on_the_way_says_anything_else() {
        let (repo, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        git(repo.path(), &["init", "--quiet", "--initial-branch=main"]);
        let environment = Environment {
            cache_dir: cache.path().to_owned(),
            tools: gitops_source::Tools::default(),
            git_timeout: Duration::from_secs(5),
            looks: gitops_engine::Looks::Always,
            kube_version: String::new(),
            api_versions: Vec::new(),
            keys: gitops_source::sops::Keys::default(),
        };
        let url = RepoUrl::local(repo.path());
        let loaded = from_flags("a", "shop", url, "main", "a", Credentials::default());
        let named = async |from: &str, tip: &str| {
            let next = reach(Record::new(from), &loaded, &environment, tip).await.unwrap();
            next.map(|record| (record.named, record.until))
        };
        let first = commit(repo.path(), "a/config.yaml", "a: 1");
        commit(repo.path(), "b/config.yaml", "b: 1");
        let quiet = commit(repo.path(), "b/config.yaml", "b: 2");
        assert_eq!(named(&first, &quiet).await, Some((first.clone(), quiet.clone())));
        // There and back: the commit between is not to become news again.
        commit(repo.path(), "a/config.yaml", "a: 2");
        let back = commit(repo.path(), "a/config.yaml", "a: 1");
        assert_eq!(named(&quiet, &back).await, None);
        // A branch that says something else, of which the merge takes nothing.
        git(repo.path(), &["checkout", "--quiet", "-b", "side"]);
        commit(repo.path(), "a/config.yaml", "a: 3");
        git(repo.path(), &["checkout", "--quiet", "main"]);
        commit(repo.path(), "b/config.yaml", "b: 3");
        git(repo.path(), &["merge", "--quiet", "-s", "ours", "-m", "merge", "side"]);
        let merged = git(repo.path(), &["rev-parse", "HEAD"]);
        assert_eq!(named(&back, &merged).await, None);
        assert_eq!(named(&merged, &back).await, None, "it does not lie before it");
    }
}
