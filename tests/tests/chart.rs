//! The chart: what it renders, what it refuses, and what helm 3 and 4 make of
//! it on the real API server.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use gitops_tests::cluster::{Ran, eventually, ran};
use gitops_tests::{TestCluster, cluster};
use serde_json::{Value, json};

/// One release at a time: its cluster-scoped objects have fixed names.
static ONE: Mutex<()> = Mutex::new(());

fn helm(cluster: &TestCluster, program: &str, arguments: &str) -> Ran {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    ran(cluster.command(program).args(arguments.split_whitespace()).current_dir(root), None)
}

/// What the chart renders, document by document.
fn rendered(arguments: &str) -> Vec<Value> {
    let text = helm(
        cluster(),
        "helm",
        &format!("template gitops charts/gitops --namespace gitops-system {arguments}"),
    )
    .ok()
    .stdout;
    gitops_source::yaml::documents("chart", &text)
        .unwrap()
        .into_iter()
        .map(|document| document.value)
        .collect()
}

#[test]
fn both_helms_find_no_fault() {
    for program in ["helm", "helm3"] {
        helm(cluster(), program, "lint --strict charts/gitops").ok();
    }
}

#[test]
fn pods_meet_the_restricted_profile() {
    let objects = rendered("");
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(
        (&container["allowPrivilegeEscalation"], &container["readOnlyRootFilesystem"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(deployment["spec"]["replicas"], 2);
}

#[test]
fn nothing_is_intercepted_before_the_webhook_says_so() {
    for object in rendered("")
        .iter()
        .filter(|object| object["kind"].as_str().is_some_and(|kind| kind.ends_with("WebhookConfiguration")))
    {
        for webhook in object["webhooks"].as_array().unwrap() {
            assert!(
                webhook.get("rules").is_none() && webhook["clientConfig"].get("caBundle").is_none(),
                "{webhook}"
            );
        }
    }
}

#[test]
fn the_webhook_may_do_little() {
    for object in rendered("") {
        let named = object["metadata"]["name"].as_str().unwrap_or_default();
        if !named.starts_with("gitops-webhook") {
            continue;
        }
        for rule in object["rules"].as_array().into_iter().flatten() {
            let text = rule.to_string();
            assert!(!text.contains("\"*\""), "{named}: {text}");
            let secrets = rule["resources"].as_array().unwrap().contains(&json!("secrets"));
            assert!(!secrets || object["kind"] == "Role", "{named}: {text}");
        }
    }
}

#[test]
fn unknown_values_are_refused() {
    for value in
        ["webhook.replica=2", "image.pullPolicy=Sometimes", "webhook.replicas=0", "webhook.pollInterval=soon"]
    {
        let refused = helm(cluster(), "helm", &format!("template gitops charts/gitops --set {value}"));
        assert_ne!(refused.code, 0, "{value}");
    }
}

/// A definition that goes while its storage is still being made ready ("storage
/// is (re)initializing") waits for minutes, unless it changes.
fn delete_definitions(cluster: &TestCluster, names: &[String]) {
    cluster.kubectl(&format!("delete crd --wait=false {}", names.join(" "))).ok();
    eventually("the definitions are gone", Duration::from_secs(60), || {
        let left =
            cluster.kubectl(&format!("get crd --ignore-not-found -o name {}", names.join(" "))).ok().stdout;
        for name in left.lines() {
            // Taken away and set again: each is a change.
            cluster.kubectl(&format!("annotate {name} tried-"));
            cluster.kubectl(&format!("annotate {name} tried=again"));
        }
        left.trim().is_empty().then_some(())
    });
}

#[test]
fn upgrades_keep_what_the_webhook_owns_and_uninstalling_blocks_nothing() {
    let _one = ONE.lock().unwrap();
    let cluster = cluster();
    for program in ["helm3", "helm"] {
        let namespace = format!("gitops-{program}");
        helm(
            cluster,
            program,
            &format!("install gitops charts/gitops --namespace {namespace} --create-namespace"),
        )
        .ok();
        let owned = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "gitops"}, "webhooks": [{
            "name": "validate.kubectl-gitops.dev", "sideEffects": "NoneOnDryRun", "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"name": "gitops-webhook", "namespace": namespace, "path": "/validate"}},
            "rules": [{"apiGroups": ["nobody.example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["things"]}]}]});
        cluster
            .kubectl_stdin(
                "apply --server-side --force-conflicts --field-manager=gitops-webhook -f -",
                &owned.to_string(),
            )
            .ok();
        helm(
            cluster,
            program,
            &format!("upgrade gitops charts/gitops --namespace {namespace} --set webhook.replicas=3"),
        )
        .ok();
        let live = cluster.kubectl("get validatingwebhookconfiguration gitops -o json").ok().json();
        assert_eq!(
            live["webhooks"][0]["rules"][0]["apiGroups"][0], "nobody.example.com",
            "{program} took the rules away"
        );
        helm(cluster, program, &format!("uninstall gitops --namespace {namespace}")).ok();
        let left = cluster.kubectl("get validatingwebhookconfigurations,mutatingwebhookconfigurations,validatingadmissionpolicies -o name").ok();
        assert!(!left.stdout.contains("gitops"), "{program} left {}", left.stdout);
        cluster.kubectl("get crd applications.kubectl-gitops.dev").ok();
        cluster.kubectl(&format!("delete namespace {namespace} --wait=false")).ok();
        let ours = ["applications", "projects", "rollouts", "analysistemplates", "overrides"]
            .map(|plural| format!("{plural}.kubectl-gitops.dev"));
        delete_definitions(cluster, &ours);
    }
}
