//! One sync of an Application at a time. In: an Application and who asks. Out:
//! a Lease (coordination.k8s.io) that is renewed while it is held, or who
//! holds it. With it goes what is remembered of the Application.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gitops_cluster::{ApplyOptions, Cluster, ClusterError, ErrorKind, Kind};
use gitops_core::desired::AppRef;
use gitops_core::names::{ANNOTATION_PLACES, FIELD_MANAGER};
use gitops_core::object::{Gvk, ObjectKey};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::hold::Hold;
use crate::memory::{Memory, Places};

/// How long a Lease lives that is not renewed.
const DURATION: Duration = Duration::from_secs(15);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(5);
/// For how long it is tried to renew one that has run out.
const DOUBT: Duration = Duration::from_secs(60);

/// What a claim came to.
#[derive(Debug)]
pub enum Claim {
    Held(Box<Lease>),
    /// Someone else syncs.
    Taken {
        holder: String,
    },
    /// Who asks may not use it, or there can be none; two syncs are not kept apart.
    Unusable(ClusterError),
    /// Whether somebody holds it is not known.
    Failed(ClusterError),
}

/// A held Lease.
#[derive(Debug)]
pub struct Lease {
    place: Place,
    renewing: JoinHandle<()>,
    written: Written,
    /// `metadata.resourceVersion` before it was taken; none: it was not there.
    pub before: Option<String>,
}

/// A Lease as it was written last.
#[derive(Clone, Debug, Default)]
struct Written(Arc<Mutex<Value>>);

impl Written {
    fn held(&self) -> MutexGuard<'_, Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What whoever claims knows of the Lease: where it is right, the Lease need not
/// be read.
#[derive(Clone, Debug, Default)]
pub enum Last {
    #[default]
    Unknown,
    /// Nobody has ever synced, as far as is known.
    Never,
    /// It was given back so.
    GivenBack(GivenBack),
}

impl Last {
    /// Its `metadata.resourceVersion`: when it is another one at the claim, someone
    /// has synced meanwhile.
    pub fn version(&self) -> Option<String> {
        match self {
            Self::GivenBack(known) => Some(known.version.clone()),
            Self::Unknown | Self::Never => None,
        }
    }
}

/// A Lease as it was given back, and where: what the next claim needs of it.
#[derive(Clone, Debug)]
pub struct GivenBack {
    cluster: String,
    version: String,
    transitions: i64,
    note: Option<String>,
}

impl GivenBack {
    fn of(cluster: &Cluster, lease: &Value) -> Option<Self> {
        let (version, transitions) = (version_of(lease)?, transitions(lease));
        let note = note_of(lease).map(str::to_owned);
        Some(Self { cluster: cluster.remembered_as(), version, transitions, note })
    }

    fn lease(&self) -> Value {
        json!({"metadata": {"resourceVersion": self.version, "annotations": {ANNOTATION_PLACES: self.note}},
            "spec": {"leaseTransitions": self.transitions}})
    }
}

#[derive(Clone, Debug)]
struct Place {
    cluster: Cluster,
    kind: Kind,
    key: ObjectKey,
    holder: String,
    /// What is kept with it.
    places: Places,
}

impl Place {
    /// What others have noted is kept.
    fn join(&mut self, live: Option<&Value>) {
        if let Some(noted) = live.and_then(note_of).and_then(Places::of_note) {
            self.places = std::mem::take(&mut self.places).joined(noted);
        }
    }
}

fn place(cluster: &Cluster, application: &AppRef, holder: &str) -> Place {
    let gvk = Gvk::new("coordination.k8s.io/v1", "Lease");
    let key = ObjectKey {
        group: gvk.group.clone(),
        kind: gvk.kind.clone(),
        namespace: application.namespace.clone(),
        name: format!("gitops-sync-{}", application.name),
    };
    let kind = Kind::known(gvk, "leases", true);
    Place { cluster: cluster.clone(), kind, key, holder: holder.to_owned(), places: Places::default() }
}

fn note_of(lease: &Value) -> Option<&str> {
    lease.get("metadata")?.get("annotations")?.get(ANNOTATION_PLACES)?.as_str()
}

/// What is kept with an Application's Lease.
#[derive(Debug)]
pub(crate) enum Noted {
    Places(Places),
    /// It may not be read, or holds nothing.
    Unknown,
    /// There is none: nobody has ever synced.
    Never,
}

/// What whoever synced last has noted.
///
/// # Errors
/// When the API server cannot be asked.
pub(crate) async fn noted(cluster: &Cluster, application: &AppRef) -> Result<Noted, ClusterError> {
    let place = place(cluster, application, "");
    Ok(match place.cluster.get(&place.kind, &place.key).await {
        Ok(None) => Noted::Never,
        Ok(Some(lease)) => note_of(&lease).and_then(Places::of_note).map_or(Noted::Unknown, Noted::Places),
        Err(error) if error.kind() == ErrorKind::Forbidden => Noted::Unknown,
        Err(error) => return Err(error),
    })
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

fn transitions(lease: &Value) -> i64 {
    lease.pointer("/spec/leaseTransitions").and_then(Value::as_i64).unwrap_or(0)
}

fn text(lease: &Value, pointer: &str) -> String {
    lease.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Claims an Application for one sync. One that is held is watched for as long
/// as it lives without being renewed: clocks need not agree. `places` is where its
/// objects will be; `hold` tells what becomes of it later.
pub async fn claim(
    cluster: &Cluster,
    application: &AppRef,
    holder: &str,
    last: &Last,
    places: Places,
    hold: &Hold,
) -> Claim {
    let mut place = Place { places, ..place(cluster, application, holder) };
    match take(&mut place, last).await {
        Ok(Taken::Ours { lease, before }) => {
            let written = Written(Arc::new(Mutex::new(lease)));
            let renewing = tokio::spawn(renew(place.clone(), written.clone(), hold.clone()));
            Claim::Held(Box::new(Lease { place, renewing, written, before }))
        }
        Ok(Taken::Theirs(holder)) => Claim::Taken { holder },
        // Also where its namespace is not there or is going.
        Err(error) if matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::NotFound) => {
            Claim::Unusable(error)
        }
        Err(error) => Claim::Failed(error),
    }
}

enum Taken {
    Ours { lease: Value, before: Option<String> },
    Theirs(String),
}

/// Takes it as whoever claims knows it, without reading it before; none: it is
/// another one by now.
async fn take_as_known(place: &mut Place, last: &Last) -> Result<Option<Value>, ClusterError> {
    let known = match last {
        Last::Unknown => return Ok(None),
        Last::Never => None,
        Last::GivenBack(known) if known.cluster == place.cluster.remembered_as() => Some(known.lease()),
        Last::GivenBack(_) => return Ok(None),
    };
    place.join(known.as_ref());
    match write(place, known.as_ref(), Some(&place.holder)).await {
        Ok(lease) => Ok(Some(lease)),
        Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn take(place: &mut Place, last: &Last) -> Result<Taken, ClusterError> {
    if let Some(lease) = take_as_known(place, last).await? {
        return Ok(Taken::Ours { lease, before: last.version() });
    }
    let start = Instant::now();
    loop {
        let live = match watch(place, start).await? {
            Watched::Free(live) => live,
            Watched::Theirs(holder) => return Ok(Taken::Theirs(holder)),
        };
        place.join(live.as_ref());
        match write(place, live.as_ref(), Some(&place.holder)).await {
            Ok(lease) => return Ok(Taken::Ours { lease, before: live.as_ref().and_then(version_of) }),
            // Someone was faster, or it is ours already: look again.
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) => return Err(error),
        }
        if start.elapsed() > DURATION * 3 {
            return Err(ClusterError::Timeout { what: place.key.to_string() });
        }
    }
}

enum Watched {
    /// Nobody's, or of somebody who is gone.
    Free(Option<Value>),
    Theirs(String),
}

/// Waits until it is free, or its holder has shown to live.
async fn watch(place: &Place, start: Instant) -> Result<Watched, ClusterError> {
    let mut seen: Option<(String, Instant)> = None;
    loop {
        let live = place.cluster.get(&place.kind, &place.key).await?;
        let holder = live.as_ref().map(|live| text(live, "/spec/holderIdentity")).unwrap_or_default();
        if holder.is_empty() || holder == place.holder {
            return Ok(Watched::Free(live));
        }
        let renewed = live.as_ref().map(|live| text(live, "/spec/renewTime")).unwrap_or_default();
        let first = seen.get_or_insert((renewed.clone(), Instant::now()));
        if first.0 != renewed || start.elapsed() > DURATION * 2 {
            return Ok(Watched::Theirs(holder));
        }
        if first.1.elapsed() >= DURATION {
            return Ok(Watched::Free(live));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Writes it over the one that is there, or makes it; as it is then.
async fn write(place: &Place, live: Option<&Value>, holder: Option<&str>) -> Result<Value, ClusterError> {
    let now = format!("{:.6}", jiff::Timestamp::now());
    let version = live.and_then(version_of);
    let before = live.map(|live| text(live, "/spec/holderIdentity")).unwrap_or_default();
    let transitions = live.map_or(0, transitions);
    let same = Some(before.as_str()) == holder;
    let acquired = live.map(|live| text(live, "/spec/acquireTime")).filter(|time| same && !time.is_empty());
    let mut lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": place.key.name, "namespace": place.key.namespace,
            "annotations": {ANNOTATION_PLACES: place.places.noted()}},
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

/// Renews until it is aborted, or lost. One that has run out is in doubt until it is
/// renewed: who takes it puts another holder in, and who gives it back none.
async fn renew(place: Place, written: Written, hold: Hold) {
    let mut last = Instant::now();
    loop {
        tokio::time::sleep(RENEW).await;
        let renewed = async {
            let live = place.cluster.get(&place.kind, &place.key).await?;
            let ours = live.as_ref().is_some_and(|live| text(live, "/spec/holderIdentity") == place.holder);
            if ours {
                let lease = write(&place, live.as_ref(), Some(&place.holder)).await?;
                *written.held() = lease;
            }
            Ok::<bool, ClusterError>(ours)
        };
        match tokio::time::timeout(RENEW, renewed).await {
            Ok(Ok(true)) => {
                last = Instant::now();
                hold.keep();
            }
            Ok(Ok(false)) => return hold.lose(),
            Ok(Err(_)) | Err(_) if last.elapsed() < DURATION => {}
            Ok(Err(_)) | Err(_) if last.elapsed() < DURATION + DOUBT => hold.doubt(),
            Ok(Err(_)) | Err(_) => return hold.lose(),
        }
    }
}

/// One that is not given back runs out.
impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

impl Lease {
    /// Gives it back, with what is remembered by then; as it is then. Of what was not
    /// `done` all is kept that was noted before. One that cannot be given back runs out.
    pub async fn release(mut self, memory: &Memory, done: bool) -> Last {
        self.renewing.abort();
        if let Some(places) = memory.known() {
            let noted = std::mem::take(&mut self.place.places);
            self.place.places = if done { places } else { places.joined(noted) };
        }
        let place = &self.place;
        let written = self.written.held().clone();
        let given = async {
            match write(place, Some(&written), None).await {
                // It was renewed meanwhile, or is another's.
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                other => return other.map(Some),
            }
            let live = place.cluster.get(&place.kind, &place.key).await?;
            match live.filter(|live| text(live, "/spec/holderIdentity") == place.holder) {
                Some(live) => write(place, Some(&live), None).await.map(Some),
                None => Ok(None),
            }
        };
        match tokio::time::timeout(RENEW, given).await {
            Ok(Ok(Some(lease))) => {
                return GivenBack::of(&place.cluster, &lease).map_or(Last::Unknown, Last::GivenBack);
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::warn!(lease = %place.key, %error, "not given back; it runs out"),
            Err(_) => tracing::warn!(lease = %place.key, "not given back in time; it runs out"),
        }
        Last::Unknown
    }
}
