//! Commits between the recorded one and the tip that nobody names (rule 7). In:
//! what one of them declared, and a write. Out: whether the write may be
//! judged by it.

use super::rules::is_whole_write;
use super::{Candidate, Context, Review};

impl Context<'_> {
    /// Whether a write makes its object, as a whole, what a commit declares. One
    /// that only comes nearer to it is judged by the tip: it would go back in
    /// time where the two differ.
    pub fn is_at(&self, candidate: &Candidate<'_>, review: &Review<'_>) -> bool {
        is_whole_write(review)
            && review.old.is_some()
            && candidate.object.zip(review.new).is_some_and(|(want, new)| {
                want.key == *review.key && want.gvk == *review.gvk && self.differences(want, new).is_empty()
            })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::Value;

    use super::super::tests::{declared, web, with};
    use super::super::{Facts, Operation, Policy, judge};
    use super::*;
    use crate::desired::AppRef;
    use crate::object::{Gvk, ObjectKey};
    use crate::schema::Schemas;

    /// The rule that objects to a write when the commit between is known.
    fn rule(subresource: &str, old: Option<&Value>, new: &Value) -> &'static str {
        let (tip, between) = (declared(web("web:3", 3)), declared(web("web:2", 2)));
        let candidate = |revision, object| Candidate { revision, object: Some(object) };
        let (tip, between) = (candidate("c3", &tip), candidate("c2", &between));
        let operation = if old.is_some() { Operation::Update } else { Operation::Create };
        let (gvk, key) = (Gvk::of(new).unwrap(), ObjectKey::of(new).unwrap());
        let review = Review { operation, gvk: &gvk, key: &key, subresource, old, new: Some(new), now: 0 };
        let context = Context {
            schemas: &Schemas::builtin(),
            policy: &Policy::default(),
            application: Some(&AppRef { namespace: "shop".into(), name: "web".into() }),
            candidates: &[tip],
            free: &[],
            facts: &Facts::default(),
        };
        let all = [tip, between];
        let candidates = if context.is_at(&between, &review) { &all[..] } else { &all[..1] };
        judge(&review, &Context { candidates, ..context }).rule
    }

    #[test]
    fn a_write_that_matches_a_commit_between_passes() {
        assert_eq!(rule("", Some(&web("web:1", 1)), &web("web:2", 2)), "");
    }

    #[test]
    fn one_that_only_comes_nearer_or_adds_to_it_does_not() {
        let old = web("web:1", 1);
        assert_eq!(rule("", Some(&old), &web("web:2", 1)), "toward-git");
        assert_eq!(rule("", Some(&old), &web("web:1", 2)), "toward-git");
        let foreign = with(web("web:2", 2), "/spec/template/spec/hostNetwork", true.into());
        assert_eq!(rule("", Some(&old), &foreign), "toward-git");
    }

    #[test]
    fn without_an_old_object_the_tip_alone_counts() {
        assert_eq!(rule("", None, &web("web:2", 2)), "toward-git");
        assert_eq!(rule("", None, &web("web:3", 3)), "");
    }
}
