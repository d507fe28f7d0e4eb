//! Versions that people bring in by the plugin, let in by the controller and
//! judged by the webhook.

use std::path::Path;

use gitops_tests::Ran;
use serde_json::json;

use crate::Stage;

fn rollout(stage: &Stage, arguments: &str) -> Ran {
    stage.shop.cluster.gitops(Path::new("/"), &format!("rollout {arguments} -n {}", stage.shop.name()))
}

fn stage() -> Stage {
    let steps = json!([{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]);
    let stage = Stage::new(&json!({"strategy": {"canary": {"steps": steps}}}));
    stage.shop.repo.git(&["config", "user.name", "Grace"]);
    stage.shop.repo.git(&["config", "user.email", "grace@example.com"]);
    stage
}

#[test]
fn versions_come_and_go_by_commits_of_the_plugin() {
    let stage = stage();
    let first = stage.shop.repo.head();
    rollout(&stage, "set-image web web=web:2 --yes").ok();
    assert_ne!(stage.shop.repo.head(), first);
    stage.phase("Paused");
    assert_eq!(stage.runs("web-canary"), Some(("web:2".into(), 1)));
    let undone = rollout(&stage, "undo web --yes --reason INC-14").ok();
    assert!(undone.stdout.contains("image: web:1"), "{}{}", undone.stdout, undone.stderr);
    stage.promoted(&stage.shop.repo.head(), "web:1");

    // A restart changes no version, so it takes no step.
    let pods = || stage.shop.kubectl("get pods -l app=web -o name").ok().stdout;
    let before = pods();
    rollout(&stage, "restart web").ok();
    stage.eventually("all Pods are new ones", |stage| {
        let now = pods();
        let fresh = before.lines().all(|pod| !now.contains(pod));
        (fresh && stage.images() == ["web:1"; 4]).then_some(())
    });
    assert_eq!(stage.rollout()["status"]["phase"], "Idle");
}

#[test]
fn a_history_says_where_nobody_can_be_asked() {
    let stage = stage();
    let history = |cluster: &str| {
        let name = stage.shop.name();
        let described = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": "web", "namespace": name}, "spec": {"project": name,
                "source": {"repo": stage.shop.repo.url(), "revision": "main", "path": "app"},
                "destination": {"namespace": name, "cluster": cluster}}});
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("gitops.yaml"), described.to_string()).unwrap();
        stage.shop.cluster.gitops(folder.path(), &format!("rollout history web -n {name}")).ok()
    };
    let here = history("in-cluster");
    assert!(!here.stderr.contains("not known"), "{}", here.stderr);
    let elsewhere = history("nowhere");
    assert!(elsewhere.stdout.contains("web:1"), "{}", elsewhere.stdout);
    let told = &elsewhere.stderr;
    assert!(told.contains("nowhere") && told.contains("what became of versions is not known"), "{told}");
}
