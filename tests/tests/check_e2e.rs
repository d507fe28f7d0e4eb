//! `kubectl gitops check` on a real API server, with the chart installed by
//! helm: all is well, then one thing after the other is broken, and each time
//! the check says so, with its remedy.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use gitops_tests::cluster::{Ran, eventually, ran};
use gitops_tests::webhook::{Replica, Webhook};
use gitops_tests::{FakeNode, NodeCluster, Repo, TestCluster};
use serde_json::{Value, json};

/// What a check found, by its name.
struct Found(Value);

impl Found {
    fn of(check: &Ran) -> Self {
        let report = check.json();
        for found in report["checks"].as_array().unwrap() {
            let passed = found["state"] == "passed";
            assert_eq!(passed, found.get("remedy").is_none(), "{found}");
            assert!(passed || found["remedy"].as_str().is_some_and(|remedy| remedy.len() > 5), "{found}");
        }
        let failed = report["checks"].as_array().unwrap().iter().any(|found| found["state"] == "failed");
        assert_eq!((report["ok"] == true, check.code), (!failed, i32::from(failed)), "{report}");
        Self(report)
    }

    /// `state: message` of the check whose name ends so.
    fn state(&self, name: &str) -> String {
        let all = self.0["checks"].as_array().unwrap();
        let found = all.iter().find(|found| found["name"].as_str().unwrap().ends_with(name));
        let found = found.unwrap_or_else(|| panic!("{name} is not in {}", self.0));
        let text = |field: &str| found[field].as_str().unwrap_or_default();
        format!("{}: {}", text("state"), text("message"))
    }

    #[track_caller]
    fn says(&self, name: &str, expected: &str) {
        let state = self.state(name);
        assert!(state.starts_with(expected), "{name}: {state}");
    }
}

fn check(cluster: &TestCluster, folder: &Path, arguments: &str) -> Found {
    Found::of(&cluster.gitops(folder, &format!("check -o json {arguments}")))
}

fn patch(cluster: &TestCluster, what: &str, change: &Value) {
    let mut arguments = vec!["patch"];
    arguments.extend(what.split_whitespace());
    let change = change.to_string();
    arguments.extend(["--type=json", "-p", &change]);
    cluster.kubectl_args(&arguments).ok();
}

fn install(cluster: &TestCluster) {
    let values = cluster.kubeconfig().with_extension("values.json");
    let node = "check";
    let on_it = json!({"nodeSelector": {"kubernetes.io/hostname": node},
        "tolerations": [{"key": "fake-node", "operator": "Equal", "value": node, "effect": "NoSchedule"}]});
    let placement = json!({"guard": {"enabled": true}, "webhook": on_it, "controller": on_it});
    std::fs::write(&values, placement.to_string()).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let arguments = format!(
        "install gitops charts/gitops --namespace gitops-system --create-namespace -f {}",
        values.display()
    );
    ran(cluster.command("helm").args(arguments.split_whitespace()).current_dir(root), None).ok();
}

/// A certificate that has ended, as a configuration names it.
fn ended() -> String {
    use base64::Engine;
    let mut parameters = rcgen::CertificateParams::new(vec!["webhook".into()]).unwrap();
    parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    base64::engine::general_purpose::STANDARD.encode(parameters.self_signed(&key).unwrap().pem())
}

#[test]
fn every_broken_state_has_its_remedy() {
    let own = NodeCluster::empty("check");
    let cluster = &own.cluster;
    let nowhere = tempfile::tempdir().unwrap();
    let here = |arguments: &str| check(cluster, nowhere.path(), arguments);
    before_it_is_installed(cluster, nowhere.path());

    install(cluster);
    here("--pre").says("it is not installed", "warned: the definitions are there already");
    let fresh = here("");
    fresh.says("the webhook is ready", "failed: ");
    fresh.says("its certificate is valid", "failed: the API server is told to trust no certificate yet");
    fresh.says("its ValidatingWebhookConfiguration is whole", "warned: it asks about nothing");
    fresh.says("definition applications.kubectl-gitops.dev", "passed: ");

    let _node = FakeNode::start(cluster, "check");
    let cache = tempfile::tempdir().unwrap();
    let webhook =
        Webhook::start(cluster, cache.path(), &Replica { behind_service: true, ..Replica::default() });
    eventually("all is well", Duration::from_secs(60), || {
        let found = here("");
        (found.0["ok"] == true && found.state("the webhook is ready").starts_with("passed")).then_some(())
    });
    let well = here("");
    well.says("its certificate is valid", "passed: for ");
    well.says("the guard is in force", "passed");
    let text = cluster.gitops(nowhere.path(), "check").ok().stdout;
    assert!(text.contains("  ok   the webhook is ready") && text.ends_with("all is well\n"), "{text}");
    // Nobody mends what is broken below.
    webhook.kill();
    broken_installations(cluster, nowhere.path());
}

fn before_it_is_installed(cluster: &TestCluster, nowhere: &Path) {
    let pre = check(cluster, nowhere, "--pre");
    assert_eq!(pre.0["ok"], true, "{}", pre.0);
    pre.says("it is not installed", "passed: not yet");
    check(cluster, nowhere, "").says("what is in Git is enforced", "warned: nothing is");
    let nobody = check(cluster, nowhere, "--pre --as nobody");
    nobody.says("you may create customresourcedefinitions", "failed: you may not");
    let away = check(cluster, nowhere, "--pre --server https://127.0.0.1:1");
    away.says("the API server answers", "failed: ");
    let mut command = cluster.command("kubectl-gitops");
    command.args(["check", "--pre", "-o", "json"]).env("KUBECTL_GITOPS_HELM", "/nowhere/helm");
    Found::of(&ran(&mut command, None)).says("helm", "warned: helm is not installed");
}

fn broken_installations(cluster: &TestCluster, nowhere: &Path) {
    let here = || check(cluster, nowhere, "");
    let validating = "validatingwebhookconfiguration gitops";
    let at_first = |path: &str, value: Value| json!([{"op": "replace", "path": format!("/webhooks/0/{path}"), "value": value}]);

    patch(cluster, validating, &at_first("failurePolicy", json!("Ignore")));
    let found = here();
    found.says("its ValidatingWebhookConfiguration is whole", "failed: ");
    assert!(found.state("its ValidatingWebhookConfiguration is whole").contains("lets everything pass"));
    patch(cluster, validating, &at_first("failurePolicy", json!("Fail")));

    patch(cluster, validating, &at_first("clientConfig/caBundle", json!(ended())));
    here().says("its certificate is valid", "failed: it has ended");

    // Nobody answers any more: without these no write of our kinds gets through.
    cluster.kubectl("delete validatingwebhookconfiguration,mutatingwebhookconfiguration gitops").ok();
    here().says("its certificate is valid", "failed: there is no configuration that names it");
    here().says("its ValidatingWebhookConfiguration is whole", "failed: there is no Validating");
    here().says(
        "its MutatingWebhookConfiguration is whole",
        "failed: there is no MutatingWebhookConfiguration",
    );

    let crd = "customresourcedefinition rollouts.kubectl-gitops.dev";
    let field = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/deadlines";
    patch(cluster, crd, &json!([{"op": "remove", "path": field}]));
    here().says("definition rollouts.kubectl-gitops.dev", "warned: it is of another version");
    cluster.kubectl("delete customresourcedefinition analysistemplates.kubectl-gitops.dev").ok();
    here().says("definition analysistemplates.kubectl-gitops.dev", "failed: it is not there");

    cluster.kubectl("delete validatingadmissionpolicybinding gitops-guard").ok();
    here().says("the guard is in force", "failed: its binding is gone");
    cluster.kubectl("delete validatingadmissionpolicy gitops-guard").ok();
    here().says("the guard is in force", "warned: whoever may change webhook configurations");

    cluster.kubectl("delete deployment gitops-webhook -n gitops-system").ok();
    here().says("the webhook is ready", "failed: there is no Deployment gitops-system/gitops-webhook");

    // Who may see nothing is told whom to ask, not that nothing is there.
    let nobody = check(cluster, nowhere, "--as nobody");
    nobody.says("you may list deployments in default", "failed: you may not");
    nobody.says("the webhook is ready", "warned: ");
}

#[test]
fn applications_are_checked_from_git_to_the_cluster() {
    let cluster = gitops_tests::cluster();
    let (own, other) = (cluster.namespace("check"), cluster.namespace("check"));
    let application = |namespace: &str, more: &str| {
        format!(
            "apiVersion: kubectl-gitops.dev/v1alpha1\nkind: Application\nmetadata: {{name: web, namespace: {namespace}}}\nspec:\n  source: {{path: app{more}}}\n  destination: {{namespace: {}}}\n",
            own.name
        )
    };
    let config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\n";
    let repo = Repo::with(&[("app/a.yaml", config), ("gitops.yaml", &application(&own.name, ""))]);
    let here = || check(cluster, repo.path(), "");
    let good = here();
    good.says("web: Git answers", "passed: file://");
    good.says("web: it renders", "passed: 1 object");
    good.says("web: what it reads is known", "passed");
    good.says("web: nobody else claims its objects", "passed");

    // Another Application applies it, and so owns it.
    let stranger = Repo::with(&[("app/a.yaml", config), ("gitops.yaml", &application(&other.name, ""))]);
    cluster.gitops(stranger.path(), "sync").ok();
    here().says("web: nobody else claims its objects", &format!("failed: ConfigMap {}/web", own.name));

    let kustomization = "resources: [a.yaml]\ntransformers: []\n";
    repo.commit("transform", &[("app/kustomization.yaml", kustomization)]);
    here().says("web: what it reads is known", "warned: app: rendered anew on every commit");

    repo.commit("break", &[("app/a.yaml", "kind: [\n")]);
    here().says("web: it renders", "failed: ");
    repo.commit("no such branch", &[("gitops.yaml", &application(&own.name, ", revision: nowhere"))]);
    here().says("web: Git answers", "failed: ");
    let rule = "  health: [{group: '', kind: ConfigMap, cel: 'object.('}]\n";
    repo.commit("bad rule", &[("gitops.yaml", &format!("{}{rule}", application(&own.name, "")))]);
    here().says("web: its health rules compile", "failed: ");
    repo.commit("unreadable", &[("gitops.yaml", "kind: Application\n")]);
    here().says("Applications can be read", "failed: gitops.yaml");
}
