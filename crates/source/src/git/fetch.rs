//! Fetching into the cache. In: a repository elsewhere, a revision, who asks,
//! and how long it may take. Out: the commit, whose objects are here then.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use base64::Engine;

use super::failure::{git_error, transport_error};
use super::key::KeyFiles;
use super::revision::{REMOTE_HEAD, contains, is_full_commit};
use super::{Commit, GitCache, shared};
use crate::error::SourceError;
use crate::location::{Credentials, RepoUrl};

/// How long a fetch whose time is up may take to end.
const GRACE: Duration = Duration::from_millis(200);

impl GitCache {
    /// Brings the cache up to date and finds `revision`: HEAD, a branch, a tag,
    /// a ref in full, or a commit, short or in full.
    ///
    /// # Errors
    /// Wrong credentials, no way to the host, no such revision, or `timeout`.
    #[tracing::instrument(name = "fetch", skip_all, fields(repository = %repo, revision))]
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
