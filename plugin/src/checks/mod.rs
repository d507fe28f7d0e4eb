//! What `check` looks at. In: the surroundings. Out: findings, each failure
//! with its remedy. Nothing is written anywhere.

mod installed;
pub mod other;

use gitops_cluster::{Access, Cluster};
use gitops_core::desired::DesiredSet;
use gitops_core::names::SYSTEM_NAMESPACE;
use gitops_engine::lint::not_trusted;
use gitops_engine::rollout::back::Standing;
use gitops_engine::{Environment, Loaded, Rules};
use serde::Serialize;

use crate::applications::{Destination, declared, revert};
use crate::error::Failure;
use crate::printer::Printer;
use crate::settings::Settings;

pub use installed::{installed, room_to_install};

/// Older API servers lack what is relied on: ValidatingAdmissionPolicy v1.
const OLDEST: (u32, u32) = (1, 30);

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Passed,
    /// It could not be looked at.
    Skipped,
    Warned,
    Failed,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub state: State,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    pub fn passed(message: impl Into<String>) -> Self {
        Self { state: State::Passed, message: message.into(), remedy: None }
    }

    pub fn skipped(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: State::Skipped, message: message.into(), remedy: Some(remedy.into()) }
    }

    pub fn warned(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: State::Warned, message: message.into(), remedy: Some(remedy.into()) }
    }

    pub fn failed(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: State::Failed, message: message.into(), remedy: Some(remedy.into()) }
    }

    /// What would end a command ends a check.
    pub fn of(failure: &Failure) -> Self {
        let remedy = failure.hint.clone();
        Self::failed(
            &failure.message,
            remedy.unwrap_or_else(|| "see more of it: kubectl gitops check -v 6".into()),
        )
    }
}

/// A check by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub section: &'static str,
    pub name: String,
    #[serde(flatten)]
    pub finding: Finding,
}

impl Check {
    pub fn new(section: &'static str, name: impl Into<String>, finding: Finding) -> Self {
        Self { section, name: name.into(), finding }
    }
}

/// The programs on this machine.
pub fn tools(settings: &Settings) -> Vec<Check> {
    let version = |found: Result<String, gitops_source::SourceError>| match found {
        Ok(version) => Finding::passed(version),
        // Plain YAML needs neither.
        Err(error) => {
            let failure = Failure::from(error);
            Finding::warned(failure.message, failure.hint.unwrap_or_default())
        }
    };
    let kubectl = match first_line("kubectl", &["version", "--client"]) {
        Some(line) => Finding::passed(line.trim_start_matches("Client Version: ").to_owned()),
        None => Finding::warned(
            "kubectl is not on PATH",
            "install kubectl: https://kubernetes.io/docs/tasks/tools",
        ),
    };
    let git = match first_line("git", &["--version"]) {
        Some(line) => Finding::passed(line.trim_start_matches("git version ").to_owned()),
        None => Finding::warned("git is not on PATH", "install git: its credential helpers are used"),
    };
    vec![
        Check::new("tools", "kubectl-gitops", Finding::passed(env!("CARGO_PKG_VERSION"))),
        Check::new("tools", "kubectl", kubectl),
        Check::new("tools", "git", git),
        Check::new("tools", "helm", version(settings.tools.helm_version(None))),
        Check::new("tools", "kustomize", version(settings.tools.kustomize_version(None))),
    ]
}

fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = std::process::Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().filter(|_| output.status.success()).map(str::to_owned)
}

/// The API server.
pub async fn cluster(destination: &Destination) -> Vec<Check> {
    let server = destination.cluster.server();
    let version = &destination.environment.kube_version;
    let answers = Finding::passed(format!("{server}, Kubernetes {version}"));
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let age = if found >= OLDEST {
        Finding::passed("")
    } else {
        let (major, minor) = OLDEST;
        Finding::failed(
            format!("Kubernetes {version} is too old"),
            format!("upgrade to {major}.{minor} or newer"),
        )
    };
    vec![
        Check::new("cluster", "the API server answers", answers),
        Check::new("cluster", "its version is supported", age),
    ]
}

/// What the user may do in the namespace, and, before installing, with what the
/// chart makes.
pub async fn permissions(destination: &Destination, settings: &Settings, pre: bool) -> Vec<Check> {
    let namespace = settings.namespace.as_deref().unwrap_or(destination.cluster.default_namespace());
    let access =
        |verb, group, resource, namespace| Access { verb, group, resource, subresource: "", namespace };
    let wanted = if pre {
        vec![
            access("create", "", "namespaces", ""),
            access("create", "apiextensions.k8s.io", "customresourcedefinitions", ""),
            access("create", "rbac.authorization.k8s.io", "clusterroles", ""),
            access("create", "rbac.authorization.k8s.io", "clusterrolebindings", ""),
            access("create", "admissionregistration.k8s.io", "validatingwebhookconfigurations", ""),
            access("create", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", ""),
            access("create", "admissionregistration.k8s.io", "validatingadmissionpolicies", ""),
            access("create", "admissionregistration.k8s.io", "validatingadmissionpolicybindings", ""),
            access("create", "flowcontrol.apiserver.k8s.io", "flowschemas", ""),
            access("create", "apps", "deployments", SYSTEM_NAMESPACE),
            access("create", "rbac.authorization.k8s.io", "roles", SYSTEM_NAMESPACE),
        ]
    } else {
        vec![
            access("list", "apps", "deployments", namespace),
            access("patch", "apps", "deployments", namespace),
            access("create", "apps", "deployments", namespace),
            access("delete", "apps", "deployments", namespace),
            access("list", "", "pods", namespace),
            access("list", "", "events", namespace),
            Access { subresource: "log", ..access("get", "", "pods", namespace) },
        ]
    };
    let mut checks = Vec::new();
    for access in wanted {
        let place =
            if access.namespace.is_empty() { String::new() } else { format!(" in {}", access.namespace) };
        let sub =
            if access.subresource.is_empty() { String::new() } else { format!("/{}", access.subresource) };
        let name = format!("you may {} {}{sub}{place}", access.verb, access.resource);
        let finding = match destination.cluster.may(&access).await {
            Ok(true) => Finding::passed(""),
            Ok(false) => Finding::failed(
                "you may not",
                format!(
                    "have a role that allows it bound to you; see: kubectl auth can-i --list{}",
                    flag(&access)
                ),
            ),
            Err(error) => Finding::of(&error.into()),
        };
        checks.push(Check::new("permissions", name, finding));
    }
    checks
}

fn flag(access: &Access<'_>) -> String {
    if access.namespace.is_empty() { String::new() } else { format!(" -n {}", access.namespace) }
}

/// An Application: Git, its render, its rules, and whether anybody else claims
/// its objects.
pub async fn application(
    loaded: &Loaded,
    revision: Option<&str>,
    (home, destination): (Option<&Cluster>, Option<&Destination>),
    settings: &Settings,
    printer: &Printer,
) -> Vec<Check> {
    const SECTION: &str = "applications";
    let name = &loaded.application;
    let mut checks = Vec::new();
    let environment =
        destination.map_or_else(|| settings.environment("", Vec::new()), |d| d.environment.clone());
    let commit = gitops_engine::desired::commit(loaded, &environment, revision).await;
    let label = format!("{name}: Git answers");
    match &commit {
        Ok(commit) => {
            let words = format!("{} at {} ({})", loaded.repo, &commit.id[..12], commit.subject);
            checks.push(Check::new(SECTION, label, Finding::passed(words)));
        }
        Err(_) => {
            let failure = commit.map(drop).map_err(Failure::from).err();
            checks.extend(failure.map(|failure| Check::new(SECTION, label, Finding::of(&failure))));
            return checks;
        }
    }
    let rules = match Rules::of(loaded) {
        Ok(_) => Finding::passed(""),
        Err(error) => Finding::of(&error.into()),
    };
    if !loaded.spec.health.is_empty() {
        checks.push(Check::new(SECTION, format!("{name}: its health rules compile"), rules));
    }
    let Some(destination) = destination else { return checks };
    let label = format!("{name}: it renders");
    match declared(loaded, &environment, revision, &destination.discovery).await {
        Ok((_, set)) => {
            let words = format!("{} objects", set.objects.len());
            checks.push(Check::new(SECTION, label, Finding::passed(words)));
            let label = format!("{name}: a Rollout's Revert counts");
            let finding = reverts(loaded, &set, home, settings).await;
            checks.extend(finding.map(|finding| Check::new(SECTION, label, finding)));
        }
        Err(failure) => {
            checks.push(Check::new(SECTION, label, Finding::of(&failure)));
            return checks;
        }
    }
    let reads = what_it_reads(loaded, &environment, commit.as_ref().map_or("", |commit| &commit.id)).await;
    checks.push(Check::new(SECTION, format!("{name}: what it reads is known"), reads));
    let conflicts = conflicts(loaded, revision, destination, printer).await;
    checks.push(Check::new(SECTION, format!("{name}: nobody else claims its objects"), conflicts));
    checks
}

/// Whether the commit that a failed Rollout asks for would count; none: no Rollout
/// asks for one.
async fn reverts(
    loaded: &Loaded,
    set: &DesiredSet,
    home: Option<&Cluster>,
    settings: &Settings,
) -> Option<Finding> {
    let found = not_trusted(&set.objects, "");
    let names: Vec<&str> = found.iter().map(|found| found.object.as_str()).collect();
    let first = names.first()?;
    let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
    let about = |why: &str| format!("{first}{more}: {why}");
    Some(match revert(home, &loaded.application, settings).await {
        Standing::Counts => Finding::passed(""),
        Standing::CountsNot(why) => Finding::warned(about(&why), "see docs/security.md, Signed restores"),
        Standing::Unknown(why) => Finding::skipped(
            about(&format!("not known: {why}")),
            "ask the cluster that has the Application, as somebody who may read its Project and its sources' Secrets",
        ),
    })
}

/// Whether a commit that touches nothing of an Application leaves its render
/// alone.
async fn what_it_reads(loaded: &Loaded, environment: &Environment, commit: &str) -> Finding {
    match gitops_engine::desired::whole_trees(loaded, environment, commit).await {
        Ok(notes) if notes.is_empty() => Finding::passed(""),
        Ok(notes) => Finding::warned(
            notes.join("; "),
            "leave that out of the source, or keep it in a repository of its own",
        ),
        Err(error) => Finding::of(&error.into()),
    }
}

async fn conflicts(
    loaded: &Loaded,
    revision: Option<&str>,
    destination: &Destination,
    printer: &Printer,
) -> Finding {
    let survey = match destination.survey(loaded, revision, printer).await {
        Ok((_, survey)) => survey,
        Err(failure) => return Finding::of(&failure),
    };
    let own = loaded.application.to_string();
    let claimed = survey.desired.objects.keys().find_map(|key| {
        let annotations = survey.live.get(key)?.pointer("/metadata/annotations")?;
        let owner = annotations.get(gitops_core::names::ANNOTATION_OWNER)?.as_str()?;
        (owner != own).then(|| format!("{key} belongs to {owner}"))
    });
    claimed.map_or_else(
        || Finding::passed(""),
        |claimed| {
            Finding::failed(claimed, "let one Application declare it, and take it out of the other in Git")
        },
    )
}
