//! Rollouts (the gate). In: writes of a Rollout's status, and of a second
//! workload that is not to be there. Out: an objection to a status that names
//! what Git does not hold, or promotes what was not on its way in; and to a
//! second workload that no status asks for. What else a Rollout changes is
//! declared: its other rules hold it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::asking::request_of;
use super::marks::mark;
use super::{Context, Objection, Operation, Review};
use crate::compare::{Difference, Op};
use crate::names::{ANNOTATION_REQUESTED_BY, GROUP};
use crate::path::Path;
use crate::rollout::bounds::{self, Grounds};
use crate::rollout::observe::Ask;
use crate::rollout::spec::Spec;
use crate::rollout::state::{Setting, State, Version};

const HINT: &str = "leave it to the controller; ask by: kubectl gitops rollout promote, abort";

/// What is known of a Rollout whose status is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Promotion {
    /// What runs, or what Git says where nothing runs yet: promoted as long as no
    /// status says so.
    pub running: Option<Version>,
    /// The hash of the target at each commit on the branch that the status names.
    pub held: BTreeMap<String, String>,
    /// Those of them that lie before the promoted one, or before the one at which
    /// the target was last written.
    pub older: BTreeSet<String>,
    /// The settings that its strategy has next.
    pub settings: Vec<Setting>,
    /// The Rollout as Git has it, and what its numbers and names may be.
    pub rollout: Option<(Spec, Grounds)>,
}

/// A status says which commit's version is promoted: one that Git holds, and
/// that was on its way in before.
pub(super) fn status(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    let rollout = review.key.group == GROUP && review.key.kind == "Rollout";
    if !rollout || review.subresource != "status" || context.tip().is_none() {
        return None;
    }
    let state = |object: Option<&Value>| object.and_then(|object| object.pointer("/status/state").cloned());
    let (before, after) = (state(review.old), state(review.new));
    let moved = if before == after { None } else { moved(review, context, before, after.as_ref()) };
    moved.or_else(|| shown(review, after.as_ref()))
}

/// What is wrong with another state than before.
fn moved(
    review: &Review<'_>,
    context: &Context<'_>,
    before: Option<Value>,
    after: Option<&Value>,
) -> Option<Objection> {
    let object = |message: String| {
        Some(Objection {
            differences: vec![Difference {
                path: Path::root().field("status").field("state"),
                op: Op::Change,
                git: None,
                tried: after.map(|state| versions(state).into()),
            }],
            message,
            hint: HINT.into(),
        })
    };
    let Some(after) = after else { return object("where a Rollout stands is not forgotten".into()) };
    let Ok(after) = State::deserialize(after) else {
        return object("that is no state of a Rollout".into());
    };
    // What cannot be read was not written by a controller of this version.
    let before = before.and_then(|state| State::deserialize(state).ok()).unwrap_or_default();
    let Some(known) = &context.facts.promotion else {
        return object("whether Git holds these versions could not be looked up".into());
    };
    let stable = before.stable.as_ref().or(known.running.as_ref());
    for (named, was) in [(&after.stable, &before.stable), (&after.new, &before.new)] {
        let Some(named) = named.as_ref().filter(|named| Some(*named) != was.as_ref()) else { continue };
        match known.held.get(&named.revision) {
            Some(hash) if *hash == named.hash => {}
            Some(hash) => {
                let commit = short(&named.revision);
                return object(format!("the target's hash at commit {commit} is {hash}, not {}", named.hash));
            }
            None => {
                return object(format!(
                    "commit {} of the target is none of the branch",
                    short(&named.revision)
                ));
            }
        }
    }
    // Time moves forward: what was left behind comes back by a commit.
    for (named, was) in [(&after.new, &before.new), (&after.stable, &before.stable)] {
        if let Some(named) = named.as_ref().filter(|named| was.as_ref() != Some(named))
            && known.older.contains(&named.revision)
        {
            return object(format!("commit {} is older than what runs", short(&named.revision)));
        }
    }
    // How many Pods and requests each version has is the strategy's to say.
    if after.setting != before.setting && !known.settings.contains(&after.setting) {
        return object("its strategy has no such step".into());
    }
    let Some((spec, grounds)) = &known.rollout else {
        return object("what Git and its target have could not be looked up".into());
    };
    if let Some(message) = bounds::objection(spec, (&before, &after), grounds, asked(review.new).as_ref()) {
        return object(message);
    }
    let promoted = [stable, before.new.as_ref()].into_iter().flatten();
    match &after.stable {
        Some(stable) if promoted.clone().any(|known| known.hash == stable.hash) => None,
        Some(stable) => object(format!("version {} was not on its way in", stable.hash)),
        // A state that names none would hold nothing back.
        None => object("it has to say which version is promoted".into()),
    }
}

/// What people and programs read says what the state says. A message is bounded
/// by its schema.
fn shown(review: &Review<'_>, state: Option<&Value>) -> Option<Objection> {
    let status = |object: Option<&Value>, field: &str| object?.get("status")?.get(field).cloned();
    for (field, pointer) in [
        ("phase", "/phase"),
        ("weight", "/setting/weight"),
        ("promotedRevision", "/stable/revision"),
        ("stableHash", "/stable/hash"),
        ("newHash", "/new/hash"),
    ] {
        let Some(tried) = status(review.new, field) else { continue };
        let of = |state: Option<&Value>| state.and_then(|state| state.pointer(pointer)).cloned();
        let says = of(state);
        // What was wrong before, and is not touched, is no news.
        let untouched = || {
            let before = review.old.and_then(|old| old.pointer("/status/state"));
            status(review.old, field).as_ref() == Some(&tried) && of(before) == says
        };
        if says.as_ref() == Some(&tried) || untouched() {
            continue;
        }
        let said = says.map_or_else(|| "nothing".to_owned(), |says| says.to_string());
        return Some(Objection {
            message: format!("it has to say the same as status.state: {said}"),
            differences: vec![Difference {
                path: Path::root().field("status").field(field),
                op: Op::Change,
                git: None,
                tried: Some(tried),
            }],
            hint: HINT.into(),
        });
    }
    None
}

/// The request that a Rollout carries, with whose name the webhook has stamped
/// on it.
fn asked(rollout: Option<&Value>) -> Option<bounds::Request> {
    let request: Value = serde_json::from_str(request_of(rollout)?).ok()?;
    let text = |field: &str| request.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let by = mark(rollout, "annotations", ANNOTATION_REQUESTED_BY).and_then(Value::as_str);
    // Asked before the webhook was there.
    let by = by.filter(|by| !by.is_empty()).unwrap_or("somebody").to_owned();
    let full = request.pointer("/arguments/full").is_some_and(|full| full == "true");
    let verb = match text("verb") {
        verb if verb == "promote" && full => Ask::PromoteFull.verb().to_owned(),
        verb => verb,
    };
    Some(bounds::Request { id: text("id"), verb, by, reason: text("reason") })
}

fn short(revision: &str) -> String {
    revision.chars().take(12).collect()
}

/// The versions of a state, in short.
fn versions(state: &Value) -> String {
    let of = |pointer: &str| state.pointer(pointer).and_then(Value::as_str).unwrap_or("none").to_owned();
    format!("stable {}, new {}", of("/stable/hash"), of("/new/hash"))
}

/// Beside a target there is a second workload only while its Rollout has one.
pub(super) fn second(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    let rollout = context.facts.second_of.as_ref().filter(|_| context.tip().is_none())?;
    if !matches!(review.operation, Operation::Create | Operation::Update)
        || !matches!(review.subresource, "" | "scale")
    {
        return None;
    }
    let replicas = |object: Option<&Value>| object?.pointer("/spec/replicas")?.as_i64();
    let (old, new) = (review.old, review.new?);
    let fewer = |old: &Value| {
        let without = |object: &Value| {
            let mut spec = object.get("spec").cloned().unwrap_or_default();
            spec.as_object_mut().map(|spec| spec.remove("replicas"));
            spec
        };
        without(old) == without(new) && replicas(Some(new)) <= replicas(Some(old))
    };
    if old.is_some_and(fewer) {
        return None;
    }
    Some(Objection {
        message: format!("Rollout {rollout} alone has a workload of this name, and has none now"),
        hint: "push the new version to Git: the Rollout lets it in".into(),
        ..Objection::default()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::super::tests::{declared, web};
    use super::super::{Candidate, Facts, Policy, judge};
    use super::*;
    use crate::desired::AppRef;
    use crate::object::{Gvk, ObjectKey};
    use crate::rollout::simulation::spec;
    use crate::rollout::spec::{Size, Strategy};
    use crate::schema::Schemas;

    fn rollout(state: Value) -> Value {
        let mut object = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "web", "namespace": "shop"}, "spec": {}});
        if !state.is_null() {
            object["status"] = json!({"state": state});
        }
        object
    }

    fn version(revision: &str) -> Value {
        json!({"revision": revision, "hash": format!("h-{revision}")})
    }

    fn told(
        subresource: &str,
        old: Option<&Value>,
        new: &Value,
        facts: &Facts,
        tip: Option<&Value>,
    ) -> String {
        let tip = tip.map(|tip| declared(tip.clone()));
        let operation = if old.is_some() { Operation::Update } else { Operation::Create };
        let (gvk, key) = (Gvk::of(new).unwrap(), ObjectKey::of(new).unwrap());
        let review = Review { operation, gvk: &gvk, key: &key, subresource, old, new: Some(new), now: 0 };
        let candidates = tip.as_ref().map(|tip| Candidate { revision: "c", object: Some(tip) });
        let context = Context {
            schemas: &Schemas::builtin(),
            policy: &Policy::default(),
            application: Some(&AppRef { namespace: "shop".into(), name: "web".into() }),
            candidates: candidates.as_slice(),
            free: &[],
            facts,
        };
        let verdict = judge(&review, &context);
        format!("{} {}", verdict.rule, verdict.message)
    }

    #[test]
    fn a_status_promotes_only_what_was_on_its_way_in() {
        let held = ["a", "b", "c", "old"].map(|name| (name.to_owned(), format!("h-{name}")));
        let held = held.into_iter().chain([("before-a".to_owned(), "h-a".to_owned())]).collect();
        let running = Version { revision: "a".into(), hash: "h-a".into() };
        let older = ["old".to_owned(), "before-a".to_owned()].into();
        let tenth = Setting { second: Some(Size::Percent(10)), weight: 10, ..Setting::REST };
        let settings = vec![tenth.clone()];
        let rollout_of = Some((spec(Strategy::Canary(Vec::new())), Grounds::default()));
        let promotion = Promotion { running: Some(running), held, older, settings, rollout: rollout_of };
        let facts = Facts { promotion: Some(promotion), ..Facts::default() };
        let at = |setting: &Setting| json!({"stable": version("a"), "new": version("b"), "setting": setting});
        let on_its_way = json!({"phase": "Gated", "stable": version("a"), "new": version("b")});
        for (before, after, expected) in [
            (json!(null), json!({"phase": "Idle", "stable": version("a")}), " "),
            (json!(null), json!({"phase": "Idle", "stable": version("b")}), "h-b was not on its way"),
            (json!(null), on_its_way.clone(), " "),
            (on_its_way.clone(), json!({"phase": "Idle", "stable": version("b")}), " "),
            (on_its_way.clone(), json!({"phase": "Idle", "stable": version("c")}), "h-c was not on its way"),
            (on_its_way.clone(), json!(null), "is not forgotten"),
            (on_its_way.clone(), json!({"phase": "Idle"}), "which version is promoted"),
            (json!(null), json!({"phase": "Idle"}), "which version is promoted"),
            (json!(null), json!({"stable": version("a"), "new": version("old")}), "older than what runs"),
            (
                on_its_way.clone(),
                json!({"stable": version("a"), "new": version("old")}),
                "older than what runs",
            ),
            (
                on_its_way.clone(),
                json!({"stable": {"revision": "before-a", "hash": "h-a"}, "new": version("b")}),
                "older than what runs",
            ),
            (on_its_way.clone(), at(&tenth), " "),
            (at(&tenth), at(&Setting { weight: 100, ..tenth.clone() }), "no such step"),
            (on_its_way.clone(), at(&Setting { share: 0, ..Setting::REST }), "no such step"),
            (
                json!({"stable": version("a"), "new": version("old")}),
                json!({"stable": version("a"), "new": version("old"), "at": 1}),
                " ",
            ),
            (on_its_way.clone(), json!({"phase": "Open"}), "no state"),
            (
                on_its_way.clone(),
                json!({"stable": version("a"), "new": version("b"), "replicas": 900}),
                "cannot have 900 replicas",
            ),
            (on_its_way.clone(), json!({"stable": version("a"), "new": version("x")}), "none of the branch"),
            (
                on_its_way,
                json!({"stable": version("a"), "new": {"revision": "c", "hash": "h-b"}}),
                "is h-c, not h-b",
            ),
        ] {
            let (old, new) = (rollout(before), rollout(after.clone()));
            let told = told("status", Some(&old), &new, &facts, Some(&rollout(Value::Null)));
            assert!(if expected == " " { told == " " } else { told.contains(expected) }, "{after}: {told}");
        }
        let (old, new) = (rollout(json!(null)), rollout(json!({"stable": version("a")})));
        let unknown = told("status", Some(&old), &new, &Facts::default(), Some(&rollout(Value::Null)));
        assert!(unknown.contains("could not be looked up"), "{unknown}");
    }

    #[test]
    fn what_people_read_says_what_the_state_says() {
        let state = json!({"phase": "Paused", "stable": version("a"), "new": version("b"), "setting": {
            "target": "Stable", "share": 100, "second": null, "updated": 0, "weight": 20}});
        let with = |fields: Value| {
            let mut object = rollout(state.clone());
            for (field, value) in fields.as_object().unwrap() {
                object["status"][field] = value.clone();
            }
            object
        };
        let right = json!({"phase": "Paused", "weight": 20, "promotedRevision": "a", "stableHash": "h-a", "newHash": "h-b"});
        let judged = |old: &Value, new: &Value| {
            told("status", Some(old), new, &Facts::default(), Some(&rollout(Value::Null)))
        };
        let at_first = with(json!({}));
        for (fields, expected) in [
            (right.clone(), " "),
            (json!({}), " "),
            (json!({"message": "in words"}), " "),
            (json!({"phase": "Idle"}), "the same as status.state: \"Paused\""),
            (json!({"weight": 0}), "the same as status.state: 20"),
            (json!({"promotedRevision": "b"}), "the same as status.state: \"a\""),
            (json!({"stableHash": "h-b"}), "the same as"),
            (json!({"newHash": ""}), "the same as"),
        ] {
            let told = judged(&at_first, &with(fields.clone()));
            assert!(if expected == " " { told == " " } else { told.contains(expected) }, "{fields}: {told}");
        }
        // What was wrong before keeps nobody from saying something else.
        let wrong = json!({"phase": "Idle", "message": "m"});
        assert_eq!(judged(&with(json!({"phase": "Idle"})), &with(wrong)), " ");
        let nothing = rollout(Value::Null);
        let mut forged = nothing.clone();
        forged["status"] = json!({"phase": "Idle"});
        assert!(judged(&nothing, &forged).contains("the same as status.state: nothing"));
    }

    #[test]
    fn a_second_workload_is_the_rollouts_alone() {
        let facts = Facts { second_of: Some("shop/web".into()), ..Facts::default() };
        let (three, two) = (web("web:2", 3), web("web:2", 2));
        assert!(told("", None, &two, &facts, None).starts_with("second "));
        assert!(told("", Some(&two), &three, &facts, None).starts_with("second "));
        assert!(told("", Some(&three), &web("web:1", 3), &facts, None).starts_with("second "));
        assert_eq!(told("", Some(&three), &two, &facts, None), " ");
        assert_eq!(told("", None, &two, &Facts::default(), None), " ");
        // While the Rollout has one it is declared, and held like anything else.
        assert_eq!(told("", Some(&two), &two, &facts, Some(&two)), " ");
    }
}
