//! Git over http and ssh: branches that go, logins, hosts that say nothing.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gitops_engine::Looks;
use gitops_source::{Credentials, ErrorKind, Login, RepoUrl, Secret};
use gitops_tests::{GitServer, Repo, binary};

use super::{Bench, LONG, config_map};

/// A repository and its bare copy under a server's root.
pub(super) fn served(repo: &Repo, login: Option<(&str, &str)>) -> (tempfile::TempDir, GitServer) {
    let root = tempfile::tempdir().unwrap();
    let bare = root.path().join("shop.git").display().to_string();
    repo.git(&["clone", "--quiet", "--bare", ".", &bare]);
    repo.git(&["remote", "add", "origin", &bare]);
    let server = GitServer::start(root.path(), "127.0.0.1:0", login).unwrap();
    (root, server)
}

#[test]
fn a_deleted_branch_is_gone_and_makes_room() {
    let bench = Bench::new();
    let repo = Repo::with(&[("a.yaml", "a: 1\n")]);
    repo.git(&["branch", "feature"]);
    repo.git(&["tag", "v1"]);
    let (_root, server) = served(&repo, None);
    let url = server.url("shop.git");
    bench.fetch(&url, "feature").unwrap();
    bench.fetch(&url, "v1").unwrap();
    repo.git(&["push", "--quiet", "--delete", "origin", "feature", "v1"]);
    repo.git(&["branch", "-m", "feature", "feature/one"]);
    repo.git(&["push", "--quiet", "origin", "feature/one"]);
    assert_eq!(bench.fetch(&url, "feature/one").unwrap().id, repo.head());
    for gone in ["feature", "v1"] {
        let error = bench.fetch(&url, gone).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSuchRevision, "{error}");
    }
}

#[test]
fn many_who_ask_at_once_share_a_fetch() {
    const ASKING: usize = 40;
    let bench = Bench::new();
    let repo = Repo::with(&[("a.yaml", "a: 1\n")]);
    let (_root, server) = served(&repo, None);
    let url = server.url("shop.git");
    bench.fetch(&url, "main").unwrap();
    let alone = server.requests();
    let newest = repo.commit("change", &[("a.yaml", "a: 2\n")]);
    repo.git(&["push", "--quiet", "origin", "main"]);
    let before = server.requests();
    std::thread::scope(|scope| {
        let asking: Vec<_> =
            (0..ASKING).map(|_| scope.spawn(|| bench.fetch(&url, "main").unwrap().id)).collect();
        for one in asking {
            assert_eq!(one.join().unwrap(), newest);
        }
    });
    let shared = server.requests() - before;
    assert!(shared < ASKING / 2 * alone, "{shared} requests, {alone} for one");
    // Who asks later is told what is new by then.
    let newest = repo.commit("again", &[("a.yaml", "a: 3\n")]);
    repo.git(&["push", "--quiet", "origin", "main"]);
    assert_eq!(bench.fetch(&url, "main").unwrap().id, newest);
}

#[test]
fn a_repository_that_stays_open_finds_what_many_fetches_bring() {
    let bench = Bench::new();
    let repo = Repo::with(&[("a.yaml", "a: 0\n")]);
    let (_root, server) = served(&repo, None);
    let (url, cache) = (server.url("shop.git"), bench.cache());
    let parsed: RepoUrl = url.parse().unwrap();
    // As many packs as there is room for at an opening, and more.
    for turn in 0..45 {
        let newest = repo.commit("change", &[("a.yaml", &format!("a: {turn}\n"))]);
        repo.git(&["push", "--quiet", "origin", "main"]);
        assert_eq!(bench.fetch(&url, "main").unwrap().id, newest, "turn {turn}");
        assert_eq!(cache.resolve(&parsed, "main").unwrap().id, newest, "turn {turn}");
        let snapshot = cache.snapshot(&parsed, &newest).unwrap();
        assert_eq!(snapshot.read("a.yaml").unwrap(), format!("a: {turn}\n").into_bytes());
    }
}

#[test]
fn a_command_looks_once_until_it_looks_again() {
    let bench = Bench::new();
    let repo = Repo::with(&[("a.yaml", "a: 1\n")]);
    let (_root, server) = served(&repo, None);
    let url: RepoUrl = server.url("shop.git").parse().unwrap();
    let once = gitops_engine::Environment { looks: Looks::once(), ..bench.environment() };
    let find = |environment: &gitops_engine::Environment, revision: &str| {
        environment.find(&url, revision, &Credentials::default()).unwrap().id
    };
    let first = find(&once, "main");
    let newest = repo.commit("change", &[("a.yaml", "a: 2\n")]);
    repo.git(&["push", "--quiet", "origin", "main"]);
    let before = server.requests();
    assert_eq!((find(&once, "main"), find(&once.clone(), "HEAD")), (first.clone(), first));
    assert_eq!(server.requests(), before, "nobody was asked again");
    // One commit in full says nothing of the branches.
    assert_eq!(find(&once, &newest), newest);
    once.looks.again();
    assert_eq!(find(&once, &newest), newest);
    assert_eq!(find(&once, "main"), newest);
    let last = repo.commit("again", &[("a.yaml", "a: 3\n")]);
    repo.git(&["push", "--quiet", "origin", "main"]);
    let other = Credentials::token(Secret::new("hunter2"));
    assert_eq!(once.find(&url, "main", &other).unwrap().id, last, "others are not answered by this look");
    let each = bench.environment();
    find(&each, "main");
    let newest = repo.commit("once more", &[("a.yaml", "a: 4\n")]);
    repo.git(&["push", "--quiet", "origin", "main"]);
    assert_eq!(find(&each, "main"), newest);
}

#[test]
fn the_applications_of_a_repository_cost_one_fetch() {
    let bench = Bench::new();
    let repo = Repo::with(&[("a/a.yaml", &config_map("a", "1")), ("b/b.yaml", &config_map("b", "1"))]);
    let (_root, server) = served(&repo, None);
    let folder = tempfile::tempdir().unwrap();
    let one = |path: &str| {
        format!(
            "---\napiVersion: kubectl-gitops.dev/v1alpha1\nkind: Application\nmetadata: {{name: {path}}}\nspec: {{source: {{repo: \"{}\", path: {path}}}}}\n",
            server.url("shop.git")
        )
    };
    let asked = |applications: &str| {
        std::fs::write(folder.path().join("gitops.yaml"), applications).unwrap();
        let before = server.requests();
        let (code, stdout, stderr) = bench.gitops(folder.path(), "render -o name", &[]);
        assert_eq!(code, 0, "{stderr}");
        (server.requests() - before, stdout)
    };
    asked(&one("a"));
    let (alone, _) = asked(&one("a"));
    let (both, printed) = asked(&(one("a") + &one("b")));
    assert_eq!((both, printed.as_str()), (alone, "configmap/a\nconfigmap/b\n"));
}

#[test]
fn a_login_is_needed_and_never_shown() {
    let bench = Bench::new();
    let repo = Repo::with(&[("a.yaml", "a: 1\n")]);
    let (_root, server) = served(&repo, Some(("ada", "hunter2")));
    let url = server.url("shop.git");
    let plain: RepoUrl = url.parse().unwrap();
    let basic =
        |password: &str| Login::Basic { username: "ada".into(), password: Secret::new(password) }.into();
    bench.cache().fetch(&plain, "HEAD", &basic("hunter2"), LONG).unwrap();
    let error = bench.cache().fetch(&plain, "main", &basic("wrong-hunter3"), LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials, "{error}");
    assert!(!error.to_string().contains("hunter3"), "{error}");
    let inside = url.replace("http://", "http://ada:hunter2@");
    bench.fetch(&inside, "HEAD").unwrap();
    let error = bench.fetch(&url.replace("http://", "http://ada:wrong-hunter3@"), "HEAD").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter3"), "{error}");
    let nothing = bench.fetch(&inside.replace("shop", "none"), "HEAD").unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::NotARepository, "{nothing}");
}

#[test]
fn a_host_that_says_nothing_ends_in_time() {
    let bench = Bench::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url: RepoUrl = format!("http://{}/x.git", listener.local_addr().unwrap()).parse().unwrap();
    for _ in 0..2 {
        // The second also finds the lock of the first.
        let started = Instant::now();
        let timeout = Duration::from_millis(400);
        let error = bench.cache().fetch(&url, "HEAD", &Credentials::default(), timeout).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(started.elapsed() < Duration::from_secs(10));
    }
    drop(listener);
    let closed = bench.fetch("http://127.0.0.1:1/401/404.git", "HEAD").unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::Network, "{closed}");
}

/// The real sshd for this user, on a port of its own.
struct Sshd {
    folder: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl Sshd {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        for key in ["host", "user"] {
            let made =
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &file(key)]).status();
            assert!(made.unwrap().success());
        }
        std::fs::copy(file("user.pub"), file("authorized")).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nPidFile none\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n",
            file("host"),
            file("authorized")
        );
        std::fs::write(file("config"), config).unwrap();
        if Path::new("/run").is_dir() {
            // Where Debian's sshd separates its privileges.
            let _ = std::fs::create_dir_all("/run/sshd");
        }
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", &file("config")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..100 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { folder, port, process }
    }

    /// The ssh command of a user who knows the host, with this key.
    fn command(&self, key: &str) -> String {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        format!(
            "ssh -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile={} -o IdentitiesOnly=yes -o BatchMode=yes -i {}",
            file("known"),
            file(key)
        )
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn git_over_ssh_is_read_with_the_users_own_ssh() {
    let sshd = Sshd::start();
    let repo = Repo::with(&[("app/a.yaml", &config_map("a", "1"))]);
    let user = std::env::var("USER").unwrap_or_else(|_| "root".into());
    let url = format!("ssh://{user}@127.0.0.1:{}{}", sshd.port, repo.path().display());
    let home = tempfile::tempdir().unwrap();
    let render = |key: &str| {
        Command::new(binary("kubectl-gitops"))
            .args(["render", "--repo", &url, "--path", "./app", "--revision", "main"])
            .env("HOME", home.path())
            .env("GIT_SSH_COMMAND", sshd.command(key))
            .env_remove("KUBECONFIG")
            .env_remove("SSH_AUTH_SOCK")
            .output()
            .unwrap()
    };
    let read = render("user");
    let text = String::from_utf8_lossy(&read.stdout);
    assert!(text.contains("name: a"), "{text}{}", String::from_utf8_lossy(&read.stderr));
    let refused = render("host");
    assert_eq!(refused.status.code(), Some(4));
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(message.contains("127.0.0.1") && message.contains("hint:"), "{message}");
}

#[test]
fn a_key_of_its_own_is_shown_to_known_hosts_only() {
    let sshd = Sshd::start();
    let repo = Repo::with(&[("app/a.yaml", &config_map("a", "1"))]);
    let user = std::env::var("USER").unwrap_or_else(|_| "root".into());
    let url: RepoUrl =
        format!("ssh://{user}@127.0.0.1:{}{}", sshd.port, repo.path().display()).parse().unwrap();
    let read = |name: &str| std::fs::read_to_string(sshd.folder.path().join(name)).unwrap();
    let host = |port: u16| format!("[127.0.0.1]:{port} {}", read("host.pub"));
    let fetch = |key: &str, known_hosts: String| {
        let credentials = Login::Ssh { private_key: Secret::new(read(key)), known_hosts }.into();
        Bench::new().cache().fetch(&url, "main", &credentials, LONG)
    };
    assert_eq!(fetch("user", host(sshd.port)).unwrap().id, repo.head());
    for (key, port) in [("host", sshd.port), ("user", 1)] {
        let error = fetch(key, host(port)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Credentials | ErrorKind::Network), "{error}");
        assert!(!format!("{error:?}").contains("PRIVATE KEY"), "{error}");
    }
}

#[test]
fn the_way_to_the_tip_is_told_by_what_a_path_went_through() {
    let bench = Bench::new();
    let repo = Repo::with(&[("app/a.yaml", "a: 1\n"), ("b.yaml", "b: 1\n")]);
    let one = repo.head();
    repo.commit("elsewhere", &[("b.yaml", "b: 2\n")]);
    let two = repo.commit("two", &[("app/a.yaml", "a: 2\n")]);
    repo.git(&["checkout", "--quiet", "-b", "side"]);
    repo.commit("on a branch", &[("app/a.yaml", "a: 9\n")]);
    let three = repo.commit("and back", &[("app/a.yaml", "a: 3\n")]);
    repo.git(&["checkout", "--quiet", "main"]);
    repo.git(&["merge", "--quiet", "--no-ff", "-m", "merged", "side"]);
    let merged = repo.head();
    let tip = repo.commit("four", &[("app/a.yaml", "a: 4\n")]);
    let url: RepoUrl = repo.url().parse().unwrap();
    let passed = |path: &str, most| bench.cache().passed(&url, &tip, path, most).unwrap();
    assert_eq!(passed("app", 8), [merged.clone(), two.clone(), one.clone()]);
    assert_eq!(passed("app/a.yaml", 2), [merged, two]);
    assert_eq!(passed(".", 8).len(), 4);
    assert_eq!(passed("nothing", 8), Vec::<String>::new());
    assert!(!passed(".", 8).contains(&three) && !passed(".", 8).contains(&tip));
    assert!(bench.cache().passed(&url, &"0".repeat(40), "app", 8).is_err());
}
