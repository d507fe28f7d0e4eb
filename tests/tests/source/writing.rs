//! Commits of ours: whole or not at all, made anew after a lost race, never
//! over somebody else's change.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use gitops_source::git::Person;
use gitops_source::{
    Change, Credentials, ErrorKind, GitCache, Login, NewCommit, RepoUrl, Secret, SourceError, Target, Writer,
    signing_key_counts_not,
};
use gitops_tests::{GitServer, Repo};

use super::{Bench, LONG, config_map};

/// A repository, its bare copy behind a login, and the way there.
struct Shop {
    _bench: Bench,
    repo: Repo,
    root: tempfile::TempDir,
    _server: GitServer,
    writer: Writer,
}

impl Shop {
    fn new() -> Self {
        let (bench, repo) = (Bench::new(), Repo::with(&[("a/x", "1\n"), ("b", "1\n")]));
        let root = tempfile::tempdir().unwrap();
        let bare = root.path().join("shop.git").display().to_string();
        repo.git(&["clone", "--quiet", "--bare", ".", &bare]);
        repo.git(&["remote", "add", "origin", &bare]);
        let server = GitServer::start(root.path(), "127.0.0.1:0", Some(("ada", "hunter2"))).unwrap();
        let writer = Writer {
            cache: bench.cache(),
            repo: server.url("shop.git").parse().unwrap(),
            credentials: Login::Basic { username: "ada".into(), password: Secret::new("hunter2") }.into(),
            timeout: LONG,
            checkout: None,
            signing_key: None,
        };
        Self { _bench: bench, repo, root, _server: server, writer }
    }

    fn bare(&self) -> std::path::PathBuf {
        self.root.path().join("shop.git")
    }

    fn tip(&self) -> String {
        self.writer.cache.fetch(&self.writer.repo, "main", &self.writer.credentials, LONG).unwrap().id
    }

    fn in_bare(&self, arguments: &[&str]) -> String {
        git(&self.bare(), arguments)
    }

    /// As a colleague pushes.
    fn push(&self, path: &str, text: &str) {
        self.repo.git(&["pull", "--quiet", "--ff-only", "origin", "main"]);
        self.repo.commit("theirs", &[(path, text)]);
        self.repo.git(&["push", "--quiet", "origin", "main"]);
    }
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git").args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

fn new(changes: Vec<Change>) -> NewCommit {
    let author = Some(Person { name: "Grace".into(), email: "grace@example.com".into() });
    NewCommit { changes, message: "Ours\n\nBecause.\n".into(), author }
}

fn file(path: &str, text: &str) -> Change {
    Change::File { path: path.into(), data: text.into() }
}

fn refused<T>(result: Result<T, SourceError>) -> (ErrorKind, String) {
    let error = result.err().unwrap();
    (error.kind(), error.to_string())
}

#[test]
fn a_commit_arrives_whole_with_its_author() {
    let shop = Shop::new();
    assert_eq!(shop.writer.branch("HEAD").unwrap(), "main");
    let base = shop.tip();
    assert_eq!(shop.writer.branch("main").unwrap(), "main");
    let draft = shop.writer.draft("main", &base, new(vec![file("b", "2\n"), file("new/y", "1\n")])).unwrap();
    assert_eq!(shop.in_bare(&["rev-parse", "main"]), base, "a draft is nowhere yet");
    let stat = draft.stat().unwrap();
    assert!(stat.contains("new/y") && stat.contains("2 files changed"), "{stat}");
    let made = draft.publish(&Target::Same).unwrap();
    assert_eq!(shop.in_bare(&["rev-parse", "main", "main^"]), format!("{made}\n{base}"));
    assert_eq!(
        shop.in_bare(&["show", "-s", "--format=%an %ce %B", "main"]),
        "Grace grace@example.com Ours\n\nBecause."
    );
    assert_eq!(shop.in_bare(&["show", "main:b"]), "2");
    let same = shop.writer.draft("main", &shop.tip(), new(vec![file("b", "2\n")])).unwrap();
    assert!(same.is_empty());
}

#[test]
fn paths_become_what_they_were() {
    let shop = Shop::new();
    let first = shop.tip();
    shop.repo.remove("files become folders", &["b"]);
    shop.push("b/z", "1\n");
    shop.push("a/w", "1\n");
    shop.push("a/x", "2\n");
    shop.push("other", "1\n");
    let restore = |path: &str| Change::Restore { path: path.into(), commit: first.clone() };
    let draft = shop.writer.draft("main", &shop.tip(), new(vec![restore("a"), restore("b")])).unwrap();
    draft.publish(&Target::Same).unwrap();
    assert_eq!(shop.in_bare(&["ls-tree", "-r", "--name-only", "main"]), "a/x\nb\nother");
    assert_eq!(shop.in_bare(&["rev-parse", "main:a"]), shop.in_bare(&["rev-parse", &format!("{first}:a")]));
    let all = shop.writer.draft("main", &shop.tip(), new(vec![restore("")])).unwrap();
    all.publish(&Target::Same).unwrap();
    assert_eq!(
        shop.in_bare(&["rev-parse", "main^{tree}"]),
        shop.in_bare(&["rev-parse", &format!("{first}^{{tree}}")])
    );
}

#[test]
fn content_goes_into_files_alone() {
    let shop = Shop::new();
    for (link, to) in [("link", "b"), ("folder", "a")] {
        std::os::unix::fs::symlink(to, shop.repo.file(link)).unwrap();
    }
    shop.push("z", "1\n");
    let tip = shop.tip();
    assert_eq!(shop.in_bare(&["ls-tree", "--name-only", "main", "link", "folder"]), "folder\nlink");
    for (path, why) in [("link", "link is a link"), ("folder/x", "folder is a link"), ("a", "it is a folder")]
    {
        let (kind, said) = refused(shop.writer.draft("main", &tip, new(vec![file(path, "2\n")])));
        assert!(kind == ErrorKind::Unsupported && said.contains(why), "{said}");
    }
}

#[test]
fn a_lost_race_is_run_again_unless_the_files_changed() {
    let shop = Shop::new();
    let draft = shop.writer.draft("main", &shop.tip(), new(vec![file("b", "2\n")])).unwrap();
    shop.push("a/x", "theirs\n");
    let made = draft.publish(&Target::Same).unwrap();
    assert_eq!(shop.in_bare(&["rev-parse", "main"]), made);
    assert_eq!(shop.in_bare(&["show", "main:a/x"]), "theirs");
    assert_eq!(shop.in_bare(&["show", "main:b"]), "2");
    let draft = shop.writer.draft("main", &shop.tip(), new(vec![file("b", "3\n")])).unwrap();
    shop.push("b", "theirs\n");
    let theirs = shop.repo.head();
    let (kind, said) = refused(draft.publish(&Target::Same));
    assert_eq!(kind, ErrorKind::Moved, "{said}");
    assert!(said.contains("changed b, too") && said.contains(&theirs[..12]), "{said}");
    assert_eq!(shop.in_bare(&["rev-parse", "main"]), theirs);
}

#[test]
fn a_protected_branch_says_so_and_another_is_open() {
    let shop = Shop::new();
    let hook = shop.bare().join("hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(
        &hook,
        "#!/bin/sh\nif grep -q refs/heads/main; then echo 'main takes reviews only' >&2; exit 1; fi\n",
    )
    .unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let draft = |text: &str| shop.writer.draft("main", &shop.tip(), new(vec![file("b", text)])).unwrap();
    let (kind, said) = refused(draft("2\n").publish(&Target::Same));
    assert_eq!(kind, ErrorKind::Protected, "{said}");
    assert!(said.contains("pre-receive hook declined: main takes reviews only"), "{said}");
    let made = draft("2\n").publish(&Target::New("ours".into())).unwrap();
    assert_eq!(shop.in_bare(&["rev-parse", "ours"]), made);
    let (kind, said) = refused(draft("3\n").publish(&Target::New("ours".into())));
    assert_eq!(kind, ErrorKind::Moved, "{said}");
    assert!(said.contains("ours") && said.contains("there already"), "{said}");
    std::fs::write(&hook, "#!/bin/sh\nprintf '\\033[2Jno\\033]0;x\\007\\n' >&2; exit 1\n").unwrap();
    let (_, said) = refused(draft("2\n").publish(&Target::Same));
    assert!(said.contains("[2Jno") && !said.contains(char::is_control), "{said:?}");
}

#[test]
fn a_wrong_login_is_told_without_it() {
    let shop = Shop::new();
    let base = shop.tip();
    let credentials = Login::Basic { username: "ada".into(), password: Secret::new("wrong-hunter3") }.into();
    let Writer { cache, repo, credentials: right, timeout, .. } = &shop.writer;
    cache.deepen(repo, right, *timeout).unwrap();
    let writer = Writer { credentials, ..shop.writer.clone() };
    let draft = writer.draft("main", &base, new(vec![file("b", "2\n")])).unwrap();
    let (kind, said) = refused(draft.publish(&Target::Same));
    assert_eq!(kind, ErrorKind::Credentials, "{said}");
    assert!(!said.contains("hunter"), "{said}");
    let tag = writer.branch("v1");
    assert_eq!(refused(tag).0, ErrorKind::NotABranch);
}

/// The way to a checkout on this machine.
fn local(bench: &Bench, repo: &Repo) -> Writer {
    Writer {
        cache: GitCache::open(&bench.renders()),
        repo: RepoUrl::local(repo.path()),
        credentials: Credentials::default(),
        timeout: LONG,
        checkout: None,
        signing_key: None,
    }
}

#[test]
fn a_checkout_follows_and_loses_no_work() {
    let (shop, bench) = (Shop::new(), Bench::new());
    let writer = local(&bench, &shop.repo);
    assert_eq!(writer.branch("HEAD").unwrap(), "main");
    shop.repo.git(&["fetch", "--quiet", "origin"]);
    let draft = || writer.draft("main", &shop.repo.head(), new(vec![file("b", "2\n")]));
    draft().unwrap().publish(&Target::Same).unwrap();
    assert_eq!(std::fs::read_to_string(shop.repo.file("b")).unwrap(), "2\n");
    assert_eq!(shop.repo.git(&["status", "--porcelain", "--branch"]).trim(), "## main");
    assert_eq!(shop.in_bare(&["rev-parse", "main"]), shop.repo.head());

    std::fs::write(shop.repo.file("b"), "mine\n").unwrap();
    let (kind, said) = refused(draft());
    assert_eq!(kind, ErrorKind::Unfinished, "{said}");
    assert!(said.contains("b is not as committed"), "{said}");
    shop.repo.commit_all("mine");
    let (_, said) = refused(draft());
    assert!(said.contains("commits that origin has not: 1"), "{said}");
    shop.repo.git(&["push", "--quiet", "origin", "main"]);
    let made = draft().unwrap();
    let other = tempfile::tempdir().unwrap();
    git(other.path(), &["clone", "--quiet", &shop.bare().display().to_string(), "."]);
    let named = ["-c", "user.name=Eve", "-c", "user.email=eve@example.com"];
    git(other.path(), &[&named[..], &["commit", "--quiet", "--allow-empty", "-m", "x"]].concat());
    git(other.path(), &["push", "--quiet", "origin", "HEAD:main"]);
    let before = shop.repo.head();
    let (kind, said) = refused(made.publish(&Target::Same));
    assert_eq!(kind, ErrorKind::Moved, "{said}");
    assert_eq!(shop.repo.head(), before);
}

#[test]
fn a_commit_is_signed_as_git_is_told_to() {
    let (bench, repo) = (Bench::new(), Repo::with(&[("b", "1\n")]));
    let keys = tempfile::tempdir().unwrap();
    let key = keys.path().join("key").display().to_string();
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &key]).status();
    assert!(made.unwrap().success());
    let settings = [
        ("commit.gpgSign", "true"),
        ("gpg.format", "ssh"),
        ("user.signingKey", &key),
        ("user.name", "Ada"),
        ("user.email", "ada@example.com"),
    ];
    for (name, value) in settings {
        repo.git(&["config", name, value]);
    }
    let commit = NewCommit { author: None, ..new(vec![file("b", "2\n")]) };
    local(&bench, &repo).draft("main", &repo.head(), commit).unwrap().publish(&Target::Same).unwrap();
    let raw = repo.git(&["cat-file", "commit", "HEAD"]);
    assert!(raw.contains("gpgsig -----BEGIN SSH SIGNATURE") && raw.contains("author Ada <ada@"), "{raw}");
}

#[test]
fn a_commit_is_signed_by_the_key_that_is_given() {
    let (bench, repo) = (Bench::new(), Repo::with(&[("b", "1\n")]));
    let keys = tempfile::tempdir().unwrap();
    let [(own, public), (_, foreign)] = ["own", "foreign"].map(|name| {
        let path = keys.path().join(name);
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).status();
        assert!(made.unwrap().success());
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        (Secret::new(read(&path)), read(&path.with_extension("pub")))
    });
    // What Git is told does not count.
    repo.git(&["config", "user.signingKey", "/nowhere"]);
    repo.git(&["config", "gpg.format", "openpgp"]);
    let writer = Writer { signing_key: Some(own.clone()), ..local(&bench, &repo) };
    let made = writer.draft("main", &repo.head(), new(vec![file("b", "2\n")])).unwrap();
    made.publish(&Target::Same).unwrap();
    let verified = |by: &str| writer.cache.verify(&writer.repo, &repo.head(), &[by.to_owned()]);
    verified(&public).unwrap();
    assert!(verified(&foreign).is_err());
    let counts_not = |key: &Secret, by: &str| signing_key_counts_not(key, &[by.to_owned()]).unwrap();
    assert_eq!(counts_not(&own, &public), None);
    assert!(counts_not(&own, &foreign).unwrap().contains("none of the Project's signers"));
    assert!(counts_not(&Secret::new("x"), &public).unwrap().contains("no SSH private key"));
}

#[test]
fn a_rollback_that_only_tells_or_goes_to_a_branch_needs_no_cluster() {
    let (bench, repo) = (Bench::new(), Repo::with(&[("app/a.yaml", &config_map("a", "one"))]));
    repo.git(&["config", "user.name", "Ada"]);
    repo.git(&["config", "user.email", "ada@example.com"]);
    let application = "apiVersion: kubectl-gitops.dev/v1alpha1\nkind: Application\nmetadata: {name: web}\nspec: {source: {path: app}}\n";
    repo.commit("describe", &[("gitops.yaml", application)]);
    let head = repo.commit("change", &[("app/a.yaml", &config_map("a", "two"))]);
    let rollback = |flags: &str| bench.gitops(repo.path(), &format!("rollback web {flags}"), &[]);
    let (code, stdout, stderr) = rollback("--dry-run");
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("two") && stdout.contains("one"), "{stdout}");
    assert!(stderr.contains("no cluster was asked"), "{stderr}");
    let (code, _, stderr) = rollback("--branch undo --yes");
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(repo.git(&["show", "undo:app/a.yaml"]).trim(), config_map("a", "one").trim());
    // One that would sync does nothing by half.
    assert_eq!((rollback("--yes").0, repo.head()), (5, head));
}
