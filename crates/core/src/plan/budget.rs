//! How much one sync may delete before a person has to say so. In: a plan and
//! a budget. Out: nothing, or the reason to ask.

use std::fmt;

use super::{Action, Plan};

/// At most this many, and at most this share, of an Application's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pub count: usize,
    /// Of few objects, one may always go, unless this is 0.
    pub percent: usize,
}

/// Why a prune has to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Git declares nothing any more.
    Empty {
        pruned: usize,
    },
    OverBudget {
        pruned: usize,
        of: usize,
        budget: Budget,
    },
    /// Objects that ask for it by themselves.
    Asked(Vec<String>),
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { pruned } => {
                write!(f, "Git declares nothing, and all {pruned} objects would be pruned")
            }
            Self::OverBudget { pruned, of, budget } => write!(
                f,
                "{pruned} of {of} objects would be pruned; the budget is {} and {}%",
                budget.count, budget.percent
            ),
            Self::Asked(names) => {
                write!(f, "pruning is to be confirmed (Prune=confirm): {}", names.join(", "))
            }
        }
    }
}

impl Budget {
    /// How many of `of` objects may go without a question.
    pub fn allows(&self, of: usize) -> usize {
        let share = of * self.percent / 100;
        self.count.min(if self.percent > 0 { share.max(1) } else { 0 })
    }

    /// What speaks against pruning what a plan says.
    pub fn doubt(&self, plan: &Plan, allow_empty: bool) -> Option<Doubt> {
        let prunes: Vec<_> =
            plan.steps.iter().filter(|step| step.action == Action::Prune && !step.is_kept()).collect();
        let pruned = prunes.len();
        if pruned == 0 {
            return None;
        }
        // All that is there: what stays, and what goes.
        let of = plan.steps.iter().filter(|step| step.action != Action::Create).count();
        if plan.declared == 0 && !allow_empty {
            return Some(Doubt::Empty { pruned });
        }
        if plan.declared > 0 && pruned > self.allows(of) {
            return Some(Doubt::OverBudget { pruned, of, budget: *self });
        }
        let asked: Vec<String> =
            prunes.iter().filter(|step| step.asks()).map(|step| step.key.to_string()).collect();
        (!asked.is_empty()).then_some(Doubt::Asked(asked))
    }
}
