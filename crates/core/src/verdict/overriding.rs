//! Break-glass. In: a verdict, who writes, and the Overrides that there are.
//! Out: the Override that lets a refused write pass. The verdict still says
//! which rule objected; what the write leaves behind is drift.

use super::{Context, Decision, RULES, Review, Rule, Verdict, judge_by};
use crate::names::GROUP;
use crate::object::ObjectKey;

/// Rules that no Override opens: our own kinds have verbs of their own, and
/// marks that are untrue would still work after it has ended.
const NEVER: [&str; 7] =
    ["request", "own-kinds", "own-spec", "override-window", "held-marks", "revision-forward", "pretender"];

/// An Override, as far as a verdict depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Override {
    pub name: String,
    /// Empty: all, and cluster-scoped objects.
    pub namespaces: Vec<String>,
    /// `Deployment` or `Deployment.apps`; empty: all.
    pub kinds: Vec<String>,
    /// Empty: all.
    pub names: Vec<String>,
    /// Empty: nobody.
    pub users: Vec<String>,
    pub reason: String,
    /// Unix seconds.
    pub expires_at: i64,
}

impl Override {
    /// Whether `user` may write this object past Git at `now` (Unix seconds).
    /// Objects of our own kinds never are.
    pub fn covers(&self, key: &ObjectKey, user: &str, now: i64) -> bool {
        let listed = |list: &[String], matches: &dyn Fn(&str) -> bool| {
            list.is_empty() || list.iter().any(|item| matches(item))
        };
        let is_namespace = key.group.is_empty() && key.kind == "Namespace";
        let namespace = if is_namespace { &key.name } else { &key.namespace };
        let kind = |item: &str| {
            item.split_once('.')
                .map_or(item == key.kind, |(kind, group)| kind == key.kind && group == key.group)
        };
        key.group != GROUP
            && now < self.expires_at
            && self.users.iter().any(|listed| listed == user)
            && listed(&self.namespaces, &|item| item == namespace)
            && listed(&self.kinds, &kind)
            && listed(&self.names, &|item| item == key.name)
    }
}

/// Whether this refusal is one that an Override may open: no rule that is
/// closed to all of them objects as well.
pub(super) fn may_be_overridden(review: &Review<'_>, context: &Context<'_>) -> bool {
    let never: Vec<Rule> = RULES.iter().filter(|rule| NEVER.contains(&rule.id)).copied().collect();
    judge_by(&never, review, context).decision != Decision::Deny
}

impl Verdict {
    /// The same verdict, let through by an Override.
    pub fn overridden_by(self, by: &Override) -> Self {
        Self { decision: Decision::Allow, overridden: Some((by.name.clone(), by.reason.clone())), ..self }
    }
}
