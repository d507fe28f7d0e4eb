//! Which differences matter most. In: a difference and its object's kind. Out:
//! a weight by the power that the field gives, so that of many differences
//! those come first that nobody may overlook.

use serde_json::Value;

use crate::compare::{Difference, OWN_MARKS, has_power, is_ours};
use crate::path::Segment;

/// How much power a field gives; the first is the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// The node itself: privileges, the host's namespaces and files.
    Host,
    /// As whom a Pod acts, and what a namespace or an aggregation lets in.
    Identity,
    /// What runs.
    Program,
    /// What others may do.
    Permission,
    /// What a program reads.
    Environment,
    /// Who is asked about writes.
    Webhook,
    Rest,
    /// Our own marks.
    Mark,
}

/// The most powerful first; those of one weight stay in the order of their
/// paths.
pub fn sort(differences: &mut [Difference]) {
    differences.sort_by_cached_key(weight);
}

/// How much power the field of a difference gives.
pub fn weight(difference: &Difference) -> Weight {
    let names = difference.path.0.iter().filter_map(|segment| match segment {
        Segment::Field(name) => Some(name.as_str()),
        _ => None,
    });
    if difference.path.head() == "metadata" {
        return names.skip(2).map(of_mark).next().unwrap_or(Weight::Permission);
    }
    let of_path = names.map(of_field).min().unwrap_or(Weight::Rest);
    // A whole container or volume weighs as much as what is in it.
    let within = [&difference.git, &difference.tried];
    within.into_iter().flatten().map(of_value).fold(of_path, Weight::min)
}

/// Labels, annotations and finalizers.
fn of_mark(key: &str) -> Weight {
    if OWN_MARKS.contains(&key) {
        Weight::Mark
    } else if has_power(key) || is_ours(key) {
        Weight::Identity
    } else {
        Weight::Rest
    }
}

/// The fields of a value, as deep as a container's security context.
fn of_value(value: &Value) -> Weight {
    let fields = value.as_object().into_iter().flatten();
    fields.map(|(name, _)| of_field(name)).min().unwrap_or(Weight::Rest)
}

fn of_field(name: &str) -> Weight {
    match name {
        "securityContext"
        | "privileged"
        | "allowPrivilegeEscalation"
        | "capabilities"
        | "hostNetwork"
        | "hostPID"
        | "hostIPC"
        | "hostUsers"
        | "hostPath"
        | "hostPort"
        | "procMount"
        | "runAsUser" => Weight::Host,
        "serviceAccountName" | "serviceAccount" | "automountServiceAccountToken" | "imagePullSecrets" => {
            Weight::Identity
        }
        "containers" | "initContainers" | "ephemeralContainers" | "image" | "command" | "args" => {
            Weight::Program
        }
        "rules" | "subjects" | "roleRef" | "aggregationRule" => Weight::Permission,
        "env" | "envFrom" | "volumes" | "volumeMounts" | "volumeDevices" | "data" | "binaryData"
        | "stringData" => Weight::Environment,
        "webhooks" | "clientConfig" | "validations" | "mutations" | "failurePolicy" => Weight::Webhook,
        _ => Weight::Rest,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::compare::Op;

    fn difference(path: &str, tried: Value) -> Difference {
        Difference { path: path.parse().unwrap(), op: Op::Add, git: None, tried: Some(tried) }
    }

    #[test]
    fn the_most_powerful_comes_first() {
        let paths = [
            "spec.template.spec.hostNetwork",
            "metadata.labels[\"pod-security.kubernetes.io/enforce\"]",
            "spec.template.spec.serviceAccountName",
            "spec.template.spec.containers[name=web].image",
            "metadata.ownerReferences",
            "rules[0].verbs",
            "data.motd",
            "webhooks[name=a.b.c].timeoutSeconds",
            "metadata.labels.team",
            "spec.replicas",
            "metadata.annotations[\"kubectl-gitops.dev/revision\"]",
        ];
        let mut shuffled: Vec<Difference> =
            paths.iter().rev().map(|path| difference(path, json!(1))).collect();
        shuffled.sort_by(|a, b| a.path.cmp(&b.path));
        sort(&mut shuffled);
        let sorted: Vec<String> = shuffled.iter().map(|difference| difference.path.to_string()).collect();
        let weights: Vec<Weight> = shuffled.iter().map(weight).collect();
        assert!(weights.is_sorted(), "{sorted:?} {weights:?}");
        assert_eq!(
            (sorted.first().unwrap().as_str(), sorted.last().unwrap().as_str()),
            (paths[0], paths[10])
        );
        let of = |path: &str| weight(&difference(path, json!(1)));
        let all: Vec<Weight> = paths.iter().map(|path| of(path)).collect();
        assert!(all.is_sorted(), "{all:?}");
    }

    #[test]
    fn a_whole_element_weighs_what_is_in_it() {
        let plain = difference("spec.containers[name=x]", json!({"name": "x", "image": "x"}));
        let strong = difference(
            "spec.containers[name=x]",
            json!({"name": "x", "securityContext": {"privileged": true}}),
        );
        let volume = difference("spec.volumes[name=v]", json!({"name": "v", "hostPath": {"path": "/"}}));
        assert_eq!(
            (weight(&plain), weight(&strong), weight(&volume)),
            (Weight::Program, Weight::Host, Weight::Host)
        );
    }
}
