//! The way back to the running version: why it is taken, setting by setting,
//! and what is left behind.

use super::Stepping;
use crate::rollout::observe::settled;
use crate::rollout::program::back;
use crate::rollout::spec::{Means, OnFailure};
use crate::rollout::state::{Aftermath, Back, Phase, State, Version};

impl Stepping<'_> {
    /// Git or the Rollout says something else by now.
    pub(super) fn turned(&self, next: &mut State) -> bool {
        let hash = |version: &Option<Version>| version.as_ref().map(|version| version.hash.clone());
        let tip = Some(self.seen.tip.hash.clone());
        let (why, message) = if hash(&next.stable) == tip {
            (Back::Returned, "Git says the running version again")
        } else if hash(&next.new) != tip {
            (Back::Changed, "Git says a newer version: it begins again with that one")
        } else if next.digest != self.spec.digest() {
            (Back::Changed, "the Rollout has changed: it begins again")
        } else {
            return false;
        };
        self.turn_back(next, why, message);
        true
    }

    pub(super) fn fail(&self, next: &mut State, why: &str) {
        next.refused = next.new.as_ref().map(|new| new.hash.clone());
        next.aftermath =
            (self.spec.on_failure != OnFailure::Hold).then(|| Aftermath::Wanted("not pushed yet".into()));
        self.turn_back(next, Back::Failed, why);
    }

    fn turn_back(&self, next: &mut State, why: Back, message: &str) {
        next.phase = Phase::Aborting;
        (next.back, next.held, next.full) = (Some(why), None, false);
        message.clone_into(&mut next.message);
        next.tallies.clear();
        next.background.clear();
        self.retreat(next);
    }

    /// One setting back; whether there was one.
    fn retreat(&self, next: &mut State) -> bool {
        let Some(setting) = back(self.spec.means(), &next.setting) else { return false };
        self.set(next, setting);
        next.entered = self.now;
        true
    }

    pub(super) fn aborting(&self, next: &mut State) {
        self.pushed(next);
        let waited = self.now.saturating_sub(next.entered) > self.spec.progress_deadline;
        if !(settled(self.spec, next, self.seen) || waited && !self.overlaps(next)) || self.retreat(next) {
            return;
        }
        (next.at, next.stable_pods, next.new_pods) = (0, None, None);
        if next.back.take() == Some(Back::Failed) {
            next.phase = Phase::Aborted;
            return;
        }
        (next.phase, next.new, next.refused) = (Phase::Idle, None, None);
        self.idle(next);
    }

    /// Whether the old version would start beside what is left of the failed one,
    /// where none may.
    fn overlaps(&self, next: &State) -> bool {
        self.spec.means() == Means::Alone && next.setting.share == 0 && self.seen.target.total > 0
    }

    pub(super) fn aborted(&self, next: &mut State) {
        self.pushed(next);
        if next.refused.as_ref() == Some(&self.seen.tip.hash) {
            return;
        }
        (next.phase, next.new, next.refused, next.aftermath) = (Phase::Idle, None, None, None);
        next.message = String::new();
        self.idle(next);
    }

    fn pushed(&self, next: &mut State) {
        if let (Some(Aftermath::Wanted(_)), Some(pushed)) = (&next.aftermath, &self.seen.pushed) {
            next.aftermath = Some(match pushed {
                Ok(commit) => Aftermath::Done(commit.clone()),
                Err(why) => Aftermath::Wanted(why.clone()),
            });
        }
    }
}
