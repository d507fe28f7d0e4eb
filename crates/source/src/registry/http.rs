//! Chart repositories over http(s). In: a repository's `index.yaml`. Out: the
//! chart that is wanted. Credentials go to the repository's own host only.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;
use url::Url;

use super::{Found, Place, error, version};
use crate::authority;
use crate::error::SourceError;
use crate::location::{Credentials, Login, RepoUrl};
use crate::yaml;

/// Bytes of an index: the largest known have 20 MiB.
const MAX_INDEX: u64 = 64 << 20;
const CONNECT: Duration = Duration::from_secs(10);

/// What the server says of its index's version; none: it says nothing of it.
pub(super) async fn version(
    repo: &RepoUrl,
    credentials: &Credentials,
) -> Result<Option<String>, SourceError> {
    let away = |cause: reqwest::Error| SourceError::Network {
        repo: repo.to_string(),
        reason: repo.mask(&chain(&cause.without_url())),
    };
    let address = index(repo)?;
    let client = authority::client(credentials).connect_timeout(CONNECT).build().map_err(away)?;
    let mut request = client.head(address);
    if let Login::Basic { username, password } = &credentials.login {
        request = request.basic_auth(username, Some(password.reveal()));
    }
    let response = request.send().await.map_err(away)?;
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let version = header("etag").or_else(|| header("last-modified")).map(str::to_owned);
    Ok(version.filter(|_| response.status().is_success()))
}

fn index(repo: &RepoUrl) -> Result<Url, SourceError> {
    let wrong = || error(repo, "a chart repository has an https:// or oci:// URL".into());
    let address = Url::parse(&format!("{}/index.yaml", repo.address().trim_end_matches('/')));
    let address = address.map_err(|_| wrong())?;
    if matches!(address.scheme(), "http" | "https") { Ok(address) } else { Err(wrong()) }
}

/// Finds a chart in the index.
pub(super) async fn chart(
    repo: &RepoUrl,
    name: &str,
    wanted: &str,
    credentials: &Credentials,
) -> Result<Found, SourceError> {
    let address = index(repo)?;
    let bytes = get(repo, &address, credentials, MAX_INDEX).await?;
    let text = String::from_utf8(bytes).map_err(|_| error(repo, "its index.yaml is not UTF-8".into()))?;
    let index = yaml::documents("index.yaml", &text)
        .map_err(|cause| error(repo, format!("it is no chart repository: {cause}")))?;
    let charts = index.first().and_then(|document| document.value.get("entries")?.as_object());
    let charts =
        charts.ok_or_else(|| error(repo, "it is no chart repository: index.yaml has no entries".into()))?;
    let Some(versions) = charts.get(name).and_then(Value::as_array) else {
        let known: Vec<&str> = charts.keys().take(10).map(String::as_str).collect();
        return Err(error(repo, format!("it has no chart {name:?}; there are: {}", known.join(", "))));
    };
    let of = |entry: &Value, field: &str| entry.get(field).and_then(Value::as_str).map(str::to_owned);
    let there: Vec<String> = versions.iter().filter_map(|entry| of(entry, "version")).collect();
    let chosen = version::newest(wanted, there.iter().map(String::as_str))
        .map_err(|reason| error(repo, reason))?
        .ok_or_else(|| none_fits(repo, name, wanted, &there))?;
    let entry = versions.iter().find(|entry| of(entry, "version").as_deref() == Some(chosen));
    let link = entry.and_then(|entry| entry.get("urls")?.as_array()?.first()?.as_str());
    let link = link.ok_or_else(|| error(repo, format!("{name} {chosen} has no URL in the index")))?;
    let place = address
        .join(link)
        .map_err(|_| error(repo, format!("{name} {chosen} has a URL that cannot be read")))?;
    let digest = entry.and_then(|entry| of(entry, "digest")).unwrap_or_default();
    Ok(Found {
        title: format!("{name} {chosen}"),
        digest: if digest.is_empty() {
            digest
        } else {
            format!("sha256:{}", digest.trim_start_matches("sha256:"))
        },
        place: Place::Url(place),
    })
}

/// What to say where no version fits.
pub(super) fn none_fits(repo: &RepoUrl, name: &str, wanted: &str, there: &[String]) -> SourceError {
    let mut known: Vec<(semver::Version, &str)> =
        there.iter().filter_map(|text| Some((version::parse(text)?, text.as_str()))).collect();
    known.sort_by(|a, b| b.0.cmp(&a.0));
    let known: Vec<&str> = known.into_iter().map(|(_, text)| text).take(8).collect();
    error(repo, format!("{name} has no version {wanted:?}; there are: {}", known.join(", ")))
}

/// A file, whole.
pub(super) async fn get(
    repo: &RepoUrl,
    url: &Url,
    credentials: &Credentials,
    limit: u64,
) -> Result<Vec<u8>, SourceError> {
    let away = |cause: reqwest::Error| SourceError::Network {
        repo: repo.to_string(),
        reason: repo.mask(&chain(&cause.without_url())),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(error(repo, format!("{}: only http and https are fetched", url.scheme())));
    }
    let client = authority::client(credentials).connect_timeout(CONNECT).build().map_err(away)?;
    let own = Url::parse(&repo.address()).ok();
    let same = own.is_some_and(|own| own.origin() == url.origin());
    let mut request = client.get(url.clone());
    if let (Login::Basic { username, password }, true) = (&credentials.login, same) {
        request = request.basic_auth(username, Some(password.reveal()));
    }
    let mut response = request.send().await.map_err(away)?;
    let file = url.path().rsplit('/').next().unwrap_or_default();
    match response.status() {
        status if status.is_success() => {}
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            return Err(SourceError::Credentials { repo: repo.to_string(), reason: status.to_string() });
        }
        StatusCode::NOT_FOUND => return Err(error(repo, format!("there is no {file}"))),
        status => {
            return Err(SourceError::Network { repo: repo.to_string(), reason: format!("{file}: {status}") });
        }
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(away)? {
        if bytes.len() as u64 + chunk.len() as u64 > limit {
            return Err(error(repo, format!("{file} has more than {} MiB", limit >> 20)));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// All causes of an error on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}
