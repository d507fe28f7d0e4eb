//! From an Application to its desired set: fetch, render, give identity.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gitops_api::application::{Source, SourceType as Declared};
use gitops_core::desired::{Builder, DesiredObject, DesiredSet, Given, Scopes, Stored};
use gitops_core::index::{Part, Precedence, Want};
use gitops_core::object::ObjectKey;
use gitops_source::registry::{self, Wanted};
use gitops_source::sops::Keys;
use gitops_source::{
    Commit, GitCache, HelmOptions, KustomizeOptions, PlainOptions, RenderRequest, Snapshot, SourceError,
    SourceType, Tools, render_each, whole_tree,
};

use crate::charts;
use crate::error::EngineError;
use crate::load::{Loaded, Place};
use crate::looks::Looks;
use crate::revisions;

/// What rendering needs beside the Application.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Repositories and renders are kept here.
    pub cache_dir: PathBuf,
    pub tools: Tools,
    /// Of a fetch.
    pub git_timeout: Duration,
    /// When the hosts of repositories are asked.
    pub looks: Looks,
    /// Of the destination, such as `v1.37.2`; empty: the tools' own default.
    pub kube_version: String,
    pub api_versions: Vec<String>,
    /// What decrypts SOPS files, beside the keys that a source's Secret holds.
    pub keys: Keys,
}

impl Environment {
    /// The repositories kept here.
    pub fn git(&self) -> GitCache {
        GitCache::open(&self.cache_dir)
    }

    /// Asks what may take the whole history of a source's repository, which is
    /// fetched then. It may block.
    ///
    /// # Errors
    /// As `ask`, or when that history cannot be fetched.
    pub fn deeply<T>(
        &self,
        place: &Place,
        ask: impl Fn(&GitCache) -> Result<T, SourceError>,
    ) -> Result<T, SourceError> {
        let git = self.git();
        git.deeply(&place.repo, &place.credentials, self.git_timeout, || ask(&git))
    }
}

/// Finds the commit that an Application means, fetched as [`Looks`] say, or the one that
/// `revision` names for its first source and those beside it in the same
/// repository. Its id is the revision of all sources (see [`revisions`]), the
/// rest is told of the first.
///
/// # Errors
/// What is wrong with a repository or the way to it.
pub async fn commit(
    loaded: &Loaded,
    environment: &Environment,
    revision: Option<&str>,
) -> Result<Commit, EngineError> {
    let (loaded, environment) = (loaded.clone(), environment.clone());
    let revision = revision.map(str::to_owned);
    blocking(move || find_all(&loaded, &environment, revision.as_deref(), true)).await
}

/// The same from what is here of the repositories, without asking their hosts;
/// only registries are asked.
///
/// # Errors
/// When a repository or revision is not here.
pub async fn commit_here(loaded: &Loaded, environment: &Environment) -> Result<Commit, EngineError> {
    let (loaded, environment) = (loaded.clone(), environment.clone());
    blocking(move || find_all(&loaded, &environment, None, false)).await
}

fn find_all(
    loaded: &Loaded,
    environment: &Environment,
    revision: Option<&str>,
    fetches: bool,
) -> Result<Commit, EngineError> {
    let git = environment.git();
    let first = loaded.source();
    let mut found: Vec<Option<Commit>> = vec![None; loaded.sources.len()];
    // Git first: a chart's range of versions holds for its commits.
    for (index, place) in loaded.sources.iter().enumerate() {
        if wanted(place, index, loaded)?.is_some() {
            continue;
        }
        let same = place.repo == loaded.repo && place.source.revision == first.revision;
        let asked = revision.filter(|_| same).unwrap_or(&place.source.revision);
        let known = (0..index).find(|at| {
            let other = &loaded.sources[*at];
            found[*at].is_some() && other.repo == place.repo && other.source.revision == place.source.revision
        });
        found[index] = match known {
            Some(at) => found[at].clone(),
            None if !fetches => Some(git.resolve(&place.repo, asked)?),
            None => Some(environment.find(&place.repo, asked, &place.credentials)?),
        };
    }
    let beside: Vec<String> = found.iter().flatten().map(|commit| commit.id.clone()).collect();
    for (index, place) in loaded.sources.iter().enumerate() {
        let Some(wanted) = wanted(place, index, loaded)? else { continue };
        let wanted = match (revision, wanted, index) {
            (Some(revision), Wanted::Artifact { .. }, 0) => {
                Wanted::Artifact { reference: revision.to_owned() }
            }
            (_, wanted, _) => wanted,
        };
        found[index] = Some(registry::fetch(
            &git,
            &place.repo,
            &wanted,
            &beside.join(" "),
            &place.credentials,
            environment.git_timeout,
        )?);
    }
    let commits: Vec<Commit> = found.into_iter().flatten().collect();
    let ids: Vec<String> = commits.iter().map(|commit| commit.id.clone()).collect();
    let first = commits.into_iter().next();
    let first = first.ok_or_else(|| EngineError::Internal("an Application without a source".into()))?;
    Ok(Commit { id: revisions::join(&ids), ..first })
}

/// What is wanted of a registry or chart repository; none for Git.
fn wanted(place: &Place, index: usize, loaded: &Loaded) -> Result<Option<Wanted>, SourceError> {
    let source = &place.source;
    let field = loaded.spec.source_path(index);
    let unsupported = |field: &str, reason: &str| {
        Err(SourceError::Unsupported { path: field.to_owned(), reason: reason.to_owned() })
    };
    let helm = source.helm.as_ref().filter(|helm| !helm.chart.is_empty() || !helm.version.is_empty());
    let Some(helm) = helm else {
        return match (source.kind == Declared::Oci, place.repo.is_registry()) {
            (true, false) => {
                unsupported(&format!("{field}.repo"), "type OCI needs a registry: write oci://host/name")
            }
            (_, true) => Ok(Some(Wanted::Artifact { reference: source.revision.clone() })),
            (false, false) => Ok(None),
        };
    };
    if helm.chart.is_empty() {
        return unsupported(
            &format!("{field}.helm.version"),
            "it needs helm.chart: a chart in a folder has its own version",
        );
    }
    if source.path != Source::default().path {
        return unsupported(
            &format!("{field}.path"),
            "a chart of a repository has no path: leave out path or helm.chart",
        );
    }
    if !matches!(source.kind, Declared::Auto | Declared::Helm) {
        return unsupported(&format!("{field}.type"), "with helm.chart it is Helm: leave it out");
    }
    Ok(Some(Wanted::Chart { name: helm.chart.clone(), version: helm.version.clone() }))
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

#[tracing::instrument(name = "render", skip_all, fields(application = %loaded.application, revision = commit))]
async fn objects<S: Stored + Send + 'static>(
    loaded: &Loaded,
    environment: &Environment,
    commit: &str,
    scopes: &(impl Scopes + Clone + Send + 'static),
) -> Result<BTreeMap<ObjectKey, S>, EngineError> {
    let (loaded, environment, commit, scopes) =
        (loaded.clone(), environment.clone(), commit.to_owned(), scopes.clone());
    blocking(move || {
        let renders = renders(&loaded, &environment, &commit)?;
        let late = loaded.sync_options()?.skip_missing == Some(true);
        let mut builder = Builder::<S>::new(&loaded.namespace, &scopes).lenient(late);
        let (tools, cache) = (&environment.tools, &environment.cache_dir);
        for Render { snapshot, request, elsewhere } in &renders {
            let mut names = Names::new(elsewhere.as_deref());
            render_each(snapshot, request, tools, cache, &mut |given| builder.add(names.placed(given)))?;
        }
        builder.finish().map_err(EngineError::Desired)
    })
    .await
}

/// Sources whose renders are kept by the whole tree, and why: every commit to
/// their repository renders them anew.
///
/// # Errors
/// When a source is not there or cannot be read.
pub async fn whole_trees(
    loaded: &Loaded,
    environment: &Environment,
    commit: &str,
) -> Result<Vec<String>, EngineError> {
    let (loaded, environment, commit) = (loaded.clone(), environment.clone(), commit.to_owned());
    blocking(move || {
        let mut notes = Vec::new();
        for render in renders(&loaded, &environment, &commit)? {
            if let Some(why) = whole_tree(&render.snapshot, &render.request)? {
                let path = if render.request.path.is_empty() { "." } else { &render.request.path };
                notes.push(format!("{path}: rendered anew on every commit, since {why}"));
            }
        }
        Ok(notes)
    })
    .await
}

/// What an Application reads at a commit that is here already, in one text: the
/// same text means the same objects. None where that is not known without
/// asking somebody else than Git.
///
/// # Errors
/// When a source is not there or cannot be read.
pub async fn reading(
    loaded: &Loaded,
    environment: &Environment,
    commit: &str,
) -> Result<Option<String>, EngineError> {
    let kustomized = |place: &Place| place.source.kustomize.as_ref().is_some_and(|known| known.enable_helm);
    let is_git = |place: &Place| place.source.is_git() && !place.repo.is_registry();
    if loaded.sources.iter().any(|place| !is_git(place) || kustomized(place)) {
        return Ok(None);
    }
    let (loaded, environment, commit) = (loaded.clone(), environment.clone(), commit.to_owned());
    blocking(move || {
        let renders = renders(&loaded, &environment, &commit)?;
        let read: Result<Vec<String>, SourceError> =
            renders.iter().map(|render| gitops_source::reading(&render.snapshot, &render.request)).collect();
        Ok(Some(read?.join(" ")))
    })
    .await
}

/// The charts and artifacts of an Application that may become others while
/// nothing in Git changes.
///
/// # Errors
/// When a source asks for what there is not.
pub fn changing(loaded: &Loaded) -> Result<Vec<(&Place, Wanted)>, EngineError> {
    let mut all = Vec::new();
    for (index, place) in loaded.sources.iter().enumerate() {
        all.push((place, wanted(place, index, loaded)?));
    }
    let is_beside = all.iter().any(|(_, wanted)| wanted.is_none());
    let changing = all.into_iter().filter_map(|(place, wanted)| Some((place, wanted?)));
    Ok(changing.filter(|(_, wanted)| registry::may_change(wanted, is_beside)).collect())
}

/// One source on its way to its objects.
pub(crate) struct Render {
    pub snapshot: Snapshot,
    pub request: RenderRequest,
    /// The repository to name before a file; none for the first one.
    elsewhere: Option<String>,
}

/// The renders of all sources but those that are only referred to, in order.
pub(crate) fn renders(
    loaded: &Loaded,
    environment: &Environment,
    revision: &str,
) -> Result<Vec<Render>, EngineError> {
    let unknown = || SourceError::NoSuchRevision {
        repo: loaded.repo.to_string(),
        revision: revision.to_owned(),
        near: Vec::new(),
    };
    let commits = revisions::split(revision, loaded.sources.len()).ok_or_else(unknown)?;
    let snapshots: Result<Vec<Snapshot>, SourceError> = loaded
        .sources
        .iter()
        .zip(&commits)
        .map(|(place, commit)| environment.deeply(place, |git| git.snapshot(&place.repo, commit)))
        .collect();
    let snapshots = snapshots?;
    let named = loaded.sources.iter().zip(&snapshots).filter(|(place, _)| !place.source.reference.is_empty());
    let others: BTreeMap<String, Snapshot> =
        named.map(|(place, snapshot)| (place.source.reference.clone(), snapshot.clone())).collect();
    let mut renders = Vec::new();
    for ((place, snapshot), commit) in loaded.sources.iter().zip(&snapshots).zip(&commits) {
        if place.source.is_reference() {
            continue;
        }
        let here = place.repo == loaded.repo && *commit == commits[0];
        let mut request = request(loaded, environment, place);
        request.others.clone_from(&others);
        request.charts = charts::fetch(loaded, environment, (place, commit), (snapshot, &request))?;
        renders.push(Render {
            snapshot: snapshot.clone(),
            request,
            elsewhere: (!here).then(|| place.repo.to_string()),
        });
    }
    Ok(renders)
}

/// Names files of other repositories as `repository//path`.
struct Names<'a> {
    repo: Option<&'a str>,
    /// The last one: objects of one file come one after the other.
    last: Option<(Arc<str>, Arc<str>)>,
}

impl<'a> Names<'a> {
    fn new(repo: Option<&'a str>) -> Self {
        Self { repo, last: None }
    }

    fn placed(&mut self, mut given: Given) -> Given {
        let Some(repo) = self.repo else { return given };
        let file = match &self.last {
            Some((from, to)) if from == given.file() => to.clone(),
            _ => Arc::from(format!("{repo}//{}", given.file())),
        };
        self.last = Some((given.file().clone(), file.clone()));
        given.set_file(file);
        given
    }
}

fn request(loaded: &Loaded, environment: &Environment, place: &Place) -> RenderRequest {
    let source = &place.source;
    let plain = source.plain.clone().map_or_else(
        || PlainOptions { recurse: true, ..PlainOptions::default() },
        |plain| PlainOptions { recurse: plain.recurse, include: plain.include, exclude: plain.exclude },
    );
    let kustomize = source.kustomize.clone().unwrap_or_default();
    let helm = source.helm.clone().unwrap_or_default();
    // A packed chart unpacks to a folder of its name.
    let chart = helm.chart.rsplit('/').next().filter(|chart| !chart.is_empty());
    let mut keys = environment.keys.clone();
    keys.age.extend(place.age.clone());
    RenderRequest {
        path: chart.map_or_else(|| source.path.clone(), str::to_owned),
        kind: match source.kind {
            _ if chart.is_some() => SourceType::Helm,
            Declared::Plain => SourceType::Plain,
            Declared::Kustomize => SourceType::Kustomize,
            Declared::Helm => SourceType::Helm,
            Declared::Jsonnet => SourceType::Jsonnet,
            // An artifact is looked at like a folder.
            Declared::Auto | Declared::Oci => SourceType::Auto,
        },
        name: loaded.application.name.clone(),
        namespace: loaded.namespace.clone(),
        plain,
        kustomize: KustomizeOptions {
            images: kustomize.images,
            components: kustomize.components,
            enable_helm: kustomize.enable_helm,
        },
        helm: HelmOptions {
            release_name: helm.release_name,
            value_files: helm.value_files,
            values: helm.values,
            set: helm.set.into_iter().collect(),
        },
        kube_version: environment.kube_version.clone(),
        api_versions: environment.api_versions.clone(),
        others: BTreeMap::new(),
        charts: BTreeMap::new(),
        keys,
    }
}

/// Runs work that reads disks and waits for programs.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    let span = tracing::Span::current();
    match tokio::task::spawn_blocking(move || span.in_scope(work)).await {
        Ok(result) => result,
        Err(error) => Err(EngineError::Internal(error.to_string())),
    }
}
