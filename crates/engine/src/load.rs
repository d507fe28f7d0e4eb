//! Applications: from a `gitops.yaml`, from flags, or from the cluster. Out:
//! each with the repository that it means.

mod cluster;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gitops_api::ProjectSpec;
use gitops_api::application::{
    Application, ApplicationSpec, ApplicationStatus, EnforcementFloor, EnforcementMode, Source,
};
use gitops_core::desired::AppRef;
use gitops_core::names::{GROUP, VERSION};
use gitops_core::object::Gvk;
use gitops_core::plan::Options;
use gitops_core::verdict::Policy;
use gitops_source::location::UrlError;
use gitops_source::{Credentials, RepoUrl, Secret, git, yaml};

use crate::error::EngineError;
use crate::spec;

pub(crate) use cluster::decode;
pub use cluster::{Access, access_of, from_cluster, own, status_of};

/// The file that describes Applications.
pub const FILE: &str = "gitops.yaml";

/// An Application, and what it takes to render it.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub application: AppRef,
    pub spec: ApplicationSpec,
    /// Of the first source.
    pub repo: RepoUrl,
    /// For the first source.
    pub credentials: Credentials,
    /// All of them, in their order; there is at least one.
    pub sources: Vec<Place>,
    /// Where objects go that name no namespace.
    pub namespace: String,
    /// Of its Project, as far as that is known: where nothing is installed there
    /// is none.
    pub project: Option<ProjectSpec>,
    /// What the cluster says of it; none where it was not read from there.
    pub status: Option<ApplicationStatus>,
}

/// A source, and the way to it.
#[derive(Clone, Debug)]
pub struct Place {
    pub source: Source,
    pub repo: RepoUrl,
    pub credentials: Credentials,
    /// age identities of its own, for SOPS files.
    pub age: Option<Secret>,
    /// An SSH private key that signs what is committed without a person.
    pub signing_key: Option<Secret>,
}

impl Loaded {
    /// The first source.
    pub fn source(&self) -> Source {
        self.sources.first().map(|place| place.source.clone()).unwrap_or_default()
    }

    /// Its sync options.
    ///
    /// # Errors
    /// When one is unknown.
    pub fn sync_options(&self) -> Result<Options, EngineError> {
        let file = format!("Application {}", self.application);
        self.spec.sync_options().map_err(|reason| EngineError::Application { file, reason })
    }

    /// Whether the destination's namespace is made where it is not there.
    pub fn creates_namespace(&self) -> bool {
        self.spec.destination.create_namespace
            || self.sync_options().is_ok_and(|options| options.create_namespace == Some(true))
    }

    /// How it is held.
    ///
    /// # Errors
    /// When it or its Project holds a path that cannot be read.
    pub fn policy(&self) -> Result<Policy, EngineError> {
        let none = EnforcementFloor { mode: EnforcementMode::Off, ..EnforcementFloor::default() };
        let (floor, injectors) = match &self.project {
            Some(project) => (&project.enforcement, project.injectors.as_slice()),
            None => (&none, [].as_slice()),
        };
        self.spec.policy(floor, injectors).map_err(|error| EngineError::Application {
            file: format!("Application {}", self.application),
            reason: error.to_string(),
        })
    }

    /// From a resource whose sources name their repositories, with what the
    /// Secrets of [`access_of`] hold.
    ///
    /// # Errors
    /// When a source option or path cannot be read, or no repository is named.
    pub fn from_resource(
        application: &Application,
        access: &[Access],
        usual: &Credentials,
    ) -> Result<Self, EngineError> {
        let namespace = application.metadata.namespace.clone().unwrap_or_default();
        let name = application.metadata.name.clone().unwrap_or_default();
        Self::new(
            application,
            AppRef { namespace: namespace.clone(), name },
            "cluster",
            None,
            (access, usual),
            &namespace,
        )
    }

    fn new(
        application: &Application,
        reference: AppRef,
        file: &str,
        enclosing: Option<&Path>,
        (access, usual): (&[Access], &Credentials),
        default_namespace: &str,
    ) -> Result<Self, EngineError> {
        application
            .spec
            .sync_options()
            .map_err(|reason| EngineError::Application { file: file.into(), reason })?;
        let sources = places(application, &reference, file, enclosing, access, usual)?;
        let first = sources.first().ok_or_else(|| EngineError::Application {
            file: file.into(),
            reason: format!("Application {reference} has neither source nor sources"),
        })?;
        let (repo, credentials) = (first.repo.clone(), first.credentials.clone());
        let destination = &application.spec.destination.namespace;
        let namespace =
            if destination.is_empty() { default_namespace.to_owned() } else { destination.clone() };
        Ok(Self {
            application: reference,
            spec: application.spec.clone(),
            repo,
            credentials,
            sources,
            namespace,
            project: None,
            status: None,
        })
    }
}

/// The sources of an Application; in a file, one that names no repository
/// means the one it lies in.
fn places(
    application: &Application,
    reference: &AppRef,
    file: &str,
    enclosing: Option<&Path>,
    access: &[Access],
    usual: &Credentials,
) -> Result<Vec<Place>, EngineError> {
    let bad = |reason: String| EngineError::Application { file: file.into(), reason };
    let declared = application.spec.all_sources();
    let mut sources: Vec<Place> = Vec::new();
    for (index, source) in declared.iter().enumerate() {
        let repo: RepoUrl = match (source.repo.as_deref(), enclosing) {
            (Some(url), _) => url.parse().map_err(|error: UrlError| bad(error.to_string()))?,
            (None, Some(root)) => RepoUrl::local(root),
            (None, None) => {
                let field = application.spec.source_path(index);
                return Err(bad(format!("Application {reference} names no repository ({field}.repo)")));
            }
        };
        let name = &source.reference;
        if !name.is_empty() && sources.iter().any(|place| place.source.reference == *name) {
            return Err(bad(format!("Application {reference}: two sources have the ref {name:?}")));
        }
        let own = access.get(index).cloned().unwrap_or_default();
        // What is meant for one host is shown to no other.
        let near = sources.first().is_none_or(|first| first.repo.same_host(&repo));
        let shared = if near { usual.clone() } else { Credentials::default() };
        let mut credentials = own.credentials.unwrap_or(shared);
        credentials.authority = own.authority.or(credentials.authority);
        let (source, age, signing_key) = ((*source).clone(), own.age, own.signing_key);
        sources.push(Place { source, repo, credentials, age, signing_key });
    }
    if !sources.is_empty() && sources.iter().all(|place| place.source.is_reference()) {
        return Err(bad(format!(
            "Application {reference}: its sources are only there for others to refer to: give one a path"
        )));
    }
    Ok(sources)
}

/// The nearest `gitops.yaml` at `folder` or above it, inside its repository.
pub fn find_file(folder: &Path) -> Option<PathBuf> {
    let folder = folder.canonicalize().ok()?;
    let root = git::enclosing(&folder).map(|(root, _)| root);
    folder
        .ancestors()
        .take_while(|ancestor| root.as_ref().is_none_or(|root| ancestor.starts_with(root)))
        .map(|ancestor| ancestor.join(FILE))
        .find(|file| file.is_file())
}

/// The Applications of a file. Those without a namespace get
/// `default_namespace`, for themselves and for their objects.
///
/// # Errors
/// What is wrong with the file, with its place, and when a window or a pause of a spec
/// cannot be read.
pub fn read_file(
    file: &Path,
    default_namespace: &str,
    credentials: &Credentials,
) -> Result<Vec<Loaded>, EngineError> {
    let shown = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|error| EngineError::Application { file: shown.clone(), reason: error.to_string() })?;
    let folder =
        file.canonicalize().ok().and_then(|file| file.parent().map(Path::to_owned)).unwrap_or_default();
    let enclosing = git::enclosing(&folder).map(|(root, _)| root);
    let all = read_text(&shown, &text, enclosing.as_deref(), default_namespace, credentials)?;
    // Whoever needs the rest of a spec says what is wrong with it; these are the
    // controller's alone.
    for loaded in &all {
        spec::times(&loaded.spec.sync, jiff::Timestamp::now()).map_err(|mistake| {
            let reason = format!("Application {}: {mistake}", loaded.application);
            EngineError::Application { file: shown.clone(), reason }
        })?;
    }
    Ok(all)
}

/// As [`read_file`], from its text; `shown` names it, `root` is the repository
/// that it lies in.
///
/// # Errors
/// As [`read_file`].
pub fn read_text(
    shown: &str,
    text: &str,
    root: Option<&Path>,
    default_namespace: &str,
    credentials: &Credentials,
) -> Result<Vec<Loaded>, EngineError> {
    let bad = |reason: String| EngineError::Application { file: shown.to_owned(), reason };
    let mut loaded: Vec<Loaded> = Vec::new();
    let mut places: BTreeMap<AppRef, String> = BTreeMap::new();
    for document in yaml::documents(shown, text)? {
        let at = format!("{shown}:{}", document.line);
        let gvk = Gvk::of(&document.value)
            .map_err(|error| EngineError::Application { file: at.clone(), reason: error.to_string() })?;
        if gvk.group != GROUP || gvk.version != VERSION || gvk.kind != "Application" {
            let reason =
                format!("{gvk} does not belong here: this file holds {GROUP}/{VERSION} Applications");
            return Err(EngineError::Application { file: at, reason });
        }
        let application: Application = serde_json::from_value(document.value)
            .map_err(|error| EngineError::Application { file: at.clone(), reason: error.to_string() })?;
        let name = application.metadata.name.clone().unwrap_or_default();
        let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
        if !name.starts_with(plain)
            || name.len() > 52
            || !name.chars().all(|c| plain(c) || c == '-' || c == '.')
        {
            let wanted = "at most 52 lower-case letters, digits, - and . are needed";
            return Err(EngineError::Application {
                file: at,
                reason: format!("metadata.name is {name:?}: {wanted}"),
            });
        }
        let namespace =
            application.metadata.namespace.clone().unwrap_or_else(|| default_namespace.to_owned());
        let reference = AppRef { namespace: namespace.clone(), name };
        if let Some(before) = places.insert(reference.clone(), at.clone()) {
            let reason = format!("Application {reference} is described already, at {before}");
            return Err(EngineError::Application { file: at, reason });
        }
        loaded.push(Loaded::new(&application, reference, &at, root, (&[], credentials), &namespace)?);
    }
    if loaded.is_empty() {
        return Err(bad("it holds no Application".into()));
    }
    Ok(loaded)
}

/// An Application made of flags.
pub fn from_flags(
    name: &str,
    namespace: &str,
    repo: RepoUrl,
    revision: &str,
    path: &str,
    credentials: Credentials,
) -> Loaded {
    let source = Source {
        repo: Some(repo.to_string()),
        revision: revision.into(),
        path: path.into(),
        ..Source::default()
    };
    Loaded {
        application: AppRef { namespace: namespace.into(), name: name.into() },
        spec: ApplicationSpec { source: Some(source.clone()), ..ApplicationSpec::default() },
        repo: repo.clone(),
        credentials: credentials.clone(),
        sources: vec![Place { source, repo, credentials, age: None, signing_key: None }],
        namespace: namespace.into(),
        project: None,
        status: None,
    }
}
