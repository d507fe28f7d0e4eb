//! Project: the root of trust. It says which repositories, branches and
//! signers may say what, in which namespaces and clusters, of which kinds.

use gitops_core::names::GROUP;
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
    /// Further Projects that Applications may name which are declared by
    /// Applications of this one; globs.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub child_projects: Vec<String>,
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
    /// Keys, one of which has to have signed a commit: SSH public keys or their
    /// SHA256 fingerprints, armored OpenPGP public keys. None: no signature.
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

impl ProjectSpec {
    /// The rules of a repository, one of which a commit of it has to meet.
    pub fn rules_of<'a>(&'a self, repository: &str) -> impl Iterator<Item = &'a Repository> {
        let repository = normal(repository);
        self.repositories.iter().filter(move |rule| matches(&normal(&rule.url), &repository))
    }

    /// Whether a source that does not lie in Git may be used. No branch reaches
    /// it, so it has to name the version that counts, and nothing else can come
    /// of that name; its signature is not checked yet.
    ///
    /// # Errors
    /// Why not.
    pub fn admits_artifact(&self, source: &Source) -> Result<(), String> {
        let signed =
            || "its rule has signers, and signatures of charts and artifacts are not checked yet".to_owned();
        let repository = source.repo.as_deref().unwrap_or_default();
        // A chart of a registry lies below its repository, which may have a rule, too.
        if let Some(helm) = source.helm.as_ref().filter(|helm| !helm.chart.is_empty()) {
            let chart = format!("{}/{}", repository.trim_end_matches('/'), helm.chart);
            if self.rules_of(&chart).any(|rule| !rule.signers.is_empty()) {
                return Err(signed());
            }
        }
        let mut why = None;
        for rule in self.rules_of(repository) {
            if !rule.signers.is_empty() {
                why = Some(signed());
            } else if rule.branches.is_empty() {
                return Ok(());
            } else {
                match fixed_version(source) {
                    Ok(version) if rule.admits_branch(version) => return Ok(()),
                    Ok(version) => {
                        let branches = rule.branches.join(", ");
                        why = Some(format!("{version} is none of the versions that count ({branches})"));
                    }
                    Err(reason) => why = Some(reason),
                }
            }
        }
        Err(why.unwrap_or_else(|| "no rule is about it".into()))
    }
}

impl Repository {
    /// Whether this branch or tag counts.
    pub fn admits_branch(&self, name: &str) -> bool {
        self.branches.is_empty() || self.branches.iter().any(|glob| matches(glob, name))
    }
}

/// A branch or tag by its name alone.
fn branch(revision: &str) -> &str {
    revision.strip_prefix("refs/heads/").or_else(|| revision.strip_prefix("refs/tags/")).unwrap_or(revision)
}

/// The one version of a chart, or tag of an artifact, that a source can mean.
fn fixed_version(source: &Source) -> Result<&str, String> {
    if let Some(helm) = source.helm.as_ref().filter(|helm| !helm.chart.is_empty()) {
        // A digest behind it only says more.
        let version = helm.version.split('@').next().unwrap_or_default();
        let numbers = version.trim_start_matches('v').split(['-', '+']).next().unwrap_or_default();
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let rest = version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(&byte));
        if numbers.split('.').count() == 3 && numbers.split('.').all(is_number) && rest {
            return Ok(version);
        }
        return Err(format!("{:?} is a range, and only some versions count: name one", helm.version));
    }
    // By its digest an artifact is found under any tag, or none.
    if source.revision.contains([':', '@']) {
        return Err(format!("{:?} is a digest, and only some tags count: name one", source.revision));
    }
    Ok(if source.revision == "HEAD" { "latest" } else { &source.revision })
}

/// Whether a revision may be something else than a branch or a tag.
fn is_no_name(revision: &str) -> bool {
    revision == "HEAD" || revision.len() >= 4 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
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
    fn commits_are_left_to_git_and_names_are_not() {
        let admits = |revision: &str| {
            project().admits("team-a", &spec("https://git.example/a/shop", revision, "a-1")).is_ok()
        };
        for revision in
            ["main", "refs/heads/main", "HEAD", "deadbeef", "0123456789012345678901234567890123456789"]
        {
            assert!(admits(revision), "{revision}");
        }
        for revision in ["dev", "refs/pull/7/head", "refs/heads/dev", "main2"] {
            assert!(!admits(revision), "{revision}");
        }
    }

    #[test]
    fn every_source_is_admitted_by_itself() {
        let admits = |sources: serde_json::Value| {
            let spec = serde_json::from_value(serde_json::json!({"sources": sources})).unwrap();
            project().admits("team-a", &spec).map_err(|refusal| refusal.to_string())
        };
        let source = |repo: &str, revision: &str| serde_json::json!({"repo": repo, "revision": revision, "ref": revision});
        let good = source("https://git.example/a/shop", "main");
        assert_eq!(admits(serde_json::json!([good, source("https://git.example/a/web", "HEAD")])), Ok(()));
        for (other, why) in [
            (source("https://git.example/b/shop", "main"), "repository https://git.example/b/shop"),
            (source("https://git.example/a/web", "dev"), "revision dev of https://git.example/a/web"),
            (source("oci://git.example/a/web", "main"), "repository oci://git.example/a/web"),
        ] {
            let refusal = admits(serde_json::json!([good, other])).unwrap_err();
            assert!(refusal.contains(why), "{refusal}");
        }
    }

    #[test]
    fn charts_and_artifacts_have_to_name_what_counts() {
        let admits = |rules: serde_json::Value, source: serde_json::Value| {
            let mut project = project();
            project.spec.repositories = serde_json::from_value(rules).unwrap();
            let spec = serde_json::from_value(serde_json::json!({"source": source})).unwrap();
            project.admits("team-a", &spec).map_err(|refusal| refusal.to_string())
        };
        let (repo, below) = ("oci://reg.example/a", "oci://reg.example/a/web");
        let chart =
            |version: &str| serde_json::json!({"repo": repo, "helm": {"chart": "web", "version": version}});
        let artifact = |tag: &str| serde_json::json!({"repo": repo, "revision": tag});
        let free = || serde_json::json!([{"url": "oci://reg.example/*"}]);
        let some = || serde_json::json!([{"url": repo, "branches": ["1.*", "latest", "main"]}]);
        let signed = || serde_json::json!([{"url": repo, "signers": ["SHA256:x"]}]);
        for source in [chart("^1.2"), chart(""), artifact("HEAD"), artifact("sha256:ab")] {
            assert_eq!(admits(free(), source), Ok(()));
        }
        for source in [
            chart("1.2.3"),
            chart("1.2.3-rc.1@sha256:ab"),
            artifact("HEAD"),
            artifact("main"),
            artifact("1.2"),
        ] {
            assert_eq!(admits(some(), source), Ok(()));
        }
        for (source, why) in [
            (chart("2.0.0"), "none of the versions"),
            (chart("1.x || 2.x"), "is a range"),
            (chart("1.2"), "is a range"),
            (chart(""), "is a range"),
            (chart("sha256:ab"), "is a range"),
            (artifact("deadbeef"), "none of the versions"),
            (artifact("1.2@sha256:ab"), "is a digest"),
            (artifact("sha256:ab"), "is a digest"),
        ] {
            let refusal = admits(some(), source.clone()).unwrap_err();
            assert!(refusal.contains(why), "{source} {refusal}");
        }
        for source in [chart("1.2.3"), artifact("main"), artifact("sha256:ab")] {
            assert!(admits(signed(), source).unwrap_err().contains("not checked yet"));
        }
        let both = serde_json::json!([{"url": repo}, {"url": below, "signers": ["SHA256:x"]}]);
        assert!(admits(both, chart("1.2.3")).unwrap_err().contains("not checked yet"));
        let git = serde_json::json!({"repo": "https://git.example/a", "helm": {"chart": "web", "version": "1.2.3"}});
        let rule = serde_json::json!([{"url": "https://git.example/a", "signers": ["SHA256:x"]}]);
        assert!(admits(rule, git).unwrap_err().contains("not checked yet"));
    }

    #[test]
    fn kinds_with_power_are_named_and_children_stay_in_their_project() {
        let application = Gvk::new("kubectl-gitops.dev/v1alpha1", "Application");
        let refused = project().admits_object("in-cluster", &application, "a-1").unwrap_err().to_string();
        assert!(refused.contains("names the group itself"), "{refused}");
        let mut named = project();
        named.spec.kinds.push(KindRule { group: GROUP.into(), kind: "Application".into() });
        assert!(named.admits_object("in-cluster", &application, "a-1").is_ok());
        assert!(
            project()
                .admits_object("in-cluster", &Gvk::new("kubectl-gitops.dev/v1alpha1", "Rollout"), "a-1")
                .is_ok()
        );
        assert!(named.admits_child("a-1/x", "a").is_ok());
        let refused = named.admits_child("a-1/x", "b").unwrap_err().to_string();
        assert!(refused.contains("a-1/x") && refused.contains("childProjects"), "{refused}");
        named.spec.child_projects.push("b*".into());
        assert!(named.admits_child("a-1/x", "b").is_ok());
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
