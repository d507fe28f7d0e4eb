//! What a sync would do. In: the desired set, the live objects, what an
//! earlier commit declared. Out: steps in order, each with its differences.

use serde::Serialize;

use crate::compare::{CompareOptions, Difference, compare};
use crate::desired::DesiredSet;
use crate::object::{Gvk, ObjectKey};
use crate::schema::Schemas;
use crate::verdict::Policy;

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Create,
    Update,
    Prune,
    Unchanged,
}

/// One object's part of a sync.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub key: ObjectKey,
    pub gvk: Gvk,
    pub action: Action,
    /// For updates: what differs from Git.
    pub differences: Vec<Difference>,
    /// Steps of one group may run side by side; groups run one after another.
    pub group: u32,
}

/// Steps in the order in which they are carried out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub steps: Vec<Step>,
}

impl Plan {
    /// Whether nothing is left to do.
    pub fn is_settled(&self) -> bool {
        self.steps.iter().all(|step| step.action == Action::Unchanged)
    }

    /// How many steps have this action.
    pub fn count(&self, action: Action) -> usize {
        self.steps.iter().filter(|step| step.action == action).count()
    }
}

/// Kinds in the order in which they are needed, as Helm and kubectl users know
/// it (Helm's InstallOrder); custom resources come after their definitions and
/// before the workloads that may read them, webhooks last.
const ORDER: &[&str] = &[
    "Namespace",
    "CustomResourceDefinition",
    "PriorityClass",
    "RuntimeClass",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "*",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
    "APIService",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

/// Kinds that do not wait for each other, so that they form one group.
const TOGETHER: &[&[&str]] = &[
    &["PriorityClass", "RuntimeClass", "NetworkPolicy", "ResourceQuota", "LimitRange"],
    &[
        "PodDisruptionBudget",
        "ServiceAccount",
        "Secret",
        "ConfigMap",
        "StorageClass",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "Service",
    ],
    &[
        "DaemonSet",
        "Pod",
        "ReplicationController",
        "ReplicaSet",
        "Deployment",
        "HorizontalPodAutoscaler",
        "StatefulSet",
        "Job",
        "CronJob",
        "IngressClass",
        "Ingress",
    ],
];

/// The order group of a kind; the same number means side by side.
pub fn order_of(kind: &str) -> u32 {
    let place = |kind: &str| ORDER.iter().position(|known| *known == kind);
    let first = TOGETHER.iter().find(|group| group.contains(&kind)).and_then(|group| place(group[0]));
    let other = ORDER.iter().position(|known| *known == "*").unwrap_or(ORDER.len());
    u32::try_from(first.or_else(|| place(kind)).unwrap_or(other)).unwrap_or(u32::MAX)
}

/// The plan that brings the live objects to what Git says. `earlier` are live
/// objects that an earlier commit declared and this one does not; `policy`
/// says what is left to others.
pub fn plan<'a>(
    desired: &DesiredSet,
    live: impl Fn(&ObjectKey) -> Option<&'a serde_json::Value>,
    earlier: &[(ObjectKey, Gvk)],
    schemas: &Schemas,
    policy: &Policy,
) -> Plan {
    let delegated = desired.delegated();
    let mut steps = Vec::with_capacity(desired.objects.len() + earlier.len());
    for (key, object) in &desired.objects {
        let (action, differences) = match live(key) {
            None => (Action::Create, Vec::new()),
            Some(live) => {
                let free = policy.free(key, delegated.of(key));
                let options = CompareOptions { world: policy.world(&object.gvk), free: &free };
                let differences = compare(schemas, &object.gvk, &object.value, live, &options);
                (if differences.is_empty() { Action::Unchanged } else { Action::Update }, differences)
            }
        };
        steps.push(Step {
            key: key.clone(),
            gvk: object.gvk.clone(),
            action,
            differences,
            group: order_of(&key.kind),
        });
    }
    steps.sort_by(|a, b| {
        a.group.cmp(&b.group).then_with(|| a.key.kind.cmp(&b.key.kind)).then_with(|| a.key.cmp(&b.key))
    });
    let last = u32::try_from(ORDER.len()).unwrap_or(u32::MAX);
    let mut prunes: Vec<Step> = earlier
        .iter()
        .filter(|(key, _)| !desired.objects.contains_key(key))
        .map(|(key, gvk)| Step {
            key: key.clone(),
            gvk: gvk.clone(),
            action: Action::Prune,
            differences: Vec::new(),
            group: 2 * last - order_of(&key.kind),
        })
        .collect();
    prunes.sort_by(|a, b| a.group.cmp(&b.group).then_with(|| b.key.cmp(&a.key)));
    steps.append(&mut prunes);
    Plan { steps }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::desired::{AppRef, DesiredObject, Origin};

    fn object(kind: &str, name: &str) -> DesiredObject {
        let value = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "data": {"a": "1"}});
        DesiredObject {
            key: ObjectKey::of(&value).unwrap(),
            gvk: Gvk::of(&value).unwrap(),
            value,
            origin: Origin { file: "f".into(), line: 1, lines: None },
        }
    }

    fn set(objects: &[(&str, &str)]) -> DesiredSet {
        let objects: BTreeMap<_, _> =
            objects.iter().map(|(kind, name)| object(kind, name)).map(|o| (o.key.clone(), o)).collect();
        DesiredSet {
            application: AppRef { namespace: "n".into(), name: "a".into() },
            revision: "c".into(),
            objects,
        }
    }

    fn run(desired: &DesiredSet, live: &[Value], earlier: &[(&str, &str)]) -> Plan {
        let live: BTreeMap<ObjectKey, Value> =
            live.iter().map(|v| (ObjectKey::of(v).unwrap(), v.clone())).collect();
        let earlier: Vec<_> =
            earlier.iter().map(|(kind, name)| object(kind, name)).map(|o| (o.key, o.gvk)).collect();
        plan(desired, |key| live.get(key), &earlier, &Schemas::builtin(), &Policy::default())
    }

    #[test]
    fn each_object_gets_its_action() {
        let desired = set(&[("ConfigMap", "new"), ("ConfigMap", "same"), ("ConfigMap", "other")]);
        let mut other = object("ConfigMap", "other").value;
        other["data"]["a"] = json!("2");
        let plan = run(
            &desired,
            &[object("ConfigMap", "same").value, other],
            &[("ConfigMap", "gone"), ("ConfigMap", "same")],
        );
        let actions: Vec<_> = plan.steps.iter().map(|s| (s.key.name.as_str(), s.action)).collect();
        assert_eq!(
            actions,
            [
                ("new", Action::Create),
                ("other", Action::Update),
                ("same", Action::Unchanged),
                ("gone", Action::Prune)
            ]
        );
        assert!(!plan.is_settled());
    }

    #[test]
    fn kinds_come_in_the_order_they_are_needed() {
        let desired = set(&[
            ("Deployment", "d"),
            ("Widget", "w"),
            ("Namespace", "n"),
            ("ValidatingWebhookConfiguration", "v"),
            ("Service", "s"),
            ("CustomResourceDefinition", "c"),
        ]);
        let plan = run(&desired, &[], &[("Service", "old"), ("Deployment", "old"), ("Namespace", "old")]);
        let kinds: Vec<_> = plan.steps.iter().map(|s| s.key.kind.as_str()).collect();
        assert_eq!(
            kinds,
            [
                "Namespace",
                "CustomResourceDefinition",
                "Service",
                "Widget",
                "Deployment",
                "ValidatingWebhookConfiguration",
                "Deployment",
                "Service",
                "Namespace"
            ]
        );
    }

    proptest! {
        #[test]
        fn groups_never_go_back(kinds in proptest::collection::vec(proptest::sample::select(ORDER), 1..20), old in proptest::collection::vec(proptest::sample::select(ORDER), 0..9)) {
            let desired: Vec<(&str, String)> = kinds.iter().enumerate().map(|(i, k)| (*k, format!("o{i}"))).collect();
            let desired: Vec<(&str, &str)> = desired.iter().map(|(k, n)| (*k, n.as_str())).collect();
            let old: Vec<(&str, &str)> = old.iter().map(|kind| (*kind, "old")).collect();
            let plan = run(&set(&desired), &[], &old);
            prop_assert!(plan.steps.windows(2).all(|pair| pair[0].group <= pair[1].group));
            prop_assert!(plan.steps.iter().skip_while(|s| s.action != Action::Prune).all(|s| s.action == Action::Prune));
        }
    }
}
