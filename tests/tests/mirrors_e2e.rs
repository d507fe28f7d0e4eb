//! A hub and another cluster that runs its own webhook: what goes there is
//! mirrored, held by that webhook to the same Git, judged by that cluster's own
//! Projects, and goes when the hub no longer declares it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use gitops_tests::cluster::eventually;
use gitops_tests::controller::{account, installed};
use gitops_tests::hub::{condition, config, contexts, far, greeting, greets, project};
use gitops_tests::{Controller, Hub, Replica, Repo, TestCluster, Webhook};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Patience with a machine that does other things as well.
const LONG: Duration = Duration::from_secs(120);

fn patch(cluster: &TestCluster, what: &str, patch: &Value) -> gitops_tests::Ran {
    let patch = patch.to_string();
    let mut all = vec!["patch", "-n", "shop", "--type=merge", "-p", &patch];
    all.extend(what.split_whitespace());
    cluster.kubectl_args(&all)
}

fn mirror(cluster: &TestCluster, name: &str) -> Option<Value> {
    let ran = cluster.kubectl(&format!("get application {name} -n shop -o json"));
    (ran.code == 0).then(|| ran.json())
}

struct Stage<'a> {
    hub: &'a Hub,
    east: &'a TestCluster,
    /// Contexts of both; the hub is the current one.
    user: TestCluster,
    repo: Repo,
}

#[test]
fn what_goes_to_another_cluster_is_held_by_its_own_webhook() {
    let (hub, east) = (Hub::up(), far("east"));
    let folder = TempDir::new().unwrap();
    let user = contexts(&[("hub", hub.cluster()), ("east", &east.cluster)], &folder.path().join("contexts"));
    let repo = Repo::with(&[
        ("web/config.yaml", &config("web", "hello")),
        ("home/config.yaml", &config("home", "hello")),
    ]);
    let _webhook = Webhook::start(&east.cluster, &folder.path().join("webhook"), &Replica::default());
    let _own = Webhook::start(hub.cluster(), &folder.path().join("own-webhook"), &Replica::default());
    // As the chart installs it: with no more rights than that gives.
    installed(hub.cluster(), "gitops-system", "shop");
    let chart = account(hub.cluster(), "gitops-system", folder.path());
    let controller = Controller::replica(&chart, "one", &folder.path().join("hub"));
    // It leaves what the hub has mirrored alone.
    let other = Controller::replica(&east.cluster, "two", &folder.path().join("east"));
    let stage = Stage { hub: &hub, east: &east.cluster, user, repo };

    registered_by_the_plugin(&stage);
    hub.send("web", "east", &stage.repo, "web", &json!({}));
    hub.send("home", "in-cluster", &stage.repo, "home", &json!({}));
    greets(&east.cluster, "web", "hello");
    greets(hub.cluster(), "home", "hello");
    mirrored_and_enforced(&stage);
    put_right(&stage);
    left_to_a_hub_that_takes_it_back(&stage, folder.path());
    seen_from_the_plugin(&stage);
    a_thief_of_the_hubs_token_is_held(&stage, folder.path());
    judged_by_its_own_project(&stage);
    its_hooks_run_while_it_goes(&stage);
    gone_with_its_application(&stage, controller, &chart, folder.path());
    assert!(!other.log().contains("\"synced\""), "the hub alone syncs: {}", other.log());
    removed_by_the_plugin(&stage);
}

fn registered_by_the_plugin(stage: &Stage<'_>) {
    let gitops = |arguments: &str| stage.user.gitops(Path::new("/"), arguments);
    let itself = gitops("cluster add hub --name home --namespaces shop").code(2);
    assert!(itself.stderr.contains("leads to the hub itself"), "{}", itself.stderr);
    let nowhere = gitops("cluster add east").code(2);
    assert!(nowhere.stderr.contains("--namespaces"), "{}", nowhere.stderr);
    let printed = gitops("cluster add east --namespaces shop --print").ok().stdout;
    assert!(printed.contains("kind: ServiceAccount") && !printed.contains("cluster-admin"), "{printed}");
    let added = gitops("cluster add east --namespaces shop -o json").ok().json();
    assert_eq!(
        (&added["name"], &added["secret"]["name"], &added["namespaces"][0]),
        (&json!("east"), &json!("cluster-east"), &json!("shop")),
        "{added}"
    );
    let list = gitops("cluster list -o json").ok().json();
    let names: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["in-cluster", "east"], "{list}");
    assert_eq!(
        (&list["items"][1]["reachable"], &list["items"][1]["credentials"]),
        (&json!(true), &json!("token")),
        "{list}"
    );
    // The account can do what it was given, and no more.
    let may = |what: &str| {
        let ran = stage
            .east
            .kubectl(&format!("auth can-i {what} --as=system:serviceaccount:gitops-system:gitops-hub"));
        ran.code == 0
    };
    assert!(may("patch deployments.apps -n shop") && may("manage applications.kubectl-gitops.dev -n shop"));
    assert!(may("list pods -A"));
    for what in [
        "get secrets -n kube-system",
        "patch deployments.apps -n default",
        "manage projects.kubectl-gitops.dev",
        "create clusterrolebindings",
    ] {
        assert!(!may(what), "{what}");
    }
}

fn mirrored_and_enforced(stage: &Stage<'_>) {
    let live = mirror(stage.east, "web").unwrap();
    assert_eq!(live["spec"]["destination"]["cluster"], "in-cluster", "{live}");
    assert_eq!(live["metadata"]["labels"]["kubectl-gitops.dev/hub"], "hub", "{live}");
    assert!(mirror(stage.east, "home").is_none(), "it is not meant for it");
    // What the webhook there says is told here.
    let enforced = eventually("the hub knows that it is enforced there", LONG, || {
        let enforced = condition(&stage.hub.status("web"), "Enforced");
        (enforced["status"] == "True").then_some(enforced)
    });
    assert_eq!(enforced["reason"], "Elsewhere", "{enforced}");
    assert!(enforced["message"].as_str().unwrap().starts_with("cluster east: commit "), "{enforced}");
    stage.hub.says("web", "Synced");
    let drift = json!({"data": {"greeting": "drifted"}});
    eventually("east's webhook refuses drift", LONG, || {
        let tried = patch(stage.east, "configmap web", &drift);
        (tried.code != 0).then(|| assert!(tried.stderr.contains("denied the request"), "{}", tried.stderr))
    });
    // What Git says gets through, from the hub.
    stage.repo.commit("next", &[("web/config.yaml", &config("web", "next"))]);
    greets(stage.east, "web", "next");
}

fn put_right(stage: &Stage<'_>) {
    // An administrator has the verb; an editor has not.
    stage.east.kubectl("create rolebinding editor --clusterrole=edit --user=bob -n shop").ok();
    let change = json!({"spec": {"enforcement": {"mode": "Off"}}}).to_string();
    let edit = ["patch", "application", "web", "-n", "shop", "--type=merge", "-p", &change];
    let bob: Vec<&str> = edit.into_iter().chain(["--as=bob"]).collect();
    assert_ne!(stage.east.kubectl_args(&bob).code, 0);
    stage.east.kubectl_args(&edit).ok();
    eventually("the mirror is put right", LONG, || {
        let live = mirror(stage.east, "web")?;
        (live["spec"]["enforcement"]["mode"] == "Enforce").then_some(())
    });
    stage.east.kubectl("delete application web -n shop").ok();
    eventually("the mirror is there again", LONG, || mirror(stage.east, "web").map(drop));
}

/// Another hub of the same name, with a controller of its own.
fn left_to_a_hub_that_takes_it_back(stage: &Stage<'_>, folder: &Path) {
    let uid = || {
        mirror(stage.east, "web")
            .map(|live| live["metadata"]["annotations"]["kubectl-gitops.dev/hub-uid"].clone())
    };
    let own = uid().unwrap();
    let rival = Hub::beside("rival");
    rival.register("east", stage.east);
    rival.send("web", "east", &stage.repo, "web", &json!({}));
    let controller = Controller::replica(rival.cluster(), "rival", &folder.join("rival"));
    let why = rival.says("web", "NotMirrored");
    assert!(
        why.contains("another hub that is called hub") && why.contains("controller.clusters.hub"),
        "{why}"
    );
    eventually("an Event says so", LONG, || {
        let events =
            rival.cluster().kubectl("get events -n shop --field-selector=reason=NotMirrored -o json");
        (!events.ok().json()["items"].as_array()?.is_empty()).then_some(())
    });
    // It has taken it over once, as from a hub that is gone, and lost it again.
    assert!(controller.log().contains("\"mirrored\""), "{}", controller.log());
    eventually("it is this hub's", LONG, || (uid()? == own).then_some(()));
    stage.hub.says("web", "Synced");
    stage.repo.commit("with a rival", &[("web/config.yaml", &config("web", "with a rival"))]);
    greets(stage.east, "web", "with a rival");
    assert_eq!(uid().unwrap(), own, "the rival leaves it alone");
    rival.says("web", "NotMirrored");
    // With another name, it meets an Application that is not its own.
    controller.stop();
    let flags = ["--replica", "rival", "--hub", "rival"];
    let _controller = Controller::with(rival.cluster(), &flags, &folder.join("rival"));
    eventually("whose it is", LONG, || rival.says("web", "NotMirrored").contains("hub hub's").then_some(()));
}

fn seen_from_the_plugin(stage: &Stage<'_>) {
    let gitops = |arguments: &str| stage.user.gitops(Path::new("/"), arguments);
    stage.hub.says("web", "Synced");
    gitops("diff web -n shop").ok();
    let status = gitops("status web -n shop -o json").ok().json();
    assert_eq!(status["counts"]["unchanged"], 1, "{status}");
    let list = gitops("list -n shop").ok().stdout;
    assert!(list.contains("shop/web"), "{list}");
    let checked = gitops("cluster check east");
    assert!(checked.stdout.contains("shop/web is taken there"), "{}{}", checked.stdout, checked.stderr);
    assert!(!checked.stdout.contains("FAIL the hub may"), "{}", checked.stdout);
    // By the controller of the hub, which is asked.
    let synced = gitops("sync web -n shop").ok();
    assert!(synced.stdout.contains("by the controller"), "{}{}", synced.stdout, synced.stderr);
}

/// What the hub's account in east may write, east's webhook judges.
fn a_thief_of_the_hubs_token_is_held(stage: &Stage<'_>, folder: &Path) {
    let token = stage.east.kubectl("create token gitops-hub -n gitops-system").ok().stdout;
    let mut config = stage.east.kubectl("config view --raw --minify --flatten -o json").ok().json();
    config["users"][0]["user"] = json!({"token": token.trim()});
    let file = folder.join("thief");
    std::fs::write(&file, config.to_string()).unwrap();
    let thief = TestCluster::at(file);
    patch(&thief, "configmap web", &json!({"data": {"greeting": "evil"}})).refused(&["ConfigMap shop/web"]);
    thief.kubectl("delete configmap web -n shop").refused(&["ConfigMap shop/web"]);
    let project = json!({"spec": {"repositories": [{"url": "https://evil.example/**"}]}});
    assert_ne!(patch(&thief, "project shop", &project).code, 0, "what counts there, it does not say");
    let elsewhere = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application",
        "metadata": {"name": "evil", "namespace": "shop"},
        "spec": {"project": "shop", "source": {"repo": "https://evil.example/x"}}});
    thief.kubectl_stdin("create -f -", &elsewhere.to_string()).ok();
    let refused = eventually("its Project does not take it", LONG, || {
        let live = mirror(stage.east, "evil")?;
        let rendered = condition(&live["status"], "Rendered");
        (rendered["status"] == "False").then_some(rendered)
    });
    assert!(refused["message"].as_str().unwrap().contains("does not take repository"), "{refused}");
    stage.east.kubectl("delete application evil -n shop").ok();
}

fn judged_by_its_own_project(stage: &Stage<'_>) {
    project(stage.east, &json!({"repositories": [{"url": "https://git.example/**"}]}));
    stage.repo.commit("refused", &[("web/config.yaml", &config("web", "refused"))]);
    let why = stage.hub.says("web", "NotAdmitted");
    assert!(why.starts_with("cluster east: Project shop does not take repository"), "{why}");
    assert_ne!(greeting(stage.east, "web"), "refused");
    project(stage.east, &json!({}));
    greets(stage.east, "web", "refused");
}

/// As long as hooks run, the mirror is there, and says that it is going.
fn its_hooks_run_while_it_goes(stage: &Stage<'_>) {
    let hook = |name: &str, phase: &str| {
        let mut hook: Value = serde_json::from_str(&config(name, "ran")).unwrap();
        hook["metadata"]["annotations"] = json!({"argocd.argoproj.io/hook": phase});
        hook.to_string()
    };
    // Nobody runs its Pod here: it goes on until it is given up.
    let job = json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "check", "annotations": {"argocd.argoproj.io/hook": "PreDelete"}},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "check", "image": "check"}]}}}});
    stage.repo.commit(
        "hooks",
        &[
            ("leaving/config.yaml", &config("leaving", "hello")),
            ("leaving/pre.yaml", &hook("pre", "PreDelete")),
            ("leaving/post.yaml", &hook("post", "PostDelete")),
            ("staying/config.yaml", &config("staying", "hello")),
            ("staying/check.yaml", &job.to_string()),
        ],
    );
    let finalizer = json!({"metadata": {"finalizers": ["kubectl-gitops.dev/prune"]}});
    for name in ["leaving", "staying"] {
        stage.hub.send(name, "east", &stage.repo, name, &json!({}));
        stage.hub.says(name, "Synced");
        patch(stage.hub.cluster(), &format!("application {name}"), &finalizer).ok();
        let held = json!({"data": {"greeting": "drifted"}});
        eventually("east's webhook holds it", LONG, || {
            (patch(stage.east, &format!("configmap {name}"), &held).code != 0).then_some(())
        });
        stage.hub.says(name, "Synced");
    }
    let delete = |name: &str| {
        stage.hub.cluster().kubectl(&format!("delete application {name} -n shop --wait=false")).ok();
    };
    delete("leaving");
    eventually("it is gone", LONG, || {
        (stage.hub.cluster().kubectl("get application leaving -n shop").code != 0).then_some(())
    });
    let there = |name: &str| greeting(stage.east, name);
    assert_eq!([there("pre"), there("post"), there("leaving")], ["ran", "ran", ""]);
    assert!(mirror(stage.east, "leaving").is_none());
    delete("staying");
    eventually("its hook runs", LONG, || {
        (stage.east.kubectl("get job check -n shop").code == 0).then_some(())
    });
    let going = mirror(stage.east, "staying").unwrap();
    assert!(going["metadata"]["deletionTimestamp"].is_string(), "{going}");
    assert_eq!(there("staying"), "hello");
    // Nobody waits any more: the mirror goes, and what is left stays.
    patch(stage.hub.cluster(), "application staying", &json!({"metadata": {"finalizers": null}})).ok();
    eventually("the mirror goes", LONG, || mirror(stage.east, "staying").is_none().then_some(()));
    assert_eq!(there("staying"), "hello");
}

fn gone_with_its_application(stage: &Stage<'_>, controller: Controller, chart: &TestCluster, folder: &Path) {
    // Without a finalizer, what it had stays.
    stage.hub.cluster().kubectl("delete application web -n shop").ok();
    eventually("the mirror goes", LONG, || mirror(stage.east, "web").is_none().then_some(()));
    assert_eq!(greeting(stage.east, "web"), "refused");
    // With it, everything goes.
    stage.hub.send("web", "east", &stage.repo, "web", &json!({}));
    stage.hub.says("web", "Synced");
    let finalizer = json!({"metadata": {"finalizers": ["kubectl-gitops.dev/prune"]}});
    patch(stage.hub.cluster(), "application web", &finalizer).ok();
    stage.hub.cluster().kubectl("delete application web -n shop --timeout=120s").ok();
    assert_eq!(greeting(stage.east, "web"), "");
    assert!(mirror(stage.east, "web").is_none());
    // One that goes while the controller is away, and one of a hub that is gone.
    stage.hub.send("web", "east", &stage.repo, "web", &json!({}));
    stage.hub.says("web", "Synced");
    let mut older = mirror(stage.east, "web").unwrap();
    controller.stop();
    stage.hub.cluster().kubectl("delete application web -n shop").ok();
    older["metadata"] = json!({"name": "older", "namespace": "shop", "labels": older["metadata"]["labels"],
        "annotations": {"kubectl-gitops.dev/hub-uid": "a hub that is gone"}});
    stage.east.kubectl_stdin("create -f -", &older.to_string()).ok();
    let _controller = Controller::replica(chart, "one", &folder.join("hub"));
    eventually("the mirror goes", LONG, || mirror(stage.east, "web").is_none().then_some(()));
    assert!(mirror(stage.east, "older").is_some(), "a new hub may declare it again");
}

fn removed_by_the_plugin(stage: &Stage<'_>) {
    let gitops = |arguments: &str| stage.user.gitops(Path::new("/"), arguments);
    stage.hub.send("last", "east", &stage.repo, "web", &json!({}));
    let refused = gitops("cluster remove east").code(6);
    assert!(refused.stderr.contains("shop/last"), "{}", refused.stderr);
    stage.hub.cluster().kubectl("delete application last -n shop").ok();
    let removed = gitops("cluster remove east -o json").ok().stdout;
    let removed: Value = serde_json::from_str(&removed).unwrap();
    assert_eq!((&removed["kind"], &removed["cluster"]), (&json!("ClusterRemoval"), &json!("east")));
    let took = |kind: &str, namespace: &str, name: &str| {
        let is_it = |object: &Value| {
            object["kind"] == kind && object["namespace"] == namespace && object["name"] == name
        };
        removed["taken"].as_array().unwrap().iter().any(is_it)
    };
    assert!(took("ServiceAccount", "gitops-system", "gitops-hub"), "{removed}");
    assert!(took("Application", "shop", "older"), "{removed}");
    let left = stage.east.kubectl("get clusterroles,clusterrolebindings,rolebindings,serviceaccounts,secrets -A -l kubectl-gitops.dev/hub-access -o name");
    assert_eq!(left.ok().stdout, "");
    let gone = gitops("cluster check east").code(2);
    assert!(gone.stderr.contains("no cluster \"east\" is registered"), "{}", gone.stderr);
}
