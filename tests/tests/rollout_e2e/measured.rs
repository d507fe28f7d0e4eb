//! Versions that are measured on their way in.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use gitops_tests::cluster::webhook_cluster;
use gitops_tests::prometheus::Prometheus;
use serde_json::{Value, json};

use crate::Stage;
use crate::stage::service;

fn template(name: &str, metric: Value) -> Value {
    json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": name}, "spec": {"metrics": [metric]}})
}

fn measuring(template: &str) -> Value {
    json!({"strategy": {"canary": {"steps": [{"setWeight": 50}, {"analysis": {"templates": [{"name": template}]}}]}}})
}

/// Errors of each track, as its Pods' labels name it.
fn errors(prometheus: &Prometheus, canary: f64) {
    prometheus.export(&[
        format!("error_share{{track=\"canary\"}} {canary}"),
        "error_share{track=\"stable\"} 0.001".into(),
    ]);
    prometheus.scraped(4);
}

#[test]
fn a_version_is_let_in_or_taken_back_by_what_prometheus_says() {
    let prometheus = Prometheus::start();
    let query = json!({"address": prometheus.address(), "query": "error_share{track=\"canary\"}"});
    let metric = json!({"name": "share", "interval": "1s", "count": 6, "success": "result < 0.05", "prometheus": query});
    let stage = Stage::of("Deployment", &measuring("errors"), &[template("errors", metric)]);
    errors(&prometheus, 0.004);
    stage.push("web:2");
    let status = stage.eventually("it is being measured", |stage| {
        let status = stage.rollout()["status"].clone();
        let values = status["measurements"].as_array().map_or(0, Vec::len);
        (values > 1).then_some(status)
    });
    let first = &status["measurements"][0];
    assert_eq!((&first["metric"], &first["value"]), (&json!("errors/share"), &json!("0.004")), "{status}");
    assert_eq!((&first["outcome"], first["time"].is_string()), (&json!("Success"), true), "{status}");
    stage.eventually("it is promoted", |stage| {
        (stage.runs("web") == Some(("web:2".into(), 4)) && stage.runs("web-canary").is_none()).then_some(())
    });
    stage.phase("Idle");

    // Nothing but the first measurement is needed to take the next one back.
    errors(&prometheus, 0.2);
    let good = stage.shop.repo.head();
    stage.push("web:3");
    stage.eventually("it is taken back", |stage| {
        let message = stage.rollout()["status"]["message"].to_string();
        message.contains("errors/share: 1 of 1 measurements failed").then_some(())
    });
    let begun = Instant::now();
    stage.eventually("the bad version's Pods are gone", |stage| {
        stage.images().iter().all(|image| image != "web:3").then_some(())
    });
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    stage.eventually("Git goes back", |stage| {
        (stage.shop.repo.git(&["diff", "--stat", &good, "main"]).is_empty()).then_some(())
    });
}

/// By a Job on the stage's node.
fn smoke(stage: &Stage, image: &str) -> String {
    let mut pod = stage.node.placement();
    pod["containers"] = json!([{"name": "check", "image": image}]);
    template("smoke", json!({"name": "test", "job": {"template": {"spec": {"template": {"spec": pod}}}}}))
        .to_string()
}

#[test]
fn a_job_measures_where_only_what_git_declares_may_be() {
    let at_first = template("smoke", json!({"name": "pods", "kubernetes": {"signals": ["Restarts"]}}));
    let stage = Stage::of("Deployment", &measuring("smoke"), &[at_first]);
    stage.shop.repo.commit("smoke", &[("app/beside.yaml", &smoke(&stage, "check:1"))]);
    deployer(&stage);
    let spec = json!({"enforcement": {"untracked": "Deny"}, "serviceAccountName": "deployer"});
    stage.shop.change(&spec);
    stage.eventually("the template is there", |stage| {
        stage.shop.get("analysistemplate", "smoke")?.pointer("/spec/metrics/0/job").map(drop)
    });
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "check", "image": "evil:1"}]});
    let rollout = stage.rollout();
    let owner = json!([{"apiVersion": rollout["apiVersion"], "kind": "Rollout", "name": "web", "uid": rollout["metadata"]["uid"], "controller": true}]);
    let job = |owners: &Value| {
        let metadata = json!({"name": "web-evil", "ownerReferences": owners, "labels": {"kubectl-gitops.dev/rollout": rollout["metadata"]["uid"]}});
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": {"spec": pod}}}).to_string()
    };
    stage.eventually("nothing else may be made", |stage| {
        let made = stage.shop.kubectl_stdin("create --dry-run=server -f -", &job(&json!([])));
        made.stderr.contains("takes only what Git declares").then_some(())
    });
    // Nor in the Rollout's name.
    stage.shop.kubectl_stdin("create -f -", &job(&owner)).refused(&["Rollout web controls it"]);

    stage.push("web:2");
    let job = stage.eventually("the Job runs", |stage| {
        let jobs = stage.shop.kubectl("get jobs -o json").ok().json();
        jobs["items"].get(0).cloned()
    });
    assert_eq!(job["spec"]["template"]["spec"]["containers"][0]["image"], "check:1");
    stage.eventually("it is promoted", |stage| {
        (stage.runs("web") == Some(("web:2".into(), 4)) && stage.runs("web-canary").is_none()).then_some(())
    });
    stage.eventually("the Job is gone", |stage| {
        stage.shop.kubectl("get jobs -o name").ok().stdout.trim().is_empty().then_some(())
    });
    let by = format!("system:serviceaccount:{}:deployer", stage.shop.name());
    for verb in ["create", "delete"] {
        assert_eq!(who(&stage, verb), [by.clone()].into(), "{verb}");
    }
}

/// A service account that may do everything in the stage's namespace.
fn deployer(stage: &Stage) {
    let (shop, account) = (&stage.shop, format!("{}:deployer", stage.shop.name()));
    shop.kubectl("create serviceaccount deployer").ok();
    let bind = format!("create rolebinding deployer --clusterrole=cluster-admin --serviceaccount={account}");
    shop.kubectl(&bind).ok();
}

/// In whose names the controller has done this to Jobs, as the API server's audit
/// log has it.
fn who(stage: &Stage, verb: &str) -> BTreeSet<String> {
    let log = stage.shop.cluster.kubeconfig().parent().unwrap().join("logs/audit.log");
    let text = std::fs::read_to_string(log).unwrap();
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let is_meant = |event: &Value| {
        let (object, user) = (&event["objectRef"], event["user"]["username"].as_str().unwrap_or_default());
        let by_us = !event["userAgent"].as_str().unwrap_or_default().contains("kubectl/");
        event["verb"] == verb
            && object["resource"] == "jobs"
            && object["namespace"] == stage.shop.name()
            && by_us
            && !user.starts_with("system:")
    };
    let all = events.filter(is_meant);
    all.map(|event| event["impersonatedUser"]["username"].as_str().unwrap_or("itself").to_owned()).collect()
}

#[test]
fn pods_that_restart_take_the_version_back_in_the_background() {
    let metric =
        json!({"name": "pods", "interval": "1s", "kubernetes": {"signals": ["Restarts", "Readiness"]}});
    let shared = format!("shared-{}", std::process::id());
    let spec = json!({"strategy": {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}},
        "analysis": {"templates": [{"name": shared}]}, "onFailure": "Hold"});
    // Usable everywhere, and declared by no Application.
    let system = "apply -n gitops-system -f -";
    webhook_cluster().kubectl_stdin(system, &template(&shared, metric).to_string()).ok();
    let stage = Stage::new(&spec);
    stage.push("web:2");
    stage.phase("Paused");
    // Held by a person it is measured all the same.
    stage.ask("pause", json!({})).ok();
    stage.eventually("it is held", |stage| {
        (stage.rollout()["status"]["state"]["held"] == "Asked").then_some(())
    });
    let pod = stage
        .shop
        .kubectl("get pods -l kubectl-gitops.dev/track=canary -o jsonpath={.items[0].metadata.name}")
        .ok()
        .stdout;
    let status = json!({"status": {"containerStatuses": [{"name": "web", "image": "web:2", "imageID": "x", "ready": true, "restartCount": 3,
        "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}]}});
    stage
        .shop
        .kubectl_args(&[
            "patch",
            "pod",
            &pod,
            "--subresource=status",
            "--type=merge",
            "-p",
            &status.to_string(),
        ])
        .ok();
    let status = stage.phase("Aborted");
    assert!(status["message"].to_string().contains(&format!("{shared}/pods")), "{status}");
    let values = status["measurements"].to_string();
    assert!(values.contains("restarted web 3 times: Error") || values == "null", "{status}");
    stage.eventually("the old version has all Pods", |stage| {
        (stage.images() == vec!["web:1"; 4]).then_some(())
    });
    stage.shop.cluster.kubectl(&format!("delete analysistemplate {shared} -n gitops-system")).ok();
}

#[test]
fn a_template_that_is_not_there_is_told_with_a_way_out() {
    let steps = |name: &str| json!([{"setWeight": 25}, {"analysis": {"templates": [{"name": name}]}}]);
    let stage = Stage::new(&json!({"strategy": {"canary": {"steps": [{"setWeight": 25}]}}}));
    let named = json!({"strategy": {"canary": {"steps": steps("pods")}}, "onFailure": "Hold"});
    let rollout = crate::stage::rollout_of("Deployment", &named);
    let workload = stage.workload("web:2");
    stage.shop.repo.commit("second", &[("app/rollout.yaml", &rollout), ("app/web.yaml", &workload)]);
    let status = stage.eventually("it says why it stands still", |stage| {
        let status = stage.rollout()["status"].clone();
        let condition = status["conditions"].as_array()?.first()?.clone();
        (condition["type"] == "Stalled" && condition["status"] == "True").then_some(status)
    });
    let message = status["message"].as_str().unwrap();
    for part in ["there is no AnalysisTemplate pods", "kubectl gitops rollout lint"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(stage.runs("web"), Some(("web:1".into(), 4)));
    stage.eventually("an Event tells it", |stage| {
        let events = stage.shop.kubectl("get events -o json").ok().json();
        let told = |event: &Value| event["reason"] == "RolloutStandsStill";
        events["items"].as_array()?.iter().any(told).then_some(())
    });
    let template = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "pods"},
        "spec": {"metrics": [{"name": "m", "interval": "1s", "kubernetes": {"signals": ["Restarts"]}}]}});
    let commit = stage.shop.repo.commit("third", &[("app/template.yaml", &template.to_string())]);
    stage.promoted(&commit, "web:2");
    let status = stage.rollout()["status"].clone();
    assert_eq!(
        (&status["conditions"], &status["history"][0]["outcome"]),
        (&Value::Null, &json!("Promoted")),
        "{status}"
    );
    a_rollout_that_cannot_work_lets_nothing_out(&stage);
}

/// Without its Service everybody would be sent to the new version at once.
fn a_rollout_that_cannot_work_lets_nothing_out(stage: &Stage) {
    let blue_green = json!({"strategy": {"blueGreen": {"activeService": "front", "scaleDownDelay": "1s"}}});
    let rollout = crate::stage::rollout_of("Deployment", &blue_green);
    let workload = stage.workload("web:3");
    stage.shop.repo.commit("fourth", &[("app/rollout.yaml", &rollout), ("app/web.yaml", &workload)]);
    let condition = stage.eventually("it says why it stands still", |stage| {
        let status = stage.rollout()["status"].clone();
        status["conditions"].as_array()?.iter().find(|known| known["type"] == "Stalled").cloned()
    });
    assert_eq!(condition["reason"], "Strategy", "{condition}");
    let told = condition["message"].as_str().unwrap();
    assert!(told.contains("Service front is not declared beside the Rollout"), "{told}");
    assert_eq!(stage.images(), ["web:2"; 4]);
    let front = service("front").to_string();
    let commit = stage.shop.repo.commit("fifth", &[("app/front.yaml", &front)]);
    stage.promoted(&commit, "web:3");
}
