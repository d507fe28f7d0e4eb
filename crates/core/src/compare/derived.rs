//! Defaults that depend on other fields. In: a desired struct, the field that
//! it leaves out, and the live struct. Out: whether the live value is what
//! Kubernetes puts there. Sources: pkg/apis/*/v*/defaults.go, v1.37.

use serde_json::{Value, json};

/// Where a comparison stands, as far as derived defaults need it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    pub(super) kind: &'a str,
    /// `spec` of the nearest pod.
    pub(super) host_network: bool,
}

/// What Kubernetes puts into `definition.field` where `want` leaves it out.
pub(super) fn default(definition: &str, field: &str, want: &Value, scene: Scene<'_>) -> Option<Value> {
    let text = |name: &str| want.get(name).and_then(Value::as_str);
    Some(match (definition, field) {
        ("core.v1.Container" | "core.v1.EphemeralContainer", "imagePullPolicy") => {
            pull_policy(text("image")?).into()
        }
        ("core.v1.ContainerPort", "hostPort") if scene.host_network => want.get("containerPort")?.clone(),
        ("core.v1.ServicePort", "targetPort") => want.get("port")?.clone(),
        ("core.v1.PodSpec", "serviceAccount") => want.get("serviceAccountName")?.clone(),
        ("core.v1.PodSpec", "serviceAccountName") => want.get("serviceAccount")?.clone(),
        ("core.v1.ResourceRequirements" | "core.v1.VolumeResourceRequirements", "requests") => {
            want.get("limits")?.clone()
        }
        ("core.v1.Volume", "emptyDir") if want.as_object()?.len() == 1 => json!({}),
        ("core.v1.PersistentVolumeClaimSpec", "dataSourceRef") => want.get("dataSource")?.clone(),
        ("core.v1.PersistentVolumeClaimSpec", "dataSource") => want.get("dataSourceRef")?.clone(),
        ("networking.v1.NetworkPolicySpec", "policyTypes") => {
            let egress = want.get("egress").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
            if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) }
        }
        ("rbac.v1.Subject", "apiGroup") if text("kind")? != "ServiceAccount" => {
            json!("rbac.authorization.k8s.io")
        }
        ("batch.v1.JobSpec", "podReplacementPolicy") if want.get("podFailurePolicy").is_some() => {
            json!("Failed")
        }
        ("batch.v1.JobSpec", "backoffLimit") if want.get("backoffLimitPerIndex").is_some() => json!(i32::MAX),
        ("core.v1.ServiceSpec", "sessionAffinityConfig") if text("sessionAffinity") == Some("ClientIP") => {
            json!({"clientIP": {"timeoutSeconds": 10800}})
        }
        _ => return None,
    })
}

/// Whether Kubernetes fills `definition.field`, given what the rest says.
pub(super) fn filled(definition: &str, field: &str, want: &Value) -> bool {
    match (definition, field) {
        // The aggregation controller writes them.
        ("rbac.v1.ClusterRole", "rules") => want.get("aggregationRule").is_some(),
        // The token controller writes them.
        ("core.v1.Secret", "data") => {
            want.get("type").and_then(Value::as_str) == Some("kubernetes.io/service-account-token")
        }
        _ => false,
    }
}

/// Keys of a map that Kubernetes adds to those that Git declares.
pub(super) fn filled_key(scene: Scene<'_>, path: &[&str], key: &str) -> bool {
    match path {
        ["spec", "template", "metadata", "labels"] if scene.kind == "Job" => {
            matches!(key, "controller-uid" | "job-name") || key.starts_with("batch.kubernetes.io/")
        }
        _ => false,
    }
}

/// Images without a tag, or with `latest`, are pulled always; by digest not.
fn pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    match image.rsplit('/').next().and_then(|name| name.split_once(':')) {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}
