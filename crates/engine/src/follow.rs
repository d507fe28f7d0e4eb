//! Applications and Projects of a cluster, followed. In: watches of both. Out:
//! what there is now, and a stream that says what of it has changed.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use gitops_api::{Application, Project};
use gitops_core::desired::AppRef;
use kube::runtime::reflector::Store;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, ResourceExt};

/// What the API server has, as it is watched.
#[derive(Clone, Debug)]
pub struct Stores {
    pub applications: Store<Application>,
    pub projects: Store<Project>,
}

/// What may be another one than before, or gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    Application(AppRef),
    /// Whichever it is, all are looked at.
    Project,
    /// A watch has begun anew: anything may have changed meanwhile.
    Anything,
}

impl Changed {
    /// Of what a watch tells once the store has taken it in.
    fn of<K>(event: watcher::Event<K>, named: impl Fn(&K) -> Self) -> Option<Self> {
        match event {
            watcher::Event::Apply(object) | watcher::Event::Delete(object) => Some(named(&object)),
            watcher::Event::InitDone => Some(Self::Anything),
            watcher::Event::Init | watcher::Event::InitApply(_) => None,
        }
    }
}

/// Follows Projects, and the Applications of one namespace or of all. Nothing
/// happens unless the stream is read.
pub fn follow(
    client: Client,
    namespace: Option<&str>,
) -> (Stores, impl Stream<Item = Result<Changed, watcher::Error>>) {
    let (applications, application_writer) = reflector::store();
    let (projects, project_writer) = reflector::store();
    let all: Api<Application> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let application_stream = watcher(all, watcher::Config::default())
        .default_backoff()
        .modify(|application| application.managed_fields_mut().clear())
        .reflect(application_writer)
        .map(|event| {
            event.map(|event| Changed::of(event, |known| Changed::Application(reference(known)))).transpose()
        })
        .filter_map(ready);
    let project_stream = watcher(Api::<Project>::all(client), watcher::Config::default())
        .default_backoff()
        .reflect(project_writer)
        .map(|event| event.map(|event| Changed::of(event, |_| Changed::Project)).transpose())
        .filter_map(ready);
    let changes = futures::stream::select(application_stream, project_stream);
    (Stores { applications, projects }, changes)
}

impl Stores {
    /// Whether everything that was there at first is known.
    pub async fn are_known(&self) -> bool {
        let ready = async {
            self.applications.wait_until_ready().await.is_ok()
                && self.projects.wait_until_ready().await.is_ok()
        };
        tokio::time::timeout(Duration::from_millis(10), ready).await == Ok(true)
    }

    /// An Application, if it is there.
    pub fn application(&self, name: &AppRef) -> Option<Arc<Application>> {
        self.applications.get(&reflector::ObjectRef::new(&name.name).within(&name.namespace))
    }

    /// An Application's Project, if it is there.
    pub fn project(&self, application: &Application) -> Option<Arc<Project>> {
        self.projects.get(&reflector::ObjectRef::new(&application.spec.project))
    }
}

/// An Application's name.
pub fn reference(application: &Application) -> AppRef {
    AppRef { namespace: application.namespace().unwrap_or_default(), name: application.name_any() }
}
