//! Where a repository is and how to get in. URLs print without user and
//! password, secrets as `***`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use url::Url;

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
pub struct Credentials {
    pub login: Login,
    /// Certificates in PEM of the authorities that its host may be known by,
    /// beside those that the system knows.
    pub authority: Option<Arc<str>>,
}

impl From<Login> for Credentials {
    fn from(login: Login) -> Self {
        Self { login, authority: None }
    }
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Login {
    /// The usual places: user and password in the environment, git's
    /// credential helpers, the ssh agent.
    #[default]
    Usual,
    Basic {
        username: String,
        password: Secret,
    },
    /// A key of its own, and the hosts that it is shown to.
    Ssh {
        private_key: Secret,
        /// Lines of a `known_hosts` file.
        known_hosts: String,
    },
}

/// User name that servers take beside a token.
const TOKEN_USER: &str = "x-access-token";

impl Credentials {
    /// A token as hosting services take it: as the password of any user.
    pub fn token(token: Secret) -> Self {
        Login::Basic { username: TOKEN_USER.to_owned(), password: token }.into()
    }

    /// From `KUBECTL_GITOPS_GIT_TOKEN`, or `KUBECTL_GITOPS_GIT_USERNAME` and
    /// `KUBECTL_GITOPS_GIT_PASSWORD`, read by `variable`.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let read = |name: &str| variable(name).filter(|value| !value.is_empty());
        if let Some(token) = read("KUBECTL_GITOPS_GIT_TOKEN") {
            return Self::token(Secret::new(token));
        }
        match (read("KUBECTL_GITOPS_GIT_USERNAME"), read("KUBECTL_GITOPS_GIT_PASSWORD")) {
            (Some(username), Some(password)) => {
                Login::Basic { username, password: Secret::new(password) }.into()
            }
            _ => Self::default(),
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

    /// Host and path of a registry's URL.
    pub(crate) fn registry(&self) -> Option<&str> {
        self.full.strip_prefix("oci://").map(|rest| rest.trim_end_matches('/'))
    }

    /// Whether both are on one host: credentials that were given for one of
    /// them go to no other host.
    pub fn same_host(&self, other: &Self) -> bool {
        self.server() == other.server()
    }

    /// Host and port; none: this machine's disk.
    pub fn server(&self) -> Option<(String, Option<u16>)> {
        match Url::parse(&self.full) {
            Ok(url) => Some((url.host_str()?.to_owned(), url.port_or_known_default())),
            // git@host:path
            Err(_) => Some((self.full.split_once(':')?.0.rsplit('@').next()?.to_owned(), None)),
        }
    }

    /// Host and path in small letters, without port and `.git`: the same for most
    /// ways of writing one repository, such as over ssh and over https. Others may
    /// have it as well: it tells where to look, not what is there.
    pub fn place(&self) -> String {
        let (host, path) = match Url::parse(&self.full) {
            Ok(url) => (url.host_str().unwrap_or_default().to_owned(), url.path().to_owned()),
            // git@host:path
            Err(_) => match self.full.split_once(':') {
                Some((host, path)) => (host.rsplit('@').next().unwrap_or(host).to_owned(), path.to_owned()),
                None => (String::new(), self.full.clone()),
            },
        };
        let path = percent_encoding::percent_decode_str(&path).decode_utf8_lossy().to_lowercase();
        let path = path.trim_matches('/');
        format!("{}/{}", host.to_lowercase(), path.strip_suffix(".git").unwrap_or(path))
    }

    /// Whether it is a registry, which holds no Git.
    pub fn is_registry(&self) -> bool {
        self.registry().is_some()
    }

    /// The URL for the transport: without the user and password of http, which
    /// go as [`RepoUrl::login`].
    pub(crate) fn address(&self) -> String {
        match Url::parse(&self.full) {
            Ok(mut url) if matches!(url.scheme(), "http" | "https") => {
                let _ = url.set_password(None);
                let _ = url.set_username("");
                url.to_string()
            }
            _ => self.full.clone(),
        }
    }

    /// The user and password in an http URL.
    fn login(&self) -> Option<Login> {
        let url = Url::parse(&self.full).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        let decoded =
            |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        (!url.username().is_empty()).then(|| Login::Basic {
            username: decoded(url.username()),
            password: Secret::new(decoded(url.password().unwrap_or(""))),
        })
    }

    /// These credentials, but for a login that the URL itself has.
    pub(crate) fn with_login(&self, credentials: &Credentials) -> Credentials {
        let login = self.login().unwrap_or_else(|| credentials.login.clone());
        Credentials { login, ..credentials.clone() }
    }

    /// Scheme and host of an http URL, as Git's configuration names them.
    pub(crate) fn host(&self) -> Option<String> {
        let url = Url::parse(&self.full).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        Some(url.origin().ascii_serialization())
    }

    /// Whether what is sent there can be read on the way.
    pub(crate) fn is_clear_text(&self) -> bool {
        self.full.starts_with("http://")
    }

    /// A text of others without what this URL keeps to itself: itself in full,
    /// and its password, as written and as decoded.
    pub(crate) fn mask(&self, text: &str) -> String {
        let mut masked = text.replace(&self.full, &self.shown);
        let Ok(url) = Url::parse(&self.full) else { return masked };
        // A user name without a password is a token.
        let token = url.password().is_none() && url.scheme() != "ssh" && url.username().len() >= 8;
        let secrets = [url.password(), url.query(), token.then(|| url.username())];
        for secret in secrets.into_iter().flatten().filter(|secret| !secret.is_empty()) {
            let decoded = percent_encoding::percent_decode_str(secret).decode_utf8_lossy();
            masked = masked.replace(secret, "***").replace(&*decoded, "***");
        }
        masked
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
            if !matches!(scheme, "http" | "https" | "ssh" | "oci") {
                return Err(error("only file, http, https, ssh and oci are known"));
            }
            if rest.starts_with('/') || rest.is_empty() {
                return Err(error("the host is missing"));
            }
            let url = Url::parse(text)
                .map_err(|_| error("it cannot be read; in user and password, write / as %2F and @ as %40"))?;
            if url.host_str().is_none_or(str::is_empty) {
                return Err(error("the host is missing"));
            }
            return Ok(Self { full: text.to_owned(), shown: without_login(text), local: None });
        }
        // git@host:path, as ssh users write it.
        if let Some((host, path)) = text.split_once(':')
            && !host.contains('/')
            && !path.is_empty()
        {
            if path.split('/').next().is_some_and(|first| first.contains('@')) {
                return Err(error("ssh takes no password here: write user@host:path"));
            }
            return Ok(Self { full: text.to_owned(), shown: text.to_owned(), local: None });
        }
        if text.starts_with('/') || text.starts_with('.') {
            return Ok(Self::local(Path::new(text)));
        }
        Err(error("it is neither a URL nor a path that begins with / or ."))
    }
}

/// A URL as it may be shown: without password and query, and without the user
/// but for ssh, where it is no secret. What cannot be read keeps only what
/// stands after its last @.
fn without_login(text: &str) -> String {
    let Some((scheme, _)) = text.split_once("://") else {
        return match text.rsplit_once('@') {
            Some((before, after)) if before.contains(':') => format!("***@{after}"),
            _ => text.to_owned(),
        };
    };
    let readable = Url::parse(text).ok().filter(|url| url.has_host() && !url.path().contains('@'));
    let Some(mut url) = readable else {
        return match text.rsplit_once('@') {
            Some((_, after)) => format!("{scheme}://***@{}", after.split(['?', '#']).next().unwrap_or("")),
            None => text.split(['?', '#']).next().unwrap_or("").to_owned(),
        };
    };
    let _ = url.set_password(None);
    if scheme != "ssh" {
        let _ = url.set_username("");
    }
    url.set_query(None);
    url.set_fragment(None);
    // The url crate ends a bare host in a slash; the text did not.
    let shown = url.to_string();
    if text.ends_with('/') { shown } else { shown.trim_end_matches('/').to_owned() }
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
        for text in [
            "gopher://ada:hunter2@x/y",
            "ftp://ada:hunter2@x/y",
            "https://ada:hunter2/3@x/y",
            "ada:hunter2@x:y",
        ] {
            let error = text.parse::<RepoUrl>().unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        for text in [
            "ssh://git:hunter2@x:22/y",
            "https://x/y.git?private_token=hunter2",
            "https://hunter2hunter2@x/y",
            "https://ada:8080/hunter2@x/y",
        ] {
            let url = text.parse::<RepoUrl>().unwrap();
            assert!(!url.to_string().contains("hunter2"), "{url}");
            assert!(!url.mask(&format!("no way to {text}")).contains("hunter2"), "{url}");
        }
        let url: RepoUrl = "https://ada:hunter%2F2@x/y".parse().unwrap();
        assert_eq!(url.mask("hunter/2 and hunter%2F2"), "*** and ***");
        let url: RepoUrl = "ssh://git@x/y".parse().unwrap();
        assert_eq!(url.to_string(), "ssh://git@x/y");
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
    fn one_repository_has_one_place() {
        let place = |text: &str| text.parse::<RepoUrl>().unwrap().place();
        for text in [
            "https://git.example/Shop/Web.git",
            "https://ada:hunter2@GIT.example:8443/shop/web/",
            "ssh://git@git.example:2222/shop/web.git",
            "git@git.example:shop/web.git",
            "git@git.example:/shop/web",
        ] {
            assert_eq!(place(text), "git.example/shop/web", "{text}");
        }
        assert_eq!(place("file:///srv/web.git"), "/srv/web");
        assert_ne!(place("https://git.example/shop/web2"), "git.example/shop/web");
    }

    #[test]
    fn a_token_in_the_environment_wins() {
        let environment = |name: &str| match name {
            "KUBECTL_GITOPS_GIT_TOKEN" => Some("t".to_owned()),
            _ => None,
        };
        assert_eq!(Credentials::from_environment(environment), Credentials::token(Secret::new("t")));
        assert_eq!(Credentials::from_environment(|_| None), Credentials::default());
    }
}
