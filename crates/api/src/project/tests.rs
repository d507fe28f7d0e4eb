//! What Projects admit, and what they refuse.

#![allow(clippy::unwrap_used, reason = "tests")]

use gitops_core::names::GROUP;
use gitops_core::object::Gvk;

use super::*;
use crate::application::ApplicationSpec;

fn project() -> Project {
    let spec = serde_json::json!({
        "applicationNamespaces": ["team-a"],
        "repositories": [{"url": "https://git.example/a/*", "branches": ["main", "release-*"]}],
        "destinations": [{"namespaces": ["a-*"]}],
        "clusterKinds": [{"group": "", "kind": "Namespace"}],
    });
    Project::new("a", serde_json::from_value(spec).unwrap())
}

fn spec(repo: &str, revision: &str, namespace: &str) -> ApplicationSpec {
    serde_json::from_value(serde_json::json!({"source": {"repo": repo, "revision": revision}, "destination": {"namespace": namespace}})).unwrap()
}

#[test]
fn only_what_is_listed_is_admitted() {
    let admits = |ns: &str, repo: &str, revision: &str, to: &str| {
        project().admits(ns, &spec(repo, revision, to)).map_err(|e| e.to_string())
    };
    for repo in
        ["https://git.example/a/shop.git", "https://GIT.example/a/shop", "https://ada@git.example/a/shop/"]
    {
        assert_eq!(admits("team-a", repo, "main", "a-1"), Ok(()), "{repo}");
    }
    assert_eq!(admits("team-a", "https://git.example/a/shop", "release-1", "a-1"), Ok(()));
    for (ns, repo, revision, to, why) in [
        ("team-b", "https://git.example/a/shop", "main", "a-1", "Applications of namespace team-b"),
        ("team-a", "https://git.example/b/shop", "main", "a-1", "repository"),
        ("team-a", "https://git.example/a/../b/shop", "main", "a-1", "repository"),
        ("team-a", "https://git.example.evil/a/shop", "main", "a-1", "repository"),
        ("team-a", "https://git.example/a/shop", "dev", "a-1", "revision dev"),
        ("team-a", "https://git.example/a/shop", "main", "kube-system", "namespace kube-system"),
    ] {
        let refusal = admits(ns, repo, revision, to).unwrap_err();
        assert!(refusal.contains(why), "{refusal}");
    }
}

#[test]
fn commits_are_left_to_git_and_names_are_not() {
    let admits = |revision: &str| {
        project().admits("team-a", &spec("https://git.example/a/shop", revision, "a-1")).is_ok()
    };
    for revision in
        ["main", "refs/heads/main", "HEAD", "deadbeef", "0123456789012345678901234567890123456789"]
    {
        assert!(admits(revision), "{revision}");
    }
    for revision in ["dev", "refs/pull/7/head", "refs/heads/dev", "main2"] {
        assert!(!admits(revision), "{revision}");
    }
}

#[test]
fn every_source_is_admitted_by_itself() {
    let admits = |sources: serde_json::Value| {
        let spec = serde_json::from_value(serde_json::json!({"sources": sources})).unwrap();
        project().admits("team-a", &spec).map_err(|refusal| refusal.to_string())
    };
    let source =
        |repo: &str, revision: &str| serde_json::json!({"repo": repo, "revision": revision, "ref": revision});
    let good = source("https://git.example/a/shop", "main");
    assert_eq!(admits(serde_json::json!([good, source("https://git.example/a/web", "HEAD")])), Ok(()));
    for (other, why) in [
        (source("https://git.example/b/shop", "main"), "repository https://git.example/b/shop"),
        (source("https://git.example/a/web", "dev"), "revision dev of https://git.example/a/web"),
        (source("oci://git.example/a/web", "main"), "repository oci://git.example/a/web"),
    ] {
        let refusal = admits(serde_json::json!([good, other])).unwrap_err();
        assert!(refusal.contains(why), "{refusal}");
    }
}

#[test]
fn charts_and_artifacts_have_to_name_what_counts() {
    let admits = |rules: serde_json::Value, source: serde_json::Value| {
        let mut project = project();
        project.spec.repositories = serde_json::from_value(rules).unwrap();
        let spec = serde_json::from_value(serde_json::json!({"source": source})).unwrap();
        project.admits("team-a", &spec).map_err(|refusal| refusal.to_string())
    };
    let (repo, below) = ("oci://reg.example/a", "oci://reg.example/a/web");
    let chart =
        |version: &str| serde_json::json!({"repo": repo, "helm": {"chart": "web", "version": version}});
    let artifact = |tag: &str| serde_json::json!({"repo": repo, "revision": tag});
    let free = || serde_json::json!([{"url": "oci://reg.example/*"}]);
    let some = || serde_json::json!([{"url": repo, "branches": ["1.*", "latest", "main"]}]);
    let signed = || serde_json::json!([{"url": repo, "signers": ["SHA256:x"]}]);
    for source in [chart("^1.2"), chart(""), artifact("HEAD"), artifact("sha256:ab")] {
        assert_eq!(admits(free(), source), Ok(()));
    }
    for source in
        [chart("1.2.3"), chart("1.2.3-rc.1@sha256:ab"), artifact("HEAD"), artifact("main"), artifact("1.2")]
    {
        assert_eq!(admits(some(), source), Ok(()));
    }
    for (source, why) in [
        (chart("2.0.0"), "none of the versions"),
        (chart("1.x || 2.x"), "is a range"),
        (chart("1.2"), "is a range"),
        (chart(""), "is a range"),
        (chart("sha256:ab"), "is a range"),
        (artifact("deadbeef"), "none of the versions"),
        (artifact("1.2@sha256:ab"), "is a digest"),
        (artifact("sha256:ab"), "is a digest"),
    ] {
        let refusal = admits(some(), source.clone()).unwrap_err();
        assert!(refusal.contains(why), "{source} {refusal}");
    }
    for source in [chart("1.2.3"), artifact("main"), artifact("sha256:ab")] {
        assert!(admits(signed(), source).unwrap_err().contains("not checked yet"));
    }
    let both = serde_json::json!([{"url": repo}, {"url": below, "signers": ["SHA256:x"]}]);
    assert!(admits(both, chart("1.2.3")).unwrap_err().contains("not checked yet"));
    let git =
        serde_json::json!({"repo": "https://git.example/a", "helm": {"chart": "web", "version": "1.2.3"}});
    let rule = serde_json::json!([{"url": "https://git.example/a", "signers": ["SHA256:x"]}]);
    assert!(admits(rule, git).unwrap_err().contains("not checked yet"));
}

#[test]
fn kinds_with_power_are_named_and_children_stay_in_their_project() {
    let application = Gvk::new("kubectl-gitops.dev/v1alpha1", "Application");
    let refused = project().admits_object("in-cluster", &application, "a-1").unwrap_err().to_string();
    assert!(refused.contains("names the group itself"), "{refused}");
    let mut named = project();
    named.spec.kinds.push(KindRule { group: GROUP.into(), kind: "Application".into() });
    assert!(named.admits_object("in-cluster", &application, "a-1").is_ok());
    assert!(
        project()
            .admits_object("in-cluster", &Gvk::new("kubectl-gitops.dev/v1alpha1", "Rollout"), "a-1")
            .is_ok()
    );
    assert!(named.admits_child("a-1/x", "a").is_ok());
    let refused = named.admits_child("a-1/x", "b").unwrap_err().to_string();
    assert!(refused.contains("a-1/x") && refused.contains("childProjects"), "{refused}");
    named.spec.child_projects.push("b*".into());
    assert!(named.admits_child("a-1/x", "b").is_ok());
}

#[test]
fn cluster_kinds_have_to_be_listed() {
    let kind = |api: &str, kind: &str, namespace: &str| {
        project().admits_object("in-cluster", &Gvk::new(api, kind), namespace).is_ok()
    };
    assert!(kind("apps/v1", "Deployment", "a-1"));
    assert!(!kind("apps/v1", "Deployment", "b-1"));
    assert!(kind("v1", "Namespace", ""));
    assert!(!kind("rbac.authorization.k8s.io/v1", "ClusterRole", ""));
}
