//! The controller in front of the real API server, beside the webhook: what is
//! pushed becomes live, what drifts is healed, what a policy says is heard.
#![allow(clippy::unwrap_used, reason = "tests")]

mod adopted;
mod between;
mod requests;
mod stuck;

use std::path::Path;
use std::time::Duration;

use gitops_tests::cluster::eventually;
use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use gitops_tests::{Controller, GitServer, Ran, Shop, Tls};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Patience with a machine that does other things as well.
const LONG: Duration = Duration::from_secs(90);

/// A shop whose Application says this about its sync, and a controller.
fn kept(sync: Value) -> (Shop, Controller, TempDir) {
    let shop = Shop::unheld(&[("app/web.yaml", DEPLOYMENT), ("app/config.yaml", CONFIG)]);
    shop.hold(json!({"sync": sync}));
    let cache = TempDir::with_prefix("gitops-controller-").unwrap();
    let controller = Controller::start(shop.cluster, shop.name(), cache.path());
    (shop, controller, cache)
}

fn status(shop: &Shop) -> Value {
    shop.get("application", "web").map(|application| application["status"].clone()).unwrap_or_default()
}

fn condition(status: &Value, kind: &str) -> Value {
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|known| known["type"] == kind).unwrap_or_default()
}

fn greeting(shop: &Shop) -> Option<String> {
    Some(shop.get("configmap", "web")?["data"]["greeting"].as_str()?.to_owned())
}

fn greets(shop: &Shop, wanted: &str) {
    eventually(&format!("it greets with {wanted}"), LONG, || {
        greeting(shop).filter(|greeting| greeting == wanted)
    });
}

fn change(shop: &Shop, greeting: &str) -> String {
    shop.repo.commit(greeting, &[("app/config.yaml", &CONFIG.replace("hello", greeting))])
}

/// Waits for the reason of condition Synced.
fn says(shop: &Shop, reason: &str) -> Value {
    eventually(&format!("Synced says {reason}"), LONG, || {
        let status = status(shop);
        (condition(&status, "Synced")["reason"] == reason).then_some(status)
    })
}

#[test]
fn what_is_pushed_becomes_live_and_the_status_is_true() {
    let (shop, controller, _cache) = kept(json!({"mode": "Automatic"}));
    greets(&shop, "hello");
    let commit = change(&shop, "goodbye");
    greets(&shop, "goodbye");
    let status = eventually("the status is true", LONG, || {
        let status = status(&shop);
        (status["sync"] == "Synced" && status["history"][0]["revision"] == *commit).then_some(status)
    });
    assert_eq!(status["operation"]["phase"], "Succeeded", "{status}");
    assert_eq!(status["history"][0]["message"], "1 updated", "{status}");
    assert_eq!(status["history"].as_array().unwrap().len(), 2, "{status}");
    assert_eq!(status["objects"]["outOfSync"], 0, "{status}");
    // No node runs the pods of this cluster.
    assert_eq!(status["health"], "Progressing", "{status}");
    eventually("each commit has its Event", LONG, || {
        let told = |part: &str| events(&shop, "Synced").iter().any(|event| says_so(event, part));
        (told("2 created") && told(&commit[..12])).then_some(())
    });
    assert_eq!(condition(&status, "Enforced")["status"], "True", "what the webhook says stays: {status}");
    let printed = shop.kubectl("get application web").ok().stdout;
    let rows: Vec<Vec<&str>> = printed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "SYNC", "HEALTH", "ENFORCED", "AGE"]);
    assert_eq!(rows[1][..4], ["web", "Synced", "Progressing", "True"]);
    let metrics = controller.get("/metrics").unwrap();
    for name in [
        "gitops_sync_duration_seconds_bucket{",
        "gitops_queue_depth",
        "gitops_syncs_total{result=\"ok\"}",
        "method=\"PATCH\",code=\"200\"} ",
        "gitops_renders_total{cache=\"miss\"} ",
    ] {
        assert!(metrics.contains(name), "{name}: {metrics}");
    }
}

fn events(shop: &Shop, reason: &str) -> Vec<Value> {
    let all = shop.kubectl("get events.events.k8s.io -o json").ok().json()["items"].take();
    let all = all.as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|event| event["reason"] == reason).collect()
}

fn says_so(event: &Value, part: &str) -> bool {
    event["note"].as_str().is_some_and(|note| note.contains(part))
}

/// A shop whose repository is on a server, perhaps behind a login.
fn served(login: Option<(&str, &str)>) -> (Shop, TempDir, GitServer) {
    let shop = Shop::unheld(&[("app/web.yaml", DEPLOYMENT), ("app/config.yaml", CONFIG)]);
    let bare = TempDir::new().unwrap();
    shop.repo.git(&["clone", "--quiet", "--bare", ".", &bare.path().join("shop.git").display().to_string()]);
    let server = GitServer::start(bare.path(), "127.0.0.1:0", login).unwrap();
    (shop, bare, server)
}

#[test]
fn a_git_server_that_comes_back_is_followed() {
    let (shop, bare, server) = served(None);
    let (url, address) = (server.url("shop.git"), server.address().to_string());
    shop.hold(
        json!({"source": {"repo": url, "revision": "main", "path": "app"}, "sync": {"mode": "Automatic"}}),
    );
    let cache = TempDir::new().unwrap();
    let _controller = Controller::start(shop.cluster, shop.name(), cache.path());
    greets(&shop, "hello");
    drop(server);
    let message = eventually("the status says so", LONG, || {
        let synced = condition(&status(&shop), "Synced");
        (synced["status"] == "Unknown").then(|| synced["message"].as_str().unwrap().to_owned())
    });
    assert!(message.contains(&address), "{message}");
    assert_eq!(status(&shop)["sync"], "Unknown");
    change(&shop, "back");
    shop.repo.git(&["push", "--quiet", &bare.path().join("shop.git").display().to_string(), "main"]);
    let _server = GitServer::start(bare.path(), &address, None).unwrap();
    greets(&shop, "back");
    says(&shop, "Synced");
}

/// Webhook and controller both take the authority from the Secret.
#[test]
fn a_git_server_of_an_own_authority_is_known_by_the_secret() {
    let (shop, _bare, server) = served(Some(("ada", "hunter2")));
    let tls = Tls::before(server.address());
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "git", "namespace": shop.name()},
        "stringData": {"username": "ada", "password": "hunter2", "caBundle": tls.authority}});
    shop.cluster.kubectl_stdin("apply -f -", &secret.to_string()).ok();
    shop.hold_under(
        json!({"repositories": [{"url": "https://127.0.0.2*/**"}]}),
        json!({"source": {"repo": tls.url("shop.git"), "revision": "main", "path": "app", "secretRef": {"name": "git"}},
            "sync": {"mode": "Automatic"}}),
    );
    let cache = TempDir::new().unwrap();
    let _controller = Controller::start(shop.cluster, shop.name(), cache.path());
    greets(&shop, "hello");
    says(&shop, "Synced");
}

/// Takes the cluster away from what Git says.
fn drift(shop: &Shop) -> Ran {
    let drifted = json!({"data": {"greeting": "drifted"}}).to_string();
    shop.kubectl_args(&["patch", "configmap", "web", "--type=merge", "-p", &drifted])
}

/// The same from when the webhook no longer holds the cluster.
fn drift_is_let(shop: &Shop) {
    shop.hold_off();
    eventually("the webhook lets drift arise", LONG, || (drift(shop).code == 0).then_some(()));
}

#[test]
fn drift_that_arose_without_the_webhook_is_healed() {
    let (shop, controller, _cache) = kept(json!({"mode": "Automatic"}));
    greets(&shop, "hello");
    says(&shop, "Synced");
    drift_is_let(&shop);
    greets(&shop, "hello");
    shop.kubectl("delete configmap web").ok();
    greets(&shop, "hello");
    let counted = |found: u32, healed: u32| {
        eventually(&format!("{found} drifts are found and {healed} healed"), LONG, || {
            let metrics = controller.get("/metrics")?;
            let has = |action: &str, count: u32| {
                metrics.contains(&format!("gitops_drift_total{{action=\"{action}\"}} {count}\n"))
            };
            (has("found", found) && has("healed", healed)).then_some(())
        });
    };
    counted(2, 2);

    // A commit that says nothing to the Application makes no news of drift.
    shop.change(&json!({"sync": {"selfHeal": false}}));
    let other = CONFIG.replace("hello", "other");
    let tip = shop.repo.commit("beside", &[("README.md", "beside"), ("other/config.yaml", &other)]);
    says(&shop, "Synced");
    drift(&shop).ok();
    says(&shop, "Drift");
    counted(3, 2);
    assert_eq!(greeting(&shop).unwrap(), "drifted");
    assert_ne!(status(&shop)["history"][0]["revision"], *tip);
    // A commit that does is applied, and drift goes with it.
    change(&shop, "goodbye");
    greets(&shop, "goodbye");
    says(&shop, "Synced");
    // So is a spec that renders something else.
    drift(&shop).ok();
    says(&shop, "Drift");
    shop.change(&json!({"source": {"path": "other"}}));
    greets(&shop, "other");
}

#[test]
fn a_policy_is_heard() {
    let (shop, _controller, _cache) = kept(json!({"mode": "Manual"}));
    let status = says(&shop, "Manual");
    assert_eq!((&status["sync"], &status["health"]), (&json!("OutOfSync"), &json!("Missing")), "{status}");
    assert_eq!(greeting(&shop), None);
    // Deny all day, every day.
    let sync = json!({"mode": "Automatic", "windows": [{"kind": "Deny", "schedule": "0 0 * * *", "duration": "24h"}]});
    shop.change(&json!({"sync": sync}));
    says(&shop, "Window");
    // Who looks with the plugin is told as well, and when it goes on.
    let asked = |arguments: &str| {
        let arguments = format!("{arguments} web -n {}", shop.name());
        let told = shop.cluster.gitops(Path::new("/"), &arguments).stdout;
        told.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let told = asked("status -o json");
    let status: Value = serde_json::from_str(&told).unwrap();
    let why = status["controller"].as_str().unwrap();
    assert!(why.contains("2 objects differ from Git: its windows allow no automatic sync"), "{why}");
    assert!(asked("list -o json").contains("its windows allow no automatic sync"));
    shop.change(&json!({"sync": {"mode": "Automatic", "windows": null}, "suspend": true}));
    says(&shop, "Suspended");
    assert_eq!(greeting(&shop), None);
    assert!(
        asked("status").contains("OutOfSync: 2 objects differ from Git: spec.suspend is true"),
        "{}",
        asked("status")
    );
    shop.change(&json!({"suspend": false}));
    greets(&shop, "hello");
}

#[test]
fn a_prune_over_its_budget_waits_for_a_person() {
    let sync = json!({"mode": "Automatic", "prune": true, "pruneBudget": {"count": 0, "percent": 30}});
    let (shop, _controller, _cache) = kept(sync);
    greets(&shop, "hello");
    shop.repo.remove("no config", &["app/config.yaml"]);
    let status = says(&shop, "OutOfSync");
    let message = condition(&status, "Synced")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("the budget is 0 and 30%") && message.contains("--confirm-prune"), "{message}");
    assert!(greeting(&shop).is_some());
    shop.change(&json!({"sync": {"pruneBudget": {"count": 5}}}));
    eventually("it is pruned", LONG, || greeting(&shop).is_none().then_some(()));
}

#[test]
fn a_service_account_cannot_be_exceeded() {
    let shop = Shop::unheld(&[("app/config.yaml", CONFIG)]);
    shop.kubectl("create serviceaccount deployer").ok();
    shop.hold(json!({"serviceAccountName": "deployer", "sync": {"mode": "Automatic", "retry": {"limit": 100, "backoff": "1s", "max": "2s"}}}));
    let cache = TempDir::new().unwrap();
    let _controller = Controller::start(shop.cluster, shop.name(), cache.path());
    let failed = says(&shop, "Failed");
    let message = failed["operation"]["message"].as_str().unwrap();
    assert!(message.contains("forbidden") && message.contains("deployer"), "{message}");
    assert_eq!(greeting(&shop), None);
    eventually("what fails in the same way is one Event, and counted", LONG, || {
        let events = events(&shop, "SyncFailed");
        let count = |event: &Value| event["series"]["count"].as_i64().unwrap_or(1);
        assert!(events.len() < 3, "{events:?}");
        events.iter().any(|event| count(event) > 2).then_some(())
    });
    shop.kubectl("create role deployer --verb=get,list,create,patch,update --resource=configmaps").ok();
    shop.kubectl(&format!(
        "create rolebinding deployer --role=deployer --serviceaccount={}:deployer",
        shop.name()
    ))
    .ok();
    shop.cluster
        .kubectl(&format!(
            "create clusterrolebinding {} --clusterrole=view --serviceaccount={}:deployer",
            shop.name(),
            shop.name()
        ))
        .ok();
    // Its errors stay until there is something else to say.
    assert_eq!(failed["operation"]["phase"], "Failed", "{failed}");
    greets(&shop, "hello");
    eventually("the error is superseded", LONG, || {
        (status(&shop)["operation"]["phase"] == "Succeeded").then_some(())
    });
    shop.cluster.kubectl(&format!("delete clusterrolebinding {}", shop.name())).ok();
}

#[test]
fn what_a_person_asks_is_carried_out_once() {
    let (shop, _controller, _cache) = kept(json!({"mode": "Manual"}));
    says(&shop, "Manual");
    let ask = |request: Value| {
        let annotation = format!("kubectl-gitops.dev/request={request}");
        shop.kubectl_args(&["annotate", "--overwrite", "application", "web", &annotation])
    };
    let asked = ask(json!({"id": "r1", "verb": "sync", "reason": "first"}));
    let operation = eventually("the request is answered", LONG, || {
        let operation = status(&shop)["operation"].clone();
        (asked.code != 0 || operation["id"] == "r1" && operation["phase"] != "Running").then_some(operation)
    });
    asked.ok();
    // Whether the webhook says who asks, or that is not so: never unanswered.
    let stamped =
        shop.get("application", "web").unwrap()["metadata"]["annotations"]["kubectl-gitops.dev/requested-by"]
            .is_string();
    if !stamped {
        assert_eq!(operation["message"], "the webhook has not said who asks");
        assert_eq!(greeting(&shop), None);
        return;
    }
    assert_eq!(operation["phase"], "Succeeded", "{operation}");
    greets(&shop, "hello");
    change(&shop, "later");
    says(&shop, "Manual");
    assert_eq!(greeting(&shop).unwrap(), "hello");
}

#[test]
fn deleting_takes_along_what_the_finalizer_asks_for() {
    let (shop, _controller, _cache) = kept(json!({"mode": "Automatic"}));
    greets(&shop, "hello");
    says(&shop, "Synced");
    let finalizers = json!({"metadata": {"finalizers": ["kubectl-gitops.dev/prune"]}}).to_string();
    shop.kubectl_args(&["patch", "application", "web", "--type=merge", "-p", &finalizers]).ok();
    shop.kubectl("delete application web --wait=false").ok();
    eventually("the Application is gone", LONG, || shop.get("application", "web").is_none().then_some(()));
    assert_eq!((greeting(&shop), shop.get("deployment", "web")), (None, None));
}
