//! Three real control planes: a hub syncs to two others. One that is dead, slow
//! or takes no credentials delays nobody else, and is caught up with when it is
//! back.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gitops_tests::cluster::eventually;
use gitops_tests::hub::{certificate, condition, config, far, greeting, greets, project};
use gitops_tests::{Controller, Hub, Line, Repo, TestCluster};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Patience with a machine that does other things as well.
const LONG: Duration = Duration::from_secs(120);
/// Far less than it takes to give up on a cluster that hangs, for all its workers.
const IN_TIME: Duration = Duration::from_secs(30);
/// More than the workers that one cluster has.
const MANY: usize = 6;

struct Stage {
    hub: Hub,
    repo: Repo,
    controller: Controller,
    cache: TempDir,
}

impl Stage {
    fn commit(&self, name: &str, says: &str) {
        self.repo.commit(says, &[(&format!("{name}/config.yaml"), &config(name, says))]);
    }

    /// Metric `gitops_cluster_up` of a cluster.
    fn is_up(&self, name: &str) -> Option<bool> {
        let metrics = self.controller.get("/metrics")?;
        let line = metrics
            .lines()
            .find(|line| line.starts_with(&format!("gitops_cluster_up{{cluster=\"{name}\"}}")))?;
        Some(line.ends_with(" 1"))
    }
}

fn drift(cluster: &TestCluster, name: &str) {
    let patch = json!({"data": {"greeting": "drifted"}}).to_string();
    cluster.kubectl_args(&["patch", "configmap", name, "-n", "shop", "--type=merge", "-p", &patch]).ok();
}

#[test]
fn a_hub_keeps_two_clusters_and_none_waits_for_the_other() {
    let (hub, east, west) = (Hub::up(), far("east"), far("west"));
    let line = Line::to(&east.cluster);
    let names: Vec<String> = (0..MANY).map(|at| format!("east-{at}")).collect();
    let files: Vec<(String, String)> = names
        .iter()
        .map(String::as_str)
        .chain(["west", "home"])
        .map(|name| (format!("{name}/config.yaml"), config(name, "hello")))
        .collect();
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let repo = Repo::with(&files);
    hub.register("east", &line.cluster());
    hub.register_by("west", &west.cluster, &certificate(&west.cluster));
    for name in &names {
        hub.send(name, "east", &repo, name, &json!({}));
    }
    hub.send("west", "west", &repo, "west", &json!({}));
    hub.send("home", "in-cluster", &repo, "home", &json!({}));
    hub.send("nowhere", "north", &repo, "west", &json!({}));
    let cache = TempDir::new().unwrap();
    let command = cache.path().join("credentials").display().to_string();
    let flags = ["--replica", "one", "--exec-command", &command];
    let controller = Controller::with(hub.cluster(), &flags, cache.path());
    let stage = Stage { hub, repo, controller, cache };

    everything_arrives(&stage, &names, &east.cluster, &west.cluster);
    drift_is_healed_there(&stage, &east.cluster, &west.cluster);
    a_dead_or_slow_cluster_delays_nobody(&stage, &names, &line, &east.cluster, &west.cluster);
    credentials_are_rotated(&stage, &east.cluster, &west.cluster);
    commands_are_run_where_they_are_allowed(&stage, &west.cluster);
    nothing_is_written_where_the_secret_does_not_say(&stage, &west.cluster);
    what_has_no_namespace_goes_where_the_secret_says(&stage, &west.cluster);
    a_cluster_vanishes_in_the_middle_of_a_sync(&stage, &line, &east.cluster);
    one_that_is_no_longer_registered_is_told(&stage);
}

fn everything_arrives(stage: &Stage, names: &[String], east: &TestCluster, west: &TestCluster) {
    names.iter().for_each(|name| greets(east, name, "hello"));
    greets(west, "west", "hello");
    greets(stage.hub.cluster(), "home", "hello");
    // Each only where it belongs.
    assert_eq!(greeting(west, "east-0"), "");
    assert_eq!(greeting(stage.hub.cluster(), "west"), "");
    stage.hub.says("west", "Synced");
    let unknown = stage.hub.says("nowhere", "ClusterUnknown");
    assert!(unknown.contains("cluster north: it is not registered here"), "{unknown}");
    let owner = west.kubectl("get configmap west -n shop -o jsonpath={.metadata.annotations}").ok().stdout;
    assert!(owner.contains("\"kubectl-gitops.dev/owner\":\"shop/west\""), "{owner}");
    assert_eq!(
        (stage.is_up("east"), stage.is_up("west"), stage.is_up("north")),
        (Some(true), Some(true), None)
    );
    stage.commit("west", "goodbye");
    greets(west, "west", "goodbye");
}

fn drift_is_healed_there(stage: &Stage, east: &TestCluster, west: &TestCluster) {
    stage.hub.says("east-0", "Synced");
    drift(east, "east-0");
    greets(east, "east-0", "hello");
    west.kubectl("delete configmap west -n shop").ok();
    greets(west, "west", "goodbye");
}

fn a_dead_or_slow_cluster_delays_nobody(
    stage: &Stage,
    names: &[String],
    line: &Line,
    east: &TestCluster,
    west: &TestCluster,
) {
    type Break = fn(&Line);
    let ways: [(&str, Break); 2] = [("dead", Line::cut), ("slow", Line::stall)];
    for (how, break_it) in ways {
        break_it(line);
        // All of its Applications have something to do.
        for name in names {
            stage.commit(name, how);
        }
        let start = Instant::now();
        stage.commit("west", how);
        greets(west, "west", how);
        stage.commit("home", how);
        greets(stage.hub.cluster(), "home", how);
        let took = start.elapsed();
        assert!(took < IN_TIME, "west and home followed in {took:?} while east was {how}");
        let why = stage.hub.says("east-0", "ClusterUnreachable");
        assert!(why.starts_with("cluster east: "), "{why}");
        assert_eq!(stage.hub.status("east-0")["sync"], "Unknown");
        eventually("the metric says so", LONG, || (stage.is_up("east") == Some(false)).then_some(()));
        assert_eq!(stage.is_up("west"), Some(true));
        let events = stage.hub.cluster().kubectl("get events -n gitops-clusters -o json").ok().json();
        let events: Vec<Value> = events["items"].as_array().cloned().unwrap_or_default();
        assert!(events.iter().any(|event| event["reason"] == "ClusterUnreachable"), "{events:?}");
        line.mend();
        names.iter().for_each(|name| greets(east, name, how));
        stage.hub.says("east-0", "Synced");
    }
}

/// A token is taken away and another given; then west goes over to a kubeconfig.
fn credentials_are_rotated(stage: &Stage, east: &TestCluster, west: &TestCluster) {
    stage.hub.register_by("east", east, &json!({"bearerToken": "no-such-token"}));
    let why = stage.hub.says("east-0", "ClusterUnauthorized");
    assert!(why.contains("does not take these credentials"), "{why}");
    stage.commit("west", "meanwhile");
    greets(west, "west", "meanwhile");
    stage.commit("east-0", "rotated");
    stage.hub.register("east", east);
    greets(east, "east-0", "rotated");
    stage.hub.register_kubeconfig("west", west);
    stage
        .hub
        .cluster()
        .kubectl("label secret west -n gitops-clusters argocd.argoproj.io/secret-type-")
        .code(0);
    stage.commit("west", "kubeconfig");
    greets(west, "west", "kubeconfig");
}

fn commands_are_run_where_they_are_allowed(stage: &Stage, west: &TestCluster) {
    let other = TempDir::new().unwrap();
    let command = stage.hub.register_exec("west", west, other.path());
    let why = stage.hub.says("west", "ClusterUnknown");
    assert!(why.contains(&format!("running {command:?} for credentials is not allowed")), "{why}");
    stage.hub.register_exec("west", west, stage.cache.path());
    stage.commit("west", "by a command");
    greets(west, "west", "by a command");
}

/// Limits west to these namespaces, and says whether what has none may be there.
fn limit(stage: &Stage, namespaces: Option<&str>, resources: Option<&str>) {
    let encoded = |text: Option<&str>| text.map(|text| STANDARD.encode(text));
    let data = json!({"data": {"namespaces": encoded(namespaces), "clusterResources": encoded(resources)}});
    let data = data.to_string();
    let change = ["patch", "secret", "west", "-n", "gitops-clusters", "--type=merge", "-p", &data];
    stage.hub.cluster().kubectl_args(&change).ok();
}

/// Not even into the Application's own namespace.
fn nothing_is_written_where_the_secret_does_not_say(stage: &Stage, west: &TestCluster) {
    let limit = |namespaces| limit(stage, namespaces, None);
    limit(Some("elsewhere"));
    let why = stage.hub.says("west", "NotAdmitted");
    assert!(why.contains("into namespace shop there") && why.contains("data.namespaces"), "{why}");
    limit(Some("elsewhere, shop"));
    stage.commit("west", "limited");
    greets(west, "west", "limited");
    limit(None);
}

/// Neither an object without a namespace nor a namespace, unless it is said so.
fn what_has_no_namespace_goes_where_the_secret_says(stage: &Stage, west: &TestCluster) {
    let hub = stage.hub.cluster();
    let taken = json!({"applicationNamespaces": ["shop", "team"], "destinations": [{"namespaces": ["shop", "team"]}],
        "clusterKinds": [{"group": "rbac.authorization.k8s.io", "kind": "ClusterRole"}]});
    [hub, west].into_iter().for_each(|cluster| project(cluster, &taken));
    hub.kubectl("create namespace team").ok();
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "reader"}, "rules": []});
    stage.repo.commit(
        "without a namespace",
        &[("role/role.yaml", &role.to_string()), ("team/config.yaml", &config("team", "hello"))],
    );
    limit(stage, Some("shop, team"), None);
    stage.hub.send("role", "west", &stage.repo, "role", &json!({}));
    let team = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application",
        "metadata": {"name": "team", "namespace": "team"},
        "spec": {"project": "shop", "source": {"repo": stage.repo.url(), "revision": "main", "path": "team"},
            "destination": {"cluster": "west", "namespace": "team"},
            "sync": {"mode": "Automatic", "retry": {"backoff": "1s", "max": "3s"}}}});
    hub.kubectl_stdin("apply -f -", &team.to_string()).ok();
    let why = stage.hub.says("role", "NotAdmitted");
    assert!(why.contains("reader does not belong there: it is for the namespaces shop, team"), "{why}");
    let why = eventually("its namespace is not made", LONG, || {
        let status = hub.kubectl("get application team -n team -o json").ok().json()["status"].clone();
        let synced = condition(&status, "Synced");
        (synced["reason"] == "NoNamespace").then(|| synced["message"].as_str().unwrap_or_default().to_owned())
    });
    assert!(why.contains("data.clusterResources to true"), "{why}");
    assert_ne!(west.kubectl("get clusterrole reader").code, 0);
    assert_ne!(west.kubectl("get namespace team").code, 0);
    limit(stage, Some("shop, team"), Some("true"));
    stage.hub.says("role", "Synced");
    west.kubectl("get clusterrole reader").ok();
    eventually("its namespace is made, and it is in it", LONG, || {
        (west.kubectl("get configmap team -n team").code == 0).then_some(())
    });
    limit(stage, None, None);
}

/// The second wave waits for a Pod that nobody runs: the cluster vanishes then.
fn a_cluster_vanishes_in_the_middle_of_a_sync(stage: &Stage, line: &Line, east: &TestCluster) {
    stage.hub.register("east", &line.cluster());
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "slow"},
        "spec": {"containers": [{"name": "slow", "image": "slow"}]}});
    let mut last: Value = serde_json::from_str(&config("last", "arrived")).unwrap();
    last["metadata"]["annotations"] = json!({"argocd.argoproj.io/sync-wave": "1"});
    stage
        .repo
        .commit("waves", &[("waves/pod.yaml", &pod.to_string()), ("waves/last.yaml", &last.to_string())]);
    stage.hub.send("waves", "east", &stage.repo, "waves", &json!({}));
    eventually("the first wave is there", LONG, || {
        (east.kubectl("get pod slow -n shop").code == 0).then_some(())
    });
    line.cut();
    stage.hub.says("waves", "ClusterUnreachable");
    assert_eq!(greeting(east, "last"), "");
    line.mend();
    // The Pod is well: the rest may come.
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": "slow", "image": "slow", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"running": {"startedAt": "2026-11-24T10:00:00Z"}}}]}});
    east.kubectl_args(&[
        "patch",
        "pod",
        "slow",
        "-n",
        "shop",
        "--subresource=status",
        "--type=merge",
        "-p",
        &ready.to_string(),
    ])
    .ok();
    greets(east, "last", "arrived");
    stage.hub.says("waves", "Synced");
}

fn one_that_is_no_longer_registered_is_told(stage: &Stage) {
    stage.hub.cluster().kubectl("delete secret west -n gitops-clusters").ok();
    let why = stage.hub.says("west", "ClusterUnknown");
    assert!(why.contains("kubectl gitops cluster add"), "{why}");
    assert_eq!(stage.is_up("west"), None);
    let synced = condition(&stage.hub.status("home"), "Synced");
    assert_eq!(synced["status"], "True", "{synced}");
}
