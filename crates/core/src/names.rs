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

/// Annotation of an Application's Lease: where its objects may be, and what has run,
/// as JSON.
pub const ANNOTATION_PLACES: &str = "kubectl-gitops.dev/places";

/// Annotation: what a person asks of the controller, as JSON.
pub const ANNOTATION_REQUEST: &str = "kubectl-gitops.dev/request";
/// Annotation of an Override, or beside a request: the user who asked for it, as
/// the API server knew them.
pub const ANNOTATION_REQUESTED_BY: &str = "kubectl-gitops.dev/requested-by";

/// Annotation of the controller's own Lease: when each repository was pushed to.
pub const ANNOTATION_PUSHED: &str = "kubectl-gitops.dev/pushed";
/// And which deliveries told of that.
pub const ANNOTATION_DELIVERIES: &str = "kubectl-gitops.dev/deliveries";

/// Label of a Secret that describes a cluster, and its value.
pub const LABEL_SECRET_TYPE: &str = "kubectl-gitops.dev/secret-type";
/// The same label in Argo CD's format.
pub const LABEL_ARGOCD_SECRET_TYPE: &str = "argocd.argoproj.io/secret-type";
/// Value of both labels.
pub const SECRET_TYPE_CLUSTER: &str = "cluster";
/// Its value where a Secret lets measurements in somewhere.
pub const SECRET_TYPE_ANALYSIS: &str = "analysis";
/// Annotation of such a Secret: Secrets for repositories go along with
/// Applications.
pub const ANNOTATION_MIRROR_SECRETS: &str = "kubectl-gitops.dev/mirror-secrets";
/// Namespace in which clusters are registered.
pub const CLUSTERS_NAMESPACE: &str = "gitops-clusters";
/// The name of the cluster that an Application is in.
pub const IN_CLUSTER: &str = "in-cluster";
/// Label of a mirror of an Application: the hub that it comes from, and that
/// syncs it.
pub const LABEL_HUB: &str = "kubectl-gitops.dev/hub";
/// Annotation of a mirror: uid of the hub's namespace kube-system.
pub const ANNOTATION_HUB_UID: &str = "kubectl-gitops.dev/hub-uid";

/// Finalizer, only where cascading deletion was asked for.
pub const FINALIZER_PRUNE: &str = "kubectl-gitops.dev/prune";

/// Field manager of plugin and controller.
pub const FIELD_MANAGER: &str = "kubectl-gitops";
/// Field manager of rollouts.
pub const FIELD_MANAGER_ROLLOUT: &str = "gitops-rollout";
/// Field manager of the webhook for its own configurations.
pub const FIELD_MANAGER_WEBHOOK: &str = "gitops-webhook";
