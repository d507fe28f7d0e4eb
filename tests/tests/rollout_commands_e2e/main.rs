//! `kubectl gitops rollout` on the real API server: what it shows of a Rollout,
//! what it asks for, and what it commits.
#![allow(clippy::unwrap_used, reason = "tests")]

mod from_here;

use std::path::Path;
use std::time::Duration;

use gitops_tests::cluster::{Ran, eventually};
use gitops_tests::{Controller, FakeNode, NodeCluster, Repo, TestCluster};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Rollout `web` of a Deployment whose Pods run on `node`, and the Deployment
/// beside it with the new version.
fn shop(cluster: &TestCluster, node: &FakeNode) {
    cluster.kubectl("create namespace shop").ok();
    let placement = node.placement();
    let deployment = |name: &str, image: &str, replicas: i64| {
        let mut pod =
            json!({"containers": [{"name": "web", "image": image}], "terminationGracePeriodSeconds": 0});
        for (field, value) in placement.as_object().unwrap() {
            pod[field] = value.clone();
        }
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {"metadata": {"labels": {"app": name}}, "spec": pod}}})
    };
    let rollout = |name: &str, target: &str| {
        json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "strategy": {"canary": {"steps": [{"setWeight": 20}, {"pause": {}}, {"setWeight": 50}, {"pause": {"duration": "1h"}}]}}}})
    };
    for object in [
        deployment("web", "web:1", 2),
        deployment("web-canary", "web:2", 1),
        rollout("web", "web"),
        rollout("api-rollout", "api"),
    ] {
        cluster.kubectl_stdin("apply --server-side -f -", &object.to_string()).ok();
    }
    for name in ["web", "web-canary"] {
        cluster.kubectl(&format!("rollout status deployment/{name} -n shop --timeout 60s")).ok();
    }
}

/// Writes where the Rollout stands, as its driver does.
fn stand(cluster: &TestCluster, state: &Value) {
    let status = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "web", "namespace": "shop"},
        "status": {"phase": state["phase"], "state": state}});
    let apply =
        "apply --server-side --force-conflicts --subresource=status --field-manager=gitops-rollout -f -";
    cluster.kubectl_stdin(apply, &status.to_string()).ok();
}

/// At this move, with both versions running.
fn state(phase: &str, at: usize) -> Value {
    let version = |letter: &str| json!({"revision": letter.repeat(40), "hash": letter.repeat(10)});
    json!({"phase": phase, "stable": version("a"), "new": version("b"), "at": at, "entered": 1, "started": 1,
        "replicas": 2, "message": "", "setting": {"target": "Stable", "share": 80, "second": {"Percent": 20}, "updated": 0, "weight": 20}})
}

fn gitops(cluster: &TestCluster, arguments: &str) -> Ran {
    cluster.gitops(Path::new("/"), &format!("rollout {arguments} -n shop"))
}

/// A controller is said to run.
fn controller(cluster: &TestCluster, renewed: &str) {
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "gitops-controller-one", "namespace": "gitops-system"},
        "spec": {"holderIdentity": "one", "leaseDurationSeconds": 3600, "renewTime": renewed}});
    cluster.kubectl_stdin("apply --server-side --force-conflicts -f -", &lease.to_string()).ok();
}

#[test]
fn a_rollout_is_seen_and_decided_about() {
    let node = NodeCluster::control_plane("rollout");
    let cluster = &node.cluster;
    let fake = FakeNode::start(cluster, "rollout-node");
    shop(cluster, &fake);

    // Nobody has looked at it yet.
    let seen = gitops(cluster, "get web").ok().stdout;
    assert!(seen.contains("nobody has looked at it yet"), "{seen}");
    gitops(cluster, "status web --watch=false").code(8);
    mistakes(cluster);

    stand(cluster, &state("Paused", 2));
    seen_as_it_is(cluster);
    asked(cluster);
    restarted(cluster);
    ended(cluster);
    by_the_controller(cluster, &fake);
    uninstalled(cluster);
}

fn uninstalled(cluster: &TestCluster) {
    cluster.kubectl("delete crd rollouts.kubectl-gitops.dev").ok();
    for arguments in ["list", "get web"] {
        let ran = gitops(cluster, arguments).code(3);
        assert!(ran.stderr.contains("their definition is not installed"), "{}", ran.stderr);
    }
}

/// Deployment `web` of two, with this image.
fn web(node: &FakeNode, image: &str) -> String {
    let mut pod = node.placement();
    pod["containers"] = json!([{"name": "web", "image": image}]);
    pod["terminationGracePeriodSeconds"] = json!(0);
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 2,
        "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod}}})
    .to_string()
}

/// A Rollout of it with these steps.
fn rollout(steps: &Value) -> Value {
    json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"}, "spec": {
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "strategy": {"canary": {"steps": steps}}}})
}

/// A real controller carries out what is asked.
fn by_the_controller(cluster: &TestCluster, node: &FakeNode) {
    cluster.kubectl("delete lease gitops-controller-one -n gitops-system").ok();
    cluster.kubectl("create namespace kept").ok();
    let measured = json!({"templates": [{"name": "signals", "args": [{"name": "most", "value": "3"}]}]});
    let steps =
        json!([{"setWeight": 50}, {"pause": {}}, {"analysis": measured}, {"setWeight": 100}, {"pause": {}}]);
    let template = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "signals"}, "spec": {
        "args": [{"name": "most"}],
        "metrics": [{"name": "pods", "interval": "1s", "count": 5, "success": "result.restarts < {{args.most}}", "kubernetes": {"signals": ["Restarts"]}}]}});
    let repo = Repo::with(&[
        ("app/web.yaml", &web(node, "web:1")),
        ("app/rollout.yaml", &rollout(&steps).to_string()),
        ("app/template.yaml", &template.to_string()),
    ]);
    let project = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Project", "metadata": {"name": "kept"}, "spec": {
        "applicationNamespaces": ["kept"], "repositories": [{"url": "file:///**"}], "destinations": [{"namespaces": ["kept"]}]}});
    let application = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": "web", "namespace": "kept"}, "spec": {
        "project": "kept", "source": {"repo": repo.url(), "revision": "main", "path": "app"}, "destination": {"namespace": "kept"}, "sync": {"mode": "Automatic"}}});
    for object in [project, application] {
        cluster.kubectl_stdin("apply -f -", &object.to_string()).ok();
    }
    let cache = TempDir::new().unwrap();
    let controller = Controller::replica(cluster, "real", cache.path());
    let run = |arguments: &str| cluster.gitops(Path::new("/"), &format!("rollout {arguments} -n kept"));
    let stands = |what: &str| {
        eventually(what, Duration::from_secs(120), || run("get web").stdout.contains(what).then_some(()));
    };
    stands("phase:    Idle");
    repo.commit("Second", &[("app/web.yaml", &web(node, "web:2"))]);
    // Whether or not the controller has seen it: it is not promoted.
    run("status web --watch=false").code(8);
    stands("▶  2 pause until promoted");
    let paused = run("pause web --reason INC-12").ok();
    assert!(paused.stdout.contains("paused it: INC-12"), "{}", paused.stdout);
    run("resume web").ok();
    let twice = run("resume web").code(1);
    assert!(twice.stderr.contains("what would change something: promote, pause, abort"), "{}", twice.stderr);
    let local = run("promote web --local").code(6);
    assert!(local.stderr.contains("a controller runs"), "{}", local.stderr);
    run("promote web").ok();
    let picture = eventually("it is measured", Duration::from_secs(60), || {
        let picture = run("get web -o json").ok().json();
        (!picture["measurements"][0]["values"].is_null()).then_some(picture)
    });
    let (metric, stage) = (&picture["measurements"][0], &picture["stages"][2]);
    assert_eq!((&metric["metric"], &metric["outcome"]), (&json!("signals(most=3)/pods"), &json!("Success")));
    assert_eq!((&stage["what"], &stage["mark"]), (&json!("analysis signals(most=3)/pods"), &json!("Now")));
    assert!(
        picture["message"].as_str().unwrap().starts_with("it is measured: signals(most=3)/pods "),
        "{picture}"
    );
    stands("▶  5 pause until promoted");
    let promoted = run("promote web --full --reason tried --wait --timeout 2m").ok();
    assert!(promoted.stdout.contains("Idle"), "{}", promoted.stdout);
    let asked = run("get web -o json").ok().json()["asked"].clone();
    assert_eq!((&asked["verb"], &asked["reason"]), (&json!("promote --full"), &json!("tried")));
    let promoted = run("status web").ok();
    assert!(!promoted.stderr.contains("is not known"), "{}", promoted.stderr);

    let bad = repo.commit("Third", &[("app/web.yaml", &web(node, "web:3"))]);
    stands("▶  2 pause until promoted");
    run("abort web --reason INC-13 --wait --timeout 2m").ok();
    let head = eventually("Git goes back", Duration::from_secs(120), || {
        Some(repo.head()).filter(|head| *head != bad)
    });
    assert!(repo.git(&["show", "-s", "--format=%B", &head]).contains("INC-13"));
    stands("phase:    Idle");
    // Git says the old version again, and the new one is not in.
    let taken = run("status web").code(1);
    assert!(taken.stdout.contains("was aborted: ") && taken.stdout.contains("INC-13"), "{}", taken.stdout);
    let versions = run("history web").ok().stdout;
    // The status has forgotten nothing, though it is at rest again.
    assert!(versions.contains("promoted") && versions.contains("aborted"), "{versions}");
    assert!(versions.contains("INC-13"), "{versions}");
    controller.stop();
}

fn mistakes(cluster: &TestCluster) {
    let wrong = gitops(cluster, "get wep").code(3);
    assert!(wrong.stderr.contains("is web meant?"), "{}", wrong.stderr);
    let target = gitops(cluster, "get api").code(3);
    assert!(target.stderr.contains("api is the target of Rollout api-rollout"), "{}", target.stderr);
    gitops(cluster, "promote").code(2);
    let nobody = cluster.gitops(Path::new("/"), "rollout list -n shop --as=nobody").code(3);
    assert!(nobody.stderr.contains("rollouts") && nobody.stderr.contains("hint: "), "{}", nobody.stderr);
    let idle = gitops(cluster, "promote web").code(1);
    assert!(idle.stderr.contains("there is nothing to promote"), "{}", idle.stderr);
}

fn seen_as_it_is(cluster: &TestCluster) {
    let complete = |words: &str| cluster.gitops(Path::new("/"), &format!("complete -- {words}")).ok().stdout;
    let names = complete("-n shop rollout get we");
    assert!(names.starts_with("web\n"), "{names}");
    let picture = gitops(cluster, "get web -o json").ok().json();
    assert_eq!((&picture["phase"], &picture["step"]), (&json!("Paused"), &json!("2 of 5")), "{picture}");
    assert_eq!(picture["message"], "it waits until someone promotes it");
    assert_eq!(picture["requests"], json!(["promote", "pause", "abort"]));
    let versions = &picture["versions"];
    assert_eq!((&versions[0]["pods"], &versions[1]["pods"]), (&json!(2), &json!(1)), "{picture}");
    assert_eq!((&versions[0]["images"][0], &versions[1]["images"][0]), (&json!("web:1"), &json!("web:2")));
    assert_eq!(versions[1]["ready"], 1, "{picture}");
    assert_eq!(picture["stages"][0]["mark"], "Done");
    let text = gitops(cluster, "get web -o wide").ok().stdout;
    for words in [
        "▶  2 pause until promoted",
        "Deployment web-canary",
        "canary",
        "rollout-node",
        "next:     weight 50 %",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let list = gitops(cluster, "list").ok().stdout;
    assert!(list.contains("shop/web") && list.contains("20 %") && list.contains("3/3"), "{list}");
    let active = gitops(cluster, "list --active -o json").ok().json();
    assert_eq!(active["items"].as_array().unwrap().len(), 1, "{active}");
    assert_eq!(gitops(cluster, "list -o name").ok().stdout, "rollout/api-rollout\nrollout/web\n");
    let all = cluster.gitops(Path::new("/"), "rollout list -A -o jsonl").ok().stdout;
    assert_eq!(all.lines().count(), 2, "{all}");
    let once = gitops(cluster, "status web --watch=false").code(8);
    assert!(once.stdout.contains("Paused, step 2 of 5"), "{}", once.stdout);
}

fn asked(cluster: &TestCluster) {
    controller(cluster, "2026-01-01T00:00:00.000000Z");
    let alone = gitops(cluster, "promote web").code(6);
    assert!(alone.stderr.contains("no controller runs"), "{}", alone.stderr);
    let request = || {
        let live = cluster.kubectl("get rollout web -n shop -o json").ok().json();
        let text = live["metadata"]["annotations"]["kubectl-gitops.dev/request"].as_str()?.to_owned();
        Some(serde_json::from_str::<Value>(&text).unwrap())
    };
    assert!(request().is_none());
    controller(cluster, "2099-01-01T00:00:00.000000Z");
    let answer = |arguments: &str, message: &str, next: Value| {
        let before = request();
        std::thread::scope(|scope| {
            let ran = scope.spawn(|| gitops(cluster, arguments));
            let asked = eventually("it is asked for", Duration::from_secs(30), || {
                request().filter(|now| Some(now) != before.as_ref())
            });
            let mut next = next;
            next["record"] = json!({"id": asked["id"], "verb": asked["verb"], "by": "ada", "reason": asked["reason"].as_str().unwrap_or_default(), "at": 1});
            next["message"] = message.into();
            stand(cluster, &next);
            (ran.join().unwrap(), asked)
        })
    };
    let (ran, asked) = answer("promote web --full --reason INC-12", "", state("Promoting", 3));
    assert!(ran.ok().stdout.contains("promote, now Promoting"));
    assert_eq!((&asked["verb"], &asked["reason"]), (&json!("promote"), &json!("INC-12")));
    assert_eq!(asked["arguments"]["full"], "true");
    let (ran, _) =
        answer("pause web", "pause: there is nothing to do in phase Promoting", state("Promoting", 3));
    let refused = ran.code(1).stderr;
    assert!(refused.contains("there is nothing to do"), "{refused}");
    // Nobody answers.
    let late = gitops(cluster, "abort web --timeout 1s").code(8);
    assert!(late.stderr.contains("has not done it in time"), "{}", late.stderr);
}

fn restarted(cluster: &TestCluster) {
    let restarted = |name: &str| {
        let live = cluster.kubectl(&format!("get deployment {name} -n shop -o json")).ok().json();
        live["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"].clone()
    };
    gitops(cluster, "restart web --dry-run").ok();
    assert_eq!(restarted("web"), Value::Null);
    let done = gitops(cluster, "restart web").ok().stdout;
    assert_eq!(done, "Deployment shop/web restarted\nDeployment shop/web-canary restarted\n");
    assert!(restarted("web").is_string() && restarted("web-canary").is_string());
}

fn ended(cluster: &TestCluster) {
    let mut aborted = state("Aborted", 0);
    aborted["message"] = "errors/rate: 2 of 3 measurements failed, and 0 may".into();
    aborted["aftermath"] = json!({"Done": "0123456789ab"});
    stand(cluster, &aborted);
    let status = gitops(cluster, "status web").code(1);
    assert!(status.stdout.contains("Aborted: errors/rate: 2 of 3"), "{}", status.stdout);
    let picture = gitops(cluster, "get web").ok().stdout;
    assert!(
        picture.contains("kubectl gitops rollout retry web") && picture.contains("0123456789ab"),
        "{picture}"
    );
    // It ends while somebody waits for it.
    stand(cluster, &state("Progressing", 3));
    let waited = std::thread::scope(|scope| {
        let waited = scope.spawn(|| gitops(cluster, "status web --timeout 60s"));
        std::thread::sleep(Duration::from_secs(2));
        let version = json!({"revision": "b".repeat(40), "hash": "b".repeat(10)});
        stand(
            cluster,
            &json!({"phase": "Idle", "stable": version, "message": "the new version is promoted"}),
        );
        waited.join().unwrap()
    });
    let waited = waited.ok().stdout;
    assert!(waited.contains("Progressing") && waited.contains("bbbbbbbbbbbb Idle"), "{waited}");
}
