//! No version gets out around its Rollout: a canary is held at its pause, and
//! everybody tries.

use std::path::Path;

use gitops_tests::cluster::Ran;
use serde_json::{Value, json};

use crate::Stage;

/// A canary of web:2 that waits at a quarter.
fn held() -> Stage {
    let stage = Stage::new(&json!({"strategy": {"canary": {"steps": [{"setWeight": 25}, {"pause": {}}]}}}));
    stage.push("web:2");
    stage.phase("Paused");
    stage
}

fn is_held(stage: &Stage) {
    assert_eq!(stage.runs("web"), Some(("web:1".into(), 3)));
    assert_eq!(stage.runs("web-canary"), Some(("web:2".into(), 1)));
}

fn refused(what: &str, ran: &Ran) {
    assert!(ran.code != 0 && ran.stderr.contains("denied the request"), "{what}: {ran:?}");
}

fn status(stage: &Stage, patch: &Value) -> Ran {
    let patch = json!({"status": patch}).to_string();
    stage.shop.kubectl_args(&[
        "patch",
        "rollout",
        "web",
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ])
}

#[test]
fn nobody_lets_a_version_out_by_hand() {
    let stage = held();
    let newest = stage.workload("web:2");
    for (what, ran) in [
        ("the newest YAML", stage.shop.kubectl_stdin("apply --server-side --force-conflicts -f -", &newest)),
        ("another image", stage.shop.kubectl("set image deployment/web web=web:2")),
        ("scaling the target", stage.shop.kubectl("scale deployment/web --replicas=0")),
        ("scaling it up", stage.shop.kubectl("scale deployment/web --replicas=4")),
        ("a bigger second workload", stage.shop.kubectl("scale deployment/web-canary --replicas=4")),
        ("another second workload", stage.shop.kubectl("set image deployment/web-canary web=web:3")),
        ("no second workload", stage.shop.kubectl("delete deployment web-canary")),
        ("no target", stage.shop.kubectl("delete deployment web")),
        ("an orphaning delete", stage.shop.kubectl("delete deployment web --cascade=orphan")),
        ("an orphaned canary", stage.shop.kubectl("delete deployment web-canary --cascade=orphan")),
        ("a Rollout that is gone", stage.shop.kubectl("delete rollout web")),
        (
            "another strategy",
            stage.shop.kubectl_args(&[
                "patch",
                "rollout",
                "web",
                "--type=merge",
                "-p",
                r#"{"spec": {"strategy": {"canary": {"steps": [{"setWeight": 100}]}}}}"#,
            ]),
        ),
    ] {
        refused(what, &ran);
    }
    is_held(&stage);
    // What is held is as Git says, worked in as it is.
    let name = stage.shop.name();
    let diff = stage.shop.cluster.gitops(Path::new("/"), &format!("diff web --namespace {name}")).code(0);
    assert!(!diff.stdout.contains("web:2") && !diff.stdout.contains("replicas"), "{}", diff.stdout);
    // A restart changes no version.
    stage.shop.kubectl("rollout restart deployment/web deployment/web-canary").ok();
    stage.eventually("it has restarted", |stage| {
        (stage.available("web") == 3 && stage.available("web-canary") == 1).then_some(())
    });
    is_held(&stage);
    assert_eq!(stage.rollout()["status"]["phase"], "Paused");
}

/// A paused Deployment that is scaled from zero starts its new template; a held version
/// does not start so.
#[test]
fn scaling_from_zero_lets_nothing_out() {
    let stage = Stage::new(&json!({"strategy": {"canary": {"steps": [{"setWeight": 25}, {"pause": {}}]}}}));
    let at_zero = |image: &str| {
        let four = stage.workload(image);
        let none = four.replace("\"replicas\":4", "\"replicas\":0");
        assert_ne!(none, four);
        stage.shop.repo.commit(image, &[("app/web.yaml", &none)]);
    };
    at_zero("web:1");
    stage.eventually("nothing runs", |stage| stage.images().is_empty().then_some(()));
    at_zero("web:2");
    stage.phase("Paused");
    refused("the target by hand", &stage.shop.kubectl("scale deployment/web --replicas=4"));
    let newest = stage.workload("web:2");
    let applied = stage.shop.kubectl_stdin("apply --server-side --force-conflicts -f -", &newest);
    refused("the newest YAML, with replicas", &applied);
    refused("another image", &stage.shop.kubectl("set image deployment/web web=web:2"));
    assert_eq!(stage.runs("web"), Some(("web:1".into(), 0)));
    assert!(stage.images().is_empty());
}

#[test]
fn a_forged_status_lets_nothing_out() {
    let stage = held();
    let state = stage.rollout()["status"]["state"].clone();
    let new = state["new"].clone();
    let mut elsewhere = new.clone();
    elsewhere["revision"] = "1234567890123456789012345678901234567890".into();
    refused("no state", &status(&stage, &json!({"state": null})));
    refused("no status", &status(&stage, &Value::Null));
    refused("nothing promoted", &status(&stage, &json!({"state": {"stable": null}})));
    refused("another commit", &status(&stage, &json!({"state": {"new": elsewhere}})));
    refused("another hash", &status(&stage, &json!({"state": {"new": {"hash": "0000000000"}}})));
    refused("what Git never held", &status(&stage, &json!({"state": {"stable": {"hash": "0000000000"}}})));
    refused("no Pods", &status(&stage, &json!({"state": {"setting": {"share": 0}}})));
    refused("more of it", &status(&stage, &json!({"state": {"setting": {"second": {"Percent": 90}}}})));
    refused("more Pods", &status(&stage, &json!({"state": {"replicas": 400}})));
    refused("other Pods", &status(&stage, &json!({"state": {"stablePods": "other"}})));
    refused("other new Pods", &status(&stage, &json!({"state": {"newPods": "other"}})));
    refused("no version", &status(&stage, &json!({"state": {"refused": "0000000000"}})));
    let record = json!({"id": "1", "verb": "promote", "by": "ada", "reason": "", "at": 1});
    refused("what nobody has asked", &status(&stage, &json!({"state": {"record": record}})));
    is_held(&stage);
}

#[test]
fn an_old_version_is_not_brought_back() {
    let mut stage = held();
    let old = stage.rollout()["status"]["state"]["stable"].clone();
    stage.ask("promote", json!({})).ok();
    stage.promoted(&stage.shop.repo.head(), "web:2");
    stage.push("web:3");
    stage.phase("Paused");
    stage.controller.take().unwrap().kill();
    let ran = status(&stage, &json!({"state": {"new": old}}));
    refused("the first version", &ran);
    assert!(ran.stderr.contains("older than what runs"), "{ran:?}");
    assert_eq!(stage.runs("web"), Some(("web:2".into(), 3)));
}

#[test]
fn while_everything_is_down_nothing_gets_out() {
    let mut stage = held();
    stage.controller.take().unwrap().kill();
    stage.push("web:3");
    // A sync by hand brings what the Rollout says.
    stage.shop.sync().ok();
    is_held(&stage);
    let newest = stage.workload("web:3");
    refused(
        "the newest YAML",
        &stage.shop.kubectl_stdin("apply --server-side --force-conflicts -f -", &newest),
    );
    is_held(&stage);
    // The webhook away, and with it the status: what runs is what was promoted.
    stage.shop.hold_off();
    stage.eventually("the webhook is away", |stage| {
        let ran = status(stage, &json!({"state": null, "phase": null}));
        (ran.code == 0).then_some(())
    });
    stage.shop.sync().ok();
    assert_eq!(stage.runs("web"), Some(("web:1".into(), 4)));
    assert_eq!(stage.runs("web-canary"), None);
    // And goes on from there.
    stage.drive();
    stage.eventually("the newest version begins", |stage| {
        (stage.runs("web-canary") == Some(("web:3".into(), 1))).then_some(())
    });
    assert_eq!(stage.runs("web").unwrap().0, "web:1");
}

#[test]
fn without_the_mutating_side_nothing_gets_out() {
    let stage = held();
    for _ in 0..3 {
        stage.shop.cluster.kubectl("delete mutatingwebhookconfiguration gitops --ignore-not-found").ok();
        refused("another image", &stage.shop.kubectl("set image deployment/web web=web:2"));
        refused("a second one", &stage.shop.kubectl("scale deployment/web-canary --replicas=4"));
    }
    is_held(&stage);
}

#[test]
fn a_second_workload_is_not_made_by_hand() {
    let stage = Stage::new(&json!({"strategy": {"canary": {"steps": [{"setWeight": 25}, {"pause": {}}]}}}));
    let mut second: Value = serde_json::from_str(&stage.workload("web:2")).unwrap();
    second["metadata"]["name"] = "web-canary".into();
    second["spec"]["selector"]["matchLabels"]["track"] = "canary".into();
    second["spec"]["template"]["metadata"]["labels"]["track"] = "canary".into();
    refused("a second workload", &stage.shop.kubectl_stdin("apply -f -", &second.to_string()));
    assert_eq!(stage.runs("web-canary"), None);
}
