//! Who keeps fighting over a field. In: refusals, one by one. Out: the first
//! moment at which somebody was refused on the same field too often, and the
//! fights that go on. Bounded, whatever is thrown at it.

use std::collections::{HashMap, VecDeque};

use crate::desired::AppRef;
use crate::object::ObjectKey;

/// So many refusals within [`WITHIN`] are a fight.
pub const TIMES: usize = 5;
/// Seconds.
pub const WITHIN: i64 = 60;
/// Seconds without a refusal after which a fight is over.
pub const OVER: i64 = 600;
/// Fights that are remembered; the one that was quiet longest is forgotten.
const REMEMBERED: usize = 1024;

/// One user, again and again refused on one field.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Contention {
    pub application: AppRef,
    pub key: ObjectKey,
    /// The first field that was refused; empty for the whole object.
    pub field: String,
    pub user: String,
}

impl std::fmt::Display for Contention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let field = if self.field.is_empty() { "the whole object" } else { &self.field };
        write!(f, "{} keeps writing {field} of {}, and is refused", self.user, self.key)
    }
}

#[derive(Clone, Debug, Default)]
struct Tries {
    at: VecDeque<i64>,
    is_fight: bool,
}

/// The refusals of the last while.
#[derive(Clone, Debug, Default)]
pub struct Contentions {
    tries: HashMap<Contention, Tries>,
}

impl Contentions {
    /// Notes a refusal at `now` (Unix seconds). True once a fight: when it
    /// becomes one.
    pub fn refused(&mut self, by: &Contention, now: i64) -> bool {
        self.tries.retain(|_, tries| tries.at.back().is_some_and(|last| now - last < OVER));
        if self.tries.len() >= REMEMBERED && !self.tries.contains_key(by) {
            let quiet = self.tries.iter().min_by_key(|(_, tries)| tries.at.back().copied());
            if let Some(quiet) = quiet.map(|(quiet, _)| quiet.clone()) {
                self.tries.remove(&quiet);
            }
        }
        let tries = self.tries.entry(by.clone()).or_default();
        tries.at.push_back(now);
        if tries.at.len() > TIMES {
            tries.at.pop_front();
        }
        let begins = !tries.is_fight
            && tries.at.len() == TIMES
            && tries.at.front().is_some_and(|first| now - first < WITHIN);
        tries.is_fight |= begins;
        begins
    }

    /// The fights over an Application's objects that go on at `now`.
    pub fn of(&self, application: &AppRef, now: i64) -> Vec<&Contention> {
        let going = self.tries.iter().filter(|(by, tries)| {
            by.application == *application
                && tries.is_fight
                && tries.at.back().is_some_and(|last| now - last < OVER)
        });
        let mut found: Vec<&Contention> = going.map(|(by, _)| by).collect();
        found.sort();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(user: &str) -> Contention {
        Contention {
            application: AppRef { namespace: "shop".into(), name: "web".into() },
            key: ObjectKey {
                group: "apps".into(),
                kind: "Deployment".into(),
                namespace: "shop".into(),
                name: "web".into(),
            },
            field: "spec.replicas".into(),
            user: user.into(),
        }
    }

    #[test]
    fn five_refusals_within_a_minute_are_a_fight_and_told_once() {
        let mut known = Contentions::default();
        let told: Vec<bool> = (0..8).map(|second| known.refused(&by("hpa"), second)).collect();
        assert_eq!(told, [false, false, false, false, true, false, false, false]);
        assert_eq!(known.of(&by("hpa").application, 8).len(), 1);
        assert!(known.of(&by("hpa").application, 8 + OVER).is_empty(), "it is over");
    }

    #[test]
    fn slow_refusals_and_those_of_many_are_none() {
        let mut known = Contentions::default();
        assert!((0..20).all(|round| !known.refused(&by("slow"), round * 20)));
        let mut known = Contentions::default();
        assert!((0..4000).all(|user| !known.refused(&by(&format!("user-{user}")), 0)));
        assert!(known.tries.len() <= REMEMBERED);
    }
}
