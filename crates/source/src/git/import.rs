//! Archives as commits. In: a packed chart or artifact. Out: a commit in the
//! cache that holds its files, so that everything that reads Git reads it too,
//! with the same checks of names, links and sizes. The commit's id depends on
//! nothing but the content and its name: it is the same on every machine.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::{Duration, Instant};

use gix::objs::tree::{Entry, EntryKind};

use super::failure::git_error;
use super::revision::describe;
use super::{Commit, GitCache};
use crate::error::SourceError;
use crate::location::RepoUrl;

/// Entries and bytes that an archive may unpack to.
const MAX_ENTRIES: usize = 100_000;
const MAX_UNPACKED: u64 = 1 << 30;
const MAX_DEPTH: usize = 64;
/// How long another process may keep the lock.
const PATIENCE: Duration = Duration::from_secs(60);

enum Item {
    Folder(BTreeMap<String, Item>),
    File(gix::ObjectId, EntryKind),
}

impl GitCache {
    /// The commit of this name that was imported before.
    pub(crate) fn imported(&self, repo: &RepoUrl, name: &str) -> Option<Commit> {
        let repository = self.repository(repo).ok()?;
        let id = repository.try_find_reference(&reference(name)).ok()??.into_fully_peeled_id().ok()?;
        describe(&repository.find_commit(id).ok()?).ok()
    }

    /// Gives an imported commit another name.
    pub(crate) fn name_import(&self, repo: &RepoUrl, name: &str, commit: &Commit) -> Result<(), SourceError> {
        let repository = self.repository(repo)?;
        let id = gix::ObjectId::from_hex(commit.id.as_bytes());
        let id = id.map_err(|error| failed(repo, &error))?;
        self.refer(repo, &repository, name, id)
    }

    fn refer(
        &self,
        repo: &RepoUrl,
        repository: &gix::Repository,
        name: &str,
        id: gix::ObjectId,
    ) -> Result<(), SourceError> {
        let any = gix::refs::transaction::PreviousValue::Any;
        repository.reference(reference(name), id, any, "import").map_err(|error| git_error(repo, &error))?;
        Ok(())
    }

    /// Imports a gzipped tar archive under a name. `message` says what it is.
    ///
    /// # Errors
    /// When it is none, holds what no repository may, or is too large.
    pub(crate) fn import(
        &self,
        repo: &RepoUrl,
        name: &str,
        message: &str,
        archive: &[u8],
    ) -> Result<Commit, SourceError> {
        let place = self.folder(repo);
        std::fs::create_dir_all(&place).map_err(SourceError::io(&place))?;
        let lock_path = place.with_extension("lock");
        let lock = std::fs::File::create(&lock_path).map_err(SourceError::io(&lock_path))?;
        let since = Instant::now();
        while lock.try_lock().is_err() {
            if since.elapsed() > PATIENCE {
                return Err(SourceError::Timeout {
                    what: format!("another process that fetches {repo}"),
                    seconds: PATIENCE.as_secs(),
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if !place.join("HEAD").is_file() {
            gix::init_bare(&place).map_err(|error| git_error(repo, &error))?;
        }
        let repository = self.repository(repo)?;
        let root = unpack(repo, &repository, archive)?;
        let tree = write(repo, &repository, root)?;
        // No clock, no user: the same everywhere.
        let nobody = gix::actor::Signature {
            name: "registry".into(),
            email: "registry".into(),
            time: gix::date::Time::new(0, 0),
        };
        let commit = gix::objs::Commit {
            tree,
            parents: Default::default(),
            author: nobody.clone(),
            committer: nobody,
            encoding: None,
            message: message.into(),
            extra_headers: Vec::new(),
        };
        let id = repository.write_object(&commit).map_err(|error| failed(repo, &error))?.detach();
        self.refer(repo, &repository, name, id)?;
        describe(&repository.find_commit(id).map_err(|error| failed(repo, &error))?)
            .map_err(|error| git_error(repo, &error))
    }
}

fn reference(name: &str) -> String {
    format!("refs/gitops/imports/{name}")
}

fn failed(repo: &RepoUrl, error: &dyn std::fmt::Display) -> SourceError {
    SourceError::Git { repo: repo.to_string(), reason: error.to_string() }
}

fn unpack(
    repo: &RepoUrl,
    repository: &gix::Repository,
    archive: &[u8],
) -> Result<BTreeMap<String, Item>, SourceError> {
    let bad = |reason: String| SourceError::Registry { place: repo.to_string(), reason };
    let broken = |error: std::io::Error| bad(format!("it is no archive that can be unpacked: {error}"));
    let mut root = BTreeMap::new();
    // One byte more than is allowed, to tell the end from the limit.
    let unpacked = flate2::read::MultiGzDecoder::new(archive).take(MAX_UNPACKED + 1);
    let mut archive = tar::Archive::new(unpacked);
    for (count, entry) in archive.entries().map_err(broken)?.enumerate() {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.to_string_lossy().into_owned();
        if count >= MAX_ENTRIES {
            return Err(bad(format!("it holds more than {MAX_ENTRIES} files")));
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if path.starts_with('/') || parts.contains(&"..") || parts.len() > MAX_DEPTH {
            return Err(bad(format!("{path:?} in it leads out of it")));
        }
        let kind = entry.header().entry_type();
        let blob = |bytes: &[u8]| {
            repository.write_blob(bytes).map(gix::Id::detach).map_err(|error| failed(repo, &error))
        };
        let item = if kind.is_dir() {
            Item::Folder(BTreeMap::new())
        } else if kind.is_file() {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(broken)?;
            Item::File(blob(&bytes)?, EntryKind::Blob)
        } else if kind.is_symlink() {
            let to = entry.link_name().map_err(broken)?.unwrap_or_default().to_string_lossy().into_owned();
            Item::File(blob(to.as_bytes())?, EntryKind::Link)
        } else {
            return Err(bad(format!("{path:?} in it is neither a file, a folder nor a link")));
        };
        if !place(&mut root, &parts, item) {
            return Err(bad(format!("{path:?} in it is both a file and a folder")));
        }
    }
    if archive.into_inner().limit() == 0 {
        return Err(bad(format!("it unpacks to more than {} MiB", MAX_UNPACKED >> 20)));
    }
    if root.is_empty() {
        return Err(bad("it is empty".into()));
    }
    Ok(root)
}

/// Puts an item into its folder; false when a file is in the way.
fn place(folder: &mut BTreeMap<String, Item>, parts: &[&str], item: Item) -> bool {
    match parts {
        [] => true,
        [name] => match (folder.get(*name), &item) {
            // A folder may be named after its files have been.
            (Some(Item::Folder(_)), Item::Folder(_)) => true,
            (Some(Item::Folder(_)), _) | (Some(_), Item::Folder(_)) => false,
            _ => {
                folder.insert((*name).to_owned(), item);
                true
            }
        },
        [name, rest @ ..] => {
            let inner = folder.entry((*name).to_owned()).or_insert_with(|| Item::Folder(BTreeMap::new()));
            match inner {
                Item::Folder(inner) => place(inner, rest, item),
                Item::File(..) => false,
            }
        }
    }
}

fn write(
    repo: &RepoUrl,
    repository: &gix::Repository,
    folder: BTreeMap<String, Item>,
) -> Result<gix::ObjectId, SourceError> {
    let mut entries = Vec::with_capacity(folder.len());
    for (name, item) in folder {
        let (oid, kind) = match item {
            Item::Folder(inner) => (write(repo, repository, inner)?, EntryKind::Tree),
            Item::File(id, kind) => (id, kind),
        };
        entries.push(Entry { mode: kind.into(), filename: name.into(), oid });
    }
    entries.sort();
    let tree = gix::objs::Tree { entries };
    Ok(repository.write_object(&tree).map_err(|error| failed(repo, &error))?.detach())
}
