//! `gitops-webhook`: refuses every write that Git does not say.

mod admission;
mod asked;
mod configurations;
mod copy;
mod error;
mod events;
#[cfg(test)]
mod fuzz;
mod guard;
mod history;
mod keeper;
mod metrics;
mod overrides;
mod recent;
mod server;
mod settings;
mod status;
mod tampered;
mod tls;
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::RustlsConfig;
use clap::Parser;
use gitops_cluster::{Cluster, ConnectOptions};

use error::Error;
use keeper::Keeper;
use settings::{LogFormat, Settings};

/// How often the Secret with the certificate is looked at.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(20);
/// After this, requests under way are cut.
const DRAIN: Duration = Duration::from_secs(10);
/// Endpoints take a moment to forget a replica that is going.
const LEAVING: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> ExitCode {
    if let Some(code) = gitops_source::render::jsonnet::evaluator() {
        return ExitCode::from(code);
    }
    let settings = Settings::parse();
    log(settings.log_format);
    match run(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "gitops-webhook ends");
            ExitCode::FAILURE
        }
    }
}

fn log(format: LogFormat) {
    let level = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| "info,kube_runtime=warn".into());
    let builder =
        tracing_subscriber::fmt().with_env_filter(level).with_target(false).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.init(),
    }
}

async fn run(settings: Settings) -> Result<(), Error> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = ConnectOptions {
        kubeconfig: settings.kubeconfig.clone().into_iter().collect(),
        cache_dir: Some(settings.cache_dir.clone()),
        ..ConnectOptions::default()
    };
    let cluster = Cluster::connect(&options).await?;
    let keeper = Keeper::new(cluster, settings.clone());
    let certificate = first_certificate(&keeper).await;
    let tls = RustlsConfig::from_config(certificate.server()?);

    let handle = axum_server::Handle::new();
    // An answer over HTTP/2 is two small writes: the second would wait 40 ms for
    // the API server to acknowledge the first.
    let https = axum_server::bind_rustls(settings.listen, tls.clone())
        .map(|acceptor| acceptor.acceptor(NoDelayAcceptor::new()))
        .handle(handle.clone())
        .serve(server::reviews(keeper.clone()).into_make_service());
    let http = axum_server::bind(settings.http)
        .handle(handle.clone())
        .serve(server::health(keeper.clone()).into_make_service());
    let https = tokio::spawn(https);
    let http = tokio::spawn(http);
    if handle.listening().await.is_none() {
        let ended = https.await.map_err(|error| Error::Tls(error.to_string()))?;
        return ended.map_err(|error| Error::Io { what: settings.listen.to_string(), error });
    }
    tracing::info!(listen = %settings.listen, http = %settings.http, "listening");
    keeper.vouch(&certificate).await;
    let upkeep = tokio::spawn(keep_certificate(keeper.clone(), tls, certificate));
    let following = [
        tokio::spawn(keeper.clone().run()),
        tokio::spawn(overrides::watch(keeper.clone())),
        tokio::spawn(guard::watch(keeper.clone())),
    ];

    asked_to_stop().await;
    tracing::info!("draining");
    keeper.drain();
    tokio::time::sleep(LEAVING).await;
    following.iter().for_each(tokio::task::JoinHandle::abort);
    upkeep.abort();
    handle.graceful_shutdown(Some(DRAIN));
    let io = |what: &'static str| move |error| Error::Io { what: what.to_owned(), error };
    for (server, what) in [(https, "https"), (http, "http")] {
        server.await.map_err(|error| Error::Tls(error.to_string()))?.map_err(io(what))?;
    }
    Ok(())
}

/// The API server may not be there yet when this program starts.
async fn first_certificate(keeper: &Arc<Keeper>) -> tls::Certificate {
    loop {
        match tls::current(&keeper.cluster.client(), &keeper.settings).await {
            Ok(certificate) => return certificate,
            Err(error) => tracing::warn!(%error, "no certificate yet; trying again"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Renews the certificate when it is due, and takes over what another replica
/// has renewed, without a restart.
async fn keep_certificate(keeper: Arc<Keeper>, server: RustlsConfig, mut in_use: tls::Certificate) {
    loop {
        tokio::time::sleep(CERTIFICATE_INTERVAL).await;
        match tls::current(&keeper.cluster.client(), &keeper.settings).await {
            Ok(current) if current != in_use => match current.server() {
                Ok(config) => {
                    server.reload_from_config(config);
                    keeper.vouch(&current).await;
                    in_use = current;
                    tracing::info!("a new certificate is in use");
                }
                Err(error) => {
                    tracing::error!(%error, "the Secret's certificate cannot be used; the one before stays")
                }
            },
            Ok(current) => keeper.vouch(&current).await,
            Err(error) => tracing::warn!(%error, "the certificate could not be looked at"),
        }
    }
}

async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
