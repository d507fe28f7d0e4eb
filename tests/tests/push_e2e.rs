//! Push events in front of the real API server: two replicas that look at Git
//! once an hour, and a host that tells one of them of every push.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gitops_tests::cluster::{eventually, ran};
use gitops_tests::{Controller, GitServer, NodeCluster, Repo, TestCluster};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;

/// Patience with a machine that does other things as well; far less than an hour.
const LONG: Duration = Duration::from_secs(60);
const COUNT: usize = 6;
const KEY: &str = "a key that nobody guesses";

fn config(at: usize, says: &str) -> (String, String) {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("app-{at}")}, "data": {"says": says}});
    (format!("app-{at}/config.yaml"), object.to_string())
}

fn says(cluster: &TestCluster, at: usize) -> String {
    let path = format!("get configmap app-{at} -n shop --ignore-not-found -o jsonpath={{.data.says}}");
    cluster.kubectl(&path).ok().stdout
}

/// The resource versions of all Applications.
fn versions(cluster: &TestCluster) -> BTreeMap<String, String> {
    let list = cluster.kubectl("get applications -n shop -o json").ok().json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let items = list["items"].as_array().unwrap().iter();
    items.map(|one| (text(&one["metadata"]["name"]), text(&one["metadata"]["resourceVersion"]))).collect()
}

fn synced(cluster: &TestCluster) -> bool {
    let list = cluster.kubectl("get applications -n shop -o json").ok().json();
    list["items"].as_array().unwrap().iter().filter(|one| one["status"]["sync"] == "Synced").count() == COUNT
}

/// Sends a body with these headers: the status that comes back, and the text.
fn send(port: u16, headers: &[String], body: &str) -> (u16, String) {
    let url = format!("http://127.0.0.1:{port}/push");
    let mut curl = Command::new("curl");
    curl.args(["-s", "-w", "\n%{http_code}", "-H", "content-type: application/json", "--data-binary", body]);
    for header in headers {
        curl.args(["-H", header]);
    }
    let answer = ran(curl.arg(url), None).ok().stdout;
    let (text, code) = answer.rsplit_once('\n').unwrap();
    (code.parse().unwrap(), text.to_owned())
}

/// What GitHub sends.
fn github(key: &str, body: &str) -> Vec<String> {
    let signature = hex::encode(signature(key, &[body]));
    vec!["x-github-event: push".into(), format!("x-hub-signature-256: sha256={signature}")]
}

fn signature(key: &str, parts: &[&str]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    parts.iter().for_each(|part| mac.update(part.as_bytes()));
    mac.finalize().into_bytes().to_vec()
}

/// What hosts send of a push: headers and body. Each writes the URL in its own
/// way, and none with the server's port.
fn hosts(commit: &str) -> Vec<(Vec<String>, String)> {
    let cloud = json!({"push": {"changes": [{"new": {"target": {"hash": commit}}}]},
        "repository": {"full_name": "shop", "links": {"html": {"href": "https://127.0.0.1/shop"}}}});
    let center = json!({"eventKey": "repo:refs_changed", "changes": [{"toHash": commit}],
        "repository": {"slug": "shop", "links": {"clone": [{"name": "ssh", "href": "ssh://git@127.0.0.1:7999/shop.git"}]}}});
    let gitea = json!({"ref": "refs/heads/main", "after": commit, "repository": {"clone_url": "https://127.0.0.1/Shop.git"}});
    let plain = json!({"repository": "https://127.0.0.1/shop.git", "after": commit});
    let hex = |body: &Value| hex::encode(signature(KEY, &[&body.to_string()]));
    let bitbucket = |event: &str, body: &Value| {
        vec![format!("x-event-key: {event}"), format!("x-hub-signature: sha256={}", hex(body))]
    };
    let (id, time) = (format!("msg-{commit}"), jiff::Timestamp::now().as_second().to_string());
    let signed = STANDARD.encode(signature(KEY, &[&id, ".", &time, ".", &plain.to_string()]));
    vec![
        (bitbucket("repo:push", &cloud), cloud.to_string()),
        (bitbucket("repo:refs_changed", &center), center.to_string()),
        (
            vec!["x-gitea-event: push".into(), format!("x-gitea-signature: {}", hex(&gitea))],
            gitea.to_string(),
        ),
        (
            vec!["x-forgejo-event: push".into(), format!("x-forgejo-signature: {}", hex(&gitea))],
            gitea.to_string(),
        ),
        (
            vec![
                format!("webhook-id: {id}"),
                format!("webhook-timestamp: {time}"),
                format!("webhook-signature: v1,{signed}"),
            ],
            plain.to_string(),
        ),
    ]
}

/// A cluster with a Project and this many Applications of one repository.
struct Host {
    repo: Repo,
    bare: TempDir,
    server: GitServer,
}

impl Host {
    fn new() -> Self {
        let files: Vec<(String, String)> = (0..COUNT).map(|at| config(at, "one")).collect();
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let (repo, bare) = (Repo::with(&files), TempDir::new().unwrap());
        repo.git(&["clone", "--quiet", "--bare", ".", &bare.path().join("Shop.git").display().to_string()]);
        let server = GitServer::start(bare.path(), "127.0.0.1:0", None).unwrap();
        Self { repo, bare, server }
    }

    fn push(&self, at: usize, says: &str) -> String {
        let (path, text) = config(at, says);
        let commit = self.repo.commit(says, &[(&path, &text)]);
        self.repo.git(&["push", "--quiet", &self.bare.path().join("Shop.git").display().to_string(), "main"]);
        commit
    }

    /// As a host writes it: another way of writing the URL, and without port.
    fn told(&self, commit: &str) -> String {
        json!({"ref": "refs/heads/main", "after": commit, "repository": {"ssh_url": "git@127.0.0.1:shop.git"}}).to_string()
    }

    fn declare(&self, cluster: &TestCluster) {
        cluster.kubectl("create namespace shop").ok();
        let project = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Project", "metadata": {"name": "shop"}, "spec": {
            "applicationNamespaces": ["shop"], "repositories": [{"url": "http://127.0.0.1*/**"}], "destinations": [{"namespaces": ["shop"]}]}});
        cluster.kubectl_stdin("apply -f -", &project.to_string()).ok();
        for at in 0..COUNT {
            let application = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": format!("app-{at}"), "namespace": "shop"},
                "spec": {"project": "shop", "source": {"repo": self.server.url("Shop.git"), "revision": "main", "path": format!("app-{at}")}, "sync": {"mode": "Automatic"}}});
            cluster.kubectl_stdin("apply -f -", &application.to_string()).ok();
        }
    }
}

#[test]
fn a_push_that_is_told_of_is_live_at_once_and_concerns_who_reads_it() {
    let node = NodeCluster::control_plane("push");
    let cluster = &node.cluster;
    cluster
        .kubectl_args(&[
            "create",
            "secret",
            "generic",
            "gitops-push-events",
            "-n",
            "gitops-system",
            &format!("--from-literal=first={KEY}"),
        ])
        .ok();
    let host = Host::new();
    let cache = TempDir::new().unwrap();
    let [port, other] =
        [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
    let [address, elsewhere] = [port, other].map(|port| format!("127.0.0.1:{port}"));
    let rarely = ["--poll-interval", "1h", "--replica"];
    let first = [&rarely[..], &["first", "--push-events", &address]].concat();
    let first = Controller::with(cluster, &first, &cache.path().join("first"));
    let second = [&rarely[..], &["second", "--push-events", &elsewhere]].concat();
    let second = Controller::with(cluster, &second, &cache.path().join("second"));
    eventually("they know of each other", LONG, || {
        let knows = |one: &Controller| one.log().contains("second\\\"}") || one.log().contains("\"second\"}");
        (knows(&first) && knows(&second)).then_some(())
    });
    host.declare(cluster);
    eventually("all are in sync", LONG, || synced(cluster).then_some(()));

    // Both replicas have some of them; one of them is told.
    let mut before = versions(cluster);
    for at in 0..COUNT {
        let commit = host.push(at, "two");
        let github = (github(KEY, &host.told(&commit)), host.told(&commit));
        let (headers, body) = hosts(&commit).into_iter().nth(at).unwrap_or(github);
        assert_eq!(send(port, &headers, &body), (202, "taken\n".into()), "{headers:?}");
        eventually(&format!("app-{at} is live"), LONG, || (says(cluster, at) == "two").then_some(()));
        eventually("its status says so", LONG, || {
            let now = cluster.kubectl(&format!("get application app-{at} -n shop -o json")).ok().json();
            (now["status"]["history"][0]["revision"] == *commit && now["status"]["sync"] == "Synced")
                .then_some(())
        });
        let name = format!("app-{at}");
        let mut after = versions(cluster);
        assert_ne!(before.remove(&name), after.remove(&name));
        assert_eq!(before, after, "nothing is written of the others");
        before = versions(cluster);
    }

    // Nothing that is not new and signed makes anybody look.
    let asked = host.server.requests();
    for (mut headers, body) in hosts("of nobody") {
        assert_eq!(send(port, &headers, &body.replace("of nobody", "of somebody")).0, 401, "{headers:?}");
        headers.pop();
        assert_eq!(send(port, &headers, &body).0, 401, "{headers:?}");
    }
    let body = host.told("again");
    let signed = github(KEY, &body);
    assert_eq!(send(port, &signed[..1], &body).0, 401);
    assert_eq!(send(port, &[], &body).0, 401);
    assert_eq!(send(port, &github("another key of somebody", &body), &body).0, 401);
    assert_eq!(send(port, &signed, &host.told("other")).0, 401);
    let large = "x".repeat(5 << 20);
    let file = cache.path().join("large");
    std::fs::write(&file, &large).unwrap();
    assert_eq!(send(port, &github(KEY, &large), &format!("@{}", file.display())).0, 413);
    assert_eq!(send(port, &github(KEY, "{}"), "{}").0, 422);
    let ping = ["x-github-event: ping".to_owned(), github(KEY, "{}")[1].clone()];
    assert_eq!(send(port, &ping, "{}"), (202, "pong\n".into()));
    let stranger = json!({"repository": {"clone_url": "https://elsewhere.example/x.git"}}).to_string();
    assert_eq!(send(port, &github(KEY, &stranger), &stranger), (202, "taken\n".into()));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(host.server.requests(), asked, "nobody was asked");

    // One that is sent again is refused, with another name as well.
    let fresh = host.told("fresh");
    assert_eq!(send(port, &github(KEY, &fresh), &fresh).0, 202);
    let again = [github(KEY, &fresh), vec!["x-github-delivery: 2".into()]].concat();
    assert_eq!(send(port, &again, &fresh).0, 409);
    // At the other replica as well, which was told.
    let deliveries = || {
        let lease = cluster.kubectl("get lease gitops-push -n gitops-system -o json").ok().json();
        lease["metadata"]["annotations"]["kubectl-gitops.dev/deliveries"].clone()
    };
    let before = deliveries();
    let there = host.told("there");
    assert_eq!(send(port, &github(KEY, &there), &there).0, 202);
    eventually("it is told", LONG, || (deliveries() != before).then_some(()));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(send(other, &github(KEY, &there), &there).0, 409);

    // A key beside the old one, and then instead of it.
    let next = "the key that comes after it";
    let patch = |data: Value| {
        let patch = json!({"stringData": data}).to_string();
        cluster
            .kubectl_args(&[
                "patch",
                "secret",
                "gitops-push-events",
                "-n",
                "gitops-system",
                "--type=merge",
                "-p",
                &patch,
            ])
            .ok();
    };
    patch(json!({"second": next}));
    let gitlab = json!({"project": {"git_http_url": host.server.url("Shop.git")}, "after": "x"}).to_string();
    eventually("the new key counts", LONG, || {
        let headers = [
            "x-gitlab-event: Push Hook".to_owned(),
            format!("x-gitlab-token: {next}"),
            format!("x-gitlab-event-uuid: {}", jiff::Timestamp::now()),
        ];
        (send(port, &headers, &gitlab).0 == 202).then_some(())
    });
    let metrics = first.get("/metrics").unwrap();
    for result in ["taken", "pong", "unsigned", "forged", "replayed", "too_large"] {
        assert!(
            metrics.contains(&format!("gitops_push_events_total{{result=\"{result}\"}}")),
            "{result}: {metrics}"
        );
    }
}
