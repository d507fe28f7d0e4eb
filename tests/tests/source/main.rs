//! Sources against the real git, ssh, helm and kustomize: what is read, and
//! what a hostile repository does not get.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fetching;
mod hostile;
mod rendering;

use std::path::PathBuf;
use std::time::Duration;

use gitops_core::desired::Rendered;
use gitops_source::{
    Commit, Credentials, GitCache, HelmOptions, KustomizeOptions, PlainOptions, RenderRequest, RepoUrl,
    SourceError, SourceType, Tools,
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
            tools: Tools::from_environment(|name| std::env::var_os(name)),
        }
    }

    fn cache(&self) -> GitCache {
        GitCache::open(self.home.path())
    }

    fn fetch(&self, url: &str, revision: &str) -> Result<Commit, SourceError> {
        let url: RepoUrl = url.parse().unwrap();
        self.cache().fetch(&url, revision, &Credentials::Usual, LONG)
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
        kind: SourceType::Auto,
        name: "shop".into(),
        namespace: "shop".into(),
        plain: PlainOptions { recurse: true, ..PlainOptions::default() },
        kustomize: KustomizeOptions::default(),
        helm: HelmOptions::default(),
        kube_version: "1.37.2".into(),
        api_versions: Vec::new(),
    }
}

fn config_map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  key: {value}\n")
}
