//! Several sources on a real API server: what the plugin syncs, the webhook
//! holds, by the commits of all of them.
#![allow(clippy::unwrap_used, reason = "tests")]

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
}
