//! A real Kubernetes for tests and demos, without Docker. In: a name, with or
//! without a node. Out: a kubeconfig, and a cluster that leaves nothing behind
//! when it stops.
//!
//! The control plane alone runs on the loopback of this machine and needs no
//! root. With a node, everything runs in namespaces of its own (network,
//! mounts, processes) whose end takes all of it along.

mod claim;
mod control_group;
mod control_plane;
mod error;
mod guard;
pub mod image;
mod node;
mod process;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use error::Error;

use guard::Guard;
use process::Processes;

/// How long a program may take until it is ready.
const READY: Duration = Duration::from_secs(60);

/// What a cluster is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Letters, digits and dashes.
    pub name: String,
    /// With a kubelet, containers and Services: needs Linux and root.
    pub node: bool,
    /// Where the programs are: what `tests/cluster/build path` prints.
    pub programs: PathBuf,
}

/// A cluster that runs. One that was started goes when this value is dropped,
/// and when the process ends, even if that is killed.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    programs: PathBuf,
    guard: Option<Guard>,
}

/// Where clusters keep their files: `GITOPS_TEST_CLUSTER_HOME`, else a folder
/// of the user's state.
pub fn state_dir() -> PathBuf {
    let variable = |name: &str| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
        std::path::absolute(value).ok()
    };
    if let Some(home) = variable("GITOPS_TEST_CLUSTER_HOME") {
        return home;
    }
    let base = variable("XDG_STATE_HOME")
        .or_else(|| Some(variable("HOME")?.join(".local/state")))
        .unwrap_or_else(std::env::temp_dir);
    base.join("kubectl-gitops/clusters")
}

/// The names of the clusters that have files here.
pub fn list() -> Vec<String> {
    let entries = std::fs::read_dir(state_dir()).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names
}

/// Where a cluster of this name keeps its files.
fn dir_of(name: &str) -> Result<PathBuf, Error> {
    let valid = (1..=40).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if valid { Ok(state_dir().join(name)) } else { Err(Error::Name(name.to_owned())) }
}

/// Takes a cluster down, even one that was never ready: what it started and
/// its files are enough. False when there was none.
///
/// # Errors
/// When a process does not end or a file does not go.
pub fn down(name: &str) -> Result<bool, Error> {
    let dir = dir_of(name)?;
    let claim = claim::existing(&dir)?;
    if claim.is_some() {
        stop(&dir)?;
    }
    Ok(claim.is_some())
}

impl Cluster {
    /// Starts a cluster and waits until it is ready.
    ///
    /// # Errors
    /// When one of that name is there, a program is missing, or it is not ready
    /// in a minute; then its logs stay and the error says where.
    pub fn start(options: &Options) -> Result<Self, Error> {
        let dir = dir_of(&options.name)?;
        let _claim = claim::new(&dir)?;
        let guard = Guard::start(&dir, &control_group::paths(&dir)).inspect_err(|_| {
            let _ = std::fs::remove_dir(&dir);
        })?;
        let cluster = Self { dir, programs: options.programs.clone(), guard: Some(guard) };
        match cluster.bring_up(options) {
            Ok(()) => Ok(cluster),
            Err(error) => Err(cluster.failed(error)),
        }
    }

    fn bring_up(&self, options: &Options) -> Result<(), Error> {
        std::fs::create_dir_all(self.logs()).map_err(Error::io(self.logs()))?;
        let mut processes = Processes::new(&self.dir);
        let address = if options.node {
            node::isolate(&mut processes, &self.dir)?
        } else {
            control_plane::loopback(&self.dir)?
        };
        control_plane::start(&mut processes, &self.dir, &self.programs, &address)?;
        self.wait("the API server", Duration::from_secs(60), || {
            self.kubectl(&["get", "--raw", "/readyz"]).is_ok()
        })?;
        control_plane::start_controllers(&mut processes, &self.dir, &self.programs, &address)?;
        if options.node {
            node::start(&mut processes, &self.dir, &self.programs, &address)?;
        }
        self.wait("the default service account", Duration::from_secs(60), || {
            self.kubectl(&["get", "serviceaccount", "default", "--namespace", "default"]).is_ok()
        })?;
        if options.node {
            node::load_image(&self.dir, &self.programs, &node::pause_image(&self.dir)?)?;
            self.wait("the node", Duration::from_secs(60), || {
                self.kubectl(&["wait", "--for=condition=Ready", "node/node", "--timeout=1s"]).is_ok()
            })?;
        }
        Ok(())
    }

    /// Stops what was started; keeps the logs, if need be where they are.
    fn failed(mut self, error: Error) -> Error {
        let mut stopped = process::stop_all(&self.dir);
        let logs = kept_logs(&self.dir);
        let _ = std::fs::remove_dir_all(&logs);
        let kept = copy(&self.logs(), &logs).is_ok();
        if kept {
            stopped = stop(&self.dir);
        }
        let reason = match stopped {
            Ok(()) => error.to_string(),
            Err(left) => format!("{error}; then {left}"),
        };
        self.keep();
        Error::Start { reason, logs: if kept { logs } else { self.logs() } }
    }

    /// A cluster that runs already.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn open(name: &str, programs: &Path) -> Result<Self, Error> {
        let dir = dir_of(name)?;
        if !dir.join("kubeconfig").is_file() {
            return Err(Error::Absent(name.to_owned()));
        }
        Ok(Self { dir, programs: programs.to_owned(), guard: None })
    }

    /// Lets it run on when this value is dropped or the process ends.
    pub fn keep(&mut self) {
        if let Some(guard) = self.guard.take() {
            guard.dismiss();
        }
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// Its log files; the API server's audit log is `audit.log` there.
    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// The address at which the API server and pods reach this machine.
    pub fn host_address(&self) -> String {
        std::fs::read_to_string(self.dir.join("host-address")).unwrap_or_else(|_| "127.0.0.1".into())
    }

    /// Kills a program of the control plane, such as `etcd`, starts it again
    /// and waits until the API server is ready.
    ///
    /// # Errors
    /// When it does not run, the cluster has a node, or it is not ready in a
    /// minute.
    pub fn restart(&self, name: &str) -> Result<(), Error> {
        process::restart(&self.dir, name)?;
        let start = Instant::now();
        while self.kubectl(&["get", "--raw", "/readyz"]).is_err() {
            if start.elapsed() > READY {
                return Err(Error::NotReady { what: "the API server", seconds: READY.as_secs() });
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Loads an image (an OCI archive) into the node.
    ///
    /// # Errors
    /// When there is no node or the archive is none.
    pub fn load_image(&self, archive: &Path) -> Result<(), Error> {
        node::load_image(&self.dir, &self.programs, archive)
    }

    /// Stops it and removes everything.
    ///
    /// # Errors
    /// When a process does not end or a file does not go.
    pub fn stop(mut self) -> Result<(), Error> {
        let stopped = stop(&self.dir);
        self.keep();
        stopped
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<(), Error> {
        let kubeconfig = self.kubeconfig();
        process::run_within(
            Duration::from_secs(10),
            std::process::Command::new(self.programs.join("kubectl"))
                .arg("--request-timeout=5s")
                // Not the user's, where the next cluster at this address finds it.
                .arg("--cache-dir")
                .arg(self.dir.join("kubectl"))
                .arg("--kubeconfig")
                .arg(kubeconfig)
                .args(arguments),
        )
        .map(drop)
    }

    fn wait(&self, what: &'static str, limit: Duration, ready: impl Fn() -> bool) -> Result<(), Error> {
        let start = Instant::now();
        while !ready() {
            if let Some(ended) = process::ended(&self.dir) {
                return Err(Error::Ended(ended));
            }
            if start.elapsed() > limit {
                return Err(Error::NotReady { what, seconds: limit.as_secs() });
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.guard.is_some() {
            let _ = stop(&self.dir);
            self.keep();
        }
    }
}

/// Where the logs of a start that failed are kept.
fn kept_logs(dir: &Path) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    std::env::temp_dir().join(format!("kubectl-gitops-cluster-logs-{name}"))
}

/// Copies a folder, to another file system too.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::create_dir(to).map_err(Error::io(to))?;
    for entry in std::fs::read_dir(from).map_err(Error::io(from))? {
        let path = entry.map_err(Error::io(from))?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &target)?;
        } else if path.is_file() {
            std::fs::copy(&path, &target).map_err(Error::io(&target))?;
        }
    }
    Ok(())
}

/// Ends the processes of a cluster, by the pids that were started, and removes
/// its control groups and files.
fn stop(dir: &Path) -> Result<(), Error> {
    process::stop_all(dir)?;
    control_group::remove(dir);
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Io { path: dir.to_owned(), error })
        }
        _ => Ok(()),
    }
}
