//! What says something else is a difference: a declared field that changes or
//! goes, another value where the API server puts one, a field that is left out.

use std::sync::Arc;

use futures::StreamExt;
use gitops_tests::roundtrip::{at, at_mut, fields, is_at, leaves, may_be_absence, other, reasons, without};
use serde_json::Value;

use super::{Instance, PARALLEL, World, none, number, place_of};

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
