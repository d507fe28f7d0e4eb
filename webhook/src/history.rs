//! How commits stand to each other, and what those before the tip declared. In:
//! commits that Git has already brought. Out: answers that never change, so
//! they are kept.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use gitops_cluster::Discovery;
use gitops_core::desired::AppRef;
use gitops_core::index::Part;
use gitops_engine::Environment;
use gitops_engine::desired::packed;
use gitops_engine::trust::signed;
use gitops_source::{GitCache, RepoUrl};

use crate::world::Held;

/// Commits before the tip that are looked at for one denial.
const PASSED: usize = 8;
/// Answers kept about pairs of commits.
const PAIRS: usize = 4096;

/// Repository, ancestor, descendant.
type Pair = (RepoUrl, String, String);

/// What is known of the commits behind the tips.
#[derive(Debug)]
pub struct History {
    git: GitCache,
    ancestry: Mutex<HashMap<Pair, bool>>,
    passed: Mutex<HashMap<AppRef, Arc<tokio::sync::Mutex<Passed>>>>,
}

/// The commits before a tip, newest first, as far as they have been rendered.
#[derive(Debug, Default)]
struct Passed {
    tip: String,
    /// Of [`Held`]: another path or other signers make something else of a commit.
    version: Arc<str>,
    commits: Vec<String>,
    /// Only what is declared otherwise than at the tip; None: cannot be rendered, or
    /// is not signed as the Project asks.
    parts: Vec<Option<Arc<Part>>>,
    /// Found while the history was not all here: there may be more.
    partial: bool,
}

impl History {
    pub fn new(cache_dir: &Path) -> Self {
        Self { git: GitCache::open(cache_dir), ancestry: Mutex::default(), passed: Mutex::default() }
    }

    /// Whether one commit is the other or comes before it; None: one of them, or
    /// what lies between them, is not here.
    pub async fn is_ancestor(&self, repo: &RepoUrl, ancestor: &str, descendant: &str) -> Option<bool> {
        let pair = (repo.clone(), ancestor.to_owned(), descendant.to_owned());
        if let Some(known) = held(&self.ancestry).get(&pair) {
            return Some(*known);
        }
        let (git, asked) = (self.git.clone(), pair.clone());
        let answer = tokio::task::spawn_blocking(move || git.is_ancestor(&asked.0, &asked.1, &asked.2).ok());
        let answer = answer.await.ok()??;
        let mut ancestry = held(&self.ancestry);
        if ancestry.len() >= PAIRS {
            ancestry.clear();
        }
        ancestry.insert(pair, answer);
        Some(answer)
    }

    /// Whether only the newest commits of a repository are here.
    pub async fn is_shallow(&self, repo: &RepoUrl) -> bool {
        let (git, repo) = (self.git.clone(), repo.clone());
        tokio::task::spawn_blocking(move || git.is_shallow(&repo)).await.unwrap_or(true)
    }

    /// Whether a commit is here.
    pub async fn contains(&self, repo: &RepoUrl, commit: &str) -> bool {
        let (git, repo, commit) = (self.git.clone(), repo.clone(), commit.to_owned());
        tokio::task::spawn_blocking(move || git.contains(&repo, &commit)).await.unwrap_or(false)
    }

    /// What the commits after `from` and before the tip declared otherwise than
    /// the tip, newest first. Rendered once, one at a time; who stops waiting
    /// does not stop it.
    pub async fn passed(
        &self,
        of: &Held,
        from: &str,
        environment: Environment,
        discovery: Arc<Discovery>,
    ) -> Vec<Arc<Part>> {
        // Which commits of several sources were in force together, nobody knows.
        if of.loaded.sources.len() > 1 {
            return Vec::new();
        }
        let passed = held(&self.passed).entry(of.part.application.clone()).or_default().clone();
        let (git, of, until) = (self.git.clone(), of.clone(), from.to_owned());
        let repo = of.loaded.repo.clone();
        let look = tokio::spawn(async move {
            let mut passed = passed.lock().await;
            passed.look(git, &of, &until, &environment, &discovery).await;
            passed.commits.iter().cloned().zip(passed.parts.iter().cloned()).collect::<Vec<_>>()
        });
        let mut parts = Vec::new();
        for (commit, part) in look.await.unwrap_or_default() {
            let Some(part) = part.filter(|_| commit != from) else { continue };
            if self.is_ancestor(&repo, from, &commit).await == Some(true) {
                parts.push(part);
            }
        }
        parts
    }

    /// Forgets an Application that is gone.
    pub fn forget(&self, application: &AppRef) {
        held(&self.passed).remove(application);
    }
}

impl Passed {
    /// Finds the commits and renders those down to `until`.
    async fn look(
        &mut self,
        git: GitCache,
        of: &Held,
        until: &str,
        environment: &Environment,
        discovery: &Discovery,
    ) {
        let tip = &of.part;
        let is_same = self.tip == tip.revision && self.version == of.version;
        if !is_same || self.partial {
            let (repo, path, revision) =
                (of.loaded.repo.clone(), of.loaded.source().path, tip.revision.clone());
            let found = tokio::task::spawn_blocking(move || {
                let partial = git.is_shallow(&repo);
                (git.passed(&repo, &revision, &path, PASSED).unwrap_or_default(), partial)
            });
            let (commits, partial) = found.await.unwrap_or_default();
            if !is_same || self.commits != commits {
                let (tip, version) = (tip.revision.clone(), of.version.clone());
                *self = Self { tip, version, commits, ..Self::default() };
            }
            self.partial = partial;
        }
        while let Some(commit) = self.commits.get(self.parts.len()).filter(|commit| *commit != until) {
            let part = part_at(of, environment, commit, discovery).await;
            self.parts.push(part.map(|part| Arc::new(part.otherwise_than(tip))));
        }
    }
}

/// What an Application declared at another commit, if it is signed as its Project
/// asks.
pub async fn part_at(
    of: &Held,
    environment: &Environment,
    revision: &str,
    discovery: &Discovery,
) -> Option<Part> {
    signed(&of.loaded, environment, revision).await.ok()?;
    let precedence = of.part.precedence.clone();
    packed(&of.loaded, environment, revision, discovery, precedence).await.ok()
}

fn held<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
