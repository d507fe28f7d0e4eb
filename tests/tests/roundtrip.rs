//! What the API server returns for an applied object is no difference, and
//! whatever says something else is one: every built-in kind, on a real API
//! server. `ROUNDTRIP_CASES` (3) variations a kind, from `ROUNDTRIP_SEED`.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests, that count")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use gitops_cluster::{ApplyOptions, Cluster, ConnectOptions, DeleteOptions, Discovery, Kind};
use gitops_core::children::Surroundings;
use gitops_core::compare::{CompareOptions, Difference, compare};
use gitops_core::desired::{AppRef, DesiredObject, DesiredSet, Rendered};
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::schema::Schemas;
use gitops_tests::generate::Definitions;
use gitops_tests::roundtrip::{
    Numbers, Place, Sample, at, at_mut, fields, instance, is_at, leaves, may_be_absence, other, reasons,
    samples, without,
};
use serde_json::{Value, json};

/// Variations that may be invalid before one is given up.
const TRIES: usize = 8;
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

#[tokio::test]
async fn every_built_in_kind_has_samples() {
    let world = World::open("").await;
    let (samples, exceptions) = (samples(), reasons("exceptions.txt"));
    let has = |gvk: &Gvk, minimal: bool| samples.iter().any(|s| s.gvk == *gvk && s.is_minimal() == minimal);
    let (mut covered, mut missing) = (0, Vec::new());
    for kind in &world.built_in {
        let excepted = exceptions.contains_key(&kind_of(&kind.gvk));
        if has(&kind.gvk, true) && has(&kind.gvk, false) {
            covered += 1;
        } else if !excepted {
            missing.push(kind.gvk.to_string());
        }
    }
    eprintln!("kinds covered {covered} of {}", world.built_in.len());
    assert!(missing.is_empty(), "without samples: {missing:?}");
}

/// Applied, read back at once, and again when controllers have seen it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_comes_back_without_a_difference() {
    let world = &World::open("roundtrip").await;
    let (cases, seed) = (number("ROUNDTRIP_CASES", 3), number("ROUNDTRIP_SEED", 1));
    let (samples, known, filled) = (world.samples(), &reasons("known.txt"), &reasons("filled.txt"));
    let mut work: Vec<Vec<Instance>> =
        samples.iter().map(|sample| vec![world.instance(sample, &sample.value)]).collect();
    let mut kinds: BTreeMap<&Gvk, Vec<usize>> = BTreeMap::new();
    for (index, sample) in samples.iter().enumerate().filter(|(_, sample)| !sample.is_minimal()) {
        kinds.entry(&sample.gvk).or_default().push(index);
    }
    let definitions = world.definitions().await;
    let mut numbers = Numbers(seed);
    for indices in kinds.values() {
        for _ in 0..cases {
            let sample = &samples[indices[numbers.below(indices.len())]];
            // What varies may be invalid: the first that is not is taken.
            let keep = |place: &[String]| known.contains_key(&place_of(&sample.gvk, place));
            let varied =
                std::iter::repeat_with(|| definitions.vary(&sample.value, &keep, &mut numbers)).take(TRIES);
            let instances = varied.filter_map(|varied| {
                let instance = world.varied(sample, &varied.value)?;
                Some(Instance { added: varied.added, ..instance })
            });
            work.push(instances.collect());
        }
    }
    let dry = &reasons("dryrun.txt");
    let is_dry = |instance: &Instance| dry.contains_key(&kind_of(&instance.object.gvk));
    let results: Vec<(Instance, usize, Result<Value, String>)> = futures::stream::iter(work)
        .map(|candidates| async move {
            let tries = candidates.len();
            let mut last = None;
            for instance in candidates {
                let result = world.create(&instance, dry.contains_key(&kind_of(&instance.object.gvk))).await;
                let done = result.is_ok();
                last = Some((instance, tries, result));
                if done {
                    break;
                }
            }
            last
        })
        .buffer_unordered(PARALLEL)
        .filter_map(async |last| last)
        .collect()
        .await;
    let (mut failures, mut refused, mut created) = (Vec::new(), 0, Vec::new());
    for (instance, tries, result) in results {
        match result {
            Ok(live) => {
                failures.extend(world.told(&instance, &live));
                failures.extend(world.unfound(&instance, &live, filled));
                if !is_dry(&instance) {
                    created.push(instance);
                }
            }
            Err(_) if tries > 1 => refused += 1,
            Err(message) => failures.push(format!("{}: {message}", instance.label)),
        }
    }
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let later: Vec<Vec<String>> = futures::stream::iter(&created)
        .map(|instance| async move {
            let kind = world.kind(&instance.object.gvk);
            match world.cluster.get(kind, &instance.object.key).await {
                Ok(Some(live)) => world.told(instance, &live).iter().map(|d| format!("later: {d}")).collect(),
                other => vec![format!("later: {}: {other:?}", instance.label)],
            }
        })
        .buffer_unordered(PARALLEL)
        .collect()
        .await;
    failures.extend(later.into_iter().flatten());
    futures::stream::iter(&created).for_each_concurrent(PARALLEL, |instance| world.delete(instance)).await;
    world.close().await;
    eprintln!(
        "applied {} objects, found no valid variation {refused} times, ROUNDTRIP_SEED={seed} ROUNDTRIP_CASES={cases}",
        created.len()
    );
    none(failures);
}

/// A volume and a claim that name each other, as storage is often declared.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_and_its_claim_bind_without_a_difference() {
    let world = &World::open("roundtrip-bind").await;
    let storage = json!({"storage": "1Gi"});
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "bind"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": storage}}});
    let sample = |value: &Value| Sample {
        label: value["kind"].to_string(),
        gvk: Gvk::of(value).unwrap(),
        value: value.clone(),
    };
    let claim = world.instance(&sample(&claim), &claim);
    let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "bind"},
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": storage, "hostPath": {"path": "/absent"},
            "claimRef": {"namespace": claim.object.key.namespace, "name": claim.object.key.name}}});
    let volume = world.instance(&sample(&volume), &volume);
    let mut failures = Vec::new();
    for instance in [&volume, &claim] {
        let live = world.create(instance, false).await.unwrap();
        failures.extend(world.told(instance, &live));
    }
    let start = Instant::now();
    loop {
        let get = |instance: &Instance| {
            let object = Arc::clone(&instance.object);
            async move { world.cluster.get(world.kind(&object.gvk), &object.key).await.unwrap().unwrap() }
        };
        let lives = [get(&volume).await, get(&claim).await];
        if lives.iter().all(|live| live["status"]["phase"] == "Bound") {
            failures.extend([&volume, &claim].iter().zip(&lives).flat_map(|(i, live)| world.told(i, live)));
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "not bound: {lives:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    world.delete(&volume).await;
    world.close().await;
    none(failures);
}

/// The manifest as a person writes it, with its nulls and its `stringData`.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_created_as_written_comes_back_without_a_difference() {
    let world = &World::open("roundtrip-raw").await;
    let mut failures = Vec::new();
    let mut by_name = BTreeMap::new();
    let mut text = String::new();
    for sample in world.samples() {
        let instance = world.instance(&sample, &sample.value);
        let object = &instance.object;
        let mut raw = sample.value.clone();
        raw["metadata"]["name"] = object.key.name.clone().into();
        if !object.key.namespace.is_empty() {
            raw["metadata"]["namespace"] = object.key.namespace.clone().into();
        }
        // Placeholders are filled in the desired object alone.
        let plain = raw.to_string();
        if ["UNIQUE", "OCTET", "NAMESPACE"].iter().any(|word| plain.contains(word)) {
            continue;
        }
        text.push_str(&format!("---\n{plain}\n"));
        by_name.insert((object.gvk.clone(), object.key.clone()), instance);
    }
    // Pods need their namespace's service account.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let ran = gitops_tests::cluster()
        .kubectl(&format!("create --dry-run=server --validate=false -o json -f {}", file.path().display()));
    world.close().await;
    assert_eq!(ran.stderr.lines().find(|line| !line.starts_with("Warning:")), None, "{}", ran.stderr);
    let mut count = 0;
    for live in serde_json::Deserializer::from_str(&ran.stdout).into_iter::<Value>() {
        let live = live.unwrap();
        count += 1;
        let instance = &by_name[&(Gvk::of(&live).unwrap(), ObjectKey::of(&live).unwrap())];
        failures.extend(world.told(instance, &live));
    }
    assert_eq!(count, by_name.len());
    none(failures);
}

/// Pure: what Git declares is held, at the very field that changed.
#[tokio::test]
async fn every_change_and_removal_of_a_declared_field_is_found() {
    let world = World::open("").await;
    let (mut failures, mut count, filled) = (Vec::new(), 0, reasons("filled.txt"));
    for sample in world.samples() {
        let Instance { label, object, .. } = world.instance(&sample, &sample.value);
        let want = &object.value;
        for place in leaves(want) {
            count += 1;
            let value = at(want, &place).unwrap();
            let mut changed = want.clone();
            *at_mut(&mut changed, &place).unwrap() = other(value);
            let found = |a: &Value, b: &Value| {
                world.differences(&object.gvk, a, b).iter().any(|d| is_at(&d.path, &place, [a, b]))
            };
            let filled = filled.contains_key(&place_of(&object.gvk, &place));
            if filled && may_be_absence(value) {
                continue;
            }
            if !found(want, &changed) || !found(&changed, want) {
                failures.push(format!(
                    "{label}: {} {value} -> {} is no difference",
                    place.join("."),
                    other(value)
                ));
            }
            let removed = without(want, &place);
            if !may_be_absence(value) && !found(want, &removed) {
                failures.push(format!("{label}: {} {value} can be removed", place.join(".")));
            }
        }
    }
    eprintln!("changed {count} declared fields");
    none(failures);
}

/// What Git leaves to the API server is what it puts, and no other value.
#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_what_the_api_server_puts_is_found() {
    let world = &World::open("roundtrip-put").await;
    let (filled, mut failures, mut count) = (reasons("filled.txt"), Vec::new(), 0);
    let instances: Vec<Instance> = world.samples().iter().map(|s| world.instance(s, &s.value)).collect();
    let lives: Vec<(Instance, Value)> = futures::stream::iter(instances)
        .filter_map(|instance| async move {
            let live = world.create(&instance, true).await.ok()?;
            Some((instance, live))
        })
        .collect()
        .await;
    world.close().await;
    for (instance, live) in lives {
        let object = &instance.object;
        let put = leaves(&live).into_iter().filter(|place| at(&object.value, place).is_none());
        for place in put.filter(|place| place[0] != "metadata") {
            let name = place_of(&object.gvk, &place);
            if filled.keys().any(|key| name == *key || name.starts_with(&format!("{key}."))) {
                continue;
            }
            count += 1;
            let mut odd = live.clone();
            let value = at(&live, &place).unwrap();
            *at_mut(&mut odd, &place).unwrap() = other(value);
            if world.differences(&object.gvk, &object.value, &odd).is_empty() {
                failures
                    .push(format!("{}: {name}: any value instead of {value} may be there", instance.label));
            }
        }
    }
    eprintln!("changed {count} fields that the API server put");
    none(failures);
}

/// The API server is the judge: where it puts something else for a field that
/// is left out, leaving it out and declaring it differ, both ways.
#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_left_out_means_what_the_api_server_puts() {
    let world = &World::open("roundtrip-drop").await;
    let (filled, known) = (&reasons("filled.txt"), &reasons("known.txt"));
    let thorough = number("ROUNDTRIP_CASES", 3) > 3;
    let mut work = Vec::new();
    for sample in world.samples() {
        let whole = world.instance(&sample, &sample.value);
        let Ok(live) = world.create(&whole, true).await else { continue };
        let live = Arc::new(live);
        for place in fields(&whole.object.value) {
            // The template of one kind stands for those of all.
            let in_template = place.windows(2).any(|pair| pair == ["template", "spec"]);
            if thorough || !in_template || sample.gvk.kind == "Deployment" {
                work.push((whole.clone(), Arc::clone(&live), place));
            }
        }
    }
    let count = work.len();
    let results: Vec<Option<Vec<String>>> = futures::stream::iter(work)
        .map(|(whole, live, place)| async move {
            let want = &whole.object;
            let part = Instance {
                label: format!("{} without {}", whole.label, place.join(".")),
                object: Arc::new(world.desired(&without(&want.value, &place), &want.key.namespace)),
                added: Vec::new(),
            };
            let got = world.create(&part, true).await.ok()?;
            let known = known.contains_key(&place_of(&want.gvk, &place));
            let mut failures = if known { Vec::new() } else { world.told(&part, &got) };
            let held = !place.starts_with(&["metadata".to_owned()]);
            if held && at(&live, &place) != at(&got, &place) {
                let found = |want: &Value, live: &Value, a: &Value| {
                    world
                        .differences(&part.object.gvk, want, live)
                        .iter()
                        .any(|d| is_at(&d.path, &place, [a, live]))
                };
                let told = format!("{:?} is {:?}", at(&live, &place), at(&got, &place));
                if !found(&want.value, &got, &want.value) {
                    failures.push(format!("{}: that {told} is not found", part.label));
                }
                let filled = filled.contains_key(&place_of(&want.gvk, &place));
                if !found(&part.object.value, &live, &want.value) && !filled {
                    failures.push(format!("{}: may be added: {told}", part.label));
                }
            }
            // Just what it puts, and nothing else.
            let put = at(&got, &place).filter(|put| put.is_number() || put.is_string() || put.is_boolean());
            let filled = filled.contains_key(&place_of(&want.gvk, &place));
            if let Some(put) = put.filter(|_| held && !filled) {
                let mut odd = got.clone();
                *at_mut(&mut odd, &place).unwrap() = other(put);
                let differences = world.differences(&part.object.gvk, &part.object.value, &odd);
                if !differences.iter().any(|d| is_at(&d.path, &place, [&want.value, &odd])) {
                    failures.push(format!("{}: any value instead of {put} may be added", part.label));
                }
            }
            Some(failures)
        })
        .buffer_unordered(PARALLEL)
        .collect()
        .await;
    world.close().await;
    let valid = results.iter().flatten().count();
    eprintln!("left out {count} fields, {valid} times the rest was valid");
    none(results.into_iter().flatten().flatten().collect());
}

/// A case for an admission plugin: what is applied, and where it acts.
fn plugin_cases(name: &str) -> [(&'static str, Value, &'static str); 9] {
    let pod = |spec: Value| {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "c:1"}]}});
        pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        pod
    };
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "i"}, "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}});
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
    [
        ("DefaultIngressClass", ingress, "/spec/ingressClassName"),
        ("DefaultStorageClass", claim.clone(), "/spec/storageClassName"),
        ("DefaultTolerationSeconds", pod(json!({})), "/spec/tolerations/0/tolerationSeconds"),
        ("LimitRanger", pod(json!({})), "/spec/containers/0/resources/limits/memory"),
        ("Priority", pod(json!({"priorityClassName": name})), "/spec/priority"),
        ("RuntimeClass", pod(json!({"runtimeClassName": name})), "/spec/overhead/cpu"),
        ("ServiceAccount", pod(json!({})), "/spec/volumes/0/projected"),
        ("StorageObjectInUseProtection", claim, "/metadata/finalizers/0"),
        ("TaintNodesByCondition", node, "/spec/taints/0/key"),
    ]
}

/// Every admission plugin of the table acts, and what it puts is no difference.
#[tokio::test(flavor = "multi_thread")]
async fn what_admission_plugins_put_is_no_difference() {
    let world = &World::open("").await;
    let name = format!("plugins-{}", std::process::id());
    let standard = |annotation: &str| json!({"name": name, "annotations": {annotation: "true"}});
    let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "limits", "namespace": name},
        "spec": {"limits": [{"type": "Container", "default": {"cpu": "1", "memory": "64Mi"}, "defaultRequest": {"cpu": "100m"}}]}});
    let runtime = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": "h", "overhead": {"podFixed": {"cpu": "10m"}}});
    let around = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": standard("ingressclass.kubernetes.io/is-default-class"), "spec": {"controller": "a.b/c"}}),
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": standard("storageclass.kubernetes.io/is-default-class"), "provisioner": "a.b/c"}),
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 7}),
        runtime.clone(),
        range.clone(),
    ];
    for object in &around {
        world.apply_raw(object).await.unwrap();
    }
    // Quotas, limits and classes reach the plugins by their caches.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let surroundings =
        Surroundings { limit_ranges: vec![range], runtime_class: Some(runtime), ..Surroundings::default() };
    let (mut failures, mut proven) = (Vec::new(), BTreeSet::new());
    for (plugin, value, acts_at) in plugin_cases(&name) {
        let mut want = world.desired(&value, &name);
        let live = world.apply(&want.gvk, &want.key, &want.value, true).await.unwrap();
        if live.pointer(acts_at).is_none() {
            failures.push(format!("{plugin} did not act at {acts_at}: {live}"));
        }
        if want.gvk.kind == "Pod" {
            want.value = surroundings.fill(want.value);
        }
        let instance = Instance { label: plugin.to_owned(), object: Arc::new(want), added: Vec::new() };
        failures.extend(world.told(&instance, &live));
        proven.insert(plugin.to_owned());
    }
    for object in around.iter().rev() {
        let (gvk, key) = (Gvk::of(object).unwrap(), ObjectKey::of(object).unwrap());
        let _ = world.cluster.delete(world.kind(&gvk), &key, &DeleteOptions::default()).await;
    }
    let table: BTreeSet<String> = reasons("admission.txt").into_keys().collect();
    assert_eq!(table, proven, "the table of admission plugins and what is proven");
    none(failures);
}
