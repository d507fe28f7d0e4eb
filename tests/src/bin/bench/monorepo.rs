//! 1,000 Applications in one repository, beside the same calls of helm and
//! kustomize, as many at once as there are processors.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use gitops_tests::{GitServer, Repo};
use serde_json::json;

use crate::cluster::binary;
use crate::report::{Bench, Pair, pairs, timed};

const APPLICATIONS: usize = 1000;

/// What an Application's folder holds.
#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Kustomize,
    Helm,
}

impl Kind {
    fn of(number: usize) -> Self {
        [Self::Plain, Self::Kustomize, Self::Helm][number % 3]
    }
}

fn config(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  value: {value}\n")
}

fn folder(number: usize) -> String {
    format!("apps/a{number:04}")
}

/// Writes an Application's folder.
fn write(repo: &Repo, number: usize, value: &str) {
    let files = match Kind::of(number) {
        Kind::Plain => vec![("config.yaml", config(&format!("plain-{number}"), value))],
        Kind::Kustomize => vec![
            ("kustomization.yaml", format!("namePrefix: k{number}-\nresources: [config.yaml]\n")),
            ("config.yaml", config("kustomized", value)),
        ],
        Kind::Helm => vec![
            ("Chart.yaml", format!("apiVersion: v2\nname: c{number}\nversion: 0.1.0\n")),
            ("values.yaml", format!("value: {value}\n")),
            ("templates/config.yaml", config("{{ .Release.Name }}", "{{ .Values.value }}")),
        ],
    };
    for (name, text) in files {
        let path = repo.file(&format!("{}/{name}", folder(number)));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// The repository, a server for its bare copy, and a clone of the peer's.
struct Monorepo {
    repo: Repo,
    /// gitops.yaml alone, in a folder that is no repository.
    place: tempfile::TempDir,
    clone: PathBuf,
    _server: GitServer,
}

impl Monorepo {
    fn new() -> Self {
        let (repo, place) = (Repo::new(), tempfile::tempdir().unwrap());
        (0..APPLICATIONS).for_each(|number| write(&repo, number, "v0"));
        repo.commit_all("a thousand applications");
        let root = place.path().join("served");
        let bare = root.join("mono.git").display().to_string();
        repo.git(&["clone", "--quiet", "--bare", ".", &bare]);
        repo.git(&["remote", "add", "origin", &bare]);
        let server = GitServer::start(&root, "127.0.0.1:0", None).unwrap();
        let url = server.url("mono.git");
        let described: Vec<String> = (0..APPLICATIONS)
            .map(|number| {
                json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": format!("a{number:04}"), "namespace": "shop"},
                    "spec": {"source": {"repo": url, "revision": "main", "path": folder(number)}}})
                .to_string()
            })
            .collect();
        std::fs::write(place.path().join("gitops.yaml"), described.join("\n---\n")).unwrap();
        let clone = place.path().join("clone");
        repo.git(&["clone", "--quiet", &url, &clone.display().to_string()]);
        Self { repo, place, clone, _server: server }
    }

    /// Seconds until we have rendered all, with what `cache` holds.
    fn ours(&self, cache: &Path) -> f64 {
        let mut command = Command::new(binary("kubectl-gitops"));
        command.args(["render", "-f", "gitops.yaml", "-o", "name", "--cache-dir"]).arg(cache);
        done(command.current_dir(self.place.path()))
    }

    /// Seconds that one Application's tool takes; nothing where it has none.
    fn tool(&self, number: usize) -> f64 {
        let command = match Kind::of(number) {
            Kind::Plain => return 0.0,
            Kind::Kustomize => {
                ["kustomize", "build", "--load-restrictor", "LoadRestrictionsRootOnly", "."].to_vec()
            }
            Kind::Helm => ["helm", "template", "a", ".", "--namespace", "shop", "--include-crds"].to_vec(),
        };
        done(Command::new(command[0]).args(&command[1..]).current_dir(self.clone.join(folder(number))))
    }

    /// Seconds that all tools take, as many at once as there are processors.
    fn tools(&self) -> f64 {
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|n| *n < APPLICATIONS)
            {
                self.tool(number);
            }
        };
        let workers = std::thread::available_parallelism().unwrap().get();
        timed(1, || std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work)))))
    }

    /// Seconds of a fetch by git.
    fn fetch(&self) -> f64 {
        done(Command::new("git").args(["pull", "--quiet"]).current_dir(&self.clone))
    }
}

/// Seconds of a command that has to end well.
fn done(command: &mut Command) -> f64 {
    timed(1, || assert!(command.stdout(Stdio::null()).status().unwrap().success(), "{command:?}"))
}

/// The first render of all, and the one after a commit that touches one.
pub fn monorepo(bench: &mut Bench) {
    let monorepo = Monorepo::new();
    let first: Vec<Pair> = (0..pairs())
        .map(|_| {
            let cache = tempfile::tempdir().unwrap();
            (monorepo.ours(cache.path()), monorepo.tools())
        })
        .collect();
    // At most 1.2 times the peer's time.
    bench.report("render.first.1000-applications", "helm+kustomize", &first, 0.83);
    let cache = tempfile::tempdir().unwrap();
    monorepo.ours(cache.path());
    let touched: Vec<Pair> = (0..pairs())
        .map(|pair| {
            // One that helm renders.
            let number = 3 * pair + 2;
            write(&monorepo.repo, number, &format!("v{}", pair + 1));
            monorepo.repo.commit_all("one application");
            monorepo.repo.git(&["push", "--quiet", "origin", "main"]);
            (monorepo.ours(cache.path()), monorepo.fetch() + monorepo.tool(number))
        })
        .collect();
    // At most 1.5 times the peer's time.
    bench.report("render.one-of-1000-applications", "fetch+helm", &touched, 0.67);
}
