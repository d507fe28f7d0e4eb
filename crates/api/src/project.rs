//! Project: the root of trust. It says which repositories, branches and
//! signers may say what, in which namespaces and clusters, of which kinds.

mod admission;
mod repository;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{LazyLock, PoisonError, RwLock};

use globset::{GlobBuilder, GlobMatcher};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::application::EnforcementFloor;

pub use admission::Refusal;

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

/// Glob on whole names: `*` does not cross a slash, `**` does. A pattern that
/// is no glob matches nothing.
fn matches(glob: &str, text: &str) -> bool {
    if !glob.contains(['*', '?', '[', ']', '{', '}', '\\']) {
        return glob == text;
    }
    let known = COMPILED.read().unwrap_or_else(PoisonError::into_inner).get(glob).cloned();
    let matcher = known.unwrap_or_else(|| {
        let built = GlobBuilder::new(glob).literal_separator(true).build().ok();
        let matcher = built.map(|glob| glob.compile_matcher());
        let mut compiled = COMPILED.write().unwrap_or_else(PoisonError::into_inner);
        if compiled.len() >= MOST_GLOBS {
            compiled.clear();
        }
        compiled.insert(glob.to_owned(), matcher.clone());
        matcher
    });
    matcher.is_some_and(|matcher| matcher.is_match(text))
}

/// Globs that are kept compiled: a Project is asked about every object, and to compile
/// one costs a thousand times as much as to match it.
static COMPILED: LazyLock<RwLock<HashMap<String, Option<GlobMatcher>>>> = LazyLock::new(RwLock::default);
const MOST_GLOBS: usize = 1000;
