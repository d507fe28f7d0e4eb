//! An object's own metadata: declared labels, annotations and finalizers are
//! held; owner references, our prefix and prefixes that carry power are
//! closed; the rest is free, in every kind.

use serde_json::{Map, Value};

use super::{Difference, Op};
use crate::names::{
    ANNOTATION_ORIGIN, ANNOTATION_OWNER, ANNOTATION_REQUEST, ANNOTATION_REQUESTED_BY, ANNOTATION_REVISION,
    API_VERSION, GROUP, LABEL_APPLICATION, PREFIX,
};
use crate::path::{Path, Segment};

/// Marks that every sync sets. They are no drift; the verdict holds them.
pub const OWN_MARKS: &[&str] = &[LABEL_APPLICATION, ANNOTATION_OWNER, ANNOTATION_REVISION, ANNOTATION_ORIGIN];

/// Prefixes of labels and annotations that change what an object may do.
const POWER: &[&str] = &[
    "pod-security.kubernetes.io/",
    "rbac.authorization.k8s.io/aggregate-",
    "service.beta.kubernetes.io/",
    "service.kubernetes.io/",
    "nginx.ingress.kubernetes.io/",
    "alb.ingress.kubernetes.io/",
    "haproxy.org/",
    "traefik.ingress.kubernetes.io/",
    "external-dns.alpha.kubernetes.io/",
    "storageclass.kubernetes.io/is-default-class",
    "ingressclass.kubernetes.io/is-default-class",
    "scheduler.alpha.kubernetes.io/",
    "container.apparmor.security.beta.kubernetes.io/",
    "seccomp.security.alpha.kubernetes.io/",
    "admission.gatekeeper.sh/",
    "istio-injection",
    "sidecar.istio.io/",
    "traffic.sidecar.istio.io/",
    "linkerd.io/",
    "kubernetes.io/ingress.class",
    "cert-manager.io/",
    // Who a service account is to a cloud.
    "eks.amazonaws.com/",
    "iam.gke.io/",
    "azure.workload.identity/",
    // Where traffic comes in.
    "networking.gke.io/",
    "cloud.google.com/",
    "metallb.io/",
    "metallb.universe.tf/",
    "k8s.v1.cni.cncf.io/networks",
    // Fields of autoscaling/v2 in an object of autoscaling/v1.
    "autoscaling.alpha.kubernetes.io/metrics",
    "autoscaling.alpha.kubernetes.io/behavior",
];

/// Whether a label or annotation changes what its object may do.
pub fn has_power(key: &str) -> bool {
    POWER.iter().any(|prefix| key.starts_with(prefix))
}

/// Whether a key is one of ours.
pub fn is_ours(key: &str) -> bool {
    key.starts_with(PREFIX)
}

/// Whether objects of this kind carry what a person asks of the controller, as
/// an annotation.
pub fn carries_requests(group: &str, kind: &str) -> bool {
    group == GROUP && matches!(kind, "Application" | "Rollout")
}

pub(super) fn compare(want: &Value, live: &Value, out: &mut Vec<Difference>) {
    for field in ["labels", "annotations"] {
        let asks = field == "annotations" && is_asked(want);
        keys(field, map(want, field), map(live, field), asks, out);
    }
    finalizers(want, live, out);
    owners(want, live, out);
}

fn map<'a>(object: &'a Value, field: &str) -> Option<&'a Map<String, Value>> {
    object.get("metadata")?.get(field)?.as_object()
}

/// A list of the metadata; one that is absent is empty.
fn list<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    let found = object.get("metadata").and_then(|metadata| metadata.get(field)?.as_array());
    found.map_or(&[], Vec::as_slice)
}

fn at(field: &str, key: &str) -> Path {
    Path(["metadata", field, key].map(|name| Segment::Field(name.to_owned())).to_vec())
}

fn keys(
    field: &str,
    want: Option<&Map<String, Value>>,
    live: Option<&Map<String, Value>>,
    asks: bool,
    out: &mut Vec<Difference>,
) {
    let free = |key: &str| {
        OWN_MARKS.contains(&key) || asks && [ANNOTATION_REQUEST, ANNOTATION_REQUESTED_BY].contains(&key)
    };
    let of = |map: Option<&Map<String, Value>>, key: &str| map.and_then(|map| map.get(key)).cloned();
    for (key, value) in want.into_iter().flatten() {
        if OWN_MARKS.contains(&key.as_str()) {
            continue;
        }
        let tried = of(live, key);
        if tried.as_ref() != Some(value) {
            let op = if tried.is_some() { Op::Change } else { Op::Remove };
            out.push(Difference { path: at(field, key), op, git: Some(value.clone()), tried });
        }
    }
    for (key, value) in live.into_iter().flatten() {
        let closed = (is_ours(key) && !free(key)) || has_power(key);
        if closed && of(want, key).is_none() {
            out.push(Difference { path: at(field, key), op: Op::Add, git: None, tried: Some(value.clone()) });
        }
    }
}

fn is_asked(want: &Value) -> bool {
    let kind = want.get("kind").and_then(Value::as_str).unwrap_or_default();
    want.get("apiVersion").and_then(Value::as_str) == Some(API_VERSION) && carries_requests(GROUP, kind)
}

fn finalizers(want: &Value, live: &Value, out: &mut Vec<Difference>) {
    let (wanted, there) = (list(want, "finalizers"), list(live, "finalizers"));
    for finalizer in wanted.iter().filter(|finalizer| !there.contains(finalizer)) {
        let item = Segment::Item(finalizer.as_str().unwrap_or_default().to_owned());
        let path = Path::root().field("metadata").field("finalizers").child(item);
        out.push(Difference { path, op: Op::Remove, git: Some(finalizer.clone()), tried: None });
    }
}

fn owners(want: &Value, live: &Value, out: &mut Vec<Difference>) {
    let (git, tried) = (list(want, "ownerReferences"), list(live, "ownerReferences"));
    if git != tried {
        let some = |list: &[Value]| (!list.is_empty()).then(|| Value::from(list.to_vec()));
        let (git, tried) = (some(git), some(tried));
        let op = match (&git, &tried) {
            (None, _) => Op::Add,
            (_, None) => Op::Remove,
            _ => Op::Change,
        };
        out.push(Difference {
            path: Path::root().field("metadata").field("ownerReferences"),
            op,
            git,
            tried,
        });
    }
}
