//! Rollouts driven from here, where no controller does. In: how to survey and
//! how to sync an Application, whose Lease is held. Out: each Rollout at its end,
//! or at a pause that a person has to end.

use std::time::{Duration, Instant};

use gitops_core::rollout::state::Phase;

use super::drive::{Driver, Moved};
use super::push::Pushes;
use crate::error::EngineError;
use crate::survey::Survey;
use crate::sync::Stop;

/// Between two looks, at most.
const LOOK: Duration = Duration::from_secs(1);

/// For how long a status that is refused is tried again: whoever judges it may not
/// know the commit yet.
const REFUSED: Duration = Duration::from_secs(30);

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// What Git says is promoted.
    Promoted,
    /// These stand at a pause until someone goes on, or were aborted, in words.
    Waits(Vec<String>),
    Aborted(Vec<String>),
    Stopped,
    TimedOut,
}

/// What is told on the way.
#[derive(Clone, Debug)]
pub enum Told<'a> {
    Moved(&'a Moved),
    /// Of a commit that was pushed, or why not.
    Pushed(&'a Moved, &'a Result<String, String>),
}

/// Drives until there is nothing to do but for a person.
///
/// # Errors
/// What surveying or syncing says.
pub async fn to_the_end<E: From<EngineError>>(
    driver: &Driver<'_>,
    survey: impl AsyncFn() -> Result<Survey, E>,
    sync: impl AsyncFn(&Survey) -> Result<(), E>,
    told: impl Fn(Told<'_>),
    stop: &Stop,
    limit: Duration,
) -> Result<Ended, E> {
    let (begun, mut pushes, mut refused) = (Instant::now(), Pushes::default(), None);
    loop {
        if stop.before_write().await.is_some() {
            return Ok(Ended::Stopped);
        }
        let mut seen = survey().await?;
        let now = jiff::Timestamp::now();
        let moved = driver.drive(&seen, &|key| pushes.of(key), now).await?;
        moved.iter().filter(|one| one.has_moved()).for_each(|one| told(Told::Moved(one)));
        let has_moved = moved.iter().any(Moved::has_moved);
        if has_moved {
            seen = survey().await?;
        }
        sync(&seen).await?;
        refused = moved.iter().any(|one| one.refused).then(|| refused.unwrap_or_else(Instant::now));
        let mut owed = moved.iter().any(|one| one.missed)
            || refused.is_some_and(|since: Instant| since.elapsed() < REFUSED);
        for one in moved.iter().filter(|one| !one.wishes.is_empty()) {
            if let Some(result) = pushes.push(&driver.ground, one, &seen.desired.revision).await {
                told(Told::Pushed(one, &result));
            }
            owed |= !matches!(pushes.of(&one.key), Some(Ok(_))) || one.state.aftermath.is_some();
        }
        if let Some(ended) = (!has_moved && !owed).then(|| end(&seen, &moved)).flatten() {
            return Ok(ended);
        }
        if begun.elapsed() > limit {
            return Ok(Ended::TimedOut);
        }
        let again = moved.iter().filter_map(|one| one.again).min().map(until);
        let pause = if has_moved { LOOK / 5 } else { again.unwrap_or(LOOK).min(LOOK) };
        tokio::time::sleep(pause).await;
    }
}

/// How long it is until a time; none where it has passed.
pub fn until(time: jiff::Timestamp) -> Duration {
    time.duration_since(jiff::Timestamp::now()).try_into().unwrap_or_default()
}

/// How it ended, if nothing goes on by itself.
fn end(survey: &Survey, moved: &[Moved]) -> Option<Ended> {
    let (mut waits, mut aborted) = (Vec::new(), Vec::new());
    for rolling in &survey.rollouts {
        let told = moved.iter().find(|one| one.key == rolling.key);
        let words = told.and_then(|one| one.error.clone()).unwrap_or_else(|| rolling.state.message.clone());
        let words = format!("{}: {words}", rolling.key);
        match rolling.state.phase {
            _ if told.is_some_and(|one| one.waits) => waits.push(words),
            Phase::Idle if rolling.is_waiting() || rolling.is_new() => return None,
            Phase::Idle => {}
            Phase::Aborted => aborted.push(words),
            _ => return None,
        }
    }
    Some(match (waits.is_empty(), aborted.is_empty()) {
        (_, false) => Ended::Aborted(aborted),
        (false, true) => Ended::Waits(waits),
        (true, true) => Ended::Promoted,
    })
}
