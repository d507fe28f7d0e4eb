//! `kubectl gitops rollout` on a repository alone, with no cluster: images that
//! are set by a commit, versions of the past, and what lint finds.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

use gitops_tests::cluster::{Ran, ran};
use gitops_tests::shop::DEPLOYMENT;
use gitops_tests::{GitServer, Repo, binary};
use serde_json::json;

const ROLLOUT: &str = "apiVersion: kubectl-gitops.dev/v1alpha1
kind: Rollout
metadata: {name: web}
spec:
  target: {apiVersion: apps/v1, kind: Deployment, name: web}
  strategy: {canary: {steps: [{setWeight: 20}, {pause: {}}]}}
";

/// A repository with Application `web` in `app`.
fn repo(source: &str, files: &[(&str, &str)]) -> Repo {
    let application = format!(
        "apiVersion: kubectl-gitops.dev/v1alpha1\nkind: Application\nmetadata: {{name: web, namespace: shop}}\nspec:\n  source: {source}\n"
    );
    let mut all = vec![("gitops.yaml", application.as_str())];
    all.extend(files);
    let repo = Repo::with(&all);
    repo.git(&["config", "user.name", "Grace"]);
    repo.git(&["config", "user.email", "grace@example.com"]);
    repo
}

/// The plugin where no cluster can be reached.
fn rollout(repo: &Repo, arguments: &str) -> Ran {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary("kubectl-gitops"));
    command
        .arg("rollout")
        .args(arguments.split_whitespace())
        .args(["--cache-dir", &home.path().display().to_string()])
        .current_dir(repo.path())
        .env("KUBECONFIG", home.path().join("none"))
        .env("HOME", home.path())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("NO_COLOR", "1");
    ran(&mut command, None)
}

fn file(repo: &Repo, path: &str) -> String {
    std::fs::read_to_string(repo.file(path)).unwrap()
}

/// Lines that the last commit took away and brought in.
fn changed(repo: &Repo) -> Vec<String> {
    let diff = repo.git(&["show", "--format=", "--unified=0"]);
    let lines = diff.lines().filter(|line| line.starts_with(['+', '-']));
    lines.filter(|line| !line.starts_with("+++") && !line.starts_with("---")).map(str::to_owned).collect()
}

#[test]
fn a_manifest_gets_another_image_and_nothing_else() {
    let web = DEPLOYMENT.replace("image: web:1", "image: web:1 # from the registry\n          # keep me");
    let repo = repo("{path: app}", &[("app/web.yaml", &web), ("app/rollout.yaml", ROLLOUT)]);
    let head = repo.head();
    let dry = rollout(&repo, "set-image web web=web:2 --dry-run").ok();
    assert!(dry.stdout.contains("app/web.yaml: spec.template.spec.containers[0].image"), "{}", dry.stdout);
    assert!(dry.stdout.contains("+ spec.template.spec.containers[name=web].image: web:2"), "{}", dry.stdout);
    assert!(rollout(&repo, "set-image web web=web:2").code(2).stderr.contains("Nobody is there to answer"));
    assert_eq!(repo.head(), head);

    let done = rollout(&repo, "set-image web web=web:2 --yes -m Second").ok();
    assert!(done.stderr.contains("committed"), "{}", done.stderr);
    assert_eq!(
        changed(&repo),
        ["-          image: web:1 # from the registry", "+          image: web:2 # from the registry"]
    );
    let said = repo.git(&["show", "-s", "--format=%an|%B"]);
    assert!(said.starts_with("Grace|Second\n") && said.contains("web: web:1 to web:2"), "{said}");
    assert_eq!(repo.git(&["status", "--porcelain"]), "");
    let again = rollout(&repo, "set-image web web=web:2 --yes").ok();
    assert!(again.stderr.contains("has these images already"), "{}", again.stderr);

    let json = rollout(&repo, "set-image web web=reg.example/web:3 --branch next --yes -o json").ok().json();
    assert_eq!((&json["kind"], &json["branch"]), (&json!("SetImage"), &json!("next")));
    assert_eq!(json["revision"], json!(repo.git(&["rev-parse", "next"]).trim()));
    assert!(file(&repo, "app/web.yaml").contains("web:2"), "main is as it was");
}

#[test]
fn a_kustomization_gets_it_where_it_belongs() {
    let base = "resources: [web.yaml, rollout.yaml]\n";
    let entry = "resources: [../base]\nimages:\n  # ours\n  - name: web\n    newTag: \"1.9\" # pinned\n";
    for (kustomization, image, mut expected) in [
        // The entry there is.
        (entry, "web:1.10", vec!["-    newTag: \"1.9\" # pinned", "+    newTag: \"1.10\" # pinned"]),
        // Another registry, by digest.
        (
            entry,
            "reg.example/web@sha256:abcd",
            vec![
                "-    newTag: \"1.9\" # pinned",
                "+    digest: sha256:abcd",
                "+    newName: reg.example/web",
            ],
        ),
        // What others share stays: an entry is added.
        ("resources: [../base]\n", "web:2", vec!["+images:", "+- name: web", "+  newTag: \"2\""]),
    ] {
        let repo = repo(
            "{path: app}",
            &[
                ("base/web.yaml", DEPLOYMENT),
                ("base/rollout.yaml", ROLLOUT),
                ("base/kustomization.yaml", base),
                ("app/kustomization.yaml", kustomization),
            ],
        );
        rollout(&repo, &format!("set-image web web={image} --yes")).ok();
        let mut lines = changed(&repo);
        lines.sort();
        expected.sort_unstable();
        assert_eq!(lines, expected, "{kustomization}");
        assert!(rollout(&repo, "history web -o json").ok().json()["items"][0]["images"][0] == image);
    }
    // A manifest beside the kustomization is changed itself.
    let repo = repo(
        "{path: app}",
        &[("app/web.yaml", DEPLOYMENT), ("app/rollout.yaml", ROLLOUT), ("app/kustomization.yaml", base)],
    );
    rollout(&repo, "set-image web web=web:2 --yes").ok();
    assert_eq!(changed(&repo), ["-          image: web:1", "+          image: web:2"]);
}

const TEMPLATE: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: \"{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}\"
        - name: side
          image: {{ .Values.side }}
";
const CHART: &str = "apiVersion: v2\nname: web\nversion: 1.0.0\nappVersion: \"1\"\n";

fn chart<'a>(values: &'a str, production: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("app/Chart.yaml", CHART),
        ("app/templates/web.yaml", TEMPLATE),
        ("app/templates/rollout.yaml", ROLLOUT),
        ("app/values.yaml", values),
        ("production.yaml", production),
    ]
}

#[test]
fn a_chart_gets_it_by_its_values() {
    let values = "# defaults\nimage:\n  repository: web\n  tag: \"1\" # of the day\nside: side:1\n";
    let source = "{path: app, helm: {valueFiles: [/production.yaml]}}";
    let here = repo(source, &chart(values, "replicas: 2\n"));
    rollout(&here, "set-image web web=web:2 side=side:3 --yes").ok();
    let mut lines = changed(&here);
    lines.sort();
    assert_eq!(
        lines,
        ["+  tag: \"2\" # of the day", "+side: side:3", "-  tag: \"1\" # of the day", "-side: side:1"]
    );

    // The file that wins.
    let above = repo(source, &chart(values, "image:\n  tag: 1.5 # production\n"));
    rollout(&above, "set-image web web=web:1.6 --yes").ok();
    assert_eq!(changed(&above), ["-  tag: 1.5 # production", "+  tag: \"1.6\" # production"]);
    assert!(file(&above, "app/values.yaml").contains("\"1\" # of the day"));

    // The chart's own version, which nobody sets.
    let own = repo("{path: app}", &chart("image:\n  repository: web\nside: side:1\n", ""));
    rollout(&own, "set-image web web=web:2 --yes").ok();
    assert_eq!(changed(&own), ["+  tag: \"2\""]);

    let typed = repo("{path: app, helm: {values: {image: {tag: \"7\"}}}}", &chart(values, ""));
    let ran = rollout(&typed, "set-image web web=web:8 --yes").code(4);
    assert!(ran.stderr.contains("spec.source.helm.values of the Application, image.tag"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: change it where the Application is described"), "{}", ran.stderr);

    let both = format!("{values}other:\n  repository: web\n  tag: \"1\"\n");
    let unclear = repo("{path: app}", &chart(&both, ""));
    let ran = rollout(&unclear, "set-image web web=web:8 --yes").code(4);
    assert!(ran.stderr.contains("one of these values: image, other"), "{}", ran.stderr);
}

#[test]
fn what_cannot_be_set_is_told_with_a_way_out() {
    let repo = repo("{path: app}", &[("app/web.yaml", DEPLOYMENT), ("app/rollout.yaml", ROLLOUT)]);
    let head = repo.head();
    for (arguments, code, told, hint) in [
        ("set-image wep web=web:2", 2, "declares a Rollout \"wep\"", "there are: web"),
        ("set-image web app=web:2", 2, "Deployment shop/web has no container \"app\"", "it has: web"),
        ("set-image web web", 2, "names no container and image", "CONTAINER=IMAGE"),
        ("set-image web web=:2", 2, "is no image", "CONTAINER=IMAGE"),
        ("undo web", 4, "there is nothing to go back to", "rollout history"),
        ("undo web --to-revision 0", 2, "goes nowhere", "rollout history"),
        ("history nobody", 2, "declares a Rollout \"nobody\"", "there are: web"),
    ] {
        let ran = rollout(&repo, arguments);
        let shown = format!("{arguments}: {}: {}{}", ran.code, ran.stdout, ran.stderr);
        assert_eq!(ran.code, code, "{shown}");
        assert!(ran.stderr.contains(told) && ran.stderr.contains(hint), "{shown}");
    }
    let shared = DEPLOYMENT.replace("image: web:1", "image: &image web:1");
    repo.commit("Anchor", &[("app/web.yaml", &shared)]);
    let ran = rollout(&repo, "set-image web web=web:2 --yes").code(4);
    assert!(
        ran.stderr.contains("app/web.yaml: spec.template.spec.containers[0].image is written by an alias")
    );
    assert_ne!(repo.head(), head);
}

#[test]
fn versions_are_what_the_target_says() {
    let files = [("app/web.yaml", DEPLOYMENT), ("app/rollout.yaml", ROLLOUT)];
    let repo = repo("{path: app}", &files);
    let first = repo.head();
    rollout(&repo, "set-image web web=web:2 --yes").ok();
    let second = repo.head();
    // Of the same version.
    let more = file(&repo, "app/web.yaml").replace("replicas: 2", "replicas: 3");
    repo.commit("More", &[("app/web.yaml", &more)]);
    repo.commit("Broken", &[("app/bad.yaml", "a: [\n")]);
    repo.remove("Mended", &["app/bad.yaml"]);
    rollout(&repo, "set-image web web=web:3 --yes -m Third").ok();
    let history = rollout(&repo, "history web -o json").ok().json();
    let images: Vec<&str> =
        history["items"].as_array().unwrap().iter().map(|item| item["images"][0].as_str().unwrap()).collect();
    assert_eq!(images.first(), Some(&"web:3"), "{history}");
    assert_eq!(images.last(), Some(&"web:1"), "{history}");
    let revisions = rollout(&repo, "history web -o name").ok().stdout;
    assert!(revisions.contains(&second) && revisions.ends_with(&format!("{first}\n")), "{revisions}");
    let text = rollout(&repo, "history web").ok();
    assert!(
        text.stdout.contains("Third (Grace) [web:3]") && text.stderr.contains("is not known"),
        "{}",
        text.stdout
    );

    // From elsewhere, where only the newest commit has been fetched.
    let root = tempfile::tempdir().unwrap();
    repo.git(&["clone", "--quiet", "--bare", ".", &root.path().join("shop.git").display().to_string()]);
    let server = GitServer::start(root.path(), "127.0.0.1:0", None).unwrap();
    let elsewhere = self::repo(&format!("{{repo: \"{}\", path: app}}", server.url("shop.git")), &[]);
    assert_eq!(rollout(&elsewhere, "history web -o name").ok().stdout, revisions);

    let undone = rollout(&repo, "undo web --branch undo --yes --reason INC-12").ok();
    assert!(
        undone.stdout.contains("+ spec.template.spec.containers[name=web].image: web:2"),
        "{}",
        undone.stdout
    );
    let text = repo.git(&["show", "undo:app/web.yaml"]);
    assert!(
        text.contains("web:2") && text.contains("replicas: 3"),
        "the newest commit of that version: {text}"
    );
    assert!(repo.git(&["show", "-s", "--format=%B", "undo"]).contains("INC-12"));
    let far = rollout(&repo, &format!("undo web --to-revision {first} --dry-run")).ok().stdout;
    assert!(far.contains("image: web:1"), "{far}");
    rollout(&repo, "undo web --to-revision 99 --dry-run").code(4);
}

#[test]
fn lint_reads_files_folders_and_applications() {
    let repo = repo("{path: app}", &[("app/web.yaml", DEPLOYMENT), ("app/rollout.yaml", ROLLOUT)]);
    let fine = rollout(&repo, "lint").ok().stdout;
    assert!(fine.contains("1 object read: 0 mistakes, 0 warnings"), "{fine}");
    // Not committed, and with a mistake.
    std::fs::write(
        repo.file("app/rollout.yaml"),
        ROLLOUT.replace("name: web}\n  strategy", "name: wep}\n  strategy"),
    )
    .unwrap();
    let wrong = rollout(&repo, "lint app").code(1).stdout;
    assert!(wrong.contains("app/rollout.yaml:5: error: Rollout web: spec.target"), "{wrong}");
    let json = rollout(&repo, "lint app -o json").code(1).json();
    assert_eq!((&json["kind"], &json["items"][0]["line"]), (&json!("RolloutLint"), &json!(5)), "{json}");
    rollout(&repo, "lint").ok();
    let none = rollout(&repo, "lint app/web.yaml").code(2);
    assert!(none.stderr.contains("neither a Rollout nor an AnalysisTemplate"), "{}", none.stderr);
    let warned = ROLLOUT.replace("[{setWeight: 20}", "[{setWeight: 50}, {setWeight: 20}");
    std::fs::write(repo.file("app/rollout.yaml"), warned).unwrap();
    assert!(rollout(&repo, "lint app").ok().stdout.contains("warning"));
    rollout(&repo, "lint app --strict").code(1);
}
