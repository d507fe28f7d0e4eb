//! Rollouts of every kind, for the properties.

#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::simulation::{MODEL, MODEL_WEIGHT};
use super::spec::{Header, OnFailure, Route, Rule, Size, Spec, Step, Strategy as Way, Traffic};
use crate::object::ObjectKey;

pub(super) fn rule(name: &str) -> Rule {
    Rule {
        name: name.into(),
        interval: 10,
        count: 2,
        failure_limit: 0,
        inconclusive_limit: 0,
        min_samples: 0,
    }
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..=100_u8).prop_map(Step::SetWeight),
        1 => (0..=100_u8).prop_map(Step::SetScale),
        1 => Just(Step::SetHeader(Header { name: "x-canary".into(), value: "1".into() })),
        1 => (0..=100_u8).prop_map(Step::SetMirror),
        1 => Just(Step::Analysis(vec![rule("t/step")])),
        1 => prop::option::of(0..100_i64).prop_map(Step::Pause),
    ]
}

pub(super) fn rules() -> impl Strategy<Value = Vec<Rule>> {
    prop_oneof![Just(vec![]), Just(vec![rule("t/rule")])]
}

fn way() -> impl Strategy<Value = Way> {
    let size = prop_oneof![(1..=100_u8).prop_map(Size::Percent), (1..8_u32).prop_map(Size::Count)];
    prop_oneof![
        3 => prop::collection::vec(step(), 1..6).prop_map(Way::Canary),
        1 => (prop::collection::vec(1..=100_u8, 1..4), rules())
            .prop_map(|(batches, analysis)| Way::Rolling { batches, analysis }),
        1 => (rules(), rules()).prop_map(|(before, after)| Way::Recreate { before, after }),
        1 => (size, any::<bool>(), rules(), rules(), 0..60_i64).prop_map(
            |(preview_replicas, auto_promote, before, after, scale_down_delay)| Way::BlueGreen {
                active_service: "web".into(),
                preview_service: Some("web-canary".into()),
                preview_replicas,
                auto_promote,
                before,
                after,
                scale_down_delay,
            }
        ),
    ]
}

pub(super) fn spec() -> impl Strategy<Value = Spec> {
    let kinds = prop::sample::select(vec!["Deployment", "Deployment", "StatefulSet", "StatefulSet", MODEL]);
    (way(), kinds, any::<bool>(), rules()).prop_map(|(strategy, kind, routes, analysis)| {
        let stepped = matches!(strategy, Way::Canary(_) | Way::Rolling { .. });
        // Only such a kind steps by its own field.
        let kind = if stepped || kind != MODEL { kind } else { "Deployment" };
        let traffic = match routes && stepped {
            _ if kind == MODEL => {
                Traffic { weight_path: Some(MODEL_WEIGHT.parse().unwrap()), ..Traffic::default() }
            }
            false => Traffic::default(),
            true => Traffic {
                stable_service: Some("web".into()),
                canary_service: Some("web-canary".into()),
                routes: vec![Route { kind: "HTTPRoute".into(), name: "web".into() }],
                weight_path: None,
            },
        };
        Spec {
            target: ObjectKey {
                group: if kind == MODEL { "serving.kserve.io" } else { "apps" }.into(),
                kind: kind.into(),
                namespace: "shop".into(),
                name: "web".into(),
            },
            strategy,
            traffic,
            analysis,
            progress_deadline: 200,
            total_deadline: 1_500,
            on_failure: OnFailure::Revert,
        }
    })
}

/// Few by default; as many as PROPTEST_CASES says.
pub(super) fn few() -> ProptestConfig {
    let usual = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { usual.cases } else { 24 };
    ProptestConfig { cases, ..usual }
}
