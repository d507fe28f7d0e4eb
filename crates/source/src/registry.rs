//! Charts and artifacts that do not lie in Git. In: a registry (`oci://`) or a
//! chart repository (`https://`), and what is wanted of it. Out: a commit in
//! the cache that holds its files, pinned by digest: what has been fetched once
//! is never asked for again, and a range of versions means the same version for
//! as long as the commits it is used with stay the same.
//!
//! This is the only part of rendering that reaches the network, before anything
//! is confined.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::error::SourceError;
use crate::git::{Commit, GitCache};
use crate::location::{Credentials, RepoUrl};

mod http;
mod oci;
mod version;

/// Bytes of a packed chart or artifact.
const MAX_ARCHIVE: u64 = 256 << 20;

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// An artifact of a registry, by tag (HEAD: `latest`) or digest.
    Artifact { reference: String },
    /// A chart, by version or range; either may end in `@sha256:...`.
    Chart { name: String, version: String },
}

/// An archive that was found, but not fetched yet.
struct Found {
    /// `name version`, for people.
    title: String,
    /// Of the archive, as `sha256:...`; empty where the repository names none.
    digest: String,
    place: Place,
}

enum Place {
    Url(url::Url),
    Layer(oci_client::Reference, String),
}

/// Fetches what is wanted and finds its commit. `beside` names the commits that
/// a range of versions is resolved for; empty: it is resolved anew each time.
///
/// # Errors
/// Wrong credentials, no way to the host, no such thing, another digest than
/// the one that is asked for, or `timeout`.
#[tracing::instrument(name = "fetch", skip_all, fields(repository = %repo, wanted = ?wanted))]
pub fn fetch(
    cache: &GitCache,
    repo: &RepoUrl,
    wanted: &Wanted,
    beside: &str,
    credentials: &Credentials,
    timeout: Duration,
) -> Result<Commit, SourceError> {
    let pin = pin(wanted, beside);
    if let Some(commit) = pin.as_ref().and_then(|pin| cache.imported(repo, pin)) {
        return Ok(commit);
    }
    let late = || SourceError::Timeout { what: format!("fetching {repo}"), seconds: timeout.as_secs() };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(SourceError::io("a runtime for the network"))?;
    let work = async {
        let credentials = &repo.with_login(credentials);
        let found = find(repo, wanted, credentials).await?;
        if let Some(commit) = by_digest(cache, repo, &found.digest) {
            return Ok(commit);
        }
        let archive = match &found.place {
            Place::Url(url) => http::get(repo, url, credentials, MAX_ARCHIVE).await?,
            Place::Layer(image, _) => oci::layer(repo, image, &found, credentials).await?,
        };
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&archive)));
        if !found.digest.is_empty() && found.digest != digest {
            return Err(error(
                repo,
                format!("{} has the digest {digest}, not {}", found.title, found.digest),
            ));
        }
        let message = format!("{}\n\n{repo}\n{digest}\n", found.title);
        cache.import(repo, digest.trim_start_matches("sha256:"), &message, &archive)
    };
    let commit = runtime
        .block_on(async { tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| Err(late())) })?;
    if let Some(pin) = pin {
        cache.name_import(repo, &pin, &commit)?;
    }
    Ok(commit)
}

/// A text that is another one when what is wanted may have become something
/// else: it costs little to ask for, and nothing is fetched.
///
/// # Errors
/// As [`fetch`].
pub fn mark(
    repo: &RepoUrl,
    wanted: &Wanted,
    credentials: &Credentials,
    timeout: Duration,
) -> Result<String, SourceError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(SourceError::io("a runtime for the network"))?;
    let work = async {
        let credentials = &repo.with_login(credentials);
        match (wanted, repo.registry()) {
            (Wanted::Artifact { reference }, Some(_)) => oci::digest(repo, reference, credentials).await,
            (Wanted::Chart { .. }, None) => match http::version(repo, credentials).await? {
                Some(version) => Ok(version),
                None => found(repo, wanted, credentials).await,
            },
            _ => found(repo, wanted, credentials).await,
        }
    };
    let late = || SourceError::Timeout { what: format!("asking {repo}"), seconds: timeout.as_secs() };
    runtime.block_on(async { tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| Err(late())) })
}

async fn found(repo: &RepoUrl, wanted: &Wanted, credentials: &Credentials) -> Result<String, SourceError> {
    let found = find(repo, wanted, credentials).await?;
    Ok(format!("{} {}", found.title, found.digest))
}

/// Whether what is wanted may become something else, for sources that lie beside
/// commits of Git or not.
pub fn may_change(wanted: &Wanted, is_beside: bool) -> bool {
    pin(wanted, if is_beside { "beside" } else { "" }).is_none()
}

fn by_digest(cache: &GitCache, repo: &RepoUrl, digest: &str) -> Option<Commit> {
    cache.imported(repo, digest.strip_prefix("sha256:").filter(|digest| !digest.is_empty())?)
}

/// The name under which an answer is kept; none where it may change.
fn pin(wanted: &Wanted, beside: &str) -> Option<String> {
    let fixed = match wanted {
        Wanted::Artifact { reference } => version::split_digest(reference).1.is_some(),
        Wanted::Chart { version, .. } => {
            let (version, digest) = version::split_digest(version);
            digest.is_some() || version::is_exact(version) || !beside.is_empty()
        }
    };
    let exact = match wanted {
        Wanted::Chart { version, .. } => version::is_exact(version::split_digest(version).0),
        Wanted::Artifact { .. } => true,
    };
    let key = format!("{wanted:?} {}", if exact { "" } else { beside });
    fixed.then(|| format!("pins/{}", hex::encode(Sha256::digest(key))))
}

async fn find(repo: &RepoUrl, wanted: &Wanted, credentials: &Credentials) -> Result<Found, SourceError> {
    match (wanted, repo.registry()) {
        (Wanted::Artifact { reference }, Some(_)) => oci::artifact(repo, reference, credentials).await,
        (Wanted::Artifact { .. }, None) => {
            Err(error(repo, "an artifact is read from a registry: write oci://host/name".into()))
        }
        (Wanted::Chart { name, version }, registry) => {
            let (asked, digest) = version::split_digest(version);
            let found = if registry.is_some() {
                oci::chart(repo, name, asked, credentials).await?
            } else {
                http::chart(repo, name, asked, credentials).await?
            };
            match digest {
                Some(digest) if !found.digest.is_empty() && found.digest != digest => {
                    Err(error(repo, format!("{} has the digest {}, not {digest}", found.title, found.digest)))
                }
                Some(digest) => Ok(Found { digest: digest.to_owned(), ..found }),
                None => Ok(found),
            }
        }
    }
}

fn error(repo: &RepoUrl, reason: String) -> SourceError {
    SourceError::Registry { place: repo.to_string(), reason: repo.mask(&reason) }
}
