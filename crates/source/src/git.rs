//! Git, read by gix. In: a repository and a revision. Out: a commit, and a
//! snapshot of its files read straight from the object database.
//!
//! Repositories elsewhere are kept as bare ones in a cache and fetched
//! incrementally; those on this machine are read where they are.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use base64::Engine;
use sha2::{Digest, Sha256};

use crate::error::SourceError;
use crate::location::{Credentials, RepoUrl};

mod history;
mod import;
mod passed;
mod program;
mod publish;
mod shared;
mod signature;
mod snapshot;
mod write;

pub use history::Ids;
pub use program::Program;
pub use publish::Target;
pub use snapshot::{FileEntry, Snapshot};
pub use write::{Change, Draft, NewCommit, Person, Writer};

/// How long a fetch whose time is up may take to end.
const GRACE: Duration = Duration::from_millis(200);
/// Where the remote's HEAD is remembered.
const REMOTE_HEAD: &str = "refs/gitops/HEAD";

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
        self.open_with(repo, gix::open::Options::isolated())
    }

    fn open_with(&self, repo: &RepoUrl, options: gix::open::Options) -> Result<gix::Repository, SourceError> {
        let place = repo.path().map_or_else(|| self.folder(repo), Path::to_owned);
        let opened = if repo.path().is_some() {
            gix::discover_opts(&place, gix::discover::upwards::Options::default(), options)
        } else {
            gix::open_opts(&place, options)
        };
        let mut opened = opened.map_err(|_| SourceError::NotARepository { location: repo.to_string() })?;
        opened.object_cache_size_if_unset(4 << 20);
        Ok(opened)
    }

    /// Brings the cache up to date and finds `revision`: HEAD, a branch, a tag,
    /// a ref in full, or a commit, short or in full.
    ///
    /// # Errors
    /// Wrong credentials, no way to the host, no such revision, or `timeout`.
    pub fn fetch(
        &self,
        repo: &RepoUrl,
        revision: &str,
        credentials: &Credentials,
        timeout: Duration,
    ) -> Result<Commit, SourceError> {
        if repo.path().is_some() {
            return self.resolve(repo, revision);
        }
        let passed = Arc::new(AtomicBool::new(false));
        let (done, answer) = std::sync::mpsc::channel();
        let asked = Instant::now();
        let fetch = (self.clone(), repo.clone(), revision.to_owned(), credentials.clone(), passed.clone());
        // A thread of its own: a host that takes the connection and then says
        // nothing cannot be interrupted from inside.
        std::thread::spawn(move || {
            let (cache, repo, revision, credentials, passed) = fetch;
            let _ = done.send(cache.fetch_here(&repo, &revision, &credentials, asked, &passed));
        });
        let late = || SourceError::Timeout { what: format!("fetching {repo}"), seconds: timeout.as_secs() };
        let result = match answer.recv_timeout(timeout) {
            Err(RecvTimeoutError::Timeout) => {
                passed.store(true, Ordering::Relaxed);
                answer.recv_timeout(GRACE)
            }
            result => result,
        };
        match result {
            Ok(Err(_)) if passed.load(Ordering::Relaxed) => Err(late()),
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(late()),
            Err(RecvTimeoutError::Disconnected) => Err(SourceError::Git {
                repo: repo.to_string(),
                reason: "the fetch broke off; this is a defect of kubectl-gitops".into(),
            }),
        }
    }

    fn fetch_here(
        &self,
        repo: &RepoUrl,
        revision: &str,
        credentials: &Credentials,
        asked: Instant,
        passed: &AtomicBool,
    ) -> Result<Commit, SourceError> {
        let place = self.folder(repo);
        std::fs::create_dir_all(&place).map_err(SourceError::io(&place))?;
        let lock_path = place.with_extension("lock");
        let lock = std::fs::File::create(&lock_path).map_err(SourceError::io(&lock_path))?;
        wait_for(&lock, passed).map_err(SourceError::io(&lock_path))?;
        if !place.join("HEAD").is_file() {
            gix::init_bare(&place).map_err(|error| git_error(repo, &error))?;
        }
        let login = repo.login();
        let credentials = login.as_ref().unwrap_or(credentials);
        let key = KeyFiles::of(credentials)?;
        let repository = self.open_with(repo, fetching(repo, credentials, key.as_ref()))?;
        // A commit that is here already never changes.
        let is_here = is_full_commit(revision) && contains(&repository, revision);
        // What another has fetched since this was asked for is as new.
        let is_new = !is_full_commit(revision) && shared::since(&place, asked, credentials);
        if !is_here && !is_new {
            let begun = Instant::now();
            receive(&repository, repo, revision, credentials, passed)?;
            shared::note(&place, begun, credentials);
        }
        drop(lock);
        self.resolve(repo, revision)
    }

    /// Finds `revision` in what is here, without asking the host.
    ///
    /// # Errors
    /// When it, or the repository itself, is not here.
    pub fn resolve(&self, repo: &RepoUrl, revision: &str) -> Result<Commit, SourceError> {
        let repository = self.repository(repo)?;
        let missing = || SourceError::NoSuchRevision {
            repo: repo.to_string(),
            revision: revision.to_owned(),
            near: near(&repository, revision),
        };
        let commit = find(&repository, repo.path().is_some(), revision).ok_or_else(missing)?;
        describe(&commit).map_err(|error| git_error(repo, &error))
    }

    /// Whether a commit is here.
    pub fn contains(&self, repo: &RepoUrl, commit: &str) -> bool {
        self.repository(repo).is_ok_and(|repository| contains(&repository, commit))
    }

    /// Whether `ancestor` is `descendant` or lies before it.
    ///
    /// # Errors
    /// When one of them is not here.
    pub fn is_ancestor(&self, repo: &RepoUrl, ancestor: &str, descendant: &str) -> Result<bool, SourceError> {
        if ancestor == descendant {
            return Ok(true);
        }
        let repository = self.repository(repo)?;
        let id = |revision: &str| {
            gix::ObjectId::from_hex(revision.as_bytes())
                .ok()
                .filter(|_| contains(&repository, revision))
                .ok_or_else(|| SourceError::NoSuchRevision {
                    repo: repo.to_string(),
                    revision: revision.to_owned(),
                    near: Vec::new(),
                })
        };
        let (ancestor, descendant) = (id(ancestor)?, id(descendant)?);
        let base = repository.merge_base(ancestor, descendant).map_err(|error| git_error(repo, &error))?;
        Ok(base.is_some_and(|base| base.detach() == ancestor))
    }

    /// Whether a commit is one of a branch or tag that `counts`, or lies before
    /// one.
    ///
    /// # Errors
    /// When the commit, or the repository itself, is not here.
    pub fn is_on(
        &self,
        repo: &RepoUrl,
        commit: &str,
        counts: &dyn Fn(&str) -> bool,
    ) -> Result<bool, SourceError> {
        let repository = self.repository(repo)?;
        let references = repository.references().map_err(|error| git_error(repo, &error))?;
        let all = references.all().map_err(|error| git_error(repo, &error))?;
        let mut tips = Vec::new();
        for reference in all.filter_map(Result::ok) {
            let name = reference.name().as_bstr().to_string();
            let short = name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/"));
            if short.is_some_and(counts)
                && let Ok(id) = reference.into_fully_peeled_id()
            {
                tips.push(id.to_string());
            }
        }
        if tips.iter().any(|tip| tip == commit) {
            return Ok(true);
        }
        Ok(tips.iter().any(|tip| self.is_ancestor(repo, commit, tip).unwrap_or(false)))
    }

    /// The files of a commit.
    ///
    /// # Errors
    /// When the commit is not here.
    pub fn snapshot(&self, repo: &RepoUrl, commit: &str) -> Result<Snapshot, SourceError> {
        Snapshot::new(self.repository(repo)?, repo.to_string(), commit)
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

/// The address of a repository's `origin`.
pub fn origin(root: &Path) -> Option<String> {
    let repository = gix::open_opts(root, gix::open::Options::isolated()).ok()?;
    let url = repository.config_snapshot().string("remote.origin.url")?;
    Some(url.to_string())
}

/// The user's own configuration counts for fetching (helpers, proxies), never
/// a prompt; repository hooks and filters are not run by a fetch.
fn fetching(repo: &RepoUrl, credentials: &Credentials, key: Option<&KeyFiles>) -> gix::open::Options {
    let mut settings = vec!["gitoxide.credentials.terminalPrompt=false".to_owned()];
    settings.extend(key.map(|key| format!("core.sshCommand={}", key.command())));
    if let Credentials::Basic { username, password } = credentials
        && repo.is_clear_text()
    {
        // gix answers no challenge over http, as a server inside of a cluster
        // may put it; the user who names both means it. No redirect gets it.
        let login =
            base64::engine::general_purpose::STANDARD.encode(format!("{username}:{}", password.reveal()));
        settings.push(format!("http.extraHeader=Authorization: Basic {login}"));
        settings.push("http.followRedirects=false".to_owned());
    }
    gix::open::Options::default().config_overrides(settings)
}

/// An ssh key on disk for as long as ssh needs it, readable by this user only.
#[derive(Debug)]
struct KeyFiles {
    folder: tempfile::TempDir,
}

impl KeyFiles {
    fn of(credentials: &Credentials) -> Result<Option<Self>, SourceError> {
        let Credentials::Ssh { private_key, known_hosts } = credentials else { return Ok(None) };
        let folder = tempfile::tempdir().map_err(SourceError::io(std::env::temp_dir()))?;
        for (name, text) in [("key", private_key.reveal()), ("known_hosts", known_hosts)] {
            let path = folder.path().join(name);
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            // ssh takes no key whose last line does not end.
            let written = file.and_then(|mut file| writeln!(file, "{}", text.trim_end()));
            written.map_err(SourceError::io(&path))?;
        }
        Ok(Some(Self { folder }))
    }

    /// ssh with this key alone, for these hosts alone.
    fn command(&self) -> String {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        format!(
            "ssh -F none -i '{}' -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile='{}'",
            file("key"),
            file("known_hosts")
        )
    }
}

fn receive(
    repository: &gix::Repository,
    repo: &RepoUrl,
    revision: &str,
    credentials: &Credentials,
    passed: &AtomicBool,
) -> Result<(), SourceError> {
    let mut specs = vec![
        "+refs/heads/*:refs/heads/*".to_owned(),
        "+refs/tags/*:refs/tags/*".to_owned(),
        format!("+HEAD:{REMOTE_HEAD}"),
    ];
    if is_full_commit(revision) {
        // One that no branch reaches: servers hand it out by its id.
        specs.push(format!("+{revision}:refs/gitops/commits/{revision}"));
    }
    match receive_specs(repository, repo, &specs, credentials, passed) {
        Err(_) if specs.len() > 3 => receive_specs(repository, repo, &specs[..3], credentials, passed),
        result => result,
    }
}

fn receive_specs(
    repository: &gix::Repository,
    repo: &RepoUrl,
    specs: &[String],
    credentials: &Credentials,
    passed: &AtomicBool,
) -> Result<(), SourceError> {
    let fail = |error: gix::Error| transport_error(repo, &error);
    let remote = repository
        .remote_at(repo.address())
        .map_err(fail)?
        .with_fetch_tags(gix::remote::fetch::Tags::None)
        .with_refspecs(
            specs.iter().map(|spec| gix::bstr::BStr::new(spec.as_str())),
            gix::remote::Direction::Fetch,
        )
        .map_err(fail)?;
    let connection = remote.connect(gix::remote::Direction::Fetch).map_err(fail)?;
    let connection = match credentials {
        Credentials::Usual | Credentials::Ssh { .. } => connection,
        Credentials::Basic { username, password } => {
            let (username, password) = (username.clone(), password.clone());
            connection.with_credentials(move |action| Ok(answer(action, &username, password.reveal())))
        }
    };
    let fetch = connection
        .prepare_fetch(gix::progress::Discard, gix::remote::ref_map::Options::default())
        .map_err(fail)?;
    prune(repository, &fetch.ref_map().remote_refs).map_err(fail)?;
    fetch.receive(gix::progress::Discard, passed).map_err(fail)?;
    Ok(())
}

/// Drops the branches and tags that the remote no longer has: none may be
/// resolved any more, or stand in the way of a new one (`a` of `a/b`).
fn prune(repository: &gix::Repository, remote: &[gix::protocol::handshake::Ref]) -> Result<(), gix::Error> {
    let kept: HashSet<&gix::bstr::BStr> = remote.iter().map(|reference| reference.unpack().0).collect();
    for prefix in ["refs/heads/", "refs/tags/"] {
        for reference in repository.references()?.prefixed(prefix)?.filter_map(Result::ok) {
            if !kept.contains(reference.name().as_bstr()) {
                reference.delete()?;
            }
        }
    }
    Ok(())
}

/// Takes a lock that another process may hold, until the time has passed.
fn wait_for(lock: &std::fs::File, passed: &AtomicBool) -> std::io::Result<()> {
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(std::fs::TryLockError::WouldBlock) if !passed.load(Ordering::Relaxed) => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn answer(
    action: gix::credentials::helper::Action,
    username: &str,
    password: &str,
) -> Option<gix::credentials::protocol::Outcome> {
    let gix::credentials::helper::Action::Get(context) = action else { return None };
    Some(gix::credentials::protocol::Outcome {
        identity: gix::sec::identity::Account {
            username: username.to_owned(),
            password: password.to_owned(),
            oauth_refresh_token: None,
        },
        next: context.into(),
    })
}

/// Whether a revision is a commit in full, which never changes.
pub fn is_full_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}

fn contains(repository: &gix::Repository, commit: &str) -> bool {
    gix::ObjectId::from_hex(commit.as_bytes()).is_ok_and(|id| repository.find_commit(id).is_ok())
}

fn find<'repo>(
    repository: &'repo gix::Repository,
    local: bool,
    revision: &str,
) -> Option<gix::Commit<'repo>> {
    let reference = |name: &str| {
        let id = repository.try_find_reference(name).ok()??.into_fully_peeled_id().ok()?;
        repository.find_commit(id).ok()
    };
    if revision == "HEAD" {
        return if local { repository.head_commit().ok() } else { reference(REMOTE_HEAD) };
    }
    if revision.starts_with("refs/") {
        return reference(revision);
    }
    for prefix in ["refs/heads/", "refs/tags/", "refs/remotes/origin/"] {
        if let Some(commit) = reference(&format!("{prefix}{revision}")) {
            return Some(commit);
        }
    }
    if revision.len() >= 4 && revision.bytes().all(|b| b.is_ascii_hexdigit()) {
        return repository
            .rev_parse_single(revision)
            .ok()?
            .object()
            .ok()?
            .peel_to_kind(gix::object::Kind::Commit)
            .ok()?
            .try_into_commit()
            .ok();
    }
    None
}

fn describe(commit: &gix::Commit<'_>) -> Result<Commit, gix::Error> {
    let author = commit.author()?.name.to_string();
    Ok(Commit {
        id: commit.id.to_string(),
        subject: commit.message()?.summary().to_string(),
        author,
        time: commit.time()?.seconds,
    })
}

/// Names like the one that was not found.
fn near(repository: &gix::Repository, revision: &str) -> Vec<String> {
    let Ok(references) = repository.references() else { return Vec::new() };
    let names = references.all().into_iter().flatten().filter_map(Result::ok).filter_map(|reference| {
        let name = reference.name().as_bstr().to_string();
        name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/")).map(str::to_owned)
    });
    let wanted = revision.to_lowercase();
    let mut names: Vec<(bool, String)> = names
        .map(|name| (!name.to_lowercase().contains(&wanted) && !wanted.contains(&name.to_lowercase()), name))
        .collect();
    names.sort();
    names.into_iter().map(|(_, name)| name).take(5).collect()
}

fn git_error(repo: &RepoUrl, error: &gix::Error) -> SourceError {
    SourceError::Git { repo: repo.to_string(), reason: chain(error) }
}

/// All causes of an error on one line.
fn chain(error: &gix::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        let text = error.to_string().replace('\n', " ");
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
    parts.join(": ")
}

/// Whether the disk has taken no more, at any place in an error.
fn is_disk_full(error: &gix::Error) -> bool {
    const KINDS: [std::io::ErrorKind; 4] = [
        std::io::ErrorKind::StorageFull,
        std::io::ErrorKind::QuotaExceeded,
        std::io::ErrorKind::FileTooLarge,
        std::io::ErrorKind::ReadOnlyFilesystem,
    ];
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<std::io::Error>().is_some_and(|error| KINDS.contains(&error.kind())) {
            return true;
        }
        next = error.source();
    }
    // Some layers keep the words alone.
    chain(error).contains("No space left on device")
}

fn transport_error(repo: &RepoUrl, error: &gix::Error) -> SourceError {
    let reason = repo.mask(&chain(error));
    if is_disk_full(error) {
        return SourceError::Git { repo: repo.to_string(), reason };
    }
    // Neither a port nor a path may look like a status.
    let lower = reason.replace(&repo.to_string(), "").to_lowercase();
    let lower = lower.split(" for url (").next().unwrap_or_default();
    let any = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let repo = repo.to_string();
    let refused = [
        "401 unauthorized",
        "403 forbidden",
        "authentication",
        "credential",
        "permission denied",
        "could not obtain identity",
    ];
    if any(&refused) {
        SourceError::Credentials { repo, reason }
    } else if any(&["404 not found", "repository not found", "does not appear to be a git repository"]) {
        SourceError::NotARepository { location: repo }
    } else {
        SourceError::Network { repo, reason }
    }
}
