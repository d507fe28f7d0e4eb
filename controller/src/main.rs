//! `gitops-controller`: keeps Applications in sync with Git without a person.

mod carry_out;
mod clusters;
mod controller;
mod deletion;
mod drift;
mod error;
mod events;
mod metrics;
mod poll;
mod push;
mod queue;
mod reconcile;
mod request;
mod schedule;
mod server;
mod settings;
mod shares;
mod sight;
mod status;
mod watch;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use gitops_cluster::{Cluster, ConnectOptions};
use gitops_core::desired::AppRef;
use gitops_engine::program::{self, Ended};
use tokio_util::task::LocalPoolHandle;

use controller::Controller;
use error::Error;
use settings::Settings;

/// After this, syncs under way are cut.
const DRAIN: Duration = Duration::from_secs(20);
/// Threads that look at Applications: one that compares something large holds up its
/// own looks alone. A thread for each look would be woken all the time, which costs a
/// fifth more; renders and Git have threads elsewhere.
const LOOKING: usize = 4;
/// Of one request to the API server.
const REQUEST: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> ExitCode {
    program::start("gitops-controller", |settings: &Settings| settings.log_format, run).await
}

async fn run(settings: Settings) -> Result<(), Error> {
    let options = ConnectOptions {
        kubeconfig: settings.kubeconfig.clone().into_iter().collect(),
        cache_dir: Some(settings.cache_dir.clone()),
        request_timeout: Some(REQUEST),
        ..ConnectOptions::default()
    };
    let cluster = Cluster::connect(&options).await?.remembering();
    let controller = Controller::new(cluster, settings.clone());
    let handle = axum_server::Handle::new();
    let http = axum_server::bind(settings.http)
        .handle(handle.clone())
        .serve(server::health(controller.clone()).into_make_service());
    let http = tokio::spawn(http);
    if handle.listening().await.is_none() {
        let ended = http.await.map_err(|_| Ended("the HTTP server"))?;
        return ended.map_err(|error| Error::Io { what: settings.http.to_string(), error });
    }
    tracing::info!(http = %settings.http, "listening");
    let mut tasks = vec![
        ("watching Applications", tokio::spawn(watch::run(controller.clone()))),
        ("sharing Applications", tokio::spawn(shares::run(controller.clone()))),
        ("following clusters", tokio::spawn(clusters::run(controller.clone()))),
        ("the workers", tokio::spawn(work(controller.clone()))),
        ("the HTTP server", tokio::spawn(http.map(drop))),
    ];
    if let Some(address) = settings.push_events {
        let serve = push::run(controller.clone(), address);
        tasks.push(("taking push events", tokio::spawn(serve.map(move |ended| told(address, ended)))));
    }
    if settings.application_namespace.is_none() {
        tasks.push(("listening to pushes", tokio::spawn(push::listen(controller.clone()))));
    }
    let stopped = program::until_stopped(&mut tasks).await;
    tracing::info!("draining");
    controller.drain();
    let begun = Instant::now();
    while controller.queue.running() > 0 && begun.elapsed() < DRAIN {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tasks.iter().for_each(|(_, task)| task.abort());
    shares::leave(&controller).await;
    handle.shutdown();
    Ok(stopped?)
}

/// A port that cannot be listened on ends the program; the log says which.
fn told(address: SocketAddr, ended: std::io::Result<()>) {
    if let Err(error) = ended {
        tracing::error!(%address, %error, "it cannot be listened on");
    }
}

/// Looks at Applications, as many at once as the queue has room for.
async fn work(controller: Arc<Controller>) {
    let threads = LocalPoolHandle::new(LOOKING);
    loop {
        let name = controller.queue.next().await;
        if controller.is_draining() {
            controller.queue.done(&name);
            return;
        }
        tokio::spawn(look(threads.clone(), controller.clone(), name));
    }
}

async fn look(threads: LocalPoolHandle, controller: Arc<Controller>, name: AppRef) {
    // A task of its own: should a look ever panic, the others go on.
    let (looking, named) = (controller.clone(), name.clone());
    let look = move || async move { reconcile::look(&looking, &named).await };
    let looked = threads.spawn_pinned(look).await;
    controller.queue.done(&name);
    match looked {
        Ok(Some(again)) => controller.queue.again(&name, again),
        Ok(None) => {}
        Err(error) => {
            tracing::error!(application = %name, %error, "the look broke off");
            controller.queue.again(&name, REQUEST);
        }
    }
}
