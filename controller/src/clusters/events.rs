//! Events about clusters, on the Secrets that describe them.

use k8s_openapi::api::core::v1::ObjectReference;

use super::member::Member;
use crate::controller::Controller;

/// Tells of a cluster, on its Secret.
pub fn cluster(controller: &Controller, member: &Member, bad: bool, reason: &'static str, note: &str) {
    if let Some(registered) = &member.registered {
        let note = format!("cluster {}: {note}", member.name);
        controller.events.about(
            reference(&registered.secret, &controller.settings.clusters_namespace),
            bad,
            reason,
            &note,
        );
    }
}

/// Tells what is wrong with a Secret.
pub fn secret(controller: &Controller, name: &str, note: &str) {
    let namespace = &controller.settings.clusters_namespace;
    controller.events.about(reference(name, namespace), true, "ClusterUnknown", note);
}

fn reference(name: &str, namespace: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Secret".into()),
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ObjectReference::default()
    }
}
