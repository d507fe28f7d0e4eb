//! Names that users, the API server and other tools see. Fixed: they are
//! stored in clusters.

/// Prefix of every label, annotation and finalizer of ours.
pub const PREFIX: &str = "kubectl-gitops.dev/";
/// API group of our custom resources.
pub const GROUP: &str = "kubectl-gitops.dev";
/// Version of our custom resources.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of our custom resources.
pub const API_VERSION: &str = "kubectl-gitops.dev/v1alpha1";
/// `apiVersion` of what commands print with `-o json`.
pub const OUTPUT_API_VERSION: &str = "output.kubectl-gitops.dev/v1alpha1";
/// Namespace the chart is installed into.
pub const SYSTEM_NAMESPACE: &str = "gitops-system";

/// Label: the Application that declares the object.
pub const LABEL_APPLICATION: &str = "kubectl-gitops.dev/application";
/// Label on Pods: hash of the desired pod template.
pub const LABEL_ROLLOUT_HASH: &str = "kubectl-gitops.dev/rollout-hash";
/// Label on Pods: `stable`, `canary` or `preview`.
pub const LABEL_TRACK: &str = "kubectl-gitops.dev/track";
/// Label on Pods: first 12 hex digits of the commit.
pub const LABEL_REVISION: &str = "kubectl-gitops.dev/revision";

/// Label on Jobs that measure a version: the uid of their Rollout.
pub const LABEL_ROLLOUT: &str = "kubectl-gitops.dev/rollout";
/// Annotation on them: template and metric.
pub const ANNOTATION_METRIC: &str = "kubectl-gitops.dev/metric";

/// Annotation: `namespace/name` of the owning Application.
pub const ANNOTATION_OWNER: &str = "kubectl-gitops.dev/owner";
/// Annotation: the commit of the last accepted write, in full.
pub const ANNOTATION_REVISION: &str = "kubectl-gitops.dev/revision";
/// Annotation: `file:line` in the repository.
pub const ANNOTATION_ORIGIN: &str = "kubectl-gitops.dev/origin";

/// Annotation: what a person asks of the controller, as JSON.
pub const ANNOTATION_REQUEST: &str = "kubectl-gitops.dev/request";
/// Annotation of an Override, or beside a request: the user who asked for it, as
/// the API server knew them.
pub const ANNOTATION_REQUESTED_BY: &str = "kubectl-gitops.dev/requested-by";

/// Finalizer, only where cascading deletion was asked for.
pub const FINALIZER_PRUNE: &str = "kubectl-gitops.dev/prune";

/// Field manager of plugin and controller.
pub const FIELD_MANAGER: &str = "kubectl-gitops";
/// Field manager of rollouts.
pub const FIELD_MANAGER_ROLLOUT: &str = "gitops-rollout";
/// Field manager of the webhook for its own configurations.
pub const FIELD_MANAGER_WEBHOOK: &str = "gitops-webhook";
