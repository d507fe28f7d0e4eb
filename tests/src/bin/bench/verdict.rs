//! The verdict and the index, in this process.

use gitops_core::index::{Index, Part};
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::schema::Schemas;
use gitops_core::verdict::{Candidate, Context, Facts, Operation, Policy, Review, judge};
use serde_json::{Value, json};

use crate::objects::{large, set, set_of};
use crate::report::{Bench, Pair, timed};

/// Verdicts on updates, beside parsing the same reviews.
pub fn verdict(bench: &mut Bench) {
    let set = set(10_000);
    let declared = set.objects.values().find(|object| object.key.kind == "Deployment").unwrap().value.clone();
    let part = Part::of(set, (String::new(), String::new()));
    judged(bench, "verdict.deployment.10000", part, &declared, 100, 1.0);
    let large = set_of(vec![large()]);
    let declared = large.objects.values().next().unwrap().value.clone();
    let part = Part::of(large, (String::new(), String::new()));
    judged(bench, "verdict.configmap.900k", part, &declared, 2, 0.5);
}

/// Judges what leaves a declared object as it is, `times` in a row.
fn judged(bench: &mut Bench, name: &str, part: Part, declared: &Value, times: u32, need: f64) {
    let index = Index::new(vec![std::sync::Arc::new(part)]);
    let schemas = Schemas::builtin();
    let (gvk, key) = (Gvk::of(declared).unwrap(), ObjectKey::of(declared).unwrap());
    let old = declared.clone();
    let mut new = old.clone();
    new["metadata"]["annotations"]["team"] = json!("blue");
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u", "object": new, "oldObject": old}}).to_string();
    let policy = Policy::default();
    let run = || {
        let part = index.owner(&key).unwrap();
        let object = part.get(&key);
        let candidates = [Candidate { revision: &part.revision, object: object.as_ref() }];
        let review = Review {
            operation: Operation::Update,
            gvk: &gvk,
            key: &key,
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
    assert_eq!(run().rule, "");
    let pairs: Vec<Pair> = (0..200)
        .map(|_| {
            let ours = timed(times, || drop(run()));
            let theirs =
                timed(times, || drop(std::hint::black_box(serde_json::from_str::<Value>(&review).unwrap())));
            (ours, theirs)
        })
        .collect();
    bench.report(name, "serde_json-parse", &pairs, need);
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
