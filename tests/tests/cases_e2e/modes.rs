//! From Config Sync's tests: enforcement switched, recorded, and there from a
//! kind's first object on.

use std::time::Duration;

use gitops_tests::Shop;
use gitops_tests::cluster::eventually;
use gitops_tests::shop::CONFIG;
use serde_json::json;

use super::patched;

/// Both Project and Application are held so.
fn set_mode(shop: &Shop, mode: &str) {
    let patch = json!({"spec": {"enforcement": {"mode": mode}}}).to_string();
    shop.cluster.kubectl_args(&["patch", "project", shop.name(), "--type=merge", "-p", &patch]).ok();
    patched(shop, "application", &patch).ok();
}

#[test]
fn enforcement_is_switched_off_and_on_without_a_restart() {
    let shop = Shop::open();
    set_mode(&shop, "Off");
    eventually("what was held is free", Duration::from_secs(20), || {
        Some(shop.kubectl("scale deployment web --replicas=5")).filter(|ran| ran.code == 0)
    });
    set_mode(&shop, "Enforce");
    eventually("it is held again", Duration::from_secs(20), || {
        let ran = shop.kubectl("scale deployment web --replicas=6");
        ran.stderr.contains("denied the request").then_some(())
    });
    // The drift of the time between is found, may not grow, and may be mended.
    let diff =
        shop.cluster.gitops(std::path::Path::new("/"), &format!("diff web --namespace {}", shop.name()));
    assert!(diff.code == 1 && diff.stdout.contains("spec.replicas"), "{}{}", diff.stdout, diff.stderr);
    shop.kubectl("scale deployment web --replicas=2").ok();
}

#[test]
fn a_project_switches_enforcement_for_all_of_its_namespaces() {
    let shop = Shop::open();
    set_mode(&shop, "Off");
    let patch = r#"{"spec":{"enforcement":{"mode":"Enforce"}}}"#;
    shop.cluster.kubectl_args(&["patch", "project", shop.name(), "--type=merge", "-p", patch]).ok();
    eventually("the Project's floor holds", Duration::from_secs(20), || {
        let ran = shop.kubectl("scale deployment web --replicas=6");
        ran.stderr.contains("denied the request").then_some(())
    });
}

#[test]
fn audit_records_and_lets_pass() {
    let shop = Shop::open();
    set_mode(&shop, "Audit");
    let ran = eventually("a write passes", Duration::from_secs(20), || {
        Some(shop.kubectl("scale deployment web --replicas=5")).filter(|ran| ran.code == 0)
    });
    assert!(!ran.stderr.contains("Warning"), "{}", ran.stderr);
    let log = std::fs::read_to_string(audit_log(&shop)).unwrap();
    let line =
        log.lines().rev().find(|line| line.contains(shop.name()) && line.contains("\"scale\"")).unwrap();
    for part in
        ["validate.kubectl-gitops.dev/rule\":\"scale", "validate.kubectl-gitops.dev/paths\":\"spec.replicas"]
    {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

/// The API server's audit log, beside the kubeconfig of the embedded cluster.
fn audit_log(shop: &Shop) -> std::path::PathBuf {
    shop.cluster.kubeconfig().parent().unwrap().join("logs/audit.log")
}

#[test]
fn a_new_definitions_objects_are_covered_at_once() {
    let group = format!("new{}.example.com", std::process::id());
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("gadgets.{group}")}, "spec": {
        "group": group, "scope": "Namespaced", "names": {"kind": "Gadget", "plural": "gadgets"}, "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}}}]}});
    let gadget =
        format!("apiVersion: {group}/v1\nkind: Gadget\nmetadata: {{name: web}}\nspec: {{size: 1}}\n");
    let shop = Shop::unheld(&[
        ("app/config.yaml", CONFIG),
        ("app/crd.json", &definition.to_string()),
        ("app/gadget.yaml", &gadget),
    ]);
    shop.hold(json!({}));
    // By hand, and before any sync: the very first object of the kind is judged.
    shop.cluster.kubectl_stdin("create -f -", &definition.to_string()).ok();
    let evil = gadget.replace("size: 1", "size: 9");
    eventually("the kind is served", Duration::from_secs(20), || {
        let ran = shop.kubectl_stdin("create -f -", &evil);
        assert_ne!(ran.code, 0, "an object of a new kind was not judged: {}", ran.stdout);
        ran.stderr.contains("spec.size").then_some(())
    });
    shop.sync().ok();
}
