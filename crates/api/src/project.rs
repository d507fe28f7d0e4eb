//! Project: the root of trust. It says which repositories, branches and
//! signers may say what, in which namespaces and clusters, of which kinds.

use gitops_core::object::Gvk;
use globset::{GlobBuilder, GlobMatcher};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::application::{ApplicationSpec, EnforcementFloor, Source, default_destination_cluster};

/// Which repositories may say what, in which namespaces, of which kinds.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "kubectl-gitops.dev",
    version = "v1alpha1",
    kind = "Project",
    doc = "The root of trust: which repositories, branches and signers may say what, in which namespaces and clusters, of which kinds.",
    category = "gitops",
    printcolumn = r#"{"name":"Mode","type":"string","jsonPath":".spec.enforcement.mode"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = "self.repositories.size() > 0")]
pub struct ProjectSpec {
    /// Namespaces in which Applications of this Project may be; globs.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub application_namespaces: Vec<String>,
    /// Repositories that count; an empty list admits none.
    #[schemars(length(max = 1000))]
    pub repositories: Vec<Repository>,
    /// Clusters and namespaces that may be filled.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub destinations: Vec<DestinationRule>,
    /// Namespaced kinds that may be declared.
    #[serde(default = "all_kinds")]
    #[schemars(length(max = 1000))]
    pub kinds: Vec<KindRule>,
    /// Cluster-scoped kinds that may be declared; none unless they are listed.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub cluster_kinds: Vec<KindRule>,
    /// Fields that other webhooks and operators fill.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub injectors: Vec<Injector>,
    /// The least that this Project's Applications are held to.
    #[serde(default)]
    pub enforcement: EnforcementFloor,
}

fn all_kinds() -> Vec<KindRule> {
    vec![KindRule { group: "*".into(), kind: "*".into() }]
}

/// A repository that counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Repository {
    /// URL; `*` stands for any run of characters without a slash, `**` for any.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// Branches and tags that count; globs. None: all.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub branches: Vec<String>,
    /// Keys whose signature a commit needs. None: no signature.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub signers: Vec<String>,
}

/// A cluster and the namespaces in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DestinationRule {
    /// A cluster's name; a glob.
    #[serde(default = "any")]
    pub cluster: String,
    /// Namespaces; globs.
    #[schemars(length(min = 1, max = 1000))]
    pub namespaces: Vec<String>,
}

fn any() -> String {
    "*".into()
}

/// A kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KindRule {
    /// API group; empty is the core group, `*` all.
    #[serde(default)]
    pub group: String,
    /// Kind; `*` is all.
    #[schemars(length(min = 1, max = 253))]
    pub kind: String,
}

/// A field that something else than Git fills.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Injector {
    /// Kind; `*` is all.
    #[schemars(length(min = 1, max = 253))]
    pub kind: String,
    /// Such as `spec.containers[name=istio-proxy]`.
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,
}

/// Why a Project does not admit something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("Project {project} does not take Applications of namespace {namespace}")]
    ApplicationNamespace { project: String, namespace: String },
    #[error("Project {project} does not take repository {repository}")]
    Repository { project: String, repository: String },
    #[error("Project {project} does not take revision {revision} of {repository}")]
    Revision { project: String, repository: String, revision: String },
    #[error("Project {project} does not reach namespace {namespace} of cluster {cluster}")]
    Destination { project: String, cluster: String, namespace: String },
    #[error("Project {project} does not take the kind {gvk}")]
    Kind { project: String, gvk: Gvk },
    #[error("Project {project} asks for signatures, which are not checked yet")]
    Signers { project: String },
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
        let known: Vec<&Repository> = self
            .spec
            .repositories
            .iter()
            .filter(|rule| matches(&normal(&rule.url), &normal(&repository)))
            .collect();
        if known.is_empty() {
            return Err(Refusal::Repository { project, repository });
        }
        // A chart's version is what a revision is elsewhere.
        let chart = source.helm.as_ref().filter(|helm| !helm.chart.is_empty());
        let revision = chart.map_or(&source.revision, |helm| &helm.version);
        let by_branch: Vec<&&Repository> = known
            .iter()
            .filter(|rule| {
                rule.branches.is_empty() || rule.branches.iter().any(|glob| matches(glob, revision))
            })
            .collect();
        if by_branch.is_empty() {
            return Err(Refusal::Revision { project, repository, revision: revision.clone() });
        }
        if by_branch.iter().all(|rule| !rule.signers.is_empty()) {
            return Err(Refusal::Signers { project });
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
        let admitted = rules.iter().any(|rule| {
            (rule.group == "*" || rule.group == gvk.group) && (rule.kind == "*" || rule.kind == gvk.kind)
        });
        if !admitted {
            return Err(Refusal::Kind { project: self.project(), gvk: gvk.clone() });
        }
        if namespace.is_empty() { Ok(()) } else { self.reaches(cluster, namespace) }
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

/// Glob on whole names: `*` does not cross a slash, `**` does. A pattern that
/// is no glob matches nothing.
fn matches(glob: &str, text: &str) -> bool {
    let matcher: Option<GlobMatcher> =
        GlobBuilder::new(glob).literal_separator(true).build().ok().map(|glob| glob.compile_matcher());
    matcher.is_some_and(|matcher| matcher.is_match(text))
}

/// One writing for every way of naming a repository, so that none slips by:
/// host in lower case, no user, no `.git`, no slash at the end; `git@host:a/b`
/// is `ssh://host/a/b`.
fn normal(url: &str) -> String {
    let url = match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_lowercase();
            format!("{}://{host}/{path}", scheme.to_lowercase())
        }
        None => match url.split_once(':').filter(|(host, _)| !host.contains('/')) {
            Some((host, path)) => {
                let host = host.rsplit_once('@').map_or(host, |(_, host)| host).to_lowercase();
                format!("ssh://{host}/{}", path.trim_start_matches('/'))
            }
            None => url.to_owned(),
        },
    };
    let url = url.trim_end_matches('/');
    url.strip_suffix(".git").unwrap_or(url).to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn project() -> Project {
        let spec = serde_json::json!({
            "applicationNamespaces": ["team-a"],
            "repositories": [{"url": "https://git.example/a/*", "branches": ["main", "release-*"]}],
            "destinations": [{"namespaces": ["a-*"]}],
            "clusterKinds": [{"group": "", "kind": "Namespace"}],
        });
        Project::new("a", serde_json::from_value(spec).unwrap())
    }

    fn spec(repo: &str, revision: &str, namespace: &str) -> ApplicationSpec {
        serde_json::from_value(serde_json::json!({"source": {"repo": repo, "revision": revision}, "destination": {"namespace": namespace}})).unwrap()
    }

    #[test]
    fn only_what_is_listed_is_admitted() {
        let admits = |ns: &str, repo: &str, revision: &str, to: &str| {
            project().admits(ns, &spec(repo, revision, to)).map_err(|e| e.to_string())
        };
        for repo in [
            "https://git.example/a/shop.git",
            "https://GIT.example/a/shop",
            "https://ada@git.example/a/shop/",
        ] {
            assert_eq!(admits("team-a", repo, "main", "a-1"), Ok(()), "{repo}");
        }
        assert_eq!(admits("team-a", "https://git.example/a/shop", "release-1", "a-1"), Ok(()));
        for (ns, repo, revision, to, why) in [
            ("team-b", "https://git.example/a/shop", "main", "a-1", "Applications of namespace team-b"),
            ("team-a", "https://git.example/b/shop", "main", "a-1", "repository"),
            ("team-a", "https://git.example/a/../b/shop", "main", "a-1", "repository"),
            ("team-a", "https://git.example.evil/a/shop", "main", "a-1", "repository"),
            ("team-a", "https://git.example/a/shop", "dev", "a-1", "revision dev"),
            ("team-a", "https://git.example/a/shop", "main", "kube-system", "namespace kube-system"),
        ] {
            let refusal = admits(ns, repo, revision, to).unwrap_err();
            assert!(refusal.contains(why), "{refusal}");
        }
    }

    #[test]
    fn cluster_kinds_have_to_be_listed() {
        let kind = |api: &str, kind: &str, namespace: &str| {
            project().admits_object("in-cluster", &Gvk::new(api, kind), namespace).is_ok()
        };
        assert!(kind("apps/v1", "Deployment", "a-1"));
        assert!(!kind("apps/v1", "Deployment", "b-1"));
        assert!(kind("v1", "Namespace", ""));
        assert!(!kind("rbac.authorization.k8s.io/v1", "ClusterRole", ""));
    }
}
