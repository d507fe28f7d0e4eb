//! Drift as it arises. In: the kinds that Git tracks. Out: a watch of their
//! metadata each, for objects with our label alone, and their Applications
//! due a moment after a change.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use gitops_cluster::Discovery;
use gitops_core::desired::AppRef;
use gitops_core::names::{ANNOTATION_OWNER, LABEL_APPLICATION};
use gitops_core::object::Gvk;
use kube::api::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use tokio::task::JoinHandle;

use crate::controller::Controller;

/// What changes together is looked at together.
const DEBOUNCE: Duration = Duration::from_millis(300);
/// Between two looks that changes bring about.
const SPACING: Duration = Duration::from_secs(2);

/// The watches, by kind.
#[derive(Debug, Default)]
pub struct Drift(Mutex<HashMap<Gvk, JoinHandle<()>>>);

impl Drift {
    /// Watches these kinds too.
    pub fn track(&self, controller: &Arc<Controller>, discovery: &Discovery, kinds: &BTreeSet<Gvk>) {
        let mut watches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watches.retain(|_, task| !task.is_finished());
        for gvk in kinds {
            let Some(kind) = discovery.kind(gvk).filter(|kind| kind.verbs.iter().any(|verb| verb == "watch"))
            else {
                continue;
            };
            if watches.contains_key(gvk) {
                continue;
            }
            let resource = ApiResource {
                group: gvk.group.clone(),
                version: gvk.version.clone(),
                api_version: gvk.api_version(),
                kind: gvk.kind.clone(),
                plural: kind.plural.clone(),
            };
            watches.insert(gvk.clone(), tokio::spawn(follow(controller.clone(), resource)));
        }
    }
}

async fn follow(controller: Arc<Controller>, resource: ApiResource) {
    let api = Api::<PartialObjectMeta<DynamicObject>>::all_with(controller.cluster.client(), &resource);
    let config = watcher::Config::default().labels(LABEL_APPLICATION);
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    // What is there at first was looked at before this watch began, but for a
    // moment; what was missed in a gap is not told.
    let mut rounds = 0;
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::Delete(object)) => wake(&controller, &object),
            Ok(watcher::Event::Init) => rounds += 1,
            Ok(watcher::Event::InitApply(object)) if rounds > 1 => wake(&controller, &object),
            Ok(watcher::Event::InitApply(_) | watcher::Event::InitDone) => {}
            Err(error) if is_final(&error) => {
                tracing::warn!(kind = resource.kind, %error, "drift of this kind is found by looking again only");
                return;
            }
            Err(error) => tracing::debug!(kind = resource.kind, %error, "watching"),
        }
    }
}

/// Whether watching will not help: it is not allowed, or the kind is gone.
fn is_final(error: &watcher::Error) -> bool {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status,
        watcher::Error::WatchError(status) => status,
        _ => return false,
    };
    matches!(status.code, 403..=405)
}

fn wake(controller: &Controller, object: &PartialObjectMeta<DynamicObject>) {
    let owner = object.annotations().get(ANNOTATION_OWNER).and_then(|owner| owner.split_once('/'));
    let Some((namespace, name)) = owner else { return };
    let name = AppRef { namespace: namespace.into(), name: name.into() };
    let rest = controller.looked(&name).map(|at| SPACING.saturating_sub(at.elapsed())).unwrap_or_default();
    controller.queue.push(&name, rest.max(DEBOUNCE));
}
