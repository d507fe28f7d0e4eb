//! The guard: whom it lets change what, who touches it is noticed, and what was
//! changed past it is put right.

use std::sync::PoisonError;
use std::time::Duration;

use gitops_tests::Shop;
use gitops_tests::cluster::{Ran, eventually, webhook_cluster};
use serde_json::{Value, json};

use super::{ONE, account, guarded, installed, metric};

#[test]
fn the_webhooks_account_changes_only_what_is_its_own() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = webhook_cluster();
    installed(cluster);
    guarded(cluster);
    // A stand-in as the chart renders it: the real one has a URL here.
    let live = |kind: &str| cluster.kubectl(&format!("get {kind} gitops -o json")).ok().json();
    let before = live("validatingwebhookconfiguration");
    let flags = account("gitops-webhook");
    // Again where the webhook itself has written meanwhile.
    let tried = |change: &dyn Fn(&mut Value)| {
        let try_once = || {
            let mut object = live("validatingwebhookconfiguration");
            change(&mut object);
            cluster.kubectl_stdin(&format!("{flags} replace --dry-run=server -f -"), &object.to_string())
        };
        eventually("its version is the newest", Duration::from_secs(30), || {
            Some(try_once()).filter(|ran| !ran.stderr.contains("the object has been modified"))
        })
    };
    tried(&|object| object["webhooks"][0]["rules"] = json!([])).ok();
    let own = before["webhooks"]
        .as_array()
        .unwrap()
        .iter()
        .position(|entry| entry["name"] == "own.kubectl-gitops.dev")
        .unwrap();
    type Change = Box<dyn Fn(&mut Value)>;
    let refused: Vec<(&str, Change)> = vec![
        ("fails open", Box::new(|object| object["webhooks"][0]["failurePolicy"] = json!("Ignore"))),
        (
            "has conditions",
            Box::new(|object| {
                object["webhooks"][0]["matchConditions"] = json!([{"name": "never", "expression": "false"}])
            }),
        ),
        (
            "selects objects",
            Box::new(|object| object["webhooks"][0]["objectSelector"] = json!({"matchLabels": {"a": "b"}})),
        ),
        ("matches exactly", Box::new(|object| object["webhooks"][0]["matchPolicy"] = json!("Exact"))),
        (
            "drops an entry",
            Box::new(|object| {
                object["webhooks"].as_array_mut().unwrap().pop();
            }),
        ),
        (
            "renames an entry",
            Box::new(|object| object["webhooks"][1]["name"] = json!("x.kubectl-gitops.dev")),
        ),
        ("does not look at our kinds", Box::new(move |object| object["webhooks"][own]["rules"] = json!([]))),
        (
            "goes elsewhere",
            Box::new(|object| {
                object["webhooks"][0]["clientConfig"] =
                    json!({"service": {"name": "evil", "namespace": "default"}})
            }),
        ),
    ];
    for (what, change) in &refused {
        let ran = tried(change);
        assert!(
            ran.code != 0 && ran.stderr.contains("and nothing else"),
            "{what}: {}{}",
            ran.stdout,
            ran.stderr
        );
    }
}

#[test]
fn the_guard_knows_each_kind_of_principal() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = webhook_cluster();
    installed(cluster);
    guarded(cluster);
    // With every right but the verb `override`; and the same with it.
    let role = |name: &str, verbs: &[&str]| {
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": [
            {"apiGroups": ["", "apps", "rbac.authorization.k8s.io", "apiextensions.k8s.io", "admissionregistration.k8s.io"], "resources": ["*"], "verbs": ["*"]},
            {"apiGroups": ["kubectl-gitops.dev"], "resources": ["overrides"], "verbs": verbs}]});
        cluster.kubectl_stdin("apply -f -", &role.to_string()).ok();
        cluster.kubectl(&format!("create clusterrolebinding {name} --clusterrole={name} --user={name}"));
    };
    role("trust-without", &["get"]);
    role("trust-with", &["override"]);
    let all = [
        "annotate --overwrite clusterrole gitops-admin tried=x",
        "annotate --overwrite clusterrolebinding gitops-webhook tried=x",
        "annotate --overwrite crd projects.kubectl-gitops.dev tried=x",
        "annotate --overwrite validatingwebhookconfiguration gitops tried=x",
        "annotate --overwrite role gitops-webhook -n gitops-system tried=x",
        "annotate --overwrite secret gitops-webhook-tls -n gitops-system tried=x",
        "delete secret gitops-webhook-tls -n gitops-system",
        "create secret generic gitops-index-x -n gitops-system",
        "delete crd applications.kubectl-gitops.dev",
        "delete clusterrole gitops-viewer",
    ];
    for arguments in all {
        let ran = |flags: &str| cluster.kubectl(&format!("{arguments} --dry-run=server {flags}"));
        ran("--as=trust-without").refused_by_guard();
        ran("--as=trust-with").ok();
        // A cluster-admin has every verb, this one included.
        ran("--as=root --as-group=system:masters").ok();
    }
    // A deletecollection names nothing in its request.
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterroles?labelSelector=app.kubernetes.io/name%3Dgitops&dryRun=All";
    let options = r#"{"kind":"DeleteOptions","apiVersion":"v1","dryRun":["All"]}"#;
    cluster
        .kubectl_stdin(&format!("delete --as=trust-without --raw {path} -f -"), options)
        .refused_by_guard();
    // Other objects of these kinds are nobody's business.
    cluster
        .kubectl(
            "create clusterrole trust-other --verb=get --resource=pods --as=trust-without --dry-run=server",
        )
        .ok();
    // The namespace controller ends a namespace; it may not change what is in it.
    let controller = "--as=system:serviceaccount:kube-system:namespace-controller --as-group=system:serviceaccounts:kube-system";
    cluster
        .kubectl(&format!("delete role gitops-webhook -n gitops-system --dry-run=server {controller}"))
        .ok();
}

trait Guarded {
    fn refused_by_guard(self) -> Self;
}

impl Guarded for Ran {
    #[track_caller]
    fn refused_by_guard(self) -> Self {
        assert!(
            self.code != 0 && self.stderr.contains("kubectl-gitops guards this object"),
            "{}{}",
            self.stdout,
            self.stderr
        );
        self
    }
}

#[test]
fn whoever_touches_the_guard_is_noticed() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = webhook_cluster();
    installed(cluster);
    let becomes = |value: f64| {
        eventually(&format!("the guard is {value}"), Duration::from_secs(20), || {
            (metric("gitops_guard_intact") == value).then_some(())
        });
    };
    becomes(1.0);
    cluster
        .kubectl_args(&[
            "patch",
            "validatingadmissionpolicybinding",
            "gitops-guard",
            "--type=merge",
            "-p",
            r#"{"spec":{"validationActions":["Audit"]}}"#,
        ])
        .ok();
    becomes(0.0);
    // validationActions is a set, to which an apply only adds.
    cluster.kubectl("delete validatingadmissionpolicybinding gitops-guard").ok();
    installed(cluster);
    becomes(1.0);
    cluster.kubectl("delete validatingadmissionpolicy gitops-guard").ok();
    becomes(0.0);
    eventually("an Event tells", Duration::from_secs(20), || {
        let events = cluster.kubectl("get events -n default -o json").json();
        events["items"].as_array()?.iter().any(|event| event["reason"] == "GuardBroken").then_some(())
    });
    installed(cluster);
    becomes(1.0);
}

#[test]
fn a_changed_configuration_is_put_right_at_once() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let shop = Shop::open();
    let patches = [
        r#"[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]"#,
        r#"[{"op":"replace","path":"/webhooks/0/rules","value":[]}]"#,
        r#"[{"op":"add","path":"/webhooks/0/matchConditions","value":[{"name":"never","expression":"false"}]}]"#,
        r#"[{"op":"replace","path":"/webhooks/0/objectSelector","value":{"matchLabels":{"no":"body"}}}]"#,
    ];
    for patch in patches {
        shop.cluster
            .kubectl_args(&["patch", "validatingwebhookconfiguration", "gitops", "--type=json", "-p", patch])
            .ok();
        eventually(&format!("put right: {patch}"), Duration::from_secs(8), || {
            let live = shop.cluster.kubectl("get validatingwebhookconfiguration gitops -o json").json();
            let entry = &live["webhooks"][0];
            let right = entry["failurePolicy"] == "Fail"
                && entry["rules"].as_array().is_some_and(|rules| !rules.is_empty())
                && entry["matchConditions"].as_array().is_none_or(Vec::is_empty)
                && entry["objectSelector"] == json!({});
            right.then_some(())
        });
    }
    eventually("drift is refused again", Duration::from_secs(20), || {
        let ran = shop.kubectl("scale deployment web --replicas=7 --dry-run=server");
        ran.stderr.contains("denied the request").then_some(())
    });
}
