//! What somebody may push.

use std::io::Write;
use std::process::{Command, Stdio};

use gitops_source::SourceType;
use gitops_tests::Repo;

use super::{Bench, config_map, request};

/// A tree of (mode, name, object id), however impossible.
fn tree(repo: &Repo, entries: &[(&str, &str, &str)]) -> String {
    let mut bytes = Vec::new();
    for (mode, name, id) in entries {
        bytes.extend(format!("{mode} {name}\0").bytes());
        bytes.extend((0..id.len()).step_by(2).map(|at| u8::from_str_radix(&id[at..at + 2], 16).unwrap()));
    }
    object(repo, "tree", &bytes)
}

fn object(repo: &Repo, kind: &str, bytes: &[u8]) -> String {
    let mut git = Command::new("git")
        .args(["hash-object", "-t", kind, "-w", "--literally", "--stdin"])
        .current_dir(repo.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    git.stdin.take().unwrap().write_all(bytes).unwrap();
    String::from_utf8(git.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
}

fn commit_of(repo: &Repo, tree: &str) -> String {
    repo.git(&["commit-tree", tree, "-m", "hostile"]).trim().to_owned()
}

#[test]
fn names_that_lead_out_are_refused_and_nothing_is_written() {
    let bench = Bench::new();
    let repo = Repo::with(&[("a.yaml", "a: 1\n")]);
    let blob = object(&repo, "blob", b"kind: x\n");
    let chart = object(&repo, "blob", b"apiVersion: v2\nname: c\nversion: 1.0.0\n");
    let outside = format!("gitops-escaped-{}", std::process::id());
    for name in
        [format!("../{outside}"), format!("../../../tmp/{outside}"), ".GIT".into(), "..".into(), "a/b".into()]
    {
        let entries = [("100644", "Chart.yaml", chart.as_str()), ("100644", name.as_str(), blob.as_str())];
        let commit = commit_of(&repo, &tree(&repo, &entries));
        let error = bench.render_commit(&repo, &commit, &request("")).unwrap_err().to_string();
        assert!(error.contains("no file may have this name"), "{name}: {error}");
    }
    let top = object(&repo, "blob", b"resources: [d/x]\n");
    let twice = tree(
        &repo,
        &[
            ("120000", "d", &blob),
            ("40000", "d", &tree(&repo, &[("100644", "x", &blob)])),
            ("100644", "kustomization.yaml", &top),
        ],
    );
    let mut wanted = request("");
    wanted.kind = SourceType::Kustomize;
    let error = bench.render_commit(&repo, &commit_of(&repo, &twice), &wanted).unwrap_err().to_string();
    assert!(error.contains("no file may have this name"), "{error}");
    assert!(!std::env::temp_dir().join(&outside).exists());
}

#[test]
fn a_long_chain_of_kustomizations_is_read_to_its_end() {
    const LENGTH: usize = 9_000;
    let folders: Vec<(String, String)> = (0..LENGTH)
        .map(|n| (format!("{n}/kustomization.yaml"), format!("resources: [../{}]\n", n + 1)))
        .collect();
    let files: Vec<(&str, &str)> =
        folders.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let repo = Repo::with(&files);
    let snapshot =
        Bench::new().cache().snapshot(&gitops_source::RepoUrl::local(repo.path()), &repo.head()).unwrap();
    let read = gitops_source::reads(&snapshot, &request("0")).unwrap();
    assert!(read.more.is_none() && read.paths.contains(&format!("{}/kustomization.yaml", LENGTH - 1)));
}

#[test]
fn a_tree_of_trees_without_files_ends() {
    let bench = Bench::new();
    let repo = Repo::with(&[("a.yaml", "a: 1\n")]);
    let mut level = tree(&repo, &[]);
    for _ in 0..20 {
        let names: Vec<String> = (0..10).map(|n| format!("d{n}")).collect();
        let entries: Vec<_> = names.iter().map(|name| ("40000", name.as_str(), level.as_str())).collect();
        level = tree(&repo, &entries);
    }
    let error = bench.render_commit(&repo, &commit_of(&repo, &level), &request("")).unwrap_err().to_string();
    assert!(error.contains("more than 100000 files"), "{error}");
}

#[test]
fn links_that_lead_out_are_refused_singly_and_in_chains() {
    let link = |repo: &Repo, to: &str, at: &str| {
        let at = repo.file(at);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(to, at).unwrap();
    };
    for links in [
        vec![("/etc/passwd", "chart/templates/x.yaml")],
        vec![("../../../../etc/passwd", "chart/templates/x.yaml")],
        // Each stays inside by its own text; together they do not.
        vec![
            ("templates", "chart/deep"),
            ("deep/../../../..", "chart/out"),
            ("out/etc/passwd", "chart/values.yaml"),
        ],
    ] {
        let bench = Bench::new();
        let repo = Repo::with(&[
            ("chart/Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n"),
            ("chart/templates/a.yaml", &config_map("a", "1")),
        ]);
        for (to, at) in &links {
            link(&repo, to, at);
        }
        repo.commit_all("links");
        let error = bench.refusal(&repo, &request("chart"));
        assert!(error.contains("leads out of the repository"), "{error}");
    }
    let bench = Bench::new();
    let repo = Repo::with(&[("other/a.yaml", &config_map("a", "1"))]);
    link(&repo, "../other/a.yaml", "app/a.yaml");
    repo.commit_all("link");
    let error = bench.refusal(&repo, &request("app"));
    assert!(error.contains("app/a.yaml: it is a link") && error.contains("the source's folder"), "{error}");
    link(&repo, "real/b.yaml", "other/b.yaml");
    repo.commit("inside", &[("other/real/b.yaml", &config_map("b", "1"))]);
    let objects = bench.render(&repo, &request("other")).unwrap();
    assert_eq!(objects.len(), 3, "a link inside counts as the file it leads to");
}

#[test]
fn nothing_outside_of_the_repository_is_fetched() {
    let elsewhere = Repo::with(&[
        ("kustomization.yaml", "resources: [a.yaml]\n"),
        ("a.yaml", &config_map("a", "stolen")),
    ]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    for (field, resource) in [
        ("resources", format!("http://127.0.0.1:{port}/a.yaml")),
        ("resources", format!("http://localhost:{port}/repo.git?ref=main")),
        ("resources", elsewhere.url()),
        ("resources", format!("git::{}", elsewhere.url())),
        ("components", elsewhere.url()),
        ("resources", format!("ssh://git@127.0.0.1:{port}/x.git")),
        ("bases", format!("git@127.0.0.1:{port}/x.git")),
    ] {
        let bench = Bench::new();
        let repo = Repo::with(&[("app/kustomization.yaml", &format!("{field}: ['{resource}']\n"))]);
        let error = bench.refusal(&repo, &request("app"));
        assert!(error.contains("outside of this repository"), "{resource}: {error}");
        assert!(listener.accept().is_err(), "{resource} was asked for");
    }
    for path in ["/etc/passwd", "../../../../../../etc/passwd"] {
        let repo = Repo::with(&[(
            "app/kustomization.yaml",
            &format!("configMapGenerator: [{{name: a, files: ['x={path}']}}]\n"),
        )]);
        let error = Bench::new().refusal(&repo, &request("app"));
        assert!(!error.contains("root:"), "{error}");
    }
}

/// A helm of our own, which tries everything.
#[test]
#[cfg(target_os = "linux")]
fn a_tool_reaches_nothing_but_the_checkout() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "hunter2").unwrap();
    let written = folder.path().join("written");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let helm = folder.path().join("helm");
    let script = format!(
        r#"#!/bin/bash
PATH=/usr/bin:/bin
if [ "$1" = version ]; then echo v3.99.0; exit; fi
read=$( (cat {secret} || cat /etc/passwd) 2>/dev/null && echo yes || echo no)
write=$( (echo x > {written}) 2>/dev/null && echo yes || echo no)
net=$( (echo x > /dev/tcp/127.0.0.1/{port}) 2>/dev/null && echo yes || echo no)
own=$( (cat Chart.yaml && echo x > $HOME/x) >/dev/null 2>&1 && echo yes || echo no)
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {{read: "%s", write: "%s", net: "%s", own: "%s"}}\n' "$read" "$write" "$net" "$own"
"#,
        secret = secret.display(),
        written = written.display(),
    );
    std::fs::write(&helm, script).unwrap();
    std::fs::set_permissions(&helm, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut bench = Bench::new();
    bench.tools.helm = helm;
    let repo = Repo::with(&[("Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n")]);
    let objects = bench.render(&repo, &request("")).unwrap();
    let data = &objects[0].value["data"];
    let found = ["read", "write", "net", "own"].map(|key| data[key].as_str().unwrap());
    assert_eq!(found, ["no", "no", "no", "yes"], "{data}");
    assert!(!written.exists());
    assert!(listener.accept().is_err());
}
