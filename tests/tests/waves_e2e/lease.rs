//! One sync at a time, by a Lease.

use std::process::{Child, Stdio};
use std::time::Duration;

use gitops_tests::cluster::eventually;
use gitops_tests::shop::DEPLOYMENT;
use gitops_tests::{Fault, FaultyProxy, Place, cluster};
use serde_json::{Value, json};

use super::{config, wave};

/// A sync that waits for a Deployment that nobody runs.
fn waiting(place: &Place) -> Child {
    let mut sync = cluster().command("kubectl");
    sync.args(["gitops", "sync", "--timeout", "60s"]).current_dir(place.repo.path());
    let sync = sync.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("it has begun", Duration::from_secs(20), || place.has("deployment web").then_some(()));
    sync
}

fn ended(sync: Child) -> (Option<i32>, String) {
    let ended = sync.wait_with_output().unwrap();
    (ended.status.code(), String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned())
}

#[test]
fn two_syncs_do_not_mix() {
    let place =
        Place::new(&[("app/a.yaml", DEPLOYMENT.to_owned()), ("app/b.yaml", config("late", &wave(1)))]);
    let first = waiting(&place);
    let ran = place.gitops("sync").code(6);
    assert!(ran.stderr.contains("is being synced by") && ran.stderr.contains("process"), "{}", ran.stderr);
    let ran = place.gitops("delete --yes").code(6);
    assert!(ran.stderr.contains("nothing was deleted") && place.has("deployment web"), "{}", ran.stderr);
    let pid = first.id().to_string();
    std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap();
    let (code, told) = ended(first);
    assert_eq!(code, Some(130), "{told}");
    assert!(told.contains("interrupted; run it again to go on"), "{told}");
    let lease = place.get("lease gitops-sync-web").unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], Value::Null, "it is given back");
    // Somebody else takes over in the middle.
    let second = waiting(&place);
    eventually("it has the Lease", Duration::from_secs(20), || {
        place.get("lease gitops-sync-web").unwrap()["spec"]["holderIdentity"].is_string().then_some(())
    });
    place
        .kubectl("patch lease gitops-sync-web --type merge -p {\"spec\":{\"holderIdentity\":\"somebody\"}}")
        .ok();
    let (code, told) = ended(second);
    assert_eq!(code, Some(6), "{told}");
    assert!(told.contains("another sync of this Application has taken over"), "{told}");
    assert!(!place.has("configmap late"));
    let lease = place.get("lease gitops-sync-web").unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "somebody", "it is theirs");
}

/// Whether somebody else syncs has to be known before anything is written.
#[test]
fn a_lease_that_fails_ends_the_sync() {
    let place = Place::new(&[("app/a.yaml", config("web", &json!({})))]);
    let proxy = FaultyProxy::start(cluster());
    let (broken, folder) = (proxy.cluster(), place.repo.path());
    proxy.arm_at("POST /apis/coordination.k8s.io/", Fault::Status(500));
    let ran = broken.gitops(folder, "sync").code(5);
    assert!(ran.stderr.contains("is being synced is not known, nothing was applied"), "{}", ran.stderr);
    assert!(!place.has("configmap web"));
    proxy.disarm();
    broken.gitops(folder, "sync").ok();
    proxy.arm_at("PUT /apis/coordination.k8s.io/", Fault::Status(500));
    let ran = broken.gitops(folder, "delete --yes").code(5);
    assert!(ran.stderr.contains("is being synced is not known, nothing was deleted"), "{}", ran.stderr);
    assert!(place.has("configmap web"));
}

#[test]
fn without_a_lease_it_says_so_and_goes_on() {
    let place = Place::new(&[("app/a.yaml", config("web", &json!({})))]);
    place.kubectl("create role writer --verb=get,list,create,patch --resource=configmaps").ok();
    place.kubectl("create rolebinding writer --role=writer --user=writer").ok();
    cluster()
        .kubectl_args(&[
            "create",
            "clusterrole",
            &place.namespace.name,
            "--verb=get",
            "--resource=namespaces",
        ])
        .ok();
    cluster()
        .kubectl_args(&[
            "create",
            "clusterrolebinding",
            &place.namespace.name,
            &format!("--clusterrole={}", place.namespace.name),
            "--user=writer",
        ])
        .ok();
    let ran = place.gitops("sync --as writer").ok();
    cluster().kubectl(&format!("delete clusterrole,clusterrolebinding {}", place.namespace.name)).ok();
    assert!(ran.stderr.contains("without a Lease") && ran.stderr.contains("forbidden"), "{}", ran.stderr);
    assert!(place.has("configmap web"));
}
