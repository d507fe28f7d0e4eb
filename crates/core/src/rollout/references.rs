//! What a pod template refers to. In: the template. Out: the ConfigMaps,
//! Secrets and ServiceAccounts without which its Pods do not start.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::object::ObjectKey;

/// The objects a template in this namespace refers to.
pub(super) fn references(template: &Value, namespace: &str) -> BTreeSet<ObjectKey> {
    let mut found = BTreeSet::new();
    let key = |kind: &str, name: &str| ObjectKey {
        group: String::new(),
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    visit(template, &mut |kind, name| {
        found.insert(key(kind, name));
    });
    found
}

fn visit(value: &Value, found: &mut dyn FnMut(&str, &str)) {
    match value {
        Value::Object(map) => {
            for (field, inner) in map {
                refer(field, inner, found);
                visit(inner, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| visit(item, found)),
        _ => {}
    }
}

/// By the names of the fields (core/v1: VolumeSource, EnvFromSource,
/// EnvVarSource, PodSpec).
fn refer(field: &str, value: &Value, found: &mut dyn FnMut(&str, &str)) {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    match field {
        "configMap" | "configMapRef" | "configMapKeyRef" => {
            if let Some(name) = text("name") {
                found("ConfigMap", name);
            }
        }
        "secret" | "secretRef" | "secretKeyRef" | "nodePublishSecretRef" => {
            if let Some(name) = text("secretName").or_else(|| text("name")) {
                found("Secret", name);
            }
        }
        "imagePullSecrets" => {
            for name in value.as_array().into_iter().flatten() {
                if let Some(name) = name.get("name").and_then(Value::as_str) {
                    found("Secret", name);
                }
            }
        }
        "serviceAccountName" => {
            if let Some(name) = value.as_str() {
                found("ServiceAccount", name);
            }
        }
        _ => {}
    }
}

/// Whether a name is another one when its content is, by its last part: a hash, as
/// kustomize's generators append it, or a version.
pub(super) fn tells_content(name: &str) -> bool {
    let last = name.rsplit(['-', '.']).next().unwrap_or_default();
    let is_hash = last.len() == 10 && last.bytes().all(|byte| HASH.contains(&byte));
    last.len() < name.len() && (is_hash || last.bytes().any(|byte| byte.is_ascii_digit()))
}

/// What kustomize writes hashes with (`api/hasher`): neither words nor numbers.
const HASH: &[u8] = b"bcdfghkmt2456789";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_hash_or_a_version_tells_the_content() {
        for name in ["web-config-7ft2h6k4mg", "web-gmtkhfdcbb", "web-2f6a91c0", "web-v2", "web.1"] {
            assert!(tells_content(name), "{name}");
        }
        for name in ["web", "web-config", "web2", "web2-config", "kube-root-ca.crt"] {
            assert!(!tells_content(name), "{name}");
        }
    }

    #[test]
    fn every_way_to_refer_is_seen() {
        let template = json!({"spec": {
            "serviceAccountName": "sa",
            "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"name": "web",
                "envFrom": [{"configMapRef": {"name": "env"}}, {"secretRef": {"name": "env-secret"}}],
                "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "one", "key": "k"}}},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "two", "key": "k"}}}]}],
            "volumes": [{"name": "a", "configMap": {"name": "files"}}, {"name": "b", "secret": {"secretName": "tls"}},
                {"name": "c", "projected": {"sources": [{"configMap": {"name": "p"}}, {"secret": {"name": "q"}}]}},
                {"name": "d", "emptyDir": {}}]}});
        let names: Vec<String> = references(&template, "shop").iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "ConfigMap shop/env",
                "ConfigMap shop/files",
                "ConfigMap shop/one",
                "ConfigMap shop/p",
                "Secret shop/env-secret",
                "Secret shop/pull",
                "Secret shop/q",
                "Secret shop/tls",
                "Secret shop/two",
                "ServiceAccount shop/sa",
            ]
        );
    }
}
