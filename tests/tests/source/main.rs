//! Sources against the real git, ssh, helm and kustomize: what is read, and
//! what a hostile repository does not get.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod authority;
mod changes;
mod closures;
mod coming;
mod features;
mod fetching;
mod hostile;
mod jsonnet;
mod multiple;
mod oci_registry;
mod registries;
mod rendering;
mod shallow;
mod sops;
mod sops_program;
mod writing;

use std::path::{Path, PathBuf};
use std::time::Duration;

use gitops_core::desired::Rendered;
use gitops_source::{
    Commit, Credentials, GitCache, PlainOptions, RenderRequest, RepoUrl, SourceError, Tools,
};
use gitops_tests::Repo;

const LONG: Duration = Duration::from_secs(30);

/// A cache and the tools, as one user has them.
struct Bench {
    home: tempfile::TempDir,
    tools: Tools,
}

impl Bench {
    fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            home: tempfile::tempdir().unwrap(),
            tools: Tools {
                jsonnet: Some(gitops_tests::binary("kubectl-gitops")),
                ..Tools::from_environment(|name| std::env::var_os(name))
            },
        }
    }

    /// The renders that are kept: one for each that was made.
    fn kept(&self) -> usize {
        let Ok(folders) = std::fs::read_dir(self.renders().join("renders")) else { return 0 };
        folders.map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
    }

    /// Runs the plugin as somebody without a cluster does: exit code, stdout,
    /// stderr.
    fn gitops(&self, folder: &Path, arguments: &str, environment: &[(&str, &str)]) -> (i32, String, String) {
        let output = std::process::Command::new(gitops_tests::binary("kubectl-gitops"))
            .args(arguments.split_whitespace())
            .current_dir(folder)
            .env("HOME", self.home.path())
            .env("XDG_CACHE_HOME", self.home.path().join("plugin"))
            .env("KUBECONFIG", self.home.path().join("no-kubeconfig"))
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// That nothing below this home holds a text.
    fn holds_nothing_of(&self, text: &str) {
        let grep = std::process::Command::new("grep").args(["-r", "-l", text]).arg(self.home.path()).output();
        let found = grep.unwrap().stdout;
        assert!(found.is_empty(), "{text} is in {}", String::from_utf8_lossy(&found));
    }

    fn cache(&self) -> GitCache {
        GitCache::open(self.home.path())
    }

    fn fetch(&self, url: &str, revision: &str) -> Result<Commit, SourceError> {
        let url: RepoUrl = url.parse().unwrap();
        self.cache().fetch(&url, revision, &Credentials::default(), LONG)
    }

    /// What the engine renders with.
    fn environment(&self) -> gitops_engine::Environment {
        gitops_engine::Environment {
            cache_dir: self.renders(),
            tools: self.tools.clone(),
            git_timeout: LONG,
            looks: gitops_engine::Looks::Always,
            kube_version: String::new(),
            api_versions: Vec::new(),
            keys: gitops_source::sops::Keys::default(),
        }
    }

    fn renders(&self) -> PathBuf {
        self.home.path().join("cache")
    }

    /// Renders a path of a repository's HEAD.
    fn render(&self, repo: &Repo, request: &RenderRequest) -> Result<Vec<Rendered>, SourceError> {
        self.render_commit(repo, &repo.head(), request)
    }

    fn render_commit(
        &self,
        repo: &Repo,
        commit: &str,
        request: &RenderRequest,
    ) -> Result<Vec<Rendered>, SourceError> {
        let snapshot = self.cache().snapshot(&repo.url().parse().unwrap(), commit)?;
        gitops_source::render(&snapshot, request, &self.tools, &self.renders())
    }

    fn refusal(&self, repo: &Repo, request: &RenderRequest) -> String {
        self.render(repo, request).unwrap_err().to_string()
    }
}

fn request(path: &str) -> RenderRequest {
    RenderRequest {
        path: path.to_owned(),
        name: "shop".into(),
        namespace: "shop".into(),
        plain: PlainOptions { recurse: true, ..PlainOptions::default() },
        kube_version: "1.37.2".into(),
        ..RenderRequest::default()
    }
}

fn config_map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  key: {value}\n")
}

/// A `gitops.yaml` with one Application.
fn application(spec: &str) -> String {
    format!(
        "apiVersion: kubectl-gitops.dev/v1alpha1\nkind: Application\nmetadata: {{name: shop, namespace: shop}}\nspec:\n{spec}"
    )
}
