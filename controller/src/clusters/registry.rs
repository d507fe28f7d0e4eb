//! Which clusters there are. In: a watch of the Secrets that describe them, in
//! our format and in Argo CD's. Out: the clusters, each connected anew when its
//! Secret changes, so that rotated credentials count at once.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use gitops_cluster::{Connected, Registered};
use gitops_core::names::{LABEL_ARGOCD_SECRET_TYPE, LABEL_SECRET_TYPE, SECRET_TYPE_CLUSTER};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::runtime::reflector::Store;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::member::Member;
use super::{events, mirror, probe};
use crate::controller::Controller;
use crate::schedule::Backoff;

/// Between tries to connect: a command for credentials may fail.
const FAILED: Backoff = Backoff { limit: 0, first: Duration::from_secs(2), max: Duration::from_secs(60) };
/// Of one request to another cluster.
const REQUEST: Duration = Duration::from_secs(30);
/// Changes that come together are taken together.
const TOGETHER: usize = 100;
/// Between two looks at what could not be read.
const AGAIN: Duration = Duration::from_secs(5);

/// By the cluster's name.
type Connections = BTreeMap<String, Connection>;

/// A cluster that is connected, or about to be.
#[derive(Debug)]
struct Connection {
    /// Of what its Secret said.
    hash: u64,
    secret: String,
    task: Option<JoinHandle<()>>,
}

impl Connection {
    fn is(&self, hash: u64, secret: &str) -> bool {
        self.hash == hash && self.secret == secret
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.iter().for_each(JoinHandle::abort);
    }
}

/// Follows the Secrets until the program ends.
pub async fn run(controller: Arc<Controller>) {
    know_itself(&controller).await;
    let namespace = &controller.settings.clusters_namespace;
    if namespace.is_empty() {
        controller.clusters.far().read = Some(Ok(()));
        return std::future::pending().await;
    }
    let secrets: Api<Secret> = Api::namespaced(controller.cluster.client(), namespace);
    let follow = |label: &str| {
        let (store, writer) = reflector::store();
        let config = watcher::Config::default().labels(&format!("{label}={SECRET_TYPE_CLUSTER}"));
        let stream = watcher(secrets.clone(), config).default_backoff().reflect(writer).touched_objects();
        (store, stream)
    };
    let (ours, our_changes) = follow(LABEL_SECRET_TYPE);
    let (theirs, their_changes) = follow(LABEL_ARGOCD_SECRET_TYPE);
    let changes = futures::stream::select(our_changes, their_changes);
    let mut changes = std::pin::pin!(changes.ready_chunks(TOGETHER));
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let mut connected = Connections::default();
    loop {
        let is_read = matches!(controller.clusters.far().read, Some(Ok(())));
        tokio::select! {
            events = changes.next() => {
                let Some(events) = events else { return };
                for error in events.into_iter().filter_map(Result::err) {
                    refused(&controller, &error.to_string());
                }
            }
            // A watch that finds nothing says nothing.
            _ = tick.tick(), if !is_read => {}
        }
        if is_known(&ours).await && is_known(&theirs).await {
            compare(&controller, [ours.state(), theirs.state()].concat(), &mut connected).await;
        }
    }
}

/// Applications that go elsewhere are told why they do not.
fn refused(controller: &Controller, why: &str) {
    let mut known = controller.clusters.far();
    if matches!(known.read, None | Some(Err(_))) {
        let is_news = known.read.is_none();
        known.read = Some(Err(why.to_owned()));
        drop(known);
        if is_news {
            tracing::warn!(error = why, "the Secrets that describe clusters cannot be read");
            controller.look_at_all();
        }
    }
}

/// The uid of kube-system is a cluster's identity.
async fn know_itself(controller: &Arc<Controller>) {
    let namespaces: Api<Namespace> = Api::all(controller.cluster.client());
    loop {
        match namespaces.get("kube-system").await {
            Ok(namespace) => {
                let _ = controller.clusters.uid.set(namespace.uid().unwrap_or_default());
                return;
            }
            Err(error) => tracing::warn!(%error, "the identity of this cluster is not known"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn is_known(store: &Store<Secret>) -> bool {
    let ready = tokio::time::timeout(Duration::from_millis(10), store.wait_until_ready()).await;
    matches!(ready, Ok(Ok(())))
}

/// Connects what is new or has changed, and lets go what is gone.
async fn compare(controller: &Arc<Controller>, mut secrets: Vec<Arc<Secret>>, connected: &mut Connections) {
    // Of two for one name, the older counts.
    secrets.sort_by_key(|secret| (secret.creation_timestamp().map(|time| time.0), secret.uid()));
    let mut there: BTreeMap<String, (u64, String, Result<Registered, String>)> = BTreeMap::new();
    for secret in secrets {
        let (name, value) = (secret.name_any(), json!(*secret));
        let (cluster, read) = match Registered::of(&value, &controller.settings.exec_command) {
            Ok(None) => continue,
            Ok(Some(registered)) => (registered.name.clone(), Ok(registered)),
            Err(error) => (Registered::name_in(&value), Err(error.to_string())),
        };
        if let Some((_, first, _)) = there.get(&cluster) {
            if *first != name {
                let note =
                    format!("cluster {cluster} is described by Secret {first} already, which is older");
                events::secret(controller, &name, &note);
            }
            continue;
        }
        there.insert(cluster, (said(&value), name, read));
    }
    let gone: Vec<String> = connected.keys().filter(|name| !there.contains_key(*name)).cloned().collect();
    for name in gone {
        connected.remove(&name);
        tracing::info!(cluster = name, "the cluster is no longer registered");
        let before = controller.clusters.far().members.remove(&name);
        controller.metrics.no_cluster(&name);
        before.flatten().into_iter().flatten().for_each(|member| member.end());
        controller.look_at_cluster(&name, false);
    }
    for (cluster, (hash, secret, read)) in there {
        if connected.get(&cluster).is_some_and(|known| known.is(hash, &secret)) {
            continue;
        }
        controller.clusters.far().members.entry(cluster.clone()).or_default();
        let task = match read {
            Ok(registered) => Some(tokio::spawn(keep_connected(controller.clone(), registered))),
            Err(why) => {
                cannot_be_used(controller, (&cluster, &secret), &why);
                None
            }
        };
        connected.insert(cluster, Connection { hash, secret, task });
    }
    let is_first = {
        let mut known = controller.clusters.far();
        !matches!(known.read.replace(Ok(())), Some(Ok(())))
    };
    if is_first {
        controller.look_at_all();
    }
}

/// What of a Secret says how a cluster is used.
fn said(secret: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    for pointer in ["/metadata/uid", "/data", "/metadata/annotations"] {
        secret.pointer(pointer).map(Value::to_string).hash(&mut hasher);
    }
    hasher.finish()
}

/// Connects a cluster, again when that fails, and anew before its credentials
/// end. The one before is used until then.
async fn keep_connected(controller: Arc<Controller>, registered: Registered) {
    let (name, mut failed) = (registered.name.clone(), 0);
    loop {
        let cache = Some(controller.settings.cache_dir.clone());
        match registered.connect(cache, Some(REQUEST)).await {
            Ok(Connected { cluster, valid }) => {
                let member = Arc::new(Member::far(cluster.remembering(), registered.clone()));
                if !replace(&controller, &name, Ok(member.clone())) {
                    return;
                }
                tracing::info!(cluster = name, server = member.cluster.server(), "the cluster is connected");
                member.keep(tokio::spawn(probe::follow(controller.clone(), member.clone())));
                member.keep(tokio::spawn(mirror::follow(controller.clone(), member.clone())));
                tokio::select! {
                    () = member.refused.notified(), if registered.credentials == "exec" => failed += 1,
                    () = after(valid) => failed = 0,
                }
            }
            Err(error) => {
                failed += 1;
                cannot_be_used(&controller, (&name, &registered.secret), &error.to_string());
            }
        }
        if failed > 0 {
            tokio::time::sleep(FAILED.pause(failed)).await;
        }
    }
}

async fn after(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

/// Says why, where that is news.
fn cannot_be_used(controller: &Arc<Controller>, (cluster, secret): (&str, &str), why: &str) {
    let is_news =
        !matches!(controller.clusters.far().members.get(cluster), Some(Some(Err(known))) if known == why);
    if is_news {
        tracing::warn!(cluster, error = why, "the cluster cannot be used");
        controller.metrics.cluster(cluster, false);
        events::secret(controller, secret, why);
        replace(controller, cluster, Err(why.to_owned()));
    }
}

/// Puts another client in the place of the one before; false: the cluster is no
/// longer registered.
fn replace(controller: &Arc<Controller>, name: &str, member: Result<Arc<Member>, String>) -> bool {
    let before = match controller.clusters.far().members.get_mut(name) {
        Some(place) => place.replace(member),
        None => return false,
    };
    before.into_iter().flatten().for_each(|member| member.end());
    controller.look_at_cluster(name, false);
    true
}
