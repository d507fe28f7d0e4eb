//! A repository of 2 GB and 100,000 commits: how long the first fetch and a
//! later one take, and in how much memory, beside git.

use std::path::Path;
use std::process::Command;

use gitops_tests::{GitServer, Repo};

use crate::cluster::binary;
use crate::measured::measured;
use crate::report::{Bench, Pair};

const COMMITS: &str = "100000";
/// Bytes that each commit adds.
const SIZE: &str = "17000";
/// Pairs: each moves the repository over the network of this machine.
const FIRST: usize = 3;
const LATER: usize = 15;
/// MiB that a fetch may hold.
const MEMORY: f64 = 200.0;

/// A render of what is fetched, with what `cache` holds.
fn ours(url: &str, cache: &Path) -> (f64, f64) {
    let mut command = Command::new(binary("kubectl-gitops"));
    command.args(["render", "--repo", url, "--revision", "main", "--path", "app", "-o", "name"]);
    command.arg("--cache-dir").arg(cache);
    measured(command)
}

fn git(arguments: &[&str], folder: &Path) -> f64 {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(folder);
    measured(command).0
}

/// Everything about it.
pub fn large(bench: &mut Bench) {
    let root = tempfile::tempdir().unwrap();
    let bare = root.path().join("large.git");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/soak/large-repository");
    let made = Command::new(script).arg(&bare).args([COMMITS, SIZE]).status().unwrap();
    assert!(made.success());
    let server = GitServer::start(root.path(), "127.0.0.1:0", None).unwrap();
    let url = server.url("large.git");
    let mut memory = 0.0_f64;
    let first: Vec<Pair> = (0..FIRST)
        .map(|_| {
            let (cache, clone) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let (time, used) = ours(&url, cache.path());
            memory = memory.max(used);
            (time, git(&["clone", "--quiet", "--depth", "1", &url, "."], clone.path()))
        })
        .collect();
    bench.report("fetch.first.2gb", "git-clone-depth-1", &first, 1.0);
    let (cache, clone) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    ours(&url, cache.path());
    git(&["clone", "--quiet", "--depth", "1", &url, "."], clone.path());
    let work = Repo::new();
    work.git(&["pull", "--quiet", "--depth", "1", &bare.display().to_string(), "main"]);
    let later: Vec<Pair> = (0..LATER)
        .map(|pair| {
            let text = format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: large}}\ndata: {{turn: '{pair}'}}\n"
            );
            work.commit("turn", &[("app/config.yaml", &text)]);
            work.git(&["push", "--quiet", &bare.display().to_string(), "main"]);
            let (time, used) = ours(&url, cache.path());
            memory = memory.max(used);
            (time, git(&["fetch", "--quiet"], clone.path()))
        })
        .collect();
    bench.compare("fetch.later.2gb", "git-fetch", &later);
    bench.size("fetch.memory.2gb", memory, MEMORY);
}
