//! The hash that tells versions of a workload apart. In: a desired pod
//! template. Out: 10 hex digits.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::compare::is_ours;

/// First 10 hex digits of SHA-256 over the canonical JSON (RFC 8785) of the
/// template without our own labels and annotations.
pub fn rollout_hash(template: &Value) -> String {
    let mut template = template.clone();
    for field in ["labels", "annotations"] {
        if let Some(map) = template.pointer_mut(&format!("/metadata/{field}")).and_then(Value::as_object_mut)
        {
            map.retain(|key, _| !is_ours(key));
        }
    }
    let digest = hex::encode(Sha256::digest(canonical(&template).to_string()));
    digest[..10].to_owned()
}

/// Keys in order, nothing that says nothing; numbers of pod templates are
/// whole, so that their writing is canonical already.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> =
                map.iter().filter(|(_, value)| !value.is_null()).collect();
            entries.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
            entries
                .into_iter()
                .map(|(key, value)| (key.clone(), canonical(value)))
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(items) => items.iter().map(canonical).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_changes_the_pods_changes_the_hash() {
        let template = |image: &str| json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}]}});
        let mut labelled = template("a");
        labelled["metadata"]["labels"]["kubectl-gitops.dev/track"] = json!("stable");
        assert_eq!(rollout_hash(&template("a")), rollout_hash(&labelled));
        assert_ne!(rollout_hash(&template("a")), rollout_hash(&template("b")));
        assert_eq!(rollout_hash(&template("a")).len(), 10);
    }
}
