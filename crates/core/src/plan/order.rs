//! The order of kinds. In: a kind. Out: its place; the same place means side
//! by side.

/// Kinds in the order in which they are needed, as Helm and kubectl users know
/// it (Helm's InstallOrder); custom resources come after their definitions and
/// before the workloads that may read them, webhooks last.
pub(super) const ORDER: &[&str] = &[
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
