//! A sync that is cut off at any of its requests, or killed, is mended by the
//! next.

use std::process::Stdio;
use std::time::{Duration, Instant};

use gitops_tests::{Fault, FaultyProxy, Place, TestCluster, cluster};
use serde_json::json;

use super::{config, object, wave};

/// What a small sync writes: a hook, a change, a wave, a prune.
fn turn(place: &Place, number: usize) {
    if number > 0 {
        std::fs::remove_file(place.repo.file(&format!("app/n{}.yaml", number - 1))).unwrap();
    }
    let text = object("ConfigMap", "web", &json!({}), &json!({"data": {"a": number.to_string()}}));
    let hooked = json!({"argocd.argoproj.io/hook": "PreSync", "argocd.argoproj.io/hook-delete-policy": "HookSucceeded"});
    place.commit(&[
        ("app/a.yaml", text),
        ("app/h.yaml", config("hooked", &hooked)),
        (&format!("app/n{number}.yaml"), config(&format!("n{number}"), &wave(1))),
    ]);
}

fn converges(place: &Place, number: usize, case: &str) {
    let again = place.gitops("sync --prune -o json");
    assert_eq!(again.code, 0, "{case}: {}{}", again.stdout, again.stderr);
    let list = place.kubectl("get configmap -o json").json();
    let held: Vec<(&str, &str)> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            (item["metadata"]["name"].as_str().unwrap(), item["data"]["a"].as_str().unwrap_or_default())
        })
        .filter(|(name, _)| *name != "kube-root-ca.crt")
        .collect();
    let (last, value) = (format!("n{number}"), number.to_string());
    assert_eq!(held, [(last.as_str(), "1"), ("web", value.as_str())], "{case}");
    assert_eq!(place.gitops("diff").code, 0, "{case}");
}

/// How many requests a turn takes: that of number 1.
fn requests(place: &Place, proxy: &FaultyProxy) -> usize {
    let sync = || proxy.cluster().gitops(place.repo.path(), "sync --prune").ok();
    sync();
    turn(place, 1);
    proxy.disarm();
    sync();
    let requests = proxy.requests();
    assert!((10..60).contains(&requests), "{requests} requests");
    requests
}

fn every_request_meets(faults: &[Fault]) {
    let place = Place::new::<&str>(&[]);
    turn(&place, 0);
    let proxy = FaultyProxy::start(cluster());
    let broken = proxy.cluster();
    let sync = |cluster: &TestCluster| {
        cluster.gitops(place.repo.path(), "sync --prune -o json --request-timeout 1s")
    };
    let requests = requests(&place, &proxy);
    let mut number = 1;
    for fault in faults {
        for request in 1..=requests {
            number += 1;
            turn(&place, number);
            proxy.arm(request, *fault);
            let ran = sync(&broken);
            let case = format!("{fault:?} at request {request} of {requests}");
            assert!([0, 1, 3, 5, 6, 7, 8].contains(&ran.code), "{case}: {}{}", ran.stdout, ran.stderr);
            // Either it says what it did, or why it could not begin.
            assert!(ran.stdout.contains("\"counts\"") || ran.stderr.contains("error:"), "{case}");
            proxy.disarm();
            converges(&place, number, &case);
        }
    }
}

#[test]
fn a_connection_cut_anywhere_is_mended_by_the_next_sync() {
    every_request_meets(&[Fault::CutBefore, Fault::CutAfter]);
}

#[test]
fn an_api_server_that_fails_anywhere_is_mended_by_the_next_sync() {
    every_request_meets(&[Fault::Status(429), Fault::Status(500)]);
}

#[test]
fn expired_tokens_and_late_answers_are_mended_by_the_next_sync() {
    every_request_meets(&[Fault::Status(401), Fault::Delay(Duration::from_millis(1300))]);
}

/// The API server goes away in the middle, and is back by the next sync.
#[test]
fn an_outage_that_lasts_is_told_and_mended_by_the_next_sync() {
    let place = Place::new::<&str>(&[]);
    turn(&place, 0);
    let proxy = FaultyProxy::start(cluster());
    let broken = proxy.cluster();
    let requests = requests(&place, &proxy);
    for (number, part) in [(2, 1), (3, 4)] {
        let request = 1 + requests * part / 6;
        turn(&place, number);
        proxy.arm_from(request, if number % 2 == 0 { Fault::CutBefore } else { Fault::Status(503) });
        let ran = broken.gitops(place.repo.path(), "sync --prune -o json");
        let case = format!("gone from request {request} on");
        assert!(proxy.requests() >= request, "{case}: it was met");
        assert!([5, 6, 7].contains(&ran.code), "{case}: {}: {}{}", ran.code, ran.stdout, ran.stderr);
        let said = ran.stderr.contains("error:") || ran.stdout.contains("\"counts\"");
        assert!(said, "{case}: {}{}", ran.stdout, ran.stderr);
        proxy.disarm();
        converges(&place, number, &case);
    }
}

#[test]
fn a_killed_sync_is_mended_by_the_next() {
    let place = Place::new::<&str>(&[]);
    turn(&place, 0);
    let proxy = FaultyProxy::start(cluster());
    let broken = proxy.cluster();
    let requests = requests(&place, &proxy);
    for (number, request) in [(2, requests / 2), (3, requests * 3 / 4)] {
        turn(&place, number);
        proxy.arm(request, Fault::Hang);
        let mut sync = std::process::Command::new(gitops_tests::binary("kubectl-gitops"));
        sync.args(["sync", "--prune", "--kubeconfig"])
            .arg(broken.kubeconfig())
            .current_dir(place.repo.path());
        let mut sync = sync.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while proxy.requests() < request && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(proxy.requests() >= request, "it ended before request {request}");
        sync.kill().unwrap();
        sync.wait().unwrap();
        proxy.disarm();
        converges(&place, number, &format!("killed at request {request}"));
    }
}
