//! What is applied, bound or created as written comes back without a
//! difference: a sample of every kind, and variations of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_tests::roundtrip::{Numbers, Sample, reasons, samples};
use serde_json::{Value, json};

use super::{Instance, PARALLEL, World, kind_of, none, number, place_of};

/// Variations that may be invalid before one is given up.
const TRIES: usize = 8;

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
