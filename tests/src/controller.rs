//! The controller as a process of this machine. In: a cluster, a cache
//! directory. Out: its metrics and log; it is killed when dropped.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

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

    fn with(cluster: &TestCluster, arguments: &[&str], cache: &Path) -> Self {
        std::fs::create_dir_all(cache).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = cache.join("controller.log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let child = Command::new(crate::binary("gitops-controller"))
            .args(["--http", &format!("127.0.0.1:{port}"), "--poll-interval", "500ms"])
            .args(arguments)
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
