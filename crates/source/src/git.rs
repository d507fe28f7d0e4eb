//! Git, read by gix. In: a repository and a revision. Out: a commit, and a
//! snapshot of its files read straight from the object database.
//!
//! Repositories elsewhere are kept as bare ones in a cache and fetched
//! incrementally; those on this machine are read where they are.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::SourceError;
use crate::location::RepoUrl;

mod failure;
mod fetch;
mod few;
mod history;
mod import;
mod key;
mod opened;
mod passed;
mod program;
mod publish;
mod revision;
mod shallow;
mod shared;
mod signature;
mod since;
mod snapshot;
mod trees;
mod write;

pub use history::Ids;
pub use program::Program;
pub use publish::Target;
pub use revision::is_full_commit;
pub use signature::counts_not as signing_key_counts_not;
pub use snapshot::{FileEntry, Snapshot};
pub use write::{Change, Draft, NewCommit, Person, Writer};

/// Bytes of objects that a look at a repository keeps.
const OBJECT_CACHE: usize = 4 << 20;

/// A commit, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// In full.
    pub id: String,
    /// The first line of its message.
    pub subject: String,
    pub author: String,
    /// Unix seconds.
    pub time: i64,
}

/// Bare repositories under one folder, shared by all processes of a user.
#[derive(Clone, Debug)]
pub struct GitCache {
    root: PathBuf,
}

impl GitCache {
    /// A cache in `root`, which is made when it is first needed.
    pub fn open(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn folder(&self, repo: &RepoUrl) -> PathBuf {
        let hash = hex::encode(Sha256::digest(repo.to_string()));
        self.root.join("git").join(&hash[..32])
    }

    /// Opens what is here of a repository.
    fn repository(&self, repo: &RepoUrl) -> Result<gix::Repository, SourceError> {
        // Only those in the cache: a user's own may be gone and come back in between.
        let place = repo.path().is_none().then(|| self.folder(repo));
        if let Some(mut known) = place.as_deref().and_then(opened::known) {
            known.object_cache_size_if_unset(OBJECT_CACHE);
            return Ok(known);
        }
        let repository = self.open_with(repo, gix::open::Options::isolated())?;
        if let Some(place) = place {
            opened::keep(&place, &repository);
        }
        Ok(repository)
    }

    fn open_with(&self, repo: &RepoUrl, options: gix::open::Options) -> Result<gix::Repository, SourceError> {
        let place = repo.path().map_or_else(|| self.folder(repo), Path::to_owned);
        let opened = if repo.path().is_some() {
            gix::discover_opts(&place, gix::discover::upwards::Options::default(), options)
        } else {
            gix::open_opts(&place, options)
        };
        let mut opened = opened.map_err(|_| SourceError::NotARepository { location: repo.to_string() })?;
        opened.object_cache_size_if_unset(OBJECT_CACHE);
        Ok(opened)
    }

    /// The files of a commit.
    ///
    /// # Errors
    /// When the commit is not here.
    pub fn snapshot(&self, repo: &RepoUrl, commit: &str) -> Result<Snapshot, SourceError> {
        Snapshot::new(self.repository(repo)?, repo, commit)
    }
}

/// The repository that holds `folder`: its root, and the path of `folder` in
/// it. None outside of one.
pub fn enclosing(folder: &Path) -> Option<(PathBuf, PathBuf)> {
    let repository = gix::discover_opts(
        folder,
        gix::discover::upwards::Options::default(),
        gix::open::Options::isolated(),
    )
    .ok()?;
    let root = repository.workdir()?.canonicalize().ok()?;
    let inside = folder.canonicalize().ok()?.strip_prefix(&root).ok()?.to_owned();
    Some((root, inside))
}

/// The branch that a working tree is of; none where HEAD is a commit.
pub fn checked_out(root: &Path) -> Option<String> {
    let repository = gix::open_opts(root, gix::open::Options::isolated()).ok()?;
    Some(repository.head_name().ok()??.shorten().to_string())
}

/// The addresses of a repository's remotes, by their names.
pub fn remotes(root: &Path) -> Vec<String> {
    let Ok(repository) = gix::open_opts(root, gix::open::Options::isolated()) else { return Vec::new() };
    let config = repository.config_snapshot();
    let url = |name: &str| config.string(format!("remote.{name}.url").as_str()).map(|url| url.to_string());
    repository.remote_names().iter().filter_map(|name| url(&name.to_string())).collect()
}

/// The address of a repository's `origin`.
pub fn origin(root: &Path) -> Option<String> {
    let repository = gix::open_opts(root, gix::open::Options::isolated()).ok()?;
    let url = repository.config_snapshot().string("remote.origin.url")?;
    Some(url.to_string())
}
