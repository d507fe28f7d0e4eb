//! Who may ask the controller for what: people with the chart's roles, by real
//! RBAC; and Applications of the cluster, written by the plugin.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;

use gitops_tests::cluster::{Ran, webhook_cluster};
use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use gitops_tests::{Shop, TestCluster};
use serde_json::{Value, json};

const REQUEST: &str = "kubectl-gitops.dev/request";
const REQUESTED_BY: &str = "kubectl-gitops.dev/requested-by";
const ROLES: [&str; 4] = ["viewer", "developer", "operator", "admin"];

/// The chart's roles, as helm renders them.
fn roles(cluster: &TestCluster) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut helm = cluster.command("helm");
    let arguments =
        "template gitops charts/gitops --namespace gitops-system --show-only templates/access.yaml";
    helm.current_dir(root).args(arguments.split_whitespace());
    let rendered = gitops_tests::cluster::ran(&mut helm, None).ok().stdout;
    cluster.kubectl_stdin("apply --server-side --force-conflicts -f -", &rendered).ok();
}

/// A namespace that is held, and in it one person of each role.
fn shop() -> Shop {
    let shop = Shop::open();
    roles(shop.cluster);
    for role in ROLES {
        shop.kubectl(&format!("create rolebinding {role} --clusterrole=gitops-{role} --user={role}")).ok();
    }
    shop
}

fn request(id: &str, verb: &str) -> String {
    json!({"id": id, "verb": verb}).to_string()
}

fn patch(shop: &Shop, user: &str, patch: &Value, more: &[&str]) -> Ran {
    let user = format!("--as={user}");
    let patch = patch.to_string();
    let mut all = vec![&*user, "--as-group=system:authenticated", "patch", "application", "web"];
    all.extend(["--type=merge", "-p", &patch]);
    all.extend(more);
    shop.kubectl_args(&all)
}

fn ask(shop: &Shop, user: &str, id: &str, verb: &str) -> Ran {
    patch(shop, user, &json!({"metadata": {"annotations": {REQUEST: request(id, verb)}}}), &[])
}

fn annotation(shop: &Shop, name: &str) -> Option<String> {
    Some(shop.get("application", "web")?["metadata"]["annotations"].get(name)?.as_str()?.to_owned())
}

#[test]
fn each_role_asks_for_what_it_may_and_no_more() {
    let shop = shop();
    let may: [(&str, &[&str]); 4] = [
        ("viewer", &[]),
        ("developer", &["sync", "promote", "abort", "retry", "restart"]),
        (
            "operator",
            &["sync", "promote", "abort", "retry", "restart", "rollback", "suspend", "resume", "pause"],
        ),
        (
            "admin",
            &["sync", "promote", "abort", "retry", "restart", "rollback", "suspend", "resume", "pause"],
        ),
    ];
    for (role, allowed) in may {
        for verb in ["sync", "promote", "abort", "retry", "restart", "rollback", "suspend", "resume", "pause"]
        {
            let id = format!("{role}-{verb}");
            let ran = ask(&shop, role, &id, verb);
            if allowed.contains(&verb) {
                ran.ok();
                assert_eq!(annotation(&shop, REQUEST), Some(request(&id, verb)));
                assert_eq!(annotation(&shop, REQUESTED_BY).as_deref(), Some(role));
            } else if role == "viewer" {
                assert!(ran.code != 0 && ran.stderr.contains("cannot patch"), "{}", ran.stderr);
            } else {
                ran.refused(&["takes the verb", "applications.kubectl-gitops.dev", "kubectl auth can-i"]);
            }
        }
    }
}

const ROLLOUT: &str = "apiVersion: kubectl-gitops.dev/v1alpha1
kind: Rollout
metadata: {name: web}
spec:
  target: {apiVersion: apps/v1, kind: Deployment, name: web}
  strategy: {canary: {steps: [{setWeight: 20}, {pause: {}}]}}
";

#[test]
fn of_a_rollout_who_may_abort_may_pause() {
    let shop = Shop::with(&[
        ("app/web.yaml", DEPLOYMENT),
        ("app/rollout.yaml", ROLLOUT),
        ("app/config.yaml", CONFIG),
    ]);
    roles(shop.cluster);
    for role in ROLES {
        shop.kubectl(&format!("create rolebinding {role} --clusterrole=gitops-{role} --user={role}")).ok();
    }
    shop.kubectl("create role presses --verb=get,patch,abort --resource=rollouts.kubectl-gitops.dev").ok();
    shop.kubectl("create rolebinding presses --role=presses --user=presses").ok();
    let ask = |user: &str, verb: &str| {
        let patch = json!({"metadata": {"annotations": {REQUEST: request(&format!("{user}-{verb}"), verb)}}})
            .to_string();
        let user = format!("--as={user}");
        let group = "--as-group=system:authenticated";
        shop.kubectl_args(&[&user, group, "patch", "rollout", "web", "--type=merge", "-p", &patch])
    };
    for (user, allowed, refused) in [
        ("developer", &["promote", "abort", "retry", "pause", "resume"][..], &["suspend", "rollback"][..]),
        ("presses", &["abort", "pause", "resume"], &["promote", "retry", "sync"]),
    ] {
        for verb in allowed {
            ask(user, verb).ok();
            let live = shop.get("rollout", "web").unwrap();
            assert_eq!(live["metadata"]["annotations"][REQUESTED_BY], user, "{verb}");
        }
        for verb in refused {
            ask(user, verb).refused(&["takes the verb", "rollouts.kubectl-gitops.dev", "kubectl auth can-i"]);
        }
    }
    let viewer = ask("viewer", "abort");
    assert!(viewer.code != 0 && viewer.stderr.contains("cannot patch"), "{}", viewer.stderr);
    // What the Rollout says is changed in Git, or with `manage`.
    let spec = json!({"spec": {"onFailure": "Hold"}}).to_string();
    let change = [
        "--as=developer",
        "--as-group=system:authenticated",
        "patch",
        "rollout",
        "web",
        "--type=merge",
        "-p",
        &spec,
    ];
    shop.kubectl_args(&change).refused(&["onFailure"]);
}

#[test]
fn nobody_asks_in_the_name_of_another() {
    let shop = shop();
    let name = |annotations: Value| json!({"metadata": {"annotations": annotations}});
    // A forged name beside a new request becomes the true one, dry runs too.
    let forged = name(json!({REQUEST: request("1", "sync"), REQUESTED_BY: "admin"}));
    let dry = patch(&shop, "developer", &forged, &["--dry-run=server", "-o", "json"]).ok().json();
    assert_eq!(dry["metadata"]["annotations"][REQUESTED_BY], "developer");
    ask(&shop, "admin", "2", "suspend").ok();
    // Beside a request of somebody else, none is put.
    let stolen = name(json!({REQUESTED_BY: "developer"}));
    for user in ["developer", "admin"] {
        let tried = name(json!({REQUESTED_BY: user.repeat(2)}));
        patch(&shop, user, &tried, &[]).refused(&[REQUESTED_BY]);
    }
    patch(&shop, "developer", &stolen, &["--dry-run=server"]).refused(&[REQUESTED_BY]);
    // What the admin asked for is not the developer's to withdraw.
    patch(&shop, "developer", &name(json!({REQUEST: null, REQUESTED_BY: null})), &[])
        .refused(&["takes the verb `suspend`"]);
    patch(&shop, "operator", &name(json!({REQUEST: null})), &[]).ok();
    assert_eq!((annotation(&shop, REQUEST), annotation(&shop, REQUESTED_BY)), (None, None));
    patch(&shop, "admin", &name(json!({REQUEST: "please"})), &[]).refused(&["is no request"]);
    assert_eq!(annotation(&shop, REQUEST), None);
}

#[test]
fn who_may_patch_an_application_changes_nothing_else_of_it() {
    let shop = shop();
    let before = shop.get("application", "web").unwrap()["spec"].clone();
    for user in ["developer", "operator"] {
        let both =
            json!({"metadata": {"annotations": {REQUEST: request("1", "sync")}}, "spec": {"suspend": true}});
        patch(&shop, user, &both, &[]).refused(&["takes the verb `manage`"]);
        let stay = json!({"metadata": {"finalizers": ["example.com/stay"]}});
        patch(&shop, user, &stay, &[]).refused(&["takes the verb `manage`"]);
        let open = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Override", "metadata": {"generateName": "x-"}, "spec": {"reason": "x", "expiresAt": "2099-01-01T00:00:00Z"}});
        let ran = shop
            .cluster
            .kubectl_stdin(&format!("--as={user} create --dry-run=server -f -"), &open.to_string());
        assert!(ran.code != 0 && ran.stderr.contains("cannot create"), "{}", ran.stderr);
    }
    assert_eq!(shop.get("application", "web").unwrap()["spec"], before);
    patch(&shop, "admin", &json!({"spec": {"dependsOn": []}}), &["--dry-run=server"]).ok();
}

#[test]
fn everyone_may_see_whether_a_controller_runs() {
    let cluster = webhook_cluster();
    roles(cluster);
    let may = |verb: &str| {
        cluster
            .kubectl(&format!(
                "auth can-i {verb} leases -n gitops-system --as=anyone --as-group=system:authenticated"
            ))
            .stdout
    };
    assert_eq!((may("list").trim(), may("update").trim()), ("yes", "no"));
}

#[test]
fn an_application_is_created_changed_and_deleted() {
    let shop = Shop::open();
    let (here, namespace) = (Path::new("/"), shop.name().to_owned());
    let run = |arguments: &str| shop.cluster.gitops(here, &format!("app {arguments} -n {namespace}"));
    let flags = format!("--repo {} --revision main --path other --project {namespace}", shop.repo.url());
    let printed = run(&format!("create two {flags} --dry-run -o yaml")).ok().stdout;
    assert!(printed.contains("kind: Application") && printed.contains("path: other"), "{printed}");
    assert!(shop.get("application", "two").is_none());
    run(&format!("create two {flags}")).ok();
    run(&format!("create two {flags}")).code(6);
    run("set two --revision v2 --dry-run=server").ok();
    assert_eq!(shop.get("application", "two").unwrap()["spec"]["source"]["revision"], "main");
    run("set two --revision v2 --prune").ok();
    let spec = shop.get("application", "two").unwrap()["spec"].clone();
    assert_eq!((&spec["source"]["revision"], &spec["sync"]["prune"]), (&json!("v2"), &json!(true)));
    assert_eq!(spec["source"]["path"], "other");
    assert!(run("set two --revision v2").ok().stdout.contains("unchanged"));
    run("delete two").code(2);
    let gone = run("delete two --yes -o json").ok().json();
    assert_eq!((&gone["kind"], &gone["gone"]), (&json!("Deletion"), &json!(true)), "{gone}");
    assert!(shop.get("application", "two").is_none());
    run("delete two --yes").code(3);
}

#[test]
fn what_git_declares_is_changed_in_git() {
    let files = [
        ("app/config.yaml", CONFIG.to_owned()),
        ("child/one.yaml", CONFIG.replace("name: web", "name: one")),
    ];
    let shop = Shop::unheld(&files.each_ref().map(|(path, text)| (*path, text.as_str())));
    let child = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": "child"},
        "spec": {"project": shop.name(), "source": {"repo": shop.repo.url(), "revision": "main", "path": "child"}}});
    shop.repo.commit("A child", &[("app/child.yaml", &child.to_string())]);
    let kinds = json!({"kinds": [{"group": "*", "kind": "*"}, {"group": "kubectl-gitops.dev", "kind": "Application"}]});
    shop.hold_under(kinds, json!({}));
    shop.sync().ok();
    for action in ["set child --revision v2", "delete child --yes"] {
        let ran = shop.cluster.gitops(Path::new("/"), &format!("app {action} -n {}", shop.name())).code(3);
        assert!(ran.stderr.contains("declared in Git, at app/child.yaml:1"), "{}", ran.stderr);
    }
}
