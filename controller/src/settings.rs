//! Flags of the program.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use gitops_core::names::{CLUSTERS_NAMESPACE, SYSTEM_NAMESPACE};
use gitops_engine::program::{LogFormat, duration};

/// Keeps Applications in sync with Git without a person.
#[derive(Clone, Debug, Parser)]
#[command(name = "gitops-controller", version, about)]
pub struct Settings {
    /// Where /healthz, /readyz and /metrics are
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub http: SocketAddr,
    /// Only Applications of this namespace; all of them otherwise
    #[arg(long)]
    pub application_namespace: Option<String>,
    /// Where the Leases are by which replicas share Applications; with
    /// --application-namespace, they are not shared
    #[arg(long, default_value = SYSTEM_NAMESPACE)]
    pub namespace: String,
    /// What this replica is called among the others; by default the host's name,
    /// which is the pod's
    #[arg(long)]
    pub replica: Option<String>,
    /// Where push events are taken (POST /push), such as 0.0.0.0:9444; nowhere
    /// otherwise
    #[arg(long)]
    pub push_events: Option<SocketAddr>,
    /// The Secret of --namespace whose values are the keys that push events are
    /// signed with
    #[arg(long, default_value = "gitops-push-events")]
    pub push_secret: String,
    /// Where repositories and renders are kept
    #[arg(long, default_value = "/var/cache/gitops")]
    pub cache_dir: PathBuf,
    /// Outside of a cluster: the kubeconfig
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// How often Git is asked for news: 500ms, 30s, 5m
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub poll_interval: Duration,
    /// How many Applications are looked at side by side
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: u16,
    /// Where the Secrets are that describe other clusters; empty: there are none
    #[arg(long, default_value = CLUSTERS_NAMESPACE)]
    pub clusters_namespace: String,
    /// How many Applications of each other cluster are looked at side by side
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pub cluster_workers: u16,
    /// What this cluster is called in those that it mirrors Applications to
    #[arg(long, default_value = "hub")]
    pub hub: String,
    /// An exec plugin that may be run for credentials, as the Secret has it; may
    /// be repeated
    #[arg(long, value_name = "COMMAND")]
    pub exec_command: Vec<String>,
    /// How to log
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
}
