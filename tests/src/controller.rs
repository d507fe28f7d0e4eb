//! The controller as a process of this machine. In: a cluster, a cache
//! directory. Out: its metrics and log; it is killed when dropped.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::cluster::{TestCluster, eventually, ran};

/// A running controller.
#[derive(Debug)]
pub struct Controller {
    child: Child,
    pub http: String,
    log: PathBuf,
}

impl Controller {
    /// Starts one for the Applications of a namespace that keeps what it knows in
    /// `cache`, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(cluster: &TestCluster, namespace: &str, cache: &Path) -> Self {
        Self::with(cluster, &["--application-namespace", namespace], cache)
    }

    /// Starts a replica of this name for all Applications of a cluster.
    ///
    /// # Panics
    /// When it does not start.
    pub fn replica(cluster: &TestCluster, replica: &str, cache: &Path) -> Self {
        Self::with(cluster, &["--replica", replica], cache)
    }

    /// Starts one with these flags.
    ///
    /// # Panics
    /// When it does not start.
    pub fn with(cluster: &TestCluster, arguments: &[&str], cache: &Path) -> Self {
        Self::with_variables(cluster, arguments, &[], cache)
    }

    /// Starts one with these flags and environment variables.
    ///
    /// # Panics
    /// When it does not start.
    pub fn with_variables(
        cluster: &TestCluster,
        arguments: &[&str],
        variables: &[(&str, &str)],
        cache: &Path,
    ) -> Self {
        std::fs::create_dir_all(cache).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = cache.join("controller.log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let often: &[&str] =
            if arguments.contains(&"--poll-interval") { &[] } else { &["--poll-interval", "500ms"] };
        let child = Command::new(crate::binary("gitops-controller"))
            .args(["--http", &format!("127.0.0.1:{port}")])
            .args(often)
            .args(arguments)
            // As the chart has it.
            .env("MALLOC_ARENA_MAX", "2")
            .envs(variables.iter().copied())
            .args(["--cache-dir", &cache.display().to_string()])
            .args(["--kubeconfig", &cluster.kubeconfig().display().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        let controller = Self { child, http: format!("http://127.0.0.1:{port}"), log };
        eventually("the controller is ready", Duration::from_secs(60), || {
            controller.get("/readyz").filter(|text| text == "ok").map(drop)
        });
        controller
    }

    /// What it answers at a path.
    pub fn get(&self, path: &str) -> Option<String> {
        let answer = ran(Command::new("curl").args(["-s", &format!("{}{path}", self.http)]), None);
        (answer.code == 0).then_some(answer.stdout)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The most memory that it has held, in MiB, as the kernel keeps it.
    ///
    /// # Panics
    /// When it has ended.
    pub fn memory(&self) -> f64 {
        self.mebibytes("VmHWM:")
    }

    /// The memory that it holds now, in MiB.
    ///
    /// # Panics
    /// When it has ended.
    pub fn resident(&self) -> f64 {
        self.mebibytes("VmRSS:")
    }

    fn mebibytes(&self, field: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) {
        ran(Command::new("kill").arg(self.child.id().to_string()), None);
        let _ = self.child.wait();
    }

    /// Ends it at once, in the middle of whatever it does.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.end();
    }
}

/// Gives the controller's account the rights that the chart gives it in a release
/// in `system`, to write in one namespace.
///
/// # Panics
/// When they cannot be given.
pub fn installed(cluster: &TestCluster, system: &str, namespace: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut helm = cluster.command("helm");
    helm.current_dir(root).args([
        "template",
        "gitops",
        "charts/gitops",
        &format!("--namespace={system}"),
        "--show-only=templates/controller-rbac.yaml",
        &format!("--set=controller.namespaces={{{namespace}}}"),
    ]);
    let rendered = ran(&mut helm, None).ok().stdout;
    cluster.kubectl_stdin("apply --server-side --force-conflicts -f -", &rendered).ok();
}

/// The cluster, as the controller's account in `system` sees it; its token is kept
/// in `folder`.
///
/// # Panics
/// When there is no such account.
pub fn account(cluster: &TestCluster, system: &str, folder: &Path) -> TestCluster {
    let token = cluster.kubectl(&format!("create token gitops-controller -n {system}")).ok().stdout;
    let mut config = cluster.kubectl("config view --raw --minify --flatten -o json").ok().json();
    config["users"][0]["user"] = json!({"token": token.trim()});
    let file = folder.join("kubeconfig");
    std::fs::write(&file, config.to_string()).unwrap();
    TestCluster::at(file)
}
