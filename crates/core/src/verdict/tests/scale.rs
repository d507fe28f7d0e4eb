//! Replicas: by hand, by an autoscaler, and of custom kinds.

use serde_json::{Value, json};

use super::*;
use crate::delegation::{Bounds, Free};

fn shard(size: u32) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Shard", "metadata": {"name": "web", "namespace": "shop"}, "spec": {"size": size}})
}

fn shard_scale(replicas: u32) -> Value {
    scale(replicas)
}

/// Git leaves the replicas out.
fn unscaled() -> Vec<(&'static str, Option<Value>)> {
    let mut value = web("web:1", 2);
    value["spec"].as_object_mut().unwrap().remove("replicas");
    vec![("c2", Some(value))]
}

fn autoscaled() -> Vec<Free> {
    let bounds = Bounds { min: Some(1), max: Some(9), by: "HorizontalPodAutoscaler web".into() };
    vec![Free { path: crate::delegation::replicas(), bounds: Some(bounds), manager: None }]
}

/// A StatefulSet of which a Rollout holds a version back.
fn stateful(replicas: u32, partition: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web", "namespace": "shop"}, "spec": {
        "replicas": replicas, "updateStrategy": {"rollingUpdate": {"partition": partition}}}})
}

pub(super) fn cases() -> Vec<Case> {
    let gated = || vec![("c2", Some(stateful(10, 8)))];
    let undeclared = || {
        let mut value = stateful(10, 8);
        value["spec"].as_object_mut().unwrap().remove("replicas");
        vec![("c2", Some(value))]
    };
    vec![
        Case { wants: gated(), ..scaled("Pods that the partition is not told of", "partition", 5, 10) },
        Case {
            wants: gated(),
            ..update("nor by the object itself", "partition", stateful(5, 4), stateful(10, 4))
        },
        Case { wants: gated(), ..update("both at once", "", stateful(5, 4), stateful(10, 8)) },
        Case { wants: gated(), ..update("the partition first", "", stateful(5, 4), stateful(5, 8)) },
        Case { wants: gated(), ..update("and then more", "", stateful(5, 8), stateful(10, 8)) },
        Case { wants: undeclared(), ..scaled("where somebody scales", "", 5, 10) },
        scaled("scaling away from Git", "scale", 2, 5),
        scaled("scaling back to Git", "", 5, 2),
        Case { wants: unscaled(), ..scaled("replicas that Git leaves out", "", 2, 5) },
        Case {
            delegated: autoscaled(),
            wants: unscaled(),
            ..scaled("an autoscaler between its bounds", "", 2, 5)
        },
        Case { delegated: autoscaled(), wants: unscaled(), ..scaled("and outside of them", "scale", 5, 20) },
        Case { delegated: autoscaled(), wants: unscaled(), ..scaled("to zero", "scale", 5, 0) },
        Case {
            delegated: autoscaled(),
            wants: unscaled(),
            ..update("nor by the object itself", "toward-git", web("web:1", 5), web("web:1", 20))
        },
        Case {
            delegated: autoscaled(),
            wants: unscaled(),
            ..update("by the object itself", "", web("web:1", 5), web("web:1", 6))
        },
        Case {
            old: Some(shard_scale(3)),
            new: Some(shard_scale(9)),
            subresource: "scale",
            wants: vec![("c2", Some(shard(3)))],
            facts: Facts { scale_path: "spec.size".parse().ok(), ..Facts::default() },
            ..case("a custom kind's scale is the field that it sets", "scale")
        },
    ]
}
