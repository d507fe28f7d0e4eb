//! Storage: claims and volumes that find each other, and devices.

use serde_json::Value;

use super::fields::{at, flag, of_condition, sentence, when};
use super::{Health, HealthReport};

pub(super) fn health(group: &str, kind: &str, object: &Value) -> Option<HealthReport> {
    Some(match (group, kind) {
        ("", "PersistentVolumeClaim") => claim(object),
        ("", "PersistentVolume") => volume(object),
        ("storage.k8s.io", "VolumeAttachment") => attachment(object),
        ("resource.k8s.io", "ResourceClaim") => devices(object),
        _ => return None,
    })
}

fn claim(object: &Value) -> HealthReport {
    match at(object, "/status/phase") {
        "Bound" => {
            let failed = ["ControllerResizeError", "NodeResizeError", "ModifyVolumeError"];
            if let Some(condition) = failed.iter().find_map(|kind| when(object, kind, "True")) {
                return of_condition(Health::Degraded, condition);
            }
            let under_way = ["Resizing", "FileSystemResizePending", "ModifyingVolume"];
            if let Some(condition) = under_way.iter().find_map(|kind| when(object, kind, "True")) {
                return of_condition(Health::Progressing, condition);
            }
            HealthReport::healthy(format!("it is bound to {}", at(object, "/spec/volumeName")))
        }
        "Lost" => {
            HealthReport::degraded("Lost", format!("its volume {} is gone", at(object, "/spec/volumeName")))
        }
        _ => {
            let size = at(object, "/spec/resources/requests/storage");
            let of = match object.pointer("/spec/storageClassName").and_then(Value::as_str) {
                None => "no storage class is named, and there is no default".to_owned(),
                Some("") => "it takes no storage class, so a volume has to be made for it".to_owned(),
                Some(class) => format!("storage class {class}"),
            };
            HealthReport::progressing("Pending", format!("it has no volume of {size} yet ({of})"))
        }
    }
}

fn volume(object: &Value) -> HealthReport {
    let claim =
        || format!("{}/{}", at(object, "/spec/claimRef/namespace"), at(object, "/spec/claimRef/name"));
    match at(object, "/status/phase") {
        "Bound" => HealthReport::healthy(format!("it is bound to claim {}", claim())),
        "Available" => HealthReport::healthy("it is free for a claim"),
        "Released" => HealthReport::degraded(
            "Released",
            format!("its claim {} is gone; it takes no other until spec.claimRef is removed", claim()),
        ),
        "Failed" => HealthReport::degraded("Failed", sentence(at(object, "/status/message"))),
        _ => HealthReport::progressing("Pending", "it is not available yet"),
    }
}

fn attachment(object: &Value) -> HealthReport {
    let (volume, node) = (at(object, "/spec/source/persistentVolumeName"), at(object, "/spec/nodeName"));
    if flag(object, "/status/attached") {
        return HealthReport::healthy(format!("volume {volume} is attached to {node}"));
    }
    match at(object, "/status/attachError/message") {
        "" => {
            HealthReport::progressing("Attaching", format!("volume {volume} is not attached to {node} yet"))
        }
        words => HealthReport::degraded(
            "AttachError",
            format!("volume {volume} cannot be attached to {node}: {}", sentence(words)),
        ),
    }
}

fn devices(object: &Value) -> HealthReport {
    if object.pointer("/status/allocation").is_some() {
        HealthReport::healthy("its devices are allocated")
    } else {
        HealthReport::progressing("Pending", "no device is allocated to it yet")
    }
}
