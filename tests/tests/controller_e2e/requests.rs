//! What the controller asks of the API server: no more than it has to, and
//! nothing twice.

use std::collections::BTreeSet;
use std::time::Duration;

use gitops_tests::shop::CONFIG;
use gitops_tests::{Controller, Shop};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{LONG, change, eventually, greets, kept, says, status};

#[test]
fn a_restart_with_nothing_changed_writes_nothing() {
    let (shop, controller, cache) = kept(json!({"mode": "Automatic"}));
    greets(&shop, "hello");
    says(&shop, "Synced");
    let version = |shop: &Shop| {
        let versions = ["application", "configmap", "deployment"];
        versions.map(|kind| shop.get(kind, "web").unwrap()["metadata"]["resourceVersion"].clone())
    };
    // The webhook's own word comes a moment later.
    let settled = eventually("it is quiet", LONG, || {
        let before = version(&shop);
        std::thread::sleep(Duration::from_secs(3));
        (before == version(&shop)).then_some(before)
    });
    controller.kill();
    let before = writes(&shop).len();
    let controller = Controller::start(shop.cluster, shop.name(), cache.path());
    looked_at(&controller);
    assert_eq!(settled, version(&shop), "{}", controller.log());
    // Not even what changes nothing.
    assert_eq!(writes(&shop)[before..], Vec::<String>::new(), "{}", controller.log());
}

/// The writes to a shop's namespace, but for those of Kubernetes itself, as the
/// API server's audit log has them.
fn writes(shop: &Shop) -> Vec<String> {
    let is_write = |event: &Value| {
        let verb = event["verb"].as_str().unwrap_or_default();
        ["create", "update", "patch", "delete", "deletecollection"].contains(&verb)
    };
    requests(shop).iter().filter(|event| is_write(event)).map(Value::to_string).collect()
}

/// The requests about a shop's namespace, but for those of Kubernetes itself.
fn requests(shop: &Shop) -> Vec<Value> {
    let log = shop.cluster.kubeconfig().parent().unwrap().join("logs/audit.log");
    let text = std::fs::read_to_string(log).unwrap();
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let is_ours = |event: &Value| {
        let user = event["user"]["username"].as_str().unwrap_or_default();
        event["objectRef"]["namespace"] == shop.name() && !user.starts_with("system:")
    };
    events.filter(is_ours).collect()
}

/// With many Applications, this is what their first reconcile takes.
#[test]
fn a_sync_asks_for_no_more_than_it_has_to() {
    let (shop, controller, _cache) = kept(json!({"mode": "Automatic"}));
    let leases = || -> Vec<String> {
        let all = requests(&shop);
        let about = all.iter().filter(|event| event["objectRef"]["resource"] == "leases");
        about.map(|event| event["verb"].as_str().unwrap().to_owned()).collect()
    };
    greets(&shop, "hello");
    says(&shop, "Synced");
    // It is neither read before it is taken nor before it is given back.
    assert_eq!(leases(), ["create", "update"], "{}", controller.log());
    change(&shop, "goodbye");
    greets(&shop, "goodbye");
    eventually("it is given back", LONG, || {
        (leases() == ["create", "update", "update", "update"]).then_some(())
    });
    // As whoever else syncs leaves it: another version.
    shop.kubectl("annotate lease gitops-sync-web by=somebody").ok();
    let before = leases().len();
    change(&shop, "again");
    greets(&shop, "again");
    eventually("it is read", LONG, || leases()[before..].contains(&"get".to_owned()).then_some(()));
    let holder = || shop.get("lease", "gitops-sync-web").map(|lease| lease["spec"]["holderIdentity"].clone());
    eventually("nobody holds it", LONG, || (holder()? == Value::Null).then_some(()));
}

/// In a namespace with a thousand Applications each would list what all others have.
#[test]
fn those_of_one_namespace_share_lists_at_first() {
    const COUNT: usize = 30;
    let config = |at: usize| {
        let name = format!("c{at}");
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        (format!("{name}/config.yaml"), object.to_string())
    };
    let files: Vec<(String, String)> = (0..COUNT).map(config).collect();
    let mut files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (&**path, &**text)).collect();
    files.push(("app/config.yaml", CONFIG));
    let shop = Shop::unheld(&files);
    shop.hold(json!({"sync": {"mode": "Automatic"}}));
    let mut application = shop.get("application", "web").unwrap();
    application["metadata"] = json!({"namespace": shop.name()});
    for at in 0..COUNT {
        let name = format!("c{at}");
        application["metadata"]["name"] = name.as_str().into();
        application["spec"]["source"]["path"] = name.into();
        shop.kubectl_stdin("create -f -", &application.to_string()).ok();
    }
    let cache = TempDir::with_prefix("gitops-controller-").unwrap();
    let controller = Controller::start(shop.cluster, shop.name(), cache.path());
    eventually("all are there", LONG, || {
        (0..COUNT).all(|at| shop.get("configmap", &format!("c{at}")).is_some()).then_some(())
    });
    let is_list = |event: &&Value| {
        event["verb"] == "list"
            && event["objectRef"]["resource"] == "configmaps"
            && event["objectRef"]["name"].is_null()
    };
    let is_sync = |event: &&Value| event["verb"] == "patch" && event["objectRef"]["resource"] == "configmaps";
    let all = requests(&shop);
    let last = all.iter().rposition(|event| is_sync(&event)).unwrap();
    let lists = all[..last].iter().filter(is_list).count();
    assert!(lists < COUNT, "{lists} lists for {COUNT} Applications: {}", controller.log());
}

/// Waits until everything has been looked at once.
fn looked_at(controller: &Controller) {
    let count = || {
        let metrics = controller.get("/metrics")?;
        let line = metrics.lines().find(|line| line.contains("count{phase=\"health\"}"))?.to_owned();
        line.rsplit(' ').next()?.parse::<u64>().ok()
    };
    eventually("it was looked at", LONG, || count().filter(|count| *count > 0));
    std::thread::sleep(Duration::from_secs(2));
}

#[test]
fn of_two_controllers_one_syncs_at_a_time_and_both_agree() {
    let (shop, _first, _cache) = kept(json!({"mode": "Automatic"}));
    greets(&shop, "hello");
    let cache = TempDir::new().unwrap();
    let _second = Controller::start(shop.cluster, shop.name(), cache.path());
    for number in 0..5 {
        let greeting = format!("hello-{number}");
        change(&shop, &greeting);
        greets(&shop, &greeting);
    }
    // Neither takes from the status what the other one has written.
    let history = eventually("each sync is remembered", LONG, || {
        status(&shop)["history"].as_array().filter(|history| history.len() >= 6).cloned()
    });
    let revisions: BTreeSet<&str> = history.iter().filter_map(|entry| entry["revision"].as_str()).collect();
    assert_eq!(history.len(), revisions.len(), "each is synced once: {history:?}");
    let is_done = |event: &&Value| {
        let code = event["responseStatus"]["code"].as_i64().unwrap_or_default();
        event["verb"] == "patch" && event["objectRef"]["resource"] == "configmaps" && code < 300
    };
    let by_kubectl =
        |event: &&Value| event["userAgent"].as_str().is_some_and(|agent| agent.starts_with("kubectl/"));
    let all = requests(&shop);
    let applied = all.iter().filter(is_done).filter(|event| !by_kubectl(event)).count();
    assert_eq!(applied, 6, "nothing is applied twice");
}

#[test]
fn a_hundred_commits_in_a_row_end_with_the_last() {
    let (shop, _controller, _cache) = kept(json!({"mode": "Automatic"}));
    let commits: Vec<String> = (0..100).map(|number| change(&shop, &format!("hello-{number}"))).collect();
    let last = commits.last().unwrap();
    greets(&shop, "hello-99");
    eventually("the status is true", LONG, || {
        (status(&shop)["history"][0]["revision"] == **last).then_some(())
    });
    says(&shop, "Synced");
}
