//! The files of one commit, read from the object database. A tree is anything
//! that somebody pushed: its names, sizes and links are checked here, before
//! anything is written or read by them.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use gix::objs::tree::EntryKind;

use super::shallow::missing;
use super::trees;
use crate::error::SourceError;
use crate::location::RepoUrl;

/// Entries and bytes that one checkout may have.
const MAX_FILES: usize = 100_000;
const MAX_BYTES: u64 = 1 << 30;
/// Bytes of a file that is read as a manifest.
const MAX_FILE: u64 = 64 << 20;
/// Links that one link may lead over, as in a kernel.
const MAX_HOPS: usize = 8;

/// A file in a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// From the repository's root.
    pub path: String,
    pub id: gix::ObjectId,
    pub kind: EntryKind,
}

/// The tree of one commit.
#[derive(Clone)]
pub struct Snapshot {
    repository: gix::ThreadSafeRepository,
    repo: String,
    commit: String,
    root: gix::ObjectId,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.repo, self.commit)
    }
}

impl Snapshot {
    pub(super) fn new(
        repository: gix::Repository,
        repo: &RepoUrl,
        commit: &str,
    ) -> Result<Self, SourceError> {
        let missing = || missing(&repository, repo, commit);
        let id = gix::ObjectId::from_hex(commit.as_bytes()).map_err(|_| missing())?;
        let root = repository
            .find_commit(id)
            .ok()
            .and_then(|commit| Some(commit.tree_id().ok()?.detach()))
            .ok_or_else(missing)?;
        Ok(Self {
            repository: repository.into_sync(),
            repo: repo.to_string(),
            commit: commit.to_owned(),
            root,
        })
    }

    fn error(&self, error: &impl std::fmt::Display) -> SourceError {
        SourceError::Git { repo: self.repo.clone(), reason: error.to_string() }
    }

    fn missing(&self, path: &str) -> SourceError {
        SourceError::NoSuchPath {
            repo: self.repo.clone(),
            revision: self.commit[..12].to_owned(),
            path: path.to_owned(),
        }
    }

    /// The id of a folder's tree or of a file: what a render of it depends on.
    ///
    /// # Errors
    /// When there is no such path.
    pub fn id(&self, path: &str) -> Result<String, SourceError> {
        Ok(self.entry(path)?.0.to_string())
    }

    /// The id of what a path holds and whether that is a folder; none when
    /// there is nothing. The error names a link on the way to it.
    pub(crate) fn look_up(&self, path: &str) -> Result<Option<(String, bool)>, String> {
        if let Ok((id, kind)) = self.entry(path) {
            return match kind {
                EntryKind::Link => Err(path.to_owned()),
                EntryKind::Commit => Ok(None),
                kind => Ok(Some((id.to_string(), kind == EntryKind::Tree))),
            };
        }
        let link = path
            .match_indices('/')
            .map(|(end, _)| &path[..end])
            .find(|above| self.entry(above).is_ok_and(|(_, kind)| kind == EntryKind::Link));
        link.map_or(Ok(None), |link| Err(link.to_owned()))
    }

    /// A link under a folder that leads out of that folder.
    ///
    /// # Errors
    /// When there is no such folder, or it holds more than any real one.
    pub(crate) fn link_out_of(&self, folder: &str) -> Result<Option<String>, SourceError> {
        for file in self.files(folder, true)? {
            if file.kind == EntryKind::Link {
                let to = String::from_utf8_lossy(&self.read_id(&file.path, file.id, 4096)?).into_owned();
                if linked(&file.path, &to).is_none_or(|target| !below(folder, &target)) {
                    return Ok(Some(file.path));
                }
            }
        }
        Ok(None)
    }

    /// Whether there is a file of this path.
    pub fn is_file(&self, path: &str) -> bool {
        self.entry(path).is_ok_and(|(_, kind)| matches!(kind, EntryKind::Blob | EntryKind::BlobExecutable))
    }

    fn entry(&self, path: &str) -> Result<(gix::ObjectId, EntryKind), SourceError> {
        let (mut id, mut kind) = (self.root, EntryKind::Tree);
        let mut above = String::new();
        for name in path.split('/').filter(|name| !matches!(*name, "" | ".")) {
            if kind == EntryKind::Commit {
                return Err(unsupported(
                    path,
                    format!("it lies in the submodule {above}, which is not read"),
                ));
            }
            if kind != EntryKind::Tree {
                return Err(self.missing(path));
            }
            let tree = trees::tree(&self.repository, id).map_err(|error| self.error(&error))?;
            (id, kind) = *tree.get(name.as_bytes()).ok_or_else(|| self.missing(path))?;
            above = if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") };
        }
        Ok((id, kind))
    }

    /// A file's content.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, SourceError> {
        let (id, kind) = self.entry(path)?;
        if !matches!(kind, EntryKind::Blob | EntryKind::BlobExecutable) {
            return Err(self.missing(path));
        }
        self.read_id(path, id, MAX_FILE)
    }

    /// A file's content by its id, or through a link that stays in `folder`.
    pub(crate) fn read_file(&self, file: &FileEntry, folder: &str) -> Result<Vec<u8>, SourceError> {
        let (mut path, mut id, mut kind) = (file.path.clone(), file.id, file.kind);
        for _ in 0..MAX_HOPS {
            match kind {
                EntryKind::Blob | EntryKind::BlobExecutable => return self.read_id(&path, id, MAX_FILE),
                EntryKind::Link => {
                    let to = String::from_utf8_lossy(&self.read_id(&path, id, 4096)?).into_owned();
                    path = linked(&path, &to)
                        .filter(|target| below(folder, target))
                        .ok_or_else(|| leads_out(&file.path, &to, "the source's folder"))?;
                    (id, kind) = self.entry(&path)?;
                }
                EntryKind::Tree | EntryKind::Commit => break,
            }
        }
        Err(unsupported(&file.path, "it is a link that leads to no file".into()))
    }

    /// The size is asked for first: what is not wanted is never unpacked.
    fn read_id(&self, path: &str, id: gix::ObjectId, limit: u64) -> Result<Vec<u8>, SourceError> {
        let repository = self.repository.to_thread_local();
        let size = repository.find_header(id).map_err(|e| self.error(&e))?.size();
        if size > limit {
            return Err(unsupported(path, format!("it has {size} bytes, more than {limit}")));
        }
        let mut blob = repository.find_blob(id).map_err(|e| self.error(&e))?;
        Ok(std::mem::take(&mut blob.data))
    }

    /// The files under a folder, sorted; not below it when `recurse` is false.
    ///
    /// # Errors
    /// When there is no such folder, or it holds more than any real one.
    pub fn files(&self, folder: &str, recurse: bool) -> Result<Vec<FileEntry>, SourceError> {
        let (id, kind) = self.entry(folder)?;
        if kind != EntryKind::Tree {
            return Err(unsupported(folder, "it is a file, a folder is needed".into()));
        }
        let folder = folder.trim_matches('/');
        let prefix = if folder.is_empty() || folder == "." { String::new() } else { format!("{folder}/") };
        let repository = self.repository.to_thread_local();
        let (mut files, mut entries) = (Vec::new(), 0);
        let mut todo = vec![(prefix, id)];
        while let Some((prefix, id)) = todo.pop() {
            let tree = repository.find_tree(id).map_err(|e| self.error(&e))?;
            let mut names = HashSet::new();
            for entry in tree.iter() {
                let entry = entry.map_err(|e| self.error(&e))?;
                let path = format!("{prefix}{}", entry.filename());
                if !is_name(entry.filename()) || !names.insert(entry.filename().to_owned()) {
                    return Err(unsupported(
                        &path,
                        "no file may have this name; it is not checked out".into(),
                    ));
                }
                match entry.mode().kind() {
                    EntryKind::Tree if recurse => todo.push((format!("{path}/"), entry.object_id())),
                    EntryKind::Tree => {}
                    kind => files.push(FileEntry { path, id: entry.object_id(), kind }),
                }
                entries += 1;
                if entries > MAX_FILES {
                    return Err(unsupported(folder, format!("it holds more than {MAX_FILES} files")));
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// The paths of all files of this name, sorted.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn named(&self, name: &str) -> Result<Vec<String>, SourceError> {
        let repository = self.repository.to_thread_local();
        let mut found = Vec::new();
        let mut todo = vec![(String::new(), self.root)];
        while let Some((prefix, id)) = todo.pop() {
            let tree = repository.find_tree(id).map_err(|e| self.error(&e))?;
            for entry in tree.iter() {
                let entry = entry.map_err(|e| self.error(&e))?;
                match entry.mode().kind() {
                    EntryKind::Tree => {
                        todo.push((format!("{prefix}{}/", entry.filename()), entry.object_id()));
                    }
                    EntryKind::Blob | EntryKind::BlobExecutable if entry.filename() == name => {
                        found.push(format!("{prefix}{name}"));
                    }
                    _ => {}
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// The files at some paths, folders with all that is below them.
    fn files_at(&self, paths: &[String]) -> Result<Vec<FileEntry>, SourceError> {
        let mut files = Vec::new();
        for path in paths {
            let (id, kind) = self.entry(path)?;
            if kind == EntryKind::Tree {
                files.extend(self.files(path, true)?);
            } else {
                files.push(FileEntry { path: path.clone(), id, kind });
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup_by(|a, b| a.path == b.path);
        // Of names that are reserved elsewhere, too, a path may be made up.
        match files.iter().find(|file| file.path.split('/').any(|name| !is_name(name.as_bytes()))) {
            Some(file) => {
                Err(unsupported(&file.path, "no file may have this name; it is not checked out".into()))
            }
            None => Ok(files),
        }
    }

    /// Writes the tree, or what it holds at some paths, into `into`, which is
    /// empty. Links that lead out of it are refused, submodules left out.
    /// `change` may give a file another content.
    ///
    /// # Errors
    /// When it is larger than any real one, or the disk does not take it.
    pub(crate) fn checkout(
        &self,
        into: &Path,
        only: Option<&[String]>,
        change: &mut dyn FnMut(&str, Vec<u8>) -> Vec<u8>,
    ) -> Result<(), SourceError> {
        let files = only.map_or_else(|| self.files("", true), |paths| self.files_at(paths))?;
        let mut left = MAX_BYTES;
        let mut links = Vec::new();
        for file in &files {
            let target = into.join(&file.path);
            if file.kind == EntryKind::Commit {
                continue;
            }
            if let Some(parent) = target.parent() {
                std::fs::create_dir_all(parent).map_err(SourceError::io(parent))?;
            }
            if file.kind == EntryKind::Link {
                links.push((file, target));
                continue;
            }
            let data = self.read_id(&file.path, file.id, left)?;
            left -= data.len() as u64;
            let data = change(&file.path, data);
            let written = OpenOptions::new().write(true).create_new(true).open(&target);
            written.and_then(|mut file| file.write_all(&data)).map_err(SourceError::io(&target))?;
        }
        // After all files, so that none is written through one.
        for (file, target) in &links {
            let to = String::from_utf8_lossy(&self.read_id(&file.path, file.id, 4096)?).into_owned();
            if linked(&file.path, &to).is_none() {
                return Err(leads_out(&file.path, &to, "the repository"));
            }
            std::os::unix::fs::symlink(&to, target).map_err(SourceError::io(target))?;
        }
        let root = into.canonicalize().map_err(SourceError::io(into))?;
        for (file, target) in links {
            match target.canonicalize() {
                Ok(real) if real.starts_with(&root) => {}
                Ok(_) => return Err(leads_out(&file.path, "another link", "the repository")),
                // One that leads nowhere, or in a circle.
                Err(_) => std::fs::remove_file(&target).map_err(SourceError::io(&target))?,
            }
        }
        Ok(())
    }
}

/// Whether git itself would check a name out.
fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
        && !name.eq_ignore_ascii_case(b".git")
        && !name.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0))
}

/// Where a link at `path` leads, from the root; none when it is out of it.
fn linked(path: &str, to: &str) -> Option<String> {
    if to.starts_with('/') || to.is_empty() {
        return None;
    }
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in to.split('/') {
        match part {
            ".." => drop(parts.pop()?),
            "" | "." => {}
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn below(folder: &str, path: &str) -> bool {
    let folder = folder.trim_matches('/');
    folder.is_empty() || folder == "." || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn leads_out(path: &str, to: &str, of: &str) -> SourceError {
    unsupported(path, format!("it is a link to {to:?}, which leads out of {of}"))
}

fn unsupported(path: &str, reason: String) -> SourceError {
    SourceError::Unsupported { path: path.to_owned(), reason }
}
