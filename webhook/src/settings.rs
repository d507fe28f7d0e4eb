//! Flags of the program.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use gitops_engine::program::{LogFormat, duration};

/// Refuses every write that Git does not say.
#[derive(Clone, Debug, Parser)]
#[command(name = "gitops-webhook", version, about)]
pub struct Settings {
    /// Where the API server reaches /validate and /mutate, by TLS
    #[arg(long, default_value = "0.0.0.0:9443")]
    pub listen: SocketAddr,
    /// Where /healthz, /readyz and /metrics are
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub http: SocketAddr,
    /// The namespace this program runs in
    #[arg(long, default_value = gitops_core::names::SYSTEM_NAMESPACE)]
    pub namespace: String,
    /// The Service in front of it
    #[arg(long, default_value = "gitops-webhook")]
    pub service: String,
    /// The Secret that keeps its certificate
    #[arg(long, default_value = "gitops-webhook-tls")]
    pub secret: String,
    /// Where repositories, renders and the last good commits are kept
    #[arg(long, default_value = "/var/cache/gitops")]
    pub cache_dir: PathBuf,
    /// The name of both webhook configurations
    #[arg(long, default_value = "gitops")]
    pub config_name: String,
    /// Outside of a cluster: the URL at which the API server reaches this program
    #[arg(long)]
    pub url: Option<url::Url>,
    /// Outside of a cluster: the kubeconfig
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// How often Git is asked for news: 500ms, 30s, 5m
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub poll_interval: Duration,
    /// Watch the policy gitops-guard and its binding, which the chart installs
    #[arg(long)]
    pub guard: bool,
    /// How to log
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
}
