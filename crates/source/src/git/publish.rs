//! From a draft to a commit on a branch. In: a draft. Out: the commit as it is
//! there. A push that lost a race is made again on the new tip, unless that
//! changed the same files; a checkout follows its remote.

use std::path::Path;

use super::program::{Program, printable};
use super::write::{DRAFT, Draft, NewCommit, Writer};
use crate::error::SourceError;

/// How often a race may be lost.
const TRIES: usize = 5;

/// Which branch a draft goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The one that it was made for.
    Same,
    /// A new one of this name.
    New(String),
}

/// How a push ended.
enum Pushed {
    Done,
    /// The branch is elsewhere by now.
    Lost,
}

impl Draft {
    /// Puts the commit on its branch, at once or not at all; returns its id.
    ///
    /// # Errors
    /// When the branch is protected, somebody changed the same files, or there
    /// is no way to the repository.
    pub fn publish(mut self, target: &Target) -> Result<String, SourceError> {
        if let Some(root) = self.writer.worktree()? {
            return self.in_checkout(&root, target);
        }
        let address = match self.writer.repo.path() {
            Some(path) => path.display().to_string(),
            None => self.writer.repo.address(),
        };
        for _ in 0..TRIES {
            match push(&self.git()?, &self, &address, target, None)? {
                Pushed::Done => return Ok(self.commit),
                Pushed::Lost => self.follow(target)?,
            }
        }
        Err(self.moved("it moves faster than this can follow"))
    }

    /// Makes the commit anew on the branch's new tip.
    fn follow(&mut self, target: &Target) -> Result<(), SourceError> {
        if let Target::New(name) = target {
            return Err(SourceError::Moved {
                repo: self.writer.repo.to_string(),
                branch: name.clone(),
                reason: "it is there already".into(),
            });
        }
        let Writer { cache, repo, credentials, timeout, .. } = &self.writer;
        let reference = format!("refs/heads/{}", self.branch);
        let tip = cache.fetch(repo, &reference, credentials, *timeout)?;
        let changed = self
            .new
            .changes
            .iter()
            .map(super::write::Change::path)
            .find(|path| cache.path_id(repo, &self.base, path) != cache.path_id(repo, &tip.id, path));
        if let Some(path) = changed {
            let path = if path.is_empty() { "a file" } else { path };
            return Err(self.moved(&format!("commit {} changed {path}, too", &tip.id[..12])));
        }
        self.base = tip.id;
        self.make()
    }

    fn moved(&self, reason: &str) -> SourceError {
        SourceError::Moved {
            repo: self.writer.repo.to_string(),
            branch: self.branch.clone(),
            reason: reason.to_owned(),
        }
    }

    /// In a checkout: to its remote first, where there is one, then here.
    fn in_checkout(self, root: &Path, target: &Target) -> Result<String, SourceError> {
        let git =
            Program::new(root, &self.writer.repo, self.writer.timeout).entering(&self.writer.credentials)?;
        let folder = self.folder.path().display().to_string();
        git.run(&["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", &folder, DRAFT], &[])?;
        let remote = remote(&git, &self.branch)?;
        if let Some((remote, reference)) = &remote {
            let pushed = push(&git, &self, remote, target, Some(reference))?;
            if matches!(pushed, Pushed::Lost) {
                return Err(match target {
                    Target::Same => self.moved(&format!("{remote} has commits that are not here")),
                    Target::New(name) => SourceError::Moved {
                        repo: self.writer.repo.to_string(),
                        branch: name.clone(),
                        reason: "it is there already".into(),
                    },
                });
            }
        }
        match target {
            Target::Same if checked_out(&git)? == self.branch => {
                git.run(&["merge", "--quiet", "--ff-only", &self.commit], &[])?;
            }
            Target::Same => {
                let reference = format!("refs/heads/{}", self.branch);
                git.run(&["update-ref", &reference, &self.commit, &self.base], &[])?;
            }
            Target::New(name) if remote.is_none() => {
                git.run(&["branch", "--no-track", "--", name, &self.commit], &[])?;
            }
            Target::New(_) => {}
        }
        Ok(self.commit)
    }
}

/// In a checkout, a commit of ours touches neither work that is not committed
/// nor takes commits along that are not pushed.
pub(super) fn refuse_unfinished(
    writer: &Writer,
    root: &Path,
    branch: &str,
    new: &NewCommit,
) -> Result<(), SourceError> {
    let git = Program::new(root, &writer.repo, writer.timeout);
    let unfinished = |reason: String| SourceError::Unfinished { folder: root.to_owned(), reason };
    if checked_out(&git)? == branch {
        let mut arguments = vec!["status", "--porcelain", "--untracked-files=all", "--"];
        arguments.extend(new.changes.iter().map(|change| match change.path() {
            "" => ".",
            path => path,
        }));
        if let Some(line) = git.run(&arguments, &[])?.lines().next() {
            return Err(unfinished(format!("{} is not as committed", line.get(3..).unwrap_or(line))));
        }
    }
    let Some((remote, reference)) = remote(&git, branch)? else { return Ok(()) };
    let tracking = format!("refs/remotes/{remote}/{}", reference.trim_start_matches("refs/heads/"));
    let range = format!("{tracking}..refs/heads/{branch}");
    let ahead = git.output(&["rev-list", "--count", &range], &[])?;
    match ahead.stdout.trim() {
        "" | "0" => Ok(()),
        count => Err(unfinished(format!("{branch} has commits that {remote} has not: {count}"))),
    }
}

fn checked_out(git: &Program) -> Result<String, SourceError> {
    git.run(&["branch", "--show-current"], &[])
}

/// The remote that a branch follows, and its name there.
fn remote(git: &Program, branch: &str) -> Result<Option<(String, String)>, SourceError> {
    let setting = |name: &str| {
        let ran = git.output(&["config", "--get", &format!("branch.{branch}.{name}")], &[])?;
        Ok::<_, SourceError>(Some(ran.stdout.trim().to_owned()).filter(|value| !value.is_empty()))
    };
    let all = git.run(&["remote"], &[])?;
    let known = |name: &String| all.lines().any(|line| line == name);
    let remote = setting("remote")?.filter(known).or_else(|| Some("origin".to_owned()).filter(known));
    let reference = setting("merge")?.unwrap_or_else(|| format!("refs/heads/{branch}"));
    Ok(remote.map(|remote| (remote, reference)))
}

/// Pushes a draft's commit; `reference` is the branch's name there, where it is
/// another one.
fn push(
    git: &Program,
    draft: &Draft,
    to: &str,
    target: &Target,
    reference: Option<&str>,
) -> Result<Pushed, SourceError> {
    let (reference, branch) = match target {
        Target::Same => {
            let own = format!("refs/heads/{}", draft.branch);
            (reference.map_or(own, str::to_owned), &draft.branch)
        }
        Target::New(name) => (format!("refs/heads/{name}"), name),
    };
    let spec = format!("{}:{reference}", draft.commit);
    let fresh = format!("--force-with-lease={reference}:");
    let mut arguments = vec!["push", "--porcelain"];
    arguments.extend(matches!(target, Target::New(_)).then_some(fresh.as_str()));
    arguments.extend(["--", to, &spec]);
    let ran = git.output(&arguments, &[])?;
    if ran.status.success() {
        return Ok(Pushed::Done);
    }
    let said = printable(&ran.stdout);
    let refusal = said.lines().find(|line| line.starts_with('!'));
    let repo = &draft.writer.repo;
    match refusal.map(|line| line.rsplit('\t').next().unwrap_or(line)) {
        Some(why) if is_race(why) => Ok(Pushed::Lost),
        Some(why) => Err(SourceError::Protected {
            repo: repo.to_string(),
            branch: branch.clone(),
            reason: repo.mask(&told(why, &ran.stderr)),
        }),
        None => Err(no_way(draft, &ran.stderr).unwrap_or_else(|| git.failed(&arguments, &ran.stderr))),
    }
}

/// Whether a push was refused because somebody else was first.
fn is_race(why: &str) -> bool {
    [
        "fetch first",
        "non-fast-forward",
        "stale info",
        "cannot lock ref",
        "failed to update ref",
        "incorrect old value",
    ]
    .iter()
    .any(|words| why.contains(words))
}

/// Why a push was refused: git's word, and what the host says.
fn told(why: &str, stderr: &str) -> String {
    let said = stderr.lines().filter_map(|line| line.strip_prefix("remote:")).map(str::trim);
    let said: Vec<&str> = said.filter(|line| !line.is_empty()).collect();
    let why = why.trim_start_matches("[remote rejected]").trim().trim_matches(['(', ')']);
    if said.is_empty() { why.to_owned() } else { format!("{why}: {}", said.join(" ")) }
}

/// What it means when nobody answered the push.
fn no_way(draft: &Draft, stderr: &str) -> Option<SourceError> {
    let (repo, lower) = (&draft.writer.repo, stderr.to_lowercase());
    let any = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let reason = repo.mask(&stderr.split_whitespace().collect::<Vec<_>>().join(" "));
    let name = repo.to_string();
    let refused =
        ["authentication failed", "could not read username", "permission denied", "error: 401", "error: 403"];
    if any(&refused) {
        return Some(SourceError::Credentials { repo: name, reason });
    }
    let network =
        ["could not resolve", "unable to access", "failed to connect", "could not read from remote"];
    any(&network).then_some(SourceError::Network { repo: name, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_race_is_told_from_a_closed_branch() {
        for why in [
            "[rejected] (fetch first)",
            "[rejected] (stale info)",
            "[remote rejected] (cannot lock ref 'refs/heads/main': is at 1 but expected 2)",
        ] {
            assert!(is_race(why), "{why}");
        }
        let why = "[remote rejected] (protected branch hook declined)";
        assert!(!is_race(why));
        let stderr =
            "remote: error: GH006: Protected branch update failed\nremote: \nerror: failed to push\n";
        assert_eq!(
            told(why, stderr),
            "protected branch hook declined: error: GH006: Protected branch update failed"
        );
    }
}
