//! `kubectl gitops rollback` on the real API server: Git goes back by a commit,
//! and the cluster with it.
#![allow(clippy::unwrap_used, reason = "tests")]

use gitops_tests::cluster::ran;
use gitops_tests::shop::{CONFIG, DEPLOYMENT, Shop};
use gitops_tests::{GitServer, Place, Repo, cluster};
use serde_json::json;

/// A namespace and a repository with two Applications: `web` in app, `db` in
/// db.
fn two(files: &[(&str, &str)]) -> Place {
    let place = Place::undescribed(files);
    place.repo.git(&["config", "user.name", "Grace"]);
    place.repo.git(&["config", "user.email", "grace@example.com"]);
    place.describe(&[place.application("web", "app"), place.application("db", "db")]);
    place
}

/// What the live ConfigMap says.
fn live(place: &Place) -> String {
    place.kubectl("get configmap web -o jsonpath={.data.greeting}").ok().stdout
}

fn greeting(word: &str) -> String {
    CONFIG.replace("hello", word)
}

const DB: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: db}\ndata: {size: \"1\"}\n";

#[test]
fn the_last_change_is_undone_in_git_and_cluster() {
    let place = two(&[("app/config.yaml", CONFIG), ("db/db.yaml", DB)]);
    let first = place.repo.head();
    place.repo.commit("Greet", &[("app/config.yaml", &greeting("hi")), ("app/web.yaml", DEPLOYMENT)]);
    place.repo.commit("Grow", &[("db/db.yaml", &DB.replace("\"1\"", "\"2\""))]);
    place.gitops("sync").ok();
    let before = place.repo.head();

    let usage = place.gitops("rollback --yes").code(2);
    assert!(
        usage.stderr.contains("name one of: web, db") || usage.stderr.contains("name one of: db, web"),
        "{}",
        usage.stderr
    );
    let asked = place.gitops("rollback web").code(2);
    assert!(asked.stderr.contains("Nobody is there to answer"), "{}", asked.stderr);
    let dry = place.gitops("rollback web --dry-run").ok().stdout;
    assert!(dry.contains("app/config.yaml") && dry.contains("+ data.greeting: hello"), "{dry}");
    assert!(dry.contains("- Deployment") && !dry.contains("db.yaml"), "{dry}");
    assert_eq!((place.repo.head(), live(&place)), (before, "hi".into()));

    let done = place.gitops("rollback web --yes --prune --reason INC-12").ok();
    assert!(done.stderr.contains("committed"), "{}", done.stderr);
    assert_eq!(live(&place), "hello");
    assert!(!place.repo.file("app/web.yaml").exists());
    assert!(std::fs::read_to_string(place.repo.file("db/db.yaml")).unwrap().contains('2'));
    assert_eq!(place.repo.git(&["status", "--porcelain"]), "");
    let said = place.repo.git(&["show", "-s", "--format=%an|%B"]);
    let parent = place.repo.git(&["log", "-1", "--format=%H", "--", "app/config.yaml", "HEAD^^"]);
    assert!(said.starts_with("Grace|Roll back web to ") && said.contains("INC-12"), "{said} {parent}");
    assert!(said.contains("Requested-by: ") && said.contains("\nRestores: "), "{said}");

    // Back again, by a revision, for programs.
    let again = place.gitops("rollback web --to 1 --yes -o json").ok().json();
    assert_eq!(
        (&again["kind"], &again["changes"]["counts"]["create"]),
        (&json!("Rollback"), &json!(1)),
        "{again}"
    );
    assert_eq!(again["revision"], json!(place.repo.head()));
    assert_eq!(again["sync"]["counts"]["update"], json!(1), "{again}");
    assert_eq!(live(&place), "hi");
    place.gitops(&format!("rollback web --to {first} --yes")).ok();
    assert_eq!(live(&place), "hello");
    let head = place.repo.head();
    let same = place.gitops(&format!("rollback web --to {first} --yes")).ok();
    assert!(same.stderr.contains("already; nothing is committed"), "{}", same.stderr);
    assert_eq!(place.repo.head(), head);
    let far = place.gitops("rollback web --to 99 --yes").code(4);
    assert!(far.stderr.contains("commits changed these files"), "{}", far.stderr);

    let history = place.gitops("history web -o json").ok().json();
    assert_eq!(history["items"][0]["files"], json!(["app/config.yaml", "app/web.yaml"]), "{history}");
    assert_eq!(history["items"][0]["live"], json!(false), "the Deployment is still there: {history}");
}

#[test]
fn work_that_is_not_committed_stays() {
    let place = two(&[("app/config.yaml", CONFIG), ("db/db.yaml", DB)]);
    place.repo.commit("Greet", &[("app/config.yaml", &greeting("hi"))]);
    std::fs::write(place.repo.file("app/config.yaml"), greeting("mine")).unwrap();
    let head = place.repo.head();
    let refused = place.gitops("rollback web --yes").code(6);
    assert!(refused.stderr.contains("app/config.yaml is not as committed"), "{}", refused.stderr);
    assert_eq!(
        (place.repo.head(), std::fs::read_to_string(place.repo.file("app/config.yaml")).unwrap()),
        (head, greeting("mine"))
    );
}

#[test]
fn what_a_kustomization_leads_to_goes_back_with_it() {
    let base = "resources: [config.yaml]\n";
    let over = "resources: [../base]\n";
    let place = two(&[
        ("base/kustomization.yaml", base),
        ("base/config.yaml", CONFIG),
        ("app/kustomization.yaml", over),
        ("db/kustomization.yaml", &format!("{over}namePrefix: db-\n")),
    ]);
    place.repo.commit("Greet", &[("base/config.yaml", &greeting("hi"))]);
    place.repo.commit("Unrelated", &[("README.md", "hello")]);
    place.gitops("sync").ok();
    let dry = place.gitops("rollback web --dry-run").ok();
    assert!(dry.stderr.contains("/db reads these files, too: 1 of its objects change"), "{}", dry.stderr);
    place.gitops("rollback web --yes").ok();
    assert_eq!(live(&place), "hello");
}

#[test]
fn what_a_program_imports_goes_back_with_it() {
    let object = |word: &str| {
        format!(
            "{{apiVersion: 'v1', kind: 'ConfigMap', metadata: {{name: 'web'}}, data: {{greeting: '{word}'}}}}"
        )
    };
    let place = two(&[
        ("app/main.jsonnet", "[import 'deep/web.libsonnet']"),
        ("lib/deep/web.libsonnet", &object("hello")),
        ("db/db.yaml", DB),
    ]);
    let mut web = place.application("web", "app");
    web["spec"]["source"]["type"] = json!("Jsonnet");
    place.describe(&[web, place.application("db", "db")]);
    place.repo.commit("Greet", &[("lib/deep/web.libsonnet", &object("hi"))]);
    place.repo.commit("Grow", &[("db/db.yaml", &DB.replace("\"1\"", "\"2\""))]);
    place.gitops("sync").ok();
    assert_eq!(live(&place), "hi");
    let done = place.gitops("rollback web --yes").ok();
    assert!(!done.stderr.contains("import"), "{}", done.stderr);
    assert_eq!(live(&place), "hello");
}

#[test]
fn a_description_that_cannot_be_read_is_told_with_the_reason() {
    let place = two(&[("app/config.yaml", CONFIG), ("db/db.yaml", DB)]);
    let mut odd = place.application("web", "app");
    odd["spec"]["colour"] = json!("red");
    place.describe(&[odd, place.application("db", "db")]);
    let odd = place.repo.commit("Greet", &[("app/config.yaml", &greeting("odd"))]);
    place.describe(&[place.application("web", "app"), place.application("db", "db")]);
    place.repo.commit("Greet again", &[("app/config.yaml", &greeting("hi"))]);
    let told = "spec.colour was \"red\", is nothing; what it said cannot be read: gitops.yaml at ";
    let dry = place.gitops(&format!("rollback web --to {odd} --dry-run")).ok();
    assert!(dry.stderr.contains(told) && dry.stderr.contains("unknown field `colour`"), "{}", dry.stderr);
    let refused = place.gitops(&format!("rollback web --to {odd} --with-spec --dry-run")).code(4);
    assert!(
        refused.stderr.contains(told) && refused.stderr.contains("that cannot be taken back"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_description_goes_back_only_when_that_is_asked_for() {
    let place =
        two(&[("app/config.yaml", CONFIG), ("other/config.yaml", &greeting("other")), ("db/db.yaml", DB)]);
    let first = place.repo.head();
    let mut db = place.application("db", "db");
    db["spec"]["suspend"] = json!(true);
    place.describe(&[place.application("web", "other"), db]);
    place.repo.commit("Greet", &[("other/config.yaml", &greeting("hi"))]);
    place.gitops("sync web").ok();
    assert_eq!(live(&place), "hi");
    let now = std::fs::read_to_string(place.repo.file("gitops.yaml")).unwrap();

    let told = "gitops.yaml described web otherwise then: spec.source.path was \"app\", is \"other\"";
    let dry = place.gitops(&format!("rollback web --to {first} --dry-run")).ok();
    assert!(
        dry.stderr.contains(told) && dry.stderr.contains("--with-spec takes that back"),
        "{}",
        dry.stderr
    );
    assert!(
        dry.stdout.contains("+ data.greeting: other") && !dry.stdout.contains("gitops.yaml"),
        "{}",
        dry.stdout
    );
    let json = place.gitops(&format!("rollback web --to {first} --dry-run -o json")).ok().json();
    assert!(json["stays"][0].as_str().unwrap().contains(told), "{json}");

    // No cluster is needed for a branch.
    let mut away = cluster().command("kubectl-gitops");
    away.args(["rollback", "web", "--to", &first, "--with-spec", "--branch", "back", "--yes"]);
    let away = ran(away.current_dir(place.repo.path()).env("KUBECONFIG", "/nonexistent"), None).ok();
    assert!(away.stdout.contains("+ data.greeting: hello"), "{}", away.stdout);
    assert_eq!(std::fs::read_to_string(place.repo.file("gitops.yaml")).unwrap(), now);

    place.gitops(&format!("rollback web --to {first} --with-spec --yes")).ok();
    assert_eq!(live(&place), "hello");
    let text = std::fs::read_to_string(place.repo.file("gitops.yaml")).unwrap();
    assert!(text.contains("\"path\":\"app\"") && text.contains("\"suspend\":true"), "{text}");
    assert_eq!(place.repo.git(&["diff", "--stat", "HEAD", "back"]), "");

    // How it is described counts as a change of it then.
    place.gitops("rollback web --with-spec --yes").ok();
    assert_eq!(live(&place), "hi");
    let before = place.gitops(&format!("rollback web --to {first}^ --with-spec --dry-run")).code(4);
    assert!(
        before.stderr.contains("did not describe web then: that cannot be taken back"),
        "{}",
        before.stderr
    );
    let empty = tempfile::tempdir().unwrap();
    let flags = format!("rollback --repo {} --path app --to {first} --with-spec --dry-run", place.repo.url());
    let nowhere = cluster().gitops(empty.path(), &flags).code(2);
    assert!(nowhere.stderr.contains("no file of this repository describes"), "{}", nowhere.stderr);
}

#[test]
fn a_description_among_the_files_stays() {
    let place = Place::undescribed(&[("config.yaml", CONFIG)]);
    place.repo.git(&["config", "user.name", "Grace"]);
    place.repo.git(&["config", "user.email", "grace@example.com"]);
    place.describe(&[place.application("web", ".")]);
    let first = place.repo.head();
    let mut web = place.application("web", ".");
    web["spec"]["sync"] = json!({"prune": true});
    place.describe(&[web]);
    place.repo.commit("Greet", &[("config.yaml", &greeting("hi"))]);
    place.gitops(&format!("rollback web --to {first} --yes")).ok();
    assert_eq!(live(&place), "hello");
    assert!(std::fs::read_to_string(place.repo.file("gitops.yaml")).unwrap().contains("prune"));
}

#[test]
fn a_repository_elsewhere_is_committed_to_without_a_checkout() {
    let (namespace, repo) = (cluster().namespace("rollback"), Repo::with(&[("app/config.yaml", CONFIG)]));
    repo.commit("Greet", &[("app/config.yaml", &greeting("hi"))]);
    let root = tempfile::tempdir().unwrap();
    let bare = root.path().join("shop.git").display().to_string();
    repo.git(&["clone", "--quiet", "--bare", ".", &bare]);
    let server = GitServer::start(root.path(), "127.0.0.1:0", Some(("ada", "hunter2"))).unwrap();
    let empty = tempfile::tempdir().unwrap();
    let gitops = |command: &str, name: &str| {
        let arguments =
            format!("gitops {command} --repo {} --path app -n {}", server.url("shop.git"), namespace.name);
        let mut kubectl = cluster().command("kubectl");
        kubectl.args(arguments.split_whitespace()).current_dir(empty.path());
        kubectl.env("KUBECTL_GITOPS_GIT_USERNAME", "ada").env("KUBECTL_GITOPS_GIT_PASSWORD", "hunter2");
        kubectl.env("GIT_AUTHOR_NAME", name).env("GIT_COMMITTER_NAME", name);
        if !name.is_empty() {
            kubectl.env("GIT_AUTHOR_EMAIL", "x@example.com").env("GIT_COMMITTER_EMAIL", "x@example.com");
        }
        ran(&mut kubectl, None)
    };
    gitops("sync", "Grace").ok();
    let nameless = gitops("rollback --yes", "").code(4);
    assert!(
        nameless.stderr.contains("does not know who") && nameless.stderr.contains("user.name"),
        "{}",
        nameless.stderr
    );
    gitops("rollback --branch undo --yes", "Grace").ok();
    let show = |what: &str| {
        let output = std::process::Command::new("git").args(["-C", &bare, "show", what]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(
        (show("undo:app/config.yaml"), show("main:app/config.yaml")),
        (CONFIG.to_owned(), greeting("hi"))
    );
    let taken = gitops("rollback --branch undo --yes --reason again", "Grace").code(6);
    assert!(taken.stderr.contains("there already"), "{}", taken.stderr);
    gitops("rollback --yes", "Grace").ok();
    assert_eq!(show("main:app/config.yaml"), CONFIG);
    let live =
        cluster().kubectl(&format!("-n {} get configmap web -o jsonpath={{.data.greeting}}", namespace.name));
    assert_eq!(live.ok().stdout, "hello");
    let tag = gitops("rollback --revision v9 --yes", "Grace").code(4);
    assert!(tag.stderr.contains("v9"), "{}", tag.stderr);
}

#[test]
fn a_commit_that_the_project_would_not_take_is_not_made() {
    let shop = Shop::unheld(&[("app/config.yaml", CONFIG)]);
    let (repo, keys) = (&shop.repo, tempfile::tempdir().unwrap());
    let key = keys.path().join("key");
    let mut keygen = std::process::Command::new("ssh-keygen");
    ran(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key), None).ok();
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let key = key.display().to_string();
    let settings = [
        ("user.name", "Grace"),
        ("user.email", "grace@example.com"),
        ("gpg.format", "ssh"),
        ("user.signingKey", &key),
    ];
    for (name, value) in settings {
        repo.git(&["config", name, value]);
    }
    std::fs::write(repo.file("app/config.yaml"), greeting("hi")).unwrap();
    let described = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": "web", "namespace": shop.name()}, "spec": {
        "source": {"path": "app"}, "destination": {"namespace": shop.name()}}});
    std::fs::write(repo.file("gitops.yaml"), described.to_string()).unwrap();
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "-S", "-m", "Greet"]);
    let rule = json!({"url": "file:///**", "branches": ["main"], "signers": [public]});
    shop.hold_under(json!({"repositories": [rule]}), json!({}));
    shop.sync().ok();
    let elsewhere = tempfile::tempdir().unwrap();
    let rollback = |flags: &str| {
        shop.cluster.gitops(elsewhere.path(), &format!("rollback web {flags} -n {}", shop.name()))
    };
    let head = repo.head();
    for flags in ["--yes", "--dry-run"] {
        let refused = rollback(flags).code(4);
        assert!(
            refused.stderr.contains("not signed") && refused.stderr.contains("commit.gpgSign"),
            "{}",
            refused.stderr
        );
        // The cluster's Application is younger than the commit.
        let stays = format!("Application {}/web was written since, by kubectl", shop.name());
        assert!(refused.stderr.contains(&stays), "{}", refused.stderr);
        assert_eq!(repo.head(), head);
    }
    // A file says nothing of Projects, but the cluster does.
    let refused = shop.cluster.gitops(repo.path(), "rollback web --yes").code(4);
    assert!(
        refused.stderr.contains("not signed") && refused.stderr.contains("--branch NAME"),
        "{}",
        refused.stderr
    );
    assert_eq!(repo.head(), head);
    // A pull request is signed where it is merged.
    rollback("--branch undo --yes").ok();
    repo.git(&["config", "commit.gpgSign", "true"]);
    rollback("--yes").ok();
    let live = shop.kubectl("get configmap web -o jsonpath={.data.greeting}");
    assert_eq!(live.ok().stdout, "hello");
}
