//! The controller's own token, in a stranger's hands: by the chart's real RBAC
//! it brings the cluster to what Git says, and nowhere else.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;

use gitops_tests::Shop;
use gitops_tests::controller::{account, installed};
use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use serde_json::{Value, json};
use tempfile::TempDir;

#[test]
fn the_controllers_token_deploys_what_git_says_and_nothing_else() {
    let shop = Shop::unheld(&[("app/web.yaml", DEPLOYMENT), ("app/config.yaml", CONFIG)]);
    let (namespace, folder) = (shop.name().to_owned(), TempDir::new().unwrap());
    // Of its own, since other tests give more to the account in gitops-system.
    let system = shop.cluster.namespace("controller");
    // Before the namespace takes only what Git declares.
    installed(shop.cluster, &system.name, &namespace);
    shop.hold_under(json!({"enforcement": {"untracked": "Deny"}}), json!({}));
    shop.sync().ok();
    let thief = account(shop.cluster, &system.name, folder.path());
    let who = thief.kubectl("auth whoami -o jsonpath={.status.userInfo.username}").ok().stdout;
    assert_eq!(who, format!("system:serviceaccount:{}:gitops-controller", system.name));

    let run = |arguments: &str| thief.kubectl(&format!("-n {namespace} {arguments}"));
    let patch = |what: &str, patch: &Value| {
        let patch = patch.to_string();
        let mut all = vec!["-n", &*namespace, "patch"];
        all.extend(what.split_whitespace());
        all.extend(["--type=merge", "-p", &patch]);
        thief.kubectl_args(&all)
    };
    let create =
        |object: Value| thief.kubectl_stdin(&format!("-n {namespace} create -f -"), &object.to_string());
    let of = |api: &str, kind: &str, more: Value| {
        let mut object = json!({"apiVersion": api, "kind": kind, "metadata": {"name": "mine"}});
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object
    };
    let ours = "kubectl-gitops.dev/v1alpha1";
    let pod = json!({"spec": {"containers": [{"name": "mine", "image": "evil"}]}});
    let everything = json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "gitops-controller", "namespace": system.name}]});
    let manage =
        json!({"rules": [{"apiGroups": ["kubectl-gitops.dev"], "resources": ["*"], "verbs": ["manage"]}]});
    let asks =
        json!({"metadata": {"annotations": {"kubectl-gitops.dev/request": r#"{"id":"1","verb":"sync"}"#}}});
    let rbac = "rbac.authorization.k8s.io/v1";
    let tries = [
        (
            "the network of its node",
            "spec.template.spec.hostNetwork",
            patch("deployment web", &json!({"spec": {"template": {"spec": {"hostNetwork": true}}}})),
        ),
        ("more replicas", "cannot patch resource", run("scale deployment web --replicas=7")),
        ("another value", "data.greeting", patch("configmap web", &json!({"data": {"greeting": "evil"}}))),
        ("a declared object less", "denied the request", run("delete deployment web")),
        ("a Pod of its own", "takes only what Git declares", create(of("v1", "Pod", pod))),
        (
            "a ConfigMap of its own",
            "takes only what Git declares",
            create(of("v1", "ConfigMap", json!({"data": {}}))),
        ),
        (
            "another source",
            "takes the verb `manage`",
            patch("application web", &json!({"spec": {"source": {"path": "evil"}}})),
        ),
        (
            "no enforcement",
            "takes the verb `manage`",
            patch("application web", &json!({"spec": {"enforcement": {"mode": "Off"}}})),
        ),
        (
            "an Application of its own",
            "denied the request",
            create(of(
                ours,
                "Application",
                json!({"spec": {"project": namespace, "source": {"repo": "https://evil.example/x"}}}),
            )),
        ),
        ("a Project of its own", "forbidden", create(of(ours, "Project", json!({"spec": {}})))),
        (
            "an Override",
            "forbidden",
            create(of(
                ours,
                "Override",
                json!({"spec": {"reason": "mine", "expiresAt": "2099-01-01T00:00:00Z"}}),
            )),
        ),
        ("a request", "denied the request", patch("application web", &asks)),
        ("a binding", "forbidden", create(of(rbac, "RoleBinding", everything))),
        ("a role", "forbidden", create(of(rbac, "Role", manage))),
        ("another's name", "cannot impersonate", run("get pods --as=system:admin --as-group=system:masters")),
        (
            "work in a Pod",
            "no",
            thief.kubectl(&format!("auth can-i create pods --subresource=exec -n {namespace}")),
        ),
        ("Secrets elsewhere", "forbidden", thief.kubectl("get secrets -n kube-system")),
    ];
    let wrong = tries.iter().filter_map(|(what, why, ran)| {
        let said = format!("{}{}", ran.stdout, ran.stderr);
        let is_refused = ran.code != 0 && said.contains(why);
        (!is_refused).then(|| format!("{what}, since {why}: {said}"))
    });
    assert_eq!(wrong.collect::<Vec<_>>(), Vec::<String>::new());
    let live = shop.get("deployment", "web").unwrap();
    assert_eq!(
        (&live["spec"]["replicas"], &live["spec"]["template"]["spec"]["hostNetwork"]),
        (&json!(2), &Value::Null)
    );

    // What Git says, it does.
    shop.repo.commit("Three", &[("app/web.yaml", &DEPLOYMENT.replace("replicas: 2", "replicas: 3"))]);
    thief.gitops(Path::new("/"), &format!("sync web --local -n {namespace}")).ok();
    assert_eq!(shop.get("deployment", "web").unwrap()["spec"]["replicas"], 3);
}
