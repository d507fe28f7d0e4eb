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
    let deployments: Vec<&Value> = objects.iter().filter(|object| object["kind"] == "Deployment").collect();
    assert_eq!(deployments.len(), 2);
    assert!(deployments.iter().all(|deployment| deployment["spec"]["replicas"] == 2));
    let pods = deployments.iter().map(|deployment| &deployment["spec"]["template"]["spec"]);
    let tests = objects.iter().filter(|object| object["kind"] == "Pod").map(|pod| &pod["spec"]);
    for pod in pods.chain(tests) {
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let container = &pod["containers"][0]["securityContext"];
        assert_eq!(
            (&container["allowPrivilegeEscalation"], &container["readOnlyRootFilesystem"]),
            (&json!(false), &json!(true))
        );
        assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
    }
}

/// By name, and what it would take to hold the cluster.
#[test]
fn the_controller_holds_no_power_by_default() {
    let arguments = "--set controller.namespaces={shop},controller.impersonate[0].namespace=shop,controller.impersonate[0].serviceAccounts={deployer}";
    let objects = rendered(arguments);
    let ours = |object: &&Value| {
        object["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("gitops-controller"))
    };
    assert!(!objects.iter().any(|object| object["roleRef"]["name"] == "cluster-admin"));
    for object in objects.iter().filter(ours) {
        for rule in object["rules"].as_array().into_iter().flatten() {
            let verbs = rule["verbs"].as_array().unwrap();
            let has = |verb: &str| verbs.contains(&json!(verb));
            let powers = ["*", "manage", "override", "bind", "escalate", "sync", "promote", "rollback"];
            assert!(!powers.iter().any(|verb| has(verb)), "{rule}");
            assert!(!has("impersonate") || rule["resourceNames"] == json!(["deployer"]), "{rule}");
            let secrets = rule["resources"].to_string().contains("secrets");
            let everywhere = object["metadata"]["name"] == "gitops-controller";
            assert!(!secrets || !everywhere, "{rule}");
            assert!(!rule["resources"].to_string().contains("exec"), "{rule}");
        }
    }
    let whole = rendered("--set controller.clusterAdmin=true");
    assert!(whole.iter().any(|object| object["roleRef"]["name"] == "cluster-admin"));
    let without = rendered("--set controller.enabled=false");
    assert_eq!(without.iter().filter(ours).count(), 0);
}

#[test]
fn push_events_are_taken_where_it_is_asked_for() {
    let ours = |object: &&Value| object["metadata"]["name"] == "gitops-controller-push";
    assert_eq!(rendered("").iter().filter(ours).count(), 0);
    let push = "controller.pushEvents";
    let objects = rendered(&format!(
        "--set {push}.enabled=true,{push}.secretName=keys,{push}.ingress.enabled=true,{push}.ingress.host=git.example,{push}.ingress.tlsSecretName=tls"
    ));
    let of = |kind: &str| objects.iter().filter(ours).find(|object| object["kind"] == kind).unwrap();
    assert_eq!(of("Service")["spec"]["ports"][0]["targetPort"], "push");
    // That one Secret, and no other.
    assert_eq!(of("Role")["rules"].as_array().unwrap().len(), 1);
    assert_eq!(of("Role")["rules"][0]["resourceNames"], json!(["keys"]));
    assert_eq!(of("Ingress")["spec"]["rules"][0]["http"]["paths"][0]["path"], "/push");
    assert_eq!(of("Ingress")["spec"]["tls"][0]["secretName"], "tls");
    let named = |object: &&Value| object["metadata"]["name"] == "gitops-controller";
    let deployment = objects.iter().filter(named).find(|object| object["kind"] == "Deployment").unwrap();
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert!(container["args"].as_array().unwrap().contains(&json!("--push-events=0.0.0.0:9444")));
    assert!(container["ports"].as_array().unwrap().contains(&json!({"name": "push", "containerPort": 9444})));
}

#[test]
fn monitoring_is_rendered_where_it_is_asked_for() {
    let kinds = ["ServiceMonitor", "PrometheusRule", "ConfigMap"];
    assert!(!rendered("").iter().any(|object| kinds.contains(&object["kind"].as_str().unwrap())));
    let objects =
        rendered("--set monitoring.dashboard=true,monitoring.alerts=true,monitoring.serviceMonitors=true");
    let of = |kind: &str| objects.iter().filter(|object| object["kind"] == kind).collect::<Vec<_>>();
    assert_eq!(of("ServiceMonitor").len(), 2);
    let dashboard: Value =
        serde_json::from_str(of("ConfigMap")[0]["data"]["gitops.json"].as_str().unwrap()).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() >= 8);
    let alerts = |objects: &[Value]| -> Vec<Value> {
        let rule = objects.iter().find(|object| object["kind"] == "PrometheusRule").unwrap();
        let groups = rule["spec"]["groups"].as_array().unwrap().clone();
        groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
    };
    let rules = alerts(&objects);
    assert!(rules.iter().all(|rule| rule["expr"].is_string() && rule["annotations"]["summary"].is_string()));
    let is_there = |rules: &[Value], name: &str| rules.iter().any(|rule| rule["alert"] == name);
    assert!(is_there(&rules, "GitopsControllerDown") && is_there(&rules, "GitopsWebhookDown"));
    let alone = alerts(&rendered("--set monitoring.alerts=true,controller.enabled=false"));
    assert!(!is_there(&alone, "GitopsControllerDown") && is_there(&alone, "GitopsWebhookDown"));
}

#[test]
fn traces_are_sent_where_a_collector_is_named() {
    let variables = |arguments: &str| -> Vec<Vec<Value>> {
        let objects = rendered(arguments);
        let deployments = objects.iter().filter(|object| object["kind"] == "Deployment");
        let of = |one: &Value| one["spec"]["template"]["spec"]["containers"][0]["env"].clone();
        deployments.map(|one| of(one).as_array().cloned().unwrap_or_default()).collect()
    };
    // The controller's memory has an arena for few of its threads.
    let arenas = json!({"name": "MALLOC_ARENA_MAX", "value": "2"});
    assert_eq!(variables(""), [vec![arenas.clone()], vec![]]);
    let endpoint = json!({"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"});
    let more = json!({"name": "RUST_LOG", "value": "debug"});
    let named = variables(
        "--set tracing.endpoint=http://collector:4318,controller.extraEnv[0].name=RUST_LOG,controller.extraEnv[0].value=debug",
    );
    assert_eq!(named, [vec![arenas, endpoint.clone(), more], vec![endpoint]]);
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
        // Kept, since it may hold the credentials of clusters.
        cluster.kubectl("delete namespace gitops-clusters --timeout=60s").ok();
        let ours = ["applications", "projects", "rollouts", "analysistemplates", "overrides"]
            .map(|plural| format!("{plural}.kubectl-gitops.dev"));
        delete_definitions(cluster, &ours);
    }
}
