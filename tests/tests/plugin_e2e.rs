//! The plugin on the real API server, through the real kubectl.
#![allow(clippy::unwrap_used, reason = "tests")]

use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use gitops_tests::{Place, Repo, cluster};
use serde_json::json;

fn shop() -> Place {
    Place::new(&[("app/web.yaml", DEPLOYMENT), ("app/config.yaml", CONFIG)])
}

#[test]
fn sync_brings_the_cluster_to_git_and_then_does_nothing() {
    let place = shop();
    place.gitops("diff").code(1);
    let first = place.gitops("sync -o json").ok().json();
    assert_eq!((&first["counts"]["create"], &first["kind"]), (&json!(2), &json!("Sync")));
    place.gitops("diff").ok();
    let version = |kind: &str| {
        place.kubectl(&format!("get {kind} web -o jsonpath={{.metadata.resourceVersion}}")).stdout
    };
    let before = version("configmap");
    let again = place.gitops("sync -o json").ok().json();
    assert_eq!((&again["counts"]["unchanged"], &again["counts"]["update"]), (&json!(2), &json!(0)));
    assert_eq!(version("configmap"), before, "an unchanged object was written");
}

#[test]
fn drift_is_shown_with_the_line_and_repaired() {
    let place = shop();
    place.gitops("sync").ok();
    place.kubectl("scale deployment web --replicas=5").ok();
    let sidecar =
        r#"[{"op":"add","path":"/spec/template/spec/containers/-","value":{"name":"evil","image":"evil"}}]"#;
    cluster()
        .kubectl_args(&[
            "--namespace",
            &place.namespace.name,
            "patch",
            "deployment",
            "web",
            "--type=json",
            "-p",
            sidecar,
        ])
        .ok();
    place.kubectl("annotate deployment web team=blue").ok();
    let diff = place.gitops("diff").code(1).stdout;
    assert!(diff.contains("+ spec.replicas: 2  app/web.yaml:7"), "{diff}");
    assert!(diff.contains("containers[name=evil]") && diff.contains("Git does not declare it"), "{diff}");
    assert!(!diff.contains("team"), "{diff}");
    place.gitops("status").code(1);
    place.gitops("sync").ok();
    place.gitops("diff").ok();
    let names =
        place.kubectl("get deployment web -o jsonpath={.spec.template.spec.containers[*].name}").stdout;
    assert_eq!(names, "web");
}

#[test]
fn a_tag_that_appears_takes_the_old_pull_policy_along() {
    let place = Place::new(&[("app/web.yaml", &DEPLOYMENT.replace("web:1", "web"))]);
    place.gitops("sync").ok();
    place.repo.commit("tag", &[("app/web.yaml", DEPLOYMENT)]);
    place.gitops("sync").ok();
    place.gitops("diff").ok();
    let recreate = DEPLOYMENT.replace("  replicas: 2\n", "  replicas: 2\n  strategy: {type: Recreate}\n");
    place.repo.commit("recreate", &[("app/web.yaml", &recreate)]);
    place.gitops("sync").ok();
    place.gitops("diff").ok();
}

#[test]
fn replicas_that_git_drops_stay_what_they_are() {
    let place = shop();
    place.gitops("sync").ok();
    place.repo.commit("left out", &[("app/web.yaml", &DEPLOYMENT.replace("  replicas: 2\n", ""))]);
    place.kubectl("scale deployment web --replicas=4").ok();
    place.gitops("sync").ok();
    assert_eq!(place.kubectl("get deployment web -o jsonpath={.spec.replicas}").stdout, "4");
}

#[test]
fn only_what_an_earlier_commit_declared_is_pruned() {
    let place = shop();
    place.gitops("sync").ok();
    // Our label alone proves nothing.
    place.kubectl("create configmap stranger --from-literal=a=b").ok();
    place.kubectl("label configmap stranger kubectl-gitops.dev/application=web").ok();
    let owner = format!(
        "annotate configmap stranger kubectl-gitops.dev/owner={}/web kubectl-gitops.dev/revision={}",
        place.namespace.name,
        place.repo.head()
    );
    place.kubectl(&owner).ok();
    place.repo.remove("less", &["app/config.yaml"]);
    let kept = place.gitops("sync").ok();
    assert!(kept.stdout.contains("--prune"), "{}", kept.stdout);
    place.kubectl("get configmap web").ok();
    let pruned = place.gitops("sync --prune").ok();
    assert!(
        pruned.stdout.contains("pruned ConfigMap") && !pruned.stdout.contains("stranger"),
        "{}",
        pruned.stdout
    );
    place.kubectl("get configmap stranger").ok();
    assert_ne!(place.kubectl("get configmap web").code, 0);
}

/// What is as it was is not read again: what is not is, by whatever way it may be.
#[test]
fn drift_is_found_among_what_is_as_it_was() {
    let config = |at: usize, value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c{at}")}, "data": {"a": value}});
    let all = |value: &str| {
        let objects: Vec<String> = (0..70).map(|at| config(at, value).to_string()).collect();
        objects.join("\n---\n")
    };
    let place = Place::new(&[("app/web.yaml", DEPLOYMENT), ("app/configs.yaml", &all("git"))]);
    let counts = |arguments: &str| {
        let counts = place.gitops(&format!("sync -o json {arguments}")).ok().json()["counts"].clone();
        ["create", "update", "unchanged"].map(|action| counts[action].as_u64().unwrap())
    };
    assert_eq!(counts(""), [71, 0, 0]);
    for _ in 0..2 {
        assert_eq!(counts(""), [0, 0, 71]);
    }
    // So many that they are listed, and so few that each is asked for.
    let apply = format!("apply --server-side --force-conflicts -n {} -f -", place.namespace.name);
    cluster().kubectl_stdin(&apply, &all("mine")).ok();
    place.kubectl("delete configmap c7").ok();
    place.kubectl("scale deployment web --replicas=5").ok();
    assert_eq!(counts(""), [1, 70, 0]);
    place.gitops("diff").ok();
    assert_eq!(counts(""), [0, 0, 71]);
    // Who may list them need not be one who may get them.
    let rules = [
        "lister --verb=list,create,patch,update --resource=configmaps",
        "lease --verb=get,create,update --resource=leases.coordination.k8s.io",
        "web --verb=get,list,patch --resource=deployments.apps",
    ];
    for rule in rules {
        let name = rule.split(' ').next().unwrap();
        place.kubectl(&format!("create role {rule}")).ok();
        place.kubectl(&format!("create rolebinding {name} --role={name} --user=lister")).ok();
    }
    place.kubectl(r#"patch configmap c3 --type=merge -p={"data":{"a":"mine"}}"#).ok();
    assert_eq!(counts("--as=lister"), [0, 1, 70]);
    assert_eq!(place.kubectl("get configmap c3 -o jsonpath={.data.a}").stdout, "git");
}

#[test]
fn dry_runs_write_nothing() {
    let place = shop();
    for by in ["client", "server"] {
        let ran = place.gitops(&format!("sync --dry-run={by}")).ok();
        assert!(
            ran.stdout.contains("created Deployment") && ran.stdout.contains("(dry run)"),
            "{}",
            ran.stdout
        );
    }
    assert_ne!(place.kubectl("get deployment web").code, 0);
    place.repo.commit("bad", &[("app/web.yaml", &DEPLOYMENT.replace("replicas: 2", "replicas: -2"))]);
    let refused = place.gitops("sync --dry-run=server");
    assert_ne!(refused.code, 0, "{}", refused.stdout);
    assert!(refused.stdout.contains("spec.replicas"), "{}", refused.stdout);
}

#[test]
fn definitions_are_served_before_their_objects_are_applied() {
    let group = format!("p{}.example.com", std::process::id());
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("tools.{group}")}, "spec": {
        "group": group, "scope": "Namespaced", "names": {"kind": "Tool", "plural": "tools"}, "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    let tool =
        format!("apiVersion: {group}/v1\nkind: Tool\nmetadata: {{name: saw}}\nspec: {{sharp: true}}\n");
    let place = Place::new(&[("app/a.yaml", &tool), ("app/b.yaml", &definition.to_string())]);
    place.gitops("sync").ok();
    place.kubectl(&format!("get tools.{group} saw")).ok();
    place.gitops("diff").ok();
    cluster().kubectl(&format!("delete crd tools.{group}")).ok();
}

#[test]
fn what_fails_is_told_for_each_object() {
    let broken = CONFIG.replace("name: web", "name: Not_A_Name");
    let place = Place::new(&[("app/a.yaml", CONFIG), ("app/b.yaml", &broken)]);
    let ran = place.gitops("sync -o json").code(7);
    let objects = ran.json()["objects"].as_array().unwrap().clone();
    let outcome = |name: &str| {
        objects.iter().find(|object| object["object"]["name"] == name).unwrap()["outcome"].clone()
    };
    assert_eq!((outcome("web"), outcome("Not_A_Name")), (json!("done"), json!("failed")));
}

#[test]
fn mistakes_are_told_in_one_line_with_a_way_out() {
    let place = shop();
    let kubeconfig = "--kubeconfig /nowhere/config";
    let cases: &[(&str, u8, &str)] = &[
        ("sync nobody", 2, "holds no Application \"nobody\""),
        ("diff --revision nowhere", 4, "has no branch, tag or commit \"nowhere\""),
        ("diff --context nowhere", 5, "there is no context \"nowhere\""),
        ("diff --server https://127.0.0.1:1", 5, "cannot be reached"),
        ("diff --username ada", 2, "--username is not supported"),
        ("dif", 2, "unrecognized subcommand"),
        ("sync --prun", 2, "--prune"),
        ("diff --request-timeout soon", 2, "\"soon\" is no duration"),
        ("diff --repo ftp://x/y", 2, "only file, http, https, ssh and oci are known"),
        ("diff --repo /nowhere", 4, "/nowhere"),
        ("diff --token wrong --as-group x", 5, "--as-group"),
        ("sync --as nobody", 3, "forbidden"),
    ];
    for (arguments, code, part) in cases {
        let ran = place.gitops(arguments);
        assert_eq!(ran.code, i32::from(*code), "{arguments}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(part), "{arguments}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("hint:")
                || ran.stderr.contains("tip:")
                || ran.stderr.contains("For more information"),
            "{arguments}: {}",
            ran.stderr
        );
    }
    let ran = place.gitops(&format!("diff {kubeconfig}"));
    assert_eq!(ran.code, 5, "{}", ran.stderr);
}

#[test]
fn mistakes_in_git_name_file_and_line() {
    let cases: &[(&str, &str, &str)] = &[
        ("kind: [\n", "app/x.yaml:1:7", "document 1"),
        ("a: 1\n", "app/x.yaml:1:1", "apiVersion or kind is missing"),
        (CONFIG, "is declared twice: app/config.yaml:1 and app/x.yaml:1", "ConfigMap"),
        (
            "apiVersion: nowhere.example.com/v1\nkind: Thing\nmetadata: {name: a}\n",
            "app/x.yaml:1",
            "no such kind",
        ),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: a-}\n", "generateName", "needs a name"),
    ];
    for (text, first, second) in cases {
        let place = shop();
        place.repo.commit("bad", &[("app/x.yaml", text)]);
        let ran = place.gitops("sync").code(4);
        assert!(
            ran.stderr.contains(first) && ran.stderr.contains(second) && ran.stderr.contains("hint:"),
            "{text}: {}",
            ran.stderr
        );
        assert_ne!(place.kubectl("get deployment web").code, 0, "something was applied");
    }
}

#[test]
fn a_missing_namespace_is_told_before_anything_is_applied() {
    let repo = Repo::with(&[("web.yaml", DEPLOYMENT)]);
    let ran = cluster()
        .gitops(repo.path(), &format!("sync --repo {} --namespace nowhere", repo.path().display()))
        .code(3);
    assert!(ran.stderr.contains("Namespace nowhere is not there; nothing was applied"), "{}", ran.stderr);
}

#[test]
fn kustomize_and_helm_are_rendered_by_the_real_ones() {
    let place = Place::new(&[
        ("app/kustomization.yaml", "resources: [base]\nnamePrefix: my-\n"),
        ("app/base/kustomization.yaml", "resources: [config.yaml]\n"),
        ("app/base/config.yaml", CONFIG),
        ("chart/Chart.yaml", "apiVersion: v2\nname: other\nversion: 1.0.0\n"),
        ("chart/values.yaml", "greeting: hi\n"),
        (
            "chart/templates/config.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\ndata: {greeting: {{ .Values.greeting }}}\n",
        ),
        ("random/Chart.yaml", "apiVersion: v2\nname: random\nversion: 1.0.0\n"),
        (
            "random/templates/secret.yaml",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: {{ randAlphaNum 12 }}}\n",
        ),
    ]);
    let diff = place.gitops("diff").code(1);
    assert!(
        diff.stdout.contains("my-web") && diff.stdout.contains("app/base/config.yaml"),
        "{}",
        diff.stdout
    );
    let repo = place.repo.path().display().to_string();
    let chart = place.gitops(&format!("render --repo {repo} --path chart --origin")).ok();
    assert!(
        chart.stdout.contains("# chart/templates/config.yaml") && chart.stdout.contains("greeting: hi"),
        "{}",
        chart.stdout
    );
    let random = place.gitops(&format!("render --repo {repo} --path random")).code(4);
    assert!(
        random.stderr.contains("data.password") || random.stderr.contains("stringData.password"),
        "{}",
        random.stderr
    );
}

#[test]
fn everything_else_a_newcomer_tries() {
    let place = shop();
    let version = place.gitops("version -o json").ok().json();
    assert!(version["server"].as_str().unwrap().starts_with("v1."), "{version}");
    let init = place.gitops("init web --dry-run -n shop").ok();
    assert!(init.stdout.contains("namespace: shop"), "{}", init.stdout);
    let init = place.gitops("init web --dry-run -n shop -o json").ok().json();
    assert_eq!(init["spec"]["destination"]["namespace"], "shop");
    assert_eq!(place.gitops("init web --dry-run -o name").ok().stdout, "application/web\n");
    assert!(place.gitops("init").code(2).stderr.contains("is there already"));
    assert!(place.gitops("completion bash").ok().stdout.contains("kubectl-gitops"));
    assert!(place.gitops("completion kubectl").ok().stdout.starts_with("#!/bin/sh"));
    assert!(place.gitops("render -o name").ok().stdout.contains("deployment/web"));
    assert!(place.gitops("--help").ok().stdout.contains("Usage: kubectl gitops"));
}
