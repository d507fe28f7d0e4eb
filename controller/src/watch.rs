//! What changes in the cluster. In: watches of Applications and Projects. Out:
//! the queue, with every Application that a change concerns. A change costs as
//! much as it concerns, however many Applications there are.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use gitops_api::Application;
use gitops_core::desired::AppRef;
use gitops_core::names::ANNOTATION_REQUEST;
use gitops_engine::follow::{Changed, Stores, follow, reference};
use kube::ResourceExt;

use crate::clusters::name_of;
use crate::controller::Controller;

/// Changes that come together are taken together.
const TOGETHER: usize = 1000;

/// What of an Application concerns itself, and what those who depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    own: String,
    others: String,
    on: BTreeSet<AppRef>,
}

fn seen(application: &Application) -> Seen {
    let request = application.annotations().get(ANNOTATION_REQUEST);
    let metadata = &application.metadata;
    let (sync, health) = application
        .status
        .as_ref()
        .map(|status| (status.sync.clone(), status.health.clone()))
        .unwrap_or_default();
    let namespace = application.namespace().unwrap_or_default();
    let on = application.spec.depends_on.iter();
    Seen {
        own: format!(
            "{:?} {:?} {request:?} {:?} {:?}",
            metadata.uid, metadata.generation, metadata.deletion_timestamp, metadata.finalizers
        ),
        others: format!("{sync:?} {health:?}"),
        on: on.map(|on| AppRef { namespace: namespace.clone(), name: on.name.clone() }).collect(),
    }
}

/// Watches until the program ends.
pub async fn run(controller: Arc<Controller>) {
    let namespace = controller.settings.application_namespace.as_deref();
    let (stores, changes) = follow(controller.cluster.client(), namespace);
    let mut changes = std::pin::pin!(changes.ready_chunks(TOGETHER));
    // A watch that finds nothing says nothing.
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let mut known = Known::default();
    loop {
        let events = tokio::select! {
            events = changes.next() => match events {
                Some(events) => events,
                None => return,
            },
            _ = tick.tick(), if controller.stores.get().is_none() => Vec::new(),
        };
        let mut changed = Vec::new();
        for event in events {
            match event {
                Ok(event) => changed.push(event),
                Err(error) => tracing::warn!(%error, "watching Applications and Projects"),
            }
        }
        if controller.stores.get().is_none() {
            if !stores.are_known().await {
                continue;
            }
            let _ = controller.stores.set(stores.clone());
            changed = vec![Changed::Anything];
        }
        known.take(&controller, &stores, changed);
    }
}

/// What was there at the last change.
#[derive(Debug, Default)]
struct Known {
    applications: HashMap<AppRef, Seen>,
    /// By the Application that others depend on.
    depending: HashMap<AppRef, BTreeSet<AppRef>>,
    projects: HashMap<String, (Option<String>, Option<i64>)>,
}

impl Known {
    fn take(&mut self, controller: &Controller, stores: &Stores, changed: Vec<Changed>) {
        if changed.contains(&Changed::Anything) {
            return self.compare(controller, stores);
        }
        let (mut applications, mut has_project) = (BTreeSet::new(), false);
        for one in changed {
            match one {
                Changed::Application(name) => {
                    applications.insert(name);
                }
                Changed::Project | Changed::Anything => has_project = true,
            }
        }
        if has_project {
            self.ask_projects(controller, stores);
        }
        for name in applications {
            let now = stores.application(&name);
            self.note(controller, name, now.as_deref());
        }
    }

    /// Compares everything.
    fn compare(&mut self, controller: &Controller, stores: &Stores) {
        let mut all = stores.applications.state();
        let there: BTreeSet<AppRef> = all.iter().map(|application| reference(application)).collect();
        let gone: Vec<AppRef> =
            self.applications.keys().filter(|name| !there.contains(*name)).cloned().collect();
        gone.into_iter().for_each(|name| self.note(controller, name, None));
        // Those of one namespace are looked at one after the other and share what is
        // listed there; whoever is due already keeps its place.
        all.sort_by_cached_key(|application| {
            let to = &application.spec.destination;
            (to.cluster.clone(), to.namespace.clone(), reference(application))
        });
        for application in all {
            self.note(controller, reference(&application), Some(&application));
        }
        self.ask_projects(controller, stores);
    }

    /// Applications of a Project that is another one than before are due.
    fn ask_projects(&mut self, controller: &Controller, stores: &Stores) {
        let mut projects = HashMap::new();
        for project in stores.projects.state() {
            projects.insert(project.name_any(), (project.uid(), project.metadata.generation));
        }
        let changed: BTreeSet<&String> = (self.projects.keys().chain(projects.keys()))
            .filter(|name| self.projects.get(*name) != projects.get(*name))
            .collect();
        if !changed.is_empty() {
            let all = stores.applications.state();
            let concerned = all.iter().filter(|application| changed.contains(&application.spec.project));
            concerned.for_each(|application| controller.queue.push(&reference(application)));
        }
        self.projects = projects;
    }

    /// An Application as it is now; none: it is gone.
    fn note(&mut self, controller: &Controller, name: AppRef, now: Option<&Application>) {
        let Some(application) = now else {
            if let Some(before) = self.applications.remove(&name) {
                self.depends(&name, &before.on, &BTreeSet::new());
                controller.forget(&name);
            }
            return;
        };
        let now = seen(application);
        controller.queue.assign(&name, name_of(application));
        let before = self.applications.insert(name.clone(), now.clone());
        if before.as_ref().is_none_or(|before| before.own != now.own) {
            controller.queue.push(&name);
        }
        if before.as_ref().is_none_or(|before| before.others != now.others) {
            let depending = self.depending.get(&name).into_iter().flatten();
            depending.for_each(|other| controller.queue.push(other));
        }
        let none = BTreeSet::new();
        self.depends(&name, before.as_ref().map_or(&none, |before| &before.on), &now.on);
    }

    /// An Application depends on others than before.
    fn depends(&mut self, name: &AppRef, before: &BTreeSet<AppRef>, now: &BTreeSet<AppRef>) {
        for on in before.difference(now) {
            if let Some(depending) = self.depending.get_mut(on) {
                depending.remove(name);
                if depending.is_empty() {
                    self.depending.remove(on);
                }
            }
        }
        for on in now.difference(before) {
            self.depending.entry(on.clone()).or_default().insert(name.clone());
        }
    }
}
