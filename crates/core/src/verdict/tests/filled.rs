//! Fields that Kubernetes fills once.

use serde_json::{Value, json};

use super::*;

fn ingress(class: &str) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"ingressClassName": Some(class).filter(|class| !class.is_empty())}})
}

fn claim(volume: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "shop"},
        "spec": {"volumeName": Some(volume).filter(|volume| !volume.is_empty())}})
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case {
            wants: vec![("c2", Some(ingress("")))],
            ..update(
                "an Ingress is not given another class",
                "filled-once",
                ingress("internal"),
                ingress("public"),
            )
        },
        Case {
            wants: vec![("c2", Some(ingress("")))],
            ..update("nor one by hand", "filled-once", ingress(""), ingress("public"))
        },
        Case {
            wants: vec![("c2", Some(claim("")))],
            ..update("a claim is bound once", "", claim(""), claim("pv-1"))
        },
        Case {
            wants: vec![("c2", Some(claim("")))],
            ..update("and not to another volume", "filled-once", claim("pv-1"), claim("pv-2"))
        },
    ]
}
