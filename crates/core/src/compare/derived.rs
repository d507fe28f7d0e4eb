//! Defaults that depend on other fields. In: a desired struct, the field that
//! it leaves out, and the live struct. Out: whether the live value is what
//! Kubernetes puts there. Sources: pkg/apis/*/v*/defaults.go and the admission
//! plugins that are on by default, v1.37.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::scalar::nanos;
use crate::object::Gvk;

/// Where a comparison stands, as far as derived defaults need it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    pub(super) kind: &'a str,
    /// The nearest pod's spec, as Git has it.
    pub(super) pod: Option<&'a Value>,
}

impl Scene<'_> {
    fn is_on_host(&self) -> bool {
        self.pod.is_some_and(|pod| pod.get("hostNetwork") == Some(&Value::Bool(true)))
    }
}

/// What Kubernetes puts into `definition.field` where `want`, in the field
/// `parent`, leaves it out.
pub(super) fn default(
    definition: &str,
    field: &str,
    want: &Value,
    parent: &str,
    scene: Scene<'_>,
) -> Option<Value> {
    let text = |name: &str| want.get(name).and_then(Value::as_str);
    Some(match (definition, field) {
        ("core.v1.Container" | "core.v1.EphemeralContainer", "imagePullPolicy") => {
            pull_policy(text("image")?).into()
        }
        ("core.v1.ImageVolumeSource", "pullPolicy") => pull_policy(text("reference")?).into(),
        // Templates leave these to their Pods.
        ("core.v1.ContainerPort", "hostPort") if scene.is_on_host() && scene.kind == "Pod" => {
            want.get("containerPort")?.clone()
        }
        ("core.v1.ServicePort", "targetPort") => want.get("port")?.clone(),
        ("core.v1.PodSpec", "serviceAccount" | "serviceAccountName") => {
            let declared = want.get("serviceAccountName").or_else(|| want.get("serviceAccount"));
            declared.cloned().or_else(|| (scene.kind == "Pod").then(|| json!("default")))?
        }
        ("core.v1.PodSpec", "priority") if scene.kind == "Pod" => json!(0),
        ("core.v1.PodSpec", "preemptionPolicy") if scene.kind == "Pod" => json!("PreemptLowerPriority"),
        ("core.v1.ObjectReference", "kind") if parent == "claimRef" => json!("PersistentVolumeClaim"),
        ("core.v1.ObjectReference", "apiVersion") if parent == "claimRef" => json!("v1"),
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
        ("batch.v1.JobSpec", "completions") if want.get("parallelism").is_none() => json!(1),
        ("core.v1.ReplicationControllerSpec", "selector") => {
            want.pointer("/template/metadata/labels")?.clone()
        }
        ("apiextensions.v1.CustomResourceDefinitionNames", "singular") => text("kind")?.to_lowercase().into(),
        ("apiextensions.v1.CustomResourceDefinitionNames", "listKind") => {
            format!("{}List", text("kind")?).into()
        }
        ("batch.v1.JobSpec", "backoffLimit") if want.get("backoffLimitPerIndex").is_some() => json!(i32::MAX),
        ("core.v1.ServiceSpec", "sessionAffinityConfig") if text("sessionAffinity") == Some("ClientIP") => {
            json!({"clientIP": {"timeoutSeconds": 10800}})
        }
        ("autoscaling.v2.HPAScalingRules", "stabilizationWindowSeconds") if parent == "scaleUp" => json!(0),
        ("autoscaling.v2.HPAScalingRules", "policies") if parent == "scaleUp" => {
            json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}])
        }
        ("autoscaling.v2.HPAScalingRules", "policies") if parent == "scaleDown" => {
            json!([{"type": "Percent", "value": 100, "periodSeconds": 15}])
        }
        ("resource.v1.ExactDeviceRequest" | "resource.v1.DeviceSubRequest", "count")
            if matches!(text("allocationMode"), None | Some("" | "ExactCount")) =>
        {
            json!(1)
        }
        _ => return None,
    })
}

/// Whether Kubernetes fills `definition.field` with what is there, given what
/// the rest of the struct `want`, in the field `parent`, says.
pub(super) fn filled(
    definition: &str,
    field: &str,
    want: &Value,
    live: &Value,
    parent: &str,
    scene: Scene<'_>,
) -> bool {
    let text = |field: &str| want.get(field).and_then(Value::as_str);
    let names = |field: &str| text(field).is_some_and(|name| !name.is_empty());
    match (definition, field) {
        // The aggregation controller writes them.
        ("rbac.v1.ClusterRole", "rules") => want.get("aggregationRule").is_some(),
        // The token controller writes them.
        ("core.v1.Secret", "data") => {
            want.get("type").and_then(Value::as_str) == Some("kubernetes.io/service-account-token")
        }
        // The scheduler writes it; the service account has them.
        ("core.v1.PodSpec", "nodeName" | "imagePullSecrets") => scene.kind == "Pod",
        // Given out by the API server, which makes no Service headless.
        ("core.v1.ServiceSpec", "clusterIP") => {
            live != "None" || want.get("clusterIPs") == Some(&json!(["None"]))
        }
        ("core.v1.ServiceSpec", "clusterIPs") => {
            *live != json!(["None"]) || text("clusterIP") == Some("None")
        }
        ("batch.v1.JobSpec", "selector") => want.get("manualSelector") != Some(&Value::Bool(true)),
        // The volume is bound to just this claim.
        ("core.v1.ObjectReference", "uid" | "resourceVersion") => {
            scene.kind == "PersistentVolume" && parent == "claimRef"
        }
        // Admission gives those without one the cluster's default class.
        ("networking.v1.IngressSpec", "ingressClassName") => true,
        // Admission or a controller chooses them; in a template nobody does.
        ("core.v1.PersistentVolumeClaimSpec", "storageClassName" | "volumeName") => {
            scene.kind == "PersistentVolumeClaim"
        }
        // The classes have them, and the API server refuses others.
        ("core.v1.PodSpec", "priority" | "preemptionPolicy") => {
            scene.kind == "Pod" && names("priorityClassName")
        }
        ("core.v1.PodSpec", "overhead") => scene.kind == "Pod" && names("runtimeClassName"),
        _ => false,
    }
}

/// What Kubernetes puts for one resource of a map of quantities that leaves it
/// out.
pub(super) fn quantity<'v>(
    definition: &str,
    field: &str,
    want: &'v Value,
    resource: &str,
    scene: Scene<'_>,
) -> Option<&'v Value> {
    let of = |field: &str| want.get(field)?.get(resource);
    match (definition, field) {
        // Templates leave them to their Pods.
        ("core.v1.ResourceRequirements", "requests") if scene.kind == "Pod" => of("limits"),
        ("core.v1.LimitRangeItem", _) if want.get("type").and_then(Value::as_str) != Some("Container") => {
            None
        }
        ("core.v1.LimitRangeItem", "default") => of("max"),
        ("core.v1.LimitRangeItem", "defaultRequest") => {
            of("default").or_else(|| of("max")).or_else(|| of("min"))
        }
        _ => None,
    }
}

/// The request for one resource that a Pod as a whole gets from its containers
/// (component-helpers, `AggregateContainerRequests`), in billionths; none when
/// they request none, so that it is the limit.
pub(super) fn pod_request(field: &str, want: &Value, resource: &str, scene: Scene<'_>) -> Option<i128> {
    let limits = want.get("limits").and_then(Value::as_object).is_some_and(|limits| !limits.is_empty());
    if scene.kind != "Pod" || field != "requests" || !limits || !matches!(resource, "cpu" | "memory") {
        return None;
    }
    let of = |containers: &str| scene.pod?.get(containers)?.as_array();
    let request = |container: &Value| {
        let of = |kind: &str| container.get("resources")?.get(kind)?.get(resource);
        of("requests").or_else(|| of("limits")).and_then(nanos)
    };
    let is_sidecar =
        |container: &Value| container.get("restartPolicy").and_then(Value::as_str) == Some("Always");
    let (mut sum, mut sidecars, mut starting, mut any) = (0_i128, 0_i128, 0_i128, false);
    for container in of("containers").into_iter().flatten() {
        any |= request(container).is_some();
        sum = sum.saturating_add(request(container).unwrap_or(0));
    }
    for container in of("initContainers").into_iter().flatten() {
        any |= request(container).is_some();
        let own = request(container).unwrap_or(0);
        if is_sidecar(container) {
            sum = sum.saturating_add(own);
            sidecars = sidecars.saturating_add(own);
            starting = starting.max(sidecars);
        } else {
            starting = starting.max(own.saturating_add(sidecars));
        }
    }
    any.then_some(sum.max(starting))
}

/// The live object without what admission and controllers add to its lists.
pub(super) fn without_filled<'v>(gvk: &Gvk, want: &Value, live: &'v Value) -> Cow<'v, Value> {
    match (gvk.group.as_str(), gvk.kind.as_str()) {
        ("", "Pod") => Cow::Owned(without_admitted(want, live.clone())),
        ("", "Node") => Cow::Owned(without_conditions(want, live.clone())),
        _ => Cow::Borrowed(live),
    }
}

/// A Pod's token and the tolerations that every Pod gets.
fn without_admitted(want: &Value, mut pod: Value) -> Value {
    let no_token = want.pointer("/spec/automountServiceAccountToken") == Some(&Value::Bool(false));
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
    let token =
        volumes.and_then(|volumes| volumes.iter().find(|volume| !no_token && is_token(volume)).cloned());
    if let Some(name) = token.as_ref().and_then(|volume| volume.get("name")) {
        let mount = json!({"name": name, "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"});
        retain(&mut pod, "/spec/volumes", |volume| Some(volume) != token.as_ref());
        for containers in ["containers", "initContainers"] {
            let count = pod["spec"][containers].as_array().map_or(0, Vec::len);
            for index in 0..count {
                retain(&mut pod, &format!("/spec/{containers}/{index}/volumeMounts"), |m| *m != mount);
            }
        }
    }
    let declared = want.pointer("/spec/tolerations").and_then(Value::as_array);
    retain(&mut pod, "/spec/tolerations", |toleration| {
        declared.is_some_and(|declared| declared.contains(toleration)) || !is_given_toleration(toleration)
    });
    pod
}

/// As plugin/pkg/admission/serviceaccount makes it.
fn is_token(volume: &Value) -> bool {
    let name = volume.get("name").and_then(Value::as_str);
    name.is_some_and(|name| name.starts_with("kube-api-access-"))
        && volume.as_object().is_some_and(|volume| volume.len() == 2)
        && volume.get("projected")
            == Some(&json!({"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
            ]}))
}

/// As plugin/pkg/admission/defaulttolerationseconds gives them; the seconds
/// are the API server's settings.
fn is_given_toleration(toleration: &Value) -> bool {
    let is = |field: &str, text: &str| toleration.get(field).and_then(Value::as_str) == Some(text);
    (is("key", "node.kubernetes.io/not-ready") || is("key", "node.kubernetes.io/unreachable"))
        && is("operator", "Exists")
        && is("effect", "NoExecute")
        && toleration.get("tolerationSeconds").is_some()
        && toleration.as_object().is_some_and(|toleration| toleration.len() == 4)
}

/// A Node's taints that say in what state it is.
fn without_conditions(want: &Value, mut node: Value) -> Value {
    let key = |taint: &Value| taint.get("key").and_then(Value::as_str).map(str::to_owned);
    let declared = want.pointer("/spec/taints").and_then(Value::as_array);
    retain(&mut node, "/spec/taints", |taint| {
        let Some(key_here) = key(taint) else { return true };
        !key_here.starts_with("node.kubernetes.io/")
            || declared
                .is_some_and(|declared| declared.iter().any(|other| key(other).as_ref() == Some(&key_here)))
    });
    node
}

/// Keeps some elements of a list; none of them is no list.
fn retain(object: &mut Value, pointer: &str, keep: impl Fn(&Value) -> bool) {
    if let Some(value) = object.pointer_mut(pointer)
        && let Some(items) = value.as_array_mut()
    {
        items.retain(keep);
        if items.is_empty() {
            *value = Value::Null;
        }
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
