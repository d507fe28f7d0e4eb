//! Applications that an Application declares: they change through Git alone, and
//! stay in their parent's Project.

use std::time::Duration;

use gitops_tests::Shop;
use gitops_tests::cluster::eventually;
use gitops_tests::shop::CONFIG;
use serde_json::json;

use super::API;

/// A child Application, as a file.
fn child(shop: &Shop, project: &str) -> String {
    json!({"apiVersion": API, "kind": "Application", "metadata": {"name": "child", "namespace": shop.name()}, "spec": {
        "project": project, "source": {"repo": shop.repo.url(), "revision": "main", "path": "child"}, "destination": {"namespace": shop.name()}}})
    .to_string()
}

#[test]
fn a_declared_application_changes_through_git_alone() {
    let shop = Shop::unheld(&[
        ("app/config.yaml", CONFIG),
        ("child/x.yaml", &CONFIG.replace("name: web", "name: child")),
    ]);
    shop.repo.commit("child", &[("app/child.yaml", &child(&shop, shop.name()))]);
    shop.hold_under(json!({"kinds": [{"group": "*", "kind": "*"}, {"group": "kubectl-gitops.dev", "kind": "Application"}]}), json!({}));
    shop.sync().ok();
    let patch =
        |patch: &str| shop.kubectl_args(&["patch", "application", "child", "--type=merge", "-p", patch]);
    // Even an administrator: Git says it.
    patch(r#"{"spec":{"source":{"repo":"https://evil.example/x"}}}"#).refused(&["spec.source.repo"]);
    patch(r#"{"spec":{"suspend":true}}"#).refused(&["spec.suspend"]);
    patch(
        r#"{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"web","uid":"1"}]}}"#,
    )
    .refused(&["ownerReferences"]);
    patch(r#"{"metadata":{"annotations":{"kubectl-gitops.dev/owner":"x/y"}}}"#)
        .refused(&["kubectl-gitops.dev/owner"]);
    patch(r#"{"metadata":{"annotations":{"note":"fine"}}}"#).ok();
    shop.kubectl("delete application child").refused(&["app/child.yaml"]);
    shop.repo.remove("no child", &["app/child.yaml"]);
    shop.sync().ok();
    assert!(shop.get("application", "child").is_none());
}

#[test]
fn a_parent_declares_children_of_its_own_project_only() {
    let shop = Shop::unheld(&[("app/config.yaml", CONFIG)]);
    shop.hold(json!({}));
    let good = shop.repo.head();
    // The kind has to be named.
    shop.repo.commit("child", &[("app/child.yaml", &child(&shop, shop.name()))]);
    let message = shop.wait_for("Rendered", "False");
    assert!(message.contains("names the group itself"), "{message}");
    let kinds = json!({"spec": {"kinds": [{"group": "*", "kind": "*"}, {"group": "kubectl-gitops.dev", "kind": "Application"}]}}).to_string();
    shop.cluster.kubectl_args(&["patch", "project", shop.name(), "--type=merge", "-p", &kinds]).ok();
    shop.wait_for("Rendered", "True");
    // Another Project's child is an escalation.
    shop.repo.commit("escalate", &[("app/child.yaml", &child(&shop, "somebody-elses"))]);
    let message = eventually("it is refused", Duration::from_secs(20), || {
        Some(shop.wait_for("Rendered", "False")).filter(|message| message.contains("childProjects"))
    });
    assert!(message.contains("somebody-elses") && message.contains("child"), "{message}");
    assert_ne!(shop.get("application", "web").unwrap()["status"]["revision"], shop.repo.head());
    assert_ne!(good, shop.repo.head());
}
