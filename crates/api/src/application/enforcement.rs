//! How an Application is held to Git, what its Project asks for at least, and
//! what is left to others.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How an Application is held to Git.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Enforcement {
    #[serde(default)]
    pub mode: EnforcementMode,
    #[serde(default)]
    pub untracked: UntrackedMode,
    #[serde(default)]
    pub interactive: InteractiveMode,
    #[serde(default)]
    pub custom_kinds: CustomKinds,
    /// Fields that others may set, between bounds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub delegate: Vec<Delegation>,
}

/// The least that a Project asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnforcementFloor {
    #[serde(default)]
    pub mode: EnforcementMode,
    #[serde(default)]
    pub untracked: UntrackedMode,
    #[serde(default)]
    pub interactive: InteractiveMode,
    #[serde(default)]
    pub custom_kinds: CustomKinds,
}

/// What becomes of a write that Git does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EnforcementMode {
    #[default]
    Enforce,
    Warn,
    Audit,
    Off,
}

/// What becomes of objects that nobody declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UntrackedMode {
    #[default]
    Allow,
    Warn,
    Deny,
}

/// What becomes of exec, attach, port-forward and debugging.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum InteractiveMode {
    Allow,
    #[default]
    Warn,
    Deny,
}

/// Whether custom kinds are held to what Git declares, or closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CustomKinds {
    #[default]
    Declared,
    Closed,
}

/// A field that others may set, between bounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("!has(self.min) || !has(self.max) || self.min <= self.max").message("min is more than max"))]
pub struct Delegation {
    #[serde(default)]
    pub group: String,
    #[schemars(length(min = 1, max = 253))]
    pub kind: String,
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
}
