//! Drift as it arises. In: the kinds that Git tracks. Out: a watch of their
//! metadata each, for objects with our label alone, and their Applications
//! due a moment after a change. A kind that may not be watched everywhere, such
//! as Secrets, is watched in each namespace where Git declares some.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use gitops_core::desired::AppRef;
use gitops_core::names::{ANNOTATION_OWNER, LABEL_APPLICATION};
use gitops_core::object::Gvk;
use gitops_engine::Survey;
use kube::api::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use tokio::task::JoinHandle;

use crate::clusters::{Member, Surroundings};
use crate::controller::Controller;

/// What changes together is looked at together.
const DEBOUNCE: Duration = Duration::from_millis(300);
/// Between two looks that changes bring about.
const SPACING: Duration = Duration::from_secs(2);

/// Before a watch that was refused is tried again.
const REFUSED: Duration = Duration::from_secs(600);

/// A kind and a namespace; empty: everywhere.
type Place = (Gvk, String);

/// The watches.
#[derive(Debug, Default)]
pub struct Drift(Mutex<Watches>);

#[derive(Debug, Default)]
struct Watches {
    running: HashMap<Arc<Place>, JoinHandle<()>>,
    needs: Needs,
    /// Kinds that may not be watched everywhere, but perhaps where Git declares
    /// some.
    narrow: BTreeSet<Gvk>,
}

/// What each Application needs to be watched.
#[derive(Debug, Default)]
struct Needs(HashMap<AppRef, BTreeSet<Arc<Place>>>);

impl Needs {
    /// Notes what an Application needs; out: what nobody needs any more.
    fn note(&mut self, name: &AppRef, places: BTreeSet<Arc<Place>>) -> Vec<Arc<Place>> {
        let before = if places.is_empty() {
            self.0.remove(name)
        } else if self.0.get(name) == Some(&places) {
            return Vec::new();
        } else {
            self.0.insert(name.clone(), places)
        };
        let is_needed = |place: &Arc<Place>| self.0.values().any(|places| places.contains(place));
        before.into_iter().flatten().filter(|place| !is_needed(place)).collect()
    }
}

impl Watches {
    fn note(&mut self, name: &AppRef, places: BTreeSet<Arc<Place>>) {
        for place in self.needs.note(name, places) {
            if let Some(task) = self.running.remove(&place) {
                task.abort();
            }
        }
    }
}

impl Drift {
    fn watches(&self) -> MutexGuard<'_, Watches> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches in a cluster what Git declares of an Application, and what is left of
    /// what it declared; and no longer what nobody has.
    pub fn track(controller: &Arc<Controller>, known: &Surroundings, name: &AppRef, survey: &Survey) {
        let declared = survey.desired.objects.iter().map(|(key, object)| (&object.gvk, key));
        let planned = survey.plan.steps.iter().map(|step| (&step.gvk, &step.key));
        let mut kinds: BTreeMap<&Gvk, BTreeSet<&str>> = BTreeMap::new();
        for (gvk, key) in declared.chain(planned) {
            kinds.entry(gvk).or_default().insert(&key.namespace);
        }
        let member = &known.member;
        let mut watches = member.drift.watches();
        watches.running.retain(|_, task| !task.is_finished());
        let mut places = BTreeSet::new();
        for (gvk, namespaces) in kinds {
            let Some(kind) =
                known.discovery.kind(gvk).filter(|kind| kind.verbs.iter().any(|verb| verb == "watch"))
            else {
                continue;
            };
            let is_narrow = watches.narrow.contains(gvk);
            for namespace in if is_narrow { namespaces } else { BTreeSet::from([""]) } {
                let place = (gvk.clone(), namespace.to_owned());
                if let Some((place, _)) = watches.running.get_key_value(&place) {
                    places.insert(place.clone());
                    continue;
                }
                let place = Arc::new(place);
                let watch = Watch { place: place.clone(), plural: kind.plural.clone() };
                let task = tokio::spawn(watch.follow(controller.clone(), member.clone()));
                watches.running.insert(place.clone(), task);
                places.insert(place);
            }
        }
        watches.note(name, places);
        drop(watches);
        controller.clusters.unwatch(name, Some(member));
    }

    /// An Application has nothing here any more.
    pub fn forget(&self, name: &AppRef) {
        self.watches().note(name, BTreeSet::new());
    }

    /// Nothing is watched any more.
    pub fn end(&self) {
        let mut watches = self.watches();
        watches.needs = Needs::default();
        watches.running.drain().for_each(|(_, task)| task.abort());
    }

    /// Says that a kind may not be watched everywhere; whether that is news.
    fn narrows(&self, gvk: &Gvk) -> bool {
        self.watches().narrow.insert(gvk.clone())
    }
}

/// The watch of a kind in a namespace, or everywhere.
struct Watch {
    place: Arc<Place>,
    plural: String,
}

impl Watch {
    fn api(&self, client: kube::Client) -> Api<PartialObjectMeta<DynamicObject>> {
        let (gvk, namespace) = &*self.place;
        let resource = ApiResource {
            group: gvk.group.clone(),
            version: gvk.version.clone(),
            api_version: gvk.api_version(),
            kind: gvk.kind.clone(),
            plural: self.plural.clone(),
        };
        if namespace.is_empty() {
            Api::all_with(client, &resource)
        } else {
            Api::namespaced_with(client, namespace, &resource)
        }
    }

    async fn follow(self, controller: Arc<Controller>, member: Arc<Member>) {
        let (gvk, namespace) = &*self.place;
        let config = watcher::Config::default().labels(LABEL_APPLICATION);
        let api = self.api(member.cluster.client());
        let mut events = std::pin::pin!(watcher(api, config).default_backoff());
        // What is there at first was looked at before this watch began, but for a
        // moment; what was missed in a gap is not told.
        let mut rounds = 0;
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Apply(object) | watcher::Event::Delete(object)) => {
                    wake(&controller, &object);
                }
                Ok(watcher::Event::Init) => rounds += 1,
                Ok(watcher::Event::InitApply(object)) if rounds > 1 => wake(&controller, &object),
                Ok(watcher::Event::InitApply(_) | watcher::Event::InitDone) => {}
                Err(error) if is_final(&error) => {
                    let kind = &gvk.kind;
                    if is_forbidden(&error) && namespace.is_empty() && member.drift.narrows(gvk) {
                        tracing::info!(
                            kind,
                            "it may not be watched everywhere, so only where Git declares it"
                        );
                        controller.look_at_cluster(&member.name, false);
                        return;
                    }
                    tracing::warn!(kind, namespace, %error, "drift is found by looking again only");
                    tokio::time::sleep(REFUSED).await;
                    return;
                }
                Err(error) => tracing::debug!(kind = gvk.kind, %error, "watching"),
            }
        }
    }
}

/// Whether watching will not help: it is not allowed, or the kind is gone.
fn is_final(error: &watcher::Error) -> bool {
    code(error).is_some_and(|code| matches!(code, 403..=405))
}

fn is_forbidden(error: &watcher::Error) -> bool {
    code(error) == Some(403)
}

fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => Some(status.code),
        watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

fn wake(controller: &Controller, object: &PartialObjectMeta<DynamicObject>) {
    let owner = object.annotations().get(ANNOTATION_OWNER).and_then(|owner| owner.split_once('/'));
    let Some((namespace, name)) = owner else { return };
    let name = AppRef { namespace: namespace.into(), name: name.into() };
    let (debounce, spacing) =
        if controller.rolls(&name) { (DEBOUNCE / 3, DEBOUNCE) } else { (DEBOUNCE, SPACING) };
    let rest = controller.looked(&name).map(|at| spacing.saturating_sub(at.elapsed())).unwrap_or_default();
    controller.queue.again(&name, rest.max(debounce));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_needs_any_more_is_told() {
        let place = |kind: &str| Arc::new((Gvk::new("v1", kind), String::new()));
        let name = |name: &str| AppRef { namespace: "shop".into(), name: name.into() };
        let (maps, secrets) = (place("ConfigMap"), place("Secret"));
        let mut needs = Needs::default();
        let both = || BTreeSet::from([maps.clone(), secrets.clone()]);
        assert_eq!(needs.note(&name("a"), both()), []);
        assert_eq!(needs.note(&name("a"), both()), []);
        assert_eq!(needs.note(&name("b"), BTreeSet::from([maps.clone()])), []);
        assert_eq!(needs.note(&name("a"), BTreeSet::from([maps.clone()])), [secrets]);
        assert_eq!(needs.note(&name("a"), BTreeSet::new()), []);
        assert_eq!(needs.note(&name("b"), BTreeSet::new()), [maps]);
        assert!(needs.0.is_empty());
    }
}
