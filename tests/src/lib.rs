//! What the end-to-end tests stand on: one real cluster for all of them, Git
//! repositories made on the spot, and the binaries as they were just built.
//!
//! Every test works in a namespace of its own on the shared cluster, so that
//! they can run side by side.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a harness: a broken precondition ends the test")]

pub mod background;
pub mod chart_repository;
pub mod cluster;
pub mod controller;
pub mod fake_node;
pub mod faults;
pub mod gateway;
pub mod generate;
pub mod git_server;
pub mod http_server;
pub mod hub;
pub mod injector;
pub mod line;
pub mod node_cluster;
pub mod place;
pub mod prometheus;
pub mod proxy;
pub mod repo;
pub mod roundtrip;
pub mod shop;
pub mod tls;
pub mod webhook;

pub use background::Background;
pub use cluster::{Namespace, Ran, TestCluster, cluster, webhook_cluster};
pub use controller::Controller;
pub use fake_node::FakeNode;
pub use faults::{Fault, FaultyProxy};
pub use git_server::GitServer;
pub use hub::Hub;
pub use injector::Injector;
pub use line::Line;
pub use node_cluster::NodeCluster;
pub use place::Place;
pub use proxy::{Front, Proxy, Requests};
pub use repo::Repo;
pub use shop::Shop;
pub use tls::Tls;
pub use webhook::{Replica, Webhook};

use std::path::PathBuf;

/// Path of a binary of this workspace, as built beside the running test.
///
/// # Panics
/// When it has not been built.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let directory = test.ancestors().find(|dir| dir.join("deps").is_dir()).unwrap();
    let path = directory.join(name);
    assert!(path.is_file(), "{} is not built: run `cargo build --workspace` first", path.display());
    path
}
