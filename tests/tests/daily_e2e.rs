//! The daily commands on the real API server, through the real kubectl.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use gitops_tests::cluster::{eventually, ran};
use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use gitops_tests::{FakeNode, Place, Shop, cluster};
use serde_json::{Value, json};

fn shop() -> Place {
    Place::new(&[("app/web.yaml", DEPLOYMENT), ("app/config.yaml", CONFIG)])
}

/// The Deployment, so that its Pods come to this node.
fn placed(node: &FakeNode) -> String {
    let placement = node.placement();
    let spec = format!(
        "    spec:\n      nodeSelector: {}\n      tolerations: {}\n",
        placement["nodeSelector"], placement["tolerations"]
    );
    DEPLOYMENT.replace("    spec:\n", &spec)
}

fn why(status: &Value, kind: &str) -> (String, String, String) {
    let objects = status["objects"].as_array().unwrap();
    let object = objects.iter().find(|object| object["object"]["kind"] == kind).unwrap();
    let text = |field: &str| object["health"][field].as_str().unwrap_or_default().to_owned();
    (text("health"), text("reason"), text("message"))
}

#[test]
fn status_says_for_lack_of_what_a_pod_waits() {
    let place = Place::new(&[(
        "app/web.yaml",
        &DEPLOYMENT.replace("    spec:\n", "    spec:\n      nodeSelector: {disk: none}\n"),
    )]);
    place.gitops("sync").ok();
    let (_, _, message) = eventually("the reason is told", Duration::from_secs(60), || {
        let status = place.gitops("status -o json").code(1).json();
        Some(why(&status, "Deployment")).filter(|(_, reason, _)| reason == "Unschedulable")
    });
    assert!(message.contains(": Pod web-") && message.contains("no node takes it"), "{message}");
    let text = place.gitops("status").code(1).stdout;
    assert!(text.contains("running:  no, of 1 object: 1 not healthy"), "{text}");
    let tree = place.gitops("tree").code(1).stdout;
    assert!(tree.contains("└─ ReplicaSet web-") && tree.contains("└─ Pod web-"), "{tree}");
}

#[test]
fn status_says_which_quota_is_used_up() {
    let quota = "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: tiny}\nspec: {hard: {pods: \"0\"}}\n";
    let place = Place::new(&[("app/quota.yaml", quota)]);
    place.gitops("sync --wait --timeout 60s").ok();
    place.repo.commit("Deploy", &[("app/web.yaml", DEPLOYMENT)]);
    place.gitops("sync").ok();
    eventually("the quota is named", Duration::from_secs(60), || {
        let status = place.gitops("status -o json").code(1).json();
        let (health, reason, message) = why(&status, "Deployment");
        (health == "Degraded" && reason == "QuotaExceeded" && message.contains("quota tiny")).then_some(())
    });
    let events = place.gitops("events --warnings").ok().stdout;
    assert!(events.contains("FailedCreate") && events.contains("exceeded quota: tiny"), "{events}");
}

#[test]
fn a_wait_that_ends_tells_what_is_the_matter_by_then() {
    let shop = Shop::unheld(&[("app/config.yaml", CONFIG)]);
    shop.hold(json!({}));
    let waits = std::thread::scope(|scope| {
        let command = format!("wait web -n {} --for synced --timeout 10s", shop.name());
        let (cluster, root) = (shop.cluster, std::path::Path::new("/"));
        let waits = scope.spawn(move || cluster.gitops(root, &command));
        std::thread::sleep(Duration::from_secs(2));
        shop.repo.commit("broken", &[("app/config.yaml", "kind: [\n")]);
        shop.wait_for("Rendered", "False");
        waits.join().unwrap()
    });
    let waited = waits.code(8);
    assert!(waited.stderr.contains("app/config.yaml"), "{}", waited.stderr);
}

#[test]
fn a_days_work() {
    let node = FakeNode::start(cluster(), &format!("daily-{}", std::process::id()));
    let place = Place::new(&[("app/web.yaml", placed(&node).as_str()), ("app/config.yaml", CONFIG)]);
    place.gitops("wait --timeout 1s").code(8);
    place.gitops("sync --wait --timeout 90s").ok();
    place.gitops("wait --for=healthy,synced --timeout 60s").ok();
    let status = place.gitops("status").ok().stdout;
    assert!(status.contains("running:  yes, 2 objects as Git says, healthy"), "{status}");

    let list = place.gitops("list -o json").ok().json();
    let item = &list["items"][0];
    assert_eq!((&item["sync"], &item["health"]), (&json!("Synced"), &json!("Healthy")), "{item}");
    let tree = place.gitops("tree -o json").ok().json();
    let objects = tree["objects"].as_array().unwrap();
    let web = objects.iter().find(|node| node["object"]["kind"] == "Deployment").unwrap();
    let pods = web["children"][0]["children"].as_array().unwrap();
    assert_eq!((pods.len(), &pods[0]["health"]), (2, &json!("Healthy")), "{web}");

    let first = place.repo.head();
    place.repo.commit("Unrelated", &[("README.md", "hello")]);
    let second = place.repo.commit("Greet", &[("app/config.yaml", &CONFIG.replace("hello", "hi"))]);
    let history = |place: &Place| place.gitops("history -o json").ok().json()["items"].clone();
    let before = history(&place);
    assert_eq!((&before[0]["revision"], &before[0]["live"]), (&json!(second), &json!(false)), "{before}");
    place.gitops("sync").ok();
    let after = history(&place);
    assert_eq!((&after[0]["live"], &after[0]["objects"]), (&json!(true), &json!(1)), "{after}");
    // The commit that only describes the Application changed nothing at its path.
    assert_eq!(
        (after.as_array().unwrap().len(), &after[1]["subject"]),
        (2, &json!("first")),
        "{first}: {after}"
    );
    assert!(place.gitops("events").ok().stdout.contains("ScalingReplicaSet"));
    drop(node);
}

#[test]
fn delete_takes_what_is_its_own() {
    let place = shop();
    place.gitops("sync").ok();
    place.kubectl("create configmap stranger --from-literal=a=b").ok();
    place.gitops("delete").code(2);
    let dry = place.gitops("delete --dry-run").ok().stdout;
    assert!(dry.contains("deleted Deployment") && dry.contains("(dry run)"), "{dry}");
    place.kubectl("get deployment web").ok();
    place.kubectl("annotate configmap web --overwrite kubectl-gitops.dev/owner=other/app").ok();
    let gone = place.gitops("delete --yes").ok().stdout;
    assert!(gone.contains("deleted Deployment") && gone.contains("it belongs to other/app"), "{gone}");
    assert_ne!(place.kubectl("get deployment web").code, 0);
    place.kubectl("get configmap web").ok();
    place.kubectl("get configmap stranger").ok();
}

#[test]
fn delete_orphans_when_asked_to() {
    let place = shop();
    place.gitops("sync").ok();
    let sets = || place.kubectl("get replicasets -o name").stdout;
    eventually("a ReplicaSet is made", Duration::from_secs(30), || (!sets().is_empty()).then_some(()));
    place.gitops("delete --yes --orphan").ok();
    eventually("the Deployment is gone", Duration::from_secs(30), || {
        (place.kubectl("get deployment web").code != 0).then_some(())
    });
    assert!(!sets().is_empty());
}

#[test]
fn rules_of_ones_own_are_heeded() {
    let group = format!("d{}.example.com", std::process::id());
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("dbs.{group}")}, "spec": {
        "group": group, "scope": "Namespaced", "names": {"kind": "Db", "plural": "dbs"}, "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    cluster().kubectl_stdin("apply -f -", &definition.to_string()).ok();
    cluster().serves(&format!("dbs.{group}"));
    let cel = "has(self.ready) && self.ready ? 'Healthy' : {'health': 'Progressing', 'reason': 'Filling', 'message': 'it is being filled'}";
    let rule = json!({"health": [{"group": group, "kind": "Db", "cel": cel}]});
    let db = format!("apiVersion: {group}/v1\nkind: Db\nmetadata: {{name: main}}\n");
    let place = Place::with(&[("app/db.yaml", &db)], &rule);
    place.gitops("sync --wait --timeout 1s").code(8);
    let status = place.gitops("status -o json").code(1).json();
    assert_eq!(why(&status, "Db"), ("Progressing".into(), "Filling".into(), "it is being filled".into()));
    place.repo.commit("Ready", &[("app/db.yaml", &format!("{db}ready: true\n"))]);
    place.gitops("sync --wait --timeout 30s").ok();

    let file = place.repo.file("db.yaml");
    std::fs::write(&file, &db).unwrap();
    let judged = place.gitops("health -f db.yaml --rules gitops.yaml -o json").code(1).json();
    assert_eq!((&judged["kind"], &judged["items"][0]["reason"]), (&json!("Health"), &json!("Filling")));
    place.gitops("health -f db.yaml").ok();
    std::fs::write(&file, "kind: Db\n").unwrap();
    place.gitops("health -f db.yaml").code(2);
    place.gitops("health -f nowhere.yaml").code(2);
    cluster().kubectl(&format!("delete crd dbs.{group} --wait=false")).ok();
}

#[test]
fn health_judges_what_kubectl_prints() {
    let place = shop();
    place.gitops("sync").ok();
    let objects = place.kubectl("get deployments,configmaps -o yaml").ok().stdout;
    let ran =
        ran(cluster().command("kubectl").args(["gitops", "health", "-f", "-", "-o", "name"]), Some(&objects));
    assert_eq!((ran.code, ran.stdout.as_str()), (1, "deployment/web\n"), "{}", ran.stderr);
}

#[test]
fn check_tells_what_is_missing_and_how_to_mend_it() {
    let place = shop();
    let ran = place.gitops("check -o json");
    let report = ran.json();
    let find = |name: &str| {
        let checks = report["checks"].as_array().unwrap();
        checks
            .iter()
            .find(|check| check["name"].as_str().unwrap().contains(name))
            .unwrap_or(&Value::Null)
            .clone()
    };
    assert_eq!(find("the API server answers")["state"], "passed", "{report}");
    assert_eq!(find("it renders")["state"], "passed", "{report}");
    assert_eq!(find("Git answers")["state"], "passed", "{report}");
    let pre = place.gitops("check --pre").ok().stdout;
    assert!(pre.contains("all is well") && pre.contains("you may create namespaces"), "{pre}");
    // Somebody who may do nothing.
    let denied = place.gitops("check --pre --as nobody").code(1).stdout;
    assert!(denied.contains("FAIL") && denied.contains("remedy:"), "{denied}");
    let away = place.gitops("check --server https://127.0.0.1:1").code(1).stdout;
    assert!(away.contains("FAIL the API server answers"), "{away}");
    place.repo.commit("Break", &[("app/x.yaml", "kind: [\n")]);
    let broken = place.gitops("check").code(1).stdout;
    assert!(broken.contains("FAIL") && broken.contains("app/x.yaml:1:7"), "{broken}");
}

#[test]
fn logs_of_pods_that_have_none_are_a_clear_error() {
    let place = shop();
    place.gitops("sync").ok();
    let ran = place.gitops("logs").code(2);
    assert!(ran.stderr.contains("there are no running or finished Pods"), "{}", ran.stderr);
}

/// A command that draws again and again, until it is ended by Ctrl-C.
struct Picture {
    child: Child,
    lines: Receiver<String>,
}

impl Picture {
    fn drawn(place: &Place, arguments: &str) -> Self {
        let mut command = cluster().command("kubectl");
        command.arg("gitops").args(arguments.split_whitespace()).current_dir(place.repo.path());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self { child, lines }
    }

    fn waits_for(&self, part: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        let left = || end.saturating_duration_since(Instant::now());
        let drawn =
            std::iter::from_fn(|| self.lines.recv_timeout(left()).ok()).any(|line| line.contains(part));
        assert!(drawn, "{part:?} is never drawn");
    }

    fn interrupted(mut self) -> i32 {
        ran(Command::new("kill").args(["-INT", &self.child.id().to_string()]), None).ok();
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn pictures_go_on_as_the_cluster_does_until_they_are_ended() {
    let place = Place::new(&[("app/config.yaml", CONFIG)]);
    let namespace = &place.namespace.name;
    let states = [
        ("status -w", "running:  no, of 1 object: 1 missing", "running:  yes, 1 object as Git says"),
        ("status -w -o jsonl", r#""action":"create""#, r#""action":"unchanged""#),
        (
            "tree -w",
            &format!("─ ConfigMap {namespace}/web  Missing"),
            &format!("─ ConfigMap {namespace}/web  Healthy"),
        ),
    ];
    let pictures =
        states.map(|(arguments, before, after)| (Picture::drawn(&place, arguments), before, after));
    pictures.iter().for_each(|(picture, before, _)| picture.waits_for(before));
    place.gitops("sync").ok();
    for (picture, before, after) in pictures {
        picture.waits_for(after);
        place.kubectl("delete configmap web").ok();
        picture.waits_for(before);
        place.gitops("sync").ok();
        assert_eq!(picture.interrupted(), 130);
    }
}
