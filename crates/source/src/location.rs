//! Where a repository is and how to get in. URLs print without user and
//! password, secrets as `***`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A value that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How to get into a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// The usual places: user and password in the environment, git's
    /// credential helpers, the ssh agent.
    #[default]
    Usual,
    Basic {
        username: String,
        password: Secret,
    },
}

/// User name that servers take beside a token.
const TOKEN_USER: &str = "x-access-token";

impl Credentials {
    /// A token as hosting services take it: as the password of any user.
    pub fn token(token: Secret) -> Self {
        Self::Basic { username: TOKEN_USER.to_owned(), password: token }
    }

    /// From `KUBECTL_GITOPS_GIT_TOKEN`, or `KUBECTL_GITOPS_GIT_USERNAME` and
    /// `KUBECTL_GITOPS_GIT_PASSWORD`, read by `variable`.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let read = |name: &str| variable(name).filter(|value| !value.is_empty());
        if let Some(token) = read("KUBECTL_GITOPS_GIT_TOKEN") {
            return Self::token(Secret::new(token));
        }
        match (read("KUBECTL_GITOPS_GIT_USERNAME"), read("KUBECTL_GITOPS_GIT_PASSWORD")) {
            (Some(username), Some(password)) => Self::Basic { username, password: Secret::new(password) },
            _ => Self::Usual,
        }
    }
}

/// A repository's URL, or its path on this machine.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoUrl {
    full: String,
    /// Without user and password.
    shown: String,
    local: Option<PathBuf>,
}

/// A URL that names no repository.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is no repository: {reason}")]
pub struct UrlError {
    pub url: String,
    pub reason: &'static str,
}

impl RepoUrl {
    /// The repository at a path of this machine.
    pub fn local(path: &Path) -> Self {
        let shown = format!("file://{}", path.display());
        Self { full: shown.clone(), shown, local: Some(path.to_owned()) }
    }

    /// Its path, where it lies on this machine.
    pub fn path(&self) -> Option<&Path> {
        self.local.as_deref()
    }

    /// The URL as it was given, password and all: for the transport only.
    pub(crate) fn full(&self) -> &str {
        &self.full
    }
}

impl FromStr for RepoUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let error = |reason| UrlError { url: without_login(text), reason };
        if text.trim().is_empty() {
            return Err(error("it is empty"));
        }
        if let Some(path) = text.strip_prefix("file://") {
            return if path.starts_with('/') {
                Ok(Self::local(Path::new(path)))
            } else {
                Err(error("a file URL needs an absolute path"))
            };
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            if !matches!(scheme, "http" | "https" | "ssh") {
                return Err(error("only file, http, https and ssh are known"));
            }
            let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            if host.starts_with('/') || host.is_empty() {
                return Err(error("the host is missing"));
            }
            return Ok(Self { full: text.to_owned(), shown: without_login(text), local: None });
        }
        // git@host:path, as ssh users write it.
        if let Some((host, path)) = text.split_once(':')
            && !host.contains('/')
            && !path.is_empty()
        {
            return Ok(Self { full: text.to_owned(), shown: text.to_owned(), local: None });
        }
        if text.starts_with('/') || text.starts_with('.') {
            return Ok(Self::local(Path::new(text)));
        }
        Err(error("it is neither a URL nor a path that begins with / or ."))
    }
}

/// Leaves user and password of http URLs out; the user of ssh is no secret.
fn without_login(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => {
            let (authority, path) = rest.split_once('/').map_or((rest, ""), |(a, p)| (a, p));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            if path.is_empty() { format!("{scheme}://{host}") } else { format!("{scheme}://{host}/{path}") }
        }
        _ => text.to_owned(),
    }
}

impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_never_shown() {
        let url: RepoUrl = "https://ada:hunter2@git.example/shop.git".parse().unwrap();
        assert_eq!(format!("{url} {url:?}"), "https://git.example/shop.git https://git.example/shop.git");
        let credentials = Credentials::token(Secret::new("hunter2"));
        assert!(!format!("{credentials:?}").contains("hunter2"));
        let error = "gopher://ada:hunter2@x/y".parse::<RepoUrl>().unwrap_err();
        assert_eq!(error.reason, "only file, http, https and ssh are known");
    }

    #[test]
    fn all_ways_of_writing_a_repository_are_read() {
        for text in [
            "https://h/x.git",
            "http://h:1/x",
            "ssh://git@h:22/x",
            "git@h:a/b.git",
            "/srv/x",
            "./x",
            "file:///srv/x",
        ] {
            assert!(text.parse::<RepoUrl>().is_ok(), "{text}");
        }
        for text in ["", "x", "https://", "https:///x", "file://x", "ftp://h/x"] {
            assert!(text.parse::<RepoUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_in_the_environment_wins() {
        let environment = |name: &str| match name {
            "KUBECTL_GITOPS_GIT_TOKEN" => Some("t".to_owned()),
            _ => None,
        };
        assert_eq!(Credentials::from_environment(environment), Credentials::token(Secret::new("t")));
        assert_eq!(Credentials::from_environment(|_| None), Credentials::Usual);
    }
}
