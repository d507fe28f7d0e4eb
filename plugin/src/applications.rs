//! Which Applications a command means, and what they declare.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use futures::{Stream, TryStreamExt};
use gitops_cluster::{Cluster, Discovery};
use gitops_core::desired::{AppRef, DesiredSet};
use gitops_core::health::HealthReport;
use gitops_core::names::IN_CLUSTER;
use gitops_core::object::ObjectKey;
use gitops_core::plan::Action;
use gitops_engine::desired::{commit, desired};
use gitops_engine::load::{self, FILE, Loaded};
use gitops_engine::rollout::back::{Standing, standing};
use gitops_engine::trust::trust;
use gitops_engine::{Ahead, Environment, Kin, Looking, Reach, Reads, Rules, Survey, Synced, healths, survey};
use gitops_source::{Commit, RepoUrl};
use tokio::sync::Mutex;

use crate::beside::beside;
use crate::cli::Selection;
use crate::elsewhere;
use crate::error::Failure;
use crate::listing;
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
    let namespace = namespace(settings, cluster);
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

/// Whether files or flags describe the Applications, so that no cluster is
/// asked for them.
pub fn is_local(selection: &Selection, settings: &Settings) -> bool {
    selection.repo.is_some() || selection.file.is_some() || load::find_file(&settings.folder).is_some()
}

/// All Applications of the file that is meant; none where no file is.
pub fn in_file(
    selection: &Selection,
    settings: &Settings,
    cluster: Option<&Cluster>,
) -> Result<Vec<Loaded>, Failure> {
    let named = selection.file.clone().or_else(|| load::find_file(&settings.folder));
    let Some(file) = named.filter(|_| selection.repo.is_none()) else { return Ok(Vec::new()) };
    Ok(load::read_file(&file, &namespace(settings, cluster), &settings.credentials)?)
}

/// The namespace that is meant where none is written.
fn namespace(settings: &Settings, cluster: Option<&Cluster>) -> String {
    let context = cluster.map_or(DEFAULT_NAMESPACE, Cluster::default_namespace);
    settings.namespace.clone().unwrap_or_else(|| context.to_owned())
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

/// Whether an Application is called so: by its name, or by namespace/name.
pub fn is_called(application: &AppRef, name: &str) -> bool {
    name.split_once('/').map_or(application.name == name, |(namespace, name)| {
        application.namespace == namespace && application.name == name
    })
}

fn by_name(all: Vec<Loaded>, selection: &Selection, file: &str) -> Result<Vec<Loaded>, Failure> {
    if selection.names.is_empty() {
        return Ok(all);
    }
    let listed = |loaded: &[&Loaded]| {
        loaded.iter().map(|loaded| loaded.application.to_string()).collect::<Vec<_>>().join(", ")
    };
    let mut found = Vec::new();
    for name in &selection.names {
        let called: Vec<&Loaded> = all.iter().filter(|loaded| is_called(&loaded.application, name)).collect();
        match called.as_slice() {
            [one] => found.push((*one).clone()),
            [] => {
                let names: Vec<&str> = all.iter().map(|loaded| loaded.application.name.as_str()).collect();
                return Err(Failure::usage(format!("{file} holds no Application {name:?}")).hint(format!(
                    "it holds: {}; one that is in the cluster alone is named in another folder",
                    names.join(", ")
                )));
            }
            several => {
                return Err(Failure::usage(format!("{file} holds several Applications {name:?}"))
                    .hint(format!("say which: {}", listed(several))));
            }
        }
    }
    Ok(found)
}

/// A cluster that has been asked what it knows.
#[derive(Clone, Debug)]
pub struct Destination {
    /// As Applications of the cluster that kubectl's flags mean call it.
    pub name: String,
    pub cluster: Cluster,
    pub discovery: Discovery,
    pub environment: Environment,
    settings: Settings,
    /// Others that have been asked before.
    others: Arc<Mutex<BTreeMap<String, Destination>>>,
}

/// What was seen of one Application.
#[derive(Debug)]
pub struct Seen {
    /// The cluster that it goes to.
    pub there: Destination,
    pub loaded: Loaded,
    pub commit: Commit,
    pub survey: Survey,
}

impl Destination {
    /// Connects.
    pub async fn reach(settings: &Settings) -> Result<Self, Failure> {
        let cluster = settings.cluster().await?;
        let (discovery, version) = tokio::try_join!(cluster.discovery(), cluster.version())?;
        let environment = settings.environment(version.trim_start_matches('v'), discovery.api_versions());
        let (settings, others) = (settings.clone(), Arc::default());
        Ok(Self { name: IN_CLUSTER.into(), cluster, discovery, environment, settings, others })
    }

    /// The cluster that an Application of this one goes to.
    pub async fn of(&self, loaded: &Loaded) -> Result<Cow<'_, Self>, Failure> {
        let destination = &loaded.spec.destination;
        if destination.is_here() || destination.cluster == self.name {
            return Ok(Cow::Borrowed(self));
        }
        self.other(&destination.cluster).await.map(Cow::Owned)
    }

    /// Another cluster, as this one knows it.
    pub async fn other(&self, name: &str) -> Result<Self, Failure> {
        let mut others = self.others.lock().await;
        if let Some(known) = others.get(name) {
            return Ok(known.clone());
        }
        let cluster = elsewhere::connect(&self.cluster, name, &self.settings).await?;
        let other = self.with(name, cluster).await?;
        others.insert(name.to_owned(), other.clone());
        Ok(other)
    }

    /// Another cluster, by its client.
    pub async fn with(&self, name: &str, cluster: Cluster) -> Result<Self, Failure> {
        let (discovery, version) = tokio::try_join!(cluster.discovery(), cluster.version())?;
        // Git is looked at once for all clusters.
        let environment = Environment {
            kube_version: version.trim_start_matches('v').to_owned(),
            api_versions: discovery.api_versions(),
            ..self.environment.clone()
        };
        let (settings, name, others) = (self.settings.clone(), name.to_owned(), Arc::default());
        Ok(Self { name, cluster, discovery, environment, settings, others })
    }

    /// What is surveyed here is what goes here.
    fn is_meant(&self, loaded: &Loaded) -> Result<(), Failure> {
        let destination = &loaded.spec.destination;
        if destination.is_here() && self.name == IN_CLUSTER || destination.cluster == self.name {
            return Ok(());
        }
        let message =
            format!("{} goes to cluster {}, not to this one", loaded.application, destination.cluster);
        Err(Failure::usage(message).hint("name Applications of one cluster at a time"))
    }

    /// What is surveyed from now on is what Git says by then.
    pub fn look_again(&self) {
        self.environment.looks.again();
    }

    /// What an Application declares, and what the cluster holds of it. What
    /// Git both declares and leaves to others is told.
    pub async fn survey(
        &self,
        loaded: &Loaded,
        revision: Option<&str>,
        printer: &Printer,
    ) -> Result<(Commit, Survey), Failure> {
        let (commit, survey) = self.survey_silently(loaded, revision).await?;
        tell_mistakes(&survey, printer);
        Ok((commit, survey))
    }

    /// The same, with nothing told.
    pub async fn survey_silently(
        &self,
        loaded: &Loaded,
        revision: Option<&str>,
    ) -> Result<(Commit, Survey), Failure> {
        self.is_meant(loaded)?;
        let commit = meant(loaded, &self.environment, revision).await?;
        let ahead = self.look_ahead(loaded, Reads::All);
        let set = desired(loaded, &self.environment, &commit.id, &self.discovery).await?;
        Ok((commit, self.survey_of(loaded, set, ahead, Reads::All).await?))
    }

    /// The surveys of many, each where it goes, side by side and in order.
    pub fn surveys<'p>(
        &self,
        applications: &[Loaded],
        revision: Option<&str>,
        printer: &'p Printer,
    ) -> impl Stream<Item = Result<Seen, Failure>> + Unpin + use<'p> {
        let (this, revision) = (self.clone(), revision.map(str::to_owned));
        let surveys = beside(applications.to_vec(), move |loaded| {
            let (this, revision) = (this.clone(), revision.clone());
            async move {
                let there = this.of(&loaded).await?.into_owned();
                let (commit, survey) = there.survey_silently(&loaded, revision.as_deref()).await?;
                Ok(Seen { there, loaded, commit, survey })
            }
        });
        surveys.inspect_ok(|seen: &Seen| tell_mistakes(&seen.survey, printer))
    }

    /// What the cluster holds by now of what is known to be declared.
    pub async fn resurvey(&self, loaded: &Loaded, set: DesiredSet) -> Result<Survey, Failure> {
        self.survey_of(loaded, set, None, Reads::All).await
    }

    /// The same, of which a part may have been asked for already.
    pub async fn survey_of(
        &self,
        loaded: &Loaded,
        set: DesiredSet,
        ahead: Option<Ahead>,
        reads: Reads,
    ) -> Result<Survey, Failure> {
        let looking = Looking { ahead, synced: Synced::Anywhere, reads, lists: None };
        Ok(survey(&self.cluster, &self.discovery, loaded, &self.environment, set, looking).await?)
    }

    /// Begins to ask what the cluster holds of an Application, while Git is rendered.
    pub fn look_ahead(&self, loaded: &Loaded, reads: Reads) -> Option<Ahead> {
        Ahead::begin(&self.cluster, &self.discovery, loaded, &self.environment, reads)
    }

    /// The health of an Application's objects, with the reasons that those near
    /// them know.
    pub async fn healths(
        &self,
        loaded: &Loaded,
        survey: &Survey,
    ) -> Result<BTreeMap<ObjectKey, HealthReport>, Failure> {
        let rules = Rules::of(loaded)?;
        let objects = survey.plan.steps.iter().map(|step| (&step.key, survey.live.get(&step.key)));
        let mut healths = healths(&self.cluster, &self.discovery, &rules, objects).await;
        for step in survey.plan.steps.iter().filter(|step| step.action == Action::Unchanged) {
            if survey.live.get(&step.key).is_none() {
                healths.insert(step.key.clone(), HealthReport::expired());
            }
        }
        Ok(healths)
    }

    /// What an Application's objects own. What may not be listed is told.
    pub async fn kin(&self, survey: &Survey, reach: Reach, printer: &Printer) -> Kin {
        let namespaces: BTreeSet<String> = (survey.plan.steps.iter())
            .map(|step| step.key.namespace.clone())
            .filter(|namespace| !namespace.is_empty())
            .collect();
        let kin = Kin::look(&self.cluster, &self.discovery, &namespaces, reach).await;
        if let Some(error) = kin.left_out.first() {
            let more = kin.left_out.len() - 1;
            let more = if more > 0 { format!(" (and {more} kinds more)") } else { String::new() };
            printer.warning(&format!("not everything can be seen: {error}{more}"));
        }
        kin
    }
}

/// Tells what Git both declares and leaves to others.
pub fn tell_mistakes(survey: &Survey, printer: &Printer) {
    survey.desired.delegated().mistakes.iter().for_each(|mistake| printer.warning(mistake));
}

/// All Applications of the cluster, or of one namespace. One that cannot be
/// read is told beside the others.
pub async fn of_cluster(
    cluster: &Cluster,
    namespace: Option<&str>,
    settings: &Settings,
) -> Result<Vec<(AppRef, Result<Loaded, Failure>)>, Failure> {
    let all = listing::applications(cluster, namespace).await.map_err(|error| match error.kind() {
        gitops_cluster::ErrorKind::NotFound => Failure::from(error)
            .hint("the cluster has no Applications: install the chart, or use gitops.yaml"),
        _ => error.into(),
    })?;
    let references: Vec<AppRef> = all.iter().map(listing::reference).collect();
    let (cluster, usual) = (cluster.clone(), settings.credentials.clone());
    let found = beside(references, move |reference| {
        let (cluster, usual) = (cluster.clone(), usual.clone());
        async move {
            let loaded = load::from_cluster(&cluster, &reference, &usual).await;
            Ok((reference, loaded.map_err(Failure::from)))
        }
    });
    found.try_collect().await
}

/// Whether a commit that takes a version of an Application back would count, as
/// the cluster has the Application.
pub async fn revert(cluster: Option<&Cluster>, application: &AppRef, settings: &Settings) -> Standing {
    let Some(cluster) = cluster else { return Standing::Unknown("no cluster answers".into()) };
    match load::from_cluster(cluster, application, &settings.credentials).await {
        Ok(loaded) => standing(&loaded).await,
        Err(error) => Standing::Unknown(error.to_string()),
    }
}

/// What an Application declares at the commit that it, or `revision`, means.
pub async fn declared(
    loaded: &Loaded,
    environment: &Environment,
    revision: Option<&str>,
    scopes: &(impl gitops_core::desired::Scopes + Clone + Send + 'static),
) -> Result<(Commit, DesiredSet), Failure> {
    let commit = meant(loaded, environment, revision).await?;
    let set = desired(loaded, environment, &commit.id, scopes).await?;
    Ok((commit, set))
}

/// The commit that an Application, or `revision`, means, if it counts.
pub async fn meant(
    loaded: &Loaded,
    environment: &Environment,
    revision: Option<&str>,
) -> Result<Commit, Failure> {
    let commit = commit(loaded, environment, revision).await?;
    // An artifact has no branch to look for its commit on: its name has to count.
    let mut asked = loaded.clone();
    if let Some((first, revision)) = asked.sources.first_mut().zip(revision)
        && !first.source.is_git()
    {
        first.source.revision = revision.to_owned();
    }
    trust(&asked, environment, &commit.id).await?;
    Ok(commit)
}
