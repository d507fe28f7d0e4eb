//! A cluster of the benchmarks' own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// Nothing is written for so long when all is done.
const CALM: Duration = Duration::from_secs(20);

pub fn binary(name: &str) -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().join(name)
}

/// An embedded control plane of the benchmarks' own.
pub struct Cluster {
    name: String,
    pub kubeconfig: String,
}

/// Waits until something counts the same twice.
fn until_same(count: impl Fn() -> usize) {
    let mut before = count();
    loop {
        std::thread::sleep(CALM);
        let now = count();
        if now == before {
            return;
        }
        before = now;
    }
}

impl Cluster {
    pub fn up() -> Self {
        Self::called("bench")
    }

    /// One beside others, by its own prefix.
    pub fn called(prefix: &str) -> Self {
        let name = format!("{prefix}-{}", std::process::id());
        let output = Command::new(binary("test-cluster"))
            .args(["up", "--name", &name])
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success());
        Self { name, kubeconfig: String::from_utf8(output.stdout).unwrap().trim().to_owned() }
    }

    /// A command with this cluster's kubeconfig and our programs on PATH.
    pub fn command(&self, program: &str, arguments: &[&str], folder: &Path) -> Command {
        let mut path = std::ffi::OsString::from(binary("bench").parent().unwrap());
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder).env("PATH", path).env("KUBECONFIG", &self.kubeconfig);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    pub fn run(&self, program: &str, arguments: &[&str], folder: &Path) -> bool {
        self.command(program, arguments, folder).status().unwrap().success()
    }

    /// Writes that are no system component's and no node's, so far.
    pub fn writes(&self) -> Vec<String> {
        let log = Path::new(&self.kubeconfig).parent().unwrap().join("logs/audit.log");
        let text = std::fs::read_to_string(log).unwrap();
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let is_write = |event: &Value| {
            let verb = event["verb"].as_str().unwrap_or_default();
            let user = event["user"]["username"].as_str().unwrap_or_default();
            let is_node = event["objectRef"]["resource"] == "nodes";
            ["create", "update", "patch", "delete", "deletecollection"].contains(&verb)
                && !user.starts_with("system:")
                && !is_node
        };
        events.filter(is_write).map(|event| format!("{} {}", event["verb"], event["requestURI"])).collect()
    }

    /// Waits until nothing is written any more: health comes after the sync.
    pub fn calms(&self) {
        until_same(|| self.writes().len());
    }

    /// The same of a namespace, Kubernetes' own controllers included: they are busy with
    /// new objects for a while.
    pub fn calms_in(&self, namespace: &str) {
        self.calms_of(&format!("\"namespace\":\"{namespace}\""));
    }

    /// The same of all requests whose record holds this.
    pub fn calms_of(&self, part: &str) {
        let log = Path::new(&self.kubeconfig).parent().unwrap().join("logs/audit.log");
        until_same(|| {
            let text = std::fs::read_to_string(&log).unwrap();
            text.lines().filter(|line| line.contains(part)).count()
        });
    }

    pub fn apply(&self, object: &Value) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), object.to_string()).unwrap();
        assert!(self.kubectl(&format!("apply --server-side -f {}", file.path().display())), "{object}");
    }

    pub async fn client(&self) -> kube::Client {
        let kubeconfig = kube::config::Kubeconfig::read_from(&self.kubeconfig).unwrap();
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        kube::Client::try_from(config).unwrap()
    }

    pub fn kubectl(&self, arguments: &str) -> bool {
        self.run("kubectl", &arguments.split(' ').collect::<Vec<_>>(), Path::new("/"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = Command::new(binary("test-cluster")).args(["down", "--name", &self.name]).status();
    }
}
