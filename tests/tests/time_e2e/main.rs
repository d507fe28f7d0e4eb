//! Time moves forward only, whatever becomes of replicas and Git: in a cluster
//! of its own, with replicas that are started, cut off and killed.
#![allow(clippy::unwrap_used, reason = "tests")]

mod held;
mod hidden;

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use gitops_tests::cluster::{Ran, eventually};
use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use gitops_tests::{GitServer, NodeCluster, Replica, Shop, TestCluster, Webhook};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);
const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: web}\nstringData: {password: hunter2}\n";

/// One cluster and one bare repository's server for a test, which all run one
/// after another in it: the replicas serve the whole cluster.
struct Stage {
    shop: Shop,
    root: tempfile::TempDir,
    caches: tempfile::TempDir,
}

/// The cluster of the one test in this file, which takes it down.
static CLUSTER: OnceLock<TestCluster> = OnceLock::new();

fn cluster() -> &'static TestCluster {
    CLUSTER.get().unwrap()
}

impl Stage {
    fn set() -> Self {
        Self::of(&[("app/web.yaml", DEPLOYMENT), ("app/config.yaml", CONFIG), ("app/secret.yaml", SECRET)])
    }

    fn of(files: &[(&str, &str)]) -> Self {
        let shop = Shop::at(cluster(), files);
        let root = tempfile::tempdir().unwrap();
        let bare = root.path().join("shop.git").display().to_string();
        shop.repo.git(&["clone", "--quiet", "--bare", ".", &bare]);
        shop.repo.git(&["remote", "add", "origin", &bare]);
        Self { shop, root, caches: tempfile::tempdir().unwrap() }
    }

    fn server(&self, listen: &str) -> GitServer {
        GitServer::start(self.root.path(), listen, None).unwrap()
    }

    fn replica(&self, name: &str, replica: &Replica<'_>) -> Webhook {
        Webhook::start(cluster(), &self.caches.path().join(name), replica)
    }

    fn hold(&self, server: &GitServer) {
        self.shop
            .hold(json!({"source": {"repo": server.url("shop.git"), "revision": "main", "path": "app"}}));
        self.shop.sync().ok();
    }

    /// Commits and pushes; returns the commit.
    fn push(&self, image: &str, more: &[&str]) -> String {
        let commit = self.shop.repo.commit(image, &[("app/web.yaml", &DEPLOYMENT.replace("web:1", image))]);
        let mut arguments = vec!["push", "--quiet"];
        arguments.extend(more);
        arguments.extend(["origin", "main"]);
        self.shop.repo.git(&arguments);
        commit
    }

    fn commit(&self, message: &str, files: &[(&str, &str)]) {
        self.shop.repo.commit(message, files);
        self.shop.repo.git(&["push", "--quiet", "origin", "main"]);
    }

    fn image(&self) -> Value {
        self.live()["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    }

    fn live(&self) -> Value {
        self.shop.get("deployment", "web").unwrap()
    }

    fn set_image(&self, image: &str) -> Ran {
        self.shop.kubectl(&format!("set image deployment/web web={image}"))
    }

    /// A kubeconfig of somebody who may read everything, and write the
    /// webhook's certificate alone.
    fn reader(&self) -> std::path::PathBuf {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader", "namespace": "gitops-system"}});
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "reader"}, "rules": [
            {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}, {"nonResourceURLs": ["*"], "verbs": ["get"]}]});
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "reader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"}, "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": "gitops-system"}]});
        for object in [account, role, binding] {
            cluster().kubectl_stdin("apply -f -", &object.to_string()).ok();
        }
        let token = cluster().kubectl("create token reader --namespace gitops-system").ok().stdout;
        let file = self.caches.path().join("reader");
        std::fs::copy(cluster().kubeconfig(), &file).unwrap();
        let path = file.display().to_string();
        for command in [
            format!("config --kubeconfig {path} set-credentials reader --token={}", token.trim()),
            format!(
                "config --kubeconfig {path} set-context reader --user=reader --cluster={}",
                context_cluster()
            ),
            format!("config --kubeconfig {path} use-context reader"),
        ] {
            cluster().kubectl(&command).ok();
        }
        file
    }
}

fn context_cluster() -> String {
    let ran = cluster().kubectl("config view --raw -o jsonpath={.contexts[0].context.cluster}").ok();
    ran.stdout.trim().to_owned()
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The replica behind them is gone: nothing would answer.
        cluster().kubectl(
            "delete validatingwebhookconfiguration,mutatingwebhookconfiguration gitops --ignore-not-found",
        );
    }
}

#[test]
fn replicas_git_and_time() {
    let own = NodeCluster::control_plane("time");
    CLUSTER.set(TestCluster::at(own.cluster.kubeconfig().to_owned())).unwrap();
    a_cut_off_replica_takes_nothing_back();
    nothing_older_gets_in_after_a_restart_a_revert_or_a_force_push();
    a_cold_restart_without_git_holds_from_the_copy_in_the_cluster();
    held::a_held_version_stays_held_without_a_webhook_and_with_a_cold_one();
    hidden::what_git_keeps_encrypted_is_nowhere_in_clear();
    git_that_hangs_delays_no_answer();
    a_dead_repository_holds_up_nobody_else();
    a_replica_that_knows_nothing_lets_nothing_go();
}

fn a_replica_that_knows_nothing_lets_nothing_go() {
    let stage = Stage::set();
    let server = stage.server("127.0.0.1:0");
    let webhook = stage.replica("warm", &Replica::default());
    stage.hold(&server);
    let rules = || {
        let path = "get validatingwebhookconfiguration gitops -o jsonpath={.webhooks[0].rules}";
        cluster().kubectl(path).ok().stdout
    };
    let before = rules();
    drop(server);
    webhook.kill();
    // Neither Git, nor a disk, nor a copy in the cluster.
    let copies = "delete secrets --namespace gitops-system --selector kubectl-gitops.dev/copy";
    cluster().kubectl(copies).ok();
    let webhook = stage.replica("blank", &Replica::default());
    let live = stage.live();
    let mut evil = live.clone();
    evil["spec"]["replicas"] = json!(9);
    let answer = webhook.update("deployments", &live, &evil);
    assert_eq!(answer["allowed"], false, "{answer}");
    let mut unrelated = live.clone();
    unrelated["metadata"]["annotations"]["note"] = json!("fine");
    assert_eq!(webhook.update("deployments", &live, &unrelated)["allowed"], true);
    assert_eq!(rules(), before, "the API server is to ask as before");
}

fn a_cut_off_replica_takes_nothing_back() {
    let stage = Stage::set();
    let (server, way) = (stage.server("127.0.0.1:0"), stage.server("127.0.0.1:0"));
    let first = stage.replica("first", &Replica::default());
    stage.hold(&server);
    let reader = stage.reader();
    let proxy = format!("http://{}", way.address());
    let second = stage.replica(
        "second",
        &Replica { git_proxy: Some(proxy), kubeconfig: Some(&reader), ..Replica::default() },
    );
    let at_first = stage.live();
    eventually("the second replica holds the first commit", LIMIT, || {
        let mut drifted = at_first.clone();
        drifted["spec"]["replicas"] = json!(9);
        (second.update("deployments", &at_first, &drifted)["allowed"] == false).then_some(())
    });
    drop(way);
    stage.push("web:2", &[]);
    stage.shop.sync().ok();
    let now = stage.live();
    assert_eq!(stage.image(), "web:2");
    // What the first commit says is older now: not even field by field.
    let mut back = now.clone();
    back["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:1");
    let answer = second.update("deployments", &now, &back);
    let said = answer["status"]["message"].as_str().unwrap_or_default();
    assert!(said.contains("not known here"), "{answer}");
    let mut unrelated = now.clone();
    unrelated["metadata"]["annotations"]["note"] = json!("fine");
    assert_eq!(second.update("deployments", &now, &unrelated)["allowed"], true);
    let mut grown = now.clone();
    grown["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
    assert_eq!(second.update("deployments", &now, &grown)["allowed"], false);
    assert_eq!(first.update("deployments", &now, &back)["allowed"], false);
}

fn nothing_older_gets_in_after_a_restart_a_revert_or_a_force_push() {
    let stage = Stage::set();
    let server = stage.server("127.0.0.1:0");
    let webhook = stage.replica("one", &Replica::default());
    stage.hold(&server);
    let first = stage.shop.repo.head();
    let second = stage.push("web:2", &[]);
    stage.shop.sync().ok();
    stage.set_image("web:1").refused(&["web:2"]);
    // From disk, while Git is away.
    let (listen, url) = (server.address().to_string(), server.url("shop.git"));
    drop(server);
    webhook.kill();
    let webhook = stage.replica("one", &Replica::default());
    eventually("the restarted replica is asked", LIMIT, || {
        stage.set_image("web:1").stderr.contains("is kept as Git says").then_some(())
    });
    stage.set_image("web:1").refused(&["web:2"]);
    let server = stage.server(&listen);
    assert_eq!(server.url("shop.git"), url);
    // The branch goes back: it is not followed.
    stage.shop.repo.git(&["reset", "--quiet", "--hard", &first]);
    stage.shop.repo.git(&["push", "--quiet", "--force", "origin", "main"]);
    let message = eventually("the rewound branch is told", LIMIT, || {
        let conditions = stage.shop.get("application", "web")?["status"]["conditions"].as_array()?.clone();
        let told = conditions.iter().find(|condition| condition["reason"] == "Rewound")?;
        Some(told["message"].as_str()?.to_owned())
    });
    assert!(message.contains(&first) && message.contains(&second), "{message}");
    stage.set_image("web:1").refused(&["web:2"]);
    assert_ne!(stage.shop.sync().code, 0);
    assert_eq!(stage.image(), "web:2");
    // Nor by a replica that knows nothing yet but what the Application says of itself.
    webhook.kill();
    let _webhook = stage.replica("one", &Replica::default());
    eventually("the restarted replica is asked", LIMIT, || {
        stage.set_image("web:1").stderr.contains("is kept as Git says").then_some(())
    });
    // Another history is the truth; and a commit that reverts is new.
    stage.push("web:3", &["--force"]);
    stage.shop.sync().ok();
    assert_eq!(stage.image(), "web:3");
    let reverted = stage.push("web:1", &[]);
    stage.shop.sync().ok();
    assert_eq!(
        (stage.image(), &stage.live()["metadata"]["annotations"]["kubectl-gitops.dev/revision"]),
        (json!("web:1"), &json!(reverted))
    );
}

fn a_cold_restart_without_git_holds_from_the_copy_in_the_cluster() {
    let stage = Stage::set();
    let server = stage.server("127.0.0.1:0");
    let webhook = stage.replica("warm", &Replica::default());
    stage.hold(&server);
    let copies = || cluster().kubectl("get secrets --namespace gitops-system -o json").ok().json();
    eventually("a copy is kept", LIMIT, || {
        let list = copies();
        let found = list["items"].as_array()?.iter().find(|secret| {
            secret["metadata"]["annotations"]["kubectl-gitops.dev/copy-of"]
                == format!("{}/web", stage.shop.name())
        })?;
        assert!(!found.to_string().contains("hunter2"));
        (found["metadata"]["annotations"]["kubectl-gitops.dev/copy-revision"] == stage.shop.repo.head())
            .then_some(())
    });
    drop(server);
    webhook.kill();
    let webhook = stage.replica("cold", &Replica::default());
    eventually("the cold replica is asked", LIMIT, || {
        stage.set_image("evil").stderr.contains("is kept as Git says").then_some(())
    });
    stage.set_image("evil").refused(&["spec.template.spec.containers[name=web].image", "app/web.yaml:16"]);
    let patch = |value: &str| {
        let patch = json!({"stringData": {"password": value}}).to_string();
        stage.shop.kubectl_args(&["patch", "secret", "web", "--type=merge", "-p", &patch])
    };
    let ran = patch("guessed").refused(&["data.password", "***"]);
    assert!(!ran.stderr.contains("hunter2") && !ran.stderr.contains("saltedSha256"), "{}", ran.stderr);
    patch("hunter2").ok();
    stage.shop.kubectl("annotate deployment web note=fine").ok();
    let message = stage.shop.wait_for("Enforced", "True");
    assert!(message.contains("last good commit"), "{message}");
    // An Application that goes takes its copy along.
    drop(webhook);
    let _webhook = stage.replica("cold", &Replica::default());
    stage.shop.kubectl("delete application web --wait=false");
    eventually("the copy goes", LIMIT, || {
        let name = format!("{}/web", stage.shop.name());
        let list = copies();
        let kept = list["items"]
            .as_array()?
            .iter()
            .any(|secret| secret["metadata"]["annotations"]["kubectl-gitops.dev/copy-of"] == name.as_str());
        (!kept).then_some(())
    });
}

fn git_that_hangs_delays_no_answer() {
    let stage = Stage::set();
    let server = stage.server("127.0.0.1:0");
    let _webhook = stage.replica("one", &Replica::default());
    stage.hold(&server);
    let address = server.address();
    drop(server);
    // Takes connections and never answers.
    let _silent = eventually("the port is free", LIMIT, || std::net::TcpListener::bind(address).ok());
    let start = Instant::now();
    let denied: Vec<_> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..10).map(|_| scope.spawn(|| stage.set_image("evil"))).collect();
        tries.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for ran in denied {
        ran.refused(&["image", "evil"]);
    }
    // Ten kubectls on a busy machine; the API server's own limit is 3 s for each.
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

fn a_dead_repository_holds_up_nobody_else() {
    let stage = Stage::set();
    let server = stage.server("127.0.0.1:0");
    let _webhook = stage.replica("one", &Replica::default());
    let dead = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": "dead"}, "spec": {
        "project": stage.shop.name(), "source": {"repo": "http://127.0.0.1:9/none.git", "revision": "main", "path": "."}, "destination": {"namespace": stage.shop.name()}}});
    stage.hold(&server);
    stage.shop.kubectl_stdin("apply -f -", &dead.to_string()).ok();
    eventually("the dead one says so", LIMIT, || {
        let conditions = stage.shop.get("application", "dead")?["status"]["conditions"].as_array()?.clone();
        let enforced = conditions.iter().find(|condition| condition["type"] == "Enforced")?;
        (enforced["status"] == "False" && enforced["reason"] == "NeverRendered").then_some(())
    });
    stage.set_image("evil").refused(&["image"]);
    stage.push("web:2", &[]);
    stage.shop.sync().ok();
    // A start with both.
    let webhook = stage.replica("two", &Replica::default());
    eventually("the new replica holds the living one", LIMIT, || {
        let live = stage.live();
        let mut evil = live.clone();
        evil["spec"]["replicas"] = json!(9);
        (webhook.update("deployments", &live, &evil)["allowed"] == false).then_some(())
    });
    assert!(Path::new(&stage.caches.path().join("two/last-good")).is_dir(), "{}", webhook.log());
}
