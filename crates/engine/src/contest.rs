//! Objects that two Applications declare. In: a survey, whose live objects say
//! whose they are. Out: those that are another's, which a sync leaves alone.

use std::collections::{BTreeMap, BTreeSet};

use gitops_cluster::{Cluster, ClusterError, Discovery, Marks};
use gitops_core::desired::AppRef;
use gitops_core::names::GROUP;
use gitops_core::object::ObjectKey;
use gitops_core::plan::Action;
use serde_json::Value;

use crate::error::EngineError;
use crate::load::Loaded;
use crate::survey::Survey;

/// Whose an object says it is.
pub(crate) fn owner(marks: &Marks) -> Option<AppRef> {
    let (namespace, name) = marks.owner.as_ref()?.split_once('/')?;
    Some(AppRef { namespace: namespace.into(), name: name.into() })
}

/// Who was there first: creation time, then uid.
fn precedence(application: &Value) -> (String, String) {
    let text =
        |pointer: &str| application.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("/metadata/creationTimestamp"), text("/metadata/uid"))
}

/// The declared objects that belong to another Application, and to which. Where
/// Applications are in the cluster, the older one owns what two declare, and
/// one that is gone owns nothing; of one file, the one that has it.
///
/// # Errors
/// When the API server cannot be asked.
pub async fn contested(
    cluster: &Cluster,
    discovery: &Discovery,
    loaded: &Loaded,
    survey: &Survey,
) -> Result<BTreeMap<ObjectKey, AppRef>, EngineError> {
    let steps = survey.plan.steps.iter().filter(|step| step.action != Action::Prune);
    let mut found: BTreeMap<ObjectKey, AppRef> = steps
        .filter_map(|step| Some((&step.key, owner(survey.live.marks_of(&step.key)?)?)))
        .filter(|(key, owner)| *owner != loaded.application && !survey.moved.contains(*key))
        .map(|(key, owner)| (key.clone(), owner))
        .collect();
    let Some(kind) = discovery.preferred(GROUP, "Application").filter(|_| !found.is_empty()) else {
        return Ok(found);
    };
    let get = async |name: &AppRef| {
        let key = ObjectKey {
            group: GROUP.into(),
            kind: "Application".into(),
            namespace: name.namespace.clone(),
            name: name.name.clone(),
        };
        match cluster.get(kind, &key).await {
            // Who may not read it is told of the conflict all the same.
            Err(ClusterError::Forbidden { .. }) => Ok(Some(Value::Null)),
            other => other,
        }
    };
    let own = get(&loaded.application).await?;
    let others: BTreeSet<AppRef> = found.values().cloned().collect();
    for other in others {
        let yields = match (&own, get(&other).await?) {
            (_, None) => !survey.beside.contains(&other),
            (Some(own), Some(other)) => precedence(own) < precedence(&other) && !own.is_null(),
            (None, Some(_)) => false,
        };
        if yields {
            found.retain(|_, owner| *owner != other);
        }
    }
    Ok(found)
}

/// What a sync says of such an object.
pub fn conflict(key: &ObjectKey, owner: &AppRef, application: &AppRef) -> ClusterError {
    ClusterError::Conflict {
        what: key.to_string(),
        message: format!(
            "Application {owner} owns it, and {application} declares it too: it is left as it is"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_names_the_owner() {
        let of = |text: &str| owner(&Marks { owner: Some(text.into()), ..Marks::default() });
        assert_eq!(of("shop/web"), Some(AppRef { namespace: "shop".into(), name: "web".into() }));
        assert_eq!(of("web"), None);
        assert_eq!(owner(&Marks::default()), None);
    }
}
