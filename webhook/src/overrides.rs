//! Break-glass. In: the Overrides of the cluster, watched, and verdicts that
//! refuse. Out: those that an Override lets pass, with their traces: audit
//! annotations, metrics, Events.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::StreamExt;
use gitops_core::compare::unix_seconds;
use gitops_core::desired::AppRef;
use gitops_core::names::{ANNOTATION_REQUESTED_BY, API_VERSION};
use gitops_core::object::Gvk;
use gitops_core::verdict::{Override, Verdict};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, ResourceExt};

use crate::admission::Request;
use crate::events;
use crate::keeper::Keeper;

/// The Overrides that are known.
#[derive(Debug, Default)]
pub struct Overrides(ArcSwap<Vec<Override>>);

/// As the verdict reads it. One that names no users is for whoever made it.
fn read(resource: &gitops_api::Override) -> Option<Override> {
    let spec = resource.spec.clone();
    let maker = resource.annotations().get(ANNOTATION_REQUESTED_BY);
    let users = if spec.users.is_empty() { maker.into_iter().cloned().collect() } else { spec.users };
    Some(Override {
        name: resource.name_any(),
        namespaces: spec.namespaces,
        kinds: spec.kinds,
        names: spec.names,
        users,
        reason: spec.reason,
        expires_at: unix_seconds(&spec.expires_at)?,
    })
}

/// Follows the cluster's Overrides until the program ends.
pub async fn watch(keeper: Arc<Keeper>) {
    let (known, writer) = reflector::store();
    let overrides = Api::<gitops_api::Override>::all(keeper.cluster.client());
    let stream = watcher(overrides, watcher::Config::default()).default_backoff().reflect(writer);
    let mut stream = std::pin::pin!(stream);
    while let Some(event) = stream.next().await {
        if let Err(error) = event {
            tracing::warn!(%error, "watching Overrides");
        }
        keeper.overrides.0.store(Arc::new(known.state().iter().filter_map(|known| read(known)).collect()));
    }
}

/// Lets a refused write pass where an Override covers it. What the watch knows
/// is asked for once more: one that has just been ended opens nothing.
pub async fn apply(keeper: &Keeper, request: &Request, gvk: &Gvk, verdict: Verdict) -> Verdict {
    if !verdict.may_be_overridden {
        return verdict;
    }
    let covers = |by: &Override| {
        by.covers(&verdict.key, &request.user_info.username, jiff::Timestamp::now().as_second())
    };
    let known = keeper.overrides.0.load_full();
    for by in known.iter().filter(|by| covers(by)) {
        let path = format!("/apis/{API_VERSION}/overrides/{}", by.name);
        let live = keeper.cluster.get_json(&path).await.ok();
        let live: Option<gitops_api::Override> = live.and_then(|live| serde_json::from_value(live).ok());
        let Some((by, uid)) = live.and_then(|live| Some((read(&live)?, live.uid()?))) else { continue };
        if covers(&by) {
            let verdict = verdict.overridden_by(&by);
            if !request.dry_run {
                used(keeper, request, gvk, &verdict, (&by, &uid));
            }
            return verdict;
        }
    }
    verdict
}

fn used(keeper: &Keeper, request: &Request, gvk: &Gvk, verdict: &Verdict, (by, uid): (&Override, &str)) {
    keeper.metrics.overrides_used.inc();
    let fields: Vec<String> =
        verdict.differences.iter().take(5).map(|located| located.difference.path.to_string()).collect();
    let note = format!(
        "{} {} {} past Git by Override {} ({}): rule {} {}",
        request.user_info.username,
        request.operation,
        verdict.key,
        by.name,
        by.reason,
        verdict.rule,
        fields.join(" ")
    );
    tracing::warn!(user = request.user_info.username, object = %verdict.key, by = by.name, reason = by.reason, rule = verdict.rule, "an Override was used");
    let written = events::object(Some(gvk), &verdict.key);
    let own = AppRef { namespace: String::new(), name: by.name.clone() };
    keeper.events.warn(
        events::own("Override", &own, uid),
        Some(written.clone()),
        ("Used", "Override"),
        note.trim(),
    );
    if let Some(application) = &verdict.application
        && let Some(uid) = keeper.world().uid_of(application)
    {
        let application = events::application(application, uid);
        keeper.events.warn(application, Some(written), ("Overridden", "Override"), note.trim());
    }
}
