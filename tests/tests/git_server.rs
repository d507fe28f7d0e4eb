//! The tests' own Git server, tried with the real git.
#![allow(clippy::unwrap_used, reason = "tests")]

use gitops_tests::{GitServer, Repo};

#[test]
fn git_clones_and_pushes() {
    let root = tempfile::tempdir().unwrap();
    let source = Repo::with(&[("a.yaml", "a: 1\n")]);
    source.git(&["clone", "--quiet", "--bare", ".", &root.path().join("shop.git").display().to_string()]);
    let server = GitServer::start(root.path(), "127.0.0.1:0", None).unwrap();
    source.git(&["remote", "add", "origin", &server.url("shop.git")]);
    let commit = source.commit("second", &[("a.yaml", "a: 2\n")]);
    source.git(&["push", "--quiet", "origin", "main"]);
    assert!(source.git(&["ls-remote", "origin", "main"]).starts_with(&commit));
}

#[test]
fn without_its_login_nothing_is_served() {
    let root = tempfile::tempdir().unwrap();
    let source = Repo::with(&[("a.yaml", "a: 1\n")]);
    source.git(&["clone", "--quiet", "--bare", ".", &root.path().join("shop.git").display().to_string()]);
    let server = GitServer::start(root.path(), "127.0.0.1:0", Some(("ada", "secret"))).unwrap();
    let url = server.url("shop.git");
    let refused = std::process::Command::new("git")
        .args(["ls-remote", &url])
        .env("GIT_TERMINAL_PROMPT", "0")
        .output()
        .unwrap();
    assert!(!refused.status.success());
    let login = url.replace("http://", "http://ada:secret@");
    source.git(&["ls-remote", &login]);
}
