//! What comes in between: newer versions, changed Rollouts, autoscalers, evicted
//! Pods, no room, no Git, and a controller that is killed at every step.

use std::time::Duration;

use gitops_tests::GitServer;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Stage;
use crate::stage::{automatic, rollout_of, service};

fn quarter() -> Value {
    json!({"strategy": {"canary": {"steps": [{"setWeight": 25}, {"pause": {}}]}}, "onFailure": "Hold"})
}

fn held(rollout: &Value) -> Stage {
    let stage = Stage::new(rollout);
    stage.push("web:2");
    stage.phase("Paused");
    stage
}

#[test]
fn a_newer_version_begins_anew_and_the_running_one_ends_it() {
    let stage = held(&quarter());
    stage.push("web:3");
    stage.eventually("the newer one begins", |stage| {
        let paused = stage.rollout()["status"]["phase"] == "Paused";
        (paused && stage.runs("web-canary") == Some(("web:3".into(), 1))).then_some(())
    });
    assert_eq!(stage.runs("web"), Some(("web:1".into(), 3)));
    stage.push("web:1");
    stage.phase("Idle");
    stage.eventually("the old version alone", |stage| (stage.images() == ["web:1"; 4]).then_some(()));
    assert_eq!(stage.runs("web-canary"), None);
}

#[test]
fn a_changed_rollout_begins_anew_and_without_one_git_is_followed_at_once() {
    let stage = held(&quarter());
    let half = json!({"strategy": {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}}});
    stage.shop.repo.commit("half", &[("app/rollout.yaml", &rollout_of("Deployment", &half))]);
    stage.eventually("it begins anew", |stage| {
        let status = stage.rollout()["status"].clone();
        (status["phase"] == "Paused" && status["weight"] == 50).then_some(())
    });
    assert_eq!(stage.runs("web-canary"), Some(("web:2".into(), 2)));
    stage.shop.repo.remove("no Rollout", &["app/rollout.yaml"]);
    stage.eventually("Git is followed", |stage| {
        let all = stage.runs("web") == Some(("web:2".into(), 4)) && stage.images() == ["web:2"; 4];
        (all && stage.runs("web-canary").is_none()).then_some(())
    });
    assert!(stage.shop.get("rollout", "web").is_none());
}

#[test]
fn where_there_is_no_room_the_old_version_stays() {
    let mut rollout = quarter();
    rollout["deadlines"] = json!({"progress": "3s"});
    rollout["onFailure"] = "Branch".into();
    let stage = Stage::new(&rollout);
    let first = stage.shop.repo.head();
    stage.shop.kubectl("create quota tight --hard=pods=4").ok();
    stage.eventually("the quota counts", |stage| {
        let quota = stage.shop.get("resourcequota", "tight")?;
        (quota["status"]["used"]["pods"] == "4").then_some(())
    });
    let bad = stage.push("web:2");
    let status = stage.phase("Aborted");
    let message = status["message"].as_str().unwrap();
    assert!(message.contains("ResourceQuota tight leaves 0 of pods, and 1 more Pods take 1"), "{message}");
    assert_eq!(stage.images(), ["web:1"; 4]);
    // For a pull request: the branch itself stays.
    let hash = status["state"]["refused"].as_str().unwrap();
    let branch = format!("rollback/{}-web-{hash}", stage.shop.name());
    stage.eventually("the status names the branch", |stage| {
        let done = stage.rollout()["status"]["state"]["aftermath"]["Done"].clone();
        (done == format!("branch {branch}")).then_some(())
    });
    assert_eq!(stage.shop.repo.head(), bad);
    assert_eq!(stage.shop.repo.git(&["rev-parse", &format!("{branch}^")]).trim(), bad);
    assert_eq!(stage.shop.repo.git(&["diff", "--stat", &first, &branch]), "");
    stage.shop.repo.git(&["merge", "--quiet", "--ff-only", &branch]);
    stage.phase("Idle");
}

#[test]
fn an_autoscaler_goes_on_and_an_evicted_pod_comes_back() {
    let rollout = json!({"strategy": {"canary": {"steps": [{"setWeight": 25}, {"pause": {}}]}},
        "traffic": {"stableService": "web", "canaryService": "web-new"}});
    let stage = Stage::of(
        "Deployment",
        &rollout,
        &[
            service("web"),
            service("web-new"),
            json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}, "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "minReplicas": 4, "maxReplicas": 6,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}}),
        ],
    );
    stage.scaled.set(true);
    let commit = stage.push("web:2");
    stage.phase("Paused");
    // As the autoscaler would.
    stage.shop.kubectl("scale deployment/web --replicas=5").ok();
    let refused = stage.shop.kubectl("scale deployment/web --replicas=9");
    assert!(refused.stderr.contains("denied the request"), "{refused:?}");
    stage.eventually("a quarter of five", |stage| (stage.available("web-canary") == 2).then_some(()));
    let canaries = |stage: &Stage| {
        let name = "get pods -l kubectl-gitops.dev/track=canary -o jsonpath={.items[*].metadata.name}";
        stage.shop.kubectl(name).ok().stdout
    };
    let name = canaries(&stage).split(' ').next().unwrap().to_owned();
    let namespace = stage.shop.name();
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}});
    let path = format!("create --raw /api/v1/namespaces/{namespace}/pods/{name}/eviction -f -");
    stage.shop.kubectl_stdin(&path, &eviction.to_string()).ok();
    stage.eventually("another Pod comes", |stage| {
        (stage.available("web-canary") == 2 && !canaries(stage).contains(&name)).then_some(())
    });
    assert_eq!(stage.rollout()["status"]["phase"], "Paused");
    stage.ask("promote", json!({})).ok();
    stage.eventually("it is promoted", |stage| {
        let status = stage.rollout()["status"].clone();
        (status["phase"] == "Idle" && status["promotedRevision"] == *commit).then_some(())
    });
    stage.eventually("with as many Pods", |stage| (stage.images() == ["web:2"; 5]).then_some(()));
}

#[test]
fn a_commit_that_cannot_be_pushed_is_tried_again() {
    let stage = Stage::new(&json!({
        "strategy": {"canary": {"steps": [{"setWeight": 50}]}}, "deadlines": {"progress": "3s"}}));
    let bad = stage.push("web:broken");
    // Git takes nothing now.
    let lock = stage.shop.repo.file(".git/index.lock");
    std::fs::write(&lock, "").unwrap();
    let status = stage.eventually("the status says so", |stage| {
        let status = stage.rollout()["status"].clone();
        let wanted = status["state"]["aftermath"]["Wanted"].as_str()?.contains("index.lock");
        (status["phase"] == "Aborted" && wanted).then_some(status)
    });
    assert!(status["message"].as_str().unwrap().contains("Git is to go back: "), "{status}");
    assert_eq!(stage.runs("web"), Some(("web:1".into(), 4)));
    assert_eq!(stage.shop.repo.head(), bad);
    std::fs::remove_file(&lock).unwrap();
    stage.eventually("Git goes back", |stage| (stage.shop.repo.head() != bad).then_some(()));
    stage.phase("Idle");
}

/// Waits until the Application says that Git cannot be followed; why.
fn left(stage: &Stage) -> String {
    stage.eventually("Git is not followed", |stage| {
        let status = stage.shop.get("application", "web")?["status"].clone();
        let synced = status["conditions"].as_array()?.iter().find(|known| known["type"] == "Synced")?.clone();
        (status["sync"] == "Unknown").then(|| synced["message"].as_str().unwrap_or_default().to_owned())
    })
}

#[test]
fn a_failing_version_goes_back_while_the_git_host_is_away() {
    let bare = TempDir::new().unwrap();
    let root = bare.path().join("shop.git").display().to_string();
    let mut server = None;
    let mut stage = Stage::held(
        "Deployment",
        &json!({"strategy": {"canary": {"steps": [{"setWeight": 50}]}}, "deadlines": {"progress": "12s"}}),
        &[],
        |shop| {
            shop.repo.git(&["clone", "--quiet", "--bare", ".", &root]);
            let host = GitServer::start(bare.path(), "127.0.0.1:0", None).unwrap();
            let mut spec = automatic();
            spec["source"] = json!({"repo": host.url("shop.git"), "revision": "main", "path": "app"});
            shop.hold(spec);
            server = Some(host);
        },
    );
    let bad = stage.push("web:broken");
    stage.shop.repo.git(&["push", "--quiet", &root, "main"]);
    stage.eventually("it begins", |stage| stage.runs("web-canary"));
    let address = server.take().unwrap().address().to_string();
    left(&stage);
    assert_eq!(stage.rollout()["status"]["phase"], "Progressing", "it is away in the middle");
    // A new one knows no more than what is in its cache and in the cluster.
    stage.controller.take().unwrap().kill();
    stage.drive();
    let status = stage.eventually("it is aborted", |stage| {
        let status = stage.rollout()["status"].clone();
        (status["phase"] == "Aborted" && status["state"]["aftermath"]["Wanted"] != "not pushed yet")
            .then_some(status)
    });
    let message = status["message"].as_str().unwrap();
    for part in ["no progress for 12 seconds", "Git is to go back: ", address.as_str()] {
        assert!(message.contains(part), "{message}");
    }
    stage.eventually("the old version alone", |stage| {
        let all = stage.runs("web") == Some(("web:1".into(), 4)) && stage.available("web") == 4;
        (all && stage.images() == ["web:1"; 4] && stage.runs("web-canary").is_none()).then_some(())
    });
    let _server =
        stage.eventually("the address is free", |_| GitServer::start(bare.path(), &address, None).ok());
    stage.eventually("Git goes back", |stage| {
        let head = stage.shop.repo.git(&["--git-dir", &root, "rev-parse", "main"]);
        (head.trim() != bad).then_some(())
    });
    stage.phase("Idle");
    assert_eq!(stage.images(), ["web:1"; 4]);
}

#[test]
fn a_broken_commit_in_the_middle_keeps_nobody_from_taking_the_version_back() {
    let mut rollout = quarter();
    rollout["onFailure"] = "Revert".into();
    let stage = held(&rollout);
    let bad = stage.shop.repo.commit("broken", &[("app/more.yaml", "a: [\n")]);
    assert!(left(&stage).contains("app/more.yaml"));
    stage.ask("abort", json!({})).ok();
    stage.eventually("it is taken back", |stage| {
        let status = stage.rollout()["status"].clone();
        let waits = status["message"].as_str()?.contains("Git is to go back: ");
        (status["phase"] == "Aborted" && waits && status["message"].as_str()?.contains("app/more.yaml"))
            .then_some(())
    });
    stage.eventually("the old version alone", |stage| {
        (stage.images() == ["web:1"; 4] && stage.runs("web-canary").is_none()).then_some(())
    });
    assert_eq!(stage.shop.repo.head(), bad, "nothing is pushed on what does not count");
    let mended = stage.shop.repo.remove("mended", &["app/more.yaml"]);
    stage.eventually("Git goes back", |stage| (stage.shop.repo.head() != mended).then_some(()));
    stage.phase("Idle");
    assert_eq!(stage.runs("web"), Some(("web:1".into(), 4)));
}

#[test]
fn a_controller_that_is_killed_again_and_again_gets_there() {
    let steps = json!([{"setWeight": 25}, {"setWeight": 50}, {"setWeight": 75}]);
    let mut stage = Stage::new(&json!({"strategy": {"canary": {"steps": steps}}}));
    stage.controller.take().unwrap().kill();
    let commit = stage.push("web:2");
    let state = |stage: &Stage| stage.rollout()["status"]["state"].clone();
    let mut states = vec![state(&stage)];
    for round in 0..6 {
        // At another moment of its look each time.
        stage.drive();
        std::thread::sleep(Duration::from_millis(300 + 370 * round));
        stage.controller.take().unwrap().kill();
        // And after a step, when the Lease of the dead is over.
        stage.drive();
        let next = stage.eventually("it goes on", |stage| {
            let (now, done) = (state(stage), stage.rollout()["status"]["promotedRevision"] == *commit);
            (done || states.last() != Some(&now)).then_some(now)
        });
        std::thread::sleep(Duration::from_millis(60 * round));
        stage.controller.take().unwrap().kill();
        states.push(next);
        // Nobody is left without Pods.
        assert!(stage.available("web") + stage.available("web-canary") >= 3, "{states:?}");
    }
    assert!(states.iter().any(|state| state["phase"] == "Progressing"), "in the middle: {states:?}");
    stage.drive();
    stage.promoted(&commit, "web:2");
}
