//! Which commits count: signed by the Project's keys, on its branches.

use std::path::Path;
use std::time::Duration;

use gitops_tests::cluster::eventually;
use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use gitops_tests::{Repo, Shop};
use serde_json::json;

use super::gitops;

/// An SSH key: the file of the private one, and the public one.
fn key(folder: &Path, name: &str) -> (String, String) {
    let path = folder.join(name);
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success());
    (path.display().to_string(), std::fs::read_to_string(path.with_extension("pub")).unwrap())
}

/// A signed commit of what was added.
fn sign(repo: &Repo, key: &str) -> String {
    repo.git(&["config", "gpg.format", "ssh"]);
    repo.git(&["config", "user.signingkey", key]);
    repo.git(&["commit", "--quiet", "--allow-empty", "-S", "-m", "signed"]);
    repo.head()
}

#[test]
fn unsigned_commits_do_not_count() {
    let keys = tempfile::tempdir().unwrap();
    let ((private, public), (foreign, _)) = (key(keys.path(), "ada"), key(keys.path(), "eve"));
    let shop = Shop::unheld(&[("app/web.yaml", DEPLOYMENT), ("app/config.yaml", CONFIG)]);
    let signed = sign(&shop.repo, &private);
    shop.hold_under(
        json!({"repositories": [{"url": "file:///**", "branches": ["main"], "signers": [public]}]}),
        json!({}),
    );
    shop.sync().ok();
    // Not signed, then signed by somebody else: the last good one stays in force.
    let unsigned =
        shop.repo.commit("evil", &[("app/web.yaml", &DEPLOYMENT.replace("replicas: 2", "replicas: 7"))]);
    let message = shop.wait_for("Rendered", "False");
    assert!(message.contains(&unsigned[..12]) && message.contains("not signed"), "{message}");
    let sync = shop.sync();
    assert!(
        sync.code == 4 && sync.stderr.contains("not signed") && sync.stderr.contains("hint:"),
        "{}{}",
        sync.stdout,
        sync.stderr
    );
    shop.kubectl("scale deployment web --replicas=7").refused(&["spec.replicas"]);
    sign(&shop.repo, &foreign);
    eventually("a foreign key is named", Duration::from_secs(20), || {
        shop.wait_for("Rendered", "False").contains("none of the Project's").then_some(())
    });
    assert_eq!(shop.get("application", "web").unwrap()["status"]["revision"], signed);
    let head = sign(&shop.repo, &private);
    eventually("it counts again", Duration::from_secs(20), || {
        (shop.get("application", "web")?["status"]["revision"] == head).then_some(())
    });
}

#[test]
fn an_older_commit_counts_by_what_application_and_project_say_now() {
    let keys = tempfile::tempdir().unwrap();
    let ((ada, adas), (eve, eves)) = (key(keys.path(), "ada"), key(keys.path(), "eve"));
    let shop = Shop::unheld(&[("app/config.yaml", CONFIG)]);
    let commit = |greeting: &str, key: &str| {
        for (folder, greeting) in [("app", greeting.to_owned()), ("other", format!("other {greeting}"))] {
            let file = shop.repo.path().join(folder).join("config.yaml");
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, CONFIG.replace("hello", &greeting)).unwrap();
        }
        shop.repo.git(&["add", "--all"]);
        sign(&shop.repo, key)
    };
    commit("one", &eve);
    let signers = |signers: &[&String]| json!({"repositories": [{"url": "file:///**", "signers": signers}]});
    shop.hold_under(signers(&[&adas, &eves]), json!({}));
    shop.sync().ok();
    shop.hold_off();
    let greet = |greeting: &str, more: &[&str]| {
        let patch = json!({"data": {"greeting": greeting}}).to_string();
        let mut all = vec!["patch", "configmap", "web", "--type=merge", "-p", &patch];
        all.extend(more);
        shop.kubectl_args(&all)
    };
    eventually("nothing is held", Duration::from_secs(20), || {
        (greet("drifted", &[]).code == 0).then_some(())
    });
    let enforce = json!({"enforcement": {"mode": "Enforce"}});
    let project = |spec: &serde_json::Value| {
        let patch = json!({"spec": spec}).to_string();
        shop.cluster.kubectl_args(&["patch", "project", shop.name(), "--type=merge", "-p", &patch]).ok();
    };
    project(&enforce);
    shop.change(&enforce);
    // The object is of the first commit; the second lies between it and the newest.
    commit("two", &eve);
    let tip = commit("three", &ada);
    let tries = |greeting: &str| greet(greeting, &["--dry-run=server"]).code == 0;
    let older = || ["one", "two"].map(tries);
    eventually("the newest is in force", Duration::from_secs(20), || {
        (shop.get("application", "web")?["status"]["revision"] == tip && !tries("four")).then_some(())
    });
    eventually("both count", Duration::from_secs(20), || (older() == [true, true]).then_some(()));
    shop.change(&json!({"source": {"path": "other"}}));
    eventually("they say something else", Duration::from_secs(20), || {
        (older() == [false, false]).then_some(())
    });
    assert_eq!(["other one", "other two"].map(tries), [true, true]);
    shop.change(&json!({"source": {"path": "app"}}));
    eventually("they count again", Duration::from_secs(20), || (older() == [true, true]).then_some(()));
    project(&signers(&[&adas]));
    eventually("their key counts no more", Duration::from_secs(20), || {
        (older() == [false, false]).then_some(())
    });
    assert!(tries("three"), "the newest is signed by another");
}

#[test]
fn openpgp_signatures_count_by_the_keys_that_are_named() {
    let home = tempfile::tempdir().unwrap();
    let gpg = |arguments: &[&str]| {
        let mut command = std::process::Command::new("gpg");
        command
            .env("GNUPGHOME", home.path())
            .args(["--batch", "--quiet", "--passphrase", ""])
            .args(arguments);
        gitops_tests::cluster::ran(&mut command, None).ok().stdout
    };
    let key = |name: &str| {
        gpg(&["--quick-generate-key", name, "ed25519", "sign", "never"]);
        gpg(&["--armor", "--export", name])
    };
    let (ada, eve) = (key("Ada <ada@example.com>"), key("Eve <eve@example.com>"));
    let repo = Repo::with(&[("app/config.yaml", CONFIG)]);
    let sign = "git commit --quiet --allow-empty -S -m signed";
    let mut commit = std::process::Command::new("sh");
    commit.args(["-c", sign]).current_dir(repo.path()).env("GNUPGHOME", home.path());
    commit.envs([("GIT_AUTHOR_NAME", "Ada"), ("GIT_AUTHOR_EMAIL", "ada@example.com")]);
    commit.envs([("GIT_COMMITTER_NAME", "Ada"), ("GIT_COMMITTER_EMAIL", "ada@example.com")]);
    gitops_tests::cluster::ran(&mut commit, None).ok();
    let cache = tempfile::tempdir().unwrap();
    let verify = |keys: &[String]| {
        let git = gitops_source::GitCache::open(cache.path());
        git.verify(&repo.url().parse().unwrap(), &repo.head(), keys).map_err(|error| error.to_string())
    };
    assert_eq!(verify(&[eve.clone(), ada]), Ok(()));
    assert!(verify(&[eve]).unwrap_err().contains("none of the Project's keys"));
    assert!(
        verify(&["SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU".into()])
            .unwrap_err()
            .contains("names no OpenPGP key")
    );
    let _ = std::process::Command::new("gpgconf")
        .env("GNUPGHOME", home.path())
        .args(["--kill", "gpg-agent"])
        .status();
}

#[test]
fn a_commit_counts_only_on_a_branch_that_counts() {
    let shop = Shop::unheld(&[("app/web.yaml", DEPLOYMENT), ("app/config.yaml", CONFIG)]);
    shop.repo.git(&["checkout", "--quiet", "-b", "dev"]);
    let dev = shop.repo.commit("dev", &[("app/web.yaml", &DEPLOYMENT.replace("web:1", "web:dev"))]);
    shop.repo.git(&["checkout", "--quiet", "main"]);
    shop.hold_under(json!({"repositories": [{"url": "file:///**", "branches": ["main"]}]}), json!({}));
    shop.sync().ok();
    let point = |revision: &str| {
        let patch = json!({"spec": {"source": {"revision": revision}}}).to_string();
        shop.kubectl_args(&["patch", "application", "web", "--type=merge", "-p", &patch]).ok();
    };
    point(&dev);
    let message = shop.wait_for("Rendered", "False");
    assert!(message.contains("no branch") && message.contains("main"), "{message}");
    point(&shop.repo.head());
    shop.wait_for("Rendered", "True");
    // The same, asked of the plugin.
    let ran = gitops(&shop, &format!("sync web -n {} --revision {dev}", shop.name()));
    assert!(ran.code == 3 && ran.stderr.contains("no branch"), "{}{}", ran.stdout, ran.stderr);
}
