//! What an attacker with the rights to write everything, and none of our
//! verbs, has tried: each hole that was found, closed.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use gitops_tests::Shop;
use gitops_tests::cluster::eventually;
use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use serde_json::{Value, json};

/// A namespace of which everything is held.
fn closed() -> Value {
    json!({"enforcement": {"mode": "Enforce", "untracked": "Deny", "interactive": "Deny"}})
}

#[test]
fn the_namespace_of_applications_that_hold_others_stays() {
    let shop = Shop::open();
    let apps = shop.cluster.namespace("apps");
    let project = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Project", "metadata": {"name": apps.name}, "spec": {
        "applicationNamespaces": [apps.name], "repositories": [{"url": "file:///**"}], "destinations": [{"namespaces": [shop.name()]}]}});
    let application = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": "far", "namespace": apps.name}, "spec": {
        "project": apps.name, "source": {"repo": shop.repo.url(), "revision": "main", "path": "far"}, "destination": {"namespace": shop.name()}}});
    shop.repo.commit("far", &[("far/config.yaml", &CONFIG.replace("name: web", "name: far"))]);
    for object in [project, application] {
        shop.cluster.kubectl_stdin("apply -f -", &object.to_string()).ok();
    }
    eventually("the Application elsewhere is enforced", Duration::from_secs(30), || {
        let ran = shop.cluster.kubectl(&format!("get application far -n {} -o json", apps.name));
        let live: Value = serde_json::from_str(&ran.stdout).ok()?;
        let conditions = live["status"]["conditions"].as_array()?.clone();
        conditions.iter().any(|c| c["type"] == "Enforced" && c["status"] == "True").then_some(())
    });
    let gone = shop.cluster.kubectl(&format!("delete namespace {} --wait=false", apps.name));
    gone.refused(&["would go with it"]);
    shop.cluster.kubectl(&format!("delete application far -n {}", apps.name)).ok();
    shop.cluster.kubectl(&format!("delete project {}", apps.name)).ok();
}

#[test]
fn owners_choose_no_policy() {
    let shop = Shop::under(closed(), &[("app/web.yaml", DEPLOYMENT), ("app/config.yaml", CONFIG)]);
    let config = shop.get("configmap", "web").unwrap();
    let reference =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "web", "uid": config["metadata"]["uid"]});
    let pod = |owners: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "evil", "ownerReferences": owners}, "spec": {"containers": [{"name": "x", "image": "evil"}]}});
    for owners in [json!([]), json!([reference.clone()])] {
        shop.kubectl_stdin("create -f -", &pod(owners).to_string()).refused(&["no Application declares it"]);
    }
    let sets = eventually("the ReplicaSet is there", Duration::from_secs(20), || {
        let list: Value = serde_json::from_str(&shop.kubectl("get replicasets -o json").stdout).ok()?;
        list["items"].as_array()?.first().cloned()
    });
    let mut evil = sets.clone();
    let own = sets["metadata"]["ownerReferences"][0].clone();
    evil["metadata"]["ownerReferences"] = json!([reference, own]);
    evil["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
    shop.kubectl_stdin("replace -f -", &evil.to_string()).refused(&["hostNetwork"]);
}

#[test]
fn what_has_arrived_at_the_newest_commit_goes_to_no_older_one() {
    let shop = Shop::open();
    shop.repo.commit("bad", &[("app/web.yaml", &DEPLOYMENT.replace("web:1", "web:bad"))]);
    let bad = shop.repo.head();
    shop.repo.git(&["revert", "--no-edit", "HEAD"]);
    eventually("the webhook knows the revert", Duration::from_secs(20), || {
        (shop.get("application", "web")?["status"]["revision"] == shop.repo.head()).then_some(())
    });
    let patch = |annotation: Option<&str>| {
        let mut patch =
            json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:bad"}]}}}});
        if let Some(commit) = annotation {
            patch["metadata"] = json!({"annotations": {"kubectl-gitops.dev/revision": commit}});
        }
        shop.kubectl_args(&["patch", "deployment", "web", "-p", &patch.to_string()])
    };
    patch(None).refused(&["web:bad"]);
    patch(Some(&bad)).refused(&["kubectl-gitops.dev/revision"]);
}

#[test]
fn a_namespaces_labels_are_held_on_every_way() {
    let shop = Shop::open();
    let label = r#"{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}"#;
    for subresource in ["", "status"] {
        let more = if subresource.is_empty() { vec![] } else { vec!["--subresource", subresource] };
        let mut arguments = vec!["patch", "namespace", shop.name(), "--type=merge", "-p", label];
        arguments.extend(more);
        shop.cluster.kubectl_args(&arguments).refused(&["pod-security"]);
    }
    let mut namespace: Value =
        serde_json::from_str(&shop.cluster.kubectl(&format!("get namespace {} -o json", shop.name())).stdout)
            .unwrap();
    namespace["metadata"]["labels"]["pod-security.kubernetes.io/warn"] = json!("privileged");
    let path = format!("/api/v1/namespaces/{}/finalize", shop.name());
    shop.cluster
        .kubectl_stdin(&format!("replace --raw {path} -f -"), &namespace.to_string())
        .refused(&["pod-security"]);
}

#[test]
fn the_scale_of_a_custom_kind_is_the_field_that_it_sets() {
    let group = format!("scale{}.example.com", std::process::id());
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("shards.{group}")}, "spec": {
        "group": group, "scope": "Namespaced", "names": {"kind": "Shard", "plural": "shards"}, "versions": [{"name": "v1", "served": true, "storage": true,
            "subresources": {"scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"status": {"type": "object", "properties": {"size": {"type": "integer"}}}, "spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}}}]}});
    let shard = format!("apiVersion: {group}/v1\nkind: Shard\nmetadata: {{name: web}}\nspec: {{size: 3}}\n");
    let shop = Shop::with(&[
        ("app/config.yaml", CONFIG),
        ("app/crd.json", &definition.to_string()),
        ("app/shard.yaml", &shard),
    ]);
    let scaled = eventually("the kind's scale is asked about", Duration::from_secs(30), || {
        let ran = shop.kubectl(&format!("scale shards.{group} web --replicas=9"));
        Some(ran).filter(|ran| ran.code != 0 && !ran.stderr.contains("no kind that is known"))
    });
    scaled.refused(&["spec.size", "3", "9"]);
}

#[test]
fn what_kubernetes_fills_is_filled_once() {
    let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}, "spec": {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}});
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web"}});
    let shop = Shop::with(&[
        ("app/config.yaml", CONFIG),
        ("app/ingress.json", &ingress.to_string()),
        ("app/account.json", &account.to_string()),
    ]);
    let patch =
        |what: &str, patch: &str| shop.kubectl_args(&["patch", what, "web", "--type=merge", "-p", patch]);
    patch("ingress", r#"{"spec":{"ingressClassName":"public"}}"#).refused(&["spec.ingressClassName"]);
    patch("ingress", r#"{"metadata":{"annotations":{"kubernetes.io/ingress.class":"public"}}}"#)
        .refused(&["ingress.class"]);
    patch("serviceaccount", r#"{"metadata":{"annotations":{"eks.amazonaws.com/role-arn":"x"}}}"#)
        .refused(&["eks.amazonaws.com/role-arn"]);
}

#[test]
fn cluster_scoped_kinds_are_in_no_closed_namespace() {
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": format!("attack-{}", std::process::id())}, "rules": []});
    let mut project = closed();
    project["clusterKinds"] = json!([{"group": "rbac.authorization.k8s.io", "kind": "ClusterRole"}]);
    let shop = Shop::under(project, &[("app/config.yaml", CONFIG), ("app/role.json", &role.to_string())]);
    let other = format!("other-{}", std::process::id());
    shop.cluster.kubectl(&format!("create clusterrole {other} --verb=get --resource=pods")).ok();
    shop.cluster.kubectl(&format!("delete clusterrole {other}")).ok();
    shop.repo.remove("less", &["app/role.json"]);
    shop.sync().ok();
}
