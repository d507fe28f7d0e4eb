//! What every command prints, on the real API server, at a common and at a
//! narrow width, and what kubectl completes.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use gitops_tests::cluster::{eventually, ran};
use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use gitops_tests::{Namespace, Ran, Repo, cluster};

/// In place of the namespace's own name.
const NAME: &str = "the-namespace-0";

struct Place {
    namespace: Namespace,
    repo: Repo,
}

impl Place {
    /// A ConfigMap, and a Deployment of no Pods: what is printed of them does
    /// not depend on a node.
    fn new() -> Self {
        // As long as NAME, whatever this process is called: columns stay in line.
        let digits = std::process::id().to_string().len();
        let namespace = cluster().namespace(&format!("o{}", "x".repeat(NAME.len() - 4 - digits)));
        assert_eq!(namespace.name.len(), NAME.len());
        let application = format!(
            "apiVersion: kubectl-gitops.dev/v1alpha1\nkind: Application\nmetadata: {{name: web, namespace: {0}}}\nspec:\n  source: {{path: app}}\n  destination: {{namespace: {0}}}\n",
            namespace.name
        );
        let repo = Repo::with(&[
            ("gitops.yaml", &application),
            ("app/web.yaml", &DEPLOYMENT.replace("replicas: 2", "replicas: 0")),
            ("app/config.yaml", CONFIG),
        ]);
        let place = Self { namespace, repo };
        place.long_ago();
        place
    }

    /// Dates the last commit back, so that its age has as many digits for years.
    fn long_ago(&self) {
        let mut command = std::process::Command::new("git");
        let date = "2020-01-01T00:00:00Z";
        command.args([
            "-c",
            "user.name=Ada",
            "-c",
            "user.email=ada@example.com",
            "commit",
            "--amend",
            "--no-edit",
        ]);
        command.args(["--quiet", "--allow-empty", "--date", date]).env("GIT_COMMITTER_DATE", date);
        ran(command.current_dir(self.repo.path()), None).ok();
    }

    fn run(&self, arguments: &str, width: u16) -> Ran {
        let mut command = cluster().command("kubectl");
        let arguments = arguments.replace("NAMESPACE", &self.namespace.name);
        command.arg("gitops").args(arguments.split_whitespace());
        ran(command.current_dir(self.repo.path()).env("COLUMNS", width.to_string()), None)
    }

    /// What a command prints, without what differs from run to run.
    fn shown(&self, arguments: &str, width: u16) -> String {
        let ran = self.run(arguments, width);
        let mut text = format!("$ kubectl gitops {arguments}\n{}", ran.stdout);
        ran.stderr.lines().for_each(|line| text += &format!("stderr: {line}\n"));
        text += &format!("exit code {}", ran.code);
        text.replace(&self.repo.url(), "REPOSITORY")
            .replace(&self.repo.path().display().to_string(), "FOLDER")
            .replace(&self.namespace.name, NAME)
    }
}

/// What differs from run to run, and what stands for it.
const FILTERS: [(&str, &str); 5] = [
    (r"\b[0-9a-f]{40}\b", "0123456789012345678901234567890123456789"),
    (r"\b[0-9a-f]{12}\b", "012345678901"),
    (r"\b\d{4} days ago", "2000 days ago"),
    (r"in \d+\.\d s\b", "in 0.0 s"),
    (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME"),
];

#[test]
fn every_command_prints_what_it_did() {
    let place = Place::new();
    let mut texts = Vec::new();
    let mut show = |arguments: &str, width: u16| texts.push(place.shown(arguments, width));
    show("diff", 100);
    show("diff -o name", 100);
    show("sync --dry-run", 100);
    show("render -o name", 100);
    show("status", 100);
    show("sync --wait --timeout 60s", 100);
    // Until the Deployment's controller has seen it.
    eventually("healthy", Duration::from_secs(30), || (place.run("status", 100).code == 0).then_some(()));
    for arguments in ["status", "list", "tree", "history", "wait --timeout 5s", "sync"] {
        show(arguments, 100);
        show(arguments, 40);
    }
    for format in ["name", "wide", "json", "jsonl", "yaml"] {
        show(&format!("status -o {format}"), 100);
    }
    show("logs --tail 1", 100);
    place.repo.git(&["tag", "before"]);
    place.repo.commit("Greet", &[("app/config.yaml", &CONFIG.replace("hello", "good day"))]);
    place.long_ago();
    show("diff", 100);
    show("diff -o yaml", 100);
    show("diff --base before --head main", 100);
    show("status", 100);
    show("why app/config.yaml", 100);
    show("health -f app/web.yaml", 100);
    show("init --dry-run other", 100);
    show("delete --dry-run", 100);
    show("delete --yes", 100);
    show("status nobody", 100);
    show("sync --no-such-flag", 60);
    insta::with_settings!({filters => FILTERS}, {
        insta::assert_snapshot!("every_command", texts.join("\n\n"));
    });
}

#[test]
fn colours_are_for_terminals_and_those_who_ask() {
    let place = Place::new();
    let run = |colour: &str, variables: &[(&str, &str)]| {
        let mut command = cluster().command("kubectl");
        command.args(["gitops", "diff"]).args(colour.split_whitespace()).env_remove("NO_COLOR");
        command.envs(variables.iter().copied()).current_dir(place.repo.path());
        ran(&mut command, None).stdout.contains('\u{1b}')
    };
    assert!(!run("", &[]), "a pipe is no terminal");
    assert!(run("", &[("CLICOLOR_FORCE", "1")]));
    assert!(run("--color always", &[]));
    assert!(!run("--color never", &[("CLICOLOR_FORCE", "1")]));
    assert!(!run("", &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")]));
    assert!(run("", &[("NO_COLOR", ""), ("CLICOLOR_FORCE", "1")]), "an empty one says nothing");
    assert!(run("--color always", &[("NO_COLOR", "1")]), "a flag is meant");
}

#[test]
fn kubectl_completes_commands_flags_values_and_names() {
    let place = Place::new();
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("kubectl_complete-gitops");
    std::fs::write(&script, cluster().gitops(Path::new("/"), "completion kubectl").ok().stdout).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let complete = |words: &[&str]| -> Vec<String> {
        let mut command = cluster().command("kubectl");
        let path = command.get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap().to_owned();
        command.env("PATH", format!("{}:{}", folder.path().display(), path.to_str().unwrap()));
        command.args(["__complete", "gitops"]).args(words).current_dir(place.repo.path());
        let lines = ran(&mut command, None).ok().stdout;
        let names = lines.lines().filter(|line| !line.starts_with(':'));
        names.map(|line| line.split('\t').next().unwrap().to_owned()).collect()
    };
    assert_eq!(complete(&["s"]), ["sync", "status"]);
    assert_eq!(complete(&["sync", "--dry"]), ["--dry-run"]);
    assert_eq!(complete(&["status", "-o", "j"]), ["json", "jsonl"]);
    assert_eq!(complete(&["sync", ""]), ["web"]);
    assert_eq!(complete(&["-n", "shop", "override", ""]), ["create", "list", "end"]);
}
