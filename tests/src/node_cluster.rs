//! A cluster for one test, with a real node or without: what runs on the node
//! are real pods.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::{TestCluster, ran};

/// A running cluster; it goes when this value is dropped.
#[derive(Debug)]
pub struct NodeCluster {
    name: String,
    pub cluster: TestCluster,
}

impl NodeCluster {
    /// Brings one up.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn up(prefix: &str) -> Self {
        Self::with(prefix, &["--node"])
    }

    /// Brings up one without a node: the control plane alone, with our
    /// definitions and namespace.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn control_plane(prefix: &str) -> Self {
        let this = Self::empty(prefix);
        let definitions = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/gitops/templates/crds");
        this.cluster.kubectl(&format!("apply --server-side -f {definitions}")).ok();
        this.cluster.kubectl("create namespace gitops-system").ok();
        this
    }

    /// Brings up a control plane with nothing of ours.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn empty(prefix: &str) -> Self {
        Self::with(prefix, &[])
    }

    fn with(prefix: &str, arguments: &[&str]) -> Self {
        let name = format!("{prefix}-{}", std::process::id());
        let mut command = Command::new(crate::binary("test-cluster"));
        let up = ran(command.args(["up", "--name", &name]).args(arguments), None).ok();
        Self { name, cluster: TestCluster::at(PathBuf::from(up.stdout.trim())) }
    }

    /// Kills a program of the control plane and starts it again.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&self, program: &str) {
        self.tool(&["restart", program]);
    }

    /// Loads an image's archive into the node.
    ///
    /// # Panics
    /// When it cannot be loaded.
    pub fn load_image(&self, archive: &Path) {
        self.tool(&["load-image", &archive.display().to_string()]);
    }

    /// The command that loads an archive, which follows it.
    pub fn load_command(&self) -> String {
        // Where this process keeps its clusters, whoever runs it.
        let state = std::env::var("XDG_STATE_HOME")
            .map_or("-u XDG_STATE_HOME".into(), |home| format!("XDG_STATE_HOME={home}"));
        format!("env {state} {} load-image --name {}", crate::binary("test-cluster").display(), self.name)
    }

    /// The address at which pods reach this machine.
    pub fn host_address(&self) -> String {
        self.tool(&["host-address"]).trim().to_owned()
    }

    fn tool(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(crate::binary("test-cluster"));
        ran(command.arg(arguments[0]).args(["--name", &self.name]).args(&arguments[1..]), None).ok().stdout
    }
}

impl Drop for NodeCluster {
    fn drop(&mut self) {
        ran(Command::new(crate::binary("test-cluster")).args(["down", "--name", &self.name]), None);
    }
}
