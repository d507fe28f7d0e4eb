//! Fields that others have set. In: an object to apply, and how conflicts are
//! decided. Out: the object applied; what other tools said before no longer
//! holds on to fields that Git declares, and nothing else is lost.

use gitops_cluster::{ApplyOptions, Cluster, ClusterError, ErrorKind, FieldConflict, Kind, UNDECLARED};
use gitops_core::names::FIELD_MANAGER;
use gitops_core::object::ObjectKey;
use gitops_core::plan::{Conflicts, Step};
use serde_json::{Value, json};

use super::Run;
use crate::rollout::Rolling;

/// How our own other field managers begin: they share fields with a sync.
const OURS: &str = "gitops-";

/// Tools by which people, and what was here before, have written: their word
/// is over when Git speaks. Everything else is taken for a live controller.
const TOOLS: &[&str] = &[
    "kubectl",
    "helm",
    "argocd",
    "kustomize-controller",
    "before-first-apply",
    OURS,
    "flux",
    "kapp-server",
    "configsync",
    "fleet",
    "k9s",
    "lens",
    "freelens",
    "mozilla",
    "curl",
    "python",
    "openapi-generator",
    "go-http-client",
    "terraform",
    "hashicorp",
    "pulumi",
];

fn is_tool(manager: &str) -> bool {
    let manager = manager.to_lowercase();
    TOOLS.iter().any(|tool| manager.starts_with(tool))
}

/// Applies; conflicts are decided as the command says, else Git, else by who has
/// set the field.
pub(super) async fn apply(
    run: &Run<'_>,
    kind: &Kind,
    step: &Step,
    object: &Value,
    options: &ApplyOptions,
) -> Result<(Value, String), ClusterError> {
    let key = &step.key;
    let asked = ApplyOptions { force: false, ..options.clone() };
    let (what, conflicts) = match run.cluster.apply(kind, key, object, &asked).await {
        Ok(applied) => return Ok((applied.object, String::new())),
        Err(ClusterError::Fields { what, conflicts }) => (what, conflicts),
        Err(error) => return Err(error),
    };
    let decided = |conflict: &FieldConflict| match run.options.conflicts.or(step.options.conflicts) {
        _ if is_rolled(run, key, conflict) => Conflicts::Take,
        Some(decided) => decided,
        None if is_tool(&conflict.manager) => Conflicts::Take,
        None => Conflicts::Fail,
    };
    let by = |decision| conflicts.iter().filter(move |conflict| decided(conflict) == decision);
    if by(Conflicts::Fail).next().is_some() {
        return Err(ClusterError::Fields { what, conflicts: by(Conflicts::Fail).cloned().collect() });
    }
    let mut object = object.clone();
    for conflict in by(Conflicts::Keep) {
        remove(&mut object, &conflict.path);
    }
    let told = |decision, word: &str| {
        let all: Vec<String> = by(decision).map(|c| format!("{} {word} {}", c.path, c.manager)).collect();
        (!all.is_empty()).then(|| all.join(", "))
    };
    let note = [told(Conflicts::Take, "taken from"), told(Conflicts::Keep, "left to")];
    let applied =
        run.cluster.apply(kind, key, &object, &ApplyOptions { force: true, ..options.clone() }).await?;
    Ok((applied.object, note.into_iter().flatten().collect::<Vec<_>>().join("; ")))
}

/// An autoscaler's word ends where a Rollout scales its target to zero and back: it
/// leaves alone what is at zero, and goes on from what it finds.
fn is_rolled(run: &Run<'_>, key: &ObjectKey, conflict: &FieldConflict) -> bool {
    let of_this = |rolling: &Rolling| rolling.spec.target == *key && rolling.state.is_rolled();
    conflict.path == "spec.replicas" && run.survey.rollouts.iter().any(of_this)
}

/// Takes a field away by the API server's way to write it: names after dots,
/// which may hold dots themselves, and `[name="x"]`, `[="x"]` or `[0]`.
fn remove(value: &mut Value, path: &str) {
    if let Value::Object(map) = value {
        let rest = path.strip_prefix('.').unwrap_or(path);
        let after = |key: &String| {
            let left = rest.strip_prefix(key.as_str())?;
            (left.is_empty() || left.starts_with(['.', '['])).then(|| left.to_owned())
        };
        let longest = map.keys().filter(|key| after(key).is_some()).max_by_key(|key| key.len()).cloned();
        let Some(key) = longest else { return };
        match after(&key) {
            Some(left) if !left.is_empty() => {
                if let Some(child) = map.get_mut(&key) {
                    remove(child, &left);
                }
            }
            _ => drop(map.remove(&key)),
        }
    } else if let Value::Array(list) = value {
        let Some((inside, left)) = path.strip_prefix('[').and_then(|path| path.split_once(']')) else {
            return;
        };
        let Some(at) = list.iter().position(|item| is_meant(item, inside)) else { return };
        if left.is_empty() {
            list.remove(at);
        } else {
            remove(&mut list[at], left);
        }
    }
}

/// The object without the fields that its kind does not have, by what the API server
/// says of them; none where it says nothing of the sort.
pub(super) fn declared(object: &Value, message: &str) -> Option<Value> {
    let named = message.split(UNDECLARED).filter_map(|part| part.rsplit(char::is_whitespace).next());
    let mut declared = object.clone();
    named.filter(|path| path.starts_with('.')).for_each(|path| remove(&mut declared, path));
    (declared != *object).then_some(declared)
}

/// Whether an item of a list is the one of these keys.
fn is_meant(item: &Value, keys: &str) -> bool {
    keys.split(',').all(|pair| {
        let Some((key, text)) = pair.split_once('=') else { return false };
        let wanted: Value = serde_json::from_str(text).unwrap_or_else(|_| text.into());
        if key.is_empty() { *item == wanted } else { item.get(key) == Some(&wanted) }
    })
}

/// After an adoption, tools let go of the fields that are ours now: else a field
/// that Git drops would stay for their sake. What only they have set stays theirs.
pub(super) async fn migrate(
    cluster: &Cluster,
    kind: &Kind,
    key: &ObjectKey,
    applied: &Value,
) -> Result<(), ClusterError> {
    let Some(patch) = release(applied) else { return Ok(()) };
    match cluster.patch(kind, key, &patch, &ApplyOptions::default()).await {
        // Someone was faster: the next write tries again.
        Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Invalid) => Ok(()),
        other => other.map(drop),
    }
}

/// The patch of `managedFields`, where a tool holds fields of ours.
fn release(applied: &Value) -> Option<Value> {
    let entries = applied.pointer("/metadata/managedFields")?.as_array()?;
    let text =
        |entry: &Value, field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let ours = entries.iter().find(|entry| {
        text(entry, "manager") == FIELD_MANAGER
            && text(entry, "operation") == "Apply"
            && text(entry, "subresource").is_empty()
    })?;
    let ours = ours.get("fieldsV1")?;
    let mut after = entries.clone();
    for entry in &mut after {
        let (manager, applies) = (text(entry, "manager"), text(entry, "operation") == "Apply");
        let tool = text(entry, "subresource").is_empty()
            && is_tool(&manager)
            && !(applies && (manager == FIELD_MANAGER || manager.starts_with(OURS)));
        if let Some(fields) = entry.get_mut("fieldsV1").filter(|_| tool) {
            subtract(fields, ours);
        }
    }
    after.retain(|entry| {
        entry.get("fieldsV1").and_then(Value::as_object).is_none_or(|fields| !fields.is_empty())
    });
    if after == *entries {
        return None;
    }
    let version = applied.pointer("/metadata/resourceVersion")?;
    Some(json!([
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        {"op": "replace", "path": "/metadata/managedFields", "value": after},
    ]))
}

/// Takes the leaves of one set of fields out of another. `.` stands for the
/// item or map itself and goes when nothing else of it is left.
fn subtract(from: &mut Value, what: &Value) {
    let (Some(from), Some(what)) = (from.as_object_mut(), what.as_object()) else { return };
    for (field, inner) in what {
        if field == "." {
            continue;
        }
        let leaf = |value: &Value| value.as_object().is_none_or(serde_json::Map::is_empty);
        let Some(child) = from.get_mut(field) else { continue };
        if !leaf(child) {
            subtract(child, inner);
        }
        if leaf(child) {
            from.remove(field);
        }
    }
    if from.len() == 1 && from.contains_key(".") && what.contains_key(".") {
        from.remove(".");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_as_the_api_server_writes_them() {
        let object = json!({"metadata": {"labels": {"app.kubernetes.io/name": "x", "app": "y"}, "finalizers": ["a/b"]},
            "spec": {"containers": [{"name": "web", "image": "i", "ports": [{"containerPort": 80, "protocol": "TCP", "name": "p"}]}]}});
        let cases = [
            (".metadata.labels.app.kubernetes.io/name", "/metadata/labels", json!({"app": "y"})),
            (".spec.containers[name=\"web\"].image", "/spec/containers/0/image", Value::Null),
            (
                "spec.containers[name=\"web\"].ports[containerPort=80,protocol=\"TCP\"].name",
                "/spec/containers/0/ports/0",
                json!({"containerPort": 80, "protocol": "TCP"}),
            ),
            (".metadata.finalizers[=\"a/b\"]", "/metadata/finalizers", json!([])),
            (".spec.nothing", "/metadata/finalizers", json!(["a/b"])),
        ];
        for (path, pointer, expected) in cases {
            let mut after = object.clone();
            remove(&mut after, path);
            assert_eq!(after.pointer(pointer).cloned().unwrap_or_default(), expected, "{path}");
        }
    }

    #[test]
    fn fields_that_a_kind_does_not_have_are_taken_out() {
        let object = json!({"dato": {"a": "1"}, "spec": {"containers": [{"name": "web", "imago": "i", "image": "i"}]}});
        let said = |path: &str| {
            format!("failed to create typed patch object (shop/web; apps/v1, Kind=Pod): {path}{UNDECLARED}")
        };
        assert_eq!(declared(&object, &said(".dato")).unwrap_or_default().get("dato"), None);
        let both =
            format!("{}\n  .dato{UNDECLARED}", said("errors:\n  .spec.containers[name=\"web\"].imago"));
        let expected = json!({"spec": {"containers": [{"name": "web", "image": "i"}]}});
        assert_eq!(declared(&object, &both), Some(expected));
        assert_eq!(declared(&object, "no room"), None);
    }

    #[test]
    fn tools_let_go_of_what_is_ours_and_keep_the_rest() {
        let entry = |manager: &str, operation: &str, fields: Value| json!({"manager": manager, "operation": operation, "fieldsV1": fields});
        let ours = json!({"f:data": {"f:a": {}}, "f:metadata": {"f:labels": {"f:x": {}}}});
        let applied = json!({"metadata": {"resourceVersion": "7", "managedFields": [
            entry(FIELD_MANAGER, "Apply", ours.clone()),
            entry("kubectl-client-side-apply", "Update", json!({"f:data": {".": {}, "f:a": {}, "f:b": {}}})),
            entry("helm", "Update", json!({"f:data": {"f:a": {}}})),
            entry("argocd-controller", "Apply", json!({"f:data": {"f:a": {}, "f:c": {}}})),
            entry("kustomize-controller", "Apply", ours.clone()),
            entry("gitops-rollout", "Apply", json!({"f:data": {"f:a": {}}})),
            entry("my-operator", "Apply", json!({"f:data": {"f:a": {}}})),
            entry("operator", "Update", json!({"f:data": {"f:a": {}}})),
        ]}});
        let patch = release(&applied).unwrap_or_default();
        assert_eq!(
            patch[1]["value"],
            json!([
                entry(FIELD_MANAGER, "Apply", ours.clone()),
                entry("kubectl-client-side-apply", "Update", json!({"f:data": {".": {}, "f:b": {}}})),
                entry("argocd-controller", "Apply", json!({"f:data": {"f:c": {}}})),
                entry("gitops-rollout", "Apply", json!({"f:data": {"f:a": {}}})),
                entry("my-operator", "Apply", json!({"f:data": {"f:a": {}}})),
                entry("operator", "Update", json!({"f:data": {"f:a": {}}})),
            ])
        );
        let alone = json!({"metadata": {"resourceVersion": "7", "managedFields": [entry(FIELD_MANAGER, "Apply", ours)]}});
        assert_eq!(release(&alone), None);
    }

    #[test]
    fn controllers_are_no_tools() {
        for (manager, tool) in [
            ("kubectl-edit", true),
            ("Helm", true),
            ("argocd-controller", true),
            ("kube-controller-manager", false),
            ("my-operator", false),
            ("unknown", false),
        ] {
            assert_eq!(is_tool(manager), tool, "{manager}");
        }
    }
}
