//! Requests beside plain writes (rule 5): into running Pods, and `/scale` of
//! what a controller scales.

use serde_json::Value;

use super::{Context, Interactive, Objection, Operation, Review};
use crate::children::{Lineage, State, is_built_in, is_judged};
use crate::compare::{Difference, Op};
use crate::delegation;
use crate::object::Gvk;

/// Subresources of a Pod by which someone works in it.
const INTERACTIVE: &[&str] = &["ephemeralcontainers", "resize", "exec", "attach", "portforward", "proxy"];

/// Work in a running Pod, whoever made it, is by policy.
pub(super) fn interactive(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    let pod = review.key.group.is_empty() && review.key.kind == "Pod";
    if !pod || !INTERACTIVE.contains(&review.subresource) || context.policy.interactive == Interactive::Allow
    {
        return None;
    }
    if let (Some(old), Some(new)) = (review.old, review.new)
        && review.operation == Operation::Update
    {
        let options =
            crate::compare::CompareOptions { world: context.policy.world(review.gvk), free: context.free };
        // Nothing but what an injector may do anyway.
        if crate::compare::compare(context.schemas, review.gvk, old, new, &options).is_empty() {
            return None;
        }
    }
    Some(Objection {
        message: format!("{} works in a running Pod, past what Git says", review.subresource),
        hint:
            "change it in Git; or ask for the policy `interactive: Allow` on the Application and its Project"
                .into(),
        ..Objection::default()
    })
}

/// What a controller scales, nobody else does.
pub(super) fn scale_child(review: &Review<'_>, context: &Context<'_>) -> Option<Objection> {
    if review.subresource != "scale" || context.tip().is_some() {
        return None;
    }
    let replicas =
        |object: Option<&Value>| object.and_then(|object| object.pointer("/spec/replicas").cloned());
    let (git, tried) = (replicas(review.old), replicas(review.new));
    if git == tried {
        return None;
    }
    let message = match &context.facts.lineage {
        None => "who scales it could not be looked up".to_owned(),
        Some(Lineage { owners, .. })
            if owners.iter().any(|owner| {
                matches!(owner.state, State::Unknown(_)) && is_built_in(&owner.reference.gvk)
            }) =>
        {
            "who scales it could not be looked up".to_owned()
        }
        Some(lineage) => {
            let scales = |gvk: &Gvk| is_built_in(gvk) && is_judged(review.gvk, gvk);
            let owner = lineage
                .owners
                .iter()
                .find(|owner| owner.descends && owner.reference.controller && scales(&owner.reference.gvk))?;
            format!("{} {} scales it", owner.reference.gvk.kind, owner.reference.name)
        }
    };
    Some(Objection {
        differences: vec![Difference { path: delegation::replicas(), op: Op::Change, git, tried }],
        message,
        hint: "scale what Git declares, in Git".into(),
    })
}
