//! Where a Project takes signed commits only.

use std::path::Path;
use std::process::Command;

use gitops_tests::Shop;
use serde_json::{Value, json};

use crate::Stage;
use crate::stage::automatic;

/// An SSH key: its file, and what is public of it.
fn key(folder: &Path, name: &str) -> (String, String) {
    let path = folder.join(name);
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).status();
    assert!(made.unwrap().success());
    (path.display().to_string(), std::fs::read_to_string(path.with_extension("pub")).unwrap())
}

/// The newest commit, signed by Ada.
fn sign(shop: &Shop) -> String {
    shop.repo.git(&["commit", "--quiet", "--amend", "--no-edit", "-S"]);
    shop.repo.head()
}

fn project(signers: &[&String]) -> Value {
    json!({"repositories": [{"url": "file:///**", "branches": ["main"], "signers": signers}]})
}

#[test]
fn a_version_goes_back_by_a_commit_that_its_project_takes() {
    let keys = tempfile::tempdir().unwrap();
    let ((ada, ada_public), (own, own_public)) = (key(keys.path(), "ada"), key(keys.path(), "controller"));
    let rollout =
        json!({"strategy": {"canary": {"steps": [{"setWeight": 50}]}}, "deadlines": {"progress": "3s"}});
    let stage = Stage::held("Deployment", &rollout, &[], |shop| {
        shop.repo.git(&["config", "gpg.format", "ssh"]);
        shop.repo.git(&["config", "user.signingkey", &ada]);
        sign(shop);
        let data = json!({"token": "unused", "signingKey": std::fs::read_to_string(&own).unwrap()});
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "git"}, "stringData": data});
        shop.kubectl_stdin("create -f -", &secret.to_string()).ok();
        let mut spec = automatic();
        spec["source"] =
            json!({"repo": shop.repo.url(), "revision": "main", "path": "app", "secretRef": {"name": "git"}});
        shop.hold_under(project(&[&ada_public]), spec);
    });
    stage.push("web:broken");
    let bad = sign(&stage.shop);
    let status = stage.phase("Aborted");
    // That is told before it is too late.
    let condition = &status["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["status"]),
        (&json!("Revertible"), &json!("False")),
        "{status}"
    );
    assert!(condition["message"].as_str().unwrap().contains("none of the Project's signers"), "{status}");
    stage.eventually("an Event tells it", |stage| {
        let events = stage.shop.kubectl("get events -o json").ok().json();
        let told = |event: &Value| event["reason"] == "RevertNotTrusted";
        events["items"].as_array()?.iter().any(told).then_some(())
    });
    assert_eq!(stage.shop.repo.head(), bad);
    let name = stage.shop.name();
    let described = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application",
        "metadata": {"name": "web", "namespace": name}, "spec": {"project": name,
            "source": {"repo": stage.shop.repo.url(), "revision": "main", "path": "app"}, "destination": {"namespace": name}}});
    std::fs::write(keys.path().join("gitops.yaml"), described.to_string()).unwrap();
    let told = |command: &str| {
        let ran = stage.shop.cluster.gitops(keys.path(), &format!("{command} -n {name} -o json"));
        ran.stdout.contains("none of the Project's signers")
    };
    assert!(told("rollout lint") && told("check"));
    let patch = json!({"spec": project(&[&ada_public, &own_public])}).to_string();
    stage.shop.cluster.kubectl_args(&["patch", "project", name, "--type=merge", "-p", &patch]).ok();
    stage.eventually("Git goes back", |stage| (stage.shop.repo.head() != bad).then_some(()));
    let status = stage.phase("Idle");
    let ends: Vec<&Value> = status["history"].as_array().unwrap().iter().map(|end| &end["outcome"]).collect();
    assert_eq!(ends, ["Aborted"], "{status}");
    assert_eq!(status["history"][0]["revision"], bad, "{status}");
    let head = stage.shop.repo.head();
    stage.eventually("it counts", |stage| {
        (stage.shop.get("application", "web")?["status"]["revision"] == head).then_some(())
    });
    assert!(!told("rollout lint") && !told("check"));
    let counts = || {
        let checked = stage.shop.cluster.gitops(keys.path(), &format!("check -n {name} -o json")).json();
        let checks = checked["checks"].as_array().unwrap().clone();
        let named = |check: &Value| check["name"].as_str().unwrap().ends_with("a Rollout's Revert counts");
        checks.into_iter().find(named).unwrap()["state"].clone()
    };
    assert_eq!(counts(), "passed");
    // The cluster has no such Application, and so no Project or Secret of it.
    std::fs::write(keys.path().join("gitops.yaml"), described.to_string().replace("\"web\"", "\"other\""))
        .unwrap();
    assert_eq!(counts(), "skipped");
}
