//! The files of one commit, read from the object database.

use std::path::Path;

use gix::objs::tree::EntryKind;

use crate::error::SourceError;

/// Files and bytes that one checkout may have.
const MAX_FILES: usize = 100_000;
const MAX_BYTES: u64 = 1 << 30;

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
    pub(super) fn new(repository: gix::Repository, repo: String, commit: &str) -> Result<Self, SourceError> {
        let missing = || SourceError::NoSuchRevision {
            repo: repo.clone(),
            revision: commit.to_owned(),
            near: Vec::new(),
        };
        let id = gix::ObjectId::from_hex(commit.as_bytes()).map_err(|_| missing())?;
        let root = repository
            .find_commit(id)
            .ok()
            .and_then(|commit| Some(commit.tree_id().ok()?.detach()))
            .ok_or_else(missing)?;
        Ok(Self { repository: repository.into_sync(), repo, commit: commit.to_owned(), root })
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

    /// Whether there is a file of this path.
    pub fn is_file(&self, path: &str) -> bool {
        self.entry(path).is_ok_and(|(_, kind)| matches!(kind, EntryKind::Blob | EntryKind::BlobExecutable))
    }

    fn entry(&self, path: &str) -> Result<(gix::ObjectId, EntryKind), SourceError> {
        let path = path.trim_matches('/');
        if path.is_empty() || path == "." {
            return Ok((self.root, EntryKind::Tree));
        }
        let repository = self.repository.to_thread_local();
        let tree = repository.find_tree(self.root).map_err(|e| self.error(&e))?;
        let entry = tree
            .lookup_entry_by_path(Path::new(path))
            .map_err(|e| self.error(&e))?
            .ok_or_else(|| self.missing(path))?;
        Ok((entry.object_id(), entry.mode().kind()))
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
        self.read_id(id)
    }

    pub(crate) fn read_id(&self, id: gix::ObjectId) -> Result<Vec<u8>, SourceError> {
        let repository = self.repository.to_thread_local();
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
            return Err(SourceError::Unsupported {
                path: folder.to_owned(),
                reason: "it is a file, a folder is needed".into(),
            });
        }
        let folder = folder.trim_matches('/');
        let prefix = if folder.is_empty() || folder == "." { String::new() } else { format!("{folder}/") };
        let repository = self.repository.to_thread_local();
        let mut files = Vec::new();
        let mut todo = vec![(prefix, id)];
        while let Some((prefix, id)) = todo.pop() {
            let tree = repository.find_tree(id).map_err(|e| self.error(&e))?;
            for entry in tree.iter() {
                let entry = entry.map_err(|e| self.error(&e))?;
                let path = format!("{prefix}{}", entry.filename());
                match entry.mode().kind() {
                    EntryKind::Tree if recurse => todo.push((format!("{path}/"), entry.object_id())),
                    EntryKind::Tree => {}
                    kind => files.push(FileEntry { path, id: entry.object_id(), kind }),
                }
                if files.len() > MAX_FILES {
                    return Err(SourceError::Unsupported {
                        path: folder.to_owned(),
                        reason: format!("it holds more than {MAX_FILES} files"),
                    });
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// Writes the whole tree into `into`. Links that lead out of it are
    /// refused, submodules left out.
    ///
    /// # Errors
    /// When it is larger than any real one, or the disk does not take it.
    pub fn checkout(&self, into: &Path) -> Result<(), SourceError> {
        let mut bytes = 0;
        for file in self.files("", true)? {
            let target = into.join(&file.path);
            if let Some(parent) = target.parent() {
                std::fs::create_dir_all(parent).map_err(SourceError::io(parent))?;
            }
            match file.kind {
                EntryKind::Blob | EntryKind::BlobExecutable => {
                    let data = self.read_id(file.id)?;
                    bytes += data.len() as u64;
                    if bytes > MAX_BYTES {
                        return Err(SourceError::Unsupported {
                            path: self.repo.clone(),
                            reason: format!("it holds more than {} MiB", MAX_BYTES >> 20),
                        });
                    }
                    std::fs::write(&target, data).map_err(SourceError::io(&target))?;
                }
                EntryKind::Link => link(into, &target, &file.path, &self.read_id(file.id)?)?,
                EntryKind::Commit | EntryKind::Tree => {}
            }
        }
        Ok(())
    }
}

/// A symbolic link, if it stays inside.
fn link(root: &Path, target: &Path, path: &str, content: &[u8]) -> Result<(), SourceError> {
    let to = String::from_utf8_lossy(content).into_owned();
    let mut depth = i64::try_from(path.matches('/').count()).unwrap_or(0);
    let inside = !to.starts_with('/')
        && to.split('/').all(|part| {
            depth += match part {
                ".." => -1,
                "" | "." => 0,
                _ => 1,
            };
            depth >= 0
        });
    if !inside {
        return Err(SourceError::Unsupported {
            path: path.to_owned(),
            reason: format!("it is a link to {to:?}, which leads out of the repository"),
        });
    }
    debug_assert!(target.starts_with(root));
    std::os::unix::fs::symlink(&to, target).map_err(SourceError::io(target))
}
