//! Hosts whose certificates come from an authority of one's own.

use gitops_source::git::Person;
use gitops_source::registry::{Wanted, fetch};
use gitops_source::{Change, Credentials, ErrorKind, Login, NewCommit, RepoUrl, Secret, Target, Writer};
use gitops_tests::chart_repository::{ChartRepository, helm, package};
use gitops_tests::{GitServer, Repo, Tls};

use super::oci_registry::Registry;
use super::{Bench, LONG, config_map};

fn by(authority: &str) -> Credentials {
    Credentials { authority: Some(authority.into()), ..Credentials::default() }
}

/// A repository behind a login and TLS.
fn secure() -> (tempfile::TempDir, Repo, GitServer, Tls) {
    let root = tempfile::tempdir().unwrap();
    let repo = Repo::with(&[("app/a.yaml", &config_map("a", "one"))]);
    repo.git(&["clone", "--quiet", "--bare", ".", &root.path().join("shop.git").display().to_string()]);
    let server = GitServer::start(root.path(), "127.0.0.1:0", Some(("ada", "hunter2"))).unwrap();
    let tls = Tls::before(server.address());
    (root, repo, server, tls)
}

#[test]
fn git_is_fetched_and_pushed_to_by_an_own_authority() {
    let bench = Bench::new();
    let (root, repo, _server, tls) = secure();
    let url: RepoUrl = tls.url("shop.git").parse().unwrap();
    let login = Login::Basic { username: "ada".into(), password: Secret::new("hunter2") };
    let unknown = bench.cache().fetch(&url, "main", &login.clone().into(), LONG).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Network, "{unknown}");
    assert!(unknown.to_string().to_lowercase().contains("certificate"), "{unknown}");
    let other = Tls::before(tls.address());
    let wrong = Credentials { login: login.clone(), ..by(&other.authority) };
    bench.cache().fetch(&url, "main", &wrong, LONG).unwrap_err();

    let credentials = Credentials { login, ..by(&tls.authority) };
    let tip = bench.cache().fetch(&url, "main", &credentials, LONG).unwrap().id;
    assert_eq!(tip, repo.head());
    let writer = Writer {
        cache: bench.cache(),
        repo: url,
        credentials,
        timeout: LONG,
        checkout: None,
        signing_key: None,
    };
    let new = NewCommit {
        message: "two".into(),
        author: Some(Person { name: "Ada".into(), email: "ada@example.com".into() }),
        changes: vec![Change::File { path: "app/a.yaml".into(), data: config_map("a", "two").into() }],
    };
    let made = writer.draft("main", &tip, new).unwrap().publish(&Target::Same).unwrap();
    let bare = std::fs::read_to_string(root.path().join("shop.git/refs/heads/main")).unwrap();
    assert_eq!(bare.trim(), made);
}

#[test]
fn gits_own_configuration_names_it_as_well() {
    let bench = Bench::new();
    let (_root, _repo, _server, tls) = secure();
    let url = tls.url("shop.git").replace("https://", "https://ada:hunter2@");
    let render = format!("render web --repo {url} --revision main --path app");
    let (code, _, stderr) = bench.gitops(bench.home.path(), &render, &[]);
    assert!(code != 0 && stderr.to_lowercase().contains("certificate"), "{stderr}");
    assert!(stderr.contains("caBundle") && !stderr.contains("hunter2"), "{stderr}");
    let ca = bench.home.path().join("ca.pem");
    std::fs::write(&ca, &tls.authority).unwrap();
    let name = |path: &str| {
        let config = format!("[http \"{}\"]\n\tsslCAInfo = {path}\n", tls.url(""));
        std::fs::write(bench.home.path().join(".gitconfig"), config).unwrap();
        bench.gitops(bench.home.path(), &render, &[])
    };
    let path = ca.display().to_string();
    let elsewhere = path.replace("ca.pem", "none.pem");
    let (code, _, stderr) = name(&elsewhere);
    assert!(
        code == 4 && stderr.contains(&format!("{elsewhere}, which Git's http.sslCAInfo names")),
        "{stderr}"
    );
    for path in [path.as_str(), "~/ca.pem"] {
        let (code, stdout, stderr) = name(path);
        assert!(code == 0 && stdout.contains("key: one"), "{path}: {stderr}");
    }
}

#[test]
fn charts_come_from_hosts_of_an_own_authority() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    package(folder.path(), "1.0.0", "red");
    helm(&["repo", "index", "."], folder.path());
    let plain = ChartRepository::new(folder.path(), None);
    let registry = Registry::start();
    helm(
        &["push", "web-1.0.0.tgz", &format!("oci://{}/charts", registry.host()), "--plain-http"],
        folder.path(),
    );
    let wanted = Wanted::Chart { name: "web".into(), version: "1.0.0".into() };
    let (index, images) = (
        Tls::before(plain.url().trim_start_matches("http://").parse().unwrap()),
        Tls::before(registry.address()),
    );
    for (tls, url) in [(&index, index.url("")), (&images, format!("oci://{}/charts", images.address()))] {
        let url: RepoUrl = url.parse().unwrap();
        let get = |credentials: &Credentials| fetch(&bench.cache(), &url, &wanted, "", credentials, LONG);
        let unknown = get(&Credentials::default()).unwrap_err();
        assert_eq!(unknown.kind(), ErrorKind::Network, "{unknown}");
        let found = get(&by(&tls.authority)).unwrap();
        assert_eq!(found.subject, "web 1.0.0", "{url}");
    }
}
