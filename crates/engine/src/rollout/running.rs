//! Which version runs, where no status says it: at the first look, or when it
//! was lost. In: the live target. Out: the version of Git whose template it
//! has; none where there is no target that Git has written yet, which is then a
//! first creation and not held back.

use gitops_core::compare::{CompareOptions, compare};
use gitops_core::desired::DesiredObject;
use gitops_core::names::ANNOTATION_REVISION;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::path::{Path, Segment};
use gitops_core::rollout::desired::{Declares, version as hash_of};
use gitops_core::rollout::spec::{Means, Spec};
use gitops_core::rollout::state::Version;
use gitops_core::schema::Schemas;
use gitops_core::verdict::Policy;
use serde_json::Value;

use super::commits::Commits;
use super::gate::{Ground, Rolling};
use crate::error::EngineError;
use crate::survey::policy;

/// The version that runs.
///
/// # Errors
/// When the cluster cannot be asked, or nothing of what Git has said can be
/// rendered.
pub(super) async fn version(
    ground: &Ground<'_>,
    of: &Rolling,
    commits: &Commits,
) -> Result<Option<Version>, EngineError> {
    let (Some(tip), Some(at_tip)) = (&of.tip, of.tip.as_ref().and_then(|tip| of.versions.get(&tip.hash)))
    else {
        return Ok(None);
    };
    let Some(kind) = ground.discovery.kind(&at_tip.gvk) else { return Ok(None) };
    let Some(live) = ground.cluster.get(kind, &of.spec.target).await? else { return Ok(None) };
    // What we have never written is taken over as Git says it.
    let Some(recorded) = mark(&live) else { return Ok(None) };
    let running = with_template(ground, &of.spec, live).await?;
    let schemas = ground.cluster.schemas(&[at_tip.gvk.clone()].into()).await?;
    let policy = policy(ground.loaded)?;
    let is_it = |want: &DesiredObject| same_version(&schemas, &policy, &of.spec, want, &running);
    if is_it(at_tip) {
        return Ok(Some(tip.clone()));
    }
    let mut at_record = None;
    // The recorded commit, and those before it that changed the source.
    let passed = commits.passed(ground, &recorded).await?;
    let before = [&recorded].into_iter().chain(passed.iter());
    for revision in before.filter(|revision| **revision != tip.revision) {
        let Some(set) = commits.at(ground, revision, &tip.revision).await else { continue };
        let Some(want) = set.declared(&of.spec.target) else { continue };
        let Some(hash) = hash_of(&of.spec, &want.value) else { continue };
        let version = Version { revision: revision.clone(), hash };
        if is_it(&want) {
            return Ok(Some(version));
        }
        at_record.get_or_insert(version);
    }
    // It has drifted from all of them: what it was written as last counts.
    at_record.map(Some).ok_or_else(|| EngineError::Rollout {
        rollout: of.key.clone(),
        reason: format!(
            "which version of {} runs is not known: its commit {recorded} cannot be rendered",
            of.spec.target
        ),
    })
}

fn mark(live: &Value) -> Option<String> {
    live.get("metadata")?.get("annotations")?.get(ANNOTATION_REVISION)?.as_str().map(str::to_owned)
}

/// A StatefulSet whose newest template is held back by its partition runs the
/// one of its current revision.
async fn with_template(ground: &Ground<'_>, spec: &Spec, live: Value) -> Result<Value, EngineError> {
    let text = |pointer: &str| live.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let revisions = (text("/status/currentRevision"), text("/status/updateRevision"));
    let (Some(current), Some(update)) = revisions else { return Ok(live) };
    if spec.means() != Means::Partition || current == update {
        return Ok(live);
    }
    let gvk = Gvk::new("apps/v1", "ControllerRevision");
    let Some(kind) = ground.discovery.kind(&gvk) else { return Ok(live) };
    let key = ObjectKey {
        group: gvk.group.clone(),
        kind: gvk.kind.clone(),
        namespace: spec.target.namespace.clone(),
        name: current,
    };
    let revision = ground.cluster.get(kind, &key).await?;
    let mut live = live;
    if let Some(template) = revision.as_ref().and_then(template_of) {
        live["spec"]["template"] = template;
    }
    Ok(live)
}

/// The Pod template of a StatefulSet's revision.
pub(super) fn template_of(revision: &Value) -> Option<Value> {
    let mut template = revision.pointer("/data/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    Some(template)
}

/// Whether a live target has the version that a commit says.
pub(super) fn same_version(
    schemas: &Schemas,
    policy: &Policy,
    spec: &Spec,
    want: &DesiredObject,
    live: &Value,
) -> bool {
    let free = policy.free(&want.key, &[]);
    let options = CompareOptions { world: policy.world(&want.gvk), free: &free };
    let part = Path(match spec.means() {
        Means::Field => vec![Segment::Field("spec".into())],
        _ => vec![Segment::Field("spec".into()), Segment::Field("template".into())],
    });
    let weight = spec.traffic.weight_path.as_ref().filter(|_| spec.means() == Means::Field);
    let differences = compare(schemas, &want.gvk, &want.value, live, &options);
    let counts =
        |path: &Path| path.starts_with(&part) && !weight.is_some_and(|weight| is_beside(path, weight));
    !differences.iter().any(|difference| counts(&difference.path))
}

/// Whether a path is the weight field, or that of the other element of its list.
fn is_beside(path: &Path, weight: &Path) -> bool {
    match (path.0.split_last(), weight.0.split_last()) {
        (Some((last, list)), Some((field, at))) if last == field => {
            list == at || list.split_last().map(|(_, list)| list) == at.split_last().map(|(_, at)| at)
        }
        _ => path == weight,
    }
}
