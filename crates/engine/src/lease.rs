//! One sync of an Application at a time. In: an Application and who asks. Out:
//! a Lease (coordination.k8s.io) that is renewed while it is held, or who
//! holds it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gitops_cluster::{ApplyOptions, Cluster, ClusterError, ErrorKind, Kind};
use gitops_core::desired::AppRef;
use gitops_core::names::FIELD_MANAGER;
use gitops_core::object::{Gvk, ObjectKey};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// How long a Lease lives that is not renewed.
const DURATION: Duration = Duration::from_secs(15);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(5);

/// What a claim came to.
#[derive(Debug)]
pub enum Claim {
    Held(Box<Lease>),
    /// Someone else syncs.
    Taken {
        holder: String,
    },
    /// It cannot be used here; two syncs are not kept apart.
    Unusable(ClusterError),
}

/// A held Lease.
#[derive(Debug)]
pub struct Lease {
    place: Place,
    renewing: JoinHandle<()>,
    /// As it was written last.
    latest: Latest,
    /// `metadata.resourceVersion` before it was taken; none: it was not there.
    pub before: Option<String>,
}

type Latest = Arc<Mutex<Value>>;

#[derive(Clone, Debug)]
struct Place {
    cluster: Cluster,
    kind: Kind,
    key: ObjectKey,
    holder: String,
}

fn place(cluster: &Cluster, application: &AppRef, holder: &str) -> Place {
    let gvk = Gvk::new("coordination.k8s.io/v1", "Lease");
    let key = ObjectKey {
        group: gvk.group.clone(),
        kind: gvk.kind.clone(),
        namespace: application.namespace.clone(),
        name: format!("gitops-sync-{}", application.name),
    };
    let kind =
        Kind { gvk, plural: "leases".into(), namespaced: true, verbs: Vec::new(), subresources: Vec::new() };
    Place { cluster: cluster.clone(), kind, key, holder: holder.to_owned() }
}

/// The version of an Application's Lease: when it is another one at the claim,
/// someone has synced meanwhile.
pub async fn version(cluster: &Cluster, application: &AppRef) -> Option<String> {
    let place = place(cluster, application, "");
    version_of(&place.cluster.get(&place.kind, &place.key).await.ok()??)
}

/// Who else holds an Application now. One that was not renewed for longer than
/// it lives is nobody's, as far as the clocks agree.
///
/// # Errors
/// When it cannot be read.
pub async fn held(
    cluster: &Cluster,
    application: &AppRef,
    ours: &str,
) -> Result<Option<String>, ClusterError> {
    let place = place(cluster, application, ours);
    let Some(lease) = place.cluster.get(&place.kind, &place.key).await? else { return Ok(None) };
    let holder = text(&lease, "/spec/holderIdentity");
    let renewed: Option<jiff::Timestamp> = text(&lease, "/spec/renewTime").parse().ok();
    let lives = renewed.is_some_and(|at| jiff::Timestamp::now().duration_since(at).unsigned_abs() < DURATION);
    Ok(Some(holder).filter(|holder| lives && !holder.is_empty() && holder != ours))
}

fn version_of(lease: &Value) -> Option<String> {
    lease.pointer("/metadata/resourceVersion")?.as_str().map(str::to_owned)
}

fn text(lease: &Value, pointer: &str) -> String {
    lease.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Claims an Application for one sync. One that is held is watched for as long
/// as it lives without being renewed: clocks need not agree. `lost` is set when
/// it is lost later.
pub async fn claim(cluster: &Cluster, application: &AppRef, holder: &str, lost: &Arc<AtomicBool>) -> Claim {
    let place = place(cluster, application, holder);
    match take(&place).await {
        Ok(Taken::Ours { before, now }) => {
            let latest = Arc::new(Mutex::new(now));
            let renewing = tokio::spawn(renew(place.clone(), latest.clone(), lost.clone()));
            Claim::Held(Box::new(Lease { place, renewing, latest, before }))
        }
        Ok(Taken::Theirs(holder)) => Claim::Taken { holder },
        Err(error) => Claim::Unusable(error),
    }
}

enum Taken {
    Ours { before: Option<String>, now: Value },
    Theirs(String),
}

async fn take(place: &Place) -> Result<Taken, ClusterError> {
    let start = Instant::now();
    let mut seen: Option<(String, Instant)> = None;
    loop {
        let live = place.cluster.get(&place.kind, &place.key).await?;
        let holder = live.as_ref().map(|live| text(live, "/spec/holderIdentity")).unwrap_or_default();
        if !holder.is_empty() && holder != place.holder {
            let renewed = live.as_ref().map(|live| text(live, "/spec/renewTime")).unwrap_or_default();
            let first = seen.get_or_insert((renewed.clone(), Instant::now()));
            if first.0 != renewed || start.elapsed() > DURATION * 2 {
                return Ok(Taken::Theirs(holder));
            }
            if first.1.elapsed() < DURATION {
                tokio::time::sleep(Duration::from_millis(500)).await;
                continue;
            }
        }
        let before = live.as_ref().and_then(version_of);
        match write(place, live.as_ref(), Some(&place.holder)).await {
            Ok(now) => return Ok(Taken::Ours { before, now }),
            // Someone was faster, or it is ours already: look again.
            Err(error) if error.kind() == ErrorKind::Conflict => seen = None,
            Err(error) => return Err(error),
        }
        if start.elapsed() > DURATION * 3 {
            return Err(ClusterError::Timeout { what: place.key.to_string() });
        }
    }
}

/// Out: the Lease as it is then.
async fn write(place: &Place, live: Option<&Value>, holder: Option<&str>) -> Result<Value, ClusterError> {
    let now = format!("{:.6}", jiff::Timestamp::now());
    let version = live.and_then(version_of);
    let before = live.map(|live| text(live, "/spec/holderIdentity")).unwrap_or_default();
    let transitions = live.and_then(|live| live.pointer("/spec/leaseTransitions")?.as_i64()).unwrap_or(0);
    let same = Some(before.as_str()) == holder;
    let acquired = live.map(|live| text(live, "/spec/acquireTime")).filter(|time| same && !time.is_empty());
    let mut lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": place.key.name, "namespace": place.key.namespace},
        "spec": {
            "leaseDurationSeconds": DURATION.as_secs(), "renewTime": now,
            "acquireTime": acquired.unwrap_or_else(|| now.clone()),
            "leaseTransitions": if same { transitions } else { transitions + 1 },
        },
    });
    if let Some(holder) = holder {
        lease["spec"]["holderIdentity"] = holder.into();
    }
    let options = ApplyOptions { field_manager: FIELD_MANAGER, ..ApplyOptions::default() };
    match version {
        Some(version) => {
            lease["metadata"]["resourceVersion"] = version.into();
            place.cluster.replace(&place.kind, &place.key, &lease, &options).await
        }
        None => place.cluster.create(&place.kind, &place.key, &lease, &options).await,
    }
}

/// Renews until it is aborted, or lost: taken by another, or not renewed for as
/// long as it lives.
async fn renew(place: Place, latest: Latest, lost: Arc<AtomicBool>) {
    let mut last = Instant::now();
    loop {
        tokio::time::sleep(RENEW).await;
        let renewed = async {
            let live = place.cluster.get(&place.kind, &place.key).await?;
            let ours = live.as_ref().is_some_and(|live| text(live, "/spec/holderIdentity") == place.holder);
            if ours {
                note(&latest, write(&place, live.as_ref(), Some(&place.holder)).await?);
            }
            Ok::<bool, ClusterError>(ours)
        };
        match tokio::time::timeout(RENEW, renewed).await {
            Ok(Ok(true)) => last = Instant::now(),
            Ok(Ok(false)) => return lost.store(true, Ordering::Relaxed),
            Ok(Err(_)) | Err(_) if last.elapsed() < DURATION => {}
            Ok(Err(_)) | Err(_) => return lost.store(true, Ordering::Relaxed),
        }
    }
}

fn note(latest: &Latest, lease: Value) {
    *latest.lock().unwrap_or_else(PoisonError::into_inner) = lease;
}

/// One that is not given back runs out.
impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

impl Lease {
    /// Gives it back; its version then: while that stays, nobody else has synced.
    /// One that cannot be given back runs out.
    pub async fn release(self) -> Option<String> {
        self.renewing.abort();
        let place = &self.place;
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let given = async {
            match write(place, Some(&latest), None).await {
                // It was renewed at this very moment, or taken.
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                given => return given.map(Some),
            }
            let live = place.cluster.get(&place.kind, &place.key).await?;
            let ours = live.as_ref().is_some_and(|live| text(live, "/spec/holderIdentity") == place.holder);
            if ours { write(place, live.as_ref(), None).await.map(Some) } else { Ok(None) }
        };
        match tokio::time::timeout(RENEW, given).await {
            Ok(Ok(given)) => return given.as_ref().and_then(version_of),
            Ok(Err(error)) => tracing::warn!(lease = %place.key, %error, "not given back; it runs out"),
            Err(_) => tracing::warn!(lease = %place.key, "not given back in time; it runs out"),
        }
        None
    }
}
