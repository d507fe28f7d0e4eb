//! What the API server returns for an applied object is no difference, and
//! whatever says something else is one: every built-in kind, on a real API
//! server. `ROUNDTRIP_CASES` (3) variations a kind, from `ROUNDTRIP_SEED`.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests, that count")]

mod admission;
mod applied;
mod changed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use gitops_cluster::{ApplyOptions, Cluster, ConnectOptions, DeleteOptions, Discovery, Kind};
use gitops_core::compare::{CompareOptions, Difference, compare};
use gitops_core::desired::{AppRef, DesiredObject, DesiredSet, Rendered};
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::schema::Schemas;
use gitops_tests::generate::Definitions;
use gitops_tests::roundtrip::{
    Place, Sample, at, at_mut, instance, is_at, leaves, may_be_absence, other, samples,
};
use serde_json::{Value, json};

/// Requests under way at once.
const PARALLEL: usize = 16;

/// The shared cluster, and how the webhook sees it.
struct World {
    cluster: Cluster,
    discovery: Discovery,
    schemas: Schemas,
    built_in: Vec<Kind>,
    namespaces: BTreeMap<Gvk, String>,
}

/// An object as Git declares it, made unique in this cluster.
#[derive(Clone)]
struct Instance {
    label: String,
    object: Arc<DesiredObject>,
    /// Fields that were made up: where the API server drops one, because its
    /// feature is off, what Git says is really not there.
    added: Vec<Place>,
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

impl World {
    async fn open(prefix: &str) -> Self {
        let kubeconfig = vec![gitops_tests::cluster().kubeconfig().to_owned()];
        let options = ConnectOptions { kubeconfig, ..ConnectOptions::default() };
        let cluster = Cluster::connect(&options).await.unwrap();
        let discovery = cluster.discovery().await.unwrap();
        let services = cluster
            .get_json("/apis/apiregistration.k8s.io/v1/apiservices?labelSelector=kube-aggregator.kubernetes.io/automanaged=onstart")
            .await
            .unwrap();
        let groups: BTreeSet<&str> = services["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|s| s["spec"]["group"].as_str())
            .collect();
        let aggregated = ["apiextensions.k8s.io", "apiregistration.k8s.io", ""];
        let built_in: Vec<Kind> = discovery
            .kinds()
            .iter()
            .filter(|kind| {
                groups.contains(kind.gvk.group.as_str()) || aggregated.contains(&kind.gvk.group.as_str())
            })
            .filter(|kind| ["create", "get"].iter().all(|verb| kind.verbs.iter().any(|v| v == verb)))
            .cloned()
            .collect();
        let schemas = cluster.schemas(&built_in.iter().map(|kind| kind.gvk.clone()).collect()).await.unwrap();
        let mut world = Self { cluster, discovery, schemas, built_in, namespaces: BTreeMap::new() };
        world.make_namespaces(prefix).await;
        world
    }

    /// One for each namespaced kind, so that quotas and limits stay alone.
    async fn make_namespaces(&mut self, prefix: &str) {
        if prefix.is_empty() {
            return;
        }
        let kinds = self.built_in.iter().filter(|kind| kind.namespaced).map(|kind| kind.gvk.clone());
        for gvk in kinds.collect::<Vec<_>>() {
            let name = format!(
                "{prefix}-{}-{}-{}",
                std::process::id(),
                gvk.kind.to_lowercase(),
                self.namespaces.len()
            );
            self.apply_raw(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
                .await
                .unwrap();
            self.namespaces.insert(gvk, name);
        }
    }

    /// As rendering from Git leaves it, under a name of its own.
    fn desired(&self, value: &Value, namespace: &str) -> DesiredObject {
        let app = AppRef { namespace: "a".into(), name: "a".into() };
        let rendered = Rendered {
            value: value.clone(),
            file: "a.yaml".into(),
            line: 1,
            lines: None,
            confidential: Vec::new(),
        };
        let set = DesiredSet::build(app, "r".into(), namespace, &self.discovery, vec![rendered]).unwrap();
        set.objects.into_values().next().unwrap()
    }

    fn instance(&self, sample: &Sample, value: &Value) -> Instance {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let namespace = self.namespaces.get(&sample.gvk).map_or("nowhere", String::as_str);
        let value = instance(
            value,
            &format!("rt{process}x{count}"),
            process.wrapping_mul(7919).wrapping_add(count),
            namespace,
        );
        Instance {
            label: sample.label.clone(),
            object: Arc::new(self.desired(&value, namespace)),
            added: Vec::new(),
        }
    }

    /// A variation; none where it is refused before it reaches a cluster.
    fn varied(&self, sample: &Sample, value: &Value) -> Option<Instance> {
        let named = value.pointer("/metadata/name").and_then(Value::as_str).is_some();
        let namespace = self.namespaces.get(&sample.gvk).map_or("nowhere", String::as_str);
        let app = AppRef { namespace: "a".into(), name: "a".into() };
        let rendered = Rendered {
            value: value.clone(),
            file: "a.yaml".into(),
            line: 1,
            lines: None,
            confidential: Vec::new(),
        };
        let set = DesiredSet::build(app, "r".into(), namespace, &self.discovery, vec![rendered]);
        (named && set.is_ok()).then(|| self.instance(sample, value))
    }

    fn kind(&self, gvk: &Gvk) -> &Kind {
        self.discovery.kind(gvk).unwrap()
    }

    async fn apply_raw(&self, value: &Value) -> Result<Value, String> {
        let gvk = Gvk::of(value).unwrap();
        let key = ObjectKey::of(value).unwrap();
        self.apply(&gvk, &key, value, false).await
    }

    async fn apply(&self, gvk: &Gvk, key: &ObjectKey, value: &Value, dry_run: bool) -> Result<Value, String> {
        let options = ApplyOptions { field_manager: "roundtrip", dry_run, ..ApplyOptions::default() };
        let start = Instant::now();
        loop {
            match self.cluster.apply(self.kind(gvk), key, value, &options).await {
                Ok(applied) => return Ok(applied.object),
                Err(error) => {
                    let message = error.to_string();
                    // The token controller is a moment behind a new namespace.
                    if !message.contains("serviceaccount \"default\" not found")
                        || start.elapsed().as_secs() > 20
                    {
                        return Err(message);
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn create(&self, instance: &Instance, dry_run: bool) -> Result<Value, String> {
        let object = &instance.object;
        self.apply(&object.gvk, &object.key, &object.value, dry_run).await
    }

    fn differences(&self, gvk: &Gvk, want: &Value, live: &Value) -> Vec<Difference> {
        compare(&self.schemas, gvk, want, live, &CompareOptions::of(gvk))
    }

    /// What differs, one line each.
    fn told(&self, instance: &Instance, live: &Value) -> Vec<String> {
        let line = |d: &Difference| {
            let value = |v: &Option<Value>| v.as_ref().map_or("-".to_owned(), Value::to_string);
            format!(
                "{}: {:?} {}: git {}, live {}",
                instance.label,
                d.op,
                d.path,
                value(&d.git),
                value(&d.tried)
            )
        };
        let want = &instance.object.value;
        let dropped = |d: &&Difference| {
            let made_up = |place: &Place| is_at(&d.path, place, [want, live]) && at(live, place).is_none();
            !instance.added.iter().any(made_up)
        };
        self.differences(&instance.object.gvk, want, live).iter().filter(dropped).map(line).collect()
    }

    async fn delete(&self, instance: &Instance) {
        let object = &instance.object;
        let (kind, options) = (self.kind(&object.gvk), DeleteOptions::default());
        if object.value.pointer("/metadata/finalizers").is_some() {
            let apply = ApplyOptions { field_manager: "roundtrip", ..ApplyOptions::default() };
            let patch = json!([{"op": "remove", "path": "/metadata/finalizers"}]);
            let _ = self.cluster.patch(kind, &object.key, &patch, &apply).await;
        }
        let _ = self.cluster.delete(kind, &object.key, &options).await;
    }

    async fn close(&self) {
        for name in self.namespaces.values() {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            let key = ObjectKey::of(&namespace).unwrap();
            let _ = self
                .cluster
                .delete(self.kind(&Gvk::new("v1", "Namespace")), &key, &DeleteOptions::default())
                .await;
        }
    }

    /// What the API server says of its own types.
    async fn definitions(&self) -> Definitions {
        let root = self.cluster.get_json("/openapi/v3").await.unwrap();
        let mut all = Definitions::default();
        for path in root["paths"].as_object().unwrap().values() {
            let document = self.cluster.get_json(path["serverRelativeURL"].as_str().unwrap()).await.unwrap();
            if let Some(Value::Object(schemas)) = document.pointer("/components/schemas") {
                all.0.extend(schemas.clone());
            }
        }
        all
    }

    /// Whether changing a declared field of what came back is found: those
    /// that it gave back as they are.
    fn unfound(&self, instance: &Instance, live: &Value, filled: &BTreeMap<String, String>) -> Vec<String> {
        let (gvk, want) = (&instance.object.gvk, &instance.object.value);
        let mut failures = Vec::new();
        for place in leaves(want) {
            let value = at(want, &place).unwrap();
            let is_free = filled.contains_key(&place_of(gvk, &place)) && may_be_absence(value);
            if at(live, &place) != Some(value) || is_free {
                continue;
            }
            let mut odd = live.clone();
            *at_mut(&mut odd, &place).unwrap() = other(value);
            if !self.differences(gvk, want, &odd).iter().any(|d| is_at(&d.path, &place, [want, &odd])) {
                failures.push(format!(
                    "{}: {} {value} may be changed to {}",
                    instance.label,
                    place.join("."),
                    other(value)
                ));
            }
        }
        failures
    }

    /// The samples of kinds that this cluster serves.
    fn samples(&self) -> Vec<Sample> {
        samples().into_iter().filter(|sample| self.discovery.kind(&sample.gvk).is_some()).collect()
    }
}

/// A kind as the lists of reasons name it.
fn kind_of(gvk: &Gvk) -> String {
    format!("{}/{}", gvk.api_version(), gvk.kind)
}

/// A place as the lists of reasons name it: without indices.
fn place_of(gvk: &Gvk, place: &[String]) -> String {
    let names = place.iter().filter(|token| !token.bytes().all(|b| b.is_ascii_digit()));
    let names: Vec<&str> = names.map(String::as_str).collect();
    format!("{}.{}", gvk.kind, names.join("."))
}

#[track_caller]
fn none(mut failures: Vec<String>) {
    failures.sort();
    failures.dedup();
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}
