//! Where an Application comes from: a repository, a revision, a path, and how
//! what is there is rendered.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{NameRef, yes};

/// A repository, a revision and a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// URL of the repository. In `gitops.yaml`, absent: the one it lies in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub repo: Option<String>,
    /// Branch, tag or commit.
    #[serde(default = "head")]
    #[schemars(length(min = 1, max = 256))]
    pub revision: String,
    /// Folder in the repository.
    #[serde(default = "here")]
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,
    /// What the folder holds.
    #[serde(default, rename = "type")]
    pub kind: SourceType,
    /// A name by which other sources refer to this one, as in
    /// `$name/values.yaml`. With it and without path, type or options, the
    /// source itself is not rendered.
    #[serde(default, rename = "ref", skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub reference: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain: Option<Plain>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kustomize: Option<Kustomize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm: Option<Helm>,
    /// A Secret in the Application's namespace: username and password, token,
    /// or sshPrivateKey and knownHosts; caBundle; age, for SOPS files; signingKey,
    /// an SSH private key for commits that take a version back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<NameRef>,
}

impl Default for Source {
    fn default() -> Self {
        Self {
            repo: None,
            revision: head(),
            path: here(),
            kind: SourceType::Auto,
            reference: String::new(),
            plain: None,
            kustomize: None,
            helm: None,
            secret_ref: None,
        }
    }
}

impl Source {
    /// Whether it is a commit of a repository, no chart or artifact of a registry.
    pub fn is_git(&self) -> bool {
        let chart = self.helm.as_ref().is_some_and(|helm| !helm.chart.is_empty());
        let registry = self.repo.as_ref().is_some_and(|repo| repo.starts_with("oci://"));
        !chart && !registry && self.kind != SourceType::Oci
    }

    /// Whether it is only there for others to refer to.
    pub fn is_reference(&self) -> bool {
        let plain = Self {
            repo: self.repo.clone(),
            revision: self.revision.clone(),
            reference: self.reference.clone(),
            secret_ref: self.secret_ref.clone(),
            ..Self::default()
        };
        !self.reference.is_empty() && *self == plain
    }
}

fn head() -> String {
    "HEAD".into()
}

fn here() -> String {
    ".".into()
}

/// What a folder holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SourceType {
    /// Chart.yaml, kustomization.yaml, else plain; both is an error.
    #[default]
    Auto,
    Plain,
    Kustomize,
    Helm,
    Jsonnet,
    #[serde(rename = "OCI")]
    Oci,
}

/// Which files of a plain folder count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plain {
    #[serde(default = "yes")]
    pub recurse: bool,
    /// Globs on paths below the folder; empty: all.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub include: Vec<String>,
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub exclude: Vec<String>,
}

/// What is put on top of a kustomization.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kustomize {
    /// `name=new:tag`.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub images: Vec<String>,
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub components: Vec<String>,
    /// Let kustomizations inflate charts (`helmCharts`), of the repository or of
    /// chart repositories and registries that the Project takes.
    #[serde(default)]
    pub enable_helm: bool,
}

/// What a chart is rendered with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Helm {
    /// A chart of the chart repository or registry that `repo` names (https://
    /// or oci://), instead of a folder.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub chart: String,
    /// Of the chart: `1.2.3`, a range such as `^1.2`, either with
    /// `@sha256:...` behind it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Empty: the Application's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 53))]
    pub release_name: String,
    /// Paths from the chart's folder, with a leading / from the repository's
    /// root, or as `$ref/path` from the root of another source.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub value_files: Vec<String>,
    #[serde(default)]
    #[schemars(schema_with = "any_object")]
    pub values: Value,
    #[serde(default)]
    pub set: BTreeMap<String, String>,
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_is_only_referred_to_is_told_apart() {
        let source = |value: Value| serde_json::from_value::<Source>(value).unwrap();
        assert!(
            source(serde_json::json!({"repo": "https://h/x", "revision": "v1", "ref": "base"}))
                .is_reference()
        );
        assert!(!source(serde_json::json!({"ref": "base", "path": "apps"})).is_reference());
        assert!(!source(serde_json::json!({"repo": "https://h/x"})).is_reference());
    }
}
