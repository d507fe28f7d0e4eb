//! The demo, as `make demo` runs it: every step checks itself.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::path::Path;
use std::process::Command;

#[test]
fn the_demo_tells_its_story_and_leaves_nothing_behind() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let user = Command::new("id").arg("-u").output().unwrap();
    if std::env::consts::OS != "linux" || String::from_utf8_lossy(&user.stdout).trim() != "0" {
        eprintln!("skipped: the demo's node needs Linux and root");
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let output = Command::new("tests/demo/run")
        .current_dir(root)
        .env_remove("KUBECONFIG")
        .env("DEMO_NAME", format!("demo-{}", std::process::id()))
        .env("DEMO_DOWN", "1")
        .env("XDG_STATE_HOME", state.path())
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let (told, talk) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{talk}");
    for part in [
        "field:  spec.replicas",
        "field:  spec.template.spec.hostNetwork",
        "tried:  localhost/shop/web:evil",
        "field:  (the whole object)",
        "changed Deployment shop/web",
        "3/3",
        "Done in",
    ] {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
    let left = std::fs::read_dir(state.path().join("kubectl-gitops/clusters")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "files of a cluster are left");
}
