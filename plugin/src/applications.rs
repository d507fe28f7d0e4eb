//! Which Applications a command means, and what they declare.

use std::path::PathBuf;

use gitops_cluster::{Cluster, Discovery};
use gitops_core::desired::{AppRef, DesiredSet};
use gitops_engine::desired::{commit, desired, whole_trees};
use gitops_engine::load::{self, FILE, Loaded};
use gitops_engine::{Environment, Survey, survey};
use gitops_source::{Commit, RepoUrl};

use crate::cli::Selection;
use crate::error::Failure;
use crate::printer::Printer;
use crate::settings::Settings;

/// Where no cluster or context says otherwise.
const DEFAULT_NAMESPACE: &str = "default";

/// The Applications that were selected. Without a cluster, those of files and
/// flags alone are found.
pub async fn select(
    selection: &Selection,
    settings: &Settings,
    cluster: Option<&Cluster>,
) -> Result<Vec<Loaded>, Failure> {
    let context = cluster.map_or(DEFAULT_NAMESPACE, Cluster::default_namespace);
    let namespace = settings.namespace.clone().unwrap_or_else(|| context.to_owned());
    if let Some(repo) = &selection.repo {
        return from_flags(repo, selection, settings, &namespace).map(|loaded| vec![loaded]);
    }
    if let Some(file) = selection.file.clone().or_else(|| load::find_file(&settings.folder)) {
        let shown = file.strip_prefix(&settings.folder).map_or_else(|_| file.clone(), PathBuf::from);
        let all = load::read_file(&shown, &namespace, &settings.credentials)?;
        return by_name(all, selection, &shown.display().to_string());
    }
    let Some(cluster) = cluster.filter(|_| !selection.names.is_empty()) else { return Err(none_found()) };
    let mut found = Vec::new();
    for name in &selection.names {
        let reference = AppRef { namespace: namespace.clone(), name: name.clone() };
        found.push(load::from_cluster(cluster, &reference, &settings.credentials).await?);
    }
    Ok(found)
}

fn none_found() -> Failure {
    Failure::usage(format!("no Application is named, and there is no {FILE} here or above"))
        .hint("make one with `kubectl gitops init`, name one with -f FILE, or use --repo URL --path PATH")
}

fn from_flags(
    repo: &str,
    selection: &Selection,
    settings: &Settings,
    namespace: &str,
) -> Result<Loaded, Failure> {
    let url: RepoUrl = repo.parse().map_err(|error: gitops_source::location::UrlError| {
        Failure::usage(error.to_string()).hint("write a URL or a path")
    })?;
    let url = url
        .path()
        .map_or_else(|| Ok(url.clone()), |path| path.canonicalize().map(|path| RepoUrl::local(&path)))
        .map_err(|error| {
            Failure::git(format!("{repo}: {error}")).hint("name a folder of a Git repository, or a URL")
        })?;
    let path = selection.path.clone().unwrap_or_else(|| ".".into());
    let last = path.trim_matches('/').rsplit('/').next().filter(|name| !name.is_empty() && *name != ".");
    let from_repo = repo.trim_end_matches('/').rsplit('/').next().unwrap_or(repo).trim_end_matches(".git");
    let name = match selection.names.as_slice() {
        [] => last.unwrap_or(from_repo).to_owned(),
        [name] => name.clone(),
        _ => return Err(Failure::usage("--repo describes one Application, but several names are given")),
    };
    let revision = selection.revision.clone().unwrap_or_else(|| "HEAD".into());
    Ok(load::from_flags(&name, namespace, url, &revision, &path, settings.credentials.clone()))
}

fn by_name(all: Vec<Loaded>, selection: &Selection, file: &str) -> Result<Vec<Loaded>, Failure> {
    if selection.names.is_empty() {
        return Ok(all);
    }
    let known: Vec<String> = all.iter().map(|loaded| loaded.application.name.clone()).collect();
    let mut found = Vec::new();
    for name in &selection.names {
        match all.iter().find(|loaded| loaded.application.name == *name) {
            Some(loaded) => found.push(loaded.clone()),
            None => {
                return Err(Failure::usage(format!("{file} holds no Application {name:?}"))
                    .hint(format!("it holds: {}", known.join(", "))));
            }
        }
    }
    Ok(found)
}

/// A cluster that has been asked what it knows.
#[derive(Clone, Debug)]
pub struct Destination {
    pub cluster: Cluster,
    pub discovery: Discovery,
    pub environment: Environment,
}

impl Destination {
    /// Connects.
    pub async fn reach(settings: &Settings) -> Result<Self, Failure> {
        let cluster = settings.cluster().await?;
        let (discovery, version) = tokio::try_join!(cluster.discovery(), cluster.version())?;
        let environment = settings.environment(version.trim_start_matches('v'), discovery.api_versions());
        Ok(Self { cluster, discovery, environment })
    }

    /// What an Application declares, and what the cluster holds of it. What
    /// Git both declares and leaves to others is told.
    pub async fn survey(
        &self,
        loaded: &Loaded,
        revision: Option<&str>,
        printer: &Printer,
    ) -> Result<(Commit, Survey), Failure> {
        let (commit, set) = declared(loaded, &self.environment, revision, &self.discovery).await?;
        let survey = survey(&self.cluster, &self.discovery, loaded, &self.environment, set).await?;
        survey.desired.delegated().mistakes.iter().for_each(|mistake| printer.warning(mistake));
        Ok((commit, survey))
    }
}

/// Tells which sources are rendered anew on every commit.
pub async fn tell_whole_trees(
    loaded: &Loaded,
    environment: &Environment,
    commit: &Commit,
    printer: &Printer,
) -> Result<(), Failure> {
    for note in whole_trees(loaded, environment, &commit.id).await? {
        printer.talk(&format!("{}: {note}", loaded.application.name));
    }
    Ok(())
}

/// What an Application declares at the commit that it, or `revision`, means.
pub async fn declared(
    loaded: &Loaded,
    environment: &Environment,
    revision: Option<&str>,
    scopes: &(impl gitops_core::desired::Scopes + Clone + Send + 'static),
) -> Result<(Commit, DesiredSet), Failure> {
    let commit = commit(loaded, environment, revision).await?;
    let set = desired(loaded, environment, &commit.id, scopes).await?;
    Ok((commit, set))
}
