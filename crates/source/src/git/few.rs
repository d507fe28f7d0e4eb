//! As little of a repository as shows what a revision holds. In: a repository
//! that is not here yet, or in part, and a revision. Out: one commit of it, or
//! what is new on the branches that are here.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicBool;

use gix::protocol::handshake::Ref;
use gix::remote::fetch::Shallow;

use super::failure::git_error;
use super::fetch::{Way, everything, prune};
use super::revision::{REMOTE_HEAD, is_full_commit, nearest, short};
use crate::error::SourceError;

/// What a server says that gives no commits without their history.
const REFUSED: [&str; 3] = ["feature \"shallow\"", "does not support shallow", "not support --depth"];

/// Whether a revision cannot be found without what lies before it.
pub(super) fn needs_history(revision: &str) -> bool {
    let is_short = revision.len() >= 4
        && !is_full_commit(revision)
        && revision.bytes().all(|digit| digit.is_ascii_hexdigit());
    // A branch may be called deadbeef: it is asked for like a commit.
    is_short || revision.contains(['~', '^'])
}

impl Way {
    /// False: the server gives no commits without their history.
    pub(super) fn bring_few(
        &self,
        repository: &gix::Repository,
        revision: &str,
        passed: &AtomicBool,
    ) -> Result<bool, SourceError> {
        let mut asked = specs_of(revision);
        let here = here(repository).map_err(|error| git_error(self.repo(), &error))?;
        if !here.is_empty() {
            // What is here moves on by what is new.
            let all: Vec<String> = here.iter().chain(&asked).cloned().collect();
            let is_known = asked.iter().any(|spec| here.contains(spec));
            let specs = if is_known { &all } else { &here };
            let remote = self.receive(repository, specs, passed, |remote| {
                prune(repository, remote)?;
                let any = remote.iter().any(|reference| is_in(specs, reference));
                Ok(any.then_some(Shallow::NoChange))
            })?;
            self.name_head(repository, &remote)?;
            if is_known {
                return Ok(true);
            }
        } else if !is_full_commit(revision) && revision != "HEAD" {
            // Mostly the same commit, and of the same moment.
            asked.extend(specs_of("HEAD"));
        }
        let mut is_there = true;
        let received = self.receive(repository, &asked, passed, |remote| {
            is_there = is_full_commit(revision) || remote.iter().any(|name| is_meant(name, revision));
            Ok(is_there.then(|| depth(repository, remote)))
        });
        match received {
            Ok(_) if !is_there => Err(self.missing(repository, revision, passed)?),
            Ok(remote) => self.name_head(repository, &remote).map(|()| true),
            Err(error) if REFUSED.iter().any(|words| error.to_string().contains(words)) => Ok(false),
            // Not every server hands out any commit by its id.
            Err(SourceError::Network { .. } | SourceError::Git { .. }) if is_full_commit(revision) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// That there is no such revision, with names like it.
    fn missing(
        &self,
        repository: &gix::Repository,
        revision: &str,
        passed: &AtomicBool,
    ) -> Result<SourceError, SourceError> {
        let all = self.receive(repository, &everything("refs/"), passed, |_| Ok(None))?;
        let names = all.iter().filter_map(|reference| short(&reference.unpack().0.to_string()));
        Ok(SourceError::NoSuchRevision {
            repo: self.repo().to_string(),
            revision: revision.to_owned(),
            near: nearest(names, revision),
        })
    }

    /// HEAD is a branch, too, which may be asked for by its name.
    fn name_head(&self, repository: &gix::Repository, remote: &[Ref]) -> Result<(), SourceError> {
        let error = |error: gix::Error| git_error(self.repo(), &error);
        for reference in remote {
            if let Ref::Symbolic { full_ref_name, target, object, .. } = reference
                && full_ref_name == "HEAD"
                && target.starts_with(b"refs/heads/")
            {
                let any = gix::refs::transaction::PreviousValue::Any;
                repository.reference(target.to_string(), *object, any, "fetch").map_err(error)?;
            }
        }
        Ok(())
    }
}

/// How deep to go: one commit, but a commit of what is here is not cut off from
/// what lies before it.
fn depth(repository: &gix::Repository, remote: &[Ref]) -> Shallow {
    let is_here = |reference: &Ref| {
        let (_, id, peeled) = reference.unpack();
        peeled.or(id).is_some_and(|id| repository.find_commit(id).is_ok())
    };
    match !remote.is_empty() && remote.iter().all(is_here) {
        true => Shallow::NoChange,
        false => Shallow::DepthAtRemote(NonZeroU32::MIN),
    }
}

/// Whether one of the specs takes this reference of the remote.
fn is_in(specs: &[String], reference: &Ref) -> bool {
    let begin = format!("+{}:", reference.unpack().0);
    specs.iter().any(|spec| spec.starts_with(&begin))
}

/// Whether a revision means this reference of the remote.
fn is_meant(reference: &Ref, revision: &str) -> bool {
    let name = reference.unpack().0.to_string();
    name == revision || short(&name).as_deref() == Some(revision)
}

/// What a revision may mean at the remote, and where it is kept.
fn specs_of(revision: &str) -> Vec<String> {
    if revision == "HEAD" {
        return vec![format!("+HEAD:{REMOTE_HEAD}")];
    }
    if is_full_commit(revision) {
        return vec![format!("+{revision}:refs/gitops/commits/{revision}")];
    }
    if revision.starts_with("refs/") {
        return vec![format!("+{revision}:{revision}")];
    }
    ["heads", "tags"].map(|kind| format!("+refs/{kind}/{revision}:refs/{kind}/{revision}")).into()
}

/// The same of all that is here.
fn here(repository: &gix::Repository) -> Result<Vec<String>, gix::Error> {
    let mut specs = Vec::new();
    for reference in repository.references()?.all()?.filter_map(Result::ok) {
        let name = reference.name().as_bstr().to_string();
        if name == REMOTE_HEAD {
            specs.extend(specs_of("HEAD"));
        } else if name.starts_with("refs/heads/") || name.starts_with("refs/tags/") {
            specs.extend(specs_of(&name));
        }
    }
    Ok(specs)
}
