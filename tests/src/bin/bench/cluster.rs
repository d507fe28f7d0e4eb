//! A cluster of the benchmarks' own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

pub fn binary(name: &str) -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().join(name)
}

/// An embedded control plane of the benchmarks' own.
pub struct Cluster {
    name: String,
    pub kubeconfig: String,
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
