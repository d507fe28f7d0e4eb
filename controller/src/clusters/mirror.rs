//! Applications that go to another cluster are there as well. In: an
//! Application of this cluster, the hub. Out: its mirror there, which that
//! cluster's own webhook holds to the same Git, and judges by that cluster's
//! own Projects; here, what that webhook says of it. Only the hub syncs it.
//!
//! A mirror bears the hub's name and the uid of its kube-system. It goes when
//! its Application does ([`super::leaving`]); one that a hub of the same name made which is gone
//! waits for the new one to declare it again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use gitops_api::{Application, ApplicationSpec, Project};
use gitops_cluster::{ApplyOptions, ClusterError, ErrorKind, Kind};
use gitops_core::desired::AppRef;
use gitops_core::names::{ANNOTATION_HUB_UID, API_VERSION, FIELD_MANAGER, GROUP, IN_CLUSTER, LABEL_HUB};
use gitops_core::object::ObjectKey;
use gitops_engine::trust::trust;
use gitops_engine::{EngineError, Loaded};
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::reflector::Store;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::leaving::{self, release};
use super::member::{Member, Surroundings};
use super::{name_of, secrets};
use crate::controller::Controller;
use crate::error::Error;

/// Somebody else writes mirrors, too: the far webhook their status.
pub(super) const TRIES: usize = 3;
/// How often it is looked for mirrors that nobody declares.
const SWEEP: Duration = Duration::from_secs(2);

/// What there is of an Application in another cluster, beside its objects.
#[derive(Debug)]
pub struct Far {
    /// As that cluster holds it: under its own Project.
    pub loaded: Loaded,
    pub project: Project,
    /// As that cluster's webhook has last spoken of it.
    pub mirror: Application,
}

fn apart(member: &Member, reason: &'static str, message: String) -> Error {
    Error::Destination { cluster: member.name.clone(), reason, message }
}

pub(super) fn key(application: &AppRef) -> ObjectKey {
    ObjectKey {
        group: GROUP.into(),
        kind: "Application".into(),
        namespace: application.namespace.clone(),
        name: application.name.clone(),
    }
}

impl Far {
    /// Brings an Application's mirror to the cluster it goes to, if that cluster
    /// knows Applications, and that cluster's Project takes it. Its namespace is
    /// made where it is not there.
    ///
    /// # Errors
    /// When the Project does not take it, or it cannot be written.
    pub async fn bring(
        controller: &Controller,
        application: &Application,
        known: &Surroundings,
        loaded: &Loaded,
        commit: &str,
    ) -> Result<Option<Self>, Error> {
        let member = &known.member;
        if member.is_here() {
            return Ok(None);
        }
        let Some(kind) = known.discovery.preferred(GROUP, "Application") else {
            home(known, &loaded.application.namespace).await?;
            return Ok(None);
        };
        let spec = spec_there(&application.spec);
        let project = project(known, &spec).await?;
        project
            .admits(&loaded.application.namespace, &spec)
            .map_err(|refusal| apart(member, "NotAdmitted", refusal.to_string()))?;
        let loaded = Loaded { project: Some(project.spec.clone()), ..loaded.clone() };
        trust(&loaded, &known.environment, commit).await?;
        // Nothing is made there for what that cluster does not take.
        home(known, &loaded.application.namespace).await?;
        if member.registered.as_ref().is_some_and(|registered| registered.mirrors_secrets) {
            let (clusters, hub) = ((&controller.cluster, known.cluster()), &controller.settings.hub);
            secrets::bring(clusters, application, &loaded.application.namespace, hub).await.map_err(
                |error| apart(member, "NotMirrored", format!("its Secrets cannot be brought there: {error}")),
            )?;
        }
        let uid = controller.clusters.uid().unwrap_or_default();
        let wanted = mirror(&loaded.application, &spec, &controller.settings.hub, uid);
        let live = write(member, kind, &key(&loaded.application), &wanted).await.inspect_err(|error| {
            if let Error::Destination { reason: "NotMirrored", message, .. } = error {
                controller.events.warn(application, "NotMirrored", message);
            }
        })?;
        let mirror = serde_json::from_value(live).map_err(|error| {
            apart(
                member,
                "Failed",
                format!("its mirror cannot be read, upgrade what is installed there: {error}"),
            )
        })?;
        Ok(Some(Self { loaded, project, mirror }))
    }
}

/// What an Application says in the cluster that it goes to.
fn spec_there(spec: &ApplicationSpec) -> ApplicationSpec {
    let mut spec = spec.clone();
    spec.destination.cluster = IN_CLUSTER.into();
    // It waits for others here.
    spec.depends_on.clear();
    spec
}

fn mirror(application: &AppRef, spec: &ApplicationSpec, hub: &str, uid: &str) -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": "Application",
        "metadata": {"name": application.name, "namespace": application.namespace,
            "labels": {LABEL_HUB: hub}, "annotations": {ANNOTATION_HUB_UID: uid}},
        "spec": spec,
    })
}

/// The namespace of the Application: its mirror and the Lease of its syncs are
/// in it.
async fn home(known: &Surroundings, namespace: &str) -> Result<(), Error> {
    let limited = known.member.registered.as_ref().filter(|registered| !registered.takes(namespace));
    if let Some(registered) = limited {
        let message = format!(
            "nothing is written into namespace {namespace} there, in which the Application has its mirror and \
             its syncs' Lease: Secret {} is for the namespaces {}; add it to data.namespaces",
            registered.secret,
            registered.namespaces.join(", ")
        );
        return Err(apart(&known.member, "NotAdmitted", message));
    }
    let failed = |error: ClusterError| {
        let message = format!("namespace {namespace} is not there and cannot be made: {error}");
        apart(&known.member, "NoNamespace", message)
    };
    let Some(kind) = known.discovery.preferred("", "Namespace") else { return Ok(()) };
    let key = ObjectKey {
        group: String::new(),
        kind: "Namespace".into(),
        namespace: String::new(),
        name: namespace.to_owned(),
    };
    if known.cluster().get(kind, &key).await.map_err(failed)?.is_some() {
        return Ok(());
    }
    if known.member.registered.as_ref().is_some_and(|registered| !registered.takes("")) {
        let message = format!(
            "namespace {namespace} is not there, and what has no namespace is not made there: make it, or set \
             data.clusterResources to true in the Secret that registers it"
        );
        return Err(apart(&known.member, "NoNamespace", message));
    }
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    match known.cluster().create(kind, &key, &object, &options()).await {
        Err(error) if error.kind() != ErrorKind::Conflict => Err(failed(error)),
        _ => Ok(()),
    }
}

pub(super) fn options() -> ApplyOptions {
    ApplyOptions { field_manager: FIELD_MANAGER, ..ApplyOptions::default() }
}

/// That cluster's own Project.
async fn project(known: &Surroundings, spec: &ApplicationSpec) -> Result<Project, Error> {
    let member = &known.member;
    let missing = || {
        let message = format!("there is no Project {:?} there, which would have to admit it", spec.project);
        apart(member, "NotAdmitted", message)
    };
    let kind = known.discovery.preferred(GROUP, "Project").ok_or_else(missing)?;
    let key = ObjectKey {
        group: GROUP.into(),
        kind: "Project".into(),
        namespace: String::new(),
        name: spec.project.clone(),
    };
    let live = known.cluster().get(kind, &key).await?.ok_or_else(missing)?;
    Ok(serde_json::from_value(live).map_err(|error| EngineError::Application {
        file: format!("Project {} of cluster {}", spec.project, member.name),
        reason: error.to_string(),
    })?)
}

pub(super) fn hub_of(live: &Value) -> Option<&str> {
    live.get("metadata")?.get("labels")?.get(LABEL_HUB)?.as_str()
}

fn mark<'a>(object: &'a Value, field: &str, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get(field)?.get(key)?.as_str()
}

pub(super) fn uid_of(object: &Value) -> &str {
    mark(object, "annotations", ANNOTATION_HUB_UID).unwrap_or_default()
}

/// The uid of the hub that a mirror is of, if that is another one.
fn others<'a>(live: &'a Value, wanted: &Value) -> Option<&'a str> {
    Some(uid_of(live)).filter(|uid| !uid.is_empty() && *uid != uid_of(wanted))
}

/// What is said of a mirror that goes and that others hold.
fn held_up(key: &ObjectKey, live: &Value) -> String {
    let finalizers = leaving::finalizers(live);
    let names: Vec<&str> = finalizers.iter().filter_map(Value::as_str).collect();
    format!(
        "Application {}/{} there is being deleted and waits for {}; a new one is made when it is gone",
        key.namespace,
        key.name,
        names.join(", ")
    )
}

/// What is said to the later one of two hubs of one name.
fn rival(key: &ObjectKey, live: &Value) -> String {
    format!(
        "another hub that is called {}, too, keeps Application {}/{} there (uid {}): give one of them another \
         name (controller.clusters.hub)",
        hub_of(live).unwrap_or_default(),
        key.namespace,
        key.name,
        uid_of(live)
    )
}

/// Whether a mirror is as it should be.
fn says(live: &Value, wanted: &Value) -> bool {
    let spec = |object: &Value| serde_json::from_value::<ApplicationSpec>(object["spec"].clone()).ok();
    spec(live).is_some() && spec(live) == spec(wanted) && uid_of(live) == uid_of(wanted)
}

async fn write(member: &Member, kind: &Kind, key: &ObjectKey, wanted: &Value) -> Result<Value, Error> {
    let cluster = &member.cluster;
    for attempt in 1.. {
        let mut from = None;
        let written = match cluster.get(kind, key).await? {
            None => cluster.create(kind, key, wanted, &options()).await,
            Some(live) if hub_of(&live) != hub_of(wanted) => {
                let whose = hub_of(&live).map_or("its own".to_owned(), |hub| format!("hub {hub}'s"));
                let message = format!("Application {}/{} there is {whose}", key.namespace, key.name);
                return Err(apart(member, "NotMirrored", message));
            }
            Some(live) if others(&live, wanted).is_some_and(|theirs| member.is_rivals(key, theirs)) => {
                return Err(apart(member, "NotMirrored", rival(key, &live)));
            }
            // It is declared again, before the one of before was gone: by this hub, or
            // by the one that it was rebuilt from.
            Some(live) if leaving::is_leaving(&live) => {
                let theirs = others(&live, wanted).map(str::to_owned);
                leaving::let_go(cluster, kind, key, live).await?;
                theirs.iter().for_each(|theirs| member.take_over(key, theirs));
                continue;
            }
            // Nothing brings it back: a new one comes when it is gone.
            Some(live) if leaving::is_going(&live) => {
                return Err(apart(member, "NotMirrored", held_up(key, &live)));
            }
            Some(live) if says(&live, wanted) => return Ok(live),
            Some(mut live) => {
                from = others(&live, wanted).map(str::to_owned);
                live["spec"] = wanted["spec"].clone();
                live["metadata"]["annotations"][ANNOTATION_HUB_UID] =
                    wanted["metadata"]["annotations"][ANNOTATION_HUB_UID].clone();
                cluster.replace(kind, key, &live, &options()).await
            }
        };
        match written {
            Ok(_) => {
                from.iter().for_each(|theirs| member.take_over(key, theirs));
                tracing::info!(application = %key, cluster = member.name, "mirrored");
            }
            Err(error) if error.kind() == ErrorKind::Conflict && attempt < TRIES => continue,
            Err(error) => {
                let message = format!("it cannot be mirrored there: {error}");
                return Err(match error.kind() {
                    ErrorKind::Unreachable | ErrorKind::Timeout => error.into(),
                    _ => apart(member, "NotMirrored", message),
                });
            }
        }
        return Ok(written?);
    }
    Err(apart(member, "NotMirrored", "somebody else writes its mirror all the time".into()))
}

/// Watches the mirrors in a cluster: one that is changed or gone is put right,
/// what its webhook says is passed on, and one that nobody declares any more
/// goes.
pub async fn follow(controller: Arc<Controller>, member: Arc<Member>) {
    let resource = ApiResource::erase::<Application>(&());
    let api: Api<DynamicObject> = match &controller.settings.application_namespace {
        Some(namespace) => Api::namespaced_with(member.cluster.client(), namespace, &resource),
        None => Api::all_with(member.cluster.client(), &resource),
    };
    let config = watcher::Config::default().labels(&format!("{LABEL_HUB}={}", controller.settings.hub));
    let writer = reflector::store::Writer::<DynamicObject>::new(resource);
    let store = writer.as_reader();
    let mut changes =
        std::pin::pin!(watcher(api, config).default_backoff().reflect(writer).touched_objects());
    let mut tick = tokio::time::interval(SWEEP);
    let mut seen = HashMap::new();
    loop {
        tokio::select! {
            change = changes.next() => match change {
                Some(Ok(_)) => wake(&controller, &store, &mut seen),
                Some(Err(error)) => tracing::debug!(cluster = member.name, %error, "watching mirrors"),
                None => return,
            },
            _ = tick.tick() => sweep(&controller, &member, &store).await,
        }
    }
}

fn name(mirror: &DynamicObject) -> AppRef {
    AppRef { namespace: mirror.namespace().unwrap_or_default(), name: mirror.name_any() }
}

/// Applications whose mirrors have changed are due.
fn wake(controller: &Controller, store: &Store<DynamicObject>, seen: &mut HashMap<AppRef, String>) {
    let now: HashMap<AppRef, String> = store.state().iter().map(|one| (name(one), digest(one))).collect();
    for changed in seen.keys().chain(now.keys()).filter(|name| seen.get(name) != now.get(name)) {
        if seen.contains_key(changed) {
            controller.queue.push(changed);
        }
    }
    *seen = now;
}

/// What of a mirror matters here.
fn digest(mirror: &DynamicObject) -> String {
    let conditions = mirror.data.pointer("/status/conditions").and_then(Value::as_array);
    let said: Vec<String> = conditions
        .into_iter()
        .flatten()
        .filter(|known| known["type"] == "Rendered" || known["type"] == "Enforced")
        .map(|known| {
            format!("{}={}:{}:{}", known["type"], known["status"], known["reason"], known["message"])
        })
        .collect();
    let metadata = &mirror.metadata;
    format!("{:?} {:?} {:?} {said:?}", metadata.uid, metadata.generation, metadata.annotations)
}

/// Takes away what this hub has mirrored and does not declare any more. What is
/// watched may lag behind, so the API server is asked.
async fn sweep(controller: &Arc<Controller>, member: &Arc<Member>, store: &Store<DynamicObject>) {
    let Some(uid) = controller.clusters.uid().filter(|_| controller.stores.get().is_some()) else { return };
    for mirror in store.state() {
        let name = name(&mirror);
        let is_declared = |application: &Application| name_of(application) == member.name;
        let is_own = mirror.annotations().get(ANNOTATION_HUB_UID).is_some_and(|known| known == uid);
        if !is_own || controller.application(&name).is_some_and(|application| is_declared(&application)) {
            continue;
        }
        let api: Api<Application> = Api::namespaced(controller.cluster.client(), &name.namespace);
        match api.get_opt(&name.name).await {
            Ok(found) if !found.as_ref().is_some_and(is_declared) => {}
            Ok(_) => continue,
            Err(error) => {
                tracing::warn!(application = %name, %error, "whether it is still declared is not known");
                return;
            }
        }
        let known = match member.surroundings(&controller.settings.cache_dir, false).await {
            Ok(known) => known,
            Err(error) => {
                tracing::debug!(cluster = member.name, %error, "its mirrors stay for now");
                return;
            }
        };
        match release(controller, &known, &name).await {
            Ok(()) => tracing::info!(application = %name, cluster = member.name, "it is no longer mirrored"),
            Err(error) => {
                tracing::warn!(application = %name, cluster = member.name, %error, "its mirror stays for now");
            }
        }
    }
}

/// Whether another cluster's hub syncs an Application.
pub fn is_mirror(application: &Application) -> bool {
    application.labels().contains_key(LABEL_HUB)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_says_the_same_but_for_where() {
        let spec: ApplicationSpec =
            serde_json::from_value(json!({"source": {"repo": "https://git.example/x"},
            "destination": {"cluster": "east", "namespace": "shop"}, "dependsOn": [{"name": "db"}]}))
            .unwrap();
        let application = AppRef { namespace: "team".into(), name: "web".into() };
        let wanted = mirror(&application, &spec_there(&spec), "hub", "u1");
        assert_eq!(
            wanted["spec"]["destination"],
            json!({"cluster": "in-cluster", "namespace": "shop", "createNamespace": false})
        );
        assert_eq!(wanted["spec"].get("dependsOn"), None);
        assert_eq!(hub_of(&wanted), Some("hub"));
        let mut live = wanted.clone();
        live["metadata"]["resourceVersion"] = json!("7");
        live["status"] = json!({"sync": "Synced"});
        assert!(says(&live, &wanted));
        live["spec"]["ignore"] = json!([{"kind": "Service"}]);
        assert!(!says(&live, &wanted), "changed by hand");
        let other = mirror(&application, &spec_there(&spec), "hub", "u2");
        assert!(!says(&wanted, &other), "of a hub that is gone");
    }
}
