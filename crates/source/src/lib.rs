//! Where desired objects come from: Git over file, http(s) and ssh, charts and
//! artifacts from registries, and the rendering of plain YAML, Kustomize, Helm
//! and Jsonnet, SOPS files decrypted. In: a repository, a revision,
//! a path. Out: objects, each with its file and, where it is known, the line
//! of every field.
//!
//! Nothing in a repository is executed: no hooks, filters or plugins.

pub mod authority;
mod child;
pub mod error;
#[cfg(test)]
mod fuzz;
pub mod git;
pub mod image;
pub mod location;
pub mod registry;
pub mod render;
pub mod sops;
pub mod yaml;

pub use error::{ErrorKind, SourceError};
pub use git::{
    Change, Commit, GitCache, NewCommit, Person, Snapshot, Target, Writer, signing_key_counts_not,
};
pub use location::{Credentials, Login, RepoUrl, Secret};
pub use render::{
    HelmOptions, KustomizeOptions, PlainOptions, Reads, RemoteChart, RenderRequest, Renders, SourceType,
    Tools, reading, reads, remote_charts, render, render_each, renders, whole_tree,
};
