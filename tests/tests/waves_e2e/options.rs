//! What a sync is told: options of objects and Applications, what is pruned, a
//! part alone, a dry run.

use std::time::Duration;

use gitops_tests::cluster::eventually;
use gitops_tests::shop::DEPLOYMENT;
use gitops_tests::{Place, cluster};
use serde_json::{Value, json};

use super::{config, hook, object};

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let place = Place::new(&[(
        "app/a.yaml",
        config("web", &json!({"argocd.argoproj.io/sync-options": "Prume=false"})),
    )]);
    let ran = place.gitops("sync").code(4);
    assert!(
        ran.stderr.contains("app/a.yaml:1") && ran.stderr.contains("sync option Prume is unknown"),
        "{}",
        ran.stderr
    );
    let place = Place::with(
        &[("app/a.yaml", config("web", &json!({})))],
        &json!({"sync": {"options": ["Sorcery=true"]}}),
    );
    let ran = place.gitops("sync").code(2);
    assert!(ran.stderr.contains("spec.sync.options: sync option Sorcery is unknown"), "{}", ran.stderr);
}

#[test]
fn fields_that_a_kind_does_not_have_are_let_pass_where_asked() {
    let wrong = |annotations: &Value| object("ConfigMap", "web", annotations, &json!({"dato": {"a": "1"}}));
    let place = Place::new(&[("app/a.yaml", wrong(&json!({})))]);
    let ran = place.gitops("sync").code(3);
    assert!(ran.stdout.contains("dato") && !place.has("configmap web"), "{}", ran.stdout);
    place.commit(&[("app/a.yaml", wrong(&json!({"argocd.argoproj.io/sync-options": "Validate=false"})))]);
    place.gitops("sync").ok();
    assert!(place.has("configmap web"));
}

#[test]
fn what_a_pruned_object_owns_may_stay() {
    let place = Place::with(
        &[
            ("app/a.yaml", config("web", &json!({}))),
            ("app/b.yaml", DEPLOYMENT.replace("replicas: 2", "replicas: 0")),
        ],
        &json!({"sync": {"options": ["PrunePropagationPolicy=orphan"]}}),
    );
    place.gitops("sync --wait --timeout 60s").ok();
    let sets = || place.kubectl("get replicaset -o name").stdout.lines().count();
    assert_eq!(sets(), 1);
    place.repo.remove("no deployment", &["app/b.yaml"]);
    place.gitops("sync --prune").ok();
    eventually("it is gone", Duration::from_secs(30), || (!place.has("deployment web")).then_some(()));
    assert_eq!(sets(), 1);
}

#[test]
fn what_asks_to_be_kept_is_kept_and_budgets_hold() {
    let names = ["a", "b", "c", "d"];
    let mut files: Vec<(String, String)> =
        names.iter().map(|name| (format!("app/{name}.yaml"), config(name, &json!({})))).collect();
    files.push((
        "app/kept.yaml".into(),
        config("kept", &json!({"argocd.argoproj.io/sync-options": "Prune=false"})),
    ));
    files.push(("app/chart.yaml".into(), config("chart", &json!({"helm.sh/resource-policy": "keep"}))));
    let extraneous = json!({"argocd.argoproj.io/compare-options": "IgnoreExtraneous"});
    files.push(("app/extra.yaml".into(), config("extra", &extraneous)));
    files.push((
        "app/asks.yaml".into(),
        config("asks", &json!({"argocd.argoproj.io/sync-options": "Prune=confirm"})),
    ));
    let files: Vec<(&str, String)> = files.iter().map(|(path, text)| (path.as_str(), text.clone())).collect();
    let place = Place::new(&files);
    place.gitops("sync").ok();
    place.repo.remove("extra", &["app/extra.yaml"]);
    place.gitops("diff").ok();
    place.repo.remove("less", &["app/a.yaml", "app/kept.yaml", "app/chart.yaml"]);
    let ran = place.gitops("sync --prune").ok();
    assert!(ran.stdout.contains("Prune=false") && !place.has("configmap a"), "{}", ran.stdout);
    assert!(["kept", "chart", "extra"].iter().all(|name| place.has(&format!("configmap {name}"))));
    place.repo.remove("one that asks", &["app/asks.yaml"]);
    let ran = place.gitops("sync --prune").code(6);
    assert!(ran.stderr.contains("Prune=confirm") && ran.stderr.contains("--confirm-prune"), "{}", ran.stderr);
    place.gitops("sync --prune --confirm-prune").ok();
    place.repo.remove("too many", &["app/b.yaml", "app/c.yaml"]);
    let ran = place.gitops("sync --prune").code(6);
    assert!(
        ran.stderr.contains("2 of 5 objects would be pruned; the budget is 20 and 30%"),
        "{}",
        ran.stderr
    );
    assert!(place.has("configmap b") && place.has("configmap c"));
    place.gitops("sync --prune --confirm-prune").ok();
    assert!(!place.has("configmap b") && place.has("configmap d"));
    place.repo.remove("all", &["app/d.yaml"]);
    place.commit(&[("app/readme.md", String::new())]);
    let ran = place.gitops("sync --prune --confirm-prune").code(6);
    assert!(
        ran.stderr.contains("Git declares nothing") && ran.stderr.contains("--allow-empty"),
        "{}",
        ran.stderr
    );
    assert!(place.has("configmap d"));
    place.gitops("sync --prune --allow-empty").ok();
    assert!(!place.has("configmap d") && place.has("configmap kept"));
}

#[test]
fn a_part_can_be_synced_by_kind_name_and_label() {
    let labelled = |name: &str, label: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"tier": label}}}).to_string()
    };
    let place = Place::new(&[
        ("app/a.yaml", labelled("a", "front")),
        ("app/b.yaml", labelled("b", "back")),
        ("app/s.yaml", object("Secret", "s", &json!({}), &json!({"data": {}}))),
        ("app/h.yaml", config("hook", &hook("PreSync"))),
    ]);
    place.gitops("sync --kind secret").ok();
    assert!(place.has("secret s") && !place.has("configmap a") && !place.has("configmap hook"));
    place.gitops("sync -l tier=back").ok();
    assert!(place.has("configmap b") && !place.has("configmap a"));
    assert!(place.gitops("sync -l tier=(").code(2).stderr.contains("is no label selector"));
    let ran = place.gitops("sync --name a --out-of-sync -o json").ok().json();
    assert_eq!(ran["objects"].as_array().unwrap().len(), 1);
    place.gitops("diff").ok();
}

#[test]
fn a_dry_run_reaches_into_a_namespace_that_is_not_there() {
    let place = Place::new(&[("app/a.yaml", config("web", &json!({})))]);
    let nowhere = format!("{}-new", place.namespace.name);
    let application = json!({"metadata": {"name": "web"}, "spec": {"source": {"path": "app"}, "destination": {"namespace": nowhere}, "sync": {"options": ["CreateNamespace=true"]}}});
    place.describe(&[application]);
    let ran = place.gitops("sync --dry-run=server").ok();
    assert!(ran.stdout.contains("its namespace is not there yet: its fields are right"), "{}", ran.stdout);
    place.commit(&[("app/b.yaml", DEPLOYMENT.replace("replicas: 2", "replicas: -2"))]);
    assert!(place.gitops("sync --dry-run=server").code(3).stdout.contains("spec.replicas"));
    place.commit(&[("app/b.yaml", config("other", &json!({})))]);
    place.gitops("sync").ok();
    cluster().kubectl(&format!("delete namespace {nowhere} --wait=false")).ok();
}
