//! Bad input: whatever comes in, nothing panics, and what comes out is bounded
//! by what came in. `PROPTEST_CASES` sets for how long (`make soak`).
#![allow(clippy::unwrap_used, reason = "tests")]

mod mutate;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::compare::{CompareOptions, World, compare, mask_secret};
use crate::desired::{AppRef, DesiredObject, DesiredSet, Rendered, Scopes};
use crate::object::{Gvk, ObjectKey};
use crate::path::Path;
use crate::schema::Schemas;
use crate::verdict::{
    Candidate, Context, Facts, Interactive, MAX_DIFFERENCES, Operation, Policy, Review, Untracked, audit,
    denial, judge,
};
use mutate::{changed, changes};

const OBJECTS: &[&str] = &[
    include_str!("../../../tests/fuzz/corpus/objects/clusterrole.json"),
    include_str!("../../../tests/fuzz/corpus/objects/configmap.json"),
    include_str!("../../../tests/fuzz/corpus/objects/crd.json"),
    include_str!("../../../tests/fuzz/corpus/objects/custom.json"),
    include_str!("../../../tests/fuzz/corpus/objects/deployment.json"),
    include_str!("../../../tests/fuzz/corpus/objects/hpa.json"),
    include_str!("../../../tests/fuzz/corpus/objects/job.json"),
    include_str!("../../../tests/fuzz/corpus/objects/namespace.json"),
    include_str!("../../../tests/fuzz/corpus/objects/node.json"),
    include_str!("../../../tests/fuzz/corpus/objects/pod.json"),
    include_str!("../../../tests/fuzz/corpus/objects/secret.json"),
    include_str!("../../../tests/fuzz/corpus/objects/service.json"),
];
const OPENAPI: &[&str] = &[include_str!("../../../tests/fuzz/corpus/openapi/custom.json")];
const PATHS: &[&str] = &[
    "spec.template.spec.containers[name=app].image",
    "metadata.annotations[\"kubectl-gitops.dev/revision\"]",
    "spec.ports[port=80,protocol=TCP].targetPort",
    "metadata.finalizers[=\"a/b\"]",
    "rules[0].verbs[1]",
    "spec.containers[*].env[name=\"a]b\"]",
    "/spec/template/spec/containers/0~1~0",
    ".spec.containers[]? | select(.name == \"app\" and .port == 80) | .\"a.b\"[0]",
    ".",
    "[a,b=c]",
];

static SCHEMAS: LazyLock<Schemas> = LazyLock::new(Schemas::builtin);

/// How many values a value holds.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::Object(map) => map.values().map(size).sum(),
        Value::Array(items) => items.iter().map(size).sum(),
        _ => 0,
    }
}

struct All;
impl Scopes for All {
    fn namespaced(&self, gvk: &Gvk) -> Option<bool> {
        Some(!matches!(gvk.kind.as_str(), "Namespace" | "CustomResourceDefinition" | "ClusterRole" | "Node"))
    }
}

/// As rendering would give it; garbage is refused there.
fn desired(value: Value) -> Option<DesiredObject> {
    let app = AppRef { namespace: "shop".into(), name: "web".into() };
    let rendered = Rendered { value, file: "a.yaml".into(), line: 1, lines: None, confidential: Vec::new() };
    let set = DesiredSet::build(app, "c2".into(), "shop", &All, vec![rendered]).ok()?;
    set.objects.into_values().next()
}

fn object() -> impl Strategy<Value = Value> {
    prop::sample::select(OBJECTS).prop_map(|text| serde_json::from_str(text).unwrap())
}

fn operation() -> impl Strategy<Value = Operation> {
    prop::sample::select(&[Operation::Create, Operation::Update, Operation::Delete, Operation::Connect][..])
}

/// Judges, and looks at all that is told about it.
fn told(want: &DesiredObject, review: &Review<'_>, secret: &str) -> Result<(), TestCaseError> {
    let application = AppRef { namespace: "shop".into(), name: "web".into() };
    let policy = Policy { untracked: Untracked::Deny, interactive: Interactive::Deny, ..Policy::default() };
    let candidates =
        [Candidate { revision: "c2", object: Some(want) }, Candidate { revision: "c1", object: Some(want) }];
    let context = Context {
        schemas: &SCHEMAS,
        policy: &policy,
        application: Some(&application),
        candidates: &candidates,
        free: &[],
        facts: &Facts::default(),
    };
    let verdict = judge(review, &context);
    let (text, audit) = (denial(&verdict), audit(&verdict));
    prop_assert!(verdict.differences.len() <= MAX_DIFFERENCES);
    prop_assert!(text.lines().count() <= 24, "{text}");
    prop_assert!(text.len() < 16 << 10, "{} bytes", text.len());
    prop_assert!(audit.values().map(String::len).sum::<usize>() < 8 << 10);
    prop_assert!(!text.contains(secret) && !audit.values().any(|value| value.contains(secret)), "{text}");
    Ok(())
}

proptest! {
    #[test]
    fn objects_with_anything_in_them_are_compared(want in object(), wanted in changes(), tried in changes(), closed: bool) {
        let gvk = Gvk::of(&want).unwrap();
        let (want, live) = (changed(&want, &wanted), changed(&want, &tried));
        let world = if closed { World::Closed } else { World::Declared };
        let options = CompareOptions { world, free: &[] };
        let differences = compare(&SCHEMAS, &gvk, &want, &live, &options);
        prop_assert!(differences.len() <= size(&want) + size(&live));
        let told: usize = differences.iter().flat_map(|d| [&d.git, &d.tried]).flatten().map(size).sum();
        // A value is told once for itself, and once more as part of a list.
        prop_assert!(told <= 3 * (size(&want) + size(&live)), "{told}");
        for mut difference in differences {
            mask_secret(&gvk, &mut difference);
            let path = difference.path.to_string();
            prop_assert_eq!(path.parse::<Path>(), Ok(difference.path), "{}", path);
        }
    }

    #[test]
    fn writes_of_anything_are_judged(
        good in object(), before in changes(), after in changes(), operation in operation(),
        subresource in prop::sample::select(&["", "status", "scale", "exec", "ephemeralcontainers", "x"][..]),
        now in prop_oneof![Just(1_780_000_000_i64), any::<i64>()],
    ) {
        let want = desired(good.clone()).unwrap();
        let (old, new) = (changed(&good, &before), changed(&good, &after));
        let review = Review { operation, gvk: &want.gvk, key: &want.key, subresource, old: Some(&old), new: Some(&new), now };
        told(&want, &review, "U0VLUkVU")?;
        told(&want, &Review { old: None, ..review.clone() }, "U0VLUkVU")?;
        told(&want, &Review { new: None, ..review }, "U0VLUkVU")?;
    }

    #[test]
    fn what_git_says_may_be_anything(good in object(), wanted in changes(), after in changes()) {
        let Some(want) = desired(changed(&good, &wanted)) else { return Ok(()) };
        let new = changed(&good, &after);
        let (gvk, key) = (want.gvk.clone(), want.key.clone());
        let review = Review { operation: Operation::Update, gvk: &gvk, key: &key, subresource: "", old: Some(&good), new: Some(&new), now: 0 };
        told(&want, &review, "\u{1}")?;
        let _ = (crate::delegation::of(&want), ObjectKey::of(&new), crate::health::health(&new));
    }

    #[test]
    fn openapi_documents_of_any_shape_are_compiled(text in mutate::text(OPENAPI), tried in changes()) {
        let Ok(document) = serde_json::from_slice::<Value>(&text) else { return Ok(()) };
        let gvk = Gvk::new("ex.io/v1", "Db");
        let mut schemas = Schemas::new();
        let _ = schemas.add_document(&document, std::slice::from_ref(&gvk));
        let kept = serde_json::to_vec(&schemas).unwrap();
        prop_assert!(kept.len() < 64 * text.len() + 4096, "{} bytes from {}", kept.len(), text.len());
        let good: Value = serde_json::from_str(OBJECTS[3]).unwrap();
        let options = CompareOptions { world: World::Closed, free: &[] };
        let _ = compare(&schemas, &gvk, &good, &changed(&good, &tried), &options);
        let changed_document = changed(&document, &tried);
        let _ = Schemas::new().add_document(&changed_document, &[gvk]);
    }

    #[test]
    fn paths_of_any_text_are_read_or_refused(text in mutate::text(PATHS)) {
        let text = String::from_utf8_lossy(&text);
        if let Ok(path) = text.parse::<Path>() {
            let printed = path.to_string();
            prop_assert_eq!(printed.parse::<Path>(), Ok(path), "{} of {:?}", printed, text);
        }
    }
}

fn nested(depth: usize, wrap: fn(Value) -> Value) -> Value {
    (0..depth).fold(json!(1), |inner, _| wrap(inner))
}

#[test]
fn depth_bombs_up_to_the_parsers_limit_are_compared() {
    let wraps: [fn(Value) -> Value; 4] = [
        |inner| json!([inner]),
        |inner| json!({"a": inner}),
        |inner| json!({"properties": {"a": inner}}),
        |inner| json!({"containers": [{"name": inner}]}),
    ];
    for text in OBJECTS {
        let good: Value = serde_json::from_str(text).unwrap();
        let want = desired(good.clone()).unwrap();
        for (wrap, depth) in wraps.into_iter().zip([120, 120, 60, 40]) {
            for field in ["spec", "data", "rules", "metadata", "status", "x"] {
                let mut new = good.clone();
                new[field] = nested(depth, wrap);
                if field == "metadata" {
                    new[field] = json!({"name": "x", "labels": nested(depth, wrap), "ownerReferences": nested(depth, wrap)});
                }
                let review = Review {
                    operation: Operation::Update,
                    gvk: &want.gvk,
                    key: &want.key,
                    subresource: "",
                    old: Some(&good),
                    new: Some(&new),
                    now: 0,
                };
                told(&want, &review, "U0VLUkVU").unwrap();
            }
        }
    }
}

/// A chain of references deeper than any stack.
#[test]
fn long_chains_of_references_are_compiled() {
    let definitions: serde_json::Map<String, Value> = (0..20_000)
        .map(|index| {
            let next = format!("#/components/schemas/io.ex.v1.T{}", index + 1);
            let mut definition =
                json!({"type": "object", "properties": {"next": {"type": "array", "items": {"$ref": next}}}});
            if index == 0 {
                definition["x-kubernetes-group-version-kind"] =
                    json!([{"group": "ex.io", "version": "v1", "kind": "Db"}]);
            }
            (format!("io.ex.v1.T{index}"), definition)
        })
        .collect();
    let gvk = Gvk::new("ex.io/v1", "Db");
    let mut schemas = Schemas::new();
    schemas
        .add_document(&json!({"components": {"schemas": definitions}}), std::slice::from_ref(&gvk))
        .unwrap();
    let live = nested(40, |inner| json!({"next": [inner]}));
    let differences = compare(&schemas, &gvk, &json!({}), &live, &CompareOptions::of(&gvk));
    assert_eq!(differences.len(), 0, "custom kinds are free where Git says nothing");
}

/// Work grows with the size of a write, not with its square.
#[test]
fn long_lists_are_judged_in_no_time() {
    let pod = |count: usize, image: &str| {
        let env: Vec<Value> =
            (0..count).map(|index| json!({"name": format!("E{index}"), "value": image})).collect();
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop", "finalizers": []},
            "spec": {"containers": [{"name": "web", "image": image, "env": env}]}})
    };
    let want = desired(pod(20_000, "a")).unwrap();
    let (old, new) = (pod(20_000, "b"), pod(20_000, "c"));
    let start = Instant::now();
    let review = Review {
        operation: Operation::Update,
        gvk: &want.gvk,
        key: &want.key,
        subresource: "",
        old: Some(&old),
        new: Some(&new),
        now: 0,
    };
    told(&want, &review, "\u{1}").unwrap();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}
