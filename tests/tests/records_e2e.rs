//! What the webhook writes when a commit comes: only where that says something
//! new, however many Applications live in its repository.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use gitops_tests::Shop;
use gitops_tests::cluster::eventually;
use gitops_tests::shop::CONFIG;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
const QUIET: usize = 5;

fn config(name: &str, greeting: &str) -> String {
    CONFIG.replace("name: web", &format!("name: {name}")).replace("hello", greeting)
}

fn applications(shop: &Shop) -> BTreeMap<String, Value> {
    let list = shop.kubectl("get applications -o json").ok().json();
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| (item["metadata"]["name"].as_str().unwrap().to_owned(), item.clone())).collect()
}

fn versions(shop: &Shop) -> Vec<(String, Value)> {
    let quiet = applications(shop).into_iter().filter(|(name, _)| name.starts_with("quiet"));
    quiet.map(|(name, one)| (name, one["metadata"]["resourceVersion"].clone())).collect()
}

#[test]
fn a_commit_is_written_only_to_the_applications_that_it_concerns() {
    let names: Vec<String> = (0..QUIET).map(|at| format!("quiet-{at}")).collect();
    let mut files = vec![("app/config.yaml".to_owned(), config("web", "hello"))];
    files.extend(names.iter().map(|name| (format!("{name}/config.yaml"), config(name, "hello"))));
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let shop = Shop::unheld(&files);
    shop.hold(json!({}));
    for name in &names {
        let application = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": name, "namespace": shop.name()}, "spec": {"project": shop.name(),
            "source": {"repo": shop.repo.url(), "revision": "main", "path": name}, "destination": {"namespace": shop.name()}}});
        shop.kubectl_stdin("apply -f -", &application.to_string()).ok();
    }
    let first = shop.repo.head();
    eventually("all are enforced", LIMIT, || {
        let all = applications(&shop);
        all.values().all(|one| one["status"]["revision"] == first).then_some(())
    });
    let before = versions(&shop);
    assert_eq!(before.len(), QUIET);
    // One Application's commits, seen one after the other.
    for greeting in ["good morning", "good evening", "good night"] {
        let commit = shop.repo.commit(greeting, &[("app/config.yaml", &config("web", greeting))]);
        eventually("the commit is in force where it concerns", LIMIT, || {
            (applications(&shop)["web"]["status"]["revision"] == commit).then_some(())
        });
    }
    // The others know it as well: what it claims of them is taken.
    let last = shop.repo.head();
    let mut claims = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"greeting": "hello"},
        "metadata": {"name": "quiet-0", "annotations": {"kubectl-gitops.dev/revision": last,
            "kubectl-gitops.dev/owner": format!("{}/quiet-0", shop.name())}, "labels": {"kubectl-gitops.dev/application": "quiet-0"}}});
    eventually("the commit is in force everywhere", LIMIT, || {
        let tried = shop.kubectl_stdin("create --dry-run=server -f -", &claims.to_string());
        (tried.code == 0).then_some(())
    });
    claims["data"]["greeting"] = json!("evil");
    shop.kubectl_stdin("create --dry-run=server -f -", &claims.to_string())
        .refused(&["does not match the commit it claims"]);
    assert_eq!(versions(&shop), before, "nothing was written to those that say the same");
    assert!(applications(&shop)["quiet-0"]["status"]["revision"] == first);
    // And when it concerns one, that one alone.
    let own = shop.repo.commit("own", &[("quiet-0/config.yaml", &config("quiet-0", "changed"))]);
    eventually("it is named", LIMIT, || {
        (applications(&shop)["quiet-0"]["status"]["revision"] == own).then_some(())
    });
    assert_eq!(versions(&shop)[1..], before[1..]);
}
