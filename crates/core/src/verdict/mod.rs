//! May this write pass? In: a review, what Git says about its object, and the
//! facts that the rules need. Out: a verdict with the differences that led to
//! it. Content is judged, never the writer.

mod asking;
#[cfg(test)]
mod asking_tests;
mod audit;
mod children;
#[cfg(test)]
mod children_tests;
mod deletes;
mod denial;
mod filled;
mod forward;
mod marks;
mod overriding;
mod own;
mod partition;
mod passed;
mod requests;
mod rollouts;
mod rules;
#[cfg(test)]
mod tests;
mod weight;

use serde::Serialize;
use serde_json::Value;

use crate::children::{Endpoints, Lineage, Surroundings};
use crate::compare::{CompareOptions, Difference, World, compare, world_of};
use crate::delegation::{Free, Grant};
use crate::desired::{AppRef, DesiredObject};
use crate::names::GROUP;
use crate::object::{Gvk, ObjectKey};
use crate::path::Path;
use crate::schema::Schemas;

pub use asking::{Asked, request_of};
pub use audit::{audit, paths, word};
pub use denial::{advice, denial};
pub use forward::revision_of;
pub use overriding::Override;
pub use own::{LONGEST, verb};
pub use rollouts::Promotion;
pub use rules::{RULES, Rule};

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// A write, as the API server asks about it.
#[derive(Clone, Debug)]
pub struct Review<'a> {
    pub operation: Operation,
    /// Of the object, or of its parent for a subresource.
    pub gvk: &'a Gvk,
    /// Of the object: on a deletecollection or generateName the request has no
    /// name, the object does.
    pub key: &'a ObjectKey,
    /// Empty, or `scale`, `status`, ...
    pub subresource: &'a str,
    /// As it is; absent on CREATE.
    pub old: Option<&'a Value>,
    /// As it would be; absent on DELETE.
    pub new: Option<&'a Value>,
    /// Unix seconds.
    pub now: i64,
}

/// What Git says about the object at one commit.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The commit, in full.
    pub revision: &'a str,
    /// None: this commit does not declare it.
    pub object: Option<&'a DesiredObject>,
}

/// How a verdict is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    Off,
    /// Recorded only.
    Audit,
    /// Let through with a warning.
    Warn,
    #[default]
    Enforce,
}

/// What to do about objects that nobody declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Untracked {
    #[default]
    Allow,
    Warn,
    Deny,
}

/// What to do about exec, attach, port-forward and debugging.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interactive {
    Allow,
    #[default]
    Warn,
    Deny,
}

/// How an Application is held, with its Project's floor worked in.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    pub mode: Mode,
    pub untracked: Untracked,
    pub interactive: Interactive,
    /// Custom kinds are closed like built-in ones.
    pub close_custom_kinds: bool,
    /// What is left to others: a Project's injectors, an Application's own
    /// delegations and ignore rules.
    pub grants: Vec<Grant>,
}

impl Policy {
    /// The paths of an object that are not held, or held between bounds.
    /// `delegated` is what Git's own objects leave to others.
    pub fn free(&self, key: &ObjectKey, delegated: &[Free]) -> Vec<Free> {
        let granted = self.grants.iter().filter(|grant| grant.covers(key)).map(|grant| grant.free.clone());
        granted.chain(delegated.iter().cloned()).collect()
    }

    /// Of both the stricter; what this one leaves to others stays left to them.
    pub fn and(mut self, other: &Self) -> Self {
        self.mode = self.mode.max(other.mode);
        self.untracked = self.untracked.max(other.untracked);
        self.interactive = self.interactive.max(other.interactive);
        self.close_custom_kinds |= other.close_custom_kinds;
        self.grants.extend(other.grants.iter().cloned());
        self
    }

    /// The world in which a kind is compared.
    pub fn world(&self, gvk: &Gvk) -> World {
        if self.close_custom_kinds { World::Closed } else { world_of(gvk) }
    }
}

/// Everything a rule may look at beside the write itself.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub schemas: &'a Schemas,
    pub policy: &'a Policy,
    /// The Application that owns the object.
    pub application: Option<&'a AppRef>,
    /// The tip first; then those commits between the object's recorded one and
    /// the tip that the write may be judged against as well. Never older ones.
    pub candidates: &'a [Candidate<'a>],
    /// Paths of the object that are not held, or held between bounds.
    pub free: &'a [Free],
    pub facts: &'a Facts,
}

/// What is true of the cluster around a write. The default is the strictest:
/// a fact that is not known opens nothing.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The object's namespace is going away.
    pub namespace_terminating: bool,
    /// Declared objects that go along when this Namespace or definition goes.
    pub holds: usize,
    /// Whether the writer has the verb `manage` on this object of ours.
    pub may_manage: bool,
    /// The object was last accepted at a commit that is not known here, or
    /// newer than the newest known: another replica is ahead of this one.
    pub behind: bool,
    /// The field that `/scale` of a custom kind sets.
    pub scale_path: Option<Path>,
    /// Who owns the object; None: not looked up yet.
    pub lineage: Option<Lineage>,
    /// What admission plugins put beside a Pod's template; None: not looked up
    /// yet.
    pub surroundings: Option<Surroundings>,
    /// Where the traffic of this slice's Service may go.
    pub endpoints: Endpoints,
    /// A StatefulSet that Git declares makes this claim.
    pub claimed: bool,
    /// The DELETE asks for what the object owns to stay behind.
    pub orphaning: bool,
    /// The Application that declares the object is going away.
    pub application_terminating: bool,
    /// The node of this Pod is gone, or evicts it by a taint.
    pub node_lost: bool,
    /// What of an Application's spec cannot be read, in a sentence, where that is new.
    pub mistake: Option<String>,
    /// Whether the writer has the verb `override`.
    pub may_override: bool,
    /// Who writes, for the stamps of Overrides and requests alone.
    pub writer: String,
    /// What is known of a request that the write changes.
    pub asked: Asked,
    /// What is known of a Rollout whose status is written; None: not looked up yet.
    pub promotion: Option<Promotion>,
    /// The Rollout, by namespace and name, that may have a second workload of this
    /// name.
    pub second_of: Option<String>,
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    Allow,
    Warn,
    Deny,
}

/// A difference, and where Git says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Located {
    #[serde(flatten)]
    pub difference: Difference,
    pub file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// A judged write.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub decision: Decision,
    /// The rule that objected; empty when none did.
    pub rule: &'static str,
    pub key: ObjectKey,
    pub application: Option<AppRef>,
    /// The commit that was judged against.
    pub revision: Option<String>,
    /// File and line of the object in Git, where Git declares it.
    pub origin: Option<String>,
    /// The most powerful first, at most [`MAX_DIFFERENCES`]. Secret values are
    /// masked.
    pub differences: Vec<Located>,
    /// How many more there are.
    pub omitted: usize,
    /// What the rule has to say.
    pub message: String,
    /// How to do it through Git.
    pub hint: String,
    /// Name and reason of the Override that let it pass all the same.
    pub overridden: Option<(String, String)>,
    /// Whether an Override may let this refusal pass.
    pub may_be_overridden: bool,
}

/// Differences that a verdict holds; the rest are counted, so that an answer
/// and the work for it stay small however much was changed.
pub const MAX_DIFFERENCES: usize = 100;

/// What a rule says against a write.
#[derive(Clone, Debug, Default)]
pub struct Objection {
    pub differences: Vec<Difference>,
    pub message: String,
    pub hint: String,
}

/// Judges a write by all rules.
pub fn judge(review: &Review<'_>, context: &Context<'_>) -> Verdict {
    let verdict = judge_by(RULES, review, context);
    let may_be_overridden =
        verdict.decision == Decision::Deny && overriding::may_be_overridden(review, context);
    Verdict { may_be_overridden, ..verdict }
}

/// Judges a write by these rules: the first that objects decides.
pub fn judge_by(rules: &[Rule], review: &Review<'_>, context: &Context<'_>) -> Verdict {
    let tip = context.candidates.first();
    let mut verdict = Verdict {
        decision: Decision::Allow,
        rule: "",
        key: review.key.clone(),
        application: context.application.cloned(),
        revision: tip.map(|tip| tip.revision.to_owned()),
        origin: context.tip().map(|object| object.origin.to_string()),
        differences: Vec::new(),
        omitted: 0,
        message: String::new(),
        hint: String::new(),
        overridden: None,
        may_be_overridden: false,
    };
    // Our own kinds are closed in every mode: they say what the mode is.
    let mode = if review.key.group == GROUP { Mode::Enforce } else { context.policy.mode };
    if mode == Mode::Off {
        return verdict;
    }
    let context = &Context { candidates: open(review, context), ..*context };
    for rule in rules {
        let Some(mut objection) = (rule.judge)(review, context) else { continue };
        verdict.rule = rule.id;
        verdict.decision = match (mode, rule.severity(context.policy)) {
            (Mode::Enforce, decision) => decision,
            (Mode::Warn, _) => Decision::Warn,
            (Mode::Audit | Mode::Off, _) => Decision::Allow,
        };
        let declared = tip.and_then(|tip| tip.object);
        weight::sort(&mut objection.differences);
        verdict.omitted = objection.differences.len().saturating_sub(MAX_DIFFERENCES);
        objection.differences.truncate(MAX_DIFFERENCES);
        verdict.differences =
            objection.differences.into_iter().map(|d| located(d, review.gvk, declared)).collect();
        verdict.message = objection.message;
        verdict.hint = objection.hint;
        break;
    }
    verdict
}

/// The commits by which a write may be judged. An object that is as the newest
/// says has arrived there: what lies before is older (rule 7).
fn open<'a>(review: &Review<'_>, context: &Context<'a>) -> &'a [Candidate<'a>] {
    let arrived = || {
        let (want, old) = context.tip().zip(review.old)?;
        (review.subresource != "scale" && context.differences(want, old).is_empty()).then_some(())
    };
    match context.candidates {
        [tip, _, ..] if arrived().is_some() => std::slice::from_ref(tip),
        all => all,
    }
}

fn located(mut difference: Difference, gvk: &Gvk, declared: Option<&DesiredObject>) -> Located {
    let confidential = declared.map(|object| &*object.origin.confidential).unwrap_or_default();
    crate::compare::mask(gvk, &mut difference, confidential);
    let line = declared.and_then(|object| object.line_of(&difference.path));
    Located {
        difference,
        file: declared.map(|object| object.origin.file.to_string()).unwrap_or_default(),
        line,
    }
}

impl Context<'_> {
    /// What differs between `want` and `live` under this context's policy.
    fn differences(&self, want: &DesiredObject, live: &Value) -> Vec<Difference> {
        let options = CompareOptions { world: self.policy.world(&want.gvk), free: self.free };
        // Admission plugins fill Pods only; a template stays as it is written.
        let is_pod = want.gvk.group.is_empty() && want.gvk.kind == "Pod";
        match self.facts.surroundings.as_ref().filter(|_| is_pod) {
            Some(around) => {
                let filled = around.fill((*want.value).clone());
                compare(self.schemas, &want.gvk, &filled, live, &options)
            }
            None => compare(self.schemas, &want.gvk, &want.value, live, &options),
        }
    }

    fn tip(&self) -> Option<&DesiredObject> {
        self.candidates.first().and_then(|tip| tip.object)
    }
}
