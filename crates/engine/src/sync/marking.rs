//! Objects that are as Git says and bear nobody's marks, since another client
//! has made them. In: a survey. Out: those that a sync marks, so that they are
//! known for the Application's: watched, pruned once Git drops them, deleted with
//! it. That is no difference from Git, and where it cannot be done, no failure.

use gitops_core::object::ObjectKey;
use gitops_core::plan::{Action, Step};

use super::{SyncOptions, is_meant};
use crate::survey::Survey;

/// What a sync under these options would mark.
pub fn unmarked<'a>(survey: &'a Survey, options: &'a SyncOptions) -> impl Iterator<Item = &'a ObjectKey> {
    let steps = survey.plan.steps.iter();
    let meant = steps.filter(|step| is_unmarked(step, survey) && is_meant(step, survey, options));
    meant.map(|step| &step.key)
}

pub(super) fn is_unmarked(step: &Step, survey: &Survey) -> bool {
    let marks = survey.live.marks_of(&step.key);
    step.action == Action::Unchanged
        && !survey.held.contains_key(&step.key)
        && marks.is_some_and(|marks| {
            marks.owner.is_none() && marks.application.is_none() && !marks.is_terminating
        })
}
