//! The control groups of a node, with version 1 and 2. In: the cluster's
//! folder. Out: groups in which the kubelet finds the controllers it needs.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::Error;

const ROOT: &str = "/sys/fs/cgroup";

/// The one parent of all control groups of a cluster; clusters of one name with
/// different homes must not share it.
pub(crate) fn name(dir: &Path) -> String {
    let home = hex::encode(Sha256::digest(dir.as_os_str().as_encoded_bytes()));
    format!("gitops-{}-{}", dir.file_name().unwrap_or_default().to_string_lossy(), &home[..8])
}

/// Hierarchies in which control groups are made: one with version 2, one for
/// each controller with version 1.
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_owned()];
    }
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.join("cgroup.procs").exists()).collect()
}

/// Where this cluster's control groups are, or would be.
pub(crate) fn paths(dir: &Path) -> Vec<PathBuf> {
    let group = name(dir);
    hierarchies().into_iter().map(|hierarchy| hierarchy.join(&group)).collect()
}

pub(crate) fn make(dir: &Path) -> Result<(), Error> {
    let root = Path::new(ROOT);
    if root.join("cgroup.subtree_control").exists() {
        enable_controllers(root)?;
    }
    for path in paths(dir) {
        std::fs::create_dir_all(&path).map_err(Error::io(&path))?;
    }
    Ok(())
}

/// What the kubelet and runc need in a group, as far as the machine has it.
const CONTROLLERS: [&str; 6] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"];

/// With version 2 a group has the controllers that its parent hands down. Some
/// machines hand down none, a container's outermost group in particular.
fn enable_controllers(parent: &Path) -> Result<(), Error> {
    let missing = missing(parent);
    if missing.is_empty() {
        return Ok(());
    }
    let enable = |controllers: &[&str]| {
        let text = controllers.iter().map(|name| format!("+{name} ")).collect::<String>();
        std::fs::write(parent.join("cgroup.subtree_control"), text)
    };
    if enable(&missing).is_err_and(|error| error.kind() == ErrorKind::ResourceBusy) {
        // Only the machine's own root may have both processes and children
        // with controllers.
        vacate(parent);
    }
    // One by one: one that is refused must not keep the others away.
    for controller in missing {
        enable(&[controller]).map_err(|error| Error::Controller {
            controller,
            group: parent.to_owned(),
            error,
        })?;
    }
    Ok(())
}

fn missing(parent: &Path) -> Vec<&'static str> {
    let words = |file: &str| std::fs::read_to_string(parent.join(file)).unwrap_or_default();
    let (there, enabled) = (words("cgroup.controllers"), words("cgroup.subtree_control"));
    let named = |text: &str, name: &str| text.split_whitespace().any(|word| word == name);
    CONTROLLERS.into_iter().filter(|name| named(&there, name) && !named(&enabled, name)).collect()
}

/// Moves the processes of a group into a child, as Docker's and kind's images
/// do when they start.
fn vacate(group: &Path) {
    let child = group.join("init");
    let _ = std::fs::create_dir(&child);
    // More than once, for processes that are born meanwhile.
    for _ in 0..10 {
        let processes = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        if processes.is_empty() {
            break;
        }
        for process in processes.lines() {
            let _ = std::fs::write(child.join("cgroup.procs"), process);
        }
    }
}

/// Removes control groups, deepest first, once their processes are gone.
pub(crate) fn remove(dir: &Path) {
    for path in paths(dir) {
        for _ in 0..50 {
            if !path.exists() {
                break;
            }
            let _ = Command::new("find")
                .arg(&path)
                .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"])
                .stderr(Stdio::null())
                .status();
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn enables_what_the_machine_has_and_the_parent_keeps_to_itself() {
        let group = tempfile::tempdir().unwrap();
        let file = |name: &str| group.path().join(name);
        std::fs::write(file("cgroup.controllers"), "cpuset cpu memory pids rdma misc\n").unwrap();
        std::fs::write(file("cgroup.subtree_control"), "cpu memory\n").unwrap();
        assert_eq!(missing(group.path()), ["cpuset", "pids"]);
        enable_controllers(group.path()).unwrap();
        // A real group adds each write to what it has; a file has the last one.
        assert_eq!(std::fs::read_to_string(file("cgroup.subtree_control")).unwrap(), "+pids ");

        std::fs::write(file("cgroup.subtree_control"), "cpu cpuset memory pids\n").unwrap();
        assert_eq!(missing(group.path()), [""; 0]);
        enable_controllers(group.path()).unwrap();
        assert_eq!(
            std::fs::read_to_string(file("cgroup.subtree_control")).unwrap(),
            "cpu cpuset memory pids\n"
        );

        std::fs::remove_file(file("cgroup.subtree_control")).unwrap();
        std::fs::create_dir(file("cgroup.subtree_control")).unwrap();
        let error = enable_controllers(group.path()).unwrap_err().to_string();
        assert!(error.contains("the controller cpuset cannot be enabled"), "{error}");
    }
}
