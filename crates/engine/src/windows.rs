//! When automatic syncs may run. In: windows, each with a cron schedule of its
//! beginning, a duration and a time zone, and the time. Out: whether they are
//! open, and when to ask again. Pure.

use std::time::Duration;

use cronexpr::Crontab;
use gitops_api::application::{Window, WindowKind};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::program::duration;
use crate::spec::Mistake;

/// Longer, nobody waits without looking again.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
/// So many changes are looked through for the next time that syncs may run.
const AHEAD: usize = 100;

/// Automatic syncs are kept out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// When to ask again, from now.
    pub again: Duration,
    /// When they may run, where that is soon enough to be told.
    pub until: Option<Timestamp>,
}

/// What a parser says at the end, beneath the text and a mark at its place.
fn last_line(error: &str) -> String {
    error.lines().last().unwrap_or_default().trim_start_matches([' ', '^']).to_owned()
}

/// The windows of an Application at a time.
#[derive(Debug)]
pub struct Windows {
    all: Vec<Read>,
    now: Timestamp,
    /// Whether automatic syncs are kept out, and when that may change.
    state: (bool, Option<Timestamp>),
}

/// One of them.
#[derive(Debug)]
struct Read {
    /// Such as `spec.sync.windows[0]`.
    place: String,
    kind: WindowKind,
    begins: Crontab,
    length: Duration,
}

fn bad(place: &str, field: &str, reason: String) -> Mistake {
    Mistake { field: format!("{place}.{field}"), reason }
}

impl Windows {
    /// # Errors
    /// When a schedule, duration or time zone cannot be read.
    pub fn at(windows: &[Window], now: Timestamp) -> Result<Self, Mistake> {
        let all: Vec<Read> = windows.iter().enumerate().map(Read::of).collect::<Result<_, _>>()?;
        let state = state(&all, now)?;
        Ok(Self { all, now, state })
    }

    /// Whether automatic syncs are kept out, and how long; none: they may run. A
    /// window that denies wins over one that allows; where some allow and none is
    /// open, they are kept out.
    pub fn closed(&self) -> Option<Closed> {
        let (true, Some(first)) = self.state else { return None };
        let again = Duration::try_from(first.duration_since(self.now)).unwrap_or(LOOK_AGAIN);
        let again = again.clamp(Duration::from_secs(1), LOOK_AGAIN);
        Some(Closed { again, until: self.until(first) })
    }

    /// When they may run, from the first change on; none where that is not known.
    fn until(&self, first: Timestamp) -> Option<Timestamp> {
        let mut until = first;
        for _ in 0..AHEAD {
            match state(&self.all, until).ok()? {
                (false, _) => return Some(until),
                (true, change) => until = change?,
            }
        }
        None
    }
}

/// Whether automatic syncs are kept out, and when that may change.
fn state(windows: &[Read], now: Timestamp) -> Result<(bool, Option<Timestamp>), Mistake> {
    let (mut allowing, mut allowed, mut denied) = (false, false, false);
    let mut changes: Option<Timestamp> = None;
    for window in windows {
        let (is_open, change) = window.state(now)?;
        changes = Some(changes.map_or(change, |known| known.min(change)));
        match window.kind {
            WindowKind::Allow => (allowing, allowed) = (true, allowed || is_open),
            WindowKind::Deny => denied |= is_open,
        }
    }
    Ok((denied || allowing && !allowed, changes))
}

impl Read {
    fn of((index, window): (usize, &Window)) -> Result<Self, Mistake> {
        let place = format!("spec.sync.windows[{index}]");
        let zone = if window.time_zone.is_empty() { "UTC" } else { &window.time_zone };
        let schedule = format!("{} {zone}", window.schedule);
        TimeZone::get(zone).map_err(|_| {
            bad(&place, "timeZone", format!("{zone:?} is no time zone, such as Europe/Berlin"))
        })?;
        let begins = cronexpr::parse_crontab(&schedule).map_err(|error| {
            let why = last_line(&error.to_string());
            bad(&place, "schedule", format!("{:?} is no cron schedule: {why}", window.schedule))
        })?;
        let length = duration(&window.duration).map_err(|reason| {
            bad(&place, "duration", format!("{:?} is no duration: {reason}", window.duration))
        })?;
        Ok(Self { place, kind: window.kind, begins, length })
    }

    /// Whether it is open, and when that may change.
    fn state(&self, now: Timestamp) -> Result<(bool, Timestamp), Mistake> {
        let too_long = |_| bad(&self.place, "duration", format!("{:?} is too long", self.length));
        // The first beginning after the latest one that would be over by now.
        let begun = self.begins.find_next(now.checked_sub(self.length).map_err(too_long)?);
        let begun =
            begun.map_err(|error| bad(&self.place, "schedule", last_line(&error.to_string())))?.timestamp();
        if begun <= now {
            Ok((true, begun.checked_add(self.length).map_err(too_long)?))
        } else {
            Ok((false, begun))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn closed(windows: &[Window], now: Timestamp) -> Result<Option<Closed>, Mistake> {
        Ok(Windows::at(windows, now)?.closed())
    }

    fn window(kind: WindowKind, schedule: &str, duration: &str, zone: &str) -> Window {
        Window { kind, schedule: schedule.into(), duration: duration.into(), time_zone: zone.into() }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn windows_open_and_close() {
        let nights = [window(WindowKind::Allow, "0 22 * * *", "8h", "")];
        for (time, is_open) in [
            ("2026-11-24T21:59:59Z", false),
            ("2026-11-24T22:00:00Z", true),
            ("2026-11-25T05:59:59Z", true),
            ("2026-11-25T06:00:00Z", false),
        ] {
            assert_eq!(closed(&nights, at(time)).unwrap().is_none(), is_open, "{time}");
        }
        let soon = closed(&nights, at("2026-11-24T21:50:00Z")).unwrap().unwrap();
        assert_eq!(soon, Closed { again: Duration::from_secs(600), until: Some(at("2026-11-24T22:00:00Z")) });
        // Hours before, it is looked at again every hour, and the time is told all the same.
        let later = closed(&nights, at("2026-11-24T12:00:00Z")).unwrap().unwrap();
        assert_eq!(later, Closed { again: LOOK_AGAIN, until: soon.until });
        assert_eq!(closed(&[], at("2026-11-24T12:00:00Z")).unwrap(), None);
    }

    #[test]
    fn a_window_that_denies_wins() {
        let both = [
            window(WindowKind::Allow, "0 0 * * *", "24h", ""),
            window(WindowKind::Deny, "0 12 * * 5", "1h", ""),
        ];
        // The 27th is a Friday.
        let until = |time: &str| closed(&both, at(time)).unwrap().unwrap().until;
        assert_eq!(until("2026-11-27T12:30:00Z"), Some(at("2026-11-27T13:00:00Z")));
        assert!(closed(&both, at("2026-11-26T12:30:00Z")).unwrap().is_none());
    }

    #[test]
    fn a_time_that_never_comes_is_not_told() {
        let always = [window(WindowKind::Deny, "0 0 * * *", "24h", "")];
        let kept = closed(&always, at("2026-11-24T12:00:00Z")).unwrap().unwrap();
        assert_eq!(kept, Closed { again: LOOK_AGAIN, until: None });
        // Of leap years, with which one of the next changes cannot be found: 2100 is none.
        let leap = [window(WindowKind::Deny, "0 0 29 2 *", "35064h", "")];
        let kept = closed(&leap, at("2093-01-01T00:00:00Z")).unwrap().unwrap();
        assert_eq!(kept, Closed { again: LOOK_AGAIN, until: None });
    }

    #[test]
    fn a_time_zone_has_its_summer() {
        let mornings = [window(WindowKind::Allow, "0 9 * * *", "1h", "Europe/Berlin")];
        assert!(closed(&mornings, at("2026-07-01T07:30:00Z")).unwrap().is_none());
        assert!(closed(&mornings, at("2026-12-01T07:30:00Z")).unwrap().is_some());
        assert!(closed(&mornings, at("2026-12-01T08:30:00Z")).unwrap().is_none());
        // Clocks go forward over this hour: the window is not lost for longer.
        let gap = [window(WindowKind::Allow, "30 2 * * *", "2h", "Europe/Berlin")];
        assert!(closed(&gap, at("2026-03-30T01:00:00Z")).unwrap().is_none());
    }

    #[test]
    fn mistakes_are_named() {
        let wrong = |schedule: &str, duration: &str, zone: &str| {
            closed(&[window(WindowKind::Allow, schedule, duration, zone)], Timestamp::UNIX_EPOCH)
                .unwrap_err()
                .to_string()
        };
        assert!(
            wrong("never", "1h", "")
                .starts_with("spec.sync.windows[0].schedule: \"never\" is no cron schedule: ")
        );
        let late = "spec.sync.windows[0].schedule: \"0 25 * * *\" is no cron schedule: value must be in range 0..=23; found 25";
        assert_eq!(wrong("0 25 * * *", "1h", ""), late);
        assert!(wrong("0 0 * * *", "soon", "").contains("\"soon\" is no duration"));
        assert!(wrong("0 0 * * *", "175000000h", "").contains("is too long"));
        // The 31st of February.
        assert!(wrong("0 0 31 2 *", "1h", "").starts_with("spec.sync.windows[0].schedule: "));
        assert!(
            wrong("0 0 * * *", "1h", "Mars/Base").starts_with("spec.sync.windows[0].timeZone: \"Mars/Base\"")
        );
    }
}
