//! Canaries by numbers of replicas.

use serde_json::json;

use crate::Stage;

#[test]
fn a_push_is_let_out_step_by_step_and_promoted() {
    let steps = json!([{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {"duration": "1s"}}]);
    let stage = Stage::new(&json!({"strategy": {"canary": {"steps": steps}}}));
    let first = stage.shop.repo.head();
    // What only the old version needs goes in the same commit.
    std::fs::remove_file(stage.shop.repo.file("app/config.yaml")).unwrap();
    let commit = stage.push("web:2");
    let status = stage.phase("Paused");
    assert_eq!((&status["step"], &status["weight"]), (&json!(1), &json!(25)), "{status}");
    assert_eq!(status["promotedRevision"], first, "{status}");
    assert_eq!(stage.runs("web-canary"), Some(("web:2".into(), 1)));
    assert_eq!(stage.runs("web"), Some(("web:1".into(), 3)));
    let config = |stage: &Stage| stage.shop.get("configmap", "web");
    assert!(config(&stage).is_some(), "the old version still reads it");
    stage.shop.kubectl("delete configmap web").refused(&["denied the request"]);
    stage.ask("promote", json!({})).ok();
    let status = stage.eventually("it is promoted", |stage| {
        let status = stage.rollout()["status"].clone();
        (status["phase"] == "Idle" && status["promotedRevision"] == *commit).then_some(status)
    });
    assert_eq!(status["state"]["record"]["verb"], "promote", "{status}");
    stage.eventually("the second workload goes", |stage| stage.runs("web-canary").is_none().then_some(()));
    assert_eq!(stage.runs("web"), Some(("web:2".into(), 4)));
    assert_eq!(stage.available("web"), 4);
    stage.eventually("and what it needed", |stage| config(stage).is_none().then_some(()));
}

#[test]
fn a_failing_version_goes_back_by_itself_in_the_cluster_and_in_git() {
    let stage = Stage::new(&json!({
        "strategy": {"canary": {"steps": [{"setWeight": 50}]}}, "deadlines": {"progress": "5s"}}));
    let first = stage.shop.repo.head();
    let bad = stage.push("web:broken");
    let head = stage.eventually("Git goes back", |stage| {
        let head = stage.shop.repo.head();
        (head != bad).then_some(head)
    });
    let (message, parent) = (
        stage.shop.repo.git(&["show", "-s", "--format=%B", &head]),
        stage.shop.repo.git(&["rev-parse", &format!("{head}^")]),
    );
    assert_eq!(parent.trim(), bad);
    assert!(message.contains("no progress for 5 seconds: ") && message.contains(&first), "{message}");
    let restored = stage.shop.repo.git(&["diff", "--stat", &first, &head]);
    assert_eq!(restored, "");
    let status = stage.eventually("it is at rest", |stage| {
        let status = stage.rollout()["status"].clone();
        (status["phase"] == "Idle").then_some(status)
    });
    assert_eq!(status["state"]["refused"], json!(null), "{status}");
    stage.eventually("the second workload goes", |stage| stage.runs("web-canary").is_none().then_some(()));
    stage.eventually("all old Pods are there", |stage| {
        (stage.runs("web") == Some(("web:1".into(), 4)) && stage.available("web") == 4).then_some(())
    });
}

#[test]
fn without_a_controller_the_plugin_drives_it() {
    let mut stage = Stage::new(&json!({
        "strategy": {"canary": {"steps": [{"setWeight": 50}]}}, "deadlines": {"progress": "5s"}}));
    stage.controller.take().unwrap().stop();
    let name = stage.shop.name().to_owned();
    let sync = |stage: &Stage, more: &str| {
        let command = format!("sync web --local --namespace {name} {more}");
        stage.shop.cluster.gitops(std::path::Path::new("/"), &command)
    };
    let commit = stage.push("web:2");
    let told = sync(&stage, "").ok();
    assert!(told.stderr.contains("no controller runs here"), "{told:?}");
    assert_eq!(stage.runs("web"), Some(("web:1".into(), 4)));
    let told = sync(&stage, "--wait").ok();
    assert!(told.stdout.contains("is Promoting"), "{told:?}");
    stage.promoted(&commit, "web:2");
    let bad = stage.push("web:broken");
    let told = sync(&stage, "--wait");
    assert!(told.stdout.contains("is Aborting") && told.stderr.contains("Git goes back by"), "{told:?}");
    assert_ne!(stage.shop.repo.head(), bad);
    stage.eventually("the old version alone", |stage| (stage.images() == ["web:2"; 4]).then_some(()));
}
