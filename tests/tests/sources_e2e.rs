//! Several sources on a real API server: what the plugin syncs, the webhook
//! holds, by the commits of all of them.
#![allow(clippy::unwrap_used, reason = "tests")]

use gitops_tests::chart_repository::{ChartRepository, helm, package};
use gitops_tests::{Repo, Shop};
use serde_json::json;

#[test]
fn an_application_of_two_repositories_is_held_at_the_commits_of_both() {
    let template =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {color: {{ .Values.color }}}\n";
    let shop = Shop::unheld(&[
        ("chart/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n"),
        ("chart/templates/a.yaml", template),
    ]);
    let values = Repo::with(&[("web.yaml", "color: red\n")]);
    shop.hold(json!({"source": null, "sources": [
        {"repo": shop.repo.url(), "revision": "main", "path": "chart", "helm": {"valueFiles": ["$values/web.yaml"]}},
        {"repo": values.url(), "revision": "main", "ref": "values"},
    ]}));
    shop.sync().ok();
    let revision = |repo: &Repo| format!("{}+{}", shop.repo.head(), repo.head());
    let live = || shop.get("configmap", "web").unwrap();
    let mark = "/metadata/annotations/kubectl-gitops.dev~1revision";
    assert_eq!(live()["data"]["color"], "red");
    assert_eq!(live().pointer(mark).unwrap(), revision(&values).as_str());
    let first = revision(&values);
    let refused = shop.kubectl_args(&["patch", "configmap", "web", "-p", r#"{"data":{"color":"green"}}"#]);
    assert!(refused.stderr.contains("data.color") && refused.stderr.contains("green"), "{}", refused.stderr);
    // A commit of the values alone moves the Application on.
    values.commit("blue", &[("web.yaml", "color: blue\n")]);
    shop.sync().ok();
    assert_eq!(live()["data"]["color"], "blue");
    assert_eq!(live().pointer(mark).unwrap(), revision(&values).as_str());
    // And never back.
    let back = json!({"data": {"color": "red"}, "metadata": {"annotations": {"kubectl-gitops.dev/revision": first}}});
    let refused = shop.kubectl_args(&["patch", "configmap", "web", "-p", &back.to_string()]);
    assert!(refused.stderr.contains("denied the request"), "{}", refused.stderr);
    assert_eq!(live()["data"]["color"], "blue");
    // Nor when the values alone go back, or are of a branch that does not count.
    let newest = revision(&values);
    values.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    let message = shop.wait_for("Rendered", "False");
    assert!(message.contains("went back") && message.contains(&newest), "{message}");
    assert_eq!(shop.get("application", "web").unwrap()["status"]["revision"], newest);
    let refused = shop.kubectl_args(&["patch", "configmap", "web", "-p", r#"{"data":{"color":"red"}}"#]);
    assert!(refused.stderr.contains("denied the request"), "{}", refused.stderr);
    let forward = values.commit("black", &[("web.yaml", "color: black\n")]);
    shop.wait_for("Rendered", "True");
    shop.sync().ok();
    values.git(&["checkout", "--quiet", "-b", "dev"]);
    let dev = values.commit("dev", &[("web.yaml", "color: pink\n")]);
    values.git(&["checkout", "--quiet", "main"]);
    let rules = json!({"spec": {"repositories": [
        {"url": shop.repo.url()}, {"url": values.url(), "branches": ["main"]}]}});
    shop.kubectl_args(&["patch", "project", shop.name(), "--type=merge", "-p", &rules.to_string()]).ok();
    let point = json!([{"op": "replace", "path": "/spec/sources/1/revision", "value": dev}]);
    shop.kubectl_args(&["patch", "application", "web", "--type=json", "-p", &point.to_string()]).ok();
    let message = shop.wait_for("Rendered", "False");
    assert!(message.contains(&dev[..12]) && message.contains("no branch"), "{message}");
    let sync = shop.sync();
    assert!(sync.code == 3 && sync.stderr.contains("no branch"), "{}{}", sync.stdout, sync.stderr);
    assert_eq!(live()["data"]["color"], "black");
    assert!(
        shop.get("application", "web").unwrap()["status"]["revision"].as_str().unwrap().ends_with(&forward)
    );
}

#[test]
fn a_chart_that_a_kustomization_inflates_is_held_where_its_project_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    package(folder.path(), "1.0.0", "red");
    package(folder.path(), "1.1.0", "blue");
    helm(&["repo", "index", "."], folder.path());
    let charts = ChartRepository::new(folder.path(), None);
    let top = |version: &str| {
        format!(
            "helmCharts: [{{name: web, repo: \"{}\", version: {version}, releaseName: web}}]\n",
            charts.url()
        )
    };
    let shop = Shop::unheld(&[("app/kustomization.yaml", &top("1.0.0"))]);
    let source = json!({"repo": shop.repo.url(), "revision": "main", "path": "app", "kustomize": {"enableHelm": true}});
    let rules = json!([{"url": "file:///**"}, {"url": charts.url(), "branches": ["1.0.*"]}]);
    shop.hold_under(json!({"repositories": rules}), json!({"source": source}));
    shop.sync().ok();
    let color = || shop.get("configmap", "web").unwrap()["data"]["key"].clone();
    assert_eq!(color(), "red");
    let refused = shop.kubectl_args(&["patch", "configmap", "web", "-p", r#"{"data":{"key":"green"}}"#]);
    refused.refused(&["data.key", "green"]);
    // A version that does not count is neither written nor held.
    shop.repo.commit("Newer", &[("app/kustomization.yaml", &top("1.1.0"))]);
    let message = shop.wait_for("Rendered", "False");
    assert!(
        message.contains("chart web 1.1.0") && message.contains("none of the versions that count"),
        "{message}"
    );
    let sync = shop.sync().code(3);
    assert!(sync.stderr.contains("chart web 1.1.0") && sync.stderr.contains("hint: "), "{}", sync.stderr);
    let tried = shop.kubectl_args(&["patch", "configmap", "web", "-p", r#"{"data":{"key":"blue"}}"#]);
    tried.refused(&["data.key", "blue"]);
    assert_eq!(color(), "red");
    let rules = json!({"spec": {"repositories": [{"url": "file:///**"}, {"url": charts.url()}]}});
    shop.kubectl_args(&["patch", "project", shop.name(), "--type=merge", "-p", &rules.to_string()]).ok();
    shop.wait_for("Rendered", "True");
    shop.sync().ok();
    assert_eq!(color(), "blue");
}
