//! Commits of ours. In: a branch, what its files become, a message. Out: a
//! draft that can be looked at and rendered, and then, at once and whole, a
//! commit on the branch.
//!
//! A draft lies in a repository of its own, which reads the objects of the real
//! one: until it is published, nothing anywhere has changed.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::failure::git_error;
use super::program::Program;
use super::{GitCache, key};
use crate::error::SourceError;
use crate::location::{Credentials, RepoUrl, Secret};

/// The file of a draft's own repository with the key that signs.
const SIGNING_KEY: &str = "signing-key";
/// The branch of a draft's own repository.
pub(super) const DRAFT: &str = "refs/heads/draft";

/// What becomes of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A file gets this content.
    File { path: String, data: Vec<u8> },
    /// A file, or a folder with all that is below it, becomes what it was in
    /// this commit, where it may have been missing. The empty path is all.
    Restore { path: String, commit: String },
}

impl Change {
    /// From the repository's root.
    pub fn path(&self) -> &str {
        match self {
            Self::File { path, .. } | Self::Restore { path, .. } => path,
        }
    }
}

/// Who a commit is by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub name: String,
    pub email: String,
}

/// What a commit of ours says and does.
#[derive(Clone, Debug)]
pub struct NewCommit {
    pub changes: Vec<Change>,
    pub message: String,
    /// None: whoever Git's configuration names.
    pub author: Option<Person>,
}

/// The way to a repository that is written to.
#[derive(Clone, Debug)]
pub struct Writer {
    pub cache: GitCache,
    pub repo: RepoUrl,
    pub credentials: Credentials,
    /// Of one run of git.
    pub timeout: Duration,
    /// A checkout whose Git configuration counts beside the user's.
    pub checkout: Option<PathBuf>,
    /// An SSH private key that signs; none: as Git's configuration says.
    pub signing_key: Option<Secret>,
}

/// A commit that is made but nowhere yet.
#[derive(Debug)]
pub struct Draft {
    pub(super) writer: Writer,
    pub(super) folder: TempDir,
    pub(super) new: NewCommit,
    /// Where it goes: the branch's short name.
    pub branch: String,
    /// The tip that it was made for.
    pub base: String,
    /// In full. It is the base where nothing changes.
    pub commit: String,
}

impl Writer {
    /// The branch that a source's revision means.
    ///
    /// # Errors
    /// When it is a tag or a commit, or the repository cannot be asked.
    pub fn branch(&self, revision: &str) -> Result<String, SourceError> {
        let no_branch =
            || SourceError::NotABranch { repo: self.repo.to_string(), revision: revision.to_owned() };
        if revision != "HEAD" {
            let short = revision.strip_prefix("refs/heads/").unwrap_or(revision);
            let reference = format!("refs/heads/{short}");
            return match self.cache.resolve(&self.repo, &reference) {
                Ok(_) => Ok(short.to_owned()),
                Err(_) => Err(no_branch()),
            };
        }
        let said = match self.repo.path() {
            Some(path) => {
                Program::new(path, &self.repo, self.timeout).output(&["symbolic-ref", "HEAD"], &[])?.stdout
            }
            None => {
                let git = Program::new(&std::env::temp_dir(), &self.repo, self.timeout);
                let address = self.repo.address();
                git.entering(&self.credentials)?
                    .run(&["ls-remote", "--symref", "--", &address, "HEAD"], &[])?
            }
        };
        let first = said.lines().next().unwrap_or_default().trim_start_matches("ref: ");
        let name = first.split('\t').next().and_then(|name| name.trim().strip_prefix("refs/heads/"));
        name.map(str::to_owned).ok_or_else(no_branch)
    }

    /// Makes a commit on top of `base`, the tip of `branch`.
    ///
    /// # Errors
    /// When git fails, does not know who commits, or cannot sign; in a checkout
    /// also when files there are not as committed.
    pub fn draft(&self, branch: &str, base: &str, new: NewCommit) -> Result<Draft, SourceError> {
        if let Some(root) = self.worktree()? {
            super::publish::refuse_unfinished(self, &root, branch, &new)?;
        }
        // git reads what lies before the commit, and pushes by it.
        self.cache.deepen(&self.repo, &self.credentials, self.timeout)?;
        let folder =
            TempDir::with_prefix("kubectl-gitops-").map_err(SourceError::io(std::env::temp_dir()))?;
        self.prepare(&folder)?;
        let mut draft = Draft {
            writer: self.clone(),
            folder,
            new,
            branch: branch.to_owned(),
            base: base.to_owned(),
            commit: String::new(),
        };
        draft.make()?;
        Ok(draft)
    }

    /// A bare repository that sees the objects of the real one and heeds the
    /// checkout's configuration.
    fn prepare(&self, folder: &TempDir) -> Result<(), SourceError> {
        let real = self.cache.repository(&self.repo)?;
        gix::init_bare(folder.path()).map_err(|error| git_error(&self.repo, &error))?;
        if let Some(key) = &self.signing_key {
            key::put(&folder.path().join(SIGNING_KEY), key.reveal())?;
        }
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(SourceError::io(parent))?;
            }
            std::fs::write(&path, text).map_err(SourceError::io(&path))
        };
        let objects = real.common_dir().join("objects");
        let objects = objects.canonicalize().map_err(SourceError::io(&objects))?;
        write("objects/info/alternates", format!("{}\n", objects.display()))?;
        let configured = match &self.checkout {
            Some(checkout) => self.cache.repository(&RepoUrl::local(checkout)).ok(),
            None => self.repo.path().and(Some(real)),
        };
        let included = configured.map(|repository| repository.common_dir().join("config"));
        let included = included.and_then(|file| file.canonicalize().ok());
        let quoted = |file: PathBuf| file.display().to_string().replace('\\', r"\\").replace('"', r#"\""#);
        let include =
            included.map(|file| format!("[include]\n\tpath = \"{}\"\n", quoted(file))).unwrap_or_default();
        write(
            "config",
            format!(
                "{include}[core]\n\trepositoryformatversion = 0\n\tbare = true\n\tlogAllRefUpdates = false\n"
            ),
        )
    }

    /// The root of the working tree, where the repository is a checkout on this
    /// machine.
    pub(super) fn worktree(&self) -> Result<Option<PathBuf>, SourceError> {
        if self.repo.path().is_none() {
            return Ok(None);
        }
        Ok(self.cache.repository(&self.repo)?.workdir().map(std::path::Path::to_owned))
    }
}

impl Draft {
    /// Where the commit can be read and rendered.
    pub fn repo(&self) -> RepoUrl {
        RepoUrl::local(self.folder.path())
    }

    /// The repository that it is meant for.
    pub fn home(&self) -> &RepoUrl {
        &self.writer.repo
    }

    /// Whether it leaves every file as it is.
    pub fn is_empty(&self) -> bool {
        self.commit == self.base
    }

    /// Files that it adds, changes and removes, one a line, as git shows them.
    ///
    /// # Errors
    /// When git fails.
    pub fn stat(&self) -> Result<String, SourceError> {
        self.git()?.run(&["diff", "--stat", "--no-renames", "--no-ext-diff", &self.base, &self.commit], &[])
    }

    pub(super) fn git(&self) -> Result<Program, SourceError> {
        let folder = self.folder.path();
        let mut git = Program::new(folder, &self.writer.repo, self.writer.timeout)
            .entering(&self.writer.credentials)?
            .with("GIT_DIR", folder.display().to_string())
            .with("GIT_INDEX_FILE", folder.join("draft-index").display().to_string());
        if self.writer.signing_key.is_some() {
            let key = folder.join(SIGNING_KEY).display().to_string();
            let settings = ["gpg.format=ssh", "gpg.ssh.program=ssh-keygen", "commit.gpgSign=true"];
            let settings = settings.map(str::to_owned).into_iter();
            git = git.configured(settings.chain([format!("user.signingKey={key}")]));
        }
        if let Some(person) = &self.new.author {
            for role in ["AUTHOR", "COMMITTER"] {
                git = git
                    .with(&format!("GIT_{role}_NAME"), &person.name)
                    .with(&format!("GIT_{role}_EMAIL"), &person.email);
            }
        }
        Ok(git)
    }

    /// Makes the commit for the base.
    pub(super) fn make(&mut self) -> Result<(), SourceError> {
        let git = self.git()?;
        let base = self.base.clone();
        git.run(&["read-tree", &base], &[])?;
        for change in &self.new.changes {
            self.refuse_link(change)?;
            apply(&git, &base, change)?;
        }
        let tree = git.run(&["write-tree"], &[])?;
        self.commit = if tree == git.run(&["rev-parse", &format!("{base}^{{tree}}")], &[])? {
            base
        } else {
            let signs =
                git.output(&["config", "--type=bool", "commit.gpgSign"], &[])?.stdout.trim() == "true";
            let mut arguments = vec!["commit-tree", &tree, "-p", &base, "-F", "-"];
            arguments.extend(signs.then_some("-S"));
            git.run(&arguments, self.new.message.as_bytes())?
        };
        git.run(&["update-ref", DRAFT, &self.commit], &[]).map(drop)
    }

    /// Content goes into files alone: written to a link it would be where that
    /// leads to.
    fn refuse_link(&self, change: &Change) -> Result<(), SourceError> {
        let Change::File { path, .. } = change else { return Ok(()) };
        let reason = match self.writer.cache.snapshot(&self.writer.repo, &self.base)?.look_up(path) {
            Ok(None | Some((_, false))) => return Ok(()),
            Ok(Some(_)) => "it is a folder: name a file".to_owned(),
            Err(link) => format!("{link} is a link: name the file that it leads to"),
        };
        Err(SourceError::Unsupported { path: path.clone(), reason })
    }
}

/// Puts a change into the index.
fn apply(git: &Program, base: &str, change: &Change) -> Result<(), SourceError> {
    let listed = |commit: &str, path: &str| {
        let mut arguments = vec!["ls-tree", "-r", "-z", "--full-tree", commit];
        if !path.is_empty() {
            arguments.extend(["--", path]);
        }
        git.run(&arguments, &[])
    };
    let mut entries = String::new();
    match change {
        Change::File { path, data } => {
            let blob = git.run(&["hash-object", "-w", "--no-filters", "--stdin"], data)?;
            let now = listed(base, path)?;
            let mode = now.split(' ').next().filter(|mode| !mode.is_empty()).unwrap_or("100644");
            entries = format!("{mode} {blob}\t{path}\0");
        }
        Change::Restore { path, commit } => {
            // What is gone goes first: a folder may have been a file.
            for entry in listed(base, path)?.split('\0').filter_map(|entry| entry.split_once('\t')) {
                entries += &format!("0 {}\t{}\0", "0".repeat(40), entry.1);
            }
            for (about, path) in listed(commit, path)?.split('\0').filter_map(|entry| entry.split_once('\t'))
            {
                let mut about = about.split(' ');
                let (mode, id) = (about.next().unwrap_or_default(), about.nth(1).unwrap_or_default());
                entries += &format!("{mode} {id}\t{path}\0");
            }
        }
    }
    git.run(&["update-index", "-z", "--index-info"], entries.as_bytes()).map(drop)
}
