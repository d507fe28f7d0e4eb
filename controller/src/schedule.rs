//! Whether an Application is synced now. In: its policy, where it stands, what
//! was tried, the time. Out: yes, no and why, or when to ask again. Pure.

use std::time::{Duration, Instant};

use gitops_api::application::{Retry, SyncMode, SyncPolicy};
use gitops_engine::spec::{Mistake, pauses};
use gitops_engine::windows::Windows;

/// How failed syncs are tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub limit: u32,
    pub first: Duration,
    pub max: Duration,
}

impl Backoff {
    /// As the Application has it.
    ///
    /// # Errors
    /// When a duration cannot be read.
    pub fn of(retry: &Retry) -> Result<Self, Mistake> {
        let (first, max) = pauses(retry)?;
        Ok(Self { limit: u32::try_from(retry.limit).unwrap_or(0), first, max })
    }

    /// The pause after so many failures.
    pub fn pause(&self, failed: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << failed.saturating_sub(1).min(20));
        doubled.min(self.max)
    }
}

/// Failed syncs of one revision and spec, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Revision and generation: others begin anew.
    pub of: (String, i64),
    pub failed: u32,
    pub last: Option<Instant>,
    /// What went wrong last.
    pub message: String,
}

impl Attempts {
    /// Begins anew where something else is to be synced.
    pub fn meant_for(&mut self, revision: &str, generation: i64) {
        if self.of.0 != revision || self.of.1 != generation {
            *self = Self { of: (revision.to_owned(), generation), ..Self::default() };
        }
    }

    pub fn failed(&mut self, now: Instant, message: String) {
        self.failed += 1;
        self.last = Some(now);
        self.message = message;
    }

    pub fn succeeded(&mut self) {
        *self = Self { of: std::mem::take(&mut self.of), ..Self::default() };
    }
}

/// Where an Application stands.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    pub policy: &'a SyncPolicy,
    /// Whether a sync would write something.
    pub has_work: bool,
    /// Git says what it said when the cluster was as it says.
    pub is_drift: bool,
    /// A person asks for it.
    pub is_asked: bool,
    /// Why it is left as it is.
    pub suspended: Option<&'a str>,
    /// What has to be healthy first, and is not.
    pub waits_for: Option<&'a str>,
    /// They may keep automatic syncs out.
    pub windows: &'a Windows,
    pub attempts: &'a Attempts,
    pub backoff: Backoff,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Sync,
    /// Nothing differs.
    Settled,
    /// It differs and is left, for a reason (CamelCase, and in words); perhaps
    /// until some time has passed.
    Leave {
        reason: &'static str,
        message: String,
        again: Option<Duration>,
    },
}

fn leave(reason: &'static str, message: impl Into<String>, again: Option<Duration>) -> Decision {
    Decision::Leave { reason, message: message.into(), again }
}

/// Decides. Who asks is heard whatever mode and windows say; who has suspended
/// the Application is heard first.
pub fn decide(situation: &Situation<'_>, now: Instant) -> Decision {
    let Situation { policy, attempts, backoff, .. } = *situation;
    if let Some(why) = situation.suspended {
        return leave("Suspended", why, None);
    }
    if !situation.has_work && !situation.is_asked {
        return Decision::Settled;
    }
    if let Some(other) = situation.waits_for {
        return leave("Waiting", other, None);
    }
    if situation.is_asked {
        return Decision::Sync;
    }
    if policy.mode == SyncMode::Manual {
        return leave("Manual", "it is synced when a person asks: kubectl gitops sync", None);
    }
    if !policy.self_heal && situation.is_drift {
        return leave("Drift", "it has drifted, and spec.sync.selfHeal is false", None);
    }
    if let Some(closed) = situation.windows.closed() {
        let until = closed.until.map_or("now".into(), |until| format!("before {until}"));
        let message = format!("its windows allow no automatic sync {until}");
        return leave("Window", message, Some(closed.again));
    }
    match attempts.last {
        Some(_) if attempts.failed > backoff.limit => {
            let message = format!(
                "given up after {} tries, until Git or the spec changes: {}",
                attempts.failed, attempts.message
            );
            leave("Failed", message, None)
        }
        Some(last) => {
            let pause = backoff.pause(attempts.failed).saturating_sub(now.duration_since(last));
            if pause.is_zero() {
                return Decision::Sync;
            }
            leave("Failed", attempts.message.clone(), Some(pause))
        }
        None => Decision::Sync,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use gitops_api::application::{Window, WindowKind};

    use super::*;

    fn automatic() -> SyncPolicy {
        SyncPolicy { mode: SyncMode::Automatic, ..SyncPolicy::default() }
    }

    fn backoff() -> Backoff {
        Backoff::of(&Retry::default()).unwrap()
    }

    /// At midday: without windows, or with one that keeps syncs out in this hour.
    fn windows(is_closed: bool) -> Windows {
        let window = Window {
            kind: WindowKind::Deny,
            schedule: "0 12 * * *".into(),
            duration: "1h".into(),
            time_zone: String::new(),
        };
        let all = if is_closed { vec![window] } else { Vec::new() };
        Windows::at(&all, "2026-11-24T12:30:00Z".parse().unwrap()).unwrap()
    }

    fn situation<'a>(policy: &'a SyncPolicy, attempts: &'a Attempts, windows: &'a Windows) -> Situation<'a> {
        Situation {
            policy,
            has_work: true,
            is_drift: false,
            is_asked: false,
            suspended: None,
            waits_for: None,
            windows,
            attempts,
            backoff: backoff(),
        }
    }

    fn reason(decision: Decision) -> &'static str {
        match decision {
            Decision::Sync => "sync",
            Decision::Settled => "settled",
            Decision::Leave { reason, .. } => reason,
        }
    }

    #[test]
    fn every_policy_is_heard() {
        let (now, none, policy) = (Instant::now(), Attempts::default(), automatic());
        let (open, closed) = (windows(false), windows(true));
        let base = situation(&policy, &none, &open);
        let decided = |situation: Situation<'_>| reason(decide(&situation, now));
        assert_eq!(decided(base), "sync");
        assert_eq!(decided(Situation { has_work: false, ..base }), "settled");
        assert_eq!(decided(Situation { windows: &closed, ..base }), "Window");
        assert_eq!(decided(Situation { waits_for: Some("db"), ..base }), "Waiting");
        assert_eq!(decided(Situation { waits_for: Some("db"), is_asked: true, ..base }), "Waiting");
        assert_eq!(decided(Situation { suspended: Some("x"), is_asked: true, ..base }), "Suspended");
        let manual = SyncPolicy::default();
        assert_eq!(decided(Situation { policy: &manual, ..base }), "Manual");
        assert_eq!(decided(Situation { policy: &manual, is_asked: true, ..base }), "sync");
        assert_eq!(decided(Situation { windows: &closed, is_asked: true, ..base }), "sync");
        let no_heal = SyncPolicy { self_heal: false, ..automatic() };
        assert_eq!(decided(Situation { policy: &no_heal, ..base }), "sync");
        assert_eq!(decided(Situation { policy: &no_heal, is_drift: true, ..base }), "Drift");
        assert_eq!(decided(Situation { is_drift: true, ..base }), "sync");
    }

    #[test]
    fn pauses_double_up_to_the_most_and_end() {
        let (policy, start, open) = (automatic(), Instant::now(), windows(false));
        let mut attempts = Attempts::default();
        attempts.meant_for("b", 1);
        let mut pauses = Vec::new();
        loop {
            attempts.failed(start, "no".into());
            match decide(&situation(&policy, &attempts, &open), start) {
                Decision::Leave { again: Some(pause), .. } => pauses.push(pause.as_secs()),
                other => break assert_eq!(reason(other), "Failed"),
            }
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80]);
        assert_eq!(backoff().pause(60), Duration::from_secs(180));
        // A newer commit begins anew.
        attempts.meant_for("c", 1);
        assert_eq!(decide(&situation(&policy, &attempts, &open), start), Decision::Sync);
    }
}
