//! `diff --base --head`: what a pull request changes, without a cluster.

use gitops_tests::Repo;

use super::{Bench, config_map};

fn described(apps: &[&str]) -> String {
    let one = |name: &&str| {
        format!(
            "apiVersion: kubectl-gitops.dev/v1alpha1\nkind: Application\nmetadata: {{name: {name}, namespace: team}}\nspec:\n  source: {{path: {name}}}\n"
        )
    };
    apps.iter().map(one).collect::<Vec<_>>().join("---\n")
}

#[test]
fn a_pull_request_shows_what_it_changes_and_nothing_else() {
    let bench = Bench::new();
    let labelled = config_map("a", "1").replace("  name: a\n", "  name: a\n  labels: {x: blue}\n");
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2}\n";
    let repo = Repo::with(&[
        ("gitops.yaml", &described(&["web", "api"])),
        ("web/a.yaml", &labelled),
        ("web/gone.yaml", &config_map("gone", "1")),
        ("web/s.yaml", secret),
        (
            "web/c.yaml",
            "apiVersion: x.example/v1\nkind: Custom\nmetadata: {name: c}\nspec: {kept: 1, dropped: 2}\n",
        ),
        ("api/b.yaml", &config_map("b", "1")),
    ]);
    let base = repo.head();
    let quiet = format!("diff --base {base}");
    let (code, _, err) = bench.gitops(repo.path(), &quiet, &[]);
    assert_eq!(code, 0, "{err}");
    std::fs::remove_file(repo.file("web/gone.yaml")).unwrap();
    repo.commit(
        "change",
        &[
            ("web/a.yaml", &config_map("a", "\"```\"")),
            ("web/s.yaml", &secret.replace("hunter2", "hunter3")),
            ("web/c.yaml", "apiVersion: x.example/v1\nkind: Custom\nmetadata: {name: c}\nspec: {kept: 1}\n"),
            ("gitops.yaml", &described(&["web", "api", "new"])),
            ("new/n.yaml", &config_map("fresh", "1")),
        ],
    );
    repo.commit_all("gone");
    let (code, out, err) = bench.gitops(repo.path(), &quiet, &[]);
    assert_eq!(code, 1, "{err}");
    for line in [
        "team/web: 0 new, 3 changed, 1 gone",
        "~ ConfigMap team/a",
        "  - metadata.labels.x: blue",
        "  - data.key: 1",
        "  + data.key: ```  web/a.yaml:6",
        "  - data.password: ***",
        "  - spec.dropped: 2",
        "- ConfigMap team/gone",
        "team/new: 1 new, 0 changed, 0 gone",
        "+ ConfigMap team/fresh",
    ] {
        assert!(out.lines().any(|found| found == line), "{line}\n{out}{err}");
    }
    assert!(!out.contains("team/api") && !out.contains("hunter"), "{out}");
    let (code, out, _) = bench.gitops(repo.path(), &format!("{quiet} -o markdown"), &[]);
    assert_eq!(code, 1);
    assert!(
        out.contains("### team/web: 0 new")
            && out.contains("````diff\n")
            && out.contains("- `- ConfigMap team/gone`"),
        "{out}"
    );
    let (_, out, _) = bench.gitops(repo.path(), &format!("{quiet} web -o json"), &[]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&json["kind"], &json["counts"]["prune"]), (&"Diff".into(), &1.into()), "{out}");
    for (arguments, code, expected) in [
        (format!("{quiet} nobody"), 2, "neither side has an Application \"nobody\""),
        ("diff --base nowhere".to_owned(), 4, "has no branch, tag or commit \"nowhere\""),
        ("diff -o markdown".to_owned(), 2, "-o markdown needs --base"),
    ] {
        let (found, out, err) = bench.gitops(repo.path(), &arguments, &[]);
        assert_eq!((found, out.as_str()), (code, ""), "{arguments}: {err}");
        assert!(err.contains(expected), "{arguments}: {err}");
    }
}

/// Each folder of a monorepo may describe its own Applications, and each namespace
/// have one of the same name.
#[test]
fn a_monorepo_describes_applications_in_many_files() {
    let bench = Bench::new();
    let prod = described(&["web"]).replace("team", "prod").replace("path: web", "path: prod");
    let repo = Repo::with(&[
        ("gitops.yaml", &format!("{}---\n{prod}", described(&["web"]))),
        ("web/a.yaml", &config_map("a", "1")),
        ("prod/a.yaml", &config_map("a", "1")),
        ("teams/api/gitops.yaml", &described(&["api"])),
        ("api/b.yaml", &config_map("b", "1")),
    ]);
    let base = repo.head();
    repo.commit("two", &[("prod/a.yaml", &config_map("a", "2")), ("api/b.yaml", &config_map("b", "2"))]);
    let changed = |arguments: &str| {
        let (_, out, err) =
            bench.gitops(repo.path(), &format!("diff --base {base} -o jsonl {arguments}"), &[]);
        let names = out.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        names
            .map(|report| report["application"].as_str().unwrap().to_owned())
            .chain([err])
            .collect::<Vec<_>>()
    };
    assert_eq!(changed(""), ["prod/web", "team/api", ""]);
    assert_eq!(changed("web"), ["prod/web", ""]);
    assert_eq!(changed("prod/web api"), ["prod/web", "team/api", ""]);
    assert_eq!(changed("team/web"), [""]);
    assert_eq!(changed("-f gitops.yaml"), ["prod/web", ""]);
    assert_eq!(changed("-f teams/api/gitops.yaml"), ["team/api", ""]);
    // One name means one Application.
    for (arguments, code, told) in
        [("render web", 2, "holds several Applications \"web\""), ("render prod/web -o name", 0, "")]
    {
        let (found, _, err) = bench.gitops(repo.path(), arguments, &[]);
        assert_eq!(found, code, "{arguments}: {err}");
        assert!(err.contains(told), "{arguments}: {err}");
    }
    repo.commit("twice", &[("teams/gitops.yaml", &described(&["api"]))]);
    let twice = changed("").pop().unwrap();
    assert!(
        twice.contains("team/api is described twice")
            && twice.contains("by teams/api/gitops.yaml and teams/gitops.yaml"),
        "{twice}"
    );
    repo.commit("again", &[("gitops.yaml", &described(&["web", "web"]))]);
    let (code, _, err) = bench.gitops(repo.path(), "render", &[]);
    assert_eq!(code, 2, "{err}");
    assert!(
        err.contains("gitops.yaml:7: Application team/web is described already, at gitops.yaml:1"),
        "{err}"
    );
}

#[test]
fn rendered_manifests_go_to_a_branch() {
    let bench = Bench::new();
    let repo = Repo::with(&[("gitops.yaml", &described(&["web"])), ("web/a.yaml", &config_map("a", "1"))]);
    let there = tempfile::tempdir().unwrap();
    repo.git(&["init", "--bare", "-q", there.path().to_str().unwrap()]);
    repo.git(&["remote", "add", "origin", there.path().to_str().unwrap()]);
    let environment = [
        ("GIT_AUTHOR_NAME", "a"),
        ("GIT_AUTHOR_EMAIL", "a@example"),
        ("GIT_COMMITTER_NAME", "a"),
        ("GIT_COMMITTER_EMAIL", "a@example"),
    ];
    let status = repo.git(&["status", "--porcelain"]);
    let (code, out, err) = bench.gitops(repo.path(), "render --to-branch rendered", &environment);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("web/configmap_team_a.yaml") && err.contains("push it: git push origin rendered"),
        "{out}{err}"
    );
    assert!(repo.git(&["show", "rendered:web/configmap_team_a.yaml"]).contains("key: 1"));
    assert!(repo.git(&["log", "-1", "--format=%B", "rendered"]).contains(&format!("web at {}", repo.head())));
    assert_eq!(repo.git(&["status", "--porcelain"]), status, "the user's files are left alone");
    let at = |revision: &str| repo.git(&["rev-parse", revision]).trim().to_owned();
    let first = at("rendered");
    let (_, _, err) = bench.gitops(repo.path(), "render --to-branch rendered", &environment);
    assert!(err.contains("nothing is committed"), "{err}");
    repo.commit("two", &[("web/a.yaml", &config_map("a", "2"))]);
    let (code, _, err) = bench.gitops(repo.path(), "render --to-branch rendered --push", &environment);
    assert_eq!(code, 0, "{err}");
    assert_eq!(at("rendered~1"), first);
    assert!(repo.git(&["ls-remote", "origin", "rendered"]).starts_with(&at("rendered")));
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2}\n";
    repo.commit("secret", &[("web/s.yaml", secret)]);
    let (code, out, err) = bench.gitops(repo.path(), "render --to-branch rendered", &environment);
    assert_eq!((code, out.as_str()), (4, ""), "{err}");
    assert!(err.contains("Secret team/s (web/s.yaml:1) would be in Git in plain text"), "{err}");
}
