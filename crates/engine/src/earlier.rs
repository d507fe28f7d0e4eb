//! What earlier commits declared. In: an Application's live objects, each with the
//! commit that wrote it last. Out: those of them that such a commit really declared
//! and the newest one does not: a label alone proves nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use gitops_cluster::{Discovery, Live};
use gitops_core::desired::DesiredSet;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::plan::{Pruning, annotations, is_never_pruned};

use crate::desired::{Environment, desired};
use crate::error::EngineError;
use crate::load::Loaded;
use crate::rollout::gate::{declared, resources};

/// Commits that are rendered in one sync, and that may fail to be.
const MOST: usize = 20;

/// Objects of one commit that Git no longer declares.
#[derive(Debug, Default)]
struct Left {
    objects: Vec<(ObjectKey, Gvk)>,
    /// How many of them may go.
    going: usize,
}

/// What is left of earlier commits.
#[derive(Debug)]
pub(crate) struct Earlier {
    /// What such a commit declared.
    pub found: Vec<(ObjectKey, Gvk)>,
    /// Second workloads of Rollouts among it.
    pub leftovers: BTreeSet<ObjectKey>,
    /// All that bears the Application's marks, whether it is known who declared it or
    /// not.
    pub marked: Vec<(ObjectKey, Gvk)>,
}

/// Live objects that an earlier commit declared and this one does not.
pub(crate) async fn earlier(
    loaded: &Loaded,
    environment: &Environment,
    discovery: &Discovery,
    set: &DesiredSet,
    live: &Live,
) -> Result<Earlier, EngineError> {
    let (by_revision, marked) = left(loaded, set, live);
    let (mut found, mut leftovers) = (Vec::new(), BTreeSet::new());
    let (mut rendered, mut failed) = (0, 0);
    let mut waiting = in_order(by_revision).into_iter();
    for (revision, Left { objects, .. }) in waiting.by_ref() {
        match desired(loaded, environment, &revision, discovery).await {
            Ok(before) => {
                rendered += 1;
                let seconds = seconds(&before);
                for (key, gvk) in objects {
                    let is_second = seconds.contains(&key) && !before.objects.contains_key(&key);
                    if is_second {
                        leftovers.insert(key.clone());
                    }
                    if is_second || before.objects.contains_key(&key) {
                        found.push((key, gvk));
                    }
                }
            }
            Err(error) => {
                failed += 1;
                tracing::warn!(%revision, %error, "what this commit declared is not known; nothing of it is pruned");
            }
        }
        if rendered == MOST || failed == MOST {
            break;
        }
    }
    let (commits, objects) =
        waiting.fold((0, 0), |(commits, objects), (_, left)| (commits + 1, objects + left.objects.len()));
    if commits > 0 {
        tracing::warn!(
            commits,
            objects,
            "Git no longer declares objects of more commits than are looked at in one sync: another one, after those of the others are pruned, goes on with them"
        );
    }
    Ok(Earlier { found, leftovers, marked })
}

/// An Application's objects that Git no longer declares, by the commits that wrote
/// them, and all of them: what is never pruned needs no commit.
fn left(loaded: &Loaded, set: &DesiredSet, live: &Live) -> (BTreeMap<String, Left>, Vec<(ObjectKey, Gvk)>) {
    let owner = loaded.application.to_string();
    let declared: HashSet<&ObjectKey> = set.objects.keys().collect();
    let (mut by_revision, mut marked) = (BTreeMap::<String, Left>::new(), Vec::new());
    for (key, marks) in live.marks() {
        let ours = marks.application.as_deref() == Some(&loaded.application.name)
            && marks.owner.as_deref() == Some(&owner);
        if !ours || marks.is_terminating || declared.contains(key) {
            continue;
        }
        let Some((revision, object)) = marks.revision.as_ref().zip(live.get(key)) else { continue };
        let Ok(gvk) = Gvk::of(object) else { continue };
        marked.push((key.clone(), gvk.clone()));
        if is_never_pruned(object) {
            continue;
        }
        let stays = annotations::options(object).is_ok_and(|own| own.prune == Some(Pruning::Never));
        let left = by_revision.entry(revision.to_string()).or_default();
        left.going += usize::from(!stays);
        left.objects.push((key.clone(), gvk));
    }
    (by_revision, marked)
}

/// Those of which most may go first: what stays for ever holds up nothing.
fn in_order(left: BTreeMap<String, Left>) -> Vec<(String, Left)> {
    let mut left: Vec<_> = left.into_iter().collect();
    left.sort_by_key(|(_, left)| std::cmp::Reverse(left.going));
    left
}

/// The second workloads that the Rollouts of a commit may have made.
fn seconds(set: &DesiredSet) -> BTreeSet<ObjectKey> {
    let keys = resources(set.objects.values().map(|object| (&object.key, &object.gvk)));
    let specs = keys.iter().filter_map(|key| declared(set, key).ok().flatten());
    specs.filter(|(_, spec)| spec.has_second()).map(|(_, spec)| spec.second()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use gitops_core::desired::stamp;
    use serde_json::json;

    use super::*;
    use crate::fixture::{application, set};

    #[test]
    fn commits_of_which_nothing_goes_come_last() {
        let config = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}});
        let live = |name: &str, revision: &str, options: &str| {
            let set = set(config(name), &[]);
            let mut object = stamp(set.objects.values().next().unwrap(), &application(), revision);
            object["metadata"]["annotations"]["argocd.argoproj.io/sync-options"] = options.into();
            object
        };
        let mut objects = Live::default();
        for object in [
            live("kept-1", "a", "Prune=false"),
            live("kept-2", "a", "Prune=false"),
            live("one", "b", "PruneLast=true"),
            live("two", "c", "Prune=true"),
            live("three", "c", "Prune=confirm"),
            live("declared", "d", "Prune=true"),
        ] {
            objects.put(ObjectKey::of(&object).unwrap(), object);
        }
        let loaded = crate::fixture::loaded();
        let order = in_order(left(&loaded, &set(config("declared"), &[]), &objects).0);
        let order: Vec<_> =
            order.iter().map(|(revision, left)| (revision.as_str(), left.objects.len())).collect();
        assert_eq!(order, [("c", 2), ("b", 1), ("a", 2)]);
    }
}
