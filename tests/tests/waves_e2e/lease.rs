//! One sync at a time, by a Lease.

use std::process::Stdio;
use std::time::Duration;

use gitops_tests::cluster::eventually;
use gitops_tests::shop::DEPLOYMENT;
use gitops_tests::{Place, cluster};
use serde_json::{Value, json};

use super::{config, wave};

#[test]
fn two_syncs_do_not_mix() {
    let place =
        Place::new(&[("app/a.yaml", DEPLOYMENT.to_owned()), ("app/b.yaml", config("late", &wave(1)))]);
    let mut first = cluster().command("kubectl");
    first.args(["gitops", "sync", "--timeout", "20s"]).current_dir(place.repo.path());
    let mut first = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the first has begun", Duration::from_secs(20), || place.has("deployment web").then_some(()));
    let ran = place.gitops("sync").code(6);
    assert!(ran.stderr.contains("is being synced by") && ran.stderr.contains("process"), "{}", ran.stderr);
    assert_eq!(first.wait().unwrap().code(), Some(8));
    let lease = place.get("lease gitops-sync-web").unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], Value::Null, "it is given back");
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
