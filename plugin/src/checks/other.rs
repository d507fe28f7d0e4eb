//! Another cluster beside the hub. In: both, and the Applications that go
//! there. Out: findings, each failure with its remedy.

use std::collections::BTreeSet;

use gitops_api::{Application, Project};
use gitops_cluster::{Access, Cluster, ErrorKind};
use gitops_core::names::{GROUP, IN_CLUSTER, SYSTEM_NAMESPACE};
use serde_json::Value;

use super::{Check, Finding};
use crate::applications::Destination;
use crate::error::code;

/// Minor versions of Kubernetes by which a render may well differ.
const SKEW: u32 = 3;
/// Seconds by which clocks may differ.
const CLOCK: i64 = 5;
const UPGRADE: &str =
    "install the same version in both: helm upgrade gitops charts/gitops --namespace gitops-system --wait";

/// The way out when a cluster cannot be asked.
pub fn remedy(failed: u8, add: &str) -> String {
    if failed == code::UNREACHABLE {
        format!(
            "see whether it runs and the hub's network leads there; under another address: {add} --address URL"
        )
    } else {
        format!("give the hub new credentials: {add}")
    }
}

/// Versions and clocks.
pub async fn beside(hub: &Destination, there: &Destination) -> Vec<Check> {
    let minor = |version: &str| -> u32 {
        version.split('.').nth(1).and_then(|minor| minor.trim_end_matches('+').parse().ok()).unwrap_or(0)
    };
    let (ours, theirs) = (&hub.environment.kube_version, &there.environment.kube_version);
    let apart = minor(ours).abs_diff(minor(theirs));
    let skew = if apart > SKEW {
        Finding::warned(
            format!("the hub has {ours}, it has {theirs}: charts may render otherwise"),
            "upgrade the older one",
        )
    } else {
        Finding::passed(format!("{theirs}; the hub has {ours}"))
    };
    let clocks = match (clock(&hub.cluster).await, clock(&there.cluster).await) {
        (Ok(ours), Ok(theirs)) if (ours - theirs).abs() > CLOCK => Finding::warned(
            format!("they differ by {} s", (ours - theirs).abs()),
            "let both keep time by NTP: tokens and certificates of one may not count in the other yet",
        ),
        (Ok(_), Ok(_)) => Finding::passed(""),
        (Err(why), _) | (_, Err(why)) => Finding::warned(why, "compare them by hand: date -u"),
    };
    vec![
        Check::new("cluster", "its version is near the hub's", skew),
        Check::new("cluster", "its clock is as the hub's", clocks),
    ]
}

/// Seconds since 1970 by an API server's own clock, which it stamps on what it
/// makes.
async fn clock(cluster: &Cluster) -> Result<i64, String> {
    let stamp = cluster.clock().await.map_err(|error| error.to_string())?;
    let time: jiff::Timestamp = stamp.parse().map_err(|_| format!("{stamp:?} is no time"))?;
    // What passed between two questions does not count.
    Ok(time.as_second() - jiff::Timestamp::now().as_second())
}

fn namespaces(applications: &[Value]) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut homes, mut filled) = (BTreeSet::new(), BTreeSet::new());
    for application in applications {
        let text = |pointer: &str| {
            application.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let home = text("/metadata/namespace");
        let destination = text("/spec/destination/namespace");
        filled.insert(if destination.is_empty() { home.clone() } else { destination });
        homes.insert(home);
    }
    (homes, filled)
}

/// What the hub may do there: read everywhere, and write where Applications go.
pub async fn rights(there: &Destination, applications: &[Value], add: &str) -> Vec<Check> {
    let access =
        |verb, group, resource, namespace| Access { verb, group, resource, subresource: "", namespace };
    let (homes, filled) = namespaces(applications);
    let mut wanted = vec![access("list", "", "namespaces", ""), access("list", "apps", "deployments", "")];
    let knows = there.discovery.preferred(GROUP, "Application").is_some();
    if knows {
        wanted.push(access("get", GROUP, "projects", ""));
    }
    for home in &homes {
        wanted.push(access("create", "coordination.k8s.io", "leases", home));
        if knows {
            wanted.push(access("create", GROUP, "applications", home));
            wanted.push(access("manage", GROUP, "applications", home));
        }
    }
    for namespace in &filled {
        for verb in ["create", "patch", "delete"] {
            wanted.push(access(verb, "apps", "deployments", namespace));
        }
    }
    let mut checks = Vec::new();
    for access in wanted {
        let place =
            if access.namespace.is_empty() { String::new() } else { format!(" in {}", access.namespace) };
        let name = format!("the hub may {} {}{place}", access.verb, access.resource);
        let finding = match there.cluster.may(&access).await {
            Ok(true) => Finding::passed(""),
            Ok(false) if access.namespace.is_empty() => Finding::failed("it may not", add),
            Ok(false) => Finding::failed("it may not", format!("{add} --namespaces {}", access.namespace)),
            Err(error) => Finding::of(&error.into()),
        };
        checks.push(Check::new("rights", name, finding));
    }
    checks
}

/// The same helm and kustomize come with the same image.
pub async fn same_programs(hub: &Destination, there: &Destination) -> Vec<Check> {
    let (ours, theirs) = (image(&hub.cluster).await, image(&there.cluster).await);
    let finding = match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours != theirs => Finding::warned(
            format!("the hub runs {ours}, it runs {theirs}: they may render otherwise"),
            UPGRADE,
        ),
        (Some(_), Some(theirs)) => Finding::passed(theirs),
        // Told beside what is installed.
        _ => return Vec::new(),
    };
    vec![Check::new("installation", "it renders by the same programs as the hub", finding)]
}

/// The image of the webhook, or of the controller where there is no webhook.
async fn image(cluster: &Cluster) -> Option<String> {
    for name in ["gitops-webhook", "gitops-controller"] {
        let path = format!("/apis/apps/v1/namespaces/{SYSTEM_NAMESPACE}/deployments/{name}");
        if let Ok(deployment) = cluster.get_json(&path).await {
            let image = deployment.pointer("/spec/template/spec/containers/0/image")?.as_str()?;
            return Some(image.rsplit('/').next().unwrap_or(image).to_owned());
        }
    }
    None
}

/// Whether that cluster's Projects take what is meant for it.
pub async fn projects(there: &Destination, applications: &[Value]) -> Vec<Check> {
    if there.discovery.preferred(GROUP, "Project").is_none() {
        return Vec::new();
    }
    let mut checks = Vec::new();
    for application in applications {
        let Ok(mut application) = serde_json::from_value::<Application>(application.clone()) else {
            continue;
        };
        application.spec.destination.cluster = IN_CLUSTER.into();
        let reference = gitops_engine::follow::reference(&application);
        let name = &application.spec.project;
        let path = format!("/apis/{GROUP}/v1alpha1/projects/{name}");
        let remedy = format!(
            "mend Project {name} in that cluster, in the chart's values or by those with the verb manage"
        );
        let finding = match there.cluster.get_json(&path).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Finding::failed(format!("there is no Project {name:?} there"), remedy)
            }
            Err(error) => Finding::of(&error.into()),
            Ok(project) => match serde_json::from_value::<Project>(project) {
                Err(error) => Finding::failed(error.to_string(), UPGRADE),
                Ok(project) => match project.admits(&reference.namespace, &application.spec) {
                    Ok(()) => Finding::passed(""),
                    Err(refusal) => Finding::failed(refusal.to_string(), remedy),
                },
            },
        };
        checks.push(Check::new("projects", format!("{reference} is taken there"), finding));
    }
    checks
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_application_without_a_destination_fills_its_own_namespace() {
        let of = |namespace: &str, destination: Value| json!({"metadata": {"namespace": namespace}, "spec": {"destination": destination}});
        let all = [of("a", json!({"namespace": "x"})), of("b", json!({"cluster": "east"}))];
        let (homes, filled) = namespaces(&all);
        assert_eq!(homes.into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(filled.into_iter().collect::<Vec<_>>(), ["b", "x"]);
    }
}
