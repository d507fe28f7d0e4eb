//! Fetching into the cache. In: a repository elsewhere, a revision, who asks,
//! and how long it may take. Out: the commit, whose objects are here then.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use base64::Engine;
use gix::protocol::handshake::Ref;
use gix::remote::fetch::Shallow;

use super::failure::{git_error, transport_error};
use super::few::needs_history;
use super::key::KeyFiles;
use super::revision::{REMOTE_HEAD, contains, is_full_commit};
use super::shallow::{clear_lock, history_lock, is_partial};
use super::{Commit, GitCache, shared};
use crate::authority;
use crate::error::SourceError;
use crate::location::{Credentials, Login, RepoUrl};

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
            Ok(Err(SourceError::Shallow { .. })) => {
                self.deepen(repo, credentials, timeout.saturating_sub(asked.elapsed()))?;
                self.resolve(repo, revision)
            }
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
        let way = Way::of(repo, credentials)?;
        let repository = self.open_with(repo, way.options())?;
        if history_lock(&place)?.try_lock().is_ok() {
            clear_lock(&repository);
        }
        // A commit that is here already never changes.
        let is_here = is_full_commit(revision) && contains(&repository, revision);
        // What another has fetched since this was asked for is as new.
        let is_new = !is_full_commit(revision)
            && shared::since(&place, asked, way.credentials())
            && (!is_partial(&repository) || self.resolve(repo, revision).is_ok());
        if !is_here && !is_new {
            let begun = Instant::now();
            way.bring(&repository, revision, passed)?;
            shared::note(&place, begun, way.credentials());
        }
        drop(lock);
        self.resolve(repo, revision)
    }
}

/// The way into a repository elsewhere.
pub(super) struct Way {
    repo: RepoUrl,
    credentials: Credentials,
    /// Kept on disk as long as ssh may ask for it.
    key: Option<KeyFiles>,
}

impl Way {
    /// With what a URL says of itself, else with these credentials.
    pub(super) fn of(repo: &RepoUrl, credentials: &Credentials) -> Result<Self, SourceError> {
        let credentials = repo.with_login(credentials);
        let key = KeyFiles::of(&credentials.login)?;
        Ok(Self { repo: repo.clone(), credentials, key })
    }

    fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The user's own configuration counts for fetching (helpers, proxies),
    /// never a prompt; repository hooks and filters are not run by a fetch.
    pub(super) fn options(&self) -> gix::open::Options {
        let mut settings = vec!["gitoxide.credentials.terminalPrompt=false".to_owned()];
        settings.extend(self.key.as_ref().map(|key| format!("core.sshCommand={}", key.command())));
        if let Login::Basic { username, password } = &self.credentials.login
            && self.repo.is_clear_text()
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

    /// Brings a revision: of a repository that is all here with everything that
    /// is new, else as little as it takes.
    fn bring(
        &self,
        repository: &gix::Repository,
        revision: &str,
        passed: &AtomicBool,
    ) -> Result<(), SourceError> {
        let is_first = repository
            .references()
            .is_ok_and(|references| references.all().is_ok_and(|mut all| all.next().is_none()));
        let few = !needs_history(revision) && (is_first || is_partial(repository));
        if few && self.bring_few(repository, revision, passed)? {
            return Ok(());
        }
        let mut specs = everything("refs/");
        specs.push(format!("+HEAD:{REMOTE_HEAD}"));
        if is_full_commit(revision) {
            // One that no branch reaches: servers hand it out by its id.
            specs.push(format!("+{revision}:refs/gitops/commits/{revision}"));
        }
        // What is here in part stays so: the history comes by itself.
        let all = |specs: &[String]| {
            self.receive(repository, specs, passed, |remote| {
                prune(repository, remote)?;
                Ok(Some(Shallow::NoChange))
            })
        };
        match all(&specs) {
            Err(_) if specs.len() > 3 => all(&specs[..3]).map(drop),
            result => result.map(drop),
        }
    }

    pub(super) fn repo(&self) -> &RepoUrl {
        &self.repo
    }

    /// One connection. `choose` is told what the remote has, and says how deep
    /// to go, or that nothing is wanted. Returns what the remote has.
    pub(super) fn receive(
        &self,
        repository: &gix::Repository,
        specs: &[String],
        passed: &AtomicBool,
        choose: impl FnOnce(&[Ref]) -> Result<Option<Shallow>, gix::Error>,
    ) -> Result<Vec<Ref>, SourceError> {
        let fail = |error: gix::Error| transport_error(&self.repo, &error);
        let remote = repository
            .remote_at(self.repo.address())
            .map_err(fail)?
            .with_fetch_tags(gix::remote::fetch::Tags::None)
            .with_refspecs(
                specs.iter().map(|spec| gix::bstr::BStr::new(spec.as_str())),
                gix::remote::Direction::Fetch,
            )
            .map_err(fail)?;
        let mut connection = remote.connect(gix::remote::Direction::Fetch).map_err(fail)?;
        let address = self.repo.address();
        let options = repository.transport_options(address.as_str(), None).map_err(fail)?;
        if let Some(mut options) = options.and_then(|options| options.downcast().ok()) {
            authority::configure(&mut options, repository, &address, &self.credentials)?;
            connection = connection.with_transport_options(options);
        }
        let connection = match &self.credentials.login {
            Login::Usual | Login::Ssh { .. } => connection,
            Login::Basic { username, password } => {
                let (username, password) = (username.clone(), password.clone());
                connection.with_credentials(move |action| Ok(answer(action, &username, password.reveal())))
            }
        };
        let fetch = connection
            .prepare_fetch(gix::progress::Discard, gix::remote::ref_map::Options::default())
            .map_err(fail)?;
        let known = fetch.ref_map().remote_refs.clone();
        if let Some(depth) = choose(&known).map_err(fail)? {
            fetch.with_shallow(depth).receive(gix::progress::Discard, passed).map_err(fail)?;
        }
        Ok(known)
    }
}

/// All branches and tags, kept below `place`.
pub(super) fn everything(place: &str) -> Vec<String> {
    ["heads", "tags"].map(|kind| format!("+refs/{kind}/*:{place}{kind}/*")).into()
}

/// Drops the branches and tags that the remote no longer has: none may be
/// resolved any more, or stand in the way of a new one (`a` of `a/b`).
pub(super) fn prune(repository: &gix::Repository, remote: &[Ref]) -> Result<(), gix::Error> {
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
