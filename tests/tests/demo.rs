//! The demo, as `make demo` runs it: every step checks itself.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::path::Path;
use std::process::Command;

use gitops_tests::NodeCluster;

/// Runs the demo to its end and returns what it told.
fn told(name: &str, settings: &[(&str, &str)]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let state = tempfile::tempdir().unwrap();
    let output = Command::new("tests/demo/run")
        .current_dir(root)
        .env_remove("KUBECONFIG")
        .env("DEMO_NAME", format!("{name}-{}", std::process::id()))
        .env("DEMO_DOWN", "1")
        .env("XDG_STATE_HOME", state.path())
        .env("NO_COLOR", "1")
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    let (told, talk) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{talk}");
    for part in [
        "field:  spec.replicas",
        "field:  spec.template.spec.hostNetwork",
        "tried:  localhost/shop/web:evil",
        "field:  (the whole object)",
        "shop/web synced by the controller",
        "the push is live",
        "Done in",
    ] {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
    let left = std::fs::read_dir(state.path().join("kubectl-gitops/clusters")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "files of a cluster are left");
    told.into_owned()
}

fn has_node() -> bool {
    let user = Command::new("id").arg("-u").output().unwrap();
    std::env::consts::OS == "linux" && String::from_utf8_lossy(&user.stdout).trim() == "0"
}

#[test]
fn the_demo_tells_its_story_and_leaves_nothing_behind() {
    if !has_node() {
        eprintln!("skipped: the demo's node needs Linux and root");
        return;
    }
    assert!(told("demo", &[]).contains("3/3"));
}

#[test]
fn without_a_node_the_webhook_is_a_process() {
    assert!(told("demo-process", &[("DEMO_NODE", "no")]).contains("each a process of this machine"));
}

#[test]
fn a_users_own_cluster_is_used_and_left_as_it_was() {
    if !has_node() {
        eprintln!("skipped: the cluster that plays the user's needs Linux and root");
        return;
    }
    let node = NodeCluster::up("demo-user");
    let kubeconfig = node.cluster.kubeconfig().display().to_string();
    let before = node.cluster.kubectl("get namespaces,crds -o name").ok().stdout;
    let settings = [
        ("KUBECONFIG", kubeconfig.as_str()),
        ("DEMO_LOAD", &node.load_command()),
        ("DEMO_HOST", &node.host_address()),
    ];
    assert!(told("demo-user", &settings).contains("Using the cluster of KUBECONFIG"));
    assert_eq!(node.cluster.kubectl("get namespaces,crds -o name").ok().stdout, before);
}
