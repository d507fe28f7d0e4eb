//! What a Project admits. In: an Application's spec, or an object that one
//! declares. Out: nothing, or why not.

use gitops_core::names::GROUP;
use gitops_core::object::Gvk;

use super::repository::{branch, is_no_name};
use super::{KindRule, Project, Repository, matches};
use crate::application::{ApplicationSpec, Source, default_destination_cluster};

/// Why a Project does not admit something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("Project {project} does not take Applications of namespace {namespace}")]
    ApplicationNamespace { project: String, namespace: String },
    #[error("Project {project} does not take repository {repository}")]
    Repository { project: String, repository: String },
    #[error("Project {project} does not take revision {revision} of {repository}")]
    Revision { project: String, repository: String, revision: String },
    #[error("Project {project} does not take this of {repository}: {reason}")]
    Artifact { project: String, repository: String, reason: String },
    #[error("Project {project} does not reach namespace {namespace} of cluster {cluster}")]
    Destination { project: String, cluster: String, namespace: String },
    #[error("Project {project} does not take the kind {gvk}")]
    Kind { project: String, gvk: Gvk },
    #[error(
        "Project {project} does not name {gvk}: kinds of this group that carry power are declared only where the Project names the group itself"
    )]
    Power { project: String, gvk: Gvk },
    #[error(
        "Application {child} names Project {named}, but Applications of Project {project} may declare none of it (childProjects)"
    )]
    Child { project: String, child: String, named: String },
}

impl Project {
    fn project(&self) -> String {
        self.metadata.name.clone().unwrap_or_default()
    }

    /// Whether an Application in `namespace` may say what its spec says.
    ///
    /// # Errors
    /// The first thing that is not admitted.
    pub fn admits(&self, namespace: &str, spec: &ApplicationSpec) -> Result<(), Refusal> {
        let project = self.project();
        if !self.spec.application_namespaces.iter().any(|glob| matches(glob, namespace)) {
            return Err(Refusal::ApplicationNamespace { project, namespace: namespace.into() });
        }
        // Every source says what is true, those that others only refer to, too.
        spec.all_sources().into_iter().try_for_each(|source| self.admits_source(source))?;
        if !spec.destination.namespace.is_empty() {
            self.reaches(&spec.destination.cluster, &spec.destination.namespace)?;
        }
        Ok(())
    }

    fn admits_source(&self, source: &Source) -> Result<(), Refusal> {
        let project = self.project();
        let repository = source.repo.clone().unwrap_or_default();
        let known: Vec<&Repository> = self.spec.rules_of(&repository).collect();
        if known.is_empty() {
            return Err(Refusal::Repository { project, repository });
        }
        if !source.is_git() {
            return self.spec.admits_artifact(source).map_err(|reason| Refusal::Artifact {
                project,
                repository,
                reason,
            });
        }
        let revision = &source.revision;
        // A commit or HEAD is no name of a branch: on which it lies, Git says.
        let by_name = |rule: &Repository| rule.admits_branch(branch(revision)) || is_no_name(revision);
        if !known.iter().any(|rule| by_name(rule)) {
            return Err(Refusal::Revision { project, repository, revision: revision.clone() });
        }
        Ok(())
    }

    /// Whether an object of this kind and namespace may be declared; the
    /// namespace is empty for cluster-scoped kinds.
    ///
    /// # Errors
    /// When it may not.
    pub fn admits_object(&self, cluster: &str, gvk: &Gvk, namespace: &str) -> Result<(), Refusal> {
        let rules = if namespace.is_empty() { &self.spec.cluster_kinds } else { &self.spec.kinds };
        let fits = |rule: &&KindRule| {
            (rule.group == "*" || rule.group == gvk.group) && (rule.kind == "*" || rule.kind == gvk.kind)
        };
        let mut admitted = rules.iter().filter(fits).peekable();
        // Whoever declares one of these says what else may be declared.
        let has_power =
            gvk.group == GROUP && matches!(gvk.kind.as_str(), "Application" | "Project" | "Override");
        if has_power && admitted.peek().is_some() && !admitted.clone().any(|rule| rule.group == GROUP) {
            return Err(Refusal::Power { project: self.project(), gvk: gvk.clone() });
        }
        let admitted = admitted.next().is_some();
        if !admitted {
            return Err(Refusal::Kind { project: self.project(), gvk: gvk.clone() });
        }
        if namespace.is_empty() { Ok(()) } else { self.reaches(cluster, namespace) }
    }

    /// Whether an Application of this Project may declare one of the Project
    /// `named`.
    ///
    /// # Errors
    /// When it may not.
    pub fn admits_child(&self, child: &str, named: &str) -> Result<(), Refusal> {
        let project = self.project();
        if named == project || self.spec.child_projects.iter().any(|glob| matches(glob, named)) {
            return Ok(());
        }
        Err(Refusal::Child { project, child: child.to_owned(), named: named.to_owned() })
    }

    fn reaches(&self, cluster: &str, namespace: &str) -> Result<(), Refusal> {
        let cluster = if cluster.is_empty() { default_destination_cluster() } else { cluster.to_owned() };
        let reached = self.spec.destinations.iter().any(|rule| {
            matches(&rule.cluster, &cluster) && rule.namespaces.iter().any(|glob| matches(glob, namespace))
        });
        if reached {
            Ok(())
        } else {
            Err(Refusal::Destination { project: self.project(), cluster, namespace: namespace.into() })
        }
    }
}
