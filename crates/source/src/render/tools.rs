//! The real helm and kustomize. In: where they are. Out: their versions, and
//! runs with bounded time and output, in an environment of their own.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::confine::{self, Reach};
use crate::child;
use crate::error::SourceError;

const TIME: Duration = Duration::from_secs(60);
const MAX_OUTPUT: u64 = 256 << 20;

/// Where the tools are: a name to look up on PATH, or a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    pub helm: PathBuf,
    pub kustomize: PathBuf,
    /// A program that evaluates Jsonnet when its first argument is
    /// [`super::jsonnet::ARGUMENT`]; ours do. None: this very program.
    pub jsonnet: Option<PathBuf>,
}

impl Default for Tools {
    fn default() -> Self {
        Self { helm: "helm".into(), kustomize: "kustomize".into(), jsonnet: None }
    }
}

impl Tools {
    /// From `KUBECTL_GITOPS_HELM` and `KUBECTL_GITOPS_KUSTOMIZE`, read by
    /// `variable`; else from PATH.
    pub fn from_environment(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Self {
        let read = |name: &str, default: &str| {
            variable(name).filter(|v| !v.is_empty()).map_or_else(|| default.into(), PathBuf::from)
        };
        Self {
            helm: read("KUBECTL_GITOPS_HELM", "helm"),
            kustomize: read("KUBECTL_GITOPS_KUSTOMIZE", "kustomize"),
            jsonnet: None,
        }
    }

    /// helm's version: as it says, or as `cache` knows from before.
    ///
    /// # Errors
    /// When it is missing or older than 3.14.
    pub fn helm_version(&self, cache: Option<&Path>) -> Result<String, SourceError> {
        version("helm", &self.helm, &["version", "--template={{.Version}}"], "3.14.0", cache)
    }

    /// kustomize's version: as it says, or as `cache` knows from before.
    ///
    /// # Errors
    /// When it is missing or older than 5.0.
    pub fn kustomize_version(&self, cache: Option<&Path>) -> Result<String, SourceError> {
        version("kustomize", &self.kustomize, &["version"], "5.0.0", cache)
    }
}

/// Versions do not change while a process runs.
static VERSIONS: LazyLock<Mutex<HashMap<PathBuf, String>>> = LazyLock::new(Mutex::default);

fn version(
    tool: &'static str,
    path: &Path,
    arguments: &[&str],
    needed: &'static str,
    cache: Option<&Path>,
) -> Result<String, SourceError> {
    if let Ok(known) = VERSIONS.lock()
        && let Some(version) = known.get(path)
    {
        return Ok(version.clone());
    }
    let kept = cache.and_then(|cache| kept(path, cache));
    let known = kept.as_ref().and_then(|kept| std::fs::read_to_string(kept).ok());
    // A disk that went away in the middle leaves an empty one.
    let known = known.filter(|version| !version.is_empty());
    let is_new = known.is_none();
    let found = match known {
        Some(found) => found,
        None => asked(tool, path, arguments)?,
    };
    let old = match (semver::Version::parse(&found), semver::Version::parse(needed)) {
        (Ok(found), Ok(needed)) => found < needed,
        // A build from source names no version.
        _ => false,
    };
    if old {
        return Err(SourceError::ToolTooOld { tool, found, needed });
    }
    if let Some(kept) = kept.filter(|_| is_new) {
        keep(&kept, &found);
    }
    if let Ok(mut known) = VERSIONS.lock() {
        known.insert(path.to_owned(), found.clone());
    }
    Ok(found)
}

/// Where the version of a program is kept: a file named after the program as it
/// is now, so that another one at its place is asked again.
fn kept(path: &Path, cache: &Path) -> Option<PathBuf> {
    let path = which::which(path).ok()?.canonicalize().ok()?;
    let file = path.metadata().ok()?;
    let about =
        (path, file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec(), file.ctime_nsec());
    let name = hex::encode(Sha256::digest(format!("{about:?}")));
    Some(cache.join("tools").join(name))
}

/// A disk that takes nothing only costs time.
fn keep(kept: &Path, version: &str) {
    let folder = kept.parent().unwrap_or(Path::new("."));
    let write = || {
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(version.as_bytes())?;
        file.persist(kept).map_err(|error| error.error)
    };
    if let Err(error) = write() {
        tracing::warn!(path = %kept.display(), %error, "a tool's version could not be kept");
    }
}

/// What a tool says of itself.
fn asked(tool: &'static str, path: &Path, arguments: &[&str]) -> Result<String, SourceError> {
    let home = tempfile::tempdir().map_err(SourceError::io(std::env::temp_dir()))?;
    let reach = Reach { read: &[], write: home.path(), run: &[] };
    let output = run(tool, path, arguments, home.path(), &reach)?;
    let found = output
        .trim()
        .trim_start_matches("kustomize/")
        .trim_start_matches('v')
        .split_whitespace()
        .next()
        .unwrap_or("");
    Ok(found.to_owned())
}

/// Runs a tool in `folder` and returns its stdout. Its HOME is the folder it
/// may write to.
pub(super) fn run(
    tool: &'static str,
    path: &Path,
    arguments: &[&str],
    folder: &Path,
    reach: &Reach<'_>,
) -> Result<String, SourceError> {
    let home = reach.write;
    let not_found = || SourceError::ToolMissing { tool, path: path.display().to_string() };
    let missing = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => not_found(),
        _ => SourceError::Io { path: path.to_owned(), error },
    };
    let path = &which::which(path).map_err(|_| not_found())?;
    let mut command = Command::new(path);
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        // No git, no plugins, nothing that a tool could call for help.
        .env("PATH", "")
        // A chart's `toDate` means the same day everywhere.
        .env("TZ", "UTC")
        .env("HOME", home)
        .env("TMPDIR", home)
        .envs(
            [
                "HELM_CACHE_HOME",
                "HELM_CONFIG_HOME",
                "HELM_DATA_HOME",
                "HELM_PLUGINS",
                "XDG_CACHE_HOME",
                "XDG_CONFIG_HOME",
            ]
            .map(|name| (name, home)),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = confine::spawn(&mut command, path, reach).map_err(missing)?;
    let Some(ended) = child::wait(child, b"", TIME, MAX_OUTPUT).map_err(SourceError::io(path))? else {
        return Err(SourceError::Timeout { what: tool.to_owned(), seconds: TIME.as_secs() });
    };
    let text = |bytes: Vec<u8>| match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    let (stdout, stderr) = (text(ended.stdout), text(ended.stderr));
    if stdout.len() as u64 >= MAX_OUTPUT {
        return Err(SourceError::Render {
            tool,
            path: folder.display().to_string(),
            reason: format!("it printed more than {} MiB", MAX_OUTPUT >> 20),
        });
    }
    if ended.status.success() {
        return Ok(stdout);
    }
    Err(SourceError::Render { tool, path: String::new(), reason: reason(&stderr, folder) })
}

/// What a tool complains about, on one line, without the temporary folder.
fn reason(stderr: &str, folder: &Path) -> String {
    let lines = stderr
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("WARNING") && !line.starts_with("Use --debug"));
    let text = lines.collect::<Vec<_>>().join(" ");
    let text = text.strip_prefix("Error: ").unwrap_or(&text);
    let mut shown = text.to_owned();
    for ancestor in folder.ancestors().take(8).filter(|ancestor| ancestor.components().count() > 2) {
        shown = shown
            .replace(&format!("{}/", ancestor.display()), "")
            .replace(&format!("'{}'", ancestor.display()), "'.'");
    }
    // The beginning says what was done, the end what went wrong.
    let shown: Vec<char> = shown.chars().collect();
    if shown.len() <= 600 {
        return shown.into_iter().collect();
    }
    let (first, last) = (&shown[..200], &shown[shown.len() - 400..]);
    first.iter().chain(" [...] ".chars().collect::<Vec<_>>().iter()).chain(last).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn program(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    #[test]
    fn another_program_at_the_same_place_is_asked_again() {
        let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (tool, new) = (folder.path().join("tool"), folder.path().join("new"));
        program(&tool, "one");
        let before = kept(&tool, cache.path()).unwrap();
        keep(&before, "4.0.1");
        assert_eq!(kept(&tool, cache.path()), Some(before.clone()));
        assert_eq!(std::fs::read_to_string(&before).unwrap(), "4.0.1");
        program(&new, "two");
        std::fs::rename(&new, &tool).unwrap();
        let after = kept(&tool, cache.path()).unwrap();
        assert!(after != before && !after.exists());
        assert_eq!(kept(&new, cache.path()), None);
    }
}
