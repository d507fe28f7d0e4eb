//! The state machine. In: a Rollout's spec, its state, what was observed, and
//! the time. Out: the next state, and what is wished for that no object says.
//! The driver writes the state first, then the objects that follow from it.

mod asked;
mod retreat;

use super::analysis::{Judgement, Scope, judge};
use super::observe::{Asked, Observed, progress, settled};
use super::program::{Move, Program, grows, program};
use super::spec::{Means, OnFailure, Spec};
use super::state::{Aftermath, Held, Holds, Phase, Setting, State, Version};

/// What a decision comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub next: State,
    /// To be done again until they were observed to be done.
    pub wishes: Vec<Wish>,
}

/// Something to do outside of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A commit that takes this version back, pushed to the Application's branch.
    Revert(Version),
    /// The same, pushed to a branch of its own.
    Branch(Version),
    /// Pods of this version that are not ready are to be deleted: a StatefulSet
    /// waits for a broken Pod before it rolls back.
    Clear(Version),
}

/// Decides. Nothing changes when the next state is the same.
pub fn step(spec: &Spec, state: &State, seen: &Observed, now: i64) -> Decision {
    let mut next = state.clone();
    let step = Stepping { spec, program: program(spec), seen, now };
    step.follow(&mut next);
    if let Some(asked) = seen.request.as_ref().filter(|asked| is_new(state, asked)) {
        step.request(&mut next, asked);
    } else {
        match state.phase {
            Phase::Idle => step.idle(&mut next),
            Phase::Gated => step.gated(&mut next),
            Phase::Progressing | Phase::Paused | Phase::Promoting => step.under_way(&mut next),
            Phase::Aborting => step.aborting(&mut next),
            Phase::Aborted => step.aborted(&mut next),
        }
    }
    let wishes = wishes(spec, &next);
    Decision { next, wishes }
}

/// When it is to be decided again though nothing is observed to change, in
/// seconds since 1970; none: never.
pub fn again(spec: &Spec, state: &State) -> Option<i64> {
    if !state.is_under_way() {
        return None;
    }
    // A deadline has passed a second after it.
    let passed = |since: i64, seconds: i64| Some(since.saturating_add(seconds).saturating_add(1));
    if state.phase == Phase::Aborting {
        return passed(state.entered, spec.progress_deadline);
    }
    let moves = program(spec).moves;
    let next = match moves.get(state.at).map(|planned| &planned.act).filter(|_| state.held.is_none()) {
        Some(Move::Pause(seconds)) => seconds.map(|seconds| state.entered.saturating_add(seconds)),
        Some(Move::Arrange(_)) => passed(state.progressed, spec.progress_deadline),
        _ => None,
    };
    passed(state.started, spec.total_deadline).into_iter().chain(next).min()
}

/// Whether it stands until a person says something.
pub fn waits_for_a_person(spec: &Spec, state: &State) -> bool {
    let pause =
        || matches!(program(spec).moves.get(state.at).map(|planned| &planned.act), Some(Move::Pause(None)));
    state.phase == Phase::Paused && (state.held.is_some() || pause())
}

fn is_new(state: &State, asked: &Asked) -> bool {
    state.record.as_ref().is_none_or(|record| record.id != asked.id)
}

fn wishes(spec: &Spec, next: &State) -> Vec<Wish> {
    let Some(new) = &next.new else { return Vec::new() };
    let mut wishes = Vec::new();
    if next.phase == Phase::Aborting
        && spec.target.kind == "StatefulSet"
        && next.setting.target == Holds::Stable
    {
        wishes.push(Wish::Clear(new.clone()));
    }
    if matches!(next.aftermath, Some(Aftermath::Wanted(_))) {
        match spec.on_failure {
            OnFailure::Revert => wishes.push(Wish::Revert(new.clone())),
            OnFailure::Branch => wishes.push(Wish::Branch(new.clone())),
            OnFailure::Hold => {}
        }
    }
    wishes
}

struct Stepping<'a> {
    spec: &'a Spec,
    program: Program,
    seen: &'a Observed,
    now: i64,
}

impl Stepping<'_> {
    fn idle(&self, next: &mut State) {
        let tip = &self.seen.tip;
        // What does not run yet is let in; what runs is what was promoted.
        let stable =
            next.stable.get_or_insert_with(|| self.seen.running.clone().unwrap_or_else(|| tip.clone()));
        if stable.hash == tip.hash {
            *stable = tip.clone();
            next.refused = None;
        } else {
            self.begin(next);
        }
    }

    /// Holds the newest version back; nothing of it runs.
    fn begin(&self, next: &mut State) {
        let keep = (next.stable.take(), next.record.take());
        *next = State {
            phase: Phase::Gated,
            stable: keep.0,
            record: keep.1,
            new: Some(self.seen.tip.clone()),
            entered: self.now,
            started: self.now,
            progressed: self.now,
            digest: self.spec.digest(),
            replicas: self.seen.whole.replicas,
            from_zero: next.from_zero,
            message: "a new version is held back".into(),
            ..State::default()
        };
    }

    fn gated(&self, next: &mut State) {
        if self.turned(next) {
            return;
        }
        let stable = next.stable.as_ref().map(|stable| stable.hash.as_str());
        let told = self.seen.target.seen && stable == Some(&self.seen.target.hash);
        next.stable_pods = self.seen.target.pods.clone().filter(|_| told);
        let divided = self.spec.stable_service().is_some()
            && matches!(self.spec.means(), Means::Routes | Means::Partition);
        if !divided || next.stable_pods.is_some() {
            next.started = self.now;
            self.enter(next, 0);
            return;
        }
        let waits = "the old version's Pods are not known by their label";
        if self.now.saturating_sub(next.entered) > self.spec.progress_deadline {
            self.fail(next, &format!("{waits} after {} seconds", self.spec.progress_deadline));
        } else {
            next.message = format!("it waits: {waits}");
        }
    }

    fn under_way(&self, next: &mut State) {
        if self.turned(next) || self.late(next) {
            return;
        }
        self.count(next);
        if let Some(pods) = self.seen.target.pods.as_ref().filter(|_| self.seen.target.seen)
            && next.setting.target == Holds::New
            && next.new.as_ref().is_some_and(|new| new.hash == self.seen.target.hash)
        {
            next.new_pods = Some(pods.clone());
        }
        match judge(&self.spec.analysis, &next.background, true) {
            Judgement::Failed(why) => return self.fail(next, &why),
            Judgement::Inconclusive(why) if next.held.is_none() && !next.full => {
                next.background.clear();
                return self.hold(next, Held::Inconclusive, &why);
            }
            _ => {}
        }
        if next.held.is_none() {
            self.go_on(next);
        }
    }

    fn go_on(&self, next: &mut State) {
        match self.act(next) {
            None => self.finish(next),
            Some(Move::Arrange(setting)) if next.setting != *setting => self.arrange(next, setting.clone()),
            Some(Move::Arrange(_)) => {
                if settled(self.spec, next, self.seen) {
                    self.advance(next);
                } else if self.stuck(next) {
                    self.fail(
                        next,
                        &format!("no progress for {} seconds{}", self.spec.progress_deadline, self.trouble()),
                    );
                }
            }
            Some(Move::Analyse(rules)) => match judge(rules, &next.tallies, false) {
                Judgement::Passed => self.advance(next),
                Judgement::Failed(why) => self.fail(next, &why),
                Judgement::Inconclusive(why) => self.hold(next, Held::Inconclusive, &why),
                Judgement::Running => {}
            },
            Some(Move::Pause(Some(seconds))) if self.now.saturating_sub(next.entered) >= *seconds => {
                self.advance(next);
            }
            Some(Move::Pause(_)) => {}
        }
    }

    /// Goes to a setting, unless more Pods would find no room.
    fn arrange(&self, next: &mut State, setting: Setting) {
        let grows = grows(self.spec.means(), self.seen.whole, &next.setting, &setting) > 0;
        match self.seen.shortage.as_ref().filter(|_| grows) {
            Some(shortage) if self.now.saturating_sub(next.progressed) > self.spec.progress_deadline => {
                self.fail(next, &format!("there is no room for the new version: {shortage}"));
            }
            Some(shortage) => next.message = format!("it waits for room: {shortage}"),
            None => {
                self.set(next, setting);
                self.show(next);
                if let Some(unseen) = self.seen.unseen.as_ref().filter(|_| grows) {
                    next.message = format!("whether there is room for it is not known: {unseen}");
                }
            }
        }
    }

    fn set(&self, next: &mut State, setting: Setting) {
        next.from_zero |= setting.share == 0;
        next.setting = setting;
        (next.ready, next.progressed) = (progress(next, self.seen), self.now);
    }

    /// Replicas change in the middle as well: by a commit, or by who scales.
    fn follow(&self, next: &mut State) {
        // What was asked of it says that there are to be Pods.
        if next.setting.share > 0 && self.seen.target.seen {
            next.from_zero = false;
        }
        let replicas = self.seen.whole.replicas;
        if !next.is_under_way() || replicas == next.replicas {
            return;
        }
        // Pods that go are no lack of progress.
        if replicas < next.replicas {
            (next.ready, next.progressed) = (0, self.now);
        }
        next.replicas = replicas;
    }

    fn act(&self, next: &State) -> Option<&Move> {
        self.program.moves.get(next.at).map(|planned| &planned.act)
    }

    fn advance(&self, next: &mut State) {
        self.enter(next, next.at + 1);
    }

    /// Enters a move, or the first one after it that has something to wait for.
    fn enter(&self, next: &mut State, at: usize) {
        let moves = self.program.moves.iter().enumerate().skip(at);
        let waits = |act: &Move| !next.full || matches!(act, Move::Arrange(_));
        let found = moves.clone().find(|(_, planned)| waits(&planned.act));
        next.at = found.map_or(self.program.moves.len(), |(index, _)| index);
        (next.entered, next.progressed) = (self.now, self.now);
        next.tallies.clear();
        self.show(next);
        match self.act(next) {
            Some(Move::Arrange(setting)) => self.arrange(next, setting.clone()),
            None => self.finish(next),
            _ => {}
        }
    }

    /// Phase and words for where it is.
    fn show(&self, next: &mut State) {
        let (phase, message) = match self.act(next) {
            Some(Move::Pause(None)) => (Phase::Paused, "it waits until someone promotes it".to_owned()),
            Some(Move::Pause(Some(seconds))) => (Phase::Paused, format!("it pauses for {seconds} seconds")),
            Some(Move::Analyse(_)) => (self.moving(next), "the new version is being measured".to_owned()),
            _ => (self.moving(next), String::new()),
        };
        (next.phase, next.message) = (phase, message);
    }

    fn moving(&self, next: &State) -> Phase {
        if next.full || next.at >= self.program.promote { Phase::Promoting } else { Phase::Progressing }
    }

    fn finish(&self, next: &mut State) {
        let (new, record) = (next.new.take(), next.record.take());
        *next = State {
            stable: new.or_else(|| next.stable.take()),
            record,
            replicas: next.replicas,
            from_zero: next.from_zero,
            message: "the new version is promoted".into(),
            ..State::default()
        };
    }

    fn count(&self, next: &mut State) {
        let version = next.new.as_ref().map(|new| new.hash.clone());
        let of_this = |hash: &String| version.as_ref() == Some(hash);
        for measured in self.seen.measured.iter().filter(|measured| of_this(&measured.version)) {
            let (tallies, since) = match measured.scope {
                Scope::Background => (&mut next.background, next.started),
                Scope::Move(at) if at == next.at => (&mut next.tallies, next.entered),
                Scope::Move(_) => continue,
            };
            if measured.at >= since {
                tallies.entry(measured.rule.clone()).or_default().count(measured.outcome, measured.at);
            }
        }
    }

    fn late(&self, next: &mut State) -> bool {
        let late = self.now.saturating_sub(next.started) > self.spec.total_deadline;
        if late {
            self.fail(
                next,
                &format!("it is not done after {} seconds{}", self.spec.total_deadline, self.trouble()),
            );
        }
        late
    }

    /// Whether the Pods have made no progress for too long. An image that is
    /// being pulled is progress.
    fn stuck(&self, next: &mut State) -> bool {
        let progress = progress(next, self.seen);
        if progress > next.ready {
            (next.ready, next.progressed) = (progress, self.now);
        }
        if let Some(trouble) = &self.seen.trouble {
            next.message.clone_from(trouble);
        }
        !self.seen.pulling && self.now.saturating_sub(next.progressed) > self.spec.progress_deadline
    }

    fn trouble(&self) -> String {
        self.seen.trouble.as_ref().map_or_else(String::new, |trouble| format!(": {trouble}"))
    }
}
