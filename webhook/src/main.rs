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
use gitops_cluster::{Cluster, ConnectOptions};
use gitops_engine::program;

use error::Error;
use keeper::Keeper;
use settings::Settings;

/// How often the Secret with the certificate is looked at.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(20);
/// After this, requests under way are cut.
const DRAIN: Duration = Duration::from_secs(10);
/// Endpoints take a moment to forget a replica that is going.
const LEAVING: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> ExitCode {
    program::start("gitops-webhook", |settings: &Settings| settings.log_format, run).await
}

async fn run(settings: Settings) -> Result<(), Error> {
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
    let mut tasks = [
        ("following Applications", tokio::spawn(keeper.clone().run())),
        ("watching Overrides", tokio::spawn(overrides::watch(keeper.clone()))),
        ("watching what guards the cluster", tokio::spawn(guard::watch(keeper.clone()))),
        ("keeping the certificate", tokio::spawn(keep_certificate(keeper.clone(), tls, certificate))),
    ];

    let stopped = program::until_stopped(&mut tasks).await;
    tracing::info!("draining");
    keeper.drain();
    tokio::time::sleep(LEAVING).await;
    tasks.iter().for_each(|(_, task)| task.abort());
    handle.graceful_shutdown(Some(DRAIN));
    let io = |what: &'static str| move |error| Error::Io { what: what.to_owned(), error };
    for (server, what) in [(https, "https"), (http, "http")] {
        server.await.map_err(|error| Error::Tls(error.to_string()))?.map_err(io(what))?;
    }
    Ok(stopped?)
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
