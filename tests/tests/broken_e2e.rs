//! Clusters, networks, disks and tokens that break in the middle of a sync: it
//! says what it did, and the next one goes on.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gitops_tests::cluster::{eventually, ran};
use gitops_tests::{
    Fault, FaultyProxy, GitServer, Line, Namespace, NodeCluster, Ran, Repo, TestCluster, cluster,
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
/// More than are written before something breaks.
const MANY: usize = 1500;

fn config(name: &str, wave: i32) -> String {
    let annotations = json!({"argocd.argoproj.io/sync-wave": wave.to_string()});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "annotations": annotations}, "data": {"a": "1"}})
        .to_string()
}

/// A Pod that no node runs: healthy once a test says that it is.
fn gate() -> String {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "gate"}, "spec": {
        "schedulerName": "none", "containers": [{"name": "main", "image": "main:1"}]}})
    .to_string()
}

/// The gate opens: what waits for it goes on.
fn open(cluster: &TestCluster, namespace: &str) {
    let ready = r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
    let patch =
        ["patch", "pod", "gate", "--subresource=status", "--type=merge", "-p", ready, "-n", namespace];
    cluster.kubectl_args(&patch).ok();
}

fn many() -> Repo {
    let repo = Repo::new();
    let all: Vec<String> = (0..MANY).map(|number| config(&format!("c{number:04}"), 0)).collect();
    repo.commit("many", &[("app/all.yaml", &all.join("\n---\n"))]);
    repo
}

/// One object, a gate, and one behind it.
fn gated() -> Repo {
    Repo::with(&[
        ("app/a.yaml", &config("first", -1)),
        ("app/b.yaml", &gate()),
        ("app/c.yaml", &config("late", 1)),
    ])
}

fn begin(cluster: &TestCluster, repo: &Repo, namespace: &str) -> Child {
    let mut command = cluster.command("kubectl");
    command.args(["gitops", "sync", "--repo", ".", "--path", "app", "-n", namespace, "-o", "json"]);
    command.current_dir(repo.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(sync: Child) -> Ran {
    let output = sync.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn sync(cluster: &TestCluster, repo: &Repo, namespace: &str) -> Ran {
    cluster.gitops(repo.path(), &format!("sync --repo . --path app -n {namespace} -o json"))
}

fn names(cluster: &TestCluster, namespace: &str) -> BTreeSet<String> {
    let listed = cluster.kubectl(&format!("get configmap -n {namespace} -o name")).stdout;
    listed.lines().map(|line| line.trim_start_matches("configmap/").to_owned()).collect()
}

fn has(cluster: &TestCluster, object: &str, namespace: &str) -> bool {
    cluster.kubectl(&format!("get {object} -n {namespace}")).code == 0
}

/// Whether a report tells of every object, and claims of none what is not so.
fn is_honest(report: &Value, there: &BTreeSet<String>, all: usize) {
    let objects = report["objects"].as_array().unwrap();
    assert_eq!(objects.len(), all, "{}", report["counts"]);
    for object in objects {
        let name = object["object"]["name"].as_str().unwrap();
        match object["outcome"].as_str().unwrap() {
            "done" => assert!(there.contains(name), "{object}"),
            "skipped" => assert!(!there.contains(name), "{object}"),
            _ => assert!(object["error"].as_str().is_some_and(|error| !error.is_empty()), "{object}"),
        }
    }
}

/// Breaks something once a sync of many objects is in the middle of its writes,
/// and mends it. What the sync says has to be so, and the next one has to end
/// what it began.
fn broken_while_writing(
    direct: &TestCluster,
    used: &TestCluster,
    namespace: &str,
    break_it: impl FnOnce(),
    mend: impl FnOnce(),
) {
    let repo = many();
    let running = begin(used, &repo, namespace);
    eventually("the sync writes", LIMIT, || (names(direct, namespace).len() > 50).then_some(()));
    break_it();
    let done = end(running);
    mend();
    let there = names(direct, namespace);
    // Where all is mended soon enough, the sync has not failed at all.
    if done.code == 0 {
        assert_eq!(done.json()["counts"]["create"], MANY, "{}", done.stderr);
    } else {
        assert!([5, 6, 7].contains(&done.code), "{}: {}", done.code, done.stderr);
        assert!(there.len() < MANY, "it broke too late: {}", there.len());
        is_honest(&done.json(), &there, MANY);
    }
    let again = sync(used, &repo, namespace).ok().json();
    let (created, unchanged) = (&again["counts"]["create"], &again["counts"]["unchanged"]);
    assert_eq!(created.as_u64().unwrap() + unchanged.as_u64().unwrap(), MANY as u64);
    assert!(names(direct, namespace).len() >= MANY);
    used.gitops(repo.path(), &format!("diff --repo . --path app -n {namespace}")).ok();
}

#[test]
fn a_control_plane_that_restarts_in_the_middle() {
    let own = NodeCluster::control_plane("broken");
    for (namespace, program) in [("writes-api", "kube-apiserver"), ("writes-etcd", "etcd")] {
        own.cluster.kubectl(&format!("create namespace {namespace}")).ok();
        broken_while_writing(&own.cluster, &own.cluster, namespace, || own.restart(program), || ());
    }
    // A wave that waits outlasts it.
    for (namespace, program) in [("waits-api", "kube-apiserver"), ("waits-etcd", "etcd")] {
        own.cluster.kubectl(&format!("create namespace {namespace}")).ok();
        eventually("Pods may be made", LIMIT, || {
            has(&own.cluster, "serviceaccount/default", namespace).then_some(())
        });
        let repo = gated();
        let running = begin(&own.cluster, &repo, namespace);
        eventually("the wave waits", LIMIT, || has(&own.cluster, "pod/gate", namespace).then_some(()));
        own.restart(program);
        eventually("the gate opens", LIMIT, || has(&own.cluster, "pod/gate", namespace).then_some(()));
        open(&own.cluster, namespace);
        let done = end(running);
        assert_eq!(done.code, 0, "{program}: {}{}", done.stdout, done.stderr);
        assert!(has(&own.cluster, "configmap/late", namespace));
    }
}

/// Its Lease runs out and nobody takes it: nothing is written until it is renewed, and
/// then all is.
#[test]
fn a_lease_that_cannot_be_renewed_for_a_while() {
    let namespace = cluster().namespace("renewed");
    let (name, proxy, repo) = (&namespace.name, FaultyProxy::start(cluster()), gated());
    let running = begin(&proxy.cluster(), &repo, name);
    eventually("the wave waits", LIMIT, || has(cluster(), "pod/gate", name).then_some(()));
    proxy.arm_at("PUT /apis/coordination.k8s.io/", Fault::Status(500));
    std::thread::sleep(Duration::from_secs(30));
    open(cluster(), name);
    std::thread::sleep(Duration::from_secs(3));
    assert!(!has(cluster(), "configmap/late", name), "nothing is written while it is in doubt");
    proxy.disarm();
    let done = end(running);
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert!(has(cluster(), "configmap/late", name));
}

#[test]
fn a_network_that_is_cut_in_the_middle() {
    let namespace = cluster().namespace("cut");
    let line = Line::to(cluster());
    let over = line.cluster();
    broken_while_writing(cluster(), &over, &namespace.name, || line.cut(), || line.mend());
}

/// A service account that may do everything in its namespace, with a token
/// that lives as long as its Secret.
fn account(namespace: &Namespace, secret: &str) -> String {
    let name = &namespace.name;
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "robot"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": name}]});
    let robot = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    let held = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}});
    for object in [robot, binding, held] {
        cluster().kubectl_stdin(&format!("apply -n {name} -f -"), &object.to_string()).ok();
    }
    let bound =
        format!("create token robot -n {name} --bound-object-kind Secret --bound-object-name {secret}");
    cluster().kubectl(&bound).ok().stdout.trim().to_owned()
}

#[test]
fn a_token_that_is_taken_away_in_the_middle() {
    let namespace = cluster().namespace("token");
    let name = &namespace.name;
    let repo = gated();
    let with = |token: &str| {
        let folder = tempfile::tempdir().unwrap();
        let text = cluster().kubectl("config view --raw --flatten -o json").ok().stdout;
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config["users"][0]["user"] = json!({"token": token});
        std::fs::write(folder.path().join("config"), config.to_string()).unwrap();
        (TestCluster::at(folder.path().join("config")), folder)
    };
    let (first, _kept) = with(&account(&namespace, "one"));
    let running = begin(&first, &repo, name);
    eventually("the wave waits", LIMIT, || has(cluster(), "pod/gate", name).then_some(()));
    cluster().kubectl(&format!("delete secret one -n {name}")).ok();
    let done = end(running);
    // It has done something, says what, and why it could not go on.
    assert_eq!(done.code, 7, "{}{}", done.stdout, done.stderr);
    let told =
        done.stderr.contains("does not take these credentials") && done.stderr.contains("log in again");
    assert!(told, "{}", done.stderr);
    let report = done.json();
    let outcome = |name: &str| {
        let objects = report["objects"].as_array().unwrap();
        objects.iter().find(|object| object["object"]["name"] == name).unwrap()["outcome"].clone()
    };
    assert_eq!([outcome("first"), outcome("gate"), outcome("late")], ["done", "done", "skipped"]);
    let refused = sync(&first, &repo, name).code(5);
    assert!(refused.stderr.contains("hint: log in again"), "{}", refused.stderr);
    open(cluster(), name);
    let (second, _kept) = with(&account(&namespace, "two"));
    sync(&second, &repo, name).ok();
    assert!(has(cluster(), "configmap/late", name));
}

/// Runs a script that sees a disk of `kib` KiB at `$DISK`; each command's
/// output and code are printed with its step.
fn on_a_small_disk(cluster: &TestCluster, kib: usize, script: &str) -> Option<Ran> {
    let disk = tempfile::tempdir().unwrap();
    let may = Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
    if !may.is_ok_and(|status| status.success()) {
        return None;
    }
    let mount = format!("mount -t tmpfs -o size={kib}k none \"$DISK\"\n{script}");
    let mut command = cluster.command("unshare");
    command.args(["--mount", "sh", "-c", &mount]).env("DISK", disk.path());
    Some(ran(&mut command, None))
}

#[test]
fn a_full_disk_costs_nothing_but_time() {
    let namespace = cluster().namespace("disk");
    let name = &namespace.name;
    let repo = Repo::with(&[("app/a.yaml", &config("web", 0))]);
    // Noise, which no pack makes small.
    let noise: String =
        (0..40_000_u64).map(|n| format!("{:x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
    repo.commit("large", &[("noise.txt", &noise)]);
    let root = tempfile::tempdir().unwrap();
    repo.git(&["clone", "--quiet", "--bare", ".", &root.path().join("shop.git").display().to_string()]);
    let server = GitServer::start(root.path(), "127.0.0.1:0", None).unwrap();
    let sync = |repo: &str| {
        format!(
            "kubectl gitops sync --cache-dir \"$DISK\" --repo {repo} --path app -n {name} 2>&1; echo code=$?\n"
        )
    };
    // A repository that is read in place: the cache only costs time, and says so.
    let local = sync(&repo.path().display().to_string());
    let fill = "head -c 1000000 /dev/zero > \"$DISK/fill\" 2>/dev/null\n";
    let Some(done) = on_a_small_disk(cluster(), 64, &format!("{fill}{local}rm \"$DISK/fill\"\n{local}"))
    else {
        eprintln!("skipped: a small disk needs root or a kernel that lets users mount");
        return;
    };
    assert_eq!(done.stdout.matches("code=0").count(), 2, "{}", done.stdout);
    assert!(
        done.stdout.contains("could not be kept") && done.stdout.contains("No space left"),
        "{}",
        done.stdout
    );
    assert!(has(cluster(), "configmap/web", name));
    // One that has to be fetched: nothing is applied, the error says why, and
    // with room the same cache is used on.
    cluster().kubectl(&format!("delete configmap web -n {name}")).ok();
    let far = sync(&server.url("shop.git"));
    let grow = "mount -o remount,size=64m \"$DISK\"\n";
    let there = format!("kubectl get configmap web -n {name} -o name 2>/dev/null\n");
    let done = on_a_small_disk(cluster(), 200, &format!("{far}{there}{grow}{far}{there}")).unwrap();
    assert!(done.stdout.contains("code=4\n"), "{}", done.stdout);
    let (before, after) = done.stdout.split_once("code=4\n").unwrap();
    assert!(before.contains("No space left"), "{before}");
    assert!(before.contains("hint:") && before.contains("--cache-dir"), "{before}");
    let lines: Vec<&str> = after.lines().collect();
    assert!(lines.last().is_some_and(|line| *line == "configmap/web"), "{after}");
    assert!(!after.starts_with("configmap/web") && after.contains("code=0"), "{after}");
}
