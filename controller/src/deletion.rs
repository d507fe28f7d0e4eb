//! An Application that is being deleted. With the finalizer `prune`, in: what
//! it has in the cluster. Out: that gone, the last made first, and then the
//! Application. Without it, what it has stays. It never hangs: what cannot be
//! deleted in time is left behind, and an Event says so.

use std::sync::Arc;
use std::time::Duration;

use gitops_api::Application;
use gitops_cluster::{ClusterError, DeleteOptions};
use gitops_core::names::{ANNOTATION_OWNER, FINALIZER_PRUNE, LABEL_APPLICATION};
use gitops_core::object::ObjectKey;
use gitops_core::plan::{Pruning, Step, order_of};
use gitops_engine::follow::reference;
use gitops_engine::{Survey, admit};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::carry_out::Case;
use crate::clusters;
use crate::controller::Controller;
use crate::error::Error;
use crate::sight::Sight;

/// After this, what is left is left behind.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two looks at what is going.
const INTERVAL: Duration = Duration::from_secs(2);
/// Between two tries that fail.
const FAILED: Duration = Duration::from_secs(10);
/// What is in these would go along: they are left to a person.
const CONTAINERS: [&str; 3] = ["Namespace", "CustomResourceDefinition", "PersistentVolumeClaim"];

/// Goes on deleting; none: there is nothing left to do.
pub async fn look(controller: &Arc<Controller>, application: &Application) -> Option<Duration> {
    if !application.finalizers().iter().any(|known| known == FINALIZER_PRUNE) {
        return None;
    }
    let (again, why) = match cascade(controller, application).await {
        Ok(left) if left.is_empty() => return release(controller, application).await,
        Ok(left) => (INTERVAL, format!("{} objects are still there, such as {}", left.len(), left[0])),
        Err(error) => (FAILED, error.to_string()),
    };
    tracing::info!(application = %reference(application), why, "it is being deleted");
    if !is_late(application) {
        return Some(again);
    }
    controller.events.warn(application, "Orphaned", &format!("deleted without what it had: {why}"));
    release(controller, application).await
}

fn is_late(application: &Application) -> bool {
    let since = application.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    let now = jiff::Timestamp::now();
    since.is_some_and(|since| Duration::try_from(now.duration_since(since)).is_ok_and(|age| age > PATIENCE))
}

/// Deletes what is there of the last commit that was synced, and of those
/// before; what is not gone yet.
async fn cascade(controller: &Arc<Controller>, application: &Application) -> Result<Vec<ObjectKey>, Error> {
    let project = controller.project(application);
    let loaded = admit::under_project(&controller.cluster, application, project.as_deref()).await?;
    let known = controller.surroundings(application, false).await?;
    let known = known.ok_or_else(|| Error::Git("its cluster has not answered yet".into()))?;
    let synced = application.status.as_ref().and_then(|status| status.history.first());
    let revision = match synced {
        Some(entry) => entry.revision.clone(),
        None => match controller.poller.commit(&loaded, &known.environment, None).await? {
            Some(commit) => commit.id,
            None => return Err(Error::Git("Git has not answered yet".into())),
        },
    };
    if !known.member.is_here() {
        // As long as it is mirrored, that cluster's webhook lets nothing go.
        clusters::release(controller, &known, &loaded.application).await?;
    }
    let sight = Sight { controller, application, project: project.as_deref(), far: None, loaded: &loaded };
    let (known, survey) = sight.survey(known, &revision).await?;
    let cluster = Case { controller, application, loaded: &loaded, known: &known }.writer()?;
    let mut left = Vec::new();
    for step in going(application, &survey) {
        let live = survey.live.get(&step.key);
        let is_going = live.is_some_and(|live| live.pointer("/metadata/deletionTimestamp").is_some());
        if let Some(kind) = known.discovery.kind(&step.gvk).filter(|_| !is_going) {
            let uid = live.and_then(|live| live.pointer("/metadata/uid")?.as_str()).map(str::to_owned);
            let propagation = step.options.propagation.unwrap_or_default();
            match cluster.delete(kind, &step.key, &DeleteOptions { uid, dry_run: false, propagation }).await {
                Ok(()) | Err(ClusterError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        left.push(step.key.clone());
    }
    Ok(left)
}

/// What is its own and may go, the last made first.
fn going<'a>(application: &Application, survey: &'a Survey) -> Vec<&'a Step> {
    let name = reference(application);
    let mark = |live: &'a Value, field: &str, key: &str| live.get("metadata")?.get(field)?.get(key)?.as_str();
    let mut going: Vec<&Step> = (survey.plan.steps.iter().rev())
        .filter(|step| {
            let is_own = survey.live.get(&step.key).is_some_and(|live| {
                mark(live, "annotations", ANNOTATION_OWNER) == Some(name.to_string().as_str())
                    && mark(live, "labels", LABEL_APPLICATION) == Some(name.name.as_str())
            });
            // Nobody is there to confirm.
            let stays =
                step.options.delete.is_some_and(|delete| delete != Pruning::Allowed) || step.is_kept();
            is_own && !stays && !CONTAINERS.contains(&step.key.kind.as_str())
        })
        .collect();
    going.sort_by_key(|step| std::cmp::Reverse(order_of(&step.key.kind)));
    going
}

/// Takes the finalizer off; a moment later, if that is refused.
async fn release(controller: &Arc<Controller>, application: &Application) -> Option<Duration> {
    let kept: Vec<&String> =
        application.finalizers().iter().filter(|known| *known != FINALIZER_PRUNE).collect();
    let patch = json!({"metadata": {"finalizers": kept, "resourceVersion": application.resource_version()}});
    let api: Api<Application> =
        Api::namespaced(controller.cluster.client(), &application.namespace().unwrap_or_default());
    match api.patch(&application.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(_) => None,
        Err(kube::Error::Api(status)) if status.code == 404 => None,
        Err(error) => {
            tracing::warn!(application = %reference(application), %error, "its finalizer could not be taken off");
            Some(FAILED)
        }
    }
}
