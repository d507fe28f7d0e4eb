//! What changes in the cluster. In: watches of Applications and Projects. Out:
//! the queue, with every Application that a change concerns.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use gitops_api::Application;
use gitops_core::desired::AppRef;
use gitops_core::names::ANNOTATION_REQUEST;
use gitops_engine::follow::{Stores, follow, reference};
use kube::ResourceExt;

use crate::clusters::name_of;
use crate::controller::Controller;

/// What of an Application concerns itself, and what those who depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    own: String,
    others: String,
}

fn seen(application: &Application) -> Seen {
    let request = application.annotations().get(ANNOTATION_REQUEST);
    let metadata = &application.metadata;
    let (sync, health) = application
        .status
        .as_ref()
        .map(|status| (status.sync.clone(), status.health.clone()))
        .unwrap_or_default();
    Seen {
        own: format!(
            "{:?} {:?} {request:?} {:?} {:?}",
            metadata.uid, metadata.generation, metadata.deletion_timestamp, metadata.finalizers
        ),
        others: format!("{sync:?} {health:?}"),
    }
}

/// Watches until the program ends.
pub async fn run(controller: Arc<Controller>) {
    let namespace = controller.settings.application_namespace.as_deref();
    let (stores, changes) = follow(controller.cluster.client(), namespace);
    let mut changes = std::pin::pin!(changes.ready_chunks(1000));
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
        for error in events.into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "watching Applications and Projects");
        }
        if controller.stores.get().is_none() {
            if !stores.are_known().await {
                continue;
            }
            let _ = controller.stores.set(stores.clone());
        }
        known.compare(&controller, &stores);
    }
}

/// What was there at the last change.
#[derive(Debug, Default)]
struct Known {
    applications: HashMap<AppRef, Seen>,
    projects: HashMap<String, (Option<String>, Option<i64>)>,
}

impl Known {
    fn compare(&mut self, controller: &Controller, stores: &Stores) {
        let mut projects = HashMap::new();
        for project in stores.projects.state() {
            projects.insert(project.name_any(), (project.uid(), project.metadata.generation));
        }
        let all = stores.applications.state();
        let mut there = HashMap::new();
        for application in &all {
            let (name, now) = (reference(application), seen(application));
            let before = self.applications.get(&name);
            controller.queue.assign(&name, name_of(application));
            let project = &application.spec.project;
            if before.is_none_or(|before| before.own != now.own)
                || projects.get(project) != self.projects.get(project)
            {
                controller.queue.push(&name, Duration::ZERO);
            }
            if before.is_none_or(|before| before.others != now.others) {
                depending(&all, &name).for_each(|other| controller.queue.push(&other, Duration::ZERO));
            }
            there.insert(name, now);
        }
        // A last look says what becomes of what one that is gone has left.
        self.applications
            .keys()
            .filter(|name| !there.contains_key(*name))
            .for_each(|name| controller.forget(name));
        (self.applications, self.projects) = (there, projects);
    }
}

/// Applications that wait for another one.
fn depending<'a>(all: &'a [Arc<Application>], on: &'a AppRef) -> impl Iterator<Item = AppRef> + 'a {
    all.iter()
        .filter(|other| {
            other.namespace().as_deref() == Some(&on.namespace)
                && other.spec.depends_on.iter().any(|name| name.name == on.name)
        })
        .map(|other| reference(other))
}
