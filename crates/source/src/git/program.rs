//! The git program, for what is written: commits, signatures, pushes. In: a
//! folder, arguments, input. Out: what it prints. The user's configuration
//! counts; hooks are not run, and nobody is asked for a password.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use super::key::KeyFiles;
use crate::authority;
use crate::child;
use crate::error::SourceError;
use crate::location::{Credentials, Login, RepoUrl};

/// What leads git to another repository than that of its folder: its hooks and
/// aliases have these set (git rev-parse --local-env-vars).
const ELSEWHERE: [&str; 11] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// git in one folder.
#[derive(Debug)]
pub struct Program {
    folder: PathBuf,
    /// How messages name the repository.
    repo: RepoUrl,
    environment: Vec<(String, String)>,
    /// Configuration that wins over the user's: `name=value`.
    settings: Vec<String>,
    /// Kept on disk as long as ssh may ask for it.
    key: Option<KeyFiles>,
    /// Kept on disk as long as git may ask for it.
    authority: Option<tempfile::NamedTempFile>,
    timeout: Duration,
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct Ran {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Program {
    /// git in `folder`, for `repo`; one run may take `timeout`.
    pub fn new(folder: &Path, repo: &RepoUrl, timeout: Duration) -> Self {
        let always = ["core.hooksPath=/dev/null", "core.fsmonitor=false", "user.useConfigOnly=true"];
        Self {
            folder: folder.to_owned(),
            repo: repo.clone(),
            environment: Vec::new(),
            settings: always.map(str::to_owned).into(),
            key: None,
            authority: None,
            timeout,
        }
    }

    /// The same with a variable of its environment.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// The same with configuration that wins over the user's.
    #[must_use]
    pub(super) fn configured(mut self, settings: impl IntoIterator<Item = String>) -> Self {
        self.settings.extend(settings);
        self
    }

    /// The same with a way into the repository. A password is told to the
    /// repository's own host alone.
    ///
    /// # Errors
    /// When an ssh key cannot be put on disk.
    pub(super) fn entering(mut self, credentials: &Credentials) -> Result<Self, SourceError> {
        let credentials = self.repo.with_login(credentials);
        self.key = KeyFiles::of(&credentials.login)?;
        if let Some(key) = &self.key {
            let command = key.command();
            return Ok(self.with("GIT_SSH_COMMAND", command));
        }
        let Some(host) = self.repo.host() else { return Ok(self) };
        if let Some(pem) = credentials.authority.as_deref() {
            let file = authority::file(pem, self.configured_authority()?.as_deref())?;
            // Stronger than what the user's environment says of all hosts.
            let path = file.path().display().to_string();
            self.authority = Some(file);
            self = self.with("GIT_SSL_CAINFO", path);
        }
        let Login::Basic { username, password } = &credentials.login else { return Ok(self) };
        let helper = r#"!printf 'username=%s\npassword=%s\n' "$GITOPS_USERNAME" "$GITOPS_PASSWORD" #"#;
        self.settings.extend(["", helper].map(|value| format!("credential.{host}.helper={value}")));
        Ok(self.with("GITOPS_USERNAME", username).with("GITOPS_PASSWORD", password.reveal()))
    }

    /// The file of certificates that Git's configuration names for the repository.
    fn configured_authority(&self) -> Result<Option<PathBuf>, SourceError> {
        let url = self.repo.to_string();
        let ran = self.output(&["config", "--type=path", "--get-urlmatch", "http.sslCAInfo", &url], &[])?;
        let path = ran.stdout.trim_end_matches('\n');
        Ok((ran.status.success() && !path.is_empty()).then(|| PathBuf::from(path)))
    }

    /// What it prints, without the last line end.
    ///
    /// # Errors
    /// When git is missing, takes too long, or fails, with what it says.
    pub fn run(&self, arguments: &[&str], input: &[u8]) -> Result<String, SourceError> {
        let ran = self.output(arguments, input)?;
        if ran.status.success() {
            return Ok(ran.stdout.trim_end_matches('\n').to_owned());
        }
        let nameless = ["tell me who you are", "empty ident", "no email was given", "no name was given"];
        if nameless.iter().any(|words| ran.stderr.contains(words)) {
            return Err(SourceError::Nameless);
        }
        Err(self.failed(arguments, &ran.stderr))
    }

    /// An error in git's own words.
    pub(super) fn failed(&self, arguments: &[&str], stderr: &str) -> SourceError {
        let said: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let reason = self.repo.mask(&said.join(" "));
        let command = arguments.first().unwrap_or(&"");
        SourceError::Git { repo: self.repo.to_string(), reason: format!("git {command}: {reason}") }
    }

    /// Runs it, however it ends.
    pub(super) fn output(&self, arguments: &[&str], input: &[u8]) -> Result<Ran, SourceError> {
        let child = self.command(arguments).spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => SourceError::ToolMissing { tool: "git", path: "git".into() },
            _ => SourceError::Io { path: "git".into(), error },
        })?;
        let Some(ended) =
            child::wait(child, input, self.timeout, u64::MAX).map_err(SourceError::io("git"))?
        else {
            let what = format!("git {}", arguments.first().unwrap_or(&""));
            return Err(SourceError::Timeout { what, seconds: self.timeout.as_secs() });
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let stderr = printable(&text(&ended.stderr));
        Ok(Ran { status: ended.status, stdout: text(&ended.stdout), stderr })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        for name in ELSEWHERE {
            command.env_remove(name);
        }
        command
            .args(self.settings.iter().flat_map(|setting| ["-c", setting]))
            .args(arguments)
            .current_dir(&self.folder)
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_LITERAL_PATHSPECS", "1")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// Words of others, perhaps of a host's, without what would steer a terminal.
pub(super) fn printable(text: &str) -> String {
    let text = text.replace('\r', "\n");
    text.chars().filter(|letter| !letter.is_control() || matches!(letter, '\n' | '\t')).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn whoever_calls_it_leads_it_nowhere_else() {
        let folder = Path::new("/srv/shop");
        let program = Program::new(folder, &RepoUrl::local(folder), Duration::from_secs(1));
        let program = program.with("GIT_DIR", "/tmp/draft");
        let command = program.command(&["status"]);
        let of = |wanted: &str| command.get_envs().find(|(name, _)| *name == wanted).unwrap().1;
        assert_eq!(of("GIT_WORK_TREE"), None);
        assert_eq!(of("GIT_DIR"), Some(OsStr::new("/tmp/draft")));
    }

    #[test]
    fn an_authority_is_known_beside_what_git_knows() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let repo: RepoUrl = "https://git.example/shop.git".parse().unwrap();
        let program = || Program::new(folder.path(), &repo, Duration::from_secs(60));
        let system = rustls_native_certs::load_native_certs().certs.len();
        let own = pem::encode(&pem::Pem::new("CERTIFICATE", *b"own"));
        let configured = pem::encode(&pem::Pem::new("CERTIFICATE", *b"configured"));
        program().run(&["init", "--quiet"], &[]).unwrap();
        let name = |path: &str| {
            program().run(&["config", "http.https://git.example/.sslCAInfo", path], &[]).unwrap();
            let credentials = Credentials { authority: Some(own.as_str().into()), ..Credentials::default() };
            program().entering(&credentials)
        };
        let entered = name(&write("ca.pem", &configured)).unwrap();
        let file = &entered.environment.iter().find(|(name, _)| name == "GIT_SSL_CAINFO").unwrap().1;
        let known = pem::parse_many(std::fs::read(file).unwrap()).unwrap();
        let known: Vec<&[u8]> = known.iter().map(pem::Pem::contents).collect();
        assert_eq!(&known[..2], [b"own".as_slice(), b"configured"]);
        assert_eq!(known.len(), 2 + system, "the system's are there as well");
        let nowhere = folder.path().join("nowhere.pem").display().to_string();
        let missing = name(&nowhere).unwrap_err().to_string();
        assert!(missing.starts_with(&format!("{nowhere}, which Git's http.sslCAInfo names: ")), "{missing}");
        let empty = name(&write("empty.pem", "no certificate")).unwrap_err().to_string();
        assert!(empty.contains("no certificate in PEM"), "{empty}");
    }

    #[test]
    fn words_of_others_steer_no_terminal() {
        assert_eq!(printable("a\u{1b}[2J\u{7}b\rc\td\n\u{9b}1m"), "a[2Jb\nc\td\n1m");
    }
}
