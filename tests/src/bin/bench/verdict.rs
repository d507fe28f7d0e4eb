//! The verdict and the index, in this process.

use gitops_core::compare::{CompareOptions, compare};
use gitops_core::index::{Index, Part};
use gitops_core::schema::Schemas;
use gitops_core::verdict::{Candidate, Context, Facts, Operation, Policy, Review, judge};
use serde_json::{Value, json};

use crate::objects::set;
use crate::report::{Bench, Pair, timed};

/// A verdict on a Deployment's update, beside parsing the same review.
pub fn verdict(bench: &mut Bench) {
    let set = set(10_000);
    let index = Index::new(vec![std::sync::Arc::new(Part::of(set.clone(), (String::new(), String::new())))]);
    let schemas = Schemas::builtin();
    let declared = set.objects.values().find(|object| object.key.kind == "Deployment").unwrap();
    let old = declared.value.clone();
    let mut new = old.clone();
    new["metadata"]["annotations"]["team"] = json!("blue");
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u", "object": new, "oldObject": old}}).to_string();
    assert!(
        compare(&schemas, &declared.gvk, &declared.value, &new, &CompareOptions::of(&declared.gvk))
            .is_empty()
    );
    let policy = Policy::default();
    let run = || {
        let part = index.owner(&declared.key).unwrap();
        let object = part.get(&declared.key);
        let candidates = [Candidate { revision: &part.revision, object: object.as_ref() }];
        let review = Review {
            operation: Operation::Update,
            gvk: &declared.gvk,
            key: &declared.key,
            subresource: "",
            old: Some(&old),
            new: Some(&new),
            now: 0,
        };
        let context = Context {
            schemas: &schemas,
            policy: &policy,
            application: Some(&part.application),
            candidates: &candidates,
            free: &[],
            facts: &Facts::default(),
        };
        std::hint::black_box(judge(&review, &context))
    };
    let pairs: Vec<Pair> = (0..200)
        .map(|_| {
            let ours = timed(100, || drop(run()));
            let theirs =
                timed(100, || drop(std::hint::black_box(serde_json::from_str::<Value>(&review).unwrap())));
            (ours, theirs)
        })
        .collect();
    bench.report("verdict.deployment.10000", "serde_json-parse", &pairs, 1.0);
}

/// What 10,000 objects cost in the index.
pub fn index_size(bench: &mut Bench) {
    let part = std::sync::Arc::new(Part::of(set(10_000), (String::new(), String::new())));
    let before = resident();
    let again = std::sync::Arc::new(Part::of(set(10_000), (String::new(), "1".into())));
    let index = Index::new(vec![again]);
    bench.size("index.10000", (resident() - before).max(0.0), 60.0);
    drop((part, index));
}

fn resident() -> f64 {
    memory("self", "VmRSS:")
}

pub fn memory(pid: &str, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
