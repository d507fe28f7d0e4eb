//! Verdicts over writes. Every file has the cases of one topic; all of them
//! are judged as named, and every rule decides at least one of them.

#![allow(clippy::unwrap_used, reason = "tests")]

mod behind;
mod content;
mod deletes;
mod denials;
mod filled;
mod holders;
mod marks;
mod overrides;
mod own;
mod rollouts;
mod scale;
mod setup;

use proptest::prelude::*;
use serde_json::json;

use super::*;

pub(super) use setup::{Case, application, case, declared, scale, web, with};
use setup::{NOW, create, delete, drifted, git, marked, scaled, update, verdict_of};

fn cases() -> Vec<Case> {
    [
        content::cases(),
        deletes::cases(),
        holders::cases(),
        own::cases(),
        rollouts::cases(),
        overrides::cases(),
        scale::cases(),
        marks::cases(),
        behind::cases(),
        filled::cases(),
        children_tests::cases(),
        asking_tests::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn every_case_is_judged_as_named() {
    for case in cases() {
        let verdict = verdict_of(&case, RULES);
        assert_eq!(verdict.rule, case.expect, "{}: {:?}", case.name, verdict.differences);
        let decision = if case.expect.is_empty() { Decision::Allow } else { Decision::Deny };
        assert_eq!(verdict.decision, decision, "{}", case.name);
    }
}

/// A rule without which nothing changes is no rule.
#[test]
fn every_rule_has_teeth() {
    for rule in RULES {
        let others: Vec<Rule> = RULES.iter().filter(|other| other.id != rule.id).copied().collect();
        let bites = cases().iter().any(|case| verdict_of(case, &others).rule != case.expect);
        assert!(bites, "no case fails without {}", rule.id);
    }
}

#[test]
fn modes_soften_the_verdict() {
    for (mode, decision) in
        [(Mode::Enforce, Decision::Deny), (Mode::Warn, Decision::Warn), (Mode::Audit, Decision::Allow)]
    {
        let case =
            Case { new: Some(web("web:1", 5)), policy: Policy { mode, ..Policy::default() }, ..case("", "") };
        let verdict = verdict_of(&case, RULES);
        assert_eq!((verdict.decision, verdict.rule), (decision, "toward-git"));
    }
    let off = Case {
        new: Some(web("web:1", 5)),
        policy: Policy { mode: Mode::Off, ..Policy::default() },
        ..case("", "")
    };
    assert_eq!(verdict_of(&off, RULES).rule, "");
}

#[test]
fn our_own_kinds_are_closed_in_every_mode() {
    for mode in [Mode::Off, Mode::Audit, Mode::Warn] {
        let policy = Policy { mode, ..Policy::default() };
        for want in [None, Some(application("a"))] {
            let (old, new) = (Some(application("a")), Some(application("b")));
            let case = Case { old, new, wants: vec![("c2", want)], policy: policy.clone(), ..case("", "") };
            assert_eq!(verdict_of(&case, RULES).decision, Decision::Deny, "{mode:?}");
        }
    }
}

proptest! {
    /// Rule 1, for any drift: what is added is refused, what is repaired is not.
    #[test]
    fn drift_may_shrink_and_never_grow(before in 0_u32..64, after in 0_u32..64) {
        let drift = |bits: u32| {
            let mut live = web("web:1", 2);
            for (bit, field) in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "automountServiceAccountToken", "setHostnameAsFQDN"].iter().enumerate() {
                if bits >> bit & 1 == 1 {
                    live["spec"]["template"]["spec"][*field] = json!(true);
                }
            }
            live
        };
        let case = Case { old: Some(drift(before)), new: Some(drift(after)), ..case("", "") };
        let grows = after & !before != 0;
        prop_assert_eq!(verdict_of(&case, RULES).decision == Decision::Deny, grows);
    }
}

/// Git says nothing of limits; the namespace's LimitRange does.
#[test]
fn a_declared_pod_may_have_what_its_surroundings_put() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"containers": [{"name": "web", "image": "web:1"}]}});
    let range = json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "100m"}}]}});
    let around = Surroundings { limit_ranges: vec![range], ..Default::default() };
    let limited = |cpu: &str| {
        with(
            pod.clone(),
            "/spec/containers/0/resources",
            json!({"limits": {"cpu": cpu}, "requests": {"cpu": "100m"}}),
        )
    };
    for (cpu, surroundings, rule) in
        [("1", Some(around.clone()), ""), ("2", Some(around), "toward-git"), ("1", None, "toward-git")]
    {
        let case = Case {
            operation: Operation::Create,
            old: None,
            new: Some(limited(cpu)),
            wants: vec![("c2", Some(pod.clone()))],
            facts: Facts { surroundings, ..Facts::default() },
            ..case("a Pod under a LimitRange", rule)
        };
        assert_eq!(verdict_of(&case, RULES).rule, rule, "{cpu}");
    }
}
