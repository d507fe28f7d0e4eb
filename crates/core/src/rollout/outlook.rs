//! What a person wants to know of a rollout. In: a Rollout's spec, its state and
//! the time. Out: its stages, done and to come; what it waits for; what can be
//! asked of it. Nothing is decided here.

use serde::Serialize;

use super::program::{Move, program};
use super::spec::{OnFailure, Rule, Size, Spec, Step, Strategy};
use super::state::{Aftermath, Held, Phase, Setting, State, Tally};

/// Whether a stage is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Mark {
    Done,
    Now,
    ToCome,
}

/// One thing that a strategy does or waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stage {
    pub what: String,
    pub mark: Mark,
    /// Of a pause that ends by itself: seconds until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<i64>,
}

/// All stages in their order. Where nothing is on its way, all are to come.
pub fn stages(spec: &Spec, state: &State, now: i64) -> Vec<Stage> {
    let moves = program(spec).moves;
    let way = under_way(state);
    let planned: Vec<(String, usize)> = match &spec.strategy {
        Strategy::Canary(steps) => {
            let all = steps.iter().map(step).chain(["promote".to_owned()]);
            all.enumerate().map(|(index, what)| (what, index)).collect()
        }
        Strategy::Rolling { batches, analysis } => {
            let some = batches.iter().enumerate().filter(|(_, batch)| **batch < 100);
            let mut all: Vec<_> = some.map(|(index, batch)| (batch_words(*batch, analysis), index)).collect();
            all.push(("all Pods".into(), batches.len()));
            all
        }
        Strategy::Recreate { .. } | Strategy::BlueGreen { .. } => {
            let mut before = Setting::REST;
            let mut all = Vec::new();
            for (index, planned) in moves.iter().enumerate() {
                all.push((act(&before, &planned.act), index));
                if let Move::Arrange(setting) = &planned.act {
                    before = setting.clone();
                }
            }
            all
        }
    };
    let by_step = matches!(spec.strategy, Strategy::Canary(_) | Strategy::Rolling { .. });
    // The hand-over after a promotion belongs to it.
    let last = planned.last().map_or(0, |(_, index)| *index);
    let here = match (way, by_step) {
        (false, _) => None,
        (true, true) => Some(moves.get(state.at).map_or(last, |planned| planned.step.min(last))),
        (true, false) => Some(state.at),
    };
    let left = pause_left(moves.get(state.at).map(|planned| &planned.act), state, now).filter(|_| way);
    let marked = planned.into_iter().map(|(what, index)| {
        let mark = match here {
            Some(here) if index < here => Mark::Done,
            Some(here) if index == here => Mark::Now,
            _ => Mark::ToCome,
        };
        Stage { what, mark, left: left.filter(|_| mark == Mark::Now) }
    });
    marked.filter(|stage| !stage.what.is_empty()).collect()
}

/// Whether it goes forward.
fn under_way(state: &State) -> bool {
    state.is_under_way() && state.phase != Phase::Aborting && state.phase != Phase::Gated
}

fn pause_left(act: Option<&Move>, state: &State, now: i64) -> Option<i64> {
    match act {
        Some(Move::Pause(Some(seconds))) if state.held.is_none() => {
            Some(state.entered.saturating_add(*seconds).saturating_sub(now).max(0))
        }
        _ => None,
    }
}

fn step(step: &Step) -> String {
    match step {
        Step::SetWeight(weight) => format!("weight {weight} %"),
        Step::SetScale(scale) => format!("scale {scale} %"),
        Step::SetHeader(header) => format!("header {}: {}", header.name, header.value),
        Step::SetMirror(percent) => format!("mirror {percent} %"),
        Step::Analysis(rules) => analysis(rules),
        Step::Pause(seconds) => pause(*seconds),
    }
}

fn pause(seconds: Option<i64>) -> String {
    seconds.map_or_else(|| "pause until promoted".into(), |seconds| format!("pause {}", duration(seconds)))
}

fn analysis(rules: &[Rule]) -> String {
    let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    format!("analysis {}", names.join(", ")).trim_end().to_owned()
}

fn batch_words(batch: u8, rules: &[Rule]) -> String {
    let after = if rules.is_empty() { String::new() } else { format!(", {}", analysis(rules)) };
    format!("{batch} % of the Pods{after}")
}

/// A move as a change of what was before it.
fn act(before: &Setting, act: &Move) -> String {
    let setting = match act {
        Move::Arrange(setting) => setting,
        Move::Analyse(rules) => return analysis(rules),
        Move::Pause(seconds) => return pause(*seconds),
    };
    if setting.target != before.target {
        return match setting.share {
            0 => "the target gets the new version".into(),
            _ => "the new version starts".into(),
        };
    }
    if setting.share == 0 && before.share > 0 {
        return "the old version stops".into();
    }
    if setting.weight != before.weight {
        let to = if setting.weight > 0 { "go to the new version" } else { "come back to the target" };
        return format!("requests {to}");
    }
    match setting.second {
        Some(Size::Count(0)) => String::new(),
        Some(Size::Percent(percent)) => format!("new version beside the old one, {percent} %"),
        Some(Size::Count(count)) => format!("new version beside the old one, {count} Pods"),
        None if before.second.is_some() => "the second workload goes".into(),
        None => String::new(),
    }
}

/// Seconds as people write them.
pub fn duration(seconds: i64) -> String {
    let parts =
        [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let text: String =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    if text.is_empty() { "0s".into() } else { text }
}

/// What it waits for, or how it ended, in a sentence.
pub fn waits(spec: &Spec, state: &State, now: i64) -> String {
    if !state.message.is_empty() && (state.held.is_some() || !under_way(state)) {
        return state.message.clone();
    }
    match program(spec).moves.get(state.at).map(|planned| &planned.act).filter(|_| under_way(state)) {
        Some(Move::Pause(None)) => "it waits until someone promotes it".into(),
        Some(act @ Move::Pause(Some(_))) => {
            let left = pause_left(Some(act), state, now).unwrap_or(0);
            format!("it pauses, {} more", duration(left))
        }
        Some(Move::Analyse(rules)) => {
            let none = Tally::default();
            let of = |rule: &Rule| {
                let tally = state.tallies.get(&rule.name).unwrap_or(&none);
                let taken = tally.succeeded + tally.failed + tally.inconclusive;
                format!("{} {taken} of {}", rule.name, rule.count)
            };
            format!("it is measured: {}", rules.iter().map(of).collect::<Vec<_>>().join(", "))
        }
        Some(Move::Arrange(_)) if !state.message.is_empty() => state.message.clone(),
        Some(Move::Arrange(_)) => "it waits until its Pods are ready".into(),
        None => state.message.clone(),
    }
}

/// What comes after that, in a sentence; none where nothing does.
pub fn next(spec: &Spec, state: &State, now: i64) -> Option<String> {
    match state.phase {
        Phase::Idle => None,
        Phase::Gated => stages(spec, state, now).into_iter().next().map(|stage| stage.what),
        Phase::Progressing | Phase::Paused | Phase::Promoting => {
            let to_come = stages(spec, state, now).into_iter().find(|stage| stage.mark == Mark::ToCome);
            Some(to_come.map_or_else(|| "the new version is promoted".into(), |stage| stage.what))
        }
        Phase::Aborting | Phase::Aborted => Some(match (&state.aftermath, spec.on_failure) {
            (Some(Aftermath::Done(commit)), _) => format!("nothing: Git was changed by {commit}"),
            (Some(Aftermath::Wanted(why)), OnFailure::Branch) => {
                format!("a branch that takes it back ({why})")
            }
            (Some(Aftermath::Wanted(why)), _) => format!("a commit that takes it back ({why})"),
            (None, _) => "nothing, until Git says another version or someone retries it".into(),
        }),
    }
}

/// What would change something if it were asked now.
pub fn requests(state: &State) -> Vec<&'static str> {
    match state.phase {
        Phase::Idle | Phase::Aborting => Vec::new(),
        Phase::Gated => vec!["abort"],
        Phase::Progressing | Phase::Paused | Phase::Promoting => {
            let pause = if state.held == Some(Held::Asked) { "resume" } else { "pause" };
            vec!["promote", pause, "abort"]
        }
        Phase::Aborted => vec!["retry"],
    }
}

/// Whether the request that was carried out last has changed nothing.
pub fn is_in_vain(state: &State) -> bool {
    let record = state.record.as_ref();
    record.is_some_and(|record| state.message == in_vain(&record.verb, state.phase))
}

/// What is said of a request that changes nothing.
pub(super) fn in_vain(verb: &str, phase: Phase) -> String {
    format!("{verb}: there is nothing to do in phase {phase:?}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::simulation;
    use super::super::state::Version;
    use super::*;

    fn rule() -> Rule {
        Rule {
            name: "errors/rate".into(),
            interval: 10,
            count: 5,
            failure_limit: 0,
            inconclusive_limit: 0,
            min_samples: 0,
        }
    }

    fn spec(strategy: Strategy) -> Spec {
        let on_failure = OnFailure::Revert;
        Spec { progress_deadline: 600, total_deadline: 7200, on_failure, ..simulation::spec(strategy) }
    }

    fn canary() -> Spec {
        spec(Strategy::Canary(vec![
            Step::SetWeight(20),
            Step::Pause(Some(90)),
            Step::Analysis(vec![rule()]),
            Step::Pause(None),
            Step::SetWeight(50),
        ]))
    }

    fn blue_green() -> Spec {
        spec(Strategy::BlueGreen {
            active_service: "web".into(),
            preview_service: None,
            preview_replicas: Size::Percent(50),
            auto_promote: false,
            before: vec![rule()],
            after: vec![],
            scale_down_delay: 30,
        })
    }

    /// At the first move of this kind.
    fn at(spec: &Spec, wanted: impl Fn(&Move) -> bool) -> State {
        let at = program(spec).moves.iter().position(|planned| wanted(&planned.act)).unwrap();
        let new = Some(Version { revision: "b".into(), hash: "h".into() });
        State { phase: Phase::Progressing, at, new, entered: 100, ..State::default() }
    }

    fn shown(spec: &Spec, state: &State) -> String {
        let line = |stage: Stage| {
            let mark = match stage.mark {
                Mark::Done => '+',
                Mark::Now => '>',
                Mark::ToCome => ' ',
            };
            let left = stage.left.map(|left| format!(" ({left})")).unwrap_or_default();
            format!("{mark} {}{left}\n", stage.what)
        };
        stages(spec, state, 130).into_iter().map(line).collect()
    }

    #[test]
    fn each_step_is_a_stage() {
        let spec = canary();
        let state = at(&spec, |act| matches!(act, Move::Pause(Some(_))));
        assert_eq!(
            shown(&spec, &state),
            "+ weight 20 %\n> pause 1m30s (60)\n  analysis errors/rate\n  pause until promoted\n  weight 50 %\n  promote\n"
        );
        assert_eq!(waits(&spec, &state, 130), "it pauses, 1m more");
        assert_eq!(next(&spec, &state, 130).unwrap(), "analysis errors/rate");
        let mut state = at(&spec, |act| matches!(act, Move::Analyse(_)));
        state.tallies.insert("errors/rate".into(), Tally { succeeded: 2, ..Tally::default() });
        assert_eq!(waits(&spec, &state, 130), "it is measured: errors/rate 2 of 5");
        assert_eq!(requests(&state), ["promote", "pause", "abort"]);
        (state.held, state.message) = (Some(Held::Asked), "ada paused it".into());
        assert_eq!((waits(&spec, &state, 130).as_str(), requests(&state)[1]), ("ada paused it", "resume"));
        let last = State { at: program(&spec).moves.len() - 1, ..state };
        assert!(shown(&spec, &last).ends_with("> promote\n"));
        assert_eq!(next(&spec, &last, 130).unwrap(), "the new version is promoted");
    }

    #[test]
    fn a_blue_green_one_is_told_move_by_move() {
        let spec = blue_green();
        let state = at(&spec, |act| matches!(act, Move::Pause(None)));
        assert_eq!(
            shown(&spec, &state),
            "+ new version beside the old one, 50 %\n+ analysis errors/rate\n> pause until promoted\n  new version beside the old one, 100 %\n  requests go to the new version\n  pause 30s\n  the new version starts\n  requests come back to the target\n  the second workload goes\n"
        );
        let spec = self::spec(Strategy::Recreate { before: vec![rule()], after: vec![] });
        let state = at(&spec, |act| matches!(act, Move::Analyse(_)));
        assert_eq!(
            shown(&spec, &state),
            "+ the old version stops\n> analysis errors/rate\n  the new version starts\n"
        );
        let spec = self::spec(Strategy::Rolling { batches: vec![10, 100], analysis: vec![rule()] });
        let state = at(&spec, |_| true);
        assert_eq!(shown(&spec, &state), "> 10 % of the Pods, analysis errors/rate\n  all Pods\n");
    }

    #[test]
    fn an_end_is_told_with_what_becomes_of_git() {
        let spec = canary();
        let mut state =
            State { phase: Phase::Aborted, message: "errors/rate failed".into(), ..State::default() };
        assert_eq!(waits(&spec, &state, 0), "errors/rate failed");
        assert_eq!(requests(&state), ["retry"]);
        assert!(next(&spec, &state, 0).unwrap().contains("until Git says another version"));
        state.aftermath = Some(Aftermath::Wanted("no way to the host".into()));
        assert_eq!(next(&spec, &state, 0).unwrap(), "a commit that takes it back (no way to the host)");
        state.aftermath = Some(Aftermath::Done("0123".into()));
        assert_eq!(next(&spec, &state, 0).unwrap(), "nothing: Git was changed by 0123");
        let idle = State::default();
        assert_eq!((next(&spec, &idle, 0), requests(&idle).len()), (None, 0));
        assert!(stages(&spec, &idle, 0).iter().all(|stage| stage.mark == Mark::ToCome));
        let gated = State { phase: Phase::Gated, ..State::default() };
        assert_eq!(next(&spec, &gated, 0).unwrap(), "weight 20 %");
    }

    #[test]
    fn durations_are_short() {
        let told: Vec<String> = [0, 59, 60, 3_661, 90_000].into_iter().map(duration).collect();
        assert_eq!(told, ["0s", "59s", "1m", "1h1m1s", "1d1h"]);
    }
}
