//! The objects that are synced and judged: one generator for all.

use std::path::Path;

use gitops_core::desired::{AppRef, DesiredSet, Rendered, Scopes};
use gitops_core::object::Gvk;
use serde_json::{Value, json};

/// About 2 KiB of distinct text.
fn text(seed: usize) -> String {
    (0..40)
        .map(|line| {
            format!(
                "line {line} of object {seed}: {:016x}{:016x}\n",
                seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ line,
                line.wrapping_mul(seed + 7)
            )
        })
        .collect()
}

/// `count` objects: a quarter each of four kinds.
pub fn objects(count: usize) -> Vec<Value> {
    (0..count)
        .map(|n| {
            let name = format!("object-{n:05}");
            let note = json!({"example.com/note": text(n)});
            match n % 4 {
                0 => json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "annotations": note}, "spec": {"replicas": 0, "selector": {"matchLabels": {"app": name}},
                    "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": format!("registry.example.com/app-{n}:1.0"),
                        "env": [{"name": "A", "value": format!("{n}")}], "resources": {"limits": {"cpu": "0.5", "memory": "1Gi"}}}]}}}}),
                1 => json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "annotations": note}, "spec": {"selector": {"app": name}, "ports": [{"port": 80}]}}),
                2 => json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": text(n)}}),
                _ => json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "annotations": note}}),
            }
        })
        .collect()
}

/// Writes objects into files of so many each.
pub fn write_files(folder: &Path, objects: &[Value], in_one_file: usize) {
    std::fs::create_dir_all(folder).unwrap();
    for (number, some) in objects.chunks(in_one_file).enumerate() {
        let text: Vec<String> = some.iter().map(|object| serde_saphyr::to_string(object).unwrap()).collect();
        std::fs::write(folder.join(format!("{number:05}.yaml")), text.join("---\n")).unwrap();
    }
}

struct BuiltIn;

impl Scopes for BuiltIn {
    fn namespaced(&self, _: &Gvk) -> Option<bool> {
        Some(true)
    }
}

/// A ConfigMap of 900 KiB.
pub fn large() -> Value {
    let mut data = serde_json::Map::new();
    let mut size = 0;
    while size < 900 << 10 {
        let text = text(data.len());
        size += text.len();
        data.insert(format!("file-{:04}", data.len()), text.into());
    }
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large", "namespace": "shop", "annotations": {"example.com/note": "large"}}, "data": data})
}

/// `count` objects, as a render gives them.
pub fn set(count: usize) -> DesiredSet {
    set_of(objects(count))
}

/// These objects, as a render gives them.
pub fn set_of(objects: Vec<Value>) -> DesiredSet {
    let rendered = objects
        .into_iter()
        .map(|value| Rendered {
            value,
            file: "app/all.yaml".into(),
            line: 1,
            lines: None,
            confidential: Vec::new(),
        })
        .collect();
    DesiredSet::build(
        AppRef { namespace: "shop".into(), name: "app".into() },
        "c".repeat(40),
        "shop",
        &BuiltIn,
        rendered,
    )
    .unwrap()
}
