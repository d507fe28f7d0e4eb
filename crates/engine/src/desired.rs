//! From an Application to its desired set: fetch, render, give identity.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use gitops_api::application::SourceType as Declared;
use gitops_core::desired::{Builder, DesiredObject, DesiredSet, Scopes, Stored};
use gitops_core::index::{Part, Precedence, Want};
use gitops_core::object::ObjectKey;
use gitops_source::{
    Commit, GitCache, HelmOptions, KustomizeOptions, PlainOptions, RenderRequest, SourceType, Tools,
    render_each,
};

use crate::error::EngineError;
use crate::load::Loaded;

/// What rendering needs beside the Application.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Repositories and renders are kept here.
    pub cache_dir: PathBuf,
    pub tools: Tools,
    /// Of a fetch.
    pub git_timeout: Duration,
    /// Of the destination, such as `v1.37.2`; empty: the tools' own default.
    pub kube_version: String,
    pub api_versions: Vec<String>,
}

impl Environment {
    /// The repositories kept here.
    pub fn git(&self) -> GitCache {
        GitCache::open(&self.cache_dir)
    }
}

/// Fetches and finds the commit that an Application means, or the one that
/// `revision` names.
///
/// # Errors
/// What is wrong with the repository or the way to it.
pub async fn commit(
    loaded: &Loaded,
    environment: &Environment,
    revision: Option<&str>,
) -> Result<Commit, EngineError> {
    let (git, repo, credentials, timeout) =
        (environment.git(), loaded.repo.clone(), loaded.credentials.clone(), environment.git_timeout);
    let revision = revision.map_or_else(|| loaded.source().revision, str::to_owned);
    blocking(move || Ok(git.fetch(&repo, &revision, &credentials, timeout)?)).await
}

/// What an Application declares at a commit that is here already.
///
/// # Errors
/// What is wrong with the files, with their places.
pub async fn desired(
    loaded: &Loaded,
    environment: &Environment,
    commit: &str,
    scopes: &(impl Scopes + Clone + Send + 'static),
) -> Result<DesiredSet, EngineError> {
    let objects = objects::<DesiredObject>(loaded, environment, commit, scopes).await?;
    Ok(DesiredSet { application: loaded.application.clone(), revision: commit.to_owned(), objects })
}

/// The same, packed for look-ups: a large render is never in memory as a whole.
///
/// # Errors
/// What is wrong with the files, with their places.
pub async fn packed(
    loaded: &Loaded,
    environment: &Environment,
    commit: &str,
    scopes: &(impl Scopes + Clone + Send + 'static),
    precedence: Precedence,
) -> Result<Part, EngineError> {
    let objects = objects::<Want>(loaded, environment, commit, scopes).await?;
    Ok(Part::new(loaded.application.clone(), commit.to_owned(), precedence, objects))
}

async fn objects<S: Stored + Send + 'static>(
    loaded: &Loaded,
    environment: &Environment,
    commit: &str,
    scopes: &(impl Scopes + Clone + Send + 'static),
) -> Result<BTreeMap<ObjectKey, S>, EngineError> {
    let (loaded, environment, commit, scopes) =
        (loaded.clone(), environment.clone(), commit.to_owned(), scopes.clone());
    blocking(move || {
        let snapshot = environment.git().snapshot(&loaded.repo, &commit)?;
        let late = loaded.sync_options()?.skip_missing == Some(true);
        let mut builder = Builder::<S>::new(&loaded.namespace, &scopes).lenient(late);
        let request = request(&loaded, &environment);
        let (tools, cache) = (&environment.tools, &environment.cache_dir);
        render_each(&snapshot, &request, tools, cache, &mut |rendered| builder.add(rendered))?;
        builder.finish().map_err(EngineError::Desired)
    })
    .await
}

fn request(loaded: &Loaded, environment: &Environment) -> RenderRequest {
    let source = loaded.source();
    let plain = source.plain.clone().map_or_else(
        || PlainOptions { recurse: true, ..PlainOptions::default() },
        |plain| PlainOptions { recurse: plain.recurse, include: plain.include, exclude: plain.exclude },
    );
    let kustomize = source.kustomize.clone().unwrap_or_default();
    let helm = source.helm.clone().unwrap_or_default();
    RenderRequest {
        path: source.path.clone(),
        kind: match source.kind {
            Declared::Plain => SourceType::Plain,
            Declared::Kustomize => SourceType::Kustomize,
            Declared::Helm => SourceType::Helm,
            // The last two are refused before they come here.
            Declared::Auto | Declared::Jsonnet | Declared::Oci => SourceType::Auto,
        },
        name: loaded.application.name.clone(),
        namespace: loaded.namespace.clone(),
        plain,
        kustomize: KustomizeOptions { images: kustomize.images, components: kustomize.components },
        helm: HelmOptions {
            release_name: helm.release_name,
            value_files: helm.value_files,
            values: helm.values,
            set: helm.set.into_iter().collect(),
        },
        kube_version: environment.kube_version.clone(),
        api_versions: environment.api_versions.clone(),
    }
}

/// Runs work that reads disks and waits for programs.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(EngineError::Internal(error.to_string())),
    }
}
