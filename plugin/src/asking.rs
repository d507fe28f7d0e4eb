//! What is asked of the controller. In: an Application or Rollout of the
//! cluster, and a request. Out: the annotation that carries it, and what became
//! of an Application's, as `status.operation` says under the request's id.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gitops_api::application::OperationStatus;
use gitops_api::{Application, Request, Verb};
use gitops_cluster::{ApplyOptions, Cluster, ErrorKind, Kind};
use gitops_core::desired::AppRef;
use gitops_core::names::{ANNOTATION_REQUEST, ANNOTATION_REQUESTED_BY, GROUP, SYSTEM_NAMESPACE};
use gitops_core::object::ObjectKey;
use gitops_engine::load;
use jiff::Timestamp;
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use crate::error::{Failure, code};
use crate::printer::Printer;

/// Between two looks at a request's progress.
pub const INTERVAL: Duration = Duration::from_millis(500);
/// How long the API server may take to know of the webhook's stamp.
pub const STAMPED: Duration = Duration::from_secs(30);
/// Seconds by which the clocks of a controller and of this computer may differ.
const SKEW: i64 = 30;
/// How the Leases of controllers are called.
const CONTROLLERS: &str = "gitops-controller-";
/// Phases in which an operation has ended.
const ENDED: [&str; 2] = ["Succeeded", "Failed"];

/// The kind Application.
pub fn kind() -> Kind {
    load::own("Application", "applications", true)
}

/// The object of an Application.
pub fn key(application: &AppRef) -> ObjectKey {
    ObjectKey {
        group: GROUP.into(),
        kind: "Application".into(),
        namespace: application.namespace.clone(),
        name: application.name.clone(),
    }
}

/// An Application of the cluster, if it is there.
pub async fn find(cluster: &Cluster, application: &AppRef) -> Result<Option<Application>, Failure> {
    let live = cluster.get(&kind(), &key(application)).await?;
    live.map(|live| read(application, live)).transpose()
}

fn read(application: &AppRef, live: Value) -> Result<Application, Failure> {
    serde_json::from_value(live).map_err(|error| {
        Failure::other(format!("Application {application} cannot be read: {error}"))
            .hint("use the kubectl-gitops of the version that is installed: kubectl gitops version")
    })
}

/// Whether a controller runs: one of its Leases is alive. Who may not look
/// sees none.
pub async fn controller_runs(cluster: &Cluster) -> Result<bool, Failure> {
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{SYSTEM_NAMESPACE}/leases");
    let leases = match cluster.get_json(&path).await {
        Ok(leases) => leases,
        Err(error) if matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::NotFound) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let now = Timestamp::now();
    let mut leases = leases.get("items").and_then(Value::as_array).into_iter().flatten();
    Ok(leases.any(|lease| is_alive(lease, now)))
}

fn is_alive(lease: &Value, now: Timestamp) -> bool {
    let text = |pointer: &str| lease.pointer(pointer).and_then(Value::as_str);
    let seconds = lease.pointer("/spec/leaseDurationSeconds").and_then(Value::as_i64).unwrap_or(0);
    let renewed = text("/spec/renewTime").and_then(|time| time.parse::<Timestamp>().ok());
    text("/metadata/name").is_some_and(|name| name.starts_with(CONTROLLERS))
        && text("/spec/holderIdentity").is_some_and(|holder| !holder.is_empty())
        && renewed.is_some_and(|renewed| now.as_second() - renewed.as_second() <= seconds + SKEW)
}

/// A request that nobody has made before.
pub fn request(verb: Verb, arguments: BTreeMap<String, String>, reason: &str) -> Request {
    Request { id: id(), verb, arguments, reason: reason.to_owned() }
}

fn id() -> String {
    format!("{:x}-{:x}", Timestamp::now().as_nanosecond(), std::process::id())
}

/// Writes a request to an Application or Rollout.
pub async fn ask(
    cluster: &Cluster,
    kind: &Kind,
    metadata: &ObjectMeta,
    request: &Request,
) -> Result<(), Failure> {
    ask_as(cluster, kind, metadata, request, None).await
}

/// The same, in a name that counts where no webhook puts the true one there.
pub async fn ask_as(
    cluster: &Cluster,
    kind: &Kind,
    metadata: &ObjectMeta,
    request: &Request,
    by: Option<&str>,
) -> Result<(), Failure> {
    let mut patch = Vec::new();
    if metadata.annotations.is_none() {
        // Nobody else's annotations are overwritten meanwhile.
        let version = metadata.resource_version.clone().unwrap_or_default();
        patch.push(json!({"op": "test", "path": "/metadata/resourceVersion", "value": version}));
        patch.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
    }
    let mut annotate = |name: &str, value: Value| {
        let path = format!("/metadata/annotations/{}", name.replace('/', "~1"));
        patch.push(json!({"op": "add", "path": path, "value": value}));
    };
    annotate(ANNOTATION_REQUEST, request.to_annotation().into());
    if let Some(by) = by {
        annotate(ANNOTATION_REQUESTED_BY, by.into());
    }
    let key = ObjectKey {
        group: kind.gvk.group.clone(),
        kind: kind.gvk.kind.clone(),
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    };
    let (patch, begun) = (Value::from(patch), Instant::now());
    loop {
        match cluster.patch(kind, &key, &patch, &ApplyOptions::default()).await {
            // Right after an installation the API server asks the webhook to judge
            // before it asks it to stamp.
            Err(error)
                if error.to_string().contains(ANNOTATION_REQUESTED_BY) && begun.elapsed() < STAMPED =>
            {
                tokio::time::sleep(INTERVAL).await;
            }
            asked => return Ok(asked.map(drop)?),
        }
    }
}

/// Waits until the controller has carried a request out, and returns what it
/// says. What it says meanwhile is told. A request that came in before the API
/// server called the webhook is made again, under another id.
pub async fn follow(
    cluster: &Cluster,
    application: &AppRef,
    request: &Request,
    limit: Duration,
    printer: &Printer,
) -> Result<OperationStatus, Failure> {
    let (start, mut said, mut request) = (Instant::now(), String::new(), request.clone());
    loop {
        let live = find(cluster, application).await?.ok_or_else(|| {
            Failure::conflict(format!("Application {application} has gone meanwhile"))
                .hint("see what there is: kubectl gitops list")
        })?;
        let carried = Request::of(&live).ok().flatten().filter(|(now, _)| now.id == request.id);
        let Some((_, by)) = carried else {
            return Err(Failure::conflict(format!("somebody else has asked for something of {application}"))
                .hint("see what runs: kubectl gitops status; then ask again"));
        };
        let operation = live.status.as_ref().and_then(|status| status.operation.clone()).unwrap_or_default();
        let is_refused = operation.id != request.id || operation.phase == "Failed";
        if is_refused && Request::is_anonymous(&by, live.status.as_ref()) && start.elapsed() < STAMPED {
            tokio::time::sleep(INTERVAL).await;
            request.id = id();
            ask(cluster, &kind(), &live.metadata, &request).await?;
            continue;
        }
        if operation.id == request.id {
            if ENDED.contains(&operation.phase.as_str()) {
                return Ok(operation);
            }
            if !operation.message.is_empty() && operation.message != said {
                printer.talk(&format!("{application}: {}", operation.message));
                said.clone_from(&operation.message);
            }
        }
        if start.elapsed() >= limit {
            return Err(late(cluster, application, operation.id == request.id).await);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn late(cluster: &Cluster, application: &AppRef, begun: bool) -> Failure {
    let (message, hint) = match controller_runs(cluster).await {
        Ok(false) => ("no controller runs any more", "start it again, or use --local"),
        _ if begun => ("the controller has not ended it in time", "it goes on: kubectl gitops status -w"),
        _ => (
            "the controller has not begun it in time",
            "look at it: kubectl logs -n gitops-system deployment/gitops-controller",
        ),
    };
    Failure { message: format!("{application}: {message}"), hint: Some(hint.into()), code: code::TIMEOUT }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_controller_runs_while_it_renews_its_lease() {
        let now: Timestamp = "2026-11-24T10:00:00Z".parse().unwrap();
        let lease = |name: &str, holder: &str, renewed: &str| json!({"metadata": {"name": name}, "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed}});
        let fresh = "2026-11-24T09:59:50.000000Z";
        assert!(is_alive(&lease("gitops-controller-a", "a", fresh), now));
        assert!(!is_alive(&lease("gitops-controller-a", "", fresh), now), "given back");
        assert!(!is_alive(&lease("gitops-controller-a", "a", "2026-11-24T09:59:00Z"), now), "not renewed");
        assert!(!is_alive(&lease("gitops-sync-a", "a", fresh), now), "somebody else's");
    }

    #[test]
    fn no_two_requests_have_one_id() {
        let one = request(Verb::Sync, BTreeMap::new(), "");
        std::thread::sleep(Duration::from_millis(1));
        assert_ne!(one.id, request(Verb::Sync, BTreeMap::new(), "").id);
    }
}
