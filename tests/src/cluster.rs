//! The shared cluster. In: `GITOPS_TEST_KUBECONFIG`, set by `make test` (the
//! embedded cluster, or the user's own). Out: kubectl and the plugin, run
//! against it with a HOME of their own.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The cluster that all tests share.
#[derive(Debug)]
pub struct TestCluster {
    kubeconfig: PathBuf,
    home: TempDir,
}

/// What a command printed and how it ended.
#[derive(Debug, Clone)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Itself, when the command ended with 0.
    ///
    /// # Panics
    /// When it did not, with all that it printed.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self
    }

    /// Itself, when the command ended with `code`.
    ///
    /// # Panics
    /// When it ended otherwise, with all that it printed.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        self
    }

    /// Itself, when our webhook refused it, naming all of these in at most 15
    /// lines.
    ///
    /// # Panics
    /// When it was not refused so.
    #[track_caller]
    pub fn refused(self, parts: &[&str]) -> Self {
        assert_ne!(self.code, 0, "{}", self.stdout);
        assert!(self.stderr.contains("denied the request"), "{}", self.stderr);
        assert!(self.stderr.lines().count() <= 15, "{}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in:\n{}", self.stderr);
        }
        self
    }

    /// stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", self.stdout, self.stderr))
    }
}

/// The shared cluster of this test run.
///
/// # Panics
/// When `GITOPS_TEST_KUBECONFIG` is not set.
pub fn cluster() -> &'static TestCluster {
    static CLUSTER: OnceLock<TestCluster> = OnceLock::new();
    CLUSTER.get_or_init(|| named_by("GITOPS_TEST_KUBECONFIG"))
}

/// The cluster in which the webhook runs as a process of this machine.
///
/// # Panics
/// When `GITOPS_TEST_WEBHOOK_KUBECONFIG` is not set.
pub fn webhook_cluster() -> &'static TestCluster {
    static CLUSTER: OnceLock<TestCluster> = OnceLock::new();
    CLUSTER.get_or_init(|| named_by("GITOPS_TEST_WEBHOOK_KUBECONFIG"))
}

fn named_by(variable: &str) -> TestCluster {
    let kubeconfig = std::env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} is not set: run the tests by `make test` or `make test-e2e`"));
    TestCluster::at(kubeconfig.into())
}

impl TestCluster {
    /// The cluster of an administrator's kubeconfig.
    pub fn at(kubeconfig: PathBuf) -> Self {
        Self { kubeconfig, home: TempDir::with_prefix("gitops-home-").unwrap() }
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &std::path::Path {
        &self.kubeconfig
    }

    /// A command with this cluster's kubeconfig, a HOME of its own, and the
    /// plugin's directory on PATH.
    pub fn command(&self, program: &str) -> Command {
        let plugin = crate::binary("kubectl-gitops");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command
            .env("PATH", format!("{}:{path}", plugin.parent().unwrap().display()))
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.home.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs the real kubectl. `arguments` are split at white space.
    pub fn kubectl(&self, arguments: &str) -> Ran {
        self.kubectl_args(&arguments.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs the real kubectl with these arguments.
    pub fn kubectl_args(&self, arguments: &[&str]) -> Ran {
        ran(self.command("kubectl").args(arguments), None)
    }

    /// Runs the real kubectl with `input` on its stdin.
    pub fn kubectl_stdin(&self, arguments: &str, input: &str) -> Ran {
        ran(self.command("kubectl").args(arguments.split_whitespace()), Some(input))
    }

    /// Waits until a kind that was just defined is served: kubectl's own wait fails where
    /// nothing is said of a definition yet, and it is established before its storage is
    /// ready.
    pub fn serves(&self, plural: &str) {
        eventually(&format!("{plural} are served"), Duration::from_secs(60), || {
            (self.kubectl(&format!("get {plural} -A")).code == 0).then_some(())
        });
    }

    /// Runs `kubectl gitops` in `directory`.
    pub fn gitops(&self, directory: &std::path::Path, arguments: &str) -> Ran {
        ran(
            self.command("kubectl").arg("gitops").args(arguments.split_whitespace()).current_dir(directory),
            None,
        )
    }

    /// A namespace of the test's own; deleted when dropped.
    pub fn namespace(&'static self, prefix: &str) -> Namespace {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{prefix}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        self.kubectl(&format!("create namespace {name}")).ok();
        Namespace { cluster: self, name }
    }
}

/// A namespace that lives as long as this value.
#[derive(Debug)]
pub struct Namespace {
    cluster: &'static TestCluster,
    pub name: String,
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.cluster.kubectl(&format!("delete namespace {} --wait=false --ignore-not-found", self.name));
    }
}

/// Runs a command to its end.
pub fn ran(command: &mut Command, input: Option<&str>) -> Ran {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(input.as_bytes()).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Tries `check` until it returns a value.
///
/// # Panics
/// When it still returns none after `limit`.
#[track_caller]
pub fn eventually<T>(what: &str, limit: Duration, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
